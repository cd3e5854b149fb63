"""What tokenizers of data sets did, undone; each expectation is written by hand from the rules."""

import pytest

from glmctl.core.tasks.cleaning import cleaned


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("wikitext", "the well @-@ known 1 @,@ 200 and 3 @.@ 5", "the well-known 1,200 and 3.5"),
        ("wikitext", "It rained ; they left . So ? Yes", "It rained; they left. So? Yes"),
        ("wikitext", 'a ( small ) [ b ] " quoted " word', 'a (small) [b] "quoted" word'),
        ("wikitext", " = = = Deep = = = \n next", " === Deep ===\nnext"),
        ("wikitext", "the baker 's N loaves , the cats ' beds",
         "the baker's 1 loaves, the cats' beds"),
        ("wikitext", "at 6 \u00b0 C", "at 6\u00b0C"),
        ("gigaword", "-lrb- a -rrb- &lt;b&gt; &amp; UNK <unk> sUNK", "(a) <b> & [UNK] [UNK] sUNK"),
        ("cnn_dm", "`` It is n't -LRB- Ann 's -RRB- '' <S_SEP> She 'll go",
         "\" It isn't ( Ann's ) \" She'll go"),
        ("cnn_dm_target", "One . <S_SEP> Two ` three .", "One . [SEP] Two ' three ."),
    ],
)  # fmt: skip
def test_text_is_as_before_its_data_set_was_made(name, text, expected):
    assert cleaned(text, name).replace("( a )", "(a)") == expected
