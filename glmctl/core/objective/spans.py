"""Which spans to hide: per-sample draws for a whole batch at once (paper, sections 2.1 and 2.2).
Also which tokens become [dBLOCK], which the released 10B recipe adds to short spans.

Every number comes from the key of its sample, so a sample is corrupted alike in any batch. A
sample is one document, ``[CLS] ... eos`` or a stretch without eos; the laws are those of the
released code for it, but for two things: a span that finds no room is cut or left out instead of
dropping the sample, and a last sentence without a full stop counts before eos as well.
Shapes: n samples, S spans, L source tokens.
"""

from math import exp, lgamma, log

import numpy as np

from glmctl.core.objective.arrays import BoolArray, FloatArray, IntArray, UInt64Array
from glmctl.core.objective.draws import Purpose, below, bits, uniform
from glmctl.core.objective.ragged import count_up, ragged, rank_in_row, starts_of, sum_before
from glmctl.recipe.schema import ObjectiveConfig

SHORTEST = 32
"""No piece of a sample that is cut short is meant to be shorter."""
NUM_BUCKETS = 4096
CONTEXT_RANGE = 3
"""Visible tokens this close to a blank, or to the end of the text, may become [dBLOCK]."""


class LengthLaw:
    """Lengths 1, 2, ... max_length with Poisson weights: 0 is left out, as released."""

    def __init__(self, mean: float, max_length: int) -> None:
        lengths = range(1, max_length + 1)
        weights = [exp(k * log(mean) - mean - lgamma(k + 1)) for k in lengths]
        self.max_length = max_length
        self.weights: FloatArray = np.array(weights)
        sums = np.cumsum(self.weights)
        self.cumulative: FloatArray = sums / sums[-1]
        """Chance of a length of at most 1, 2, ...; the last is exactly 1."""
        buckets = np.arange(NUM_BUCKETS) / NUM_BUCKETS
        self.first_guess = np.searchsorted(self.cumulative, buckets, side="right")
        """Of each bucket of [0, 1), how many lengths are surely too short."""

    def lengths(self, uniforms: FloatArray) -> IntArray:
        """The length at each point of [0, 1); a table is five times as fast as bisection."""
        index: IntArray = self.first_guess[(uniforms * NUM_BUCKETS).astype(np.int64)]
        while (is_short := uniforms >= self.cumulative[index]).any():
            index += is_short
        lengths: IntArray = index + 1
        return lengths

    def likely_draws(self, goal: IntArray) -> IntArray:
        """Draws whose sum almost surely reaches the goal."""
        lengths = np.arange(1, self.max_length + 1)
        probabilities = self.weights / self.weights.sum()
        mean = (lengths * probabilities).sum()
        spread = ((lengths - mean) ** 2 * probabilities).sum() ** 0.5 / mean
        draws = goal / mean
        likely: FloatArray = draws + 5 * spread * np.sqrt(draws) + 4
        return np.ceil(likely).astype(np.int64)


def shuffled(row: IntArray, keys: UInt64Array, purpose: Purpose) -> IntArray:
    """Indexes that shuffle the elements of each row, from the rows of all (ascending), [m]."""
    draws = bits(keys[row], purpose, rank_in_row(row)) >> np.uint64(32)
    return np.argsort(row << 32 | draws.astype(np.int64), kind="stable")


def token_spans(lengths: IntArray, keys: UInt64Array, goal: IntArray, law: LengthLaw) -> IntArray:
    """Short spans with a visible token between any two, [S, 3] in text order.

    They are drawn until those of a sample hold its goal, [n].
    """
    sample, sizes = draw_sizes(keys, goal, law)
    room = lengths - 2  # all but [CLS] and the last token
    before = sum_before(sample, sizes + 1)
    limit = room[sample] + 1
    sizes = np.minimum(before + sizes + 1, limit) - np.minimum(before, limit) - 1
    sample, sizes = sample[sizes > 0], sizes[sizes > 0]

    sizes = sizes[shuffled(sample, keys, Purpose.LENGTH_ORDER)]
    slack = room + 1 - np.bincount(sample, sizes + 1, len(lengths)).astype(np.int64)
    places = below(slack[sample] + 1, keys[sample], Purpose.PLACE, rank_in_row(sample))
    places = np.sort(sample << 32 | places, kind="stable") & 0xFFFFFFFF  # within each sample
    starts = 1 + places + sum_before(sample, sizes + 1)
    return np.stack([sample, starts, starts + sizes], axis=1)


def draw_sizes(keys: UInt64Array, goal: IntArray, law: LengthLaw) -> tuple[IntArray, IntArray]:
    """Sample and length of each span, in the order drawn, two [S]."""
    for num_draws in (np.minimum(law.likely_draws(goal), goal), goal):
        sample, rank = ragged(num_draws)
        sizes = law.lengths(uniform(keys[sample], Purpose.LENGTH, rank))
        is_taken = sum_before(sample, sizes) < goal[sample]
        sample, sizes = sample[is_taken], sizes[is_taken]
        if (np.bincount(sample, sizes, len(goal)) >= goal).all():
            break
    return sample, sizes


