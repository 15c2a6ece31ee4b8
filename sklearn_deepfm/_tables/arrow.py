"""Conversion of a column of any table library to an Arrow array of one of few types."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Iterable
from itertools import chain
from numbers import Number

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sklearn_deepfm._tables.exact_numbers import beyond_64_bits

_KINDS_OF_OBJECTS: dict[str, tuple[type, ...]] = {  # the first match counts
    "booleans": (bool, np.bool_),
    "datetimes": (dt.datetime, np.datetime64),
    "dates": (dt.date,),
    "times": (dt.time,),
    "durations": (dt.timedelta, np.timedelta64),
    "numbers": (Number, np.number),  # last: bool and timedelta64 are numbers too
}
_SETS = (set, frozenset)
_LISTS = (list, tuple, np.ndarray, *_SETS)


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
    dtype = getattr(native, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _from_objects(np.asarray(native))
    values = _converted(native)
    return joined(values) if isinstance(values, pa.ChunkedArray) else values


def _from_objects(objects: np.ndarray) -> pa.Array:
    """Python objects of one kind; sets as sorted lists, whole numbers up to 64 bits exactly."""
    try:
        values = pa.array(objects, from_pandas=True)
    except OverflowError:
        values = _as_uint64(objects)
    except pa.ArrowInvalid:
        if not _hold_sets(objects):  # Arrow takes sets, but no frozensets
            raise
        values = _from_sets(objects)
    else:
        if is_list(values.type) and _hold_sets(objects):
            values = _from_sets(objects)
    _refuse_mixtures(values.type, objects)
    return values


def _converted(native: pd.Series | nw.Series | np.ndarray) -> pa.Array | pa.ChunkedArray:
    if isinstance(native, np.ndarray):
        return _from_numpy(native)
    return _from_pandas(native) if isinstance(native, pd.Series) else native.to_arrow()


def joined(chunks: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks; dictionaries, of which each chunk has its own, become one."""
    if chunks.num_chunks == 1:
        return chunks.chunk(0)
    if pa.types.is_dictionary(chunks.type) and chunks.num_chunks:
        # The categories of all chunks together may be too many for a narrow type of index.
        parts = [
            pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int64()), chunk.dictionary)
            for chunk in chunks.chunks
        ]
        type_ = pa.dictionary(pa.int64(), chunks.type.value_type)
        chunks = pa.chunked_array(parts, type_)
    return chunks.combine_chunks()


def _hold_sets(objects: np.ndarray) -> bool:
    return any(issubclass(type_, _SETS) for type_ in set(map(type, objects)))


def _from_sets(objects: np.ndarray) -> pa.Array:
    """Sets as sorted lists: the order of a set of strings differs from process to process."""
    # By their text, since members such as a string and None have no order among themselves.
    lists = [sorted(cell, key=repr) if isinstance(cell, _SETS) else cell for cell in objects]
    return pa.array(lists, from_pandas=True)


def _as_uint64(objects: np.ndarray) -> pa.Array:
    """Large Python integers, or lists of them: Arrow alone would try int64."""
    holds_lists = any(isinstance(cell, _LISTS) for cell in objects)
    type_ = pa.list_(pa.uint64()) if holds_lists else pa.uint64()
    return pa.array(objects, type_, from_pandas=True)


def refuse_beyond_64_bits(name: Hashable, objects: np.ndarray) -> None:
    """Refuse integers, also in lists, that no integer of 64 bits holds.

    Raises
    ------
    ValueError
        If there is one; `name` is the column's.
    """
    for value in chain(objects, _members(objects)):
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise beyond_64_bits(name, value)


def _members(objects: np.ndarray) -> Iterable:
    """Members of the cells that are lists, one cell after the other."""
    return chain.from_iterable(cell for cell in objects if isinstance(cell, _LISTS))


def _refuse_mixtures(type_: pa.DataType, objects: np.ndarray) -> None:
    """Refuse objects of several kinds: Arrow would take numbers for dates or booleans."""
    values: Iterable = objects
    if is_list(type_):
        type_, values = type_.value_type, _members(objects)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_):
        return
    kinds = _kinds_of_objects(values, is_time=pa.types.is_temporal(type_))
    if len(kinds) > 1:
        raise TypeError(f"these are {' and '.join(sorted(kinds))}")


def _kinds_of_objects(values: Iterable, *, is_time: bool) -> set[str]:
    """Kinds of objects, missing ones aside; times of one kind may have a time zone or none."""
    array = np.fromiter(values, dtype=object)
    present = array[~pd.isna(array)]
    if not is_time:
        return {_kind_of_object(type_) for type_ in set(map(type, present))}
    return {
        _kind_of_object(type_) + (" with a time zone" if is_zoned else "")
        for type_, is_zoned in {(type(v), getattr(v, "tzinfo", None) is not None) for v in present}
    }


def _kind_of_object(type_: type) -> str:
    for kind, types in _KINDS_OF_OBJECTS.items():
        if issubclass(type_, types):
            return kind
    return type_.__name__


def _from_numpy(values: np.ndarray) -> pa.Array:
    if values.dtype.kind in "mM":
        values = _in_units_of_arrow(values)
    # Arrow takes neither extended floats nor a byte order other than the machine's.
    is_other_float = values.dtype.kind == "f" and values.dtype.itemsize != 4
    type_ = np.float64 if is_other_float else values.dtype.newbyteorder("=")
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
    if isinstance(values.dtype, pd.CategoricalDtype) and values.cat.categories.dtype == object:
        codes = values.cat.codes.to_numpy()
        indices = pa.array(codes, mask=codes < 0)
        return pa.DictionaryArray.from_arrays(
            indices, _from_objects(values.cat.categories.to_numpy())
        )
    is_arrow = hasattr(values.array, "__arrow_array__")
    return pa.array(values.array if is_arrow else values, from_pandas=True)


def kind_and_type(name: Hashable, type_: pa.DataType) -> tuple[str, pa.DataType]:
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
    if types.is_floating(type_):
        return "numbers", pa.float32() if types.is_float32(type_) else pa.float64()
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


def as_arrow_type(name: Hashable, values: pa.Array, target: pa.DataType) -> pa.Array:
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
    if not pa.types.is_floating(target):
        return values
    is_nan = pc.is_nan(values)
    if pc.any(is_nan).as_py():
        values = pc.if_else(is_nan, None, values)
    # Adding zero turns -0.0 into 0.0, so that both are one category.
    return pc.add(values, pa.scalar(0.0, target))


def fill_nulls(numbers: pa.Array, missing: int) -> np.ndarray:
    """Integers as a NumPy array, with `missing` in place of null."""
    if numbers.null_count:
        numbers = numbers.cast(pa.int64()).fill_null(missing)
    return numbers.to_numpy()


def _in_microseconds(name: Hashable, values: pa.Array, target: pa.DataType) -> pa.Array:
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
