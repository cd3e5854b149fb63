"""From the tokens of samples to the examples of the objective that a recipe describes.

Here and below, ``tokens`` are the samples one after another, [L], ``lengths`` the tokens of each,
none of them 0, [n], ``keys`` what the random numbers of each follow from, [n], and ``spans`` hold
sample, start and stop, [S, 3].
"""

from dataclasses import dataclass
from random import Random

import numpy as np

from glmctl.core.objective.arrays import BoolArray, IntArray, UInt64Array
from glmctl.core.objective.blank_infilling import (
    DOCUMENT,
    SENTENCE,
    TOKEN,
    Blanks,
    Examples,
    assemble,
)
from glmctl.core.objective.draws import Purpose, below, uniform
from glmctl.core.objective.ragged import starts_of
from glmctl.core.objective.released import ReleasedSampler, Row
from glmctl.core.objective.spans import (
    SHORTEST,
    LengthLaw,
    cut_short,
    document_spans,
    noise_flags,
    sentence_spans,
    shuffled,
    token_spans,
)
from glmctl.core.objective.words import Words
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import UsageError
from glmctl.recipe.schema import ObjectiveConfig

SINGLE = DOCUMENT + 1
"""Among the drawn kinds: token objective, exactly one span."""


@dataclass(eq=False)
class Corruption:
    """Corrupts batches of samples; each sample is one document, ``[CLS] ...``.

    In ``draw_mode = "sample"`` an example is a function of its tokens and its key alone. In
    ``"batch"`` the first key seeds the released sampler, which may leave samples out.
    """

    config: ObjectiveConfig
    special: SpecialTokens
    sentence_ends: BoolArray  # whether a token ends a sentence, by id
    max_positions: int
    words: Words | None = None  # given just when `config.whole_words` asks for them

    def __post_init__(self) -> None:
        config = self.config
        assert config.whole_words == (self.words is not None)
        refuse_what_cannot_be_drawn(config, self.special, self.max_positions)
        self.law = LengthLaw(config.mean_span_length, config.max_span_length)
        weights = (config.token_weight, config.sentence_weight, config.document_weight)
        sums = np.cumsum([*weights, config.single_span_weight])
        self.shares = sums[:-1] / sums[-1]

    def __call__(self, tokens: IntArray, lengths: IntArray, keys: UInt64Array) -> Examples:
        """Corrupt a batch."""
        tokens = np.asarray(tokens, np.int32)
        lengths = np.asarray(lengths, np.int64)
        if self.config.draw_mode == "batch":
            rng = Random(int(keys[0]))
            sampler = ReleasedSampler(
                self.config, self.special, self.sentence_ends, self.max_positions, rng, rng
            )
            rows = np.split(tokens, np.cumsum(lengths)[:-1])
            return sampler.corrupt([Row(row.tolist(), [1] * len(row)) for row in rows])
        if self.config.short_sequence_probability > 0:
            is_cut = uniform(keys, Purpose.IS_SHORT) < self.config.short_sequence_probability
            tokens, lengths, keys = cut_short(
                tokens, lengths, keys, is_cut, self.sentence_ends, self.max_positions
            )
        blanks = self.draw(tokens, lengths, keys)
        return assemble(tokens, lengths, blanks, self.special, self.config, self.max_positions)

    def draw(self, tokens: IntArray, lengths: IntArray, keys: UInt64Array) -> Blanks:
        """Decide what to hide in each sample."""
        kind = np.searchsorted(self.shares, uniform(keys, Purpose.OBJECTIVE), side="right")
        if self.words is None:
            short, long, is_suffix = self.choose(tokens, lengths, keys, kind)
        else:
            edges, num_words = self.words.find(tokens, lengths)
            last = tokens[edges[1:] - 1]  # the token of a word that may end a sentence
            short, long, is_suffix = self.choose(last, num_words, keys, kind)
            for spans in (short, long):
                sample = spans[:, :1]
                places = starts_of(num_words)[sample] + spans[:, 1:]
                spans[:, 1:] = edges[places] - starts_of(lengths)[sample]
        spans = short
        if len(long):
            spans = np.concatenate([short, long])
            spans = spans[np.argsort(spans[:, 0], kind="stable")]
        if self.config.span_order == "shuffled":
            spans = spans[shuffled(spans[:, 0], keys, Purpose.SPAN_ORDER)]
        return Blanks(
            spans=spans,
            objective=np.where(kind == SINGLE, TOKEN, kind).astype(np.uint8),
            is_suffix=is_suffix,
            position_offsets=self.offsets(lengths, keys, spans, is_suffix),
            noise=noise_flags(short, lengths, keys, self.config),
        )

    def choose(
        self, tokens: IntArray, lengths: IntArray, keys: UInt64Array, kind: IntArray
    ) -> tuple[IntArray, IntArray, BoolArray]:
        """Choose spans of tokens, or of words: then a token here is the last one of its word.

        Returns:
            Short spans; sentences and long spans; whether one of these ends its sample, [n].
        """
        config = self.config
        goal = (config.mask_ratio * lengths).astype(np.int64)
        is_suffix = np.zeros(len(lengths), bool)

        rows = np.flatnonzero((kind == TOKEN) | (kind == SINGLE))
        goals = np.where(kind[rows] == SINGLE, 1, goal[rows])
        short = token_spans(lengths[rows], keys[rows], goals, self.law)
        short[:, 0] = rows[short[:, 0]]
        long = [short[:0]]
        if len(rows := np.flatnonzero(kind == SENTENCE)):
            kept = tokens[np.repeat(kind == SENTENCE, lengths)]
            spans = sentence_spans(
                kept, lengths[rows], keys[rows], goal[rows], self.sentence_ends, self.special.eos
            )
            spans[:, 0] = rows[spans[:, 0]]
            long.append(spans)
        if len(rows := np.flatnonzero(kind == DOCUMENT)):
            ratio, probability = config.document_min_ratio, config.document_suffix_probability
            spans, is_suffix[rows] = document_spans(lengths[rows], keys[rows], ratio, probability)
            spans[:, 0] = rows[spans[:, 0]]
            long.append(spans)
        return short, np.concatenate(long), is_suffix

    def measure(
        self, tokens: IntArray, lengths: IntArray, spans: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Lengths of spans, [S], and of samples, [n], in what spans are counted in."""
        sample, start, stop = spans.T
        if self.words is None:
            return stop - start, lengths
        edges, num_words = self.words.find(tokens, lengths)
        first = starts_of(lengths)[sample]
        return np.subtract(*np.searchsorted(edges, (first + stop, first + start))), num_words

    def offsets(
        self, lengths: IntArray, keys: UInt64Array, spans: IntArray, is_suffix: BoolArray
    ) -> IntArray:
        """How far the places of each sample are shifted, [n]."""
        if not self.config.random_position:
            return np.zeros(len(lengths), np.int64)
        sample, start, stop = spans.T
        removed = np.bincount(sample, stop - start - 1, len(lengths)).astype(np.int64)
        room = self.max_positions + 1 - (lengths - removed)  # the last place stays in the table
        offsets = below(np.maximum(room, 1), keys, Purpose.POSITION_OFFSET)
        return np.where(is_suffix, 0, offsets)  # as released


def refuse_what_cannot_be_drawn(
    config: ObjectiveConfig, special: SpecialTokens, max_positions: int
) -> None:
    """Find what a recipe's sections allow one by one but not together."""
    noisy = config.block_mask_probability > 0 or config.context_mask_ratio > 0
    cuts = config.short_sequence_probability > 0
    lacking = {
        "block_mask_probability, context_mask_ratio: the tokenizer has no [dBLOCK]; "
        "set tokenizer.noise_token = true": noisy and special.noise is None,
        "sentinel: the tokenizer has no sentinels; set tokenizer.num_sentinels to the "
        "number of spans in a sample": config.sentinel and not special.sentinel_masks,
        f"short_sequence_probability: pieces have {SHORTEST} tokens or more, which "
        f"{max_positions} positions do not hold; set it to 0": cuts
        and max_positions <= SHORTEST + 1,
    }
    problems = [problem for problem, is_so in lacking.items() if is_so]
    only_blanks = {
        "sentence_weight": config.sentence_weight > 0,
        "document_weight": config.document_weight > 0,
        "block_mask_probability, context_mask_ratio": noisy,
        "sentinel": config.sentinel,
        "second_position": not config.second_position,
        "random_position": config.random_position,
    }
    if config.kind == "mlm":
        problems += [
            f"{key}: means nothing to kind 'mlm'; leave it out"
            for key, is_set in only_blanks.items()
            if is_set
        ]
    if problems:
        raise UsageError("[objective]", *problems)
