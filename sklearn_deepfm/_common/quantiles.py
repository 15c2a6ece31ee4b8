"""Numbers by their rank among those of fit: edges of bins, and normal scores."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

_MAX_BINS, _MAX_KNOTS = 255, 256
_ROWS_PER_BIN, _BINS_OF_FEW_ROWS = (20, 100), 20
# Between knots no smaller and no larger than these, float64 holds every difference and every slope.
_SMALLEST_KNOT, _LARGEST_KNOT = 2.0**-900, 2.0**1022


def auto_n_bins(n_rows: int) -> int:
    """Up to 255 bins, of 100 rows on average, or of 20 where that makes fewer than 20 bins."""
    rows_per_bin = np.clip(n_rows / _BINS_OF_FEW_ROWS, *_ROWS_PER_BIN)
    return int(np.clip(n_rows // rows_per_bin, 2, _MAX_BINS))


def inner_edges(distinct: np.ndarray, counts: np.ndarray, n_bins: int) -> list[float]:
    """Cut sorted values so that each bin takes an equal share of the rows that are left.

    Parameters
    ----------
    distinct : ndarray of shape (n_values,)
        Distinct values in ascending order.
    counts : ndarray of shape (n_values,)
        In how many rows each stands.
    n_bins : int
        Most bins.

    Returns
    -------
    edges : list of float
        The left edges of all bins but the first.
    """
    rows_below = np.append(np.cumsum(counts) - counts, np.inf)
    n_rows, last = counts.sum(), 0
    edges: list[float] = []
    for bins_left in range(n_bins, 1, -1):
        end = rows_below[last] + (n_rows - rows_below[last]) / bins_left
        cut = int(np.searchsorted(rows_below, end))
        if cut > last + 1 and end - rows_below[cut - 1] <= rows_below[cut] - end:
            cut -= 1  # the nearer one
        if cut == len(distinct):
            break
        edges.append(distinct[cut])
        last = cut
    return edges


def normal_scores(distinct: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the values, and the standard normal quantile of the middle rank of each.

    Returns
    -------
    knots : ndarray of shape (n_knots,)
        At most 256 of the distinct values, the first and the last among them. Those below
        1e-271 in size count as 0, those above 4e307 as that.
    scores : ndarray of shape (n_knots,)
        0 if there is a single value.
    """
    tame = np.where(np.abs(distinct) < _SMALLEST_KNOT, 0.0, distinct)
    distinct, position = np.unique(tame.clip(-_LARGEST_KNOT, _LARGEST_KNOT), return_inverse=True)
    counts = np.bincount(position, weights=counts)
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    position = np.arange(len(distinct))
    if len(distinct) > _MAX_KNOTS:
        position = np.unique(np.searchsorted(rank, np.linspace(0, 1, _MAX_KNOTS)))
        position = np.unique(np.clip(np.append(position, 0), 0, len(distinct) - 1))
    return distinct[position], ndtri(rank[position])
