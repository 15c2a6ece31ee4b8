"""Evidence from y that neighbouring codes of a column belong together.

The question is asked of each column by itself, with predictions that take no training: means of y,
shrunk to what is known before. Out-of-fold losses compare means by code, means by nested bins of
neighbouring codes, and the mean of all rows. All losses are sums over cells, a cell being the rows
of one fold that have one code, so that the time is that of counting the rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from sklearn_deepfm._common.quantiles import inner_edges
from sklearn_deepfm._fields.order import order_matters

N_FOLDS = 5
LEVELS = 6, 24, 96  # bins of each level
ROWS_OF_PRIOR = 10, 5  # rows that a prior mean weighs as: of classes, of numbers
# t statistics: beyond the first codes gain from the others of their bin, beyond the second they
# do by their order, beyond the third codes tell more than their bins.
GAIN_OF_OTHERS, GAIN_OF_ORDER, NAMES = 1.0, 2.0, 3.0
_LEAST_PROBABILITY = 1e-4
_MOST_CLASSES = 8  # of which means are taken; the rarest ones count as one
_FEWEST_CODES = 3  # of two codes each is the other's only neighbour
# Few codes that have this many rows each need nothing of their neighbours.
_FEW_CODES, _ENOUGH_ROWS, _MOSTLY = 12, 20, 0.8
_TOO_FEW_ROWS = 64  # to tell anything


Difference: TypeAlias = tuple[float, float]  # mean, and its standard error


class Totals(NamedTuple):
    """Rows, and sums of what is averaged, of each fold and code.

    Attributes
    ----------
    n : ndarray of shape (n_folds, n_codes)
        Total weight of the rows.
    sums : ndarray of shape (n_folds, n_codes, n_columns)
        Weight of each class, or the sum of y.
    squares : ndarray of shape (n_folds, n_codes) or None
        Sum of y squared, where y is a number.
    """

    n: np.ndarray
    sums: np.ndarray
    squares: np.ndarray | None


class Outcome(Protocol):
    """One output of y, whose mean is taken: classes or a number."""

    rows_of_prior: int

    def totals(self, cell: np.ndarray, shape: tuple[int, int]) -> Totals:
        """Totals of the rows of each cell, fold by fold and code by code."""

    def difference(self, totals: Totals, first: np.ndarray, second: np.ndarray) -> Difference:
        """Mean, and its standard error, of the loss of `first` less that of `second`."""


class ClassOutcome:
    """Classes; the loss is the logarithm of the probability of the class that a row has.

    Parameters
    ----------
    y : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    """

    rows_of_prior = ROWS_OF_PRIOR[0]

    def __init__(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        self._weight = weight
        counts = np.bincount(y, weights=weight)
        if len(counts) > _MOST_CLASSES:
            rank = np.empty(len(counts), np.int64)
            rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
            y = np.minimum(rank, _MOST_CLASSES - 1)[y]
        self._y, self._n_classes = y, min(len(counts), _MOST_CLASSES)

    def take(self, rows: np.ndarray) -> ClassOutcome:
        """That of some rows."""
        new = copy.copy(self)
        new._y, new._weight = self._y[rows], None if self._weight is None else self._weight[rows]
        return new

    def totals(self, cell: np.ndarray, shape: tuple[int, int]) -> Totals:
        """Weight of each class in each cell."""
        size = shape[0] * shape[1] * self._n_classes
        sums = np.bincount(cell * self._n_classes + self._y, self._weight, size)
        sums = sums.reshape(*shape, self._n_classes).astype(np.float64)
        return Totals(sums.sum(2), sums, None)

    def difference(self, totals: Totals, first: np.ndarray, second: np.ndarray) -> Difference:
        """Of the rows of a cell, those of one class have one loss."""
        d = _log(second) - _log(first)
        total = totals.n.sum()
        mean = (totals.sums * d).sum() / total
        variance = (totals.sums * d**2).sum() / total - mean**2
        return mean, np.sqrt(max(variance, 0.0) / total)


class NumberOutcome:
    """A number, standardised; the loss is the squared error.

    Parameters
    ----------
    y : ndarray of float of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    """

    rows_of_prior = ROWS_OF_PRIOR[1]

    def __init__(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        y = y.astype(np.float64)
        mean = np.average(y, weights=weight)
        deviation = np.sqrt(np.average((y - mean) ** 2, weights=weight))
        self._y = (y - mean) / (deviation if deviation > 0 else 1.0)
        self._weight = np.ones(len(y)) if weight is None else weight

    def take(self, rows: np.ndarray) -> NumberOutcome:
        """That of some rows."""
        new = copy.copy(self)
        new._y, new._weight = self._y[rows], self._weight[rows]
        return new

    def totals(self, cell: np.ndarray, shape: tuple[int, int]) -> Totals:
        """Weight, and sums of y and of its square, in each cell."""
        n, sums, squares = (
            np.bincount(cell, self._weight * self._y**power, shape[0] * shape[1]).reshape(shape)
            for power in range(3)
        )
        return Totals(n, sums[..., np.newaxis], squares)

    def difference(self, totals: Totals, first: np.ndarray, second: np.ndarray) -> Difference:
        """``(y - p)**2 - (y - q)**2 = a - 2 b y`` with ``a = p**2 - q**2`` and ``b = p - q``."""
        assert totals.squares is not None
        n, sums, p, q = totals.n, totals.sums[..., 0], first[..., 0], second[..., 0]
        a, b, total = p**2 - q**2, p - q, n.sum()
        mean = (n * a - 2 * b * sums).sum() / total
        squares = (n * a**2 - 4 * a * b * sums + 4 * b**2 * totals.squares).sum() / total
        return mean, np.sqrt(max(squares - mean**2, 0.0) / total)


Outcomes: TypeAlias = list[ClassOutcome | NumberOutcome]


def outcomes_of(y: np.ndarray, weight: np.ndarray | None, *, is_class: bool) -> Outcomes:
    """The outputs of y: classes or labels as whole numbers from 0 on, or numbers.

    Weights count as rows, and their scale has no effect.
    """
    if weight is not None:
        weight = weight * (len(weight) / weight.sum())
    kind = ClassOutcome if is_class else NumberOutcome
    return [kind(output, weight) for output in y.reshape(len(y), -1).T]


def neighbours_belong_together(
    codes: np.ndarray,
    outcomes: Outcomes,
    beside_others: Callable[[np.ndarray], bool] = lambda codes: False,
) -> bool:
    """Whether y says that codes next to each other, in their order, are better pooled.

    Three questions have to be answered with yes.

    1. Do neighbours help? Their bins predict y better than the codes do; or, where most rows have
       codes of at least 20 rows, which keep rows of their own when pooled, a code together with
       the others of its bin does.
    2. Is little lost? Either most rows have such codes, or a code tells no more than its bin.
    3. Is it their order that helps, and not that rare codes have few rows? It is if bins differ
       more than those of shuffled codes, by the column itself or beside another one; or if codes
       tell no more than bins, and still gain from the others of their bin.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
    outcomes : list of ClassOutcome or NumberOutcome
        Of several the means and the standard errors are added up, as if their errors were one.
    beside_others : callable
        Whether the order of the codes matters beside another column. Nobody asks as long as
        something else tells.
    """
    rank, counts = ranks_of(codes)
    is_learned = len(counts) < _FEW_CODES and len(codes) >= _ENOUGH_ROWS * len(counts)
    if len(counts) < _FEWEST_CODES or len(codes) <= _TOO_FEW_ROWS or is_learned:
        return False
    # A fixed seed: the answer must be the same in all members and processes.
    fold = np.random.RandomState(0).randint(N_FOLDS, size=len(rank))
    cell, shape = fold * len(counts) + rank, (N_FOLDS, len(counts))
    groups = [_bins(counts, n_bins) for n_bins in levels_of(len(counts))]
    answers = [_Answer(outcome, outcome.totals(cell, shape), groups) for outcome in outcomes]
    of_bins = _best(answers, _Answer.over_nothing, groups)
    of_others = _best(answers, _Answer.with_neighbours, groups)
    gain = _t(answers, _Answer.with_neighbours, of_others)
    keep_rows = counts[counts >= _ENOUGH_ROWS].sum() >= _MOSTLY * len(codes)
    if not (keep_rows and gain > GAIN_OF_OTHERS) and _t(answers, _Answer.over_codes, of_bins) <= 0:
        return False
    are_names = _t(answers, _Answer.in_bins, of_bins, of_others) > NAMES
    if are_names and not keep_rows:
        return False
    if not are_names and gain > GAIN_OF_ORDER:
        return True
    found = [residuals(outcome.totals(rank, (len(counts), 1))) for outcome in outcomes]
    sums = np.concatenate([of_outcome[:, 0] for of_outcome, _ in found], axis=1)
    return order_matters(sums, found[0][1][:, 0]) or beside_others(codes)


def residuals(totals: Totals) -> tuple[np.ndarray, np.ndarray]:
    """Sums of y less its mean in each column of cells, and the rows of each cell."""
    n, sums = totals.n, totals.sums
    if totals.squares is None:
        sums = sums[..., 1:]  # classes, of which the first is what the others are not
    mean = sums.sum(0) / np.maximum(n.sum(0), 1e-12)[:, np.newaxis]
    return sums - n[..., np.newaxis] * mean, n


def levels_of(n_codes: int) -> list[int]:
    """Bins of each level: at most one for two codes, as a bin of one code pools nothing."""
    return [n_bins for n_bins in LEVELS if 2 * n_bins <= n_codes] or [max(n_codes // 2, 2)]


class _Answer:
    """What one output says of bins at each level."""

    def __init__(self, outcome: Outcome, totals: Totals, groups: list[np.ndarray]) -> None:
        self._outcome, self._totals = outcome, totals
        # Of the rows out of each fold.
        n = (totals.n.sum(0) - totals.n)[..., np.newaxis]
        sums = totals.sums.sum(0) - totals.sums
        m = outcome.rows_of_prior
        mean = sums.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1e-12)
        self._nothing = np.broadcast_to(mean, sums.shape)
        self._codes = mean + (sums - n * mean) / (n + m)
        self._bins, of_bin, self._neighbours = [], self._nothing, []
        for group in groups:
            excess = _grouped(sums - n * of_bin, group) / (_grouped(n, group) + m)
            of_bin = of_bin + excess[:, group]
            self._bins.append(of_bin)
            n_others = _grouped(n, group)[:, group] - n
            of_others = _grouped(sums, group)[:, group] - sums
            prior = (of_others + m * mean) / (n_others + m)
            self._neighbours.append((sums + m * prior) / (n + m))

    def over_nothing(self, level: int) -> Difference:
        """Loss of the mean of all rows less that of bins."""
        return self._outcome.difference(self._totals, self._nothing, self._bins[level])

    def over_codes(self, level: int) -> Difference:
        """Loss of codes less that of bins."""
        return self._outcome.difference(self._totals, self._codes, self._bins[level])

    def in_bins(self, level: int, beside: int) -> Difference:
        """Loss of bins less that of codes shrunk to the other codes of their bin."""
        bins, codes = self._bins[level], self._neighbours[beside]
        return self._outcome.difference(self._totals, bins, codes)

    def with_neighbours(self, level: int) -> Difference:
        """Loss of codes less that of codes shrunk to the other codes of their bin."""
        return self._outcome.difference(self._totals, self._codes, self._neighbours[level])


def _best(
    answers: list[_Answer], question: Callable[[_Answer, int], Difference], groups: list[np.ndarray]
) -> int:
    """The level whose mean is largest."""
    means = [sum(question(answer, k)[0] for answer in answers) for k in range(len(groups))]
    return int(np.argmax(means))


def _t(answers: list[_Answer], question: Callable[..., Difference], *levels: int) -> float:
    mean, error = np.sum([question(answer, *levels) for answer in answers], axis=0)
    return float(mean / (error + 1e-12))


def ranks_of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each code among the distinct ones, and the rows of each of these."""
    is_whole = codes.dtype.kind in "iu"
    low, high = (int(codes.min()), int(codes.max())) if is_whole else (0, 0)
    if not is_whole or high - low > 8 * len(codes) + 1024:
        _, rank, counts = np.unique(codes, return_inverse=True, return_counts=True)
        return rank, counts
    counts = np.bincount(codes - low)
    is_seen = counts > 0
    return (np.cumsum(is_seen) - 1)[codes - low], counts[is_seen]


def _bins(counts: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of each code, of about equally many rows."""
    codes = np.arange(len(counts))
    return np.searchsorted(inner_edges(codes, counts, n_bins), codes, side="right")


def _grouped(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sums over the codes of each group; groups are neighbours, in ascending order."""
    return np.add.reduceat(values, np.flatnonzero(np.diff(group, prepend=-1)), axis=1)


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
