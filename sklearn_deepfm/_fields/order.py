"""Whether the order of a column's codes matters to y, by comparison with shuffled orders.

Means of many rows vary less than means of few, so bins of rare codes predict y better than the
codes do, in any order. What tells an order from a numbering is that the same codes, shuffled, make
bins that differ less. As whole codes are shuffled, effects of single ones, as ids have them, do
not look like an order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

N_SHUFFLES, N_SHUFFLES_BESIDE = 50, 25  # of a column by itself, and beside other ones
N_BINS, N_BINS_BESIDE = (6, 24), 6
# Standard deviations above the mean of the shuffled ones; the squares of bins have a long tail.
BEYOND_CHANCE, BESIDE_BEYOND_CHANCE = 4.0, 6.0
TREND_BEYOND_CHANCE = 5.0  # a single square, whose tail is longer still
_FEWEST = 6  # codes; fewer have too few orders


def order_matters(sums: np.ndarray, rows: np.ndarray) -> bool:
    """Whether bins of neighbours differ more in y than bins of shuffled codes do.

    Or whether a line explains more: of weak effects, such as one of many columns has, it is found
    in fewer rows than differences of bins are.

    Parameters
    ----------
    sums : ndarray of shape (n_codes, n_columns)
        Sums of y, less its mean, over the rows of each code.
    rows : ndarray of shape (n_codes,)
        Total weight of the rows of each code.
    """
    if len(rows) < _FEWEST:
        return False
    if _deviations(_explained_by_lines(sums, rows))[0] > TREND_BEYOND_CHANCE:
        return True
    in_one_level = sums[:, np.newaxis], rows[:, np.newaxis]
    for n_bins in N_BINS:
        # More bins than half of the codes would be of single ones.
        if n_bins == N_BINS[0] or 2 * n_bins <= len(rows):
            explained = _explained_in_orders(*in_one_level, n_bins, N_SHUFFLES)
            if _deviations(explained)[0, 0] > BEYOND_CHANCE:
                return True
    return False


def order_matters_beside(sums: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> bool:
    """Whether bins of neighbours matter together with some other column.

    Of all others the one counts beside which the order matters most; beside many, some one does
    by chance, so each shuffled order has the one beside which it matters most, too.

    Parameters
    ----------
    sums : list of ndarray of shape (n_codes, n_levels, n_columns)
        For each other column, sums of y, less the mean of the level, over the rows of each code
        and level of that column.
    rows : list of ndarray of shape (n_codes, n_levels)
        Total weight of these rows.
    """
    if not rows or len(rows[0]) < _FEWEST:
        return False
    all_levels = np.concatenate(sums, axis=1), np.concatenate(rows, axis=1)
    explained = _explained_in_orders(*all_levels, N_BINS_BESIDE, N_SHUFFLES_BESIDE)
    first_levels = np.cumsum([0, *(of_column.shape[1] for of_column in rows[:-1])])
    by_column = np.add.reduceat(explained, first_levels, axis=1)
    most = _deviations(by_column).max(1, keepdims=True)
    return bool(_deviations(most)[0, 0] > BESIDE_BEYOND_CHANCE)


def _explained_in_orders(
    sums: np.ndarray, rows: np.ndarray, n_bins: int, n_shuffles: int
) -> np.ndarray:
    """What bins explain of the variance of y, in each level: by the order itself, then shuffled.

    Returns
    -------
    explained : ndarray of shape (1 + n_shuffles, n_levels)
        Square of the sum of y over each bin and level, by its rows; the sum over the bins.
    """
    n_codes, n_levels, n_columns = sums.shape
    n_of_codes = rows.sum(1)
    # Of other layouts each product would make a copy.
    sums, rows = np.ascontiguousarray(sums.reshape(n_codes, -1)), np.ascontiguousarray(rows)
    # A fixed seed: the answer must be the same in all members and processes.
    random, order = np.random.RandomState(0), np.arange(n_codes)
    explained = []
    for _ in range(1 + n_shuffles):
        bins = _bins(order, n_of_codes, n_bins)
        squares = ((bins @ sums) ** 2).reshape(-1, n_levels, n_columns).sum(2)
        explained.append((squares / np.maximum(bins @ rows, 1e-12)).sum(0))
        order = random.permutation(n_codes)
    return np.array(explained)


def _explained_by_lines(sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What a line over the middle ranks of the codes explains of the variance of y.

    Returns
    -------
    explained : ndarray of shape (1 + n_shuffles,)
        By the order itself, then by shuffled ones.
    """
    random, order = np.random.RandomState(0), np.arange(len(rows))
    explained = []
    for _ in range(1 + N_SHUFFLES):
        n = rows[order]
        middle = np.cumsum(n) - n / 2 - n.sum() / 2
        square = ((middle @ sums[order]) ** 2).sum()
        explained.append(square / np.maximum(n @ middle**2, 1e-12))
        order = random.permutation(len(rows))
    return np.array(explained)


def _bins(order: np.ndarray, rows: np.ndarray, n_bins: int) -> sparse.csr_array:
    """A matrix of 1 where a bin holds a code; bins are of about equally many rows."""
    rows = rows[order]
    middle = np.cumsum(rows) - rows / 2
    bin_of_place = (middle * (n_bins / rows.sum())).astype(np.int64).clip(max=n_bins - 1)
    starts = np.flatnonzero(np.diff(bin_of_place, prepend=-1, append=n_bins))
    return sparse.csr_array(
        (np.ones(len(order)), order, starts), shape=(len(starts) - 1, len(order))
    )


def _deviations(found: np.ndarray) -> np.ndarray:
    """Each row less the mean of all but the first, in their standard deviations."""
    shuffled = found[1:]
    deviations: np.ndarray = (found - shuffled.mean(0)) / (shuffled.std(0) + 1e-12)
    return deviations
