"""What became of the spans of many examples, and whether their lengths follow the law.

Spans are drawn until they hold a share of the text, so their number is a stopping time: of all
spans together, those of length k still have the share of k in the law (Wald), and the sum of
squares below is a chi-square. Only a span that finds no room is cut; lines so short that this can
happen are left out of the test, whatever was drawn for them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glmctl.core.objective.arrays import IntArray
from glmctl.core.objective.blank_infilling import MLM, OBJECTIVES, TOKEN, Examples
from glmctl.core.objective.corruption import Corruption

FEWEST_EXPECTED = 5
"""Of a cell of the chi-square; lengths that are expected less often share a cell."""
NEVER = 1e-9
"""A chance that is taken for none."""


@dataclass(frozen=True)
class ChiSquare:
    """Pearson's test of span lengths."""

    num_spans: int
    chi_square: float
    degrees_of_freedom: int
    p_value: float  # chance of lengths at least as far from the law as these


@dataclass(frozen=True)
class SpanStatistics:
    """The examples of a stream of texts."""

    num_lines: int
    num_failed_lines: int
    span_length_unit: str
    objectives: dict[str, dict[str, Any]]
    law: str  # what is tested, or why nothing is
    test: ChiSquare | None


@dataclass
class Tally:
    """Sums over the examples of one objective; they do not grow with the stream."""

    source_tokens: int = 0
    hidden_tokens: int = 0
    span_lengths: Counter[int] = field(default_factory=Counter)
    part_a: Counter[int] = field(default_factory=Counter)
    part_b: Counter[int] = field(default_factory=Counter)

    def result(self, law_share: list[float] | None) -> dict[str, Any]:
        """Figures by name; source tokens include [CLS] and the end token, as for mask_ratio."""
        return {
            "num_lines": self.part_a.total(),
            "num_source_tokens": self.source_tokens,
            "masked_share": self.hidden_tokens / self.source_tokens,
            "num_spans": self.span_lengths.total(),
            "mean_span_length": mean(self.span_lengths),
            "part_a": spread(self.part_a),
            "part_b": spread(self.part_b),
            "span_lengths": dict(sorted(self.span_lengths.items())),
            "law_share": law_share,
        }


def spread(lengths: Counter[int]) -> dict[str, float]:
    return {"shortest": min(lengths), "mean": mean(lengths), "longest": max(lengths)}


def mean(lengths: Counter[int]) -> float:
    return sum(length * count for length, count in lengths.items()) / max(lengths.total(), 1)


class SpanCounter:
    """Counts what a corruption does."""

    def __init__(self, corruption: Corruption) -> None:
        self.corruption = corruption
        self.law = corruption.law
        self.tallies: dict[int, Tally] = {}
        self.tested: Counter[int] = Counter()
        self.num_failed = 0

    def add(self, tokens: IntArray, lengths: IntArray, examples: Examples) -> None:
        """Count the examples of some samples, one of each, in their order."""
        sizes, units = self.corruption.measure(tokens, lengths, examples.spans)
        objective = examples.objective[examples.spans[:, 0]]  # [S]
        for number in np.unique(examples.objective).tolist():
            tally = self.tallies.setdefault(number, Tally())
            rows, here = examples.objective == number, objective == number
            spans, part_a = examples.spans[here], examples.part_a_lengths[rows]
            tally.source_tokens += int(lengths[rows].sum())
            tally.hidden_tokens += int((spans[:, 2] - spans[:, 1]).sum())
            tally.span_lengths.update(sizes[here].tolist())
            tally.part_a.update(part_a.tolist())
            tally.part_b.update((examples.lengths[rows] - part_a).tolist())
        is_drawn = (objective == TOKEN) | (objective == MLM)
        goal = np.maximum((self.corruption.config.mask_ratio * units).astype(np.int64), 1)
        longest = 1 + int(np.searchsorted(self.law.cumulative, 1 - NEVER))
        spans_and_gaps = goal - 1 + longest + np.minimum(goal, self.law.likely_draws(goal))
        has_room = spans_and_gaps <= units - 1  # for all that may be drawn, [n]
        self.tested.update(sizes[is_drawn & has_room[examples.spans[:, 0]]].tolist())

    def result(self) -> SpanStatistics:
        """All that was counted."""
        config = self.corruption.config
        unit = "words" if config.whole_words else "tokens"
        shares = (self.law.weights / self.law.weights.sum()).tolist()
        law = (
            f"Poisson({config.mean_span_length:g}) on 1 to {config.max_span_length} {unit}, "
            "for the short spans of lines with room for all of them"
        )
        test = chi_square(self.tested, shares)
        if config.token_weight + config.single_span_weight == 0:
            law = "not tested: a sentence or a long span is as long as its text makes it"
        elif test is None:
            law = "not tested: too few short spans in lines with room for all that may be drawn"
        num_good = sum(tally.part_a.total() for tally in self.tallies.values())
        return SpanStatistics(
            num_lines=num_good + self.num_failed,
            num_failed_lines=self.num_failed,
            span_length_unit=unit,
            objectives={
                OBJECTIVES[number]: tally.result(shares if number in (TOKEN, MLM) else None)
                for number, tally in sorted(self.tallies.items())
            },
            law=law,
            test=test,
        )


def chi_square(observed: Counter[int], shares: Sequence[float]) -> ChiSquare | None:
    """Compare counts of the lengths 1, 2, ... with their shares; None: there are too few."""
    num_spans = observed.total()
    cells: list[tuple[float, float]] = []
    seen = expected = 0.0
    for length, share in enumerate(shares, 1):
        seen, expected = seen + observed[length], expected + num_spans * share
        if expected >= FEWEST_EXPECTED:
            cells.append((seen, expected))
            seen = expected = 0.0
    if len(cells) < 2:
        return None
    last_seen, last_expected = cells[-1]
    cells[-1] = (last_seen + seen, last_expected + expected)
    distance = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    degrees = len(cells) - 1
    return ChiSquare(num_spans, distance, degrees, upper_tail(distance, degrees))


def upper_tail(chi_square: float, degrees_of_freedom: int) -> float:
    """Chance of a chi-square of at least this size."""
    import torch  # takes a second to load, and nothing else here needs it

    halves = torch.tensor([degrees_of_freedom, chi_square], dtype=torch.float64) / 2
    tail: float = torch.special.gammaincc(*halves).item()
    return tail
