import pytest

from glmctl.core.tokenizer.library import read_wordpiece
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig


@pytest.fixture
def tokenizer(wordpiece_file):
    return load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(wordpiece_file), special="glm-english")
    )


def test_case_and_accents_are_dropped(tokenizer):
    assert tokenizer.encode("HELLO Caf\u00e9") == [5, 14]


def test_case_is_kept_for_a_cased_vocabulary(wordpiece_file):
    tokenizer = load_tokenizer(
        TokenizerConfig(
            kind="wordpiece", path=str(wordpiece_file), special="glm-english", lowercase=False
        )
    )
    assert tokenizer.encode("HELLO hello") == [1, 5]


def test_a_word_of_more_than_100_characters_is_unknown(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nx\n##x\n")
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(file), special="glm-english")
    )
    assert tokenizer.encode("x" * 100) == [5] + [6] * 99
    assert tokenizer.encode("x" * 101) == [1]


def test_the_line_number_is_the_id_whatever_ends_the_lines(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_bytes("a\r\n\u2028\nc".encode())
    assert read_wordpiece(file) == ["a", "\u2028", "c"]
