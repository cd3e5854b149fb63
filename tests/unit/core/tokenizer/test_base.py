import numpy as np
import pytest

from glmctl.core.tokenizer.base import Piece
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError
from glmctl.recipe.model import TokenizerConfig


@pytest.fixture
def own(own_file):
    return load_tokenizer(TokenizerConfig(path=str(own_file)))


@pytest.fixture
def bert(wordpiece_file):
    return load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(wordpiece_file), special="glm-english")
    )


@pytest.fixture
def gpt2(bpe_folder):
    return load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(bpe_folder), special="glm-english-task")
    )


@pytest.fixture
def chinese(lossy_file):
    return load_tokenizer(
        TokenizerConfig(kind="sentencepiece", path=str(lossy_file), special="glm-chinese-10b")
    )


def test_control_strings_become_control_tokens(bert):
    assert bert.encode("hello [MASK] [SEP]<|endofpiece|>") == [5, 4, 3, 16]


def test_control_strings_are_case_sensitive(bert):
    assert bert.special.mask not in bert.encode("[mask]")


def test_control_strings_stay_text_when_asked(gpt2):
    ids = gpt2.encode("[MASK]", special=False)
    assert gpt2.special.mask not in ids
    assert gpt2.decode(ids) == "[MASK]"


@pytest.mark.parametrize("name", ["bert", "gpt2", "chinese"])
@pytest.mark.parametrize("text", ["", " ", " \n\t\u3000"])
def test_the_released_layouts_make_nothing_of_whitespace(name, text, request):
    tokenizer = request.getfixturevalue(name)
    assert tokenizer.encode(text) == []
    assert tokenizer.encode(text, special=False) == []
    assert tokenizer.pieces(text) == []
    assert tokenizer.encode_batch([text, "oven"])[0].tolist() == []


def test_a_blank_swallows_the_whitespace_to_its_left(gpt2):
    mask, gmask = gpt2.special.mask, gpt2.special.gmask
    assert gpt2.encode("a \n [MASK]  [gMASK] b") == [
        *gpt2.encode("a"), mask, gmask, *gpt2.encode(" b")
    ]  # fmt: skip


def test_other_special_tokens_leave_the_whitespace_alone(gpt2):
    assert gpt2.encode("a [SEP]") == [*gpt2.encode("a "), gpt2.special.sep]


def test_our_own_blank_swallows_one_space_only(own):
    mask = own.special.mask
    assert own.encode("hot  [MASK]") == [*own.encode("hot "), mask]
    assert own.encode("hot\n[MASK]") == [*own.encode("hot\n"), mask]


def test_decoding_shows_special_tokens_as_their_strings(bert, gpt2):
    assert bert.decode([5, 6, 9, 4, 15, 10]) == "hello world , [MASK] <|startofpiece|> ."
    assert gpt2.decode([gpt2.special.mask, *gpt2.encode(" oven")]) == "[MASK] oven"


def test_continued_pieces_are_glued_to_what_is_before(bert):
    assert bert.encode("Unbelievable") == [11, 12, 13]
    assert bert.decode([11, 12, 13, 4, 13]) == "unbelievable [MASK]able"


def test_an_id_that_two_tokens_share_prints_as_the_later_one(chinese):
    assert chinese.special.gmask == chinese.special.eop
    assert chinese.decode([chinese.special.eop]) == "[gMASK]"


def test_the_unused_id_of_the_chinese_layouts_prints_as_nothing(chinese):
    assert chinese.decode([chinese.special.unk + 1]) == ""


@pytest.mark.parametrize("token_id", [-1, 328])
def test_an_id_outside_the_vocabulary_is_refused(own, token_id):
    with pytest.raises(InputError, match=f"id {token_id}: not in the vocabulary.* 0 to 327"):
        own.decode([5, token_id])


def test_a_batch_gives_the_ids_of_its_texts(own, bert, gpt2, chinese):
    texts = ["The oven [MASK] hot.", "", "a \u2581 b", " ", "\u9762\u5305\u5f88\u9999", "[CLS]"]
    for tokenizer in (own, bert, gpt2, chinese):
        for special in (True, False):
            rows = tokenizer.encode_batch(texts, special=special)
            assert [row.dtype for row in rows] == [np.int32] * 6
            assert [row.tolist() for row in rows] == [
                tokenizer.encode(text, special=special) for text in texts
            ]


def test_pieces_have_the_characters_that_they_cover(bert):
    assert bert.pieces("Caf\u00e9 [MASK] unbelievable") == [
        Piece(14, "cafe", 0, 4),
        Piece(4, "[MASK]", 5, 11),
        Piece(11, "un", 12, 14),
        Piece(12, "##believ", 14, 20),
        Piece(13, "##able", 20, 24),
    ]


@pytest.mark.parametrize("name", ["own", "gpt2"])
def test_bytes_of_one_character_all_cover_it(name, request):
    tokenizer = request.getfixturevalue(name)
    pieces = tokenizer.pieces("z\U0001f600\u2581!")
    assert [(piece.start, piece.stop) for piece in pieces] == [
        (0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)
    ]  # fmt: skip


def test_pieces_of_the_chinese_model_follow_the_text_as_it_was_written(chinese):
    text = "\uff34\uff48\uff45 oven"  # full-width letters, which the model normalises
    pieces = chinese.pieces(text)
    assert [piece.id for piece in pieces] == chinese.encode(text)
    assert pieces[-1].stop == 8
    assert all(piece.start <= piece.stop for piece in pieces)


def test_sentence_ends_are_tokens_with_a_mark(own):
    ends = own.sentence_ends()
    assert ends.shape == (own.size,)
    marked = {own.token_text(token_id) for token_id in np.flatnonzero(ends)}
    assert {"<0x0A>", "<0x2E>", "<0x21>", "<0x3F>", "<0x3B>", "<0x3A>"} <= marked
    assert marked - {"<0x0A>", "<0x2E>", "<0x21>", "<0x3F>", "<0x3B>", "<0x3A>"} <= {
        "\u3002", ".", ";"
    }  # fmt: skip


def test_a_newline_of_byte_bpe_ends_a_sentence(gpt2):
    (newline,) = gpt2.encode("x\nx")[1:2]
    assert gpt2.token_text(newline) == "\u010a"
    assert gpt2.sentence_ends()[newline]


def test_the_fingerprint_tells_vocabularies_and_layouts_apart(own_file, lossy_file):
    config = TokenizerConfig(path=str(own_file))
    first = load_tokenizer(config).fingerprint
    assert first == load_tokenizer(config).fingerprint
    changes = [{"noise_token": True}, {"num_sentinels": 1}, {"path": str(lossy_file)}]
    others = {load_tokenizer(config.model_copy(update=change)).fingerprint for change in changes}
    assert len({first, *others}) == 4
    assert len(first) == 32


@pytest.mark.parametrize("name", ["own", "bert", "gpt2", "chinese"])
def test_a_saved_tokenizer_is_the_same_in_its_folder(name, request, tmp_path):
    tokenizer = request.getfixturevalue(name)
    config = tokenizer.save(tmp_path)
    assert "/" not in config.path
    again = load_tokenizer(config, tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode("The oven [MASK].") == tokenizer.encode("The oven [MASK].")


def test_only_our_own_vocabularies_promise_to_lose_nothing(own, bert, gpt2, chinese):
    assert own.is_lossless
    assert not any(tokenizer.is_lossless for tokenizer in (bert, gpt2, chinese))
