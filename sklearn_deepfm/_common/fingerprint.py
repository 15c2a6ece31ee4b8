"""Fingerprints of values: descriptions, and their hashes, that are equal in all processes."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import numpy as np
import pandas as pd


def fingerprint(value: Any) -> str:
    """A short hash of the description of a value."""
    return hashlib.blake2b(describe(value).encode(), digest_size=8).hexdigest()


def describe(value: Any) -> str:
    """Plain data as text, arrays by their hash, callbacks by class and parameters."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, pd.DataFrame):
        return describe([value.index.to_numpy(), list(value.columns), value.to_numpy()])
    if isinstance(value, np.ndarray):
        # The bytes of an array of objects are addresses in memory.
        return describe(value.tolist()) if value.dtype == object else _describe_array(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, set | frozenset):
        # Hashes of strings, and with them the order of a set, differ between processes.
        return describe(sorted(map(describe, value)))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {describe(item)}' for key, item in value.items())}}}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "on_epoch_end"):  # a callback of skorch
        names = inspect.signature(type(value)).parameters
        params = {name: getattr(value, name, None) for name in names}
        return f"{type(value).__qualname__}{describe(params)}"
    if hasattr(value, "__array__"):  # a column, a table of another library, a tensor
        return describe([getattr(value, "index", None), np.asarray(value)])
    # The repr of any other object may hold its address.
    is_plain = value is None or isinstance(value, str | bytes | int | float)
    return repr(value) if is_plain else type(value).__qualname__


def _describe_array(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array)
    data = content.reshape(-1).view(np.uint8).data if content.size else b""
    return f"{array.dtype}{array.shape}{hashlib.blake2b(data, digest_size=16).hexdigest()}"
