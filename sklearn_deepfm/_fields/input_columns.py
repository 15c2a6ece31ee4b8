"""Columns as an estimator reads them: a code or a number per cell, or a list of codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sklearn_deepfm._tables.exact_numbers import without_decimals
from sklearn_deepfm._tables.lists import checked_weights, flattened, places


@dataclass(frozen=True)
class InputColumn:
    """One column: its cells as numbers, a mask of missing ones, and its categories if any.

    `values` are whole numbers (codes), floats (numbers, NaN missing), or positions in
    `categories` (-1 missing). `is_quantity`: numbers by the user's word.
    """

    name: str | int
    values: np.ndarray
    missing: np.ndarray | None = None
    categories: pd.Index | None = None
    is_quantity: bool = False

    holds_lists = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def holds_codes(self) -> bool:
        return self.categories is not None or self.values.dtype.kind in "iu"

    @property
    def is_all_missing(self) -> bool:
        if self.categories is not None:
            return bool((self.values < 0).all())
        if self.missing is not None:
            return bool(self.missing.all())
        return self.values.dtype.kind == "f" and bool(np.isnan(self.values).all())

    def take(self, rows: np.ndarray | slice) -> InputColumn:
        """The column of some rows."""
        missing = None if self.missing is None else self.missing[rows]
        return replace(self, values=self.values[rows], missing=missing)

    def ranks(self) -> list[np.ndarray]:
        """Arrays of integers, in which two rows are equal if their cells are."""
        return [_ranks(self.values), *([] if self.missing is None else [self.missing])]


@dataclass(frozen=True)
class InputListColumn:
    """One column of lists: the members of all cells, one cell after the other.

    Parameters
    ----------
    name : str or int
    members : InputColumn
        Codes. A missing cell has one member, which is missing.
    starts : ndarray of shape (n_samples + 1,), int64
        Where the members of each cell begin, and where those of the last one end.
    weights : ndarray of shape (n_members,), float64, or None
        Weight of each member; None where all are 1.
    """

    name: str | int
    members: InputColumn
    starts: np.ndarray
    weights: np.ndarray | None = None

    categories = None
    holds_codes = holds_lists = True

    @classmethod
    def from_arrow(cls, name: str | int, lists: pa.Array) -> InputListColumn | None:
        """Read lists of integers, or of structs of a code and a weight; None for any others."""
        members, starts = flattened(lists)
        weights = None
        if pa.types.is_struct(members.type):
            if {field.name for field in members.type} != {"code", "weight"}:
                return None
            # A missing member has no weight that could be read: it counts once.
            weights = pc.if_else(members.is_null(), 1.0, pc.struct_field(members, "weight"))
            members = pc.struct_field(members, "code")
        members = without_decimals(name, members)
        if not pa.types.is_integer(members.type) and not pa.types.is_null(members.type):
            return None
        missing = members.is_null().to_numpy(False) if members.null_count else None
        type_ = members.type if pa.types.is_integer(members.type) else pa.int64()
        values = members.cast(type_).fill_null(0).to_numpy()
        return cls(
            name,
            InputColumn(name, values, missing),
            starts,
            None if weights is None else checked_weights(name, weights),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def is_all_missing(self) -> bool:
        return len(self.members) == len(self) and self.members.is_all_missing

    def take(self, rows: np.ndarray | slice) -> InputListColumn:
        """The column of some rows."""
        lengths, first = self.lengths[rows], self.starts[:-1][rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        if isinstance(rows, slice) and len(first):
            # The members of neighbours are neighbours: a slice copies nothing.
            part: slice | np.ndarray = slice(first[0], first[0] + starts[-1])
        else:
            part = places(first, lengths)
        weights = None if self.weights is None else self.weights[part]
        return InputListColumn(self.name, self.members.take(part), starts, weights)

    def ranks(self) -> list[np.ndarray]:
        """Arrays of integers, in which two rows are equal if their cells are."""
        parts = [*self.members.ranks(), *([] if self.weights is None else [_ranks(self.weights)])]
        members = np.column_stack(parts)
        lists = [members[a:b].tobytes() for a, b in pairwise(self.starts)]
        # Sorted, so that ranks do not depend on the order of the rows.
        rank_of = {content: rank for rank, content in enumerate(sorted(set(lists)))}
        return [np.array([rank_of[content] for content in lists])]


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].ravel()
