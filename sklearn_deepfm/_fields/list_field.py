"""A column of lists of codes: each code has a table row, and so has the empty list."""

import numpy as np

from sklearn_deepfm._fields.index_field import UNSEEN_ROW, IndexField
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._serialization.plain_values import expect, expect_finite
from sklearn_deepfm._tables.lists import places


class ListField(IndexField):
    """A list column; each cell is the weighted sum of the table rows of its members.

    A missing cell is a list of one missing code. An empty cell counts as a list of one
    member too, which stands for "none" and has a row of its own if fit saw an empty cell.

    Parameters
    ----------
    name : str or int
    pooling : {"mean", "sum"}
        Whether the weights of a list are divided by their sum.
    """

    kind, description = "bags", "lists of codes"
    holds_lists, matrix_lookup = True, None
    _saved = {
        **IndexField._saved,
        "pooling": str,
        "empty_row": int,
        "has_weights": bool,
        "_pooled": np.float64,
        "_n_cells": float,
    }

    def __init__(self, name, pooling):
        super().__init__(name)
        self.pooling = pooling
        self.empty_row = UNSEEN_ROW
        self.has_weights = False
        self._pooled: np.ndarray = np.zeros(1)  # weight of each row, summed over the cells seen
        self._n_cells = 0.0

    @classmethod
    def suits(cls, column, is_index):
        """Whether its cells are lists."""
        return column.holds_lists

    @classmethod
    def new(cls, name, options):
        """A field that has seen nothing."""
        return cls(name, options.pooling)

    def of_form(self, column):
        """The column as lists, as :func:`as_lists` gives it."""
        return as_lists(self.name, column)

    @property
    def average_cell(self):
        """Weights of the rows whose sum is the average cell of fit; None if it saw none."""
        return self._pooled / self._n_cells if self._n_cells > 0 else None

    def grow(self, column, weight):
        """Add rows for members not seen before, and count all of them."""
        self.has_weights |= column.weights is not None
        self._count(column.members, None if weight is None else np.repeat(weight, column.lengths))
        empty = column.lengths == 0
        if empty.any():
            self._count_empty(empty.sum() if weight is None else weight[empty].sum())
        self._add_to_average(column, weight)

    def absorb(self, other):
        """Add the codes and counts of another field, as :meth:`IndexField.absorb` does."""
        rows = super().absorb(other)
        self.has_weights |= other.has_weights
        if other.empty_row != UNSEEN_ROW:
            self._count_empty(other.frequency[other.empty_row])
            rows[other.empty_row] = self.empty_row
        pooled = np.bincount(rows, weights=other._pooled, minlength=self.n_rows)
        pooled[: len(self._pooled)] += self._pooled
        self._pooled = pooled
        self._n_cells += other._n_cells
        return rows

    def _count_empty(self, n):
        if self.empty_row == UNSEEN_ROW:
            self.empty_row = self.n_rows
            self.frequency = np.append(self.frequency, 0.0)
        # A new array: a shallow copy taken before shares the old one.
        self.frequency = self.frequency + n * (np.arange(self.n_rows) == self.empty_row)

    def without_counts(self):
        """A copy with the same codes and rows, and all counts at zero."""
        new = super().without_counts()
        new._pooled, new._n_cells = np.zeros_like(self._pooled), 0.0
        return new

    def _add_to_average(self, column, weight):
        """Add these cells to the sums behind `average_cell`."""
        rows, starts, shares = self.encode_lists(column)
        if weight is not None:
            shares = shares * np.repeat(weight, np.diff(starts))
        pooled = np.bincount(rows, weights=shares, minlength=self.n_rows)
        pooled[: len(self._pooled)] += self._pooled
        self._pooled = pooled
        self._n_cells += len(column) if weight is None else weight.sum()

    def _check_loaded(self):
        super()._check_loaded()
        expect(self.pooling in ("mean", "sum"), "pooling")
        expect_finite(self._pooled, "pooled", (self.n_rows,))
        expect_finite(self._n_cells, "n_cells", (), least=0)

    def _rows_of_no_code(self):
        return [self.missing_row, self.empty_row]

    def add_to(self, inputs, column, offset):
        """Give the network the members of each cell."""
        inputs.add_lists(*self.encode_lists(column), offset)

    def encode_lists(self, column):
        """Local rows of the members of each cell.

        Returns
        -------
        members : ndarray of shape (n_members,), int32
        starts : ndarray of shape (n_samples + 1,), int64
        weights : ndarray of shape (n_members,), float32
        """
        rows, _ = self.encode(column.members)
        weights, lengths = self._pooling_weights(column), column.lengths
        if lengths.all():
            return rows, column.starts, weights
        # Each empty cell gets one member, the row that stands for "none".
        starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))])
        members = np.full(starts[-1], self.empty_row, dtype=np.int32)
        shares = np.ones(starts[-1], dtype=np.float32)
        place = places(starts[:-1], lengths)
        members[place], shares[place] = rows, weights
        return members, starts, shares

    def _pooling_weights(self, column):
        lengths, weights = column.lengths, column.weights
        if self.pooling == "mean" and weights is not None and len(weights) and weights.min() < 0:
            raise ValueError(
                f"Column {self.name!r} holds the weight {weights.min()}, where pooling='mean' "
                f"needs weights of at least 0. Set pooling='sum', or mend the weights."
            )
        if self.pooling == "sum":
            weights = np.ones(len(column.members)) if weights is None else weights
        elif weights is None:
            weights = np.repeat(1 / np.maximum(lengths, 1), lengths)
        else:
            # reduceat takes no position beyond the end, where the last lists begin if they are
            # empty, and gives an empty list its next number: hence the 0.0 and the factor.
            sums = np.add.reduceat(np.append(weights, 0.0), column.starts[:-1]) * (lengths > 0)
            # A list whose weights are all 0 contributes nothing.
            weights = weights / np.repeat(np.where(sums > 0, sums, 1.0), lengths)
        return weights.astype(np.float32)


def as_lists(name, column):
    """The column as lists; one of single values is taken if all its cells are missing."""
    if column.holds_lists:
        return column
    if not column.is_all_missing:
        raise ValueError(
            f"Column {name!r} held lists of codes in fit and holds one value per cell now. Give "
            f"lists, of one member where there is one."
        )
    nothing = InputColumn(name, np.zeros(len(column), np.int64), np.ones(len(column), bool))
    return InputListColumn(name, nothing, np.arange(len(column) + 1))
