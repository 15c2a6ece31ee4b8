"""What a value is made of, in words that are the same in another process, and their hash."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import numpy as np
import pandas as pd
from skorch.callbacks import Callback


def fingerprint(value: Any) -> str:
    """A short hash of what a value is made of."""
    return hashlib.blake2b(described(value).encode(), digest_size=8).hexdigest()


def described(value: Any) -> str:
    """A value, or of an object class and parameters, of an array a hash."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, pd.DataFrame):
        return described([value.index.to_numpy(), list(value.columns), value.to_numpy()])
    if isinstance(value, np.ndarray):
        return repr(value.tolist()) if value.dtype == object else _described_array(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(described, value))}]"
    if isinstance(value, set | frozenset):
        return described(sorted(map(described, value)))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {described(item)}' for key, item in value.items())}}}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Callback):
        names = inspect.signature(type(value)).parameters
        params = {name: getattr(value, name, None) for name in names}
        return f"{type(value).__qualname__}{described(params)}"
    is_plain = value is None or isinstance(value, str | bytes | int | float)
    return repr(value) if is_plain else type(value).__qualname__


def _described_array(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array)
    data = content.reshape(-1).view(np.uint8).data if content.size else b""
    return f"{array.dtype}{array.shape}{hashlib.blake2b(data, digest_size=16).hexdigest()}"
