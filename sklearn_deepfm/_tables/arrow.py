"""Conversion of a column of any table library to an Arrow array of one of few types."""

from __future__ import annotations

import datetime as dt
from numbers import Number
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_KINDS_OF_OBJECTS: dict[str, tuple[type, ...]] = {  # the first match counts
    "booleans": (bool, np.bool_),
    "datetimes": (dt.datetime, np.datetime64),
    "dates": (dt.date,),
    "times": (dt.time,),
    "durations": (dt.timedelta, np.timedelta64),
    "numbers": (Number, np.number),  # last: bool and timedelta64 are numbers too
}


def is_list(type_: pa.DataType) -> bool:
    """Whether the values are lists."""
    types = pa.types
    return types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)


def to_arrow(native: pd.Series | nw.Series | np.ndarray) -> pa.Array:
    """The values of a column as one Arrow array.

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
    """Refuse objects of several kinds: Arrow would take numbers for dates or booleans."""
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
    # Arrow takes neither extended floats nor a byte order other than the machine's.
    type_ = np.float64 if values.dtype.kind == "f" else values.dtype.newbyteorder("=")
    return pa.array(values.astype(type_, copy=False), from_pandas=True)


def _in_units_of_arrow(times: np.ndarray) -> np.ndarray:
    """Dates or durations in a unit that Arrow has; hours or years, for example, become seconds."""
    unit, step = np.datetime_data(times.dtype)
    if unit in ("s", "ms", "us", "ns") and step == 1:
        return times
    if unit in ("ps", "fs", "as"):
        return times.astype(f"{times.dtype.kind}8[ns]")
    converted = times.astype(f"{times.dtype.kind}8[s]")
    # `astype` wraps around silently where the seconds overflow.
    if ((converted.astype(times.dtype) != times) & ~np.isnat(times)).any():
        raise ValueError("dates are of the years 1 to 9999")
    return converted


def _from_pandas(values: pd.Series) -> pa.Array | pa.ChunkedArray:
    """Convert a series as pyarrow does, but faster where its dtype is a usual one."""
    if isinstance(values.dtype, np.dtype):
        array = values.values
        is_usual = array.dtype.isnative and array.dtype != np.longdouble
        return pa.array(array, from_pandas=True) if is_usual else _from_numpy(array)
    is_arrow = hasattr(values.array, "__arrow_array__")
    return pa.array(values.array if is_arrow else values, from_pandas=True)


def kind_and_type(name: Any, type_: pa.DataType) -> tuple[str, pa.DataType]:
    """The kind of values that an Arrow type holds, and the one type we keep that kind in."""
    types = pa.types
    if types.is_dictionary(type_):
        return kind_and_type(name, type_.value_type)
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "strings", pa.large_string()
    if types.is_boolean(type_):
        return "booleans", pa.bool_()
    if types.is_integer(type_):
        return "numbers", pa.uint64() if types.is_uint64(type_) else pa.int64()
    if types.is_floating(type_) or types.is_decimal(type_):
        return "numbers", pa.float64()
    if types.is_date(type_) or (types.is_timestamp(type_) and type_.tz is None):
        return "datetimes", pa.timestamp("us")
    if types.is_timestamp(type_):
        return "datetimes with a time zone", pa.timestamp("us", "UTC")
    if types.is_duration(type_):
        return "durations", pa.duration("us")
    if types.is_time(type_):
        return "times", pa.time64("us")
    if types.is_null(type_):
        return "", pa.null()
    raise TypeError(f"Column {name!r} holds {type_}. {_type_hint(type_)}")


def _type_hint(type_: pa.DataType) -> str:
    if pa.types.is_nested(type_):
        return "Give one value per cell, or a list of strings, whole numbers or booleans."
    return "Make it strings, numbers, booleans or dates: for example, decode bytes."


def as_arrow_type(name: Any, values: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast values to the type of their kind; NaN becomes null, and -0.0 becomes 0.0.

    Raises
    ------
    ValueError
        If a date is out of Python's range, or a duration too long; `name` is the column's.
    """
    if pa.types.is_dictionary(values.type):
        dictionary = as_arrow_type(name, values.dictionary, target)
        if dictionary.null_count:
            # A category that became null: what points to it must be null as well.
            return dictionary.take(values.indices)
        return pa.DictionaryArray.from_arrays(values.indices, dictionary)
    if pa.types.is_temporal(target):
        return _in_microseconds(name, values, target)
    values = values.cast(target)
    if target != pa.float64():
        return values
    is_nan = pc.is_nan(values)
    if pc.any(is_nan).as_py():
        values = pc.if_else(is_nan, None, values)
    return pc.add(values, 0.0)  # turns -0.0 into 0.0, so that both are one category


def _in_microseconds(name: Any, values: pa.Array, target: pa.DataType) -> pa.Array:
    """Dates, times or durations in microseconds; nanoseconds are cut off."""
    try:
        values = pc.cast(values, options=pc.CastOptions(target, allow_time_truncate=True))
        is_within = not pa.types.is_timestamp(target) or _are_dates_of_python(values)
    except pa.ArrowInvalid:
        is_within = False
    if is_within:
        return values
    limits = "dates of the years 1 to 9999"
    if pa.types.is_duration(target):
        limits = "durations of at most 292,000 years"
    raise ValueError(
        f"Column {name!r} must hold {limits}, got others. Set those to missing, or convert the "
        f"column to numbers."
    )


def _are_dates_of_python(values: pa.Array) -> bool:
    ends = pc.min_max(values.cast(pa.int64()))
    first, last = (end.as_py() for end in ends.values())
    return first is None or (
        _since_1970(dt.datetime.min) <= first and last <= _since_1970(dt.datetime.max)
    )


def _since_1970(date: dt.datetime) -> int:
    """Microseconds since 1970, as Arrow counts them."""
    return (date - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
