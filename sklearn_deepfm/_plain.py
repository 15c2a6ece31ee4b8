"""Fitted objects as plain data, which any format can hold: scalars, strings, lists, arrays."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

FORMAT = 1  # the rules for raising it are in docs/user_guide/saving.rst

# Types of Arrow that a file may name.
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
_MOST_FOR_SHORT_STRINGS, _MOST_BYTES_PER_CHARACTER = 2**20, 64
_Self = TypeVar("_Self", bound="Plain")


class Damaged(ValueError):
    """What is loaded is not what was saved."""


class LaterFormat(ValueError):
    """What is loaded was saved by a later version."""


class Plain:
    """An object whose state is that of a few attributes.

    A subclass says in `_saved` which these are and of what type: of NumPy's for an array
    of one dimension, ndarray for one of any scalars, None for what is plain already.
    None is a value of each type.
    """

    _saved: dict[str, Any] = {}

    def to_plain(self) -> dict[str, Any]:
        """The attributes by name, without underscores."""
        return {
            name.strip("_"): to_plain(getattr(self, name), kind)
            for name, kind in self._saved.items()
        }

    @classmethod
    def of_plain(cls: type[_Self], state: Any) -> _Self:
        """An object with these attributes.

        Raises
        ------
        Damaged
            If they are not of their types.
        """
        if not isinstance(state, dict) or set(state) != {n.strip("_") for n in cls._saved}:
            raise Damaged(f"{cls.__name__} must have the entries {[*cls._saved]}")
        new = cls.__new__(cls)
        for name, kind in cls._saved.items():
            # A dataclass that is frozen lets nobody set what it has.
            object.__setattr__(new, name, of_plain(state[name.strip("_")], kind, name))
        new._check_loaded()
        return new

    def _check_loaded(self) -> None:
        """Make what follows from the attributes; raise Damaged if they contradict each other."""


def sealed(attributes: dict[str, Any], learned: dict[str, Any] | None) -> dict[str, Any]:
    """The state of an estimator: attributes, what was learned as plain data, and the format."""
    return {**attributes, **({} if learned is None else {"learned": learned}), "format": FORMAT}


def opened(estimator: Any, state: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Attributes, and what was learned, None if nothing.

    Raises
    ------
    ValueError
        If the state is of a later format, or none of this library's.
    """
    number = state.get("format") if isinstance(state, dict) else None
    if not isinstance(number, int) or number < 1:
        raise Damaged(f"This is no {type(estimator).__name__} that sklearn_deepfm has saved.")
    if number > FORMAT:
        raise LaterFormat(
            f"This {type(estimator).__name__} was saved in format {number}, by a later version of "
            f"sklearn_deepfm than this one, which reads formats up to {FORMAT}. Upgrade it."
        )
    attributes = {name: v for name, v in state.items() if name not in ("format", "learned")}
    for name in attributes:
        # Nothing may take the place of a method.
        expect(isinstance(name, str) and not hasattr(type(estimator), name), name)
    # A parameter that came after the file was written has its default.
    return {**type(estimator)().get_params(deep=False), **attributes}, state.get("learned")


def check_names(attributes: dict[str, Any], n_features: int) -> None:
    """Compare what is said of the columns with their number.

    Raises
    ------
    Damaged
        If they contradict each other.
    """
    n_features_in = attributes.get("n_features_in_")
    expect(type(n_features_in) is int and n_features_in == n_features, "n_features_in_")
    names = attributes.get("feature_names_in_")
    if names is not None:
        expect(isinstance(names, np.ndarray) and names.shape == (n_features,), "feature_names_in_")
        expect(all(isinstance(name, str) for name in names), "feature_names_in_")


def to_plain(value: Any, kind: Any) -> Any:
    """A value of some kind as plain data."""
    if value is None:
        return None
    if kind is pa.Array:
        return _of_arrow(value)
    if kind is pa.DataType:
        return str(value)
    if kind is pd.Index:
        return _of_index(value)
    if kind is np.ndarray:
        return scalars_to_plain(value)
    if isinstance(kind, type) and issubclass(kind, np.generic):
        return np.asarray(value, dtype=kind, order="C")
    if kind in (int, float, bool, str):
        return kind(value)
    return value


def of_plain(value: Any, kind: Any, name: str) -> Any:
    """The value that plain data was made of."""
    if value is None:
        return None
    if kind is pa.Array:
        return _to_arrow(value, name)
    if kind is pa.DataType:
        return _arrow_type(value, name)
    if kind is pd.Index:
        return _index(value, name)
    if kind is np.ndarray:
        return scalars_of_plain(value, name)
    if isinstance(kind, type) and issubclass(kind, np.generic):
        expect(isinstance(value, np.ndarray) and value.dtype == kind and value.ndim <= 1, name)
        return value
    if isinstance(kind, type):
        is_bool = isinstance(value, bool)
        expect(isinstance(value, kind) and is_bool == (kind is bool), name)
    return value


