import pytest

from glmctl.core.tokenizer.compare import Comparison
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.schema import TokenizerConfig


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


def test_lines_that_are_cut_differently_are_found_and_all_are_counted(whole, split):
    comparison = Comparison(whole, split)
    assert comparison.add(["the hot.", "", "the oven", "Hots"]) == [2]
    assert comparison.add(["  ", "hot oven!"]) == [1]
    assert (comparison.num_lines, comparison.num_different) == (4, 2)
    assert comparison.num_characters == 8 + 8 + 4 + 9
    assert comparison.num_tokens == [3 + 2 + 2 + 3, 3 + 3 + 2 + 4]
    assert comparison.num_unknown == [1, 0]


def test_the_first_difference_comes_with_the_pieces_of_both(whole, split):
    difference = Comparison(whole, split).disagreement("Hot the Ovens")
    assert difference.at == 8
    assert [[piece.text for piece in side] for side in difference.sides] == [
        ["hot", "the", "oven", "##s"],
        ["hot", "the", "ov", "##en", "##s"],
    ]


def test_a_piece_that_only_one_of_them_knows_is_a_difference(whole, split):
    comparison = Comparison(whole, split)
    assert comparison.add(["hot!"]) == [0]
    assert comparison.disagreement("hot!").at == 3


def test_a_line_that_ends_earlier_for_one_of_them_is_different(whole, split):
    assert Comparison(whole, split).disagreement("hot . oven").at == 6


def test_the_space_that_a_piece_takes_along_does_not_matter(bpe_folder, tmp_path):
    gpt2 = load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(bpe_folder), special="glm-english")
    )
    comparison = Comparison(wordpiece(tmp_path / "letters", "a", "b"), gpt2)
    assert comparison.add(["a b"]) == []
    assert comparison.add(["a  b"]) == [0]  # a space is a piece of its own


def test_control_strings_are_text(whole, split):
    comparison = Comparison(whole, split)
    comparison.add(["[MASK]"])
    assert comparison.num_tokens == [3, 3]
