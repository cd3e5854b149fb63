"""Random numbers that belong to a sample, not to whoever draws them.

Number k of a sample is a hash of (seed, epoch, index, k), so ranks, workers, batch sizes and
resumes cannot change it, and the numbers of a whole batch are made at once.
"""

from enum import IntEnum

import numpy as np

from glmctl.core.objective.arrays import FloatArray, IntArray, UInt64Array

STEP = np.uint64(0x9E3779B97F4A7C15)  # splitmix64: the golden ratio in 64 bits, odd


class Purpose(IntEnum):
    """What a number decides; each purpose has 2**32 numbers of its own."""

    OBJECTIVE = 0
    LENGTH = 1
    LENGTH_ORDER = 2
    PLACE = 3
    SPAN_ORDER = 4
    SENTENCE_ORDER = 5
    IS_SUFFIX = 6
    POSITION_OFFSET = 7
    HIDDEN_NOISE = 8
    CONTEXT_NOISE = 9
    IS_SHORT = 10
    SHORT_SEQUENCE = 11
    PIECE = 12
    TOKEN = 13  # drawn to fill a blank


def mix(values: UInt64Array) -> UInt64Array:
    """Spread every bit of the input over the output, as splitmix64 ends (works in place)."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def sample_keys(
    seed: int | IntArray, epoch: int, index: int | IntArray | UInt64Array
) -> UInt64Array:
    """The key of each sample, from which all of its numbers follow, [n]."""
    keys = np.zeros(np.size(index), np.uint64)
    for part in (seed, epoch, index):
        keys = mix((keys + np.asarray(part).astype(np.uint64)) * STEP + STEP)
    return keys


def bits(keys: UInt64Array, purpose: Purpose, counter: int | IntArray = 0) -> UInt64Array:
    """64 random bits for each key; the counter says which number of that purpose."""
    number = np.atleast_1d(counter).astype(np.uint64)
    return mix(keys + (number + np.uint64((purpose << 32) + 1)) * STEP)


def uniform(keys: UInt64Array, purpose: Purpose, counter: int | IntArray = 0) -> FloatArray:
    """A number in [0, 1) for each key."""
    return (bits(keys, purpose, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(
    limits: IntArray, keys: UInt64Array, purpose: Purpose, counter: int | IntArray = 0
) -> IntArray:
    """A whole number in [0, limit) for each key."""
    return (uniform(keys, purpose, counter) * limits).astype(np.int64)
