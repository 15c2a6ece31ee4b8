"""Look-up of whole numbers that lie dense: an array from the least to the greatest of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class IntegerLookup:
    """What each of some whole numbers stands for; a default stands for all others.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), int64
        The numbers, in ascending order.
    values : ndarray of shape (n_keys,), int32
        What each of them stands for.
    default : int
        What any other number stands for.
    """

    def __init__(self, keys: np.ndarray, values: np.ndarray, default: int) -> None:
        # The first and the last entry catch whatever lies outside of the keys.
        self.low = keys[0] - 1 if len(keys) else np.int64(0)
        self.entries = np.full(_span(keys) + 2, default, dtype=np.int32)
        self.entries[keys - self.low] = values

    @staticmethod
    def suits(keys: np.ndarray) -> bool:
        """Whether the keys lie so dense that the array pays."""
        span = _span(keys)
        fits_int64 = not len(keys) or abs(int(keys[0])) + span < 2**63
        return span <= 4 * len(keys) + 1024 and fits_int64

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The value of each number, any array of integers that fit int64."""
        # A difference that overflows wraps to one outside of the entries, never into them.
        return self.entries.take(np.subtract(numbers, self.low, dtype=np.int64), mode="clip")


class IntegerLookups:
    """One map for each column of a matrix, looked up at once.

    Parameters
    ----------
    maps : sequence of IntegerLookup
    offsets : ndarray of shape (n_columns,), int64
        What is added to the values of each map.

    Attributes
    ----------
    entries : ndarray of shape (n_entries,), int32
        The values of all maps, one after the other.
    first, last : ndarray of shape (n_columns,), int64
        Where the entries of each map begin, and the last of them.
    shift : ndarray of shape (n_columns,), int64
        What makes a position among the entries of a number of each column.
    """

    def __init__(self, maps: Sequence[IntegerLookup], offsets: np.ndarray) -> None:
        lengths = np.array([len(map_.entries) for map_ in maps])
        self.first = np.cumsum(lengths) - lengths
        self.last = self.first + lengths - 1
        self.shift = self.first - np.array([map_.low for map_ in maps])
        entries = np.concatenate([map_.entries for map_ in maps])
        self.entries = entries + np.repeat(offsets.astype(np.int32), lengths)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The value of each cell of a matrix of integers that fit int64."""
        position = np.add(numbers, self.shift, dtype=np.int64)
        np.maximum(position, self.first, out=position)
        np.minimum(position, self.last, out=position)
        return self.entries.take(position)


def _span(keys: np.ndarray) -> int:
    return int(keys[-1]) - int(keys[0]) + 1 if len(keys) else 0
