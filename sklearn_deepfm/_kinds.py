"""The kinds of values that a column may hold, and the one type of Arrow that each is kept in."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


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
    raise TypeError(f"Column {name!r} holds {type_}. {_advice(type_)}")


def _advice(type_: pa.DataType) -> str:
    if pa.types.is_nested(type_):
        return "Give one value per cell, or a list of strings, whole numbers or booleans."
    return "Make it strings, numbers, booleans or dates: for example, decode bytes."


def of_type(name: Any, values: pa.Array, target: pa.DataType) -> pa.Array:
    """The values in the type of their kind; NaN is null, and -0.0 the same as 0.0.

    Raises
    ------
    ValueError
        If a date is none that Python can hold, or a duration too long; `name` is the column's.
    """
    if pa.types.is_dictionary(values.type):
        dictionary = of_type(name, values.dictionary, target)
        if dictionary.null_count:
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
    return pc.add(values, 0.0)  # which turns -0.0 into 0.0


def _in_microseconds(name: Any, values: pa.Array, target: pa.DataType) -> pa.Array:
    """Time without nanoseconds, which a float64 can hold."""
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
    """Microseconds, as Arrow counts them."""
    return (date - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
