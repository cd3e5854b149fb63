import pytest

from glmctl.core.tokenizer.library import byte_characters
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError
from glmctl.recipe.model import TokenizerConfig


def config(place) -> TokenizerConfig:
    return TokenizerConfig(kind="byte_bpe", path=str(place), special="glm-english")


def test_every_byte_has_a_character():
    of = byte_characters()
    assert sorted(of.values()) == [bytes([byte]) for byte in range(256)]
    assert (of["A"], of["\u0120"], of["\u010a"], of["\u0100"]) == (b"A", b" ", b"\n", b"\0")


def test_text_comes_back_to_the_byte(bpe_folder):
    tokenizer = load_tokenizer(config(bpe_folder))
    text = " \t\u00e9\u2581 \U0001f600 \u70e4\u7bb1\n\n\0[x]"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_half_a_character_decodes_to_the_replacement_character(bpe_folder):
    tokenizer = load_tokenizer(config(bpe_folder))
    ids = tokenizer.encode("\U0001f600")
    assert tokenizer.decode(ids[:1]) == "\ufffd"


def test_a_file_path_takes_the_merges_beside_it(bpe_folder):
    assert load_tokenizer(config(bpe_folder / "vocab.json")).encode("oven") == load_tokenizer(
        config(bpe_folder)
    ).encode("oven")


def test_missing_merges_are_named(bpe_folder, tmp_path):
    (tmp_path / "vocab.json").write_bytes((bpe_folder / "vocab.json").read_bytes())
    with pytest.raises(InputError, match=r"vocab.json: its merges.txt is missing; put vocab.json"):
        load_tokenizer(config(tmp_path))


def test_merges_of_another_vocabulary_are_refused(bpe_folder, tmp_path):
    (tmp_path / "vocab.json").write_bytes((bpe_folder / "vocab.json").read_bytes())
    (tmp_path / "merges.txt").write_text("#version: 0.2\nq zzz\n")
    with pytest.raises(InputError, match=r"merges.txt: does not belong to .*vocab.json"):
        load_tokenizer(config(tmp_path))


@pytest.mark.parametrize("content", ["hello", "[1]", '{"a": 1}', '{"a": "b"}', '{"a": 0, "b": 0}'])
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(InputError, match=r"vocab.json: not a vocabulary"):
        load_tokenizer(config(tmp_path))
