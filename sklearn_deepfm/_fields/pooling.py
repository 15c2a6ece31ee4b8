"""Which columns of codes have neighbours that share rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    others = OtherColumns(columns, outcomes)
    return [
        "pooled"
        if flag
        and position not in kept
        and _is_pooled(column, outcomes, partial(others.show_order, position))
        else bool(flag)
        for position, (column, flag) in enumerate(zip(columns, is_index, strict=True))
    ]


def _is_pooled(
    column: AnyColumn, outcomes: Outcomes, beside_others: Callable[[np.ndarray], bool]
) -> bool:
    # Those of a categorical type are categories by the word of whoever made the table.
    if not isinstance(column, InputColumn) or column.categories is not None:
        return False
    codes = column.values
    if codes.dtype.kind not in "iu" or int(np.abs(codes).max()) > _LARGEST_CODE:
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
    return neighbours_belong_together(codes, outcomes, beside_others)
