"""Scores of predictions with their intervals, as the authors of the tasks define them.

Every metric is a function of counts that add up over questions, so that a resampled set is
scored by summing: [G, K] counts, then one value of their sum.

Shapes: G questions, K counts, R resamples.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from glmctl.core.tasks.ask import NO_EVIDENCE, Evidence
from glmctl.core.tasks.schema import AT_BEST
from glmctl.core.tasks.text_metrics import (
    NO_ANSWER,
    FloatArray,
    bleu,
    bleu_counts,
    char_f1,
    rouge,
    same_chars,
    same_text,
    span_counts,
    token_f1,
)

NUM_RESAMPLES = 1000
RESAMPLED_AT_ONCE = 50
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Judged:
    """What was predicted for one example, and what is right."""

    group: Hashable
    prediction: str
    golds: tuple[str, ...]
    evidence: Evidence = NO_EVIDENCE
    part: str = ""
    """The part of the whole that it counts for."""
    scores: tuple[tuple[str, float], ...] = ()
    """Texts that compete, in their order, with their scores."""


@dataclass(frozen=True)
class Value:
    """A metric in per cent, a perplexity as it is, with its 95 % interval."""

    value: float
    interval: tuple[float, float]
    method: str
    """wilson: of a share; bootstrap: percentiles over resampled questions."""
    threshold: float | None = None
    """Of best_exact and best_f1: a question is answered where having no answer scores no more than
    this; None where answering none is best."""


def measure(name: str, rows: Sequence[Judged], labels: Sequence[str], seed: int = 0) -> Value:
    """Score predictions.

    Args:
        name: of the metric.
        rows: at least one.
        labels: of the task, in order; of two the second one is the positive one.
        seed: of the bootstrap.
    """
    counts = COUNTS[name](rows, labels)  # [K] for each row
    numbers = {group: place for place, group in enumerate(dict.fromkeys(r.group for r in rows))}
    places = [numbers[row.group] for row in rows]
    table = np.zeros((len(numbers), counts.shape[1]))  # [G, K]
    if name == "exact_groups":
        table += 1
        np.minimum.at(table, places, counts)
    else:
        np.add.at(table, places, counts)
    final = FINAL.get(name, ratio)
    score: Callable[[FloatArray], FloatArray] = lambda weights: final(weights @ table)  # noqa: E731
    threshold = None
    if name in AT_BEST:
        table = table[table[:, 2].argsort(kind="stable")]
        gains = table[:, 0].cumsum()
        threshold = float(table[gains.argmax(), 2]) if gains.max() > 0 else None
        score = partial(at_best, table)
    value = float(score(np.ones((1, len(table))))[0])
    is_share = final is ratio and bool((table[:, -1] == 1).all() and np.isin(table, (0, 1)).all())
    low, high = wilson(value, len(table)) if is_share else bootstrap(len(table), score, seed)
    method = "wilson" if is_share else "bootstrap"
    scale = 1 if name in PLAIN else 100
    return Value(scale * value, (scale * low, scale * high), method, threshold)


def wilson(share: float, number: int) -> tuple[float, float]:
    """The 95 % interval of a share of independent questions."""
    spread = Z_95**2 / number
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * (share * (1 - share) / number + spread / (4 * number)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)


def bootstrap(
    number: int, score: Callable[[FloatArray], FloatArray], seed: int
) -> tuple[float, float]:
    """The middle 95 % of the values of so many questions, resampled."""
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(NUM_RESAMPLES // RESAMPLED_AT_ONCE):
        weights = generator.multinomial(number, np.full(number, 1 / number), RESAMPLED_AT_ONCE)
        values.append(score(weights.astype(np.float64)))  # [R, G] -> [R]
    low, high = np.percentile(np.concatenate(values), (2.5, 97.5))
    return float(low), float(high)


def at_best(table: FloatArray, weights: FloatArray) -> FloatArray:
    """The score when just the questions up to the best one are answered, [G, 3], [R, G] -> [R].

    As `find_best_thresh` of evaluate-v2.0.py, which stops within questions that tie, too.
    """
    gains = (weights * table[:, 0]).cumsum(1).max(1).clip(0)
    best: FloatArray = (weights @ table[:, 1] + gains) / weights.sum(1)
    return best


def ratio(totals: FloatArray) -> FloatArray:
    """First count over second, [R, 2] -> [R]."""
    return totals[:, 0] / totals[:, 1]


def exp_ratio(totals: FloatArray) -> FloatArray:
    """e to the ratio, which is cut at 20 as in the released code, [R, 2] -> [R].

    A text without spaces has no word after its first one.
    """
    value: FloatArray = np.exp(np.minimum(totals[:, 0] / totals[:, 1].clip(1), 20.0))
    return value


def f1_of(true_positive: FloatArray, predicted: FloatArray, actual: FloatArray) -> FloatArray:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    both = predicted + actual
    return np.divide(2 * true_positive, both, out=np.zeros_like(both), where=both > 0)


def mean_f1(totals: FloatArray) -> FloatArray:
    """F1 averaged over the labels that occur, [R, 3 L] -> [R]."""
    hits, predicted, actual = np.split(totals, 3, 1)
    occurs = predicted + actual > 0
    mean: FloatArray = (f1_of(hits, predicted, actual) * occurs).sum(1) / occurs.sum(1).clip(1)
    return mean


def correlation(totals: FloatArray) -> FloatArray:
    """Matthews' coefficient for any number of labels; 0 where it is not defined."""
    hits, predicted, actual = np.split(totals, 3, 1)
    number = actual.sum(1)
    above = hits.sum(1) * number - (predicted * actual).sum(1)
    below = (number**2 - (predicted**2).sum(1)) * (number**2 - (actual**2).sum(1))
    value: FloatArray = np.divide(above, np.sqrt(below), out=0 * above, where=below > 0)
    return value


