"""What the order of one column's codes says of y together with another column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sklearn_deepfm._fields.evidence import Outcomes, ranks_of, residuals
from sklearn_deepfm._fields.field import AnyColumn
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.order import LEVELS_OF_PARTNER, order_matters_beside

_MOST_ROWS = 2**14  # that are counted; for each column and each other one this takes .01 s
_MOST_OUTPUTS = 4  # columns of y


class OtherColumns:
    """The columns of a table, cut into a few levels each.

    Parameters
    ----------
    columns : list of InputColumn or InputListColumn
        The training rows.
    outcomes : list of ClassOutcome or NumberOutcome
        Y of these rows.
    """

    def __init__(self, columns: Sequence[AnyColumn], outcomes: Outcomes) -> None:
        self._columns = columns
        n_rows = len(columns[0])
        self._rows = np.arange(n_rows)
        if n_rows > _MOST_ROWS:
            # The same rows in all members and processes.
            self._rows = np.sort(np.random.RandomState(0).permutation(n_rows)[:_MOST_ROWS])
        self._outcomes = [outcome.take(self._rows) for outcome in outcomes]

    def show_order(self, position: int, codes: np.ndarray) -> bool:
        """Whether the order of the codes of a column matters beside some other column."""
        rank, counts = ranks_of(codes[self._rows])
        sums, rows = [], []
        for j, levels in enumerate(self._levels):
            if j == position or levels is None:
                continue
            n_levels = int(levels.max()) + 1
            cell, shape = rank * n_levels + levels, (len(counts), n_levels)
            found = [residuals(outcome.totals(cell, shape)) for outcome in self._outcomes]
            sums.append(np.concatenate([s for s, _ in found], axis=2)[..., :_MOST_OUTPUTS])
            rows.append(found[0][1])
        return order_matters_beside(sums, rows)

    @cached_property
    def _levels(self) -> list[np.ndarray | None]:
        return [self._levels_of(column) for column in self._columns]

    def _levels_of(self, column: AnyColumn) -> np.ndarray | None:
        """Its codes, or bins of them if they are many; None of lists."""
        if not isinstance(column, InputColumn):
            return None
        values = column.values[self._rows]
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), -np.inf, values)
        rank, counts = ranks_of(values)
        if len(counts) <= LEVELS_OF_PARTNER:
            return rank
        middle = np.cumsum(counts) - counts / 2
        bins = (middle * (LEVELS_OF_PARTNER / counts.sum())).astype(np.int64)
        return np.unique(bins, return_inverse=True)[1][rank]
