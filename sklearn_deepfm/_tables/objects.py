"""Python objects as numbers: whole ones, decimals among them, as integers, others as floats."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from decimal import Decimal
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_deepfm._tables.exact_numbers import beyond_64_bits, refuse_inexact

_EXACT = (Integral, Decimal, np.bool_)


def exact_number(value: Any) -> int | float:
    """A whole number of integer or decimal type as an int, anything else as a float.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If float() raises one.
    """
    is_decimal = isinstance(value, Decimal)
    if is_decimal and value.is_finite() and value == value.to_integral_value():
        return int(value)
    return int(value) if isinstance(value, Integral | np.bool_) else float(value)


def as_array(name: Hashable, numbers: Sequence[int | float]) -> np.ndarray:
    """Numbers of one column as int64, uint64 or, if there is a float among them, float64.

    Raises
    ------
    ValueError
        If the type cannot hold a whole number exactly; `name` is the column's.
    """
    whole = [number for number in numbers if isinstance(number, int)]
    if len(whole) < len(numbers) or not whole:
        refuse_inexact(name, whole)
        return np.array(numbers, dtype=np.float64)
    least, greatest = min(whole), max(whole)
    if least < -(2**63) or greatest >= (2**63 if least < 0 else 2**64):
        raise beyond_64_bits(name, max(least, greatest, key=abs))
    return np.array(whole, dtype=np.int64 if greatest < 2**63 else np.uint64)


def exact_target(y: Any) -> Any:
    """Decimals and Python integers of a target as integers or floats; any others as they are."""
    array = np.asarray(y)
    if array.dtype != object or not array.size:
        return y
    if not all(isinstance(value, _EXACT) for value in array.flat):
        return y
    if all(isinstance(value, bool | np.bool_) for value in array.flat):
        return array.astype(bool)
    numbers = [exact_number(value) for value in array.flat]
    is_whole = all(isinstance(number, int) for number in numbers)
    # Targets are quantities unless all are whole: those are rounded to the nearest float.
    values = as_array("y", numbers) if is_whole else np.array(numbers, dtype=np.float64)
    return values.reshape(array.shape)
