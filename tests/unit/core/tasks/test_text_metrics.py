"""Metrics of written texts against values computed by hand, and against known packages.

ROUGE: Lin (2004), as rouge-score computes it. BLEU: Papineni et al. (2002), as multi-bleu.perl.
SQuAD: evaluate-v2.0.py. CMRC: cmrc2018_evaluate.py. Spans: seqeval.
"""

import math
import sys

import numpy as np
import pytest
import sacrebleu

from glmctl.core.tasks.formats import sentence
from glmctl.core.tasks.metrics import Judged, measure
from glmctl.core.tasks.text_metrics import lines_kept, rouge_scorer
from glmctl.errors import UsageError


def judged(*pairs):
    return [Judged(number, it, golds) for number, (it, golds) in enumerate(pairs)]


def value_of(name, *pairs):
    return measure(name, judged(*pairs), ()).value


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("", (), 100.0, 100.0),  # rightly nothing
        ("N/A", ("N/A",), 100.0, 100.0),
        ("", ("N/A",), 100.0, 100.0),
        ("at six", ("N/A",), 0.0, 0.0),
        ("N/A", ("six",), 0.0, 0.0),
        ("the", ("a",), 100.0, 100.0),  # nothing is left of both
    ],
)
def test_no_answer_is_an_empty_one(prediction, golds, exact, overlap):
    pair = (prediction, golds)
    assert value_of("exact_match", pair) == pytest.approx(exact, abs=1e-12)
    assert value_of("token_f1", pair) == pytest.approx(overlap, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("六点", ("六点",), 100.0, 100.0),
        ("《六点》。", ("六点",), 100.0, 100.0),  # punctuation is no part
        ("早上六点", ("六点", "下午"), 0.0, 200 / 3),  # run of 2 in 4 and 2
        ("六一点", ("六二点",), 0.0, 100 / 3),  # only runs count: 1 of 3 and 3
        ("Bakery 六点", ("bakery",), 0.0, 50.0),  # a word is one unit
        ("", ("六点",), 0.0, 0.0),
        ("", ("。",), 100.0, 100.0),
    ],
)
def test_chinese_answers_share_a_run_of_characters(prediction, golds, exact, overlap):
    pair = (prediction, golds)
    assert value_of("char_match", pair) == pytest.approx(exact, abs=1e-12)
    assert value_of("char_f1", pair) == pytest.approx(overlap, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "golds", "one", "two", "longest"),
    [
        ("the cat sat", ("the cat sat",), 100.0, 100.0, 100.0),
        ("the cats sat down", ("the cat sat",), 600 / 7, 80.0, 600 / 7),  # 3 of 4 and 3; 2 of 3, 2
        ("", ("the cat",), 0.0, 0.0, 0.0),
        ("a b", ("x y", "a c", "a b c"), 80.0, 200 / 3, 80.0),  # the nearest of several
        ("b a", ("a b",), 100.0, 0.0, 50.0),
        ("one two[SEP]three four", ("three four[SEP]one two",), 100.0, 200 / 3, 100.0),
        ("x x x", ("x",), 50.0, 0.0, 50.0),
    ],
)
def test_rouge_by_hand(prediction, golds, one, two, longest):
    pair = (prediction, golds)
    assert value_of("rouge1", pair) == pytest.approx(one, abs=1e-12)
    assert value_of("rougeLsum", pair) == pytest.approx(longest, abs=1e-12)
    assert value_of("rouge2", pair) == pytest.approx(two, abs=1e-12)


def test_rouge_of_many_is_their_mean():
    assert value_of("rouge1", ("a b", ("a b",)), ("c", ("d",))) == pytest.approx(50.0, abs=1e-12)


@pytest.mark.parametrize(
    ("summary", "kept"),
    [
        ("one two three four", []),  # four words are too few
        ("one two three four five", ["one two three four five"]),
        ("a b c d e[SEP]A b c d x", ["a b c d e"]),  # 4 of 5 were seen
        ("a b c d e f g h i j[SEP]a b c d e f g x y z",
         ["a b c d e f g h i j", "a b c d e f g x y z"]),  # 7 of 10 are not too many
        ("", []),
    ],
)  # fmt: skip
def test_the_post_processing_leaves_out_short_and_repeated_lines(summary, kept):
    assert lines_kept(summary) == kept


