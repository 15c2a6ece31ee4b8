"""Conversion of NumPy arrays, Arrow arrays and pandas indexes to plain data and back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

# What saved objects are made of: None, numbers, strings, arrays, and lists, tuples, sets and dicts
# of such. No narrower type, for a file may hold anything: `expect` checks it, which mypy cannot
# follow.
PlainData: TypeAlias = Any

# The types of Arrow that a file may name: those in which columns of any table are kept.
_ARROW = {
    str(type_): type_
    for type_ in (
        pa.null(),
        pa.bool_(),
        pa.int64(),
        pa.uint64(),
        pa.float64(),
        pa.large_string(),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.duration("us"),
        pa.time64("us"),
    )
}
_STRINGS_OF_ARROW = pd.ArrowDtype(pa.string())
_SCALARS = {str, int, float, bool}
# A file may claim a width for its strings that is far beyond them. Memory is limited to so many
# bytes, and so many more for each value and each of its characters.
_MOST_FOR_SHORT_STRINGS, _MOST_BYTES_PER_CHARACTER = 2**20, 64


class Damaged(ValueError):
    """Raised for a file or a state that is not as it was saved."""


class LaterFormat(ValueError):
    """Raised for a state in a later format than this version reads."""


def expect(is_right: object, name: str) -> None:
    """Raise Damaged, naming an entry of the state, unless its check holds."""
    if not is_right:
        raise Damaged(f"the entry {name!r} is not what it must be")


def expect_ascending(values: np.ndarray, name: str, *, strictly: bool = True) -> None:
    """Raise Damaged unless the entries of an array of one dimension ascend; NaN never does."""
    expect(values.ndim == 1, name)
    # Compared, since the difference of two large numbers overflows.
    left, right = values[:-1], values[1:]
    expect(((left < right) if strictly else (left <= right)).all(), name)


def expect_finite(
    values: ArrayLike, name: str, shape: tuple[int, ...], least: float = -np.inf
) -> None:
    """Raise Damaged unless an array has this shape, and finite numbers of at least `least`."""
    expect(np.shape(values) == shape and np.isfinite(values).all(), name)
    expect(np.all(np.asarray(values) >= least), name)


def expect_numbering(numbers: np.ndarray, first: int, end: int, name: str) -> None:
    """Raise Damaged unless whole numbers are those from `first` to ``end - 1``, in any order."""
    expect(numbers.ndim == 1 and len(numbers) == end - first, name)
    if len(numbers):
        expect(first <= numbers.min() and numbers.max() < end, name)
        expect(np.bincount(numbers - first).all(), name)


@contextlib.contextmanager
def saying_damaged(what: str) -> Iterator[None]:
    """Turn errors from a state that cannot be used into one that calls it damaged."""
    try:
        yield
    except LaterFormat:  # a ValueError too, but such a state is not damaged
        raise
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        said = str(error).rstrip(".")
        raise Damaged(f"{what} is damaged: {said}. Take another copy of it.") from error


def scalars_to_plain(array: np.ndarray) -> np.ndarray | dict[str, PlainData]:
    """Numbers as an array, dates and durations as integers, strings and objects as a list."""
    array = np.asarray(array)
    if array.dtype.kind in "biuf":
        return np.asarray(array, order="C")
    if array.dtype.kind in "mM":
        return {"dtype": array.dtype.str, "values": array.astype(np.int64)}
    values = [value.item() if isinstance(value, np.generic) else value for value in array.tolist()]
    return {"dtype": array.dtype.str, "values": values}


def scalars_of_plain(value: PlainData, name: str) -> np.ndarray:
    """The array that `scalars_to_plain` was given."""
    if isinstance(value, np.ndarray):
        expect(value.dtype.kind in "biuf", name)
        return value
    expect(isinstance(value, dict) and set(value) == {"dtype", "values"}, name)
    dtype, values = value["dtype"], value["values"]
    if isinstance(values, np.ndarray):
        expect(values.dtype == np.int64 and isinstance(dtype, str), name)
        expect(re.fullmatch(r"[<>]?[mM]8(\[\w+\])?", dtype), name)
        return values.astype(dtype)
    expect(isinstance(values, list), name)
    return objects(values, dtype, name)


def objects(values: list[PlainData], dtype: PlainData, name: str) -> np.ndarray:
    """An array of strings, or of any objects, from a list.

    Raises
    ------
    Damaged
        If `dtype` is of another kind, or would take far more memory than the values.
    """
    expect(isinstance(dtype, str) and re.fullmatch(r"[<>|]?[OSU]\d*", dtype), name)
    kind = np.dtype(dtype)
    n_characters = sum(len(value) for value in values if isinstance(value, str | bytes))
    most = _MOST_FOR_SHORT_STRINGS + _MOST_BYTES_PER_CHARACTER * (n_characters + len(values))
    expect(kind.itemsize * len(values) <= most, name)
    array = np.empty(len(values), dtype=kind)
    array[:] = values
    return array


def index_to_plain(index: pd.Index) -> dict[str, PlainData] | pd.Index:
    """Dtype and values of an index; the index itself if these would not restore it exactly."""
    dtype, values = str(index.dtype), index
    if isinstance(index.dtype, pd.StringDtype) and index.dtype.na_value is pd.NA:
        dtype = f"string[{index.dtype.storage}]"
    if index.dtype == _STRINGS_OF_ARROW:  # pandas would read its name as a StringDtype
        dtype = "ArrowDtype(string)"
    if isinstance(index.dtype, pd.DatetimeTZDtype):
        values = index.tz_convert(None)
    plain = {"dtype": dtype, "values": scalars_to_plain(values.to_numpy())}
    if isinstance(index.dtype, pd.api.extensions.ExtensionDtype):  # also periods and intervals
        try:
            again = index_of_plain(plain, "index")
        except (TypeError, ValueError):
            return index
        is_the_same = again.dtype == index.dtype and again.equals(index)
        return plain if is_the_same and _are_scalars(plain["values"]) else index
    return plain


def _are_scalars(plain: PlainData) -> bool:
    values = plain["values"] if isinstance(plain, dict) else plain
    return isinstance(values, np.ndarray) or set(map(type, values)) <= _SCALARS


def arrow_to_plain(array: pa.Array) -> dict[str, PlainData]:
    """Strings as UTF-8 with the start of each, other types as an array; no value is missing."""
    type_ = array.type
    if pa.types.is_null(type_):
        return {"type": str(type_), "length": len(array)}
    if pa.types.is_large_string(type_):
        array = pa.concat_arrays([array])  # a slice begins in the middle of its buffers
        _, ends, text = array.buffers()
        starts = np.frombuffer(ends, np.int64)[: len(array) + 1] if ends else np.zeros(1, np.int64)
        text = np.frombuffer(text, np.uint8) if text else np.empty(0, np.uint8)
        part = text[starts[0] : starts[-1]]
        return {"type": str(type_), "starts": starts - starts[0], "text": part.copy()}
    if pa.types.is_boolean(type_):
        return {"type": str(type_), "values": array.to_numpy(zero_copy_only=False)}
    if pa.types.is_temporal(type_):
        array = array.cast(pa.int64())
    return {"type": str(type_), "values": array.to_numpy(zero_copy_only=False).copy()}


def arrow_of_plain(state: PlainData, name: str) -> pa.Array:
    """The array that `arrow_to_plain` was given."""
    expect(isinstance(state, dict), name)
    type_ = arrow_type(state.get("type"), name)
    if pa.types.is_null(type_):
        expect(isinstance(state.get("length"), int) and 0 <= state["length"] < 2**31, name)
        return pa.nulls(state["length"])
    if pa.types.is_large_string(type_):
        return _strings(state.get("starts"), state.get("text"), name)
    values = state.get("values")
    expect(isinstance(values, np.ndarray) and values.ndim == 1, name)
    if pa.types.is_temporal(type_):
        expect(values.dtype == np.int64, name)
        return pa.array(values).cast(type_)
    expect(values.dtype == type_.to_pandas_dtype(), name)
    return pa.array(values)


def _strings(starts: PlainData, text: PlainData, name: str) -> pa.Array:
    expect(isinstance(starts, np.ndarray) and starts.dtype == np.int64 and starts.ndim == 1, name)
    expect(isinstance(text, np.ndarray) and text.dtype == np.uint8 and text.ndim == 1, name)
    # `from_buffers` checks nothing: wrong starts would let Arrow read beyond the text.
    expect(len(starts) and starts[0] == 0 and starts[-1] == len(text), name)
    expect_ascending(starts, name, strictly=False)
    buffers = [None, pa.py_buffer(starts.tobytes()), pa.py_buffer(text.tobytes())]
    array = pa.Array.from_buffers(pa.large_string(), len(starts) - 1, buffers)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise Damaged(f"the entry {name!r} holds no UTF-8") from error
    return array


def arrow_type(type_: PlainData, name: str) -> pa.DataType:
    """A type of Arrow by its name, one of those in `_ARROW`."""
    expect(isinstance(type_, str) and type_ in _ARROW, name)
    return _ARROW[type_]


def index_of_plain(state: PlainData, name: str) -> pd.Index:
    """The index that `index_to_plain` was given."""
    if isinstance(state, pd.Index):
        return state
    expect(isinstance(state, dict) and set(state) == {"dtype", "values"}, name)
    values = scalars_of_plain(state["values"], name)
    try:
        dtype = _dtype_of_index(state["dtype"])
        if isinstance(dtype, pd.DatetimeTZDtype):
            return pd.DatetimeIndex(values).tz_localize("UTC").tz_convert(dtype.tz)
        return pd.Index(values, dtype=dtype)
    except (LookupError, OSError, OverflowError, TypeError, ValueError) as error:
        raise Damaged(f"the entry {name!r} is no index: {error}") from error


def _dtype_of_index(name: str) -> np.dtype | pd.api.extensions.ExtensionDtype:
    if name == "ArrowDtype(string)":
        return _STRINGS_OF_ARROW
    # A time zone may be looked up as a file, by dateutil anywhere on disk: a name that is a path to
    # some other file is refused.
    if not re.fullmatch(r"[\w\[\]]+|datetime64\[\w+, (?!dateutil)[\w+:-]+(/[\w+-]+)*\]", name):
        raise ValueError(f"{name!r} is no type of values")
    return pd.api.types.pandas_dtype(name)
