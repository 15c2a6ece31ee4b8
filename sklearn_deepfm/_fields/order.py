"""Whether the order of a column's codes matters to y, by comparison with shuffled orders.

Means of many rows vary less than means of few, so bins of rare codes predict y better than the
codes do, in any order. What tells an order from a numbering is that the same codes, shuffled, make
bins that differ less. As whole codes are shuffled, effects of single ones, as ids have them, do
not look like an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

N_SHUFFLES = 50, 25  # of a column by itself, and beside each of the others
LEVELS = 6, 24  # bins of a column by itself; beside others it has those of the first level
LEVELS_OF_PARTNER = 8
# Standard deviations above the mean of the shuffled ones; the squares of bins have a long tail.
BEYOND_CHANCE, BESIDE_BEYOND_CHANCE = 4.0, 6.0
_FEWEST = 6  # codes; fewer have too few orders


def order_matters(sums: np.ndarray, rows: np.ndarray) -> bool:
    """Whether bins of neighbours differ more in y than bins of shuffled codes do.

    Parameters
    ----------
    sums : ndarray of shape (n_codes, n_columns)
        Sums of y, less its mean, over the rows of each code.
    rows : ndarray of shape (n_codes,)
        Total weight of the rows of each code.
    """
    if len(rows) < _FEWEST:
        return False
    for n_bins in LEVELS:
        if n_bins > LEVELS[0] and 2 * n_bins > len(rows):
            break
        orders = _orders(len(rows), N_SHUFFLES[0])
        found = np.array([_squares(sums, rows[:, np.newaxis], o, n_bins).sum() for o in orders])
        if _deviations(found) > BEYOND_CHANCE:
            return True
    return False


def order_matters_beside(sums: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> bool:
    """Whether bins of neighbours matter together with another column.

    Of all columns the one is asked beside which the order matters most; the shuffled orders have
    theirs too.

    Parameters
    ----------
    sums : list of ndarray of shape (n_codes, n_levels, n_columns)
        For each other column, sums of y less the mean of the level, over the rows of each code and
        level of that column.
    rows : list of ndarray of shape (n_codes, n_levels)
        Total weight of these rows.
    """
    n_codes = len(rows[0]) if rows else 0
    if n_codes < _FEWEST:
        return False
    width = sums[0].shape[2]
    first = np.cumsum([0, *(part.shape[1] for part in rows[:-1])])
    all_sums = np.concatenate([part.reshape(n_codes, -1) for part in sums], axis=1)
    all_rows = np.concatenate(rows, axis=1)
    n = all_rows[:, : rows[0].shape[1]].sum(1)
    found = []
    for order in _orders(n_codes, N_SHUFFLES[1]):
        squares = _squares(all_sums, all_rows, order, LEVELS[0], n, width)
        found.append(np.add.reduceat(squares.sum(0), first))
    most = _deviations(np.array(found), of_all=True).max(1)
    return bool(_deviations(most) > BESIDE_BEYOND_CHANCE)


def _orders(n: int, n_shuffles: int) -> Iterator[np.ndarray]:
    """The order itself, then shuffled ones; all members and processes have the same ones."""
    yield np.arange(n)
    random = np.random.RandomState(0)
    for _ in range(n_shuffles):
        yield random.permutation(n)


def _squares(
    sums: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    n_bins: int,
    n: np.ndarray | None = None,
    width: int = 1,
) -> np.ndarray:
    """Squares of the sums of each bin over its rows, as many as explain of the variance of y."""
    sums, rows = sums[order], rows[order]
    starts = _starts(rows[:, 0] if n is None else n[order], n_bins)
    n_rows = np.add.reduceat(rows, starts)
    squares = np.add.reduceat(sums, starts) ** 2
    if width > 1:
        squares = squares.reshape(len(starts), -1, width).sum(2)
    return squares / np.maximum(n_rows, 1e-12)


def _starts(rows: np.ndarray, n_bins: int) -> np.ndarray:
    """The first code of each bin, of about equally many rows."""
    middle = np.cumsum(rows) - rows / 2
    return np.flatnonzero(np.diff((middle * (n_bins / rows.sum())).astype(np.int64), prepend=-1))


def _deviations(found: np.ndarray, *, of_all: bool = False) -> np.ndarray:
    """The first, or all, less the mean of the others, in standard deviations of these."""
    deviations: np.ndarray = (found - found[1:].mean(0)) / (found[1:].std(0) + 1e-12)
    return deviations if of_all else deviations[0]