def share_right(rows: Sequence[Judged], labels: Sequence[str]) -> FloatArray:
    return np.array([(row.prediction in row.golds, 1) for row in rows], np.float64)


def of_parts(rows: Sequence[Judged], *points: Sequence[float] | FloatArray) -> FloatArray:
    """Points of each kind, then questions asked, for each part in turn, [rows, (kinds + 1) P]."""
    parts = dict.fromkeys(row.part for row in rows)
    asked = np.array([[row.part == part for part in parts] for row in rows], np.float64)
    return np.concatenate([*(asked * np.array([it]).T for it in points), asked], 1)


def mean_of_parts(totals: FloatArray) -> FloatArray:
    """Points of a question averaged over the parts that occur, [R, 2 P] -> [R]."""
    points, asked = np.split(totals, 2, 1)
    mean: FloatArray = (points / asked.clip(1)).sum(1) / (asked > 0).sum(1)
    return mean


def prefers(rows: Sequence[Judged]) -> list[float]:
    """Whether the stereotype scores more than its opposite, as in StereoSet's evaluation.py."""
    scores = [[score for _, score in row.scores] for row in rows]
    return [float(stereo > anti) for anti, stereo, _ in scores]


def makes_sense(rows: Sequence[Judged]) -> list[float]:
    """The share of both that score more than what is unrelated."""
    scores = [[score for _, score in row.scores] for row in rows]
    return [((stereo > other) + (anti > other)) / 2 for anti, stereo, other in scores]


def idealised(totals: FloatArray) -> FloatArray:
    """StereoSet's icat of sense and preference, [R, 3 P] -> [R]; 1 without a preference."""
    sense, preference, asked = np.split(totals, 3, 1)
    lms, ss = (mean_of_parts(np.concatenate([it, asked], 1)) for it in (sense, preference))
    return lms * np.minimum(ss, 1 - ss) * 2


def per_label(rows: Sequence[Judged], labels: Sequence[str]) -> FloatArray:
    """Right, predicted and actual, for each label in turn, [rows, 3 L]."""
    predicted = np.array([[row.prediction == label for label in labels] for row in rows])
    actual = np.array([[row.golds[0] == label for label in labels] for row in rows])
    return np.concatenate([predicted & actual, predicted, actual], 1).astype(np.float64)


def by_closest(
    compare: Callable[[str, str], float],
) -> Callable[[Sequence[Judged], Sequence[str]], FloatArray]:
    """The comparison with the gold that is closest; without any, with an empty one."""
    return lambda rows, labels: np.array(
        [(max(compare(row.prediction, gold) for gold in row.golds or ("",)), 1) for row in rows]
    )


def against_no_answer(
    compare: Callable[[str, str], float],
) -> Callable[[Sequence[Judged], Sequence[str]], FloatArray]:
    """What answering gains, whether there is no answer, and the score of having none, [rows, 3].

    The score is the log-probability of having none less that of the best answer.
    """

    def counts(rows: Sequence[Judged], labels: Sequence[str]) -> FloatArray:
        table = []
        for row in rows:
            (_, none), (answer, some), *_ = *row.scores, ("", 0.0)
            has_none = {*row.golds} <= {NO_ANSWER}
            closest = max((compare(answer, gold) for gold in row.golds), default=0.0)
            table.append((-bool(answer) if has_none else closest, has_none, none - some))
        return np.array(table, np.float64)

    return counts


