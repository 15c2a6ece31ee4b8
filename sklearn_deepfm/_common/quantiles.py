"""Quantiles of the numbers seen by fit: edges of bins, and normal scores."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

_MAX_BINS, _MAX_KNOTS = 255, 256
_MOST_SHARES = 2**53  # beyond that a share is below the rounding of any number of rows
_ROWS_PER_BIN, _BINS_OF_FEW_ROWS = (20, 100), 20
# Between knots of sizes within these limits, float64 can hold every difference and every slope.
_SMALLEST_KNOT, _LARGEST_KNOT = 2.0**-900, 2.0**1022
# The normal quantiles of all float64 between 0 and 1 are smaller in size.
LARGEST_SCORE = 40.0


def auto_n_bins(n_rows: int) -> int:
    """Up to 255 bins of 100 rows on average; of few rows 20 bins, or fewer of 20 rows each."""
    rows_per_bin = np.clip(n_rows / _BINS_OF_FEW_ROWS, *_ROWS_PER_BIN)
    return int(np.clip(n_rows // rows_per_bin, 2, _MAX_BINS))


def inner_edges(distinct: np.ndarray, counts: np.ndarray, n_bins: int) -> np.ndarray:
    """Edges that cut sorted values so that each bin takes an equal share of the remaining rows.

    Shares are of the remaining rows, since a frequent value, which no edge can cut, may fill more
    than one share.

    Parameters
    ----------
    distinct : ndarray of shape (n_values,)
        Distinct values in ascending order.
    counts : ndarray of shape (n_values,)
        Number of rows of each.
    n_bins : int
        Largest number of bins.

    Returns
    -------
    edges : ndarray of float64
        The left edges of all bins but the first. Of float32 numbers an edge with a fraction is the
        least float64 that rounds to it: a number is in one bin in either type.
    """
    # Infinity at the end: a cut before the last value always counts as nearer than one behind it.
    rows_below = np.append(np.cumsum(counts) - counts, np.inf)
    n_rows, last = counts.sum(), 0
    edges: list[float] = []
    for bins_left in range(min(n_bins, _MOST_SHARES), 1, -1):
        end = rows_below[last] + (n_rows - rows_below[last]) / bins_left
        # A share so small that the sum rounds it away is one value too.
        cut = max(int(np.searchsorted(rows_below, end)), last + 1)
        if cut > last + 1 and end - rows_below[cut - 1] <= rows_below[cut] - end:
            cut -= 1  # the cut before is nearer to the end of the share
        if cut == len(distinct):
            break
        edges.append(distinct[cut])
        last = cut
    return _least_that_round_to(np.array(edges, dtype=distinct.dtype))


def _least_that_round_to(edges: np.ndarray) -> np.ndarray:
    """The least float64 that rounds to each float32 fraction; other numbers as they are."""
    exact = edges.astype(np.float64)
    if edges.dtype != np.float32:
        return exact
    below = np.nextafter(edges, np.float32(-np.inf)).astype(np.float64)
    # Halfway between two neighbours a number may round to either.
    least = np.nextafter((below + exact) / 2, exact)
    return np.where(exact == np.floor(exact), exact, least)


def positions_among(edges: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How many of the ascending edges are not above each number; float32 is compared as such."""
    if numbers.dtype == np.float32:
        with np.errstate(over="ignore"):  # beyond float32 an edge is infinite
            edges = edges.astype(np.float32)
    return np.searchsorted(edges, numbers, side="right")


def normal_scores(distinct: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the map from numbers to normal scores, the normal quantiles of their ranks.

    Returns
    -------
    knots : ndarray of shape (n_knots,)
        At most 256 of the distinct values, the first and the last among them. Values below
        1e-271 in size count as 0, those beyond 4e307 as 4e307.
    scores : ndarray of shape (n_knots,)
        Standard normal quantile of the middle rank of each; 0 if there is a single value.
    """
    tame = np.where(np.abs(distinct) < _SMALLEST_KNOT, 0.0, distinct)
    distinct, position = np.unique(tame.clip(-_LARGEST_KNOT, _LARGEST_KNOT), return_inverse=True)
    counts = np.bincount(position, weights=counts)
    # Middle ranks lie strictly between 0 and 1, so that all scores are finite.
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    position = np.arange(len(distinct))
    if len(distinct) > _MAX_KNOTS:
        position = np.unique(np.searchsorted(rank, np.linspace(0, 1, _MAX_KNOTS)))
        position = np.unique(np.clip(np.append(position, 0), 0, len(distinct) - 1))
    return distinct[position], ndtri(rank[position])
