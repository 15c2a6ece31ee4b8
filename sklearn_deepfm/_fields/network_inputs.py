"""The inputs of the network for some rows, gathered field by field."""

from __future__ import annotations

import numpy as np

from sklearn_deepfm._tables.lists import places

Lists = tuple[np.ndarray, np.ndarray, np.ndarray]  # members, starts, weights


class NetworkInputs:
    """Gathers what the fields give: table rows, values and lists.

    Parameters
    ----------
    n_samples : int
    n_cells : int
        Number of fields that have one table row for each cell.
    """

    def __init__(self, n_samples: int, n_cells: int) -> None:
        self._index = np.empty((n_samples, n_cells), dtype=np.int32)
        self._columns = iter(self._index.T)
        self._values: list[np.ndarray] = []
        self._lists: list[Lists] = []

    def add_cells(self, rows: np.ndarray, offset: int, value: np.ndarray | None = None) -> None:
        """Take the local row of each cell, int32, and the value of each where there is a slope."""
        # int64 offsets into 32 bits: `Fields` has made sure that the sums fit.
        np.add(rows, offset, out=next(self._columns), casting="unsafe")
        if value is not None:
            self._values.append(value)

    def add_lists(
        self, members: np.ndarray, starts: np.ndarray, weights: np.ndarray, offset: int
    ) -> None:
        """Take lists: local rows of the members of all, where each begins, and weights."""
        self._lists.append((members + np.int32(offset), starts, weights))

    def joined(self) -> tuple[np.ndarray, np.ndarray | None, Lists | None]:
        """Index, values and lists of all fields; None for values and lists if there are none."""
        return (
            self._index,
            np.column_stack(self._values) if self._values else None,
            interleave_lists(self._lists) if self._lists else None,
        )


def interleave_lists(lists: list[Lists]) -> Lists:
    """Join the lists of several fields, sample by sample.

    Parameters
    ----------
    lists : list of (members, starts, weights)
        As :meth:`ListField.encode_lists` gives them.

    Returns
    -------
    members : ndarray of shape (n_members,), int32
    starts : ndarray of shape (n_samples * n_lists + 1,), int64
    weights : ndarray of shape (n_members,), float32
    """
    if len(lists) == 1:
        return lists[0]
    lengths = np.column_stack([np.diff(starts) for _, starts, _ in lists])
    all_starts = np.concatenate([[0], np.cumsum(lengths)])
    members = np.empty(all_starts[-1], dtype=np.int32)
    weights = np.empty(all_starts[-1], dtype=np.float32)
    for k, (rows, _, shares) in enumerate(lists):
        place = places(all_starts[k : -1 : len(lists)], lengths[:, k])
        members[place], weights[place] = rows, shares
    return members, all_starts, weights
