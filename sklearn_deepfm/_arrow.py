"""One column of a table of any library as an array of Arrow."""

from __future__ import annotations

import datetime as dt
from numbers import Number

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa

_KINDS_OF_OBJECTS: dict[str, tuple[type, ...]] = {  # the first one holds
    "booleans": (bool, np.bool_),
    "datetimes": (dt.datetime, np.datetime64),
    "dates": (dt.date,),
    "times": (dt.time,),
    "durations": (dt.timedelta, np.timedelta64),
    "numbers": (Number, np.number),
}


def is_list(type_: pa.DataType) -> bool:
    """Whether the values are lists."""
    types = pa.types
    return types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)


def to_arrow(native: pd.Series | nw.Series | np.ndarray) -> pa.Array:
    """The values as one array of Arrow.

    Raises
    ------
    ArrowException, OverflowError, TypeError, ValueError
        If Arrow has no type for them.
    """
    try:
        if isinstance(native, np.ndarray):
            values = _from_numpy(native)
        else:
            values = _from_pandas(native) if isinstance(native, pd.Series) else native.to_arrow()
    except OverflowError:
        # Arrow infers int64 for Python integers: the upper half of uint64 must be asked for.
        values = pa.array(np.asarray(native), pa.uint64(), from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    dtype = getattr(native, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and not _is_text_or_list(values.type):
        _refuse_mixtures(np.asarray(native))
    return values


def _refuse_mixtures(objects: np.ndarray) -> None:
    """Refuse numbers among dates or booleans, which Arrow would take for such."""
    kinds = {_kind_of_object(type_) for type_ in set(map(type, objects[~pd.isna(objects)]))}
    if len(kinds) > 1:
        raise TypeError(f"these are {' and '.join(sorted(kinds))}")


def _kind_of_object(type_: type) -> str:
    for kind, types in _KINDS_OF_OBJECTS.items():
        if issubclass(type_, types):
            return kind
    return type_.__name__


def _is_text_or_list(type_: pa.DataType) -> bool:
    return is_list(type_) or pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _from_numpy(values: np.ndarray) -> pa.Array:
    if values.dtype.kind in "mM":
        values = _in_units_of_arrow(values)
    type_ = np.float64 if values.dtype.kind == "f" else values.dtype.newbyteorder("=")
    return pa.array(values.astype(type_, copy=False), from_pandas=True)


def _in_units_of_arrow(times: np.ndarray) -> np.ndarray:
    """Dates or durations that are counted in hours or years, say, in seconds."""
    unit, step = np.datetime_data(times.dtype)
    if unit in ("s", "ms", "us", "ns") and step == 1:
        return times
    if unit in ("ps", "fs", "as"):
        return times.astype(f"{times.dtype.kind}8[ns]")
    converted = times.astype(f"{times.dtype.kind}8[s]")
    if ((converted.astype(times.dtype) != times) & ~np.isnat(times)).any():
        raise ValueError("dates are of the years 1 to 9999")
    return converted


def _from_pandas(values: pd.Series) -> pa.Array | pa.ChunkedArray:
    """What pyarrow makes of a series, but not as slowly where its type is a usual one."""
    if isinstance(values.dtype, np.dtype):
        array = values.values
        is_usual = array.dtype.isnative and array.dtype != np.longdouble
        return pa.array(array, from_pandas=True) if is_usual else _from_numpy(array)
    is_arrow = hasattr(values.array, "__arrow_array__")
    return pa.array(values.array if is_arrow else values, from_pandas=True)
