"""Other columns, beside which the order of a column's codes may matter to y."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sklearn_deepfm._fields.field import AnyColumn
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.order import order_matters_beside
from sklearn_deepfm._fields.outcomes import Outcomes
from sklearn_deepfm._fields.ranks import ranks_of

LEVELS = 8  # at most, of a column
_MOST_ROWS = 2**14  # that are counted; for each column and each other one this takes .01 s
_MOST_COLUMNS = 32  # beside which an order is sought, spread over all
_MOST_RESIDUALS = 4  # columns of y, of many classes or outputs


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
        """Whether the order of the codes of a column matters beside some other column.

        Parameters
        ----------
        position : int
            Of the column.
        codes : ndarray of int of shape (n_samples,)
        """
        rank, n_codes = ranks_of(codes[self._rows])
        sums, rows = [], []
        for j, level in self._levels.items():
            if j != position:
                n_levels = int(level.max()) + 1
                cell, shape = level * n_codes + rank, (n_levels, n_codes)
                found = [outcome.totals(cell, shape) for outcome in self._outcomes]
                residuals = np.concatenate([totals.residuals() for totals in found], axis=2)
                sums.append(residuals[..., :_MOST_RESIDUALS].swapaxes(0, 1))
                rows.append(found[0].n.T)
        return order_matters_beside(sums, rows)

    @cached_property
    def _levels(self) -> dict[int, np.ndarray]:
        """The level of each row in each column that is asked; none of them holds lists."""
        columns = [
            (j, column) for j, column in enumerate(self._columns) if isinstance(column, InputColumn)
        ]
        every = -(-len(columns) // _MOST_COLUMNS) or 1
        return {j: self._levels_of(column) for j, column in columns[::every]}

    def _levels_of(self, column: InputColumn) -> np.ndarray:
        """Its codes, or bins of them if they are many."""
        values = column.values[self._rows]
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), -np.inf, values)
        rank, n_codes = ranks_of(values)
        if column.missing is not None:
            rank, n_codes = ranks_of(np.where(column.missing[self._rows], -1, rank))
        if n_codes <= LEVELS:
            return rank
        rows = self._outcomes[0].totals(rank, (1, n_codes)).n[0]
        middle = np.cumsum(rows) - rows / 2
        bin_of_code = (middle * (LEVELS / rows.sum())).astype(np.int64)
        return ranks_of(bin_of_code[rank])[0]
