"""A column of codes in order: rare ones share table rows with neighbours, all share a slope."""

import numpy as np

from sklearn_deepfm._common.code_steps import CATEGORIES, QUANTITIES, WHOLE_NUMBERS, steps_of
from sklearn_deepfm._common.integer_lookup import IntegerLookup
from sklearn_deepfm._common.quantiles import auto_n_bins, inner_edges, normal_scores
from sklearn_deepfm._fields.index_field import UNSEEN_ROW
from sklearn_deepfm._fields.numeric_field import SLOPE_ROW, NumericField
from sklearn_deepfm._serialization.plain_values import (
    expect,
    expect_ascending,
    expect_finite,
    expect_numbering,
)

MISSING_CODE, RARE_CODE = 0, 1  # of an encoder
ROWS_OF_ITS_OWN = 20  # a code in fewer rows shares a table row with its neighbours


class PooledField(NumericField):
    """A column of codes k in an order; its cells are ``u_k + z * v``.

    A code of at least 20 rows has a table row u_k of its own. The others share rows with their
    neighbours, one for each quantile bin. z is the normal score of the code, by its middle
    rank, and v a slope that all share. A code that fit never saw has the row of the bin that it
    lies in, or of the nearest code where there are no bins, and an interpolated score.

    Codes 0 and 1 of an encoder, missing and unknown or rare, stand outside of the order: they
    have rows of their own, and the score 0. So have codes that are learned after fit, beyond all
    others: nothing tells their place.

    Attributes
    ----------
    edges, rows_at, has_score : ndarray
        The codes from ``edges[i - 1]`` on, below ``edges[i]``, have the local row ``rows_at[i]``,
        and a score if ``has_score[i]``.
    codes : ndarray of int64
        The codes that fit saw.
    later : ndarray of int64
        Those among them that were learned later.
    """

    kind = description = "pooled"
    holds_codes = True
    _saved = {
        **{name: kind for name, kind in NumericField._saved.items() if name != "first_bin"},
        "rows_at": np.int32,
        "has_score": np.bool_,
        "codes": np.int64,
        "later": np.int64,
        "grows": bool,
    }

    def __init__(self, name, n_bins):
        super().__init__(name, n_bins)
        del self.first_bin
        self.rows_at, self.has_score = np.empty(0, np.int32), np.empty(0, bool)
        self.codes = self.later = np.empty(0, np.int64)
        self.grows = True  # whether codes beyond all others get rows: bins never change
        self.lookup = None

    @classmethod
    def suits(cls, column, is_index):
        """Whether its cells are codes that were found to be in an order."""
        return is_index == "pooled"

    @property
    def matrix_lookup(self):
        """The look-up from code to row and score, where codes lie close together."""
        return self.lookup

    @property
    def code_names(self):
        """The codes that fit saw."""
        return self.codes

    def of_codes(self, values):
        """Values of the codes that fit saw, from values of the rows."""
        x = self.codes.astype(np.float64)
        of_rows, slope = values[self._rows(x, np.isnan(x))], values[SLOPE_ROW]
        return of_rows + np.multiply.outer(self._scores(x, np.isnan(x)), slope).astype(values.dtype)

    def grow(self, column, weight):
        """Learn from the first codes, later add rows for codes beyond them, and count all."""
        if self.edges is not None and self.grows:
            x = np.unique(np.asarray(column.values)[~_is_missing(column)]).astype(np.int64)
            self._add_later(x[(x > self._last) & ~np.isin(x, self.later)])
        super().grow(column, weight)

    def absorb(self, other):
        """Add codes and counts of another field that was learned from the same first rows."""
        is_same = (self.edges is None) == (other.edges is None)
        scales = (self.knots, other.knots), (self.scores, other.scores)
        if not is_same or not all(np.array_equal(*pair) for pair in scales):
            raise self._learned_elsewhere()
        self._add_later(np.setdiff1d(other.later, self.later))
        rows = np.arange(other.n_rows, dtype=np.int32)
        if len(other.later):
            later = other.later.astype(np.float64)
            of_other = other._rows(later, np.isnan(later))
            rows[of_other] = self._rows(later, np.isnan(later))
        return self._with_counts(other, rows)

    @property
    def _last(self):
        """The largest code of the order."""
        return self.codes[len(self.codes) - len(self.later) - 1]

    def _add_later(self, new):
        """Give codes after the order rows of their own, without a score."""
        if not len(new):
            return
        rows = self.n_rows + np.arange(len(new))
        self.frequency = np.append(self.frequency, np.zeros(len(new)))
        edges = np.unique(np.concatenate([self.edges, new, new + 1]))
        starts = np.append(self.edges[0] - 1, edges)
        rows_at, has_score = (of[self._intervals(starts)] for of in (self.rows_at, self.has_score))
        is_new = np.isin(starts, new)
        rows_at[is_new], has_score[is_new] = rows, False
        self.edges, self.rows_at, self.has_score = edges, rows_at.astype(np.int32), has_score
        self.later = np.union1d(self.later, new)
        ordered = self.codes[: len(self.codes) - (len(self.later) - len(new))]
        self.codes = np.concatenate([ordered, self.later])
        self._make_lookup()

    def _learn(self, x, weight):
        distinct, position = np.unique(x, return_inverse=True)
        counts = np.bincount(position, weights=weight)
        counts = counts * (len(x) / counts.sum())  # the scale of all weights has no effect
        self.codes = distinct.astype(np.int64)
        steps = steps_of(self.codes)
        self.grows = steps != QUANTITIES
        apart, is_apart = _codes_apart(self.codes, steps)
        if is_apart.all():
            apart, is_apart = self.codes[:0], np.zeros(len(distinct), bool)
        layout = _Layout(
            distinct[~is_apart],
            counts[~is_apart],
            auto_n_bins(len(x)) if self.n_bins == "auto" else self.n_bins,
            np.inf if steps == QUANTITIES else ROWS_OF_ITS_OWN,
        )
        self.knots, self.scores = normal_scores(layout.codes.astype(np.float64), layout.counts)
        first = self.n_rows  # after the row of NaN, if an earlier call saw nothing else
        of_apart = np.full(len(apart), UNSEEN_ROW)
        is_seen = np.isin(apart, self.codes)
        of_apart[is_seen] = first + layout.n_rows + np.arange(is_seen.sum())
        self.frequency = np.append(self.frequency, np.zeros(layout.n_rows + is_seen.sum()))
        self.edges = np.union1d(layout.edges(), np.concatenate([apart, apart + 1]))
        # Below the first edge, and from each edge on.
        starts = np.append(self.edges[0] - 1, self.edges)
        rows = first + layout.rows(starts)
        place = np.searchsorted(apart, starts).clip(max=max(len(apart) - 1, 0))
        is_apart = apart[place] == starts if len(apart) else np.zeros(len(starts), bool)
        rows[is_apart] = of_apart[place[is_apart]]
        self.rows_at, self.has_score = rows.astype(np.int32), ~is_apart
        self._make_lookup()

    def _make_lookup(self):
        low, high = int(self.edges[0]) - 1, int(self.edges[-1]) + 1
        self.lookup = None
        if IntegerLookup.suits(np.array([low, *self.codes, high])) and high - low < 2**31:
            x = np.arange(low, high + 1, dtype=np.float64)
            missing = np.zeros(len(x), bool)
            scores = self._scores(x, missing).astype(np.float32)
            self.lookup = IntegerLookup.of_entries(low, self._rows(x, missing), scores)

    def _intervals(self, x):
        edges: np.ndarray = self.edges
        return np.searchsorted(edges, x, side="right")

    def _scores(self, x, missing):
        return super()._scores(x, missing) * self.has_score[self._intervals(x)]

    def _rows(self, x, missing):
        if self.edges is None:
            rows = np.full(len(x), UNSEEN_ROW, dtype=np.int32)
        else:
            rows = self.rows_at[self._intervals(x)]
        rows[missing] = self.missing_row
        return rows

    def _check_loaded(self):
        self.lookup = None
        expect_finite(self.frequency, "frequency", (self.n_rows,), least=0)
        expect_finite(self.sum_of_scores, "sum_of_scores", ())
        self._check_scores()
        expect_ascending(self.codes, "codes")
        expect(np.isin(self.later, self.codes[len(self.codes) - len(self.later) :]).all(), "later")
        others = np.array([self.missing_row] if self.missing_row != UNSEEN_ROW else [], np.int64)
        if self.edges is None:
            expect(len(self.knots) == len(self.codes) == len(self.rows_at) == 0, "knots")
            expect_numbering(others, SLOPE_ROW + 1, self.n_rows, "frequency")
            return
        expect(len(self.knots) > 0 and len(self.codes) > len(self.later), "knots")
        expect_finite(self.edges, "edges", (len(self.edges),))
        expect_ascending(self.edges, "edges")
        expect(len(self.edges) > 0 and np.abs(self.edges).max() <= 2.0**53, "edges")
        expect(self.rows_at.shape == self.has_score.shape == (len(self.edges) + 1,), "rows_at")
        named = np.setdiff1d(self.rows_at, [UNSEEN_ROW])
        expect_numbering(np.append(named, others), SLOPE_ROW + 1, self.n_rows, "rows_at")
        self._make_lookup()