def expect(is_right: Any, name: str) -> None:
    """Raise Damaged unless something is as it must be."""
    if not is_right:
        raise Damaged(f"the entry {name!r} is not what it must be")


def scalars_to_plain(array: np.ndarray) -> Any:
    """An array of numbers as it is; one of strings or objects as a list of its values."""
    array = np.asarray(array)
    if array.dtype.kind in "biuf":
        return np.asarray(array, order="C")
    if array.dtype.kind in "mM":
        return {"dtype": array.dtype.str, "values": array.astype(np.int64)}
    values = [value.item() if isinstance(value, np.generic) else value for value in array.tolist()]
    return {"dtype": array.dtype.str, "values": values}


def scalars_of_plain(value: Any, name: str) -> np.ndarray:
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


def objects(values: list, dtype: Any, name: str) -> np.ndarray:
    """An array of strings or of anything.

    Raises
    ------
    Damaged
        If the type is another, or takes far more memory than the values.
    """
    expect(isinstance(dtype, str) and re.fullmatch(r"[<>|]?[OSU]\d*", dtype), name)
    kind = np.dtype(dtype)
    n_characters = sum(len(value) for value in values if isinstance(value, str | bytes))
    most = _MOST_FOR_SHORT_STRINGS + _MOST_BYTES_PER_CHARACTER * (n_characters + len(values))
    expect(kind.itemsize * len(values) <= most, name)
    array = np.empty(len(values), dtype=kind)
    array[:] = values
    return array


def _of_index(index: pd.Index) -> Any:
    """Type and values; the index itself where they would not make the same one again."""
    dtype, values = str(index.dtype), index
    if isinstance(index.dtype, pd.StringDtype) and index.dtype.na_value is pd.NA:
        dtype = f"string[{index.dtype.storage}]"
    if index.dtype == _STRINGS_OF_ARROW:  # whose name is that of another type
        dtype = "ArrowDtype(string)"
    if isinstance(index.dtype, pd.DatetimeTZDtype):
        values = index.tz_convert(None)
    plain = {"dtype": dtype, "values": scalars_to_plain(values.to_numpy())}
    if isinstance(index.dtype, pd.api.extensions.ExtensionDtype):  # periods and intervals are some
        try:
            again = _index(plain, "index")
        except (TypeError, ValueError):
            return index
        if (
            not _are_scalars(plain["values"])
            or again.dtype != index.dtype
            or not again.equals(index)
        ):
            return index
    return plain


def _are_scalars(plain: Any) -> bool:
    values = plain["values"] if isinstance(plain, dict) else plain
    return isinstance(values, np.ndarray) or set(map(type, values)) <= _SCALARS


def _of_arrow(array: pa.Array) -> dict[str, Any]:
    """Strings as their bytes and where each begins, numbers as an array; no value is missing."""
    type_ = array.type
    if pa.types.is_null(type_):
        return {"type": str(type_), "length": len(array)}
    if pa.types.is_large_string(type_):
        array = pa.concat_arrays([array])  # which does not begin in the middle of a buffer
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


def _to_arrow(state: Any, name: str) -> pa.Array:
    expect(isinstance(state, dict), name)
    type_ = _arrow_type(state.get("type"), name)
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


def _strings(starts: Any, text: Any, name: str) -> pa.Array:
    expect(isinstance(starts, np.ndarray) and starts.dtype == np.int64 and starts.ndim == 1, name)
    expect(isinstance(text, np.ndarray) and text.dtype == np.uint8 and text.ndim == 1, name)
    expect(len(starts) and starts[0] == 0 and starts[-1] == len(text), name)
    expect((np.diff(starts) >= 0).all(), name)
    buffers = [None, pa.py_buffer(starts.tobytes()), pa.py_buffer(text.tobytes())]
    array = pa.Array.from_buffers(pa.large_string(), len(starts) - 1, buffers)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise Damaged(f"the entry {name!r} holds no UTF-8") from error
    return array


def _arrow_type(type_: Any, name: str) -> pa.DataType:
    expect(isinstance(type_, str) and type_ in _ARROW, name)
    return _ARROW[type_]


def _index(state: Any, name: str) -> pd.Index:
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


def _dtype_of_index(name: Any) -> Any:
    if name == "ArrowDtype(string)":
        return _STRINGS_OF_ARROW
    if not re.fullmatch(r"[\w\[\]]+|datetime64\[\w+, (?!dateutil)[\w+:-]+(/[\w+-]+)*\]", name):
        raise ValueError(f"{name!r} is no type of values")
    return pd.api.types.pandas_dtype(name)
