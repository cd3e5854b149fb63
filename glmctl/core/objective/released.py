"""The released sampler: one generator and one objective for a whole batch.

Fed with the generator of the released code it gives the same examples, bit for bit
(``tests/golden``); ``draw_mode = "batch"`` trains with it. The order of the draws below is what
makes them equal. A row may hold several documents, each ``[CLS] ... eos``; a row whose spans
find no place is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random

import numpy as np

from glmctl.core.objective.arrays import BoolArray
from glmctl.core.objective.blank_infilling import (
    DOCUMENT,
    SENTENCE,
    TOKEN,
    Blanks,
    Examples,
    assemble,
)
from glmctl.core.objective.ragged import starts_of
from glmctl.core.objective.spans import CONTEXT_RANGE, SHORTEST, LengthLaw
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import ObjectiveConfig

Span = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """A sample, and which of its tokens count."""

    tokens: list[int]
    loss_mask: list[int]


@dataclass(frozen=True)
class Choice:
    """What was drawn for one row."""

    row: Row
    spans: list[Span]  # in Part B order
    is_suffix: bool = False
    position_offset: int = 0
    noise: tuple[int, ...] = ()  # places of tokens that are fed as [dBLOCK]


@dataclass(frozen=True)
class ReleasedSampler:
    """Corrupts batches."""

    config: ObjectiveConfig
    special: SpecialTokens
    sentence_ends: BoolArray  # whether a token ends a sentence, by id
    max_positions: int
    rng: Random
    noise_rng: Random  # of the [dBLOCK] noise in Part B

    @cached_property
    def law(self) -> LengthLaw:
        return LengthLaw(self.config.mean_span_length, self.config.max_span_length)

    def corrupt(self, rows: Sequence[Row]) -> Examples:
        """Choose the objective of the batch, then the blanks of each row."""
        config, rng = self.config, self.rng
        if rng.random() < config.short_sequence_probability:
            rows = self.cut_short(rows)
        is_single = rng.random() < config.single_span_weight / config.total_weight
        number = 0.0 if is_single else rng.random()
        others = config.total_weight - config.single_span_weight
        choices: list[Choice | None]
        if is_single or number < config.token_weight / others:
            objective = TOKEN
            choices = [self.hide_tokens(row, is_single=is_single) for row in rows]
        elif number < (config.token_weight + config.sentence_weight) / others:
            objective = SENTENCE
            choices = [self.hide_sentences(row) for row in rows]
        else:
            objective = DOCUMENT
            choices = self.hide_long_spans(rows)
        kept = [choice for choice in choices if choice is not None]
        lengths = np.array([len(choice.row.tokens) for choice in kept], np.int64)
        spans = [(row, *span) for row, choice in enumerate(kept) for span in choice.spans]
        noise = np.zeros(lengths.sum(), bool)
        for first, choice in zip(starts_of(lengths).tolist(), kept, strict=True):
            noise[[first + place for place in choice.noise]] = True
        blanks = Blanks(
            spans=np.array(spans, np.int64).reshape(-1, 3),
            objective=np.full(len(kept), objective, np.uint8),
            is_suffix=np.array([choice.is_suffix for choice in kept], bool),
            position_offsets=np.array([choice.position_offset for choice in kept], np.int64),
            noise=noise if noise.any() else None,
        )
        tokens = np.array([token for choice in kept for token in choice.row.tokens], np.int32)
        loss_mask = np.array([bit for choice in kept for bit in choice.row.loss_mask], np.uint8)
        return assemble(
            tokens, lengths, blanks, self.special, config, self.max_positions, loss_mask
        )

    def hide_tokens(self, row: Row, *, is_single: bool) -> Choice | None:
        """Short spans, until they hold the share of the row that is to be hidden."""
        goal = 1 if is_single else int(self.config.mask_ratio * len(row.tokens))
        law, sizes = self.law, list[int]()
        while sum(sizes) < goal:
            sizes += self.rng.choices(range(1, law.max_length + 1), law.weights.tolist())
        spans = self.place(row.tokens, sizes)
        return None if spans is None else self.finish(row, spans, is_noisy=True)

    def hide_sentences(self, row: Row) -> Choice:
        """Whole sentences, until they hold the share of the row that is to be hidden."""
        tokens = row.tokens
        sentences: list[Span] = []
        start = 1
        for place in range(1, len(tokens)):
            if self.sentence_ends[tokens[place]]:
                sentences.append((start, place + 1))
                start = place + 1
            elif tokens[place] == self.special.eos:  # what stands before it is never hidden
                start = place + 1
        if start < len(tokens):
            sentences.append((start, len(tokens)))
        self.rng.shuffle(sentences)
        goal = int(self.config.mask_ratio * len(tokens))
        before = accumulate((stop - start for start, stop in sentences), initial=0)
        spans = [span for span, hidden in zip(sentences, before, strict=False) if hidden < goal]
        return self.finish(row, spans)

    def hide_long_spans(self, rows: Sequence[Row]) -> list[Choice | None]:
        """One long span in each row; all have one length where the row holds it."""
        config = self.config
        lengths = [len(row.tokens) for row in rows]
        shortest = int(config.document_min_ratio * min(lengths))
        size = self.rng.randint(shortest, max(lengths) - 2)
        return [self.hide_long_span(row, min(size, len(row.tokens) - 2)) for row in rows]

    def hide_long_span(self, row: Row, size: int) -> Choice | None:
        """The end of the row, or a span inside it; always the end of several documents."""
        has_several = self.special.eos in row.tokens[:-1]
        if has_several or self.rng.random() < self.config.document_suffix_probability:
            length = len(row.tokens)
            return Choice(row, [(length - size, length)], is_suffix=True)
        spans = self.place(row.tokens, [size])
        return None if spans is None else self.finish(row, spans)

    def place(self, tokens: list[int], sizes: list[int]) -> list[Span] | None:
        """Spread spans over the documents of a row, the longest document last.

        The others take no more than the share to be hidden. None: a span finds no place.
        """
        self.rng.shuffle(sizes)
        self.rng.shuffle(sizes)  # as released: twice
        documents = sorted(self.documents(tokens), key=lambda ends: ends[1] - ends[0])
        spans: list[Span] = []
        first = 0
        for start, stop in documents:
            room = stop - start
            is_longest = (start, stop) == documents[-1]
            share = int(room * self.config.mask_ratio)
            last, total = first, 0
            while last < len(sizes):
                total += sizes[last]
                if (total + last - first > room) if is_longest else (total > share):
                    break
                last += 1
            spans += self.scatter(sizes[first:last], start, room)
            first = last
        return spans if first == len(sizes) else None

    def documents(self, tokens: list[int]) -> list[Span]:
        """Start and stop of what may be hidden in each document, the last document first.

        That is neither [CLS] nor eos, nor the last token of a row that ends without eos.
        """
        ends = [place for place, token in enumerate(tokens) if token == self.special.eos]
        if not ends or ends[-1] < len(tokens) - 1:
            ends.append(len(tokens) - 1)
        begins = [0, *(end + 1 for end in ends[:-1])]
        return [
            (begin + (tokens[begin] == self.special.cls), end)
            for begin, end in zip(reversed(begins), reversed(ends), strict=True)
        ]

    def scatter(self, sizes: list[int], start: int, room: int) -> list[Span]:
        """Place spans of these sizes with a visible token between any two."""
        slack = room - sum(sizes) - (len(sizes) - 1)
        places = sorted(self.rng.randrange(slack + 1) for _ in sizes)
        spans: list[Span] = []
        for place, size in zip(places, sizes, strict=True):
            spans.append((start + place, start + place + size))
            start += size + 1
        return spans

    def finish(self, row: Row, spans: list[Span], *, is_noisy: bool = False) -> Choice:
        """Draw what is left: the shift of the places, the order of the spans, and the noise."""
        config, rng = self.config, self.rng
        if config.kind == "mlm":
            return Choice(row, spans)
        offset = 0
        last = len(row.tokens) - 1 - sum(stop - start - 1 for start, stop in spans)
        if config.random_position and last < self.max_positions - 1:
            offset = rng.randrange(0, self.max_positions - last)
        if config.span_order == "shuffled":
            rng.shuffle(spans)
        else:
            spans.sort()
        noise: list[int] = []
        if is_noisy and config.block_mask_probability > 0:
            hidden = (place for start, stop in spans for place in range(start, stop))
            chance = config.block_mask_probability
            noise = [place for place in hidden if self.noise_rng.random() < chance]
        if is_noisy and config.context_mask_ratio > 0:
            noise += self.draw_context_noise(row.tokens, spans)
        return Choice(row, spans, position_offset=offset, noise=tuple(noise))

    def draw_context_noise(self, tokens: list[int], spans: list[Span]) -> list[int]:
        """Visible tokens near a blank, or near the end of the row, that become [dBLOCK].

        The candidates are a set of places in Part A, sampled in the order of its hash table.
        """
        candidates: set[int] = set()
        source_of: dict[int, int] = {}
        cursor = place = 0
        for start, stop in [*sorted(spans), (len(tokens), 0)]:
            begin, end = place, place + start - cursor  # a stretch of visible tokens
            source_of |= zip(range(begin, end), range(cursor, start), strict=True)
            if begin > 0:
                candidates.update(range(begin, min(end, begin + CONTEXT_RANGE)))
            candidates.update(range(max(begin, end - CONTEXT_RANGE), end))
            cursor, place = stop, end + 1
        count = int(self.config.context_mask_ratio * len(tokens))
        return [source_of[place] for place in self.rng.sample(tuple(candidates), count)]

    def cut_short(self, rows: Sequence[Row]) -> list[Row]:
        """Pieces of about one random length, as many of each row as fit into one."""
        target = self.rng.randrange(SHORTEST, self.max_positions - 1)
        num_pieces = (self.max_positions - 1) // target
        return [self.piece(row, target) for row in rows for _ in range(num_pieces)]

    def piece(self, row: Row, target: int) -> Row:
        """[CLS] and a stretch of the row, of whole sentences where that keeps half of it."""
        tokens = row.tokens[1:]
        start, end = 0, len(tokens)
        if len(tokens) > target:
            start = self.rng.randrange(0, len(tokens) - target)
            while start > 0 and not self.is_start(tokens, start):
                start -= 1
            end = start + target
            while end > start and not self.is_end(tokens[end - 1]):
                end -= 1
            if end - start < target // 2:
                end = start + target
        kept = slice(start + 1, end + 1)
        return Row([row.tokens[0], *row.tokens[kept]], [row.loss_mask[0], *row.loss_mask[kept]])

    def is_start(self, tokens: list[int], place: int) -> bool:
        return tokens[place] != self.special.eos and self.is_end(tokens[place - 1])

    def is_end(self, token: int) -> bool:
        return bool(self.sentence_ends[token]) or token == self.special.eos
