"""Ranks of the codes of a column among the distinct ones."""

import numpy as np


def ranks_of(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The rank of each value among the distinct ones, and the number of these."""
    is_whole = values.dtype.kind in "iu"
    low, high = (int(values.min()), int(values.max())) if is_whole else (0, 0)
    if not is_whole or high - low > 8 * len(values) + 1024:
        distinct, rank = np.unique(values, return_inverse=True)
        return rank, len(distinct)
    is_seen = np.bincount(values - low) > 0  # counting is faster than sorting
    return (np.cumsum(is_seen) - 1)[values - low], int(is_seen.sum())
