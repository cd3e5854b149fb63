import pytest

from glmctl.core.tokenizer.compare import Comparison, DiffResult, Side
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig


def wordpiece(folder, *words: str):
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", *words]), encoding="utf-8")
    return load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(folder), special="glm-english")
    )


@pytest.fixture
def whole(tmp_path):
    return wordpiece(tmp_path / "whole", "the", "oven", "hot", ".", "##s")


@pytest.fixture
def split(tmp_path):
    return wordpiece(tmp_path / "split", "hot", "the", "ov", "##en", "##s", ".", "!")


@pytest.fixture
def comparison(whole, split) -> Comparison:
    return Comparison([whole, split], ("whole", "split"))


def test_lines_that_are_cut_differently_are_found_and_all_are_counted(comparison):
    assert comparison.add(["the hot.", "", "the oven", "Hots"]) == {2: 4}
    assert comparison.add(["  ", "hot oven!"]) == {1: 4}
    assert comparison.result == DiffResult(
        a=Side("whole", 3 + 2 + 2 + 3, 29 / 10, 1),
        b=Side("split", 3 + 3 + 2 + 4, 29 / 12, 0),
        num_lines=4,
        num_different=2,
    )


def test_the_place_of_a_difference_is_that_of_the_first_one(comparison):
    assert comparison.add(["Hot the Ovens oven"]) == {0: 8}


def test_a_piece_that_only_one_of_them_knows_is_a_difference(comparison):
    assert comparison.add(["hot!"]) == {0: 3}


def test_the_space_that_a_piece_takes_along_does_not_matter(bpe_folder, tmp_path):
    gpt2 = load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(bpe_folder), special="glm-english")
    )
    comparison = Comparison([wordpiece(tmp_path / "letters", "a", "b"), gpt2], ("a", "b"))
    assert comparison.add(["a b"]) == {}
    assert comparison.add(["a  b"]) == {0: 1}  # a space is a piece of its own
    assert comparison.add(["a b "]) == {0: 3}  # one line of pieces ends before the other


def test_control_strings_are_text(comparison):
    comparison.add(["[MASK]"])
    assert (comparison.result.a.num_tokens, comparison.result.b.num_tokens) == (3, 3)
