"""Integer lookup: arrays that map dense integer keys, such as codes, to other integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class IntegerLookup:
    """Map from integer keys to values, with a default for all other integers.

    The values are an array that spans the range from the least key to the greatest.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), int64
        The keys, in ascending order.
    values : ndarray of shape (n_keys,), int32
        The value of each key.
    default : int
        The value of any other integer.
    """

    def __init__(self, keys: np.ndarray, values: np.ndarray, default: int) -> None:
        # The first and the last entry are no key's: integers outside of the range get them.
        self.low = keys[0] - 1 if len(keys) else np.int64(0)
        self.entries = np.full(_span(keys) + 2, default, dtype=np.int32)
        self.entries[keys - self.low] = values

    values: np.ndarray | None = None  # beside each entry a number, in some lookups

    @classmethod
    def of_entries(cls, low: int, entries: np.ndarray, values: np.ndarray) -> IntegerLookup:
        """A lookup of all integers from `low` on; those beyond its ends get the end entries."""
        new = cls.__new__(cls)
        new.low, new.entries, new.values = np.int64(low), entries, values
        return new

    @staticmethod
    def suits(keys: np.ndarray) -> bool:
        """Whether the keys are so dense that the array is worth its memory."""
        span = _span(keys)
        # The integers next to the range must fit int64, and a difference that overflows must not
        # land among the entries.
        fits_int64 = not len(keys) or abs(int(keys[0])) + span < 2**63
        # About 16 bytes for each key, and 4 KiB in any case.
        return span <= 4 * len(keys) + 1024 and fits_int64

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The value of each integer of an array of a type that int64 can hold."""
        # A difference that overflows wraps to a position outside of the entries, which is clipped.
        return self.entries.take(np.subtract(numbers, self.low, dtype=np.int64), mode="clip")


class IntegerLookups:
    """Integer lookups of all columns of a matrix, done at once.

    Parameters
    ----------
    lookups : sequence of IntegerLookup
        One for each column.
    offsets : ndarray of shape (n_columns,), int64
        Added to the values of each map.

    Attributes
    ----------
    entries : ndarray of shape (n_entries,), int32
        The values of all lookups, one after the other.
    first, last : ndarray of shape (n_columns,), int64
        Positions of the first and the last entry of each map.
    shift : ndarray of shape (n_columns,), int64
        Added to an integer of each column, it gives the position of its entry.
    with_values : ndarray of int
        The columns whose lookups have values.
    values : ndarray of shape (n_entries,), float32
        The values of all lookups, 0 for those without.
    """

    def __init__(self, lookups: Sequence[IntegerLookup], offsets: np.ndarray) -> None:
        lengths = np.array([len(lookup.entries) for lookup in lookups])
        self.first = np.cumsum(lengths) - lengths
        self.last = self.first + lengths - 1
        self.shift = self.first - np.array([lookup.low for lookup in lookups])
        entries = np.concatenate([lookup.entries for lookup in lookups])
        self.entries = entries + np.repeat(offsets.astype(np.int32), lengths)
        has_values = [lookup.values is not None for lookup in lookups]
        self.with_values = np.flatnonzero(has_values)
        values = [np.zeros(len(m.entries)) if m.values is None else m.values for m in lookups]
        self.values = np.concatenate(values).astype(np.float32) if any(has_values) else np.empty(0)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The entry of each cell of a matrix of integers that fit int64."""
        return self.with_values_of(numbers)[0]

    def with_values_of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The entry of each cell, and its value in the columns that have any; None: none has."""
        position = np.add(numbers, self.shift, dtype=np.int64)
        # Clip to each column's own entries, the first and the last of which hold its default.
        np.maximum(position, self.first, out=position)
        np.minimum(position, self.last, out=position)
        entries = self.entries.take(position)
        if not len(self.with_values):
            return entries, None
        return entries, self.values.take(position[:, self.with_values])


def _span(keys: np.ndarray) -> int:
    # In Python's integers: the difference of two of int64 may overflow.
    return int(keys[-1]) - int(keys[0]) + 1 if len(keys) else 0
