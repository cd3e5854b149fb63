"""Every metric against sets computed by hand from its official definition.

F1, Matthews, spans: scikit-learn and seqeval. SQuAD: evaluate-v2.0.py, with its threshold of
having no answer. CMRC: cmrc2018_evaluate.py. ROUGE: Lin (2004), as rouge-score computes it. BLEU:
Papineni et al. (2002), as multi-bleu.perl.
"""

import math
from typing import get_args

import pytest

from glmctl.core.tasks.ask import Evidence
from glmctl.core.tasks.metrics import Judged, measure
from glmctl.core.tasks.schema import Metric

LABELS = {"f1": ("no", "yes"), "matthews": ("no", "yes"), "f1_macro": ("a", "b", "c")}


def judged(*pairs):
    """Predictions with one gold or several."""
    return [
        Judged(number, it, gold if isinstance(gold, tuple) else (gold,))
        for number, (it, gold) in enumerate(pairs)
    ]


def counted(pairs):
    return judged(*(pair for pair, number in pairs.items() for _ in range(number)))


def in_parts(parts):
    """Right and wrong ones of parts."""
    return [
        Judged(f"{part} {number}", "0", ("0" if is_right == "1" else "1",), part=part)
        for part, marks in parts.items()
        for number, is_right in enumerate(marks)
    ]


def in_groups(groups):
    return [
        Judged(group, "0", ("0" if is_right == "1" else "1",)) for group, is_right in groups.split()
    ]


def weighed(*rows):
    """The best answer, the golds, and the log-probability of none less that of the answer."""
    return [
        Judged(number, "", golds, scores=(("N/A", odds - 1.0), (answer, -1.0)))
        for number, (answer, golds, odds) in enumerate(rows)
    ]


def compared(*rows):
    """Target, and scores of the anti-stereotype, the stereotype and the unrelated sentence."""
    names = ("anti", "stereo", "other")
    return [
        Judged(number, "", ("",), part=target, scores=tuple(zip(names, scores, strict=True)))
        for number, (target, scores) in enumerate(rows)
    ]


def effects(*values):
    return [
        Judged(number, "", (), scores=(("effect_size", it), ("p_value", 0.5)))
        for number, it in enumerate(values)
    ]


def numbers(*pairs):
    return judged(*((str(said), str(right)) for said, right in pairs))


def texts(*evidence):
    return [Judged(n, "", (), Evidence(*it)) for n, it in enumerate(evidence)]


