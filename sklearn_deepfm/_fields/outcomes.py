"""Outputs of y, counted by the codes of a column: weights of classes, or sums of numbers."""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np

ROWS_OF_PRIOR = 10, 5  # rows that a prior mean weighs as: of classes, of numbers
_LEAST_PROBABILITY = 1e-4
_MOST_CLASSES = 8  # of which means are taken; the rarest ones count as one

Difference: TypeAlias = tuple[float, float]  # mean, and its standard error


class Totals(NamedTuple):
    """Rows of each cell, and sums over them; a cell is of some group, such as a fold, and a code.

    Attributes
    ----------
    n : ndarray of shape (n_groups, n_codes)
        Total weight of the rows.
    sums : ndarray of shape (n_groups, n_codes, n_columns)
        Weight of each class, or the sum of y.
    squares : ndarray of shape (n_groups, n_codes) or None
        Sum of y squared, where y is a number.
    """

    n: np.ndarray
    sums: np.ndarray
    squares: np.ndarray | None

    def residuals(self) -> np.ndarray:
        """Sums of y less the mean that it has in the group."""
        # The first class is what the others are not.
        sums = self.sums if self.squares is not None else self.sums[..., 1:]
        n = self.n[..., np.newaxis]
        mean = sums.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1e-12)
        return sums - n * mean


class Outcome(Protocol):
    """One output of y, whose mean is taken: classes or a number."""

    rows_of_prior: int

    def take(self, rows: np.ndarray) -> Self:
        """That of some rows."""

    def totals(self, cell: np.ndarray, shape: tuple[int, int]) -> Totals:
        """Totals of the rows of each cell, from the flat position of the cell of each row."""

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

    Weights are scaled to sum to the number of rows: their scale has no effect, and a row of
    weight w counts as w rows.
    """
    if weight is not None:
        weight = weight * (len(weight) / weight.sum())
    kind = ClassOutcome if is_class else NumberOutcome
    return [kind(output, weight) for output in y.reshape(len(y), -1).T]


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
