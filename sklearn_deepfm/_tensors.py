"""Tensors as arrays, which any file can hold, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def to_numpy(value: Any) -> Any:
    """A tensor, on whichever device, as an array; all else as it is."""
    return np.asarray(value.cpu().numpy()) if torch.is_tensor(value) else value


def to_torch(value: Any) -> Any:
    """An array as a tensor of its own memory; all else as it is."""
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
