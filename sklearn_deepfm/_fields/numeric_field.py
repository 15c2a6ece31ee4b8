"""A column of numbers: a table row for each bin, and a slope over their normal score."""

import copy
from typing import Any

import numpy as np

from sklearn_deepfm._common.quantiles import (
    LARGEST_SCORE,
    auto_n_bins,
    inner_edges,
    normal_scores,
    positions_among,
)
from sklearn_deepfm._fields.field import refuse_lists
from sklearn_deepfm._fields.index_field import UNSEEN_ROW
from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import (
    expect,
    expect_ascending,
    expect_finite,
    expect_numbering,
)

SLOPE_ROW, _N_FIRST_ROWS = 1, 2  # unseen and slope are the rows that each field has


class NumericField(Plain):
    """A column of numbers x; its cells are ``u_k + z * v`` for the bin k of x.

    z is the normal score of x: the standard normal quantile of the share of smaller
    numbers, interpolated between those that fit saw. Local row 0 is the mean of the
    bins' rows, for NaN where fit saw none; row 1 is the slope v; the rows of the bins
    come next, and one for NaN if fit saw any. Numbers beyond the range that fit saw
    count as its ends, since products of outliers would have no bound.

    Parameters
    ----------
    name : str or int
    n_bins : int, "auto" or None
        Largest number of bins. "auto": up to 255, by the number of rows. None: a single
        bin.
    """

    kind, description = "numbers", "numbers"
    holds_lists, holds_codes, slope_row = False, False, SLOPE_ROW
    _saved = {
        "name": None,
        "n_bins": None,
        "edges": np.float64,
        "knots": np.float64,
        "scores": np.float64,
        "first_bin": int,
        "missing_row": int,
        "frequency": np.float64,
        "sum_of_scores": float,
    }
    _optional = ("edges",)

    def __init__(self, name, n_bins):
        self.name = name
        self.n_bins = 1 if n_bins is None else n_bins
        self.edges: Any = None  # between the bins; None until a number has been seen
        self.knots = self.scores = np.empty(0)  # some numbers, and their normal scores
        self.first_bin = self.missing_row = UNSEEN_ROW
        self.frequency = np.zeros(_N_FIRST_ROWS)
        self.sum_of_scores = 0.0

    @classmethod
    def suits(cls, column, is_index):
        """Whether its cells are numbers, as those of any column are that are nothing else."""
        return not is_index

    @classmethod
    def new(cls, name, options):
        """A field that has seen nothing."""
        return cls(name, options.n_bins)

    def of_form(self, column):
        """The column; an error if its cells are lists."""
        return refuse_lists(self.name, column)

    @property
    def n_rows(self):
        return len(self.frequency)

    @property
    def matrix_lookup(self):
        """None: numbers are no integers."""
        return None

    @property
    def average_cell(self):
        """Weights of the rows whose sum is the average cell of fit; None if it saw none."""
        total = self.frequency.sum()
        if total == 0:
            return None
        weights = self.frequency / total
        weights[SLOPE_ROW] = self.sum_of_scores / total
        return weights

    def grow(self, column, weight):
        """Learn bins and scores from the first numbers, and count the rows of each call."""
        x = _numbers(self.name, column)
        missing = np.isnan(x)
        if self.edges is None and not missing.all():
            self._learn(x[~missing], None if weight is None else weight[~missing])
        if self.missing_row == UNSEEN_ROW and missing.any():
            self.missing_row = self.n_rows
            self.frequency = np.append(self.frequency, 0.0)
        counts = np.bincount(self._rows(x, missing), weights=weight, minlength=self.n_rows)
        counts[UNSEEN_ROW] = 0
        self.frequency = self.frequency + counts
        if self.edges is not None:
            scores = self._scores(x, missing)
            self.sum_of_scores += scores.sum() if weight is None else weight @ scores

    def absorb(self, other):
        """Add the counts of another field with the same bins, as :meth:`IndexField.absorb` does.

        Raises
        ------
        ValueError
            If the bins differ.
        """
        if (self.edges is None) != (other.edges is None) or (
            self.edges is not None and not np.array_equal(self.edges, other.edges)
        ):
            raise self._learned_elsewhere()
        return self._with_counts(other, np.arange(other.n_rows, dtype=np.int32))

    def _with_counts(self, other, rows):
        """Add the counts of another field, of which each row but that of NaN has one here."""
        if other.missing_row != UNSEEN_ROW:
            if self.missing_row == UNSEEN_ROW:
                self.missing_row = self.n_rows
                self.frequency = np.append(self.frequency, 0.0)
            rows[other.missing_row] = self.missing_row
        more = np.bincount(rows, weights=other.frequency, minlength=self.n_rows)
        self.frequency = self.frequency + more
        self.sum_of_scores += other.sum_of_scores
        return rows

    def _learned_elsewhere(self):
        return ValueError(
            f"Column {self.name!r} holds a number in so few rows that none was among those "
            f"its bins are made of. Drop the column, or encode it as categories."
        )

    def without_counts(self):
        """A copy with the same bins and scores, and all counts at zero."""
        new = copy.copy(self)
        new.frequency, new.sum_of_scores = np.zeros_like(self.frequency), 0.0
        return new

    def _learn(self, x, weight):
        distinct, position = np.unique(x, return_inverse=True)
        counts = np.bincount(position, weights=weight)
        counts = counts * (len(x) / counts.sum())  # the scale of all weights has no effect
        self.knots, self.scores = normal_scores(distinct.astype(np.float64), counts)
        n_bins = auto_n_bins(len(x)) if self.n_bins == "auto" else self.n_bins
        self.edges = inner_edges(distinct, counts, n_bins)
        self.first_bin = self.n_rows  # after the row of NaN, if an earlier call saw nothing else
        self.frequency = np.append(self.frequency, np.zeros(len(self.edges) + 1))

    def _check_loaded(self):
        expect_finite(self.frequency, "frequency", (self.n_rows,), least=0)
        expect_finite(self.sum_of_scores, "sum_of_scores", ())
        bins = np.empty(0, np.int64)
        if self.edges is None:
            expect(len(self.knots) == 0 and self.first_bin == UNSEEN_ROW, "knots")
        else:
            expect(len(self.knots) > 0, "knots")
            bins = self.first_bin + np.arange(len(self.edges) + 1)
            expect_finite(self.edges, "edges", self.edges.shape)
            expect_ascending(self.edges, "edges")
        others = [] if self.missing_row == UNSEEN_ROW else [self.missing_row]
        rows = np.append(bins, np.array(others, np.int64))
        expect_numbering(rows, _N_FIRST_ROWS, self.n_rows, "frequency")
        self._check_scores()

    def _check_scores(self):
        expect_ascending(self.knots, "knots")
        expect_finite(self.knots, "knots", self.knots.shape)
        expect_finite(self.scores, "scores", self.knots.shape)
        expect_ascending(self.scores, "scores", strictly=False)
        expect(np.abs(self.scores).max(initial=0) < LARGEST_SCORE, "scores")
        expect(self.n_bins == "auto" or (type(self.n_bins) is int and self.n_bins > 0), "n_bins")

    def with_codes_of_fit(self, column):
        """The column as it is, which every other method refuses: it has no numbers."""
        return column

    def add_to(self, inputs, column, offset):
        """Give the network the row of each cell, and its score."""
        rows, score = self.encode(column)
        inputs.add_cells(rows, offset, score)

    def encode(self, column):
        """Local row of each cell, and its score (0 where missing)."""
        x = _numbers(self.name, column)
        missing = np.isnan(x)
        rows = self._rows(x, missing)
        if self.edges is None:  # fit saw nothing but missing cells
            return rows, np.zeros(len(x), dtype=np.float32)
        return rows, self._scores(x, missing).astype(np.float32)

    def _scores(self, x, missing):
        # np.interp gives the ends of its range to all numbers beyond it.
        return np.where(missing, 0, np.interp(x, self.knots, self.scores))

    def _rows(self, x, missing):
        if self.edges is None:
            rows = np.full(len(x), UNSEEN_ROW, dtype=np.int32)
        else:
            rows = positions_among(self.edges, x).astype(np.int32) + self.first_bin
        rows[missing] = self.missing_row
        return rows


def _numbers(name, column):
    """Cells as float64 or float32 with NaN where missing."""
    if column.categories is not None:
        raise ValueError(
            f"Column {name!r} is categorical where numbers are required: it was numeric in fit, "
            f"or categorical_features leaves it out. Convert it to numbers, or name it in "
            f"categorical_features and fit again."
        )
    x = column.values
    if x.dtype != np.float32:
        x = x.astype(np.float64)
    return x if column.missing is None else np.where(column.missing, np.nan, x)