def micro_f1(totals: FloatArray) -> FloatArray:
    """F1 of right, predicted and actual, [R, 3] -> [R]."""
    return f1_of(totals[:, 0], totals[:, 1], totals[:, 2])


def surprise(rows: Sequence[Judged], numbers: Sequence[int]) -> FloatArray:
    """Negative log-probabilities, and what they are shared out to."""
    return np.array([(-row.evidence.log_prob, n) for row, n in zip(rows, numbers, strict=True)])


def products(first: FloatArray, second: FloatArray) -> FloatArray:
    """What the correlation of two lists of numbers is made of, [rows] and [rows] -> [rows, 6].

    It does not depend on their means, without which nothing is lost to rounding.
    """
    x, y = first - first.mean(), second - second.mean()
    return np.stack([x * y, x * x, y * y, x, y, np.ones_like(x)], 1)


def linear(totals: FloatArray) -> FloatArray:
    """Pearson's coefficient of such products, [R, 6] -> [R]; 0 where it is not defined."""
    xy, xx, yy, x, y, number = totals.T
    below = (number * xx - x**2).clip(0) * (number * yy - y**2).clip(0)
    value: FloatArray = np.divide(
        number * xy - x * y, np.sqrt(below), out=np.zeros_like(below), where=below > 0
    )
    return value


def ranks(numbers: FloatArray) -> FloatArray:
    """Places of numbers in their order, those of equal ones averaged."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    of_each: FloatArray = (counts.cumsum() - (counts - 1) / 2)[places]
    return of_each


def both_numbers(rows: Sequence[Judged]) -> tuple[FloatArray, FloatArray]:
    """Predicted and right."""
    numbers = np.array([(float(row.prediction), float(row.golds[0])) for row in rows])
    return numbers[:, 0], numbers[:, 1]


ROUGE = ("rouge1", "rouge2", "rougeLsum")
COUNTS: dict[str, Callable[[Sequence[Judged], Sequence[str]], FloatArray]] = {
    "accuracy": share_right,
    "accuracy_macro": lambda rows, labels: of_parts(rows, share_right(rows, labels)[:, 0]),
    "exact_groups": share_right,
    "f1": lambda rows, labels: per_label(rows, labels[1:]),
    "f1_macro": per_label,
    "matthews": per_label,
    "exact_match": by_closest(same_text),
    "token_f1": by_closest(token_f1),
    "best_exact": against_no_answer(same_text),
    "best_f1": against_no_answer(token_f1),
    "char_match": by_closest(same_chars),
    "char_f1": by_closest(char_f1),
    **{name: by_closest(rouge(name)) for name in ROUGE},
    **{f"{name}_paper": by_closest(rouge(name, is_paper=True)) for name in ROUGE},
    "bleu": lambda rows, labels: np.array(
        [bleu_counts(row.prediction, row.golds) for row in rows], np.float64
    ),
    "span_f1": lambda rows, labels: np.array(
        [span_counts(row.prediction, row.golds[0]) for row in rows], np.float64
    ),
    "ss": lambda rows, labels: of_parts(rows, prefers(rows)),
    "lms": lambda rows, labels: of_parts(rows, makes_sense(rows)),
    "icat": lambda rows, labels: of_parts(rows, makes_sense(rows), prefers(rows)),
    "pearson": lambda rows, labels: products(*both_numbers(rows)),
    "spearman": lambda rows, labels: products(*map(ranks, both_numbers(rows))),
    "effect_size": lambda rows, labels: np.array(
        [(abs(dict(row.scores)["effect_size"]), 1) for row in rows]
    ),
    "perplexity": lambda rows, labels: surprise(rows, [r.evidence.num_tokens for r in rows]),
    "word_perplexity": lambda rows, labels: surprise(rows, [r.evidence.num_words for r in rows]),
}
FINAL: dict[str, Callable[[FloatArray], FloatArray]] = {
    "accuracy_macro": mean_of_parts,
    "f1": mean_f1,
    "f1_macro": mean_f1,
    "matthews": correlation,
    "ss": mean_of_parts,
    "lms": mean_of_parts,
    "icat": idealised,
    "pearson": linear,
    "spearman": linear,
    "bleu": bleu,
    "span_f1": micro_f1,
    "perplexity": exp_ratio,
    "word_perplexity": exp_ratio,
}
PLAIN = ("perplexity", "word_perplexity", "effect_size")
"""Not in per cent; less is better."""
