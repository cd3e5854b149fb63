from pathlib import Path

import pytest

from glmctl.core.decode.script import ScriptWatch
from glmctl.core.open import load
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig

CYRILLIC = "\u043a\u043e\u0442 [MASK]"


@pytest.fixture
def wordpiece(tmp_path: Path) -> ScriptWatch:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old", "\u043e"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    section = TokenizerConfig(
        kind="wordpiece", path=str(tmp_path / "vocab.txt"), special="glm-english-task"
    )
    return ScriptWatch(load_tokenizer(section))


def test_letters_that_are_the_unknown_token_are_named_once(wordpiece):
    assert wordpiece.warning("Paris is [MASK] old") is None
    assert wordpiece.warning(CYRILLIC) == (
        "3 of 3 letters are Cyrillic and not in the model's vocabulary, so it can hardly read "
        "them; use a model for this language"
    )
    assert wordpiece.warning(CYRILLIC) is None
    assert "4 of 4 letters are Greek" in (
        wordpiece.warning("\u03b3\u03b1\u03c4\u03b1 [MASK]") or ""
    )


def test_letters_that_are_spelled_in_bytes_are_unknown(tiny_model):
    watch = ScriptWatch(load(tiny_model).text_tokenizer())
    assert watch.warning("The bakery opens [MASK]") is None
    assert "3 of 3 letters are Cyrillic" in (watch.warning(CYRILLIC) or "")


def test_a_script_with_a_known_half_is_not_warned_of(wordpiece):
    assert wordpiece.warning("\u043e \u043e \u043a\u043a [MASK]") is None


def test_a_foreign_word_in_a_text_is_not_warned_of(wordpiece):
    assert wordpiece.warning("Paris is old \u043a\u043e\u0442 [MASK]") is None
    assert wordpiece.warning("7 + 8 = [MASK]") is None