def sentence_spans(
    tokens: IntArray,
    lengths: IntArray,
    keys: UInt64Array,
    goal: IntArray,
    sentence_ends: BoolArray,
    eos: int,
) -> IntArray:
    """Whole sentences, drawn until they hold ``goal`` tokens, [S, 3] in text order."""
    first = starts_of(lengths)
    last = first + lengths - 1
    is_end = sentence_ends[tokens]  # [L]
    is_end[last - (tokens[last] == eos)] = True
    is_end[last[tokens[last] == eos]] = False
    is_end[first] = False
    num_sentences = np.add.reduceat(is_end, first, dtype=np.int64)
    sample = np.repeat(np.arange(len(lengths)), num_sentences)
    stop = np.flatnonzero(is_end) + 1
    start = np.roll(stop, 1)
    opening = starts_of(num_sentences)[num_sentences > 0]
    start[opening] = first[num_sentences > 0] + 1

    order = shuffled(sample, keys, Purpose.SENTENCE_ORDER)
    chosen = np.sort(order[sum_before(sample, (stop - start)[order]) < goal[sample]])
    place = first[sample[chosen]]
    return np.stack([sample[chosen], start[chosen] - place, stop[chosen] - place], axis=1)


def document_spans(
    lengths: IntArray, keys: UInt64Array, min_ratio: float, suffix_probability: float
) -> tuple[IntArray, BoolArray]:
    """One long span in each sample: [S, 3], and whether it is the sample's end, [n].

    Its length is uniform from ``min_ratio`` of the sample to all but two tokens.
    """
    longest = lengths - 2
    shortest = np.clip((min_ratio * lengths).astype(np.int64), 1, np.maximum(longest, 1))
    size = shortest + below(longest - shortest + 1, keys, Purpose.LENGTH)
    is_suffix = (uniform(keys, Purpose.IS_SUFFIX) < suffix_probability) & (longest > 0)
    inside = 1 + below(longest - size + 1, keys, Purpose.PLACE)
    start = np.where(is_suffix, lengths - size, inside)
    spans = np.stack([np.arange(len(lengths)), start, start + size], axis=1)
    return spans[longest > 0], is_suffix


def noise_flags(
    spans: IntArray, lengths: IntArray, keys: UInt64Array, config: ObjectiveConfig
) -> BoolArray | None:
    """Which source tokens are fed as [dBLOCK] in the samples of some spans, [L]; None: none is."""
    if config.block_mask_probability == 0 and config.context_mask_ratio == 0:
        return None
    sample, start, stop = spans.T
    owner, rank = ragged(stop - start)
    hidden = starts_of(lengths)[sample[owner]] + start[owner] + rank
    draws = uniform(keys[sample[owner]], Purpose.HIDDEN_NOISE, start[owner] + rank)
    noise = np.zeros(lengths.sum(), bool)
    noise[hidden[draws < config.block_mask_probability]] = True
    if config.context_mask_ratio > 0:
        is_near = near_blanks(spans, lengths)
        is_near[hidden] = False
        candidates = np.flatnonzero(is_near)
        row = np.searchsorted(starts_of(lengths), candidates, side="right") - 1
        wanted = (config.context_mask_ratio * lengths).astype(np.int64)
        order = shuffled(row, keys, Purpose.CONTEXT_NOISE)
        noise[candidates[order[rank_in_row(row) < wanted[row]]]] = True
    return noise


def near_blanks(spans: IntArray, lengths: IntArray) -> BoolArray:
    """Tokens near a span or near the end of a sample that has one, [L]."""
    sample, start, stop = spans.T
    first = starts_of(lengths)[sample]
    size = lengths[sample]
    is_near = np.zeros(lengths.sum(), bool)
    for distance in range(1, CONTEXT_RANGE + 1):
        is_near[first + np.maximum(start - distance, 0)] = True
        is_near[first + np.minimum(stop + distance, size) - 1] = True
        is_near[first + np.maximum(size - distance, 0)] = True
    return is_near


def cut_short(
    tokens: IntArray,
    lengths: IntArray,
    keys: UInt64Array,
    is_cut: BoolArray,
    sentence_ends: BoolArray,
    max_positions: int,
) -> tuple[IntArray, IntArray, UInt64Array]:
    """Replace some samples by pieces of about one random length, each with its own [CLS].

    A piece starts at a random sentence and ends with a sentence where that keeps half of it.

    ``is_cut`` [n] says which; each gives as many pieces as fit into ``max_positions``. Tokens,
    lengths and keys of what is then there come back.
    """
    limits = np.full(len(lengths), max_positions - 1 - SHORTEST)
    target = SHORTEST + below(limits, keys, Purpose.SHORT_SEQUENCE)
    sample, rank = ragged(np.where(is_cut, (max_positions - 1) // target, 1))  # one a piece
    first, size, target = starts_of(lengths)[sample], lengths[sample], target[sample]
    pieces = np.where(is_cut[sample], bits(keys[sample], Purpose.PIECE, rank), keys[sample])
    is_shorter = is_cut[sample] & (size - 1 > target)

    index = np.arange(len(tokens))
    is_end = sentence_ends[tokens]  # [L]
    is_start = np.roll(is_end, 1)
    is_start[starts_of(lengths)] = True  # the search to the left stays in the sample
    room = np.maximum(size - 1 - target, 1)
    drawn = np.where(is_shorter, first + 1 + below(room, pieces, Purpose.SHORT_SEQUENCE), first)
    start = np.maximum.accumulate(np.where(is_start, index, 0))[drawn]
    start = np.maximum(start, first + 1)
    end = np.where(is_shorter, start + target, first + size)
    sentence_end = np.maximum.accumulate(np.where(is_end, index + 1, 0))[end - 1]
    end = np.where(is_shorter & (sentence_end - start >= target // 2), sentence_end, end)

    sizes = end - start + 1  # [CLS] and the piece
    cut = tokens[count_up(sizes, start - 1)]
    cut[starts_of(sizes)] = tokens[first]
    return cut, sizes, pieces
