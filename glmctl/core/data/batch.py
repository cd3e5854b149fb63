"""From stretches of documents to packed tensors.

Shapes: T tokens of all samples (Part A and Part B), M of them with a loss, n samples, S spans,
L source tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.model.heads import Aim
from glmctl.core.model.sight import Segments
from glmctl.core.objective.arrays import IntArray, UInt64Array
from glmctl.core.objective.blank_infilling import Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.ragged import count_up, ragged, starts_of
from glmctl.core.tokenizer.special import SpecialTokens

SPAN_BUCKETS = {"1": 1, "2-3": 2, "4-7": 4, "8-15": 8, "16-": 16}  # first length of each


@dataclass(frozen=True)
class Batch:
    """Corrupted samples one after another, without padding: what one forward takes."""

    input_ids: Tensor  # [T]
    position_ids: Tensor  # [2, T]
    segments: Segments
    wanted: Tensor  # rows that carry a loss, ascending, [M]
    target_ids: Tensor  # [M]
    kinds: Tensor  # objective and span length of each target, as `target_kinds` numbers them, [M]
    num_targets: int
    choices: Aim | None = None
    """What the targets are of, when candidates compete; each question then counts as a target."""

    def to(self, device: torch.device) -> Batch:
        moved: dict[str, Any] = {
            name: part.to(device)
            for name, part in vars(self).items()
            if isinstance(part, Tensor | Aim)
        }
        return replace(self, **moved)


def make_batch(examples: Examples) -> Batch:
    """Turn numpy arrays into the tensors of one forward.

    Samples of one shape become neighbours, which share an attention call. A sample in which
    nothing is hidden, as a very short one, is left out: nobody needs its rows.
    """
    lengths, part_a_lengths = examples.lengths, examples.part_a_lengths
    row, _ = ragged(lengths)
    hides = np.bincount(row, weights=examples.loss_mask, minlength=len(lengths)) > 0  # [n]
    order = np.lexsort((part_a_lengths, lengths))
    order = order[hides[order]]  # [n kept]
    tokens = count_up(lengths[order], starts_of(lengths)[order])  # [T]
    wanted = np.flatnonzero(examples.loss_mask[tokens])
    return Batch(
        input_ids=torch.from_numpy(examples.input_ids[tokens].astype(np.int64)),
        position_ids=torch.from_numpy(examples.position_ids[:, tokens].astype(np.int64)),
        segments=Segments(tuple(lengths[order].tolist()), tuple(part_a_lengths[order].tolist())),
        wanted=torch.from_numpy(wanted),
        target_ids=torch.from_numpy(examples.target_ids[tokens][wanted].astype(np.int64)),
        kinds=torch.from_numpy(target_kinds(examples)[tokens][wanted]),
        num_targets=len(wanted),
    )


def target_kinds(examples: Examples) -> IntArray:
    """What each token of the examples is a target of, for losses by kind, [T].

    `objective * len(SPAN_BUCKETS) + bucket`, where the bucket is the last one that the length of
    the token's span reaches; tokens outside spans, and those of masked LM, have the first.
    """
    per_objective = len(SPAN_BUCKETS)
    kinds = np.repeat(examples.objective.astype(np.int64) * per_objective, examples.lengths)
    part_b_lengths = examples.lengths - examples.part_a_lengths
    sample, start, stop = examples.spans[part_b_lengths[examples.spans[:, 0]] > 0].T
    sizes = stop - start + 1
    # The end of a sample has no end token: its one span is one place shorter than the others.
    sizes[part_b_lengths[sample] < sizes] -= 1
    in_part_b = count_up(part_b_lengths, starts_of(examples.lengths) + examples.part_a_lengths)
    buckets = np.searchsorted([*SPAN_BUCKETS.values()], stop - start, "right") - 1
    kinds[in_part_b] += np.repeat(buckets, sizes)
    return kinds


def idle_batch(special: SpecialTokens) -> Batch:
    """One token without a target, for a replica that must take part and has nothing to learn."""
    nothing = torch.empty(0, dtype=torch.int64)
    places = torch.zeros((2, 1), dtype=torch.int64)
    return Batch(
        torch.tensor([special.cls]), places, Segments((1,), (1,)), nothing, nothing, nothing, 0
    )


@dataclass(frozen=True)
class StepData:
    """What one replica reads in one optimizer step."""

    micro_batches: dict[int, Batch]  # by their number among those of all replicas
    num_tokens: int  # source tokens, special tokens included
    first_row: int  # of the step, all replicas together
    num_rows: int

    @property
    def num_targets(self) -> int:
        return sum(batch.num_targets for batch in self.micro_batches.values())


@dataclass
class TrainingData:
    """The corrupted rows of every step."""

    stores: Sequence[TokenStore]
    """The corpora; their documents are numbered one corpus after another."""
    order: RowOrder  # over the documents of all of them
    corruption: Corruption
    special: SpecialTokens
    global_batch_size: int
    micro_batch_size: int
    end_row: int = sys.maxsize
    """Row after the last one of the run, which may leave its last step smaller."""

    @cached_property
    def first_documents(self) -> IntArray:
        return np.cumsum([0, *(len(store.lengths) for store in self.stores)])

    def step(self, step: int, rank: int = 0, num_replicas: int = 1) -> StepData:
        """What a replica trains on in step number `step`, from 0.

        Micro batch m of the step goes to replica m modulo num_replicas, so that the layout
        changes neither the micro batches nor their numbers.
        """
        first = step * self.global_batch_size
        end = min(first + self.global_batch_size, self.end_row)
        batches, num_tokens = {}, 0
        for number, row in enumerate(range(first, end, self.micro_batch_size)):
            if number % num_replicas != rank:
                continue
            tokens, lengths, keys = self.samples(row, min(self.micro_batch_size, end - row))
            num_tokens += len(tokens)
            if not len(lengths):  # the last row of an epoch may be a lone end token
                continue
            batch = make_batch(self.corruption(tokens, lengths, keys))
            if batch.num_targets:
                batches[number] = batch
        if not batches and num_replicas > 1:
            batches[rank] = idle_batch(self.special)
        return StepData(batches, num_tokens, first, end - first)

    def samples(self, first_row: int, num_rows: int) -> tuple[IntArray, IntArray, UInt64Array]:
        """Read a stretch of rows: tokens one sample after another, [L], lengths and keys, [n]."""
        pieces = self.order.pieces(first_row, num_rows)
        sizes = pieces.stop - pieces.start
        lengths = 1 + sizes + pieces.is_end
        heads = np.cumsum(lengths) - lengths
        tokens = np.empty(int(lengths.sum()), np.int32)
        tokens[heads] = self.special.cls
        tokens[(heads + lengths - 1)[pieces.is_end]] = self.special.eos
        corpora = np.searchsorted(self.first_documents, pieces.document, "right") - 1
        documents = pieces.document - self.first_documents[corpora]
        columns = (heads + 1, sizes, corpora, documents, pieces.start, pieces.stop)
        for head, size, corpus, document, start, stop in np.stack(columns, 1).tolist():
            tokens[head : head + size] = self.stores[corpus].tokens(document, start, stop)
        return tokens, lengths, pieces.keys
