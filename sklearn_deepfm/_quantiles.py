"""Numbers by their rank among those of fit: edges of bins, and normal scores."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

MAX_BINS = 255
_ROWS_PER_BIN, _BINS_OF_FEW_ROWS = (20, 100), 20
_MAX_KNOTS = 256


def auto_rows_per_bin(n_rows: float) -> float:
    """Least number of rows in a bin: 20 to 100, so that few rows still make 20 bins or so."""
    return min(float(np.clip(n_rows / _BINS_OF_FEW_ROWS, *_ROWS_PER_BIN)), max(n_rows // 2, 1))


def inner_edges(
    distinct: np.ndarray, counts: np.ndarray, n_bins: int, min_rows: float
) -> list[float]:
    """Cut sorted values so that each bin takes an equal share of the rows that are left.

    Parameters
    ----------
    distinct : ndarray of shape (n_values,)
        Distinct values in ascending order.
    counts : ndarray of shape (n_values,)
        In how many rows each stands.
    n_bins : int
        Most bins.
    min_rows : float
        Least rows in a bin.

    Returns
    -------
    edges : list of float
        The left edges of all bins but the first.
    """
    n_rows = counts.sum()
    rows_below = np.cumsum(counts) - counts
    edges: list[float] = []
    start = 0
    for bins_left in range(n_bins, 1, -1):
        end = start + max(min_rows, (n_rows - start) / bins_left)
        cut = np.searchsorted(rows_below, end)
        if cut == len(distinct) or n_rows - rows_below[cut] < min_rows:
            break
        start = rows_below[cut]
        edges.append(distinct[cut])
    return edges


def normal_scores(distinct: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the values, and the standard normal quantile of the middle rank of each.

    Returns
    -------
    knots : ndarray of shape (n_knots,)
        At most 256 of the distinct values, the first and the last among them.
    scores : ndarray of shape (n_knots,)
        0 if there is a single value.
    """
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    position = np.arange(len(distinct))
    if len(distinct) > _MAX_KNOTS:
        position = np.unique(np.searchsorted(rank, np.linspace(0, 1, _MAX_KNOTS)))
        position = np.unique(np.clip(np.append(position, 0), 0, len(distinct) - 1))
    return distinct[position], ndtri(rank[position])
