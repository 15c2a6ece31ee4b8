"""Conversion of Arrow lists to members and the start of each list, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def flattened(lists: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Members of all lists, one list after the other; a missing list has one missing member.

    Returns
    -------
    members : Array
    starts : ndarray of shape (n_lists + 1,), int64
        Where each list begins, and where the last one ends.
    """
    lengths = pc.list_value_length(lists).fill_null(1).to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    members = lists.flatten()
    if lists.null_count:
        if pa.types.is_string_view(members.type):  # not supported by `take`
            members = members.cast(pa.large_string())
        is_real = np.ones(starts[-1], dtype=bool)
        is_real[starts[:-1][lists.is_null().to_numpy(False)]] = False
        members = members.take(pa.array(np.cumsum(is_real) - 1, mask=~is_real))
    return members, starts


def places(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Positions of the members of lists, from the start and the length of each list."""
    ends = np.cumsum(lengths)
    return np.repeat(first - (ends - lengths), lengths) + np.arange(lengths.sum())


def lists_of(members: pa.Array, starts: np.ndarray) -> pa.Array:
    """Lists of the members; offsets take 64 bits only if 32 are not enough."""
    is_large = starts[-1] > np.iinfo(np.int32).max
    kind = pa.LargeListArray if is_large else pa.ListArray
    return kind.from_arrays(pa.array(starts.astype(np.int64 if is_large else np.int32)), members)


def split(strings: pa.Array, separator: str) -> pa.Array:
    """Split strings into lists of their non-empty parts; a null string gives a null list."""
    parts, starts = flattened(pc.split_pattern(strings, separator))
    kept = pc.not_equal(parts, "").fill_null(True)
    ends = np.concatenate([[0], np.cumsum(kept.to_numpy(zero_copy_only=False))])
    lists = lists_of(parts.filter(kept), ends[starts])
    return pc.if_else(strings.is_null(), None, lists) if strings.null_count else lists


def checked_weights(name: object, weights: pa.Array) -> np.ndarray:
    """Weights of the members of lists as float64, checked to be finite.

    Raises
    ------
    ValueError
        If one is missing or infinite.
    """
    values = weights.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"Column {name!r} holds the weight {values[bad][0]}, where each member of a list needs "
            f"a finite weight. Replace it, or drop the member."
        )
    return values
