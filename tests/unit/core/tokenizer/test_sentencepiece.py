import random

import pytest
import sentencepiece

from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.core.tokenizer.sentencepiece import (
    load_sentencepiece,
    sentences,
    train_sentencepiece,
)
from glmctl.errors import InputError
from glmctl.recipe.model import TokenizerConfig

ALPHABETS = [
    [chr(code) for code in range(0x80)],
    [*"ovenhotTheAsixand ,.;0123456789"],
    [chr(code) for code in range(0x4E00, 0x4F00)],
    ["\u2581", " ", "\t", "\n", "\r", "\0", "\u2028", "\u00a0", "\u200d", "\ufeff", "\ufffd"],
    ["\u0301", "\u20dd", "\ufe0f", "\U0001f600", "\U0001f469", "\U0001f1e8", "\U00020000"],
    ["[MASK]", "[gMASK]", "<|endoftext|>", "<0x41>", "<unk>", "<s>", "</s>", "\u2047"],
]


def random_text(rng: random.Random) -> str:
    letters = rng.choice(ALPHABETS) + rng.choice(ALPHABETS)
    any_character = chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
    return "".join(rng.choices([*letters, any_character], k=rng.randrange(40)))


@pytest.fixture
def own(own_file):
    return load_tokenizer(TokenizerConfig(path=str(own_file)))


def test_every_text_comes_back(own):
    rng = random.Random(7)
    for text in [random_text(rng) for _ in range(3000)]:
        ids = own.encode(text, special=False)
        assert own.decode(ids) == text
        assert own.special.unk not in ids


def test_offsets_tile_every_text(own):
    rng = random.Random(8)
    for text in [random_text(rng) for _ in range(1000)]:
        pieces = own.pieces(text, special=False)
        assert [piece.id for piece in pieces] == own.encode(text, special=False)
        covered = [index for piece in pieces for index in range(piece.start, piece.stop)]
        assert sorted(set(covered)) == [*range(len(text))]
        assert covered == sorted(covered)


@pytest.mark.parametrize(
    "text", ["", " ", "a  b", "\u2581", " \u2581 ", "x\u2581", "\u2581\u2581y"]
)
def test_spaces_and_their_stand_in_stay_apart(own, text):
    assert own.decode(own.encode(text)) == text


def test_the_stand_in_of_the_space_is_spelled_in_bytes(own):
    texts = [piece.text for piece in own.pieces("\u2581")]
    assert texts == ["<0xE2>", "<0x96>", "<0x81>"]


def test_digits_stand_alone(own):
    assert [own.token_text(token_id) for token_id in own.encode("66")][-2:] == ["<0x36>", "<0x36>"]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_gives_the_size_that_was_asked_for_and_the_same_again(model_type):
    text = ["The oven is hot.", "The bread is good."]
    model = train_sentencepiece(text, 273, model_type)
    assert sentencepiece.SentencePieceProcessor(model_proto=model).piece_size() == 273
    assert train_sentencepiece(text, 273, model_type) == model


def test_no_text_is_refused():
    with pytest.raises(InputError, match="there is no text to learn from"):
        train_sentencepiece([""], 300, "unigram")


def test_what_the_trainer_would_drop_is_cut_out():
    assert [*sentences(["a\tb\u2581c\nd", "x" * 1025])] == ["a", "b", "c", "d", "x" * 1024, "x"]


def test_a_size_that_the_text_cannot_fill_is_refused():
    with pytest.raises(InputError, match="--vocab-size: 9999 cannot be met: Vocabulary size too"):
        train_sentencepiece(["The oven is hot."], 9999, "unigram")


def test_a_size_below_the_alphabet_is_refused():
    with pytest.raises(InputError, match="--vocab-size: 20 cannot be met"):
        train_sentencepiece(["The oven is hot."], 20, "unigram")


def test_a_model_with_normalisation_or_without_bytes_is_not_called_lossless(tmp_path, lossy_file):
    assert not load_sentencepiece(lossy_file).is_lossless
    settings = {
        "identity, prefix": {"byte_fallback": True, "remove_extra_whitespaces": False},
        "identity, no bytes": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
        "identity, strip": {"add_dummy_prefix": False, "byte_fallback": True},
    }
    for values in settings.values():
        file = tmp_path / "some.model"
        with file.open("wb") as stream:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(["The oven is hot."] * 3),
                model_writer=stream,
                vocab_size=300 if "byte_fallback" in values else 22,
                normalization_rule_name="identity",
                hard_vocab_limit=False,
                minloglevel=2,
                **values,
            )
        assert not load_sentencepiece(file).is_lossless


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("a.txt:9", "not UTF-8")])
def test_an_error_in_the_middle_of_the_text_is_that_error(error):
    def documents():
        yield from ["The oven is hot."] * 50
        raise error

    with pytest.raises(type(error)) as caught:
        train_sentencepiece(documents(), 300, "bpe")
    assert caught.value is error


def test_a_file_that_is_no_model_is_refused(tmp_path):
    file = tmp_path / "some.model"
    file.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"some.model: not a SentencePiece model; name another"):
        load_sentencepiece(file)
