"""Rows of different lengths, one after another in a flat array."""

import numpy as np

from glmctl.core.objective.arrays import IntArray


def starts_of(sizes: IntArray) -> IntArray:
    """Where each row begins, [n]."""
    return np.cumsum(sizes) - sizes


def count_up(sizes: IntArray, first: int | IntArray = 0) -> IntArray:
    """In each row: first, first + 1, first + 2, ... [sum of sizes]."""
    counted = np.arange(sizes.sum())
    counted -= np.repeat(starts_of(sizes) - first, sizes)
    return counted


def ragged(sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Row of each element, and its rank in that row, two [sum of sizes]."""
    return np.repeat(np.arange(len(sizes)), sizes), count_up(sizes)


def rank_in_row(row: IntArray) -> IntArray:
    """Rank of each element in its row, from the rows of all elements (ascending), [m]."""
    return np.arange(len(row)) - starts_of(np.bincount(row))[row]


def sum_before(row: IntArray, values: IntArray) -> IntArray:
    """Sum of the values before each element in its row, [m]."""
    before = np.cumsum(values) - values
    return before - before[starts_of(np.bincount(row))[row]]
