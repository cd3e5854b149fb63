"""Which stretch of which document is read when: a pure function of (seed, epoch, row).

The rows of an epoch hold every token of every document exactly once, in an order that the seed
and the epoch draw. A weighted document is read so many times instead; what a fraction leaves over
is owed to later epochs, so that after e epochs it was read e times its weight, to less than one.
Rows are numbered through the whole run, one epoch after another: step s reads the rows
[s * global_batch_size, (s + 1) * global_batch_size). So a resumed run needs nothing but its step.

Shapes: n pieces, D documents, I items of an epoch.
"""

from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from glmctl.core.objective.arrays import BoolArray, FloatArray, IntArray, UInt64Array
from glmctl.core.objective.draws import sample_keys

PIECES_PER_ROW = 1 << 16  # sample index of piece p of row r: r * 2**16 + p
SHUFFLE = 1 << 63  # indexes from here up draw orders; those of samples stay below
PHASE = 3 << 62  # and from here up, the phases of the documents
PHASE_BITS = 20  # few enough that whole weights are met exactly


class Pieces(NamedTuple):
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
        weights: how often an epoch reads each document, [D]; None: once.
    """

    def __init__(
        self,
        lengths: IntArray,
        sequence_length: int,
        pack: bool,
        seed: int,
        weights: FloatArray | None = None,
    ) -> None:
        self.lengths = lengths.astype(np.int64)
        self.room = sequence_length - 1  # what is left beside the [CLS] of a row
        self.pack = pack
        self.seed = seed
        self.weights = np.ones(len(lengths)) if weights is None else weights
        if pack:
            # [CLS], tokens, [eos] of each document; an empty one is left out.
            self.extents = np.where(self.lengths > 0, self.lengths + 2, 0)
        else:
            self.extents = -(-self.lengths // self.room)  # rows of each document
        # Where between two readings a document is when the run begins, so that of many documents
        # of weight 0.5 each epoch reads one half.
        draws = sample_keys(seed, 0, np.arange(len(lengths), dtype=np.uint64) + np.uint64(PHASE))
        self.phases = (draws >> np.uint64(64 - PHASE_BITS)) / (1 << PHASE_BITS)
        self.first_rows = [0]  # of each epoch, as far as anyone has asked
        self.epoch_order = lru_cache(maxsize=2)(self._epoch_order)

    @property
    def num_rows(self) -> int:
        """Rows of the first epoch; with whole weights, of every epoch."""
        return self.first_row(1)

    @property
    def tokens_per_row(self) -> float:
        """Mean of the first epoch, special tokens included."""
        if self.pack:
            return self.room + 1
        size = ((self.lengths + 1 + self.extents) * (self.lengths > 0) * self.copies(0)).sum()
        return float(size / self.num_rows)

    def first_row(self, epoch: int) -> int:
        """The row with which an epoch begins."""
        while len(self.first_rows) <= epoch:
            size = int((self.extents * self.copies(len(self.first_rows) - 1)).sum())
            num_rows = -(-size // self.room) if self.pack else size
            self.first_rows.append(self.first_rows[-1] + num_rows)
        return self.first_rows[epoch]

    def copies(self, epoch: int) -> IntArray:
        """How often an epoch reads each document, [D]."""
        before, after = (
            np.floor(times * self.weights + self.phases) for times in (epoch, epoch + 1)
        )
        return (after - before).astype(np.int64)

    def pieces(self, first_row: int, num_rows: int) -> Pieces:
        """The pieces of a stretch of rows, which may cross from one epoch into the next."""
        cut = self._packed if self.pack else self._single
        parts, row, last = [], first_row, first_row + num_rows
        while row < last:
            while self.first_rows[-1] <= row:
                self.first_row(len(self.first_rows))
            epoch = bisect_right(self.first_rows, row) - 1
            begin, end = self.first_rows[epoch], self.first_rows[epoch + 1]
            stop = min(end, last)
            parts.append(cut(epoch, row - begin, stop - begin))
            row = stop
        return Pieces(*map(np.concatenate, zip(*parts, strict=True)))

    def _epoch_order(self, epoch: int) -> tuple[IntArray, IntArray, IntArray]:
        """What an epoch reads, in drawn order.

        The items are the readings of documents (packed), or their rows (single).

        Returns:
            Items in drawn order, document of each reading, and where each reading's extent ends:
            in the drawn order (packed) or in the order of the documents (single).
        """
        readings = np.repeat(np.arange(len(self.lengths)), self.copies(epoch))
        num_items = len(readings) if self.pack else int(self.extents[readings].sum())
        index = np.arange(num_items, dtype=np.uint64) + np.uint64(SHUFFLE)
        order = np.argsort(sample_keys(self.seed, epoch, index), kind="stable")
        if self.pack:
            readings = readings[order]
        return order, readings, np.cumsum(self.extents[readings])

    def _packed(self, epoch: int, first: int, last: int) -> Pieces:
        _, readings, ends = self.epoch_order(epoch)
        begin, stop = first * self.room, min(last * self.room, int(ends[-1]))
        inner = ends[np.searchsorted(ends, begin, "right") : np.searchsorted(ends, stop)]
        cuts = np.union1d(np.arange(begin, stop, self.room), inner)  # where a piece begins
        place = np.searchsorted(ends, cuts, "right")
        document = readings[place]
        head = ends[place] - self.extents[document]  # where the [CLS] of the document stands
        length = self.lengths[document]
        after = np.append(cuts[1:], stop) - head
        start, end = np.maximum(cuts - head - 1, 0), np.minimum(after - 1, length)
        return self._number(epoch, cuts // self.room, document, start, end, after > length + 1)

    def _single(self, epoch: int, first: int, last: int) -> Pieces:
        order, readings, ends = self.epoch_order(epoch)
        row = np.arange(first, last)
        reading = np.searchsorted(ends, order[row], "right")
        document = readings[reading]
        place = order[row] - (ends[reading] - self.extents[document])  # of the row in its document
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
        return Pieces(self.first_row(epoch) + row, keys, document, start, stop, is_end[kept])
