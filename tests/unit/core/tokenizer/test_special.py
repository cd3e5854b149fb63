"""The ids are those that the original code printed for its vocabularies."""

import pytest

from glmctl.core.tokenizer.special import check_layout, place_special_tokens
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import TokenizerConfig

BERT = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
GPT2 = {"<|endoftext|>": 50256}
ROBERTA = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<|endoftext|>": 50260, "<mask>": 50264}


def place(kind, special, vocabulary, size, **values):
    config = TokenizerConfig(kind=kind, path="v", special=special, **values)
    return place_special_tokens(config, vocabulary, size, 0 if special == "glmctl" else None)


def test_bert_keeps_its_own_ids_and_appends_the_rest():
    special, size = place("wordpiece", "glm-english-task", BERT, 30522, noise_token=True)
    assert (special.pad, special.eos, special.sep, special.cls) == (0, 0, 102, 101)
    assert (special.mask, special.unk, special.sop, special.eop) == (103, 100, 30522, 30523)
    assert (special.gmask, special.smask, special.noise) == (30524, 30525, 30526)
    assert size == 30527


def test_bert_without_task_masks_has_none():
    special, size = place("wordpiece", "glm-english", BERT, 30522)
    assert (special.gmask, special.smask, special.noise, size) == (None, None, None, 30524)
    assert place("wordpiece", "glm-english", BERT, 30522, noise_token=True)[0].noise == 30524


def test_sentinels_are_pairs_and_come_last():
    special, size = place("wordpiece", "glm-english", BERT, 30522, num_sentinels=3)
    assert special.sentinel_masks == (30524, 30526, 30528)
    assert special.sentinel_starts == (30525, 30527, 30529)
    assert special.strings["[MASK2]"] == 30526
    assert special.strings["<|startofpiece2|>"] == 30527
    assert size == 30530


def test_gpt2_appends_everything_but_the_end_of_text():
    special, size = place("byte_bpe", "glm-english-task", GPT2, 50257, noise_token=True)
    assert (special.pad, special.eos, special.sop, special.eop) == (50256, 50256, 50257, 50258)
    assert (special.cls, special.mask, special.sep, special.unk) == (50259, 50260, 50261, 50262)
    assert (special.gmask, special.smask, special.noise) == (50263, 50264, 50265)
    assert size == 50266


@pytest.mark.parametrize(
    ("special", "noise", "size"),
    [
        ("glm-english", False, 50263),
        ("glm-english", True, 50264),
        ("glm-english-task", False, 50265),
    ],
)
def test_sizes_of_gpt2(special, noise, size):
    assert place("byte_bpe", special, GPT2, 50257, noise_token=noise)[1] == size


def test_roberta_ends_a_document_with_its_separator():
    special, size = place("byte_bpe", "glm-english-task", ROBERTA, 50265)
    assert (special.pad, special.eos, special.sep, special.cls) == (2, 2, 2, 0)
    assert (special.mask, special.unk, special.sop, special.eop) == (50264, 3, 50265, 50266)
    assert (special.gmask, special.smask, size) == (50267, 50268, 50269)
    assert special.strings["<|endoftext|>"] == 2


def test_chinese_with_the_fixed_order():
    special, size = place("sentencepiece", "glm-chinese", {}, 50000, noise_token=True)
    assert (special.eos, special.sep, special.cls, special.mask) == (50000, 50001, 50002, 50003)
    assert (special.unk, special.sop, special.eop) == (50004, 50006, 50007)
    assert (special.smask, special.gmask, special.noise, size) == (50008, 50009, 50010, 50011)


def test_chinese_as_the_10b_model_was_trained_shares_an_id():
    special, size = place("sentencepiece", "glm-chinese-10b", {}, 50000, noise_token=True)
    assert (special.eop, special.gmask, special.smask) == (50007, 50007, 50008)
    assert (special.noise, size) == (50009, 50010)


@pytest.mark.parametrize(("special", "size"), [("glm-chinese", 50010), ("glm-chinese-10b", 50009)])
def test_sizes_of_chinese(special, size):
    assert place("sentencepiece", special, {}, 50000)[1] == size


def test_our_own_layout_appends_everything_but_the_unknown_token():
    special, size = place("sentencepiece", "glmctl", {}, 8000)
    assert (special.pad, special.eos, special.cls, special.sep) == (8000, 8000, 8001, 8002)
    assert (special.mask, special.smask, special.gmask) == (8003, 8004, 8005)
    assert (special.sop, special.eop, special.unk, size) == (8006, 8007, 0, 8008)


def test_each_objective_has_its_blank():
    special, _ = place("sentencepiece", "glmctl", {}, 8000)
    assert special.mask_for("token") == special.mask
    assert special.mask_for("sentence") == special.smask
    assert special.mask_for("document") == special.gmask


def test_without_task_masks_every_objective_has_the_same_blank():
    special, _ = place("wordpiece", "glm-english", BERT, 30522)
    assert special.mask_for("sentence") == 103
    assert special.mask_for("document") == 103


def test_a_layout_of_another_kind_is_refused():
    with pytest.raises(UsageError, match="'glmctl' does not fit kind 'wordpiece'; choose glm-eng"):
        check_layout(TokenizerConfig(kind="wordpiece", path="v", special="glmctl"))


def test_a_vocabulary_that_lacks_the_padding_is_refused():
    with pytest.raises(InputError, match=r"not the vocabulary of a wordpiece .* no \[PAD\]"):
        place("wordpiece", "glm-english", {"[UNK]": 0}, 1)