class _Layout:
    """Which codes of an order have a row of their own, and which bins the others share.

    Rows are numbered from 0: those of the bins, then those of codes.
    """

    def __init__(self, codes, counts, n_bins, least):
        self.codes, self.counts = codes, counts
        is_own = counts >= least
        self.own, self.rare = codes[is_own], codes[~is_own]
        self.inner = np.empty(0)
        if len(self.rare):
            self.inner = inner_edges(self.rare, counts[~is_own], n_bins)
        self.n_bins = len(self.inner) + 1 if len(self.rare) else 0

    @property
    def n_rows(self):
        return self.n_bins + len(self.own)

    def edges(self):
        """The codes from which on rows may be others."""
        middle = np.ceil((self.own[:-1] + self.own[1:]) / 2)
        ends = [self.rare[0], self.rare[-1] + 1] if len(self.rare) else []
        return np.unique(np.concatenate([self.own, self.own + 1, middle, self.inner, ends]))

    def rows(self, x):
        """The row of each code, seen or not."""
        if not len(self.own):
            return np.searchsorted(self.inner, x, side="right")
        above = np.searchsorted(self.own, x).clip(max=len(self.own) - 1)
        below = np.maximum(above - 1, 0)
        nearest = np.where(x - self.own[below] < self.own[above] - x, below, above)
        rows = self.n_bins + nearest
        if len(self.rare):
            # Between rare codes an unseen one is more like them than like a frequent neighbour.
            is_among = (self.own[nearest] != x) & (self.rare[0] <= x) & (x <= self.rare[-1])
            rows[is_among] = np.searchsorted(self.inner, x[is_among], side="right")
        return rows


def _codes_apart(codes, steps):
    """Codes that stand outside of the order, and a mask of the codes that do."""
    if steps == CATEGORIES:
        # Seen, they may be numbers like others; unseen, they are what an encoder does not know.
        apart = np.setdiff1d([MISSING_CODE, RARE_CODE], codes)
        return apart, np.zeros(len(codes), bool)
    # Where there are no rare whole numbers, 1 is one below all that are known.
    is_number = steps == WHOLE_NUMBERS and RARE_CODE not in codes
    apart = np.array([MISSING_CODE] if is_number else [MISSING_CODE, RARE_CODE])
    return apart, np.isin(codes, apart)


def _is_missing(column):
    if column.missing is not None:
        return column.missing
    is_float = column.values.dtype.kind == "f"
    return np.isnan(column.values) if is_float else np.zeros(len(column), bool)
