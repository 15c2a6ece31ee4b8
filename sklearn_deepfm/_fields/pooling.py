"""Which columns of codes have neighbours that share rows of the table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from sklearn_deepfm._common.code_steps import NAMES, QUANTITIES, steps_of
from sklearn_deepfm._fields.evidence import neighbours_belong_together
from sklearn_deepfm._fields.field import AnyColumn
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.other_columns import OtherColumns
from sklearn_deepfm._fields.outcomes import Outcomes

# Whether a column holds codes, or "pooled".
FieldKinds: TypeAlias = list[bool | str]

_LARGEST_CODE = 2**53  # up to which floats, in which orders are kept, hold each code
_MOST_ROWS = 2**16  # that are asked; of many more the answer would take as long as an epoch


def with_pooled(
    columns: Sequence[AnyColumn], is_index: Sequence[bool], outcomes: Outcomes, kept: set[int]
) -> FieldKinds:
    """`is_index`, with "pooled" in the place of True where neighbours share rows.

    Quantities, by the steps between their codes, always do, names never; of other codes y decides.

    Parameters
    ----------
    columns : list of InputColumn or InputListColumn
        The training rows.
    is_index : list of bool
        Whether each column holds codes.
    outcomes : list of ClassOutcome or NumberOutcome
        Y of these rows.
    kept : set of int
        Positions of columns that stay categories, as somebody says so.
    """
    rows: np.ndarray | slice = slice(None)
    n_rows, asked = len(columns[0]), columns
    is_sample = n_rows > _MOST_ROWS
    if is_sample:
        # A fixed seed: the answer must be the same in all members and processes.
        rows = np.sort(np.random.RandomState(0).permutation(n_rows)[:_MOST_ROWS])
        outcomes = [outcome.take(rows) for outcome in outcomes]
        asked = [column.take(rows) for column in columns]
    others = OtherColumns(asked, outcomes)

    def is_pooled(position: int) -> bool:
        """Whether y says so of the column, or its codes do."""
        if not is_index[position] or position in kept:
            return False
        codes = _in_doubt(columns[position])
        if isinstance(codes, bool):
            return codes
        beside_others = partial(others.show_order, position)
        return neighbours_belong_together(codes[rows], outcomes, beside_others, is_sample=is_sample)

    return ["pooled" if is_pooled(j) else bool(flag) for j, flag in enumerate(is_index)]


def _in_doubt(column: AnyColumn) -> np.ndarray | bool:
    """The codes of a column that y is asked of; whether it is pooled where that is clear."""
    # Those of a categorical type are categories by the word of whoever made the table.
    if not isinstance(column, InputColumn) or column.categories is not None:
        return False
    codes = column.values
    if codes.dtype.kind not in "iu":
        return False
    # Not by np.abs, which leaves the least int64 negative.
    if int(codes.max()) > _LARGEST_CODE or int(codes.min()) < -_LARGEST_CODE:
        return False
    codes = codes.astype(np.int64)
    seen = codes if column.missing is None else codes[~column.missing]
    if not len(seen):
        return False
    steps = steps_of(np.unique(seen))
    if steps in (QUANTITIES, NAMES):
        return steps == QUANTITIES
    if column.missing is not None:
        codes = np.where(column.missing, seen.min() - 1, codes)
    return codes
