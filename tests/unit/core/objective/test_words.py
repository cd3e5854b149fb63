import re
from dataclasses import replace

import numpy as np
import pytest

from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.objective.words import Words, find_words
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import find_tokenizer
from glmctl.recipe.schema import ObjectiveConfig

SMILE = "\U0001f600"
TEXT = (
    f"unbelievable xylophones, na\u00efve (1,234) e\u0301te\u0301 \u7528Python\u5199\u9762\u5305 "
    f"hello{SMILE}{SMILE} {SMILE}! \ud55c\uad6d\uc5b4\ub294 \U00020bb7\u91ce\u5bb6\n"
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"
)
WORDS = [
    *("unbelievable", " xylophones", ",", " na\u00efve", " (", "1", ",", "234", ")"),
    *(" e\u0301te\u0301", " \u7528", "Python", "\u5199", "\u9762", "\u5305", " hello"),
    *(SMILE, SMILE, f" {SMILE}", "!", " \ud55c\uad6d\uc5b4\ub294"),
    *(" \U00020bb7", "\u91ce", "\u5bb6", "\n"),
    *("\u0e2a", "\u0e27\u0e31", "\u0e2a", "\u0e14\u0e35"),
]
"""By hand: letters and digits run on, marks stay, and every other sign is alone."""


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    special = tokenizer.special
    tokens = np.array([special.cls, *tokenizer.encode(text, special=False), special.eos])
    edges, num_words = find_words(tokenizer).find(tokens, np.array([len(tokens)]))
    assert num_words.tolist() == [len(edges) - 1]
    return [tokenizer.decode(word.tolist()) for word in np.split(tokens, edges[1:-1])][1:-1]


def spellings(*pieces: str) -> Words:
    """Token i is piece i."""
    return Words([piece.encode() for piece in pieces])


def test_our_own_pieces_make_whole_words_and_whole_characters():
    assert words_of(find_tokenizer(), TEXT) == WORDS


def test_byte_bpe_makes_the_same_words_but_for_a_longer_piece_of_chinese(bpe_folder):
    bread = WORDS.index("\u9762")
    expected = [*WORDS[:bread], "\u9762\u5305", *WORDS[bread + 2 :]]
    assert words_of(find_tokenizer(str(bpe_folder)), TEXT) == expected


def test_wordpiece_says_which_pieces_continue_a_word(wordpiece_file):
    tokenizer = find_tokenizer(str(wordpiece_file))
    assert words_of(tokenizer, "Hello, unbelievable great cafe") == [
        *("hello", ",", "unbelievable", "great", "cafe")
    ]


def test_a_word_of_a_lossy_vocabulary_begins_with_its_mark(lossy_file):
    tokenizer = find_tokenizer(str(lossy_file), special="glm-chinese")
    assert words_of(tokenizer, "the oven is hot") == ["the", "oven", "is", "hot"]


def test_a_character_that_a_vocabulary_does_not_know_may_be_a_letter(lossy_file):
    tokenizer = find_tokenizer(str(lossy_file), special="glm-chinese")
    assert len(words_of(tokenizer, "the o\u0416en")) == 2


def test_each_piece_of_chinese_is_a_word_however_long():
    words = spellings("\u9762\u5305", "\u5e97", "[eos]")
    edges, _ = words.find(np.array([0, 1, 2]), np.array([3]))
    assert edges.tolist() == [0, 1, 2, 3]


def test_a_sample_begins_with_a_word_whatever_stands_before_it():
    words = spellings("bread", "s")
    edges, num_words = words.find(np.array([0, 1, 1, 0, 1]), np.array([2, 3]))
    assert (edges.tolist(), num_words.tolist()) == ([0, 2, 5], [1, 1])


def test_bytes_that_are_no_character_belong_to_the_word_before_them():
    words = Words([b"a", b"\xf0\x9f", b" b"])
    edges, _ = words.find(np.array([0, 1, 2, 1, 1]), np.array([5]))
    assert edges.tolist() == [0, 2, 5]


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"token_weight": 0.0, "single_span_weight": 1.0},
        {"token_weight": 0.0, "sentence_weight": 1.0},
        {"token_weight": 0.0, "document_weight": 1.0},
        {"kind": "mlm"},
        {"block_mask_probability": 0.3, "random_position": True},
    ],
)
def test_no_span_cuts_a_word(weights, own_file):
    """The words of the text come from a regular expression here."""
    tokenizer = find_tokenizer(str(own_file), special="glmctl")
    config = ObjectiveConfig.model_validate({"mask_ratio": 0.3, "whole_words": True, **weights})
    special = replace(tokenizer.special, noise=tokenizer.special.sep)
    text = (
        "Zebras quickly jumped. The oven, xylophones; \u9762\u5305\u5e97 unbelievable! Hot bread."
    )
    row = [special.cls, *tokenizer.encode(text), special.eos]
    places = [0]
    for token in row[1:-1]:
        places.append(places[-1] + len(tokenizer.vocabulary.tokens[token]))
    data = text.encode()
    inside = {len(text[: m.end()].encode()) for m in re.finditer(r"[a-zA-Z](?=[a-zA-Z])", text)}
    corruption = Corruption(config, special, tokenizer.sentence_ends(), 256, find_words(tokenizer))
    keys = sample_keys(1, 0, np.arange(400))
    spans = corruption(np.tile(row, 400), np.full(400, len(row)), keys).spans[:, 1:]
    edges = {places[edge - 1] for edge in spans.ravel().tolist() if 0 < edge < len(row)}
    assert len(edges) >= 5
    assert not edges & inside
    for edge in edges:  # nor a character
        data[edge:].decode()


def test_lengths_are_counted_in_words():
    words = spellings("[", " a", "b")
    row = [0, *[1, 2, 2] * 100, 0]
    config = ObjectiveConfig(max_span_length=1, whole_words=True)
    corruption = Corruption(config, find_tokenizer().special, np.zeros(99, bool), 999, words)
    spans = corruption(np.array(row), np.array([302]), sample_keys(1, 0, 7)).spans
    assert {stop - start for _, start, stop in spans.tolist()} == {3}
    assert len(spans) == 15  # 0.15 of 102 words
    assert (spans[:, 1] % 3 == 1).all()
    sizes, num_words = corruption.measure(np.array(row), np.array([302]), spans)
    assert (sizes.tolist(), num_words.tolist()) == ([1] * 15, [102])


def test_the_words_of_a_sample_do_not_depend_on_its_neighbours():
    tokenizer = find_tokenizer()
    config = ObjectiveConfig(token_weight=0.5, sentence_weight=0.3, document_weight=0.2)
    config = config.model_copy(update={"whole_words": True})
    ends = tokenizer.sentence_ends()
    corruption = Corruption(config, tokenizer.special, ends, 999, find_words(tokenizer))
    rows = [np.array([tokenizer.special.cls, *tokenizer.encode(f"{TEXT} {n}")]) for n in range(30)]
    keys = sample_keys(2, 0, np.arange(30))
    together = corruption(np.concatenate(rows), np.array([len(row) for row in rows]), keys)
    alone = [
        corruption(row, np.array([len(row)]), keys[n : n + 1]).input_ids
        for n, row in enumerate(rows)
    ]
    assert together.input_ids.tolist() == np.concatenate(alone).tolist()
