"""Part A and Part B: the text with its blanks, then what stood in them (paper, section 2.1).

This is the only place that lays them out; how the blanks were chosen does not matter here.
Shapes: n samples, S spans, L source tokens, T tokens of the examples (Part A and Part B).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from glmctl.core.objective.arrays import BoolArray, IntArray, UInt8Array
from glmctl.core.objective.ragged import count_up, ragged, rank_in_row, starts_of
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.schema import ObjectiveConfig

Span: TypeAlias = tuple[int, int]

OBJECTIVES = ("token", "sentence", "document", "mlm", "choice")
TOKEN, SENTENCE, DOCUMENT, MLM, CHOICE = range(5)


@dataclass(frozen=True)
class Examples:
    """Corrupted samples, one after another, without padding."""

    input_ids: IntArray  # [T]
    target_ids: IntArray  # [T]
    loss_mask: UInt8Array  # 1 where the target counts, [T]
    position_ids: IntArray  # place in Part A, place inside the span, [2, T]
    lengths: IntArray  # Part A and Part B, [n]
    part_a_lengths: IntArray  # [n]
    objective: UInt8Array  # index into OBJECTIVES, [n]
    spans: IntArray  # sample, start and stop in the source; in Part B order, [S, 3]


@dataclass(frozen=True)
class Blanks:
    """All that is random about the examples of a batch."""

    spans: IntArray  # sample (ascending), start, stop; in Part B order, [S, 3]
    objective: UInt8Array  # index into OBJECTIVES, [n]
    is_suffix: BoolArray  # the one span is the end of the sample: no end token, [n]
    position_offsets: IntArray  # added to every place of a sample, [n]
    noise: BoolArray | None = None  # source tokens that are fed as [dBLOCK], [L]


@dataclass(frozen=True)
class Layout:
    """Where each token of the examples comes from, and where the control tokens stand."""

    source: IntArray  # its source token; means nothing for a control token, [T]
    mask_at: IntArray  # the mask of each span in Part A, [S]
    sop_at: IntArray  # the start of each span in Part B, [S]
    part_b_sizes: IntArray  # tokens that each span has in Part B, [S]
    part_a_lengths: IntArray  # [n]
    part_b_lengths: IntArray  # [n]


def assemble(
    tokens: IntArray,
    lengths: IntArray,
    blanks: Blanks,
    special: SpecialTokens,
    config: ObjectiveConfig,
    max_positions: int,
    source_loss_mask: UInt8Array | None = None,
) -> Examples:
    """Build Part A and Part B of every sample.

    Args:
        tokens: the samples, one after another, [L].
        lengths: tokens of each sample, [n].
        blanks: what to hide.
        special: ids of the control tokens.
        config: its kind, sentinel and second_position say how.
        max_positions: the place of every span when there are sentinels.
        source_loss_mask: 0 for source tokens that are given, as a prompt is, [L]. As released,
            it counts only where the end of the sample is predicted.
    """
    if config.kind == "mlm":
        return mask_in_place(tokens, lengths, blanks, special, source_loss_mask)
    layout = lay_out(lengths, blanks)
    whole = layout.part_a_lengths + layout.part_b_lengths
    in_part_b = count_up(layout.part_b_lengths, starts_of(whole) + layout.part_a_lengths)
    sample = blanks.spans[:, 0]
    is_ended = ~blanks.is_suffix[sample]  # [S]
    by_objective = np.array([special.mask_for(name) for name in OBJECTIVES[:MLM]])
    mask_ids, sop_ids = by_objective[blanks.objective[sample]], np.array(special.sop)
    if config.sentinel:
        pair = rank_in_row(sample)
        if pair.max(initial=0) > len(special.sentinel_masks):
            raise InputError(
                "objective.sentinel",
                f"a sample has {pair.max() + 1} spans and the tokenizer "
                f"{len(special.sentinel_masks)} sentinel pairs; raise tokenizer.num_sentinels",
            )
        numbered = np.array([special.mask, *special.sentinel_masks])[pair]
        mask_ids = np.where(mask_ids == special.mask, numbered, mask_ids)  # a task mask stays
        sop_ids = np.array([special.sop, *special.sentinel_starts])[pair]

    input_ids = tokens.take(layout.source, mode="clip")
    target_ids = input_ids.copy()
    target_ids[in_part_b] = tokens.take(layout.source[in_part_b] + 1, mode="clip")  # fed next
    target_ids[(layout.sop_at + layout.part_b_sizes - 1)[is_ended]] = special.eop
    if blanks.noise is not None:
        assert special.noise is not None
        input_ids[blanks.noise[layout.source]] = special.noise
    input_ids[layout.mask_at] = target_ids[layout.mask_at] = mask_ids
    input_ids[layout.sop_at] = sop_ids

    position_ids = np.zeros((2, len(input_ids)), np.int32)  # [2, T]
    position_ids[0] = count_up(whole, blanks.position_offsets)
    place = position_ids[0, layout.mask_at]
    if config.sentinel:
        place[is_ended] = max_positions
    position_ids[0, in_part_b] = np.repeat(place, layout.part_b_sizes)
    position_ids[1, in_part_b] = count_up(layout.part_b_sizes, 1) if config.second_position else 1
    halves = np.stack([layout.part_a_lengths, layout.part_b_lengths], axis=1).ravel()
    loss_mask = np.repeat(np.tile(np.array([0, 1], np.uint8), len(lengths)), halves)  # [T]
    if source_loss_mask is not None:
        suffix = in_part_b[np.repeat(blanks.is_suffix, layout.part_b_lengths)]
        loss_mask[suffix] = source_loss_mask[layout.source[suffix] + 1]
    return Examples(
        input_ids=input_ids,
        target_ids=target_ids,
        loss_mask=loss_mask,
        position_ids=position_ids,
        lengths=whole.astype(np.int32),
        part_a_lengths=layout.part_a_lengths.astype(np.int32),
        objective=blanks.objective,
        spans=blanks.spans.astype(np.int32),
    )


def lay_out(lengths: IntArray, blanks: Blanks) -> Layout:
    """Cut each example of k spans into runs of source tokens: k + 1 of Part A, k of Part B.

    A mask takes the place of its span's first token, which ends a run of Part A; a start token
    takes the place of the token before the span, which begins a run of Part B.
    """
    sample, start, stop = blanks.spans.T  # [S]
    first = starts_of(lengths)  # [n]
    begin, end = first[sample] + start, first[sample] + stop
    num_spans = np.bincount(sample, minlength=len(lengths))  # [n]
    in_text = np.argsort(begin, kind="stable")  # ten times as fast: begin is nearly in order

    leading = starts_of(2 * num_spans + 1)  # first run of each sample, [n]
    run_a = leading[sample] + rank_in_row(sample)  # in text order
    run_b = run_a + num_spans[sample] + 1  # in Part B order
    source = np.empty(2 * len(sample) + len(lengths), np.int64)
    until = np.empty_like(source)
    source[leading], until[leading + num_spans] = first, first + lengths
    until[run_a], source[run_a + 1] = begin[in_text] + 1, end[in_text]
    source[run_b], until[run_b] = begin - 1, end - blanks.is_suffix[sample]
    sizes = until - source
    places = starts_of(sizes)

    mask_at = np.empty_like(begin)
    mask_at[in_text] = places[run_a] + sizes[run_a] - 1
    hidden = np.bincount(sample, stop - start, len(lengths)).astype(np.int64)  # [n]
    return Layout(
        source=count_up(sizes, source),
        mask_at=mask_at,
        sop_at=places[run_b],
        part_b_sizes=sizes[run_b],
        part_a_lengths=lengths + num_spans - hidden,
        part_b_lengths=hidden + num_spans - blanks.is_suffix,
    )


def mask_in_place(
    tokens: IntArray,
    lengths: IntArray,
    blanks: Blanks,
    special: SpecialTokens,
    source_loss_mask: UInt8Array | None,
) -> Examples:
    """Replace every hidden token by a mask and predict it there, as BERT; there is no Part B."""
    sample, start, stop = blanks.spans.T
    span, rank = ragged(stop - start)
    hidden = (starts_of(lengths)[sample] + start)[span] + rank
    input_ids, loss_mask = tokens.copy(), np.zeros(len(tokens), np.uint8)
    input_ids[hidden] = special.mask
    loss_mask[hidden] = 1 if source_loss_mask is None else source_loss_mask[hidden]
    place = count_up(lengths, blanks.position_offsets)
    return Examples(
        input_ids=input_ids,
        target_ids=tokens,
        loss_mask=loss_mask,
        position_ids=np.stack([place, np.zeros_like(place)]).astype(np.int32),
        lengths=lengths.astype(np.int32),
        part_a_lengths=lengths.astype(np.int32),
        objective=np.full(len(lengths), MLM, np.uint8),
        spans=blanks.spans.astype(np.int32),
    )


class Blank(NamedTuple):
    """Where an example has a span, and its place in the source."""

    start: int
    stop: int
    mask: int
    """Its place in Part A."""
    first: int
    """Place of its first target; its tokens are targets one after another."""


def blanks_of(spans: Sequence[Span], part_a_length: int, *, in_place: bool) -> list[Blank]:
    """The blanks of an example, in Part B order, as the spans; `in_place`: it has no Part B."""
    if in_place:
        return [Blank(start, stop, start, start) for start, stop in spans]
    masks: dict[int, int] = {}
    removed = 0
    for start, stop in sorted(spans):
        masks[start] = start - removed
        removed += stop - start - 1
    sizes = (stop - start + 1 for start, stop in spans)  # an end token follows
    firsts = accumulate(sizes, initial=part_a_length)
    return [Blank(*span, masks[span[0]], first) for span, first in zip(spans, firsts, strict=False)]


def restore(target_ids: Sequence[int], part_a_length: int, spans: Sequence[Span]) -> list[int]:
    """Source tokens of one example: the targets hold all of them, also where noise was fed.

    ValueError says why the three do not belong together.
    """
    if len(target_ids) == part_a_length:  # nothing is hidden, or it is predicted in place
        return [*target_ids]
    check(len(target_ids), part_a_length, spans)
    source: list[int] = []
    place = 0
    for start, stop, mask, first in sorted(blanks_of(spans, part_a_length, in_place=False)):
        source += [*target_ids[place:mask], *target_ids[first : first + stop - start]]
        place = mask + 1
    return [*source, *target_ids[place:part_a_length]]


def check(length: int, part_a_length: int, spans: Sequence[Span]) -> None:
    """See that an example of this layout can exist; ValueError says why not."""
    part_b_length = sum(stop - start + 1 for start, stop in spans)
    if length - part_a_length not in (part_b_length, part_b_length - 1):
        raise ValueError(
            f"{length} tokens are not Part A ({part_a_length}) and the spans ({part_b_length})"
        )
    source_length = part_a_length + part_b_length - 2 * len(spans)
    edges = [0, *(edge for span in sorted(spans) for edge in span), source_length]
    if any(before > after for before, after in pairwise(edges)):
        raise ValueError(f"the spans overlap or leave the text of {source_length} tokens")
