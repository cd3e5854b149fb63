"""From stretches of documents to packed tensors.

Shapes: T tokens of all samples (Part A and Part B), M of them with a loss, n samples, L source
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.model.attention import Segments
from glmctl.core.objective.blank_infilling import Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import IntArray, UInt64Array
from glmctl.core.objective.ragged import count_up, ragged, starts_of
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Corrupted samples one after another, without padding: what one forward takes."""

    input_ids: Tensor  # [T]
    position_ids: Tensor  # [2, T]
    segments: Segments
    wanted: Tensor  # rows that carry a loss, ascending, [M]
    target_ids: Tensor  # [M]
    num_targets: int

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.segments,
            self.wanted.to(device),
            self.target_ids.to(device),
            self.num_targets,
        )


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
        num_targets=len(wanted),
    )


@dataclass(frozen=True)
class StepData:
    """All that one optimizer step reads."""

    micro_batches: list[Batch]
    num_tokens: int  # source tokens, special tokens included
    first_row: int
    num_rows: int


class TrainingData:
    """The corrupted rows of every step.

    Args:
        stores: the corpora; their documents are numbered one corpus after another.
        order: over the documents of all of them.
        corruption: hides spans.
        special: ids of [CLS] and of the end token.
        global_batch_size: rows of a step.
        micro_batch_size: rows of one forward.
    """

    def __init__(
        self,
        stores: Sequence[TokenStore],
        order: RowOrder,
        corruption: Corruption,
        special: SpecialTokens,
        global_batch_size: int,
        micro_batch_size: int,
    ) -> None:
        self.stores = stores
        self.first_documents = np.cumsum([0, *(len(store.lengths) for store in stores)])
        self.order = order
        self.corruption = corruption
        self.special = special
        self.global_batch_size = global_batch_size
        self.micro_batch_size = micro_batch_size

    def step(self, step: int) -> StepData:
        """What step number `step`, from 0, trains on.

        Raises:
            InputError: none of the rows has a token to predict.
        """
        first = step * self.global_batch_size
        batches, num_tokens = [], 0
        for row in range(first, first + self.global_batch_size, self.micro_batch_size):
            tokens, lengths, keys = self.samples(row, self.micro_batch_size)
            num_tokens += len(tokens)
            if not len(lengths):  # the last row of an epoch may be a lone end token
                continue
            batch = make_batch(self.corruption(tokens, lengths, keys))
            if batch.num_targets:
                batches.append(batch)
        if not batches:
            last = first + self.global_batch_size - 1
            raise InputError(
                f"rows {first} to {last}",
                "hide no token at all, so there is nothing to learn; the documents are too short "
                "for objective.mask_ratio: raise it, or set data.pack = true",
            )
        return StepData(batches, num_tokens, first, self.global_batch_size)

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
        for head, size, corpus, document, start, stop in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            tokens[head : head + size] = self.stores[corpus].tokens(document, start, stop)
        return tokens, lengths, pieces.keys