def test_both_numbers_of_a_summary_are_there():
    pair = ("a b c d e[SEP]x y", ("a b c d e",))
    assert value_of("rouge1", pair) == pytest.approx(1000 / 12, abs=1e-12)
    assert value_of("rouge1_paper", pair) == pytest.approx(100.0, abs=1e-12)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    rouge_scorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(UsageError, match=r"needs rouge-score; pip install 'glmctl\[eval\]'"):
        value_of("rouge1", ("a", ("a",)))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("a b c d", ("a b c d",))], 100.0),
        # 4/5, 3/4, 2/3, 1/2
        ([("a b c d x", ("a b c d y",))], 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ([("a b c d", ("a b c d e",))], 100 * math.exp(1 - 5 / 4)),  # too short
        ([("a b c", ("a b c",))], 0.0),  # no four words in a row
        ([("", ("a b c d",))], 0.0),
        # Counts of both add up: 5/6, 3/4, 2/2, 1/1, lengths 6 and 6
        ([("a b c d", ("a b c d",)), ("e f", ("e g",))], 100 * (5 / 6 * 3 / 4) ** 0.25),
        # A word counts as often as in the gold that has it most: 3/4, 2/3, 1/2, 0
        ([("a a a a", ("a a a", "a b"))], 0.0),
        # Golds of 3 and 5 words are as near to 4: the shorter counts
        ([("a b c d", ("a b c d e", "x y z"))], 100.0),
    ],
)
def test_bleu_by_hand(pairs, expected):
    assert value_of("bleu", *pairs) == pytest.approx(expected, abs=1e-12)


def test_bleu_is_that_of_sacrebleu():
    generator = np.random.default_rng(0)
    words = np.array(["the", "oven", "is", "hot", "."])
    texts = [" ".join(generator.choice(words, 12)) for _ in range(60)]
    ours, golds = texts[:30], texts[30:]
    theirs = sacrebleu.corpus_bleu(ours, [golds], tokenize="none", smooth_method="none").score
    found = measure("bleu", judged(*zip(ours, ((it,) for it in golds), strict=True)), ())
    assert found.value == pytest.approx(theirs, abs=1e-12)
    assert found.interval[0] < found.value < found.interval[1]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("Ann; Bob", ("Ann; Bob",))], 100.0),
        ([("Ann", ("Ann; Bob",)), ("none", ("none",))], 200 / 3),  # 1 of 1 and 1 of 2
        ([("none", ("none",)), ("", ("none",))], 0.0),  # there is no entity: seqeval gives 0
        ([("Ann; Ann", ("Ann",))], 200 / 3),  # one mention is there
        ([("Bob;Ann ", ("Ann; Bob",))], 100.0),
        ([("Ann Lee", ("Ann",)), ("Rome", ("Rome",))], 50.0),
    ],
)
def test_entities_are_right_as_wholes(pairs, expected):
    assert value_of("span_f1", *pairs) == pytest.approx(expected, abs=1e-12)


def test_span_f1_counts_entities_of_all_types_together():
    text = "Ann Lee sees Bob in Rome".split()
    gold = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"]
    ours = ["B-PER", "O", "O", "B-PER", "O", "B-PER"]
    answers = {}
    for name, tags in (("gold", gold), ("ours", ours)):
        found = sentence([*zip(text, tags, strict=True)], 1)["entities"]
        for kind in ("PER", "LOC"):
            answers[name, kind] = "; ".join(it["text"] for it in found if it["type"] == kind)
    pairs = [(answers["ours", it] or "none", (answers["gold", it] or "none",))
             for it in ("PER", "LOC")]  # fmt: skip
    # Bob alone is right, of three found and three there.
    assert value_of("span_f1", *pairs) == pytest.approx(100 / 3, abs=1e-12)
