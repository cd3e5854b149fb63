"""Which stretch of which document is read when: a pure function of (seed, epoch, row).

The rows of an epoch hold every token of every document exactly once, in an order that the seed
and the epoch draw. Rows are numbered through the whole run: step s reads the rows
[s * global_batch_size, (s + 1) * global_batch_size), and epoch e is the rows
[e * num_rows, (e + 1) * num_rows). So a resumed run needs nothing but its step.

Shapes: n pieces, D documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from glmctl.core.objective.draws import BoolArray, IntArray, UInt64Array, sample_keys

PIECES_PER_ROW = 1 << 16  # sample index of piece p of row r: r * 2**16 + p
SHUFFLE = 1 << 63  # indexes from here up draw orders; those of samples stay below


@dataclass(frozen=True)
class Pieces:
    """Stretches of documents, one sample each: [CLS] tokens, and [eos] where the document ends."""

    row: IntArray  # number of the row in the whole run, [n]
    keys: UInt64Array  # what every random draw of the sample is hashed from, [n]
    document: IntArray  # [n]
    start: IntArray  # first token in the document, [n]
    stop: IntArray  # token after the last, [n]
    is_end: BoolArray  # the end token belongs to the piece, [n]


class RowOrder:
    """Cuts the documents into rows and shuffles them, anew in each epoch.

    Args:
        lengths: tokens of each document, without special tokens, [D].
        sequence_length: most tokens of a row, special tokens included.
        pack: several documents in a row; False: one piece of one document.
        seed: of the run.
    """

    def __init__(self, lengths: IntArray, sequence_length: int, pack: bool, seed: int) -> None:
        self.lengths = lengths.astype(np.int64)
        self.room = sequence_length - 1  # what is left beside the [CLS] of a row
        self.pack = pack
        self.seed = seed
        if pack:
            # [CLS], tokens, [eos] of each document; an empty one is left out.
            self.extents = np.where(self.lengths > 0, self.lengths + 2, 0)
            self.num_rows = int(-(-self.extents.sum() // self.room))
        else:
            self.extents = -(-self.lengths // self.room)  # rows of each document
            self.num_rows = int(self.extents.sum())
        self.epoch_order = lru_cache(maxsize=2)(self._epoch_order)

    def pieces(self, first_row: int, num_rows: int) -> Pieces:
        """The pieces of a stretch of rows, which may cross from one epoch into the next."""
        cut = self._packed if self.pack else self._single
        parts = [cut(*stretch) for stretch in self._by_epoch(first_row, num_rows)]
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Pieces)]
        return Pieces(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def _by_epoch(self, first_row: int, num_rows: int) -> Iterator[tuple[int, int, int]]:
        """Split a stretch of rows into (epoch, first row in it, row after the last)."""
        row, last = first_row, first_row + num_rows
        while row < last:
            epoch, begin = divmod(row, self.num_rows)
            stop = min(self.num_rows, begin + last - row)
            yield epoch, begin, stop
            row += stop - begin

    def _epoch_order(self, epoch: int) -> tuple[IntArray, IntArray]:
        """Documents (packed) or rows (single) in drawn order, and where each extent ends."""
        num_items = len(self.lengths) if self.pack else self.num_rows
        index = np.arange(num_items, dtype=np.uint64) + np.uint64(SHUFFLE)
        order = np.argsort(sample_keys(self.seed, epoch, index), kind="stable")
        return order, np.cumsum(self.extents[order] if self.pack else self.extents)

    def _packed(self, epoch: int, first: int, last: int) -> Pieces:
        order, ends = self.epoch_order(epoch)
        begin, stop = first * self.room, min(last * self.room, int(ends[-1]))
        inner = ends[np.searchsorted(ends, begin, "right") : np.searchsorted(ends, stop)]
        cuts = np.union1d(np.arange(begin, stop, self.room), inner)  # where a piece begins
        place = np.searchsorted(ends, cuts, "right")
        document = order[place]
        head = ends[place] - self.extents[document]  # where the [CLS] of the document stands
        length = self.lengths[document]
        after = np.append(cuts[1:], stop) - head
        start = np.maximum(cuts - head - 1, 0)
        return self._number(
            epoch,
            cuts // self.room,
            document,
            start,
            np.minimum(after - 1, length),
            after > length + 1,
        )

    def _single(self, epoch: int, first: int, last: int) -> Pieces:
        order, ends = self.epoch_order(epoch)
        row = np.arange(first, last)
        document = np.searchsorted(ends, order[row], "right")
        place = order[row] - (ends[document] - self.extents[document])  # of the row in its document
        start = place * self.room
        stop = np.minimum(start + self.room, self.lengths[document])
        return self._number(epoch, row, document, start, stop, stop - start < self.room)

    def _number(
        self,
        epoch: int,
        row: IntArray,
        document: IntArray,
        start: IntArray,
        stop: IntArray,
        is_end: BoolArray,
    ) -> Pieces:
        """Number the pieces inside their rows; those of special tokens only are left out."""
        kept = start < stop
        row, document, start, stop = row[kept], document[kept], start[kept], stop[kept]
        number = np.arange(len(row)) - np.searchsorted(row, row)
        index = (row * PIECES_PER_ROW + number).astype(np.uint64)
        keys = sample_keys(self.seed, epoch, index)
        return Pieces(epoch * self.num_rows + row, keys, document, start, stop, is_end[kept])