NONE = ("N/A",)
BEST = [
    # Base: one has no answer. The first is answered rightly, the second one not any more.
    (weighed(("six", ("six",), -2.0), ("noon", NONE, 3.0)), 100.0),
    (weighed(("ten", ("six",), -1.0), ("noon", NONE, 0.0)), 50.0),  # answering none is best
    # Of two that tie, the script stops behind the first of the file.
    (weighed(("six", ("six",), 0.0), ("noon", NONE, 0.0)), 100.0),
    (weighed(("noon", NONE, 0.0), ("six", ("six",), 0.0)), 50.0),
    (weighed(("", NONE, 0.0), ("", ("six",), 1.0)), 50.0),  # nothing is written
    (weighed(("the six", ("ten", "six"), 0.0)), 100.0),
    (weighed(("noon", (), 5.0)), 100.0),  # no gold is no answer
    # In the order of the score: wrongly answered, then two right ones: 1, then 2, then 3 of 4.
    (
        weighed(("a b", ("a b",), 2.0), ("x", NONE, -3.0), ("c", ("c",), 1.0), ("y", NONE, 3.0)),
        75.0,
    ),
]
SUMMARIES = {
    # prediction and golds: ROUGE-1, 2 and L
    ("the cat sat", ("the cat sat",)): (100.0, 100.0, 100.0),
    ("the cats sat down", ("the cat sat",)): (600 / 7, 80.0, 600 / 7),  # 3 of 4 and 3; 2 of 3, 2
    ("", ("the cat",)): (0.0, 0.0, 0.0),
    ("a b", ("x y", "a c", "a b c")): (80.0, 200 / 3, 80.0),  # the nearest of several
    ("b a", ("a b",)): (100.0, 0.0, 50.0),
    ("one two[SEP]three four", ("three four[SEP]one two",)): (100.0, 200 / 3, 100.0),
    ("x x x", ("x",)): (50.0, 0.0, 50.0),
}
KEPT = {
    # The released code leaves out lines of less than five words, and those of which more than 0.7
    # of the words were seen.
    ("a b c d e[SEP]x y", ("a b c d e",)): (100.0, 100.0, 100.0),
    ("a b c d", ("a b c d",)): (0.0, 0.0, 0.0),
    ("", ("a b c d e",)): (0.0, 0.0, 0.0),
    ("a b c d e[SEP]A b c d x", ("a b c d e",)): (100.0, 100.0, 100.0),
    ("a b c d e", ("x y", "a b c d f")): (80.0, 75.0, 80.0),
    ("a b c d e[SEP]a b c x y", ("a b c d e",)): (200 / 3, 800 / 13, 200 / 3),  # 3 of 5 are few
}
ROUGE = ("rouge1", "rouge2", "rougeLsum")
CHINESE = {
    # prediction and golds: exact, and F1 of the longest run of characters
    ("六点", ("六点",)): (100.0, 100.0),
    ("《六点》。", ("六点",)): (100.0, 100.0),  # punctuation is no part
    ("早上六点", ("六点", "下午")): (0.0, 200 / 3),  # run of 2 in 4 and 2
    ("六一点", ("六二点",)): (0.0, 100 / 3),  # only runs count: 1 of 3 and 3
    ("Bakery 六点", ("bakery",)): (0.0, 50.0),  # a word is one unit
    ("", ("六点",)): (0.0, 0.0),
    ("", ("。",)): (100.0, 100.0),
}
ANSWERS = {
    # prediction and golds: exact, and F1 of words
    ("The Grey Cat.", ("grey cat",)): (100.0, 100.0),
    ("grey cat", ("the big grey cat",)): (0.0, 80.0),  # 2 of 2 and 2 of 3 words
    ("", ("cat",)): (0.0, 0.0),
    ("cat", ()): (0.0, 0.0),
    ("a cat", ("dog", "an oven", "cat")): (100.0, 100.0),
    ("cat cat dog", ("cat dog dog",)): (0.0, 200 / 3),  # each word as often as in both
    ("cat cat", ("cat",)): (0.0, 200 / 3),
    ("its oven", ("it's oven",)): (100.0, 100.0),
    ("", ()): (100.0, 100.0),  # rightly nothing
    ("N/A", NONE): (100.0, 100.0),
    ("", NONE): (100.0, 100.0),
    ("at six", NONE): (0.0, 0.0),
    ("N/A", ("six",)): (0.0, 0.0),
    ("the", ("a",)): (100.0, 100.0),  # nothing is left of both
}
STEREOTYPES = {
    # Sets: lms, ss and icat
    1: (compared(("cook", (-2, -1, -3)), ("cook", (-1, -2, -3))), (100.0, 50.0, 100.0)),
    # The cook: 2 of 4 make sense, 1 of 2 is the stereotype; the poet: 2 of 2, 1 of 1. Their means.
    2: (
        compared(("cook", (-2, -1, 0)), ("cook", (-1, -2, -3)), ("poet", (-2, -1, -3))),
        (75.0, 75.0, 75.0 * 0.25 / 0.5),
    ),
    3: (compared(("cook", (-1, -1, -1))), (0.0, 0.0, 0.0)),  # ties are neither
    4: (compared(("cook", (-1, -1, -2))), (100.0, 0.0, 0.0)),  # a tie counts as the opposite
    5: (compared(("cook", (-3, -1, -2))), (50.0, 100.0, 0.0)),
    6: (
        compared(("cook", (-3, -1, -2)), ("poet", (-1, -3, -2)), ("tailor", (-2, -1, -3))),
        (200 / 3, 200 / 3, 200 / 3 * (1 / 3) / 0.5),
    ),
}
VECTORS = {
    "accuracy": [
        (counted({("yes", "yes"): 1, ("no", "yes"): 1, ("no", "no"): 2}), 75.0),
        (counted({("yes", "no"): 1}), 0.0),
        (counted({("yes", "yes"): 1}), 100.0),
        (counted({("", "yes"): 1, ("yes", "yes"): 1}), 50.0),
        (counted({("b", ("a", "b")): 2, ("c", ("a", "b")): 1}), 200 / 3),
    ],
    "accuracy_macro": [
        (in_parts({"a": "110", "b": "0"}), 100 / 3),  # 2/3 and 0
        (in_parts({"a": "1111", "b": "0"}), 50.0),
        (in_parts({"a": "10"}), 50.0),
        (in_parts({"a": "1", "b": "10", "c": "100"}), 100 * (1 + 1 / 2 + 1 / 3) / 3),
        (in_parts({"a": "0", "b": "00"}), 0.0),
        (judged(("", "yes"), ("yes", ("no", "yes"))), 50.0),  # one part without a name
    ],
    "f1": [
        # precision 1/2, recall 1/3
        (counted({("yes", "yes"): 1, ("yes", "no"): 1, ("no", "yes"): 2}), 40.0),
        (counted({("no", "yes"): 1, ("no", "no"): 1}), 0.0),
        (counted({("no", "no"): 2}), 0.0),
        (counted({("yes", "yes"): 1, ("no", "no"): 1}), 100.0),
        (counted({("yes", "no"): 1, ("yes", "yes"): 1}), 200 / 3),
        (counted({("", "yes"): 1, ("yes", "yes"): 1}), 200 / 3),
    ],
    "f1_macro": [
        # a: 1 of 2 and 2; b: 2 of 3 and 2; c: never predicted, once actual
        (
            judged(("a", "a"), ("b", "b"), ("a", "c"), ("b", "b"), ("b", "a")),
            100 * (0.5 + 0.8) / 3,
        ),
        (judged(("a", "a"), ("b", "b")), 100.0),  # c does not occur
        (judged(("a", "b"), ("b", "a")), 0.0),
        (judged(("a", "a"), ("a", "b")), 100 * (2 / 3) / 2),
        (judged(("c", "a")), 0.0),
        (judged(("", "a"), ("a", "a")), 200 / 3),
    ],
    "matthews": [
        # true positives 2, false positives 1, false negatives 1, true negatives 1
        (
            counted({("yes", "yes"): 2, ("yes", "no"): 1, ("no", "yes"): 1, ("no", "no"): 1}),
            100 * (2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5,
        ),
        (counted({("yes", "yes"): 1, ("no", "no"): 1}), 100.0),
        (counted({("no", "yes"): 1, ("yes", "no"): 1}), -100.0),
        (counted({("yes", "yes"): 1, ("yes", "no"): 1}), 0.0),  # one label only: not defined
        (counted({("yes", "yes"): 1}), 0.0),
    ],
    "exact_match": [(judged(pair), exact) for pair, (exact, _) in ANSWERS.items()],
    "token_f1": [(judged(pair), overlap) for pair, (_, overlap) in ANSWERS.items()],
    "best_exact": [*BEST, (weighed(("big cat", ("cat",), 0.0)), 0.0)],
    "best_f1": [
        *BEST,
        (weighed(("big cat", ("cat",), 0.0)), 200 / 3),
        # 2/3, then 2/3 - 1, then 5/3 of 3, beside the one without an answer: 5/3 at best
        (weighed(("a big cat", ("cat",), 0.0), ("x", NONE, 1.0), ("y", ("y",), 2.0)), 500 / 9),
    ],
    "exact_groups": [
        (in_groups("11 11 21 20"), 50.0),
        (in_groups("11 21 10 21"), 50.0),
        (in_groups("10"), 0.0),
        (in_groups("11 11 11"), 100.0),
        (in_groups("11 20 31 31"), 200 / 3),
        (judged(("", "yes"), ("yes", ("no", "yes"))), 50.0),
    ],
    "char_match": [(judged(pair), exact) for pair, (exact, _) in CHINESE.items()],
    "char_f1": [(judged(pair), overlap) for pair, (_, overlap) in CHINESE.items()],
    **{
        f"{name}{end}": [(judged(pair), values[place]) for pair, values in table.items()]
        for place, name in enumerate(ROUGE)
        for end, table in (("", SUMMARIES), ("_paper", KEPT))
    },
    "bleu": [
        (judged(("a b c d", "a b c d")), 100.0),
        # 4/5, 3/4, 2/3, 1/2
        (judged(("a b c d x", "a b c d y")), 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        (judged(("a b c d", "a b c d e")), 100 * math.exp(1 - 5 / 4)),  # too short
        (judged(("a b c", "a b c")), 0.0),  # no four words in a row
        (judged(("", "a b c d")), 0.0),
        # Counts of both add up: 5/6, 3/4, 2/2, 1/1, lengths 6 and 6
        (judged(("a b c d", "a b c d"), ("e f", "e g")), 100 * (5 / 6 * 3 / 4) ** 0.25),
        # A word counts as often as in the gold that has it most: 3/4, 2/3, 1/2, 0
        (judged(("a a a a", ("a a a", "a b"))), 0.0),
        (judged(("今天很热。", "今天 很热。")), 100.0),  # of Chinese characters are words
        # Golds of 3 and 5 words are as near to 4: the shorter counts
        (judged(("a b c d", ("a b c d e", "x y z"))), 100.0),
    ],
    "span_f1": [
        (judged(("Ann; Bob", "Ann; Bob")), 100.0),
        (judged(("Ann", "Ann; Bob"), ("none", "none")), 200 / 3),  # 1 of 1 and 1 of 2
        (judged(("none", "none"), ("", "none")), 0.0),  # there is no entity: seqeval gives 0
        (judged(("Ann; Ann", "Ann")), 200 / 3),  # one mention is there
        (judged(("Bob;Ann ", "Ann; Bob")), 100.0),
        (judged(("Ann Lee", "Ann"), ("Rome", "Rome")), 50.0),
    ],
    **{
        name: [(rows, values[place]) for rows, values in STEREOTYPES.values()]
        for place, name in enumerate(("lms", "ss", "icat"))
    },
    "pearson": [
        (numbers((1, 1), (2, 2), (4, 4)), 100.0),
        (numbers((3, 0), (2, 1), (1, 2)), -100.0),
        # Less their means: -1 -1 2 and -1 0 1, so 3 / sqrt(6 x 2)
        (numbers((0, 0), (0, 1), (3, 2)), 100 * 3 / 12**0.5),
        (numbers((0, 1), (1, 3), (2, 2)), 50.0),
        (numbers((2.5, 0), (2.5, 5)), 0.0),  # always the same: not defined
        (numbers((1, 4), (2, 4)), 0.0),
        (numbers((2, 3)), 0.0),
    ],
    "spearman": [
        (numbers((0.1, 1), (0.2, 2), (9, 4)), 100.0),  # the order alone counts
        (numbers((3, 0), (2, 1), (1, 5)), -100.0),
        # Ties share their places: 1 2.5 2.5 4 and 1 2 3 4, so 4.5 / sqrt(4.5 x 5)
        (numbers((1, 1), (2, 2), (2, 3), (3, 4)), 100 * 4.5 / 22.5**0.5),
        (numbers((1, 0), (2, 5), (9, 3)), 50.0),
        (numbers((2.5, 0), (2.5, 5)), 0.0),
    ],
    "effect_size": [
        (effects(0.5), 0.5),
        (effects(0.5, -0.5), 0.5),  # how far, either way
        (effects(0.0, 0.0), 0.0),
        (effects(1.0, 0.0, -0.5), 0.5),
        (effects(-2.0, -1.0), 1.5),
    ],
    "perplexity": [
        (texts((-math.log(8), 3, 1)), 2.0),
        (texts((-math.log(4), 1, 1), (-math.log(2), 2, 1)), 2.0),  # over tokens, not texts
        (texts((0.0, 5, 4)), 1.0),
        (texts((-1.0, 2, 1)), math.exp(0.5)),
        (texts((-90.0, 3, 1)), math.exp(20)),  # cut as in the released code
    ],
    "word_perplexity": [
        (texts((-math.log(8), 3, 1)), 8.0),
        (texts((-math.log(4), 1, 1), (-math.log(2), 2, 2)), 2.0),
        (texts((0.0, 5, 4)), 1.0),
        (texts((-1.0, 2, 4)), math.exp(0.25)),
        (texts((-90.0, 30, 3)), math.exp(20)),
        (texts((-90.0, 30, 0)), math.exp(20)),  # one word
    ],
}


@pytest.mark.parametrize("name", get_args(Metric))
def test_a_metric_is_what_its_official_definition_gives(name):
    assert len(VECTORS[name]) >= 5
    for number, (rows, expected) in enumerate(VECTORS[name]):
        value = measure(name, rows, LABELS.get(name, ())).value
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), number


@pytest.mark.parametrize(
    ("rows", "threshold"), [(BEST[0][0], -2.0), (BEST[1][0], None), (BEST[-1][0], 2.0)]
)
def test_the_threshold_is_the_last_score_that_is_answered(rows, threshold):
    assert measure("best_exact", rows, ()).threshold == threshold
