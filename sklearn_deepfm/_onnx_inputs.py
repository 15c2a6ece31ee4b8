"""The inputs of an ONNX file: their names, types and values, by a table such as fit saw."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    Int64TensorType,
    StringTensorType,
)

from sklearn_deepfm._lists import flattened, lists_of
from sklearn_deepfm._onnx_graph import MISSING_MEMBER, NAT

LIST_WIDTH = None  # as long as the longest list of a batch
_NUMPY_TYPES: dict[Any, Any] = {
    BooleanTensorType: bool,
    DoubleTensorType: np.float64,
    Int64TensorType: np.int64,
    StringTensorType: object,
}


def input_types(values: dict[str, Any]) -> dict[str, Any]:
    """The type of each input by its name, in the order of the columns.

    Raises
    ------
    TypeError
        If a column holds what no input can.
    """
    return {name: _type_of(name, cells) for name, cells in values.items()}


def tensors(
    values: dict[str, Any], types: dict[str, Any], missing_string: str
) -> dict[str, np.ndarray]:
    """Rows as the inputs of a file take them, by their types."""
    return {name: _tensor(cells, types[name], missing_string) for name, cells in values.items()}


def units(values: dict[str, Any], types: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the numbers of some inputs are: dates in "microseconds", or "booleans"."""
    notes = {}
    for name, cells in values.items():
        if not isinstance(cells, pa.Array):
            continue
        type_ = cells.type.value_type if _is_list(cells.type) else _plain_type(cells)
        if pa.types.is_temporal(type_):
            notes[name] = {"unit": "microseconds"}
        elif pa.types.is_boolean(type_) and not isinstance(types[name], BooleanTensorType):
            notes[name] = {"unit": "booleans"}
    return notes


def as_table(X: Any) -> nw.DataFrame | np.ndarray:
    """A data frame opened with narwhals, or else a matrix.

    Raises
    ------
    ValueError
        If X has not two dimensions.
    """
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return frame
    array = np.asarray(X)
    if isinstance(X, list | tuple) and array.dtype.kind == "U":
        array = np.asarray(X, dtype=object)  # NumPy made a string of the 1 in [1, "a"]
    if array.ndim != 2:
        raise ValueError(
            f"X must be a table of the columns that fit saw, got a {type(X).__name__} of shape "
            f"{array.shape}."
        )
    return array


def values_of_inputs(X: Any) -> dict[str, Any]:
    """The values of each input by its name, in the order of the columns.

    A matrix of numbers or of strings is one input, "X"; other tables have an input for
    each column, an Arrow array, and one more for the weights of the members of its
    lists, where these have any.

    Raises
    ------
    TypeError
        If a column holds values of several types.
    """
    table = as_table(X)
    if isinstance(table, nw.DataFrame):
        return _parts(dict(zip(_names(table), table.iter_columns(), strict=True)))
    if table.dtype.kind in "iubfU":
        return {"X": table}
    return _parts({f"x{j}": values for j, values in enumerate(table.T)})


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with underscores behind it until it is none of those taken."""
    while name in taken:
        name += "_"
    return name


def _names(frame: nw.DataFrame) -> list[str]:
    """The names of the columns; "x" and the position where there is none to give."""
    return [
        name if isinstance(name, str) and name else f"x{position}"
        for position, name in enumerate(frame.columns)
    ]


def _parts(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as Arrow arrays; lists of codes with weights, as an encoder gives them, are two."""
    parts = {}
    for name, values in columns.items():
        parts[name] = _as_arrow(name, values)
        if _is_list(parts[name].type) and pa.types.is_struct(parts[name].type.value_type):
            starts, members = flattened(parts[name])
            name_of_weights = free_name(f"{name}_weights", columns)
            parts[name], parts[name_of_weights] = (
                lists_of(starts, pc.struct_field(members, part)) for part in ("code", "weight")
            )
    return parts


def _type_of(name: str, values: Any) -> Any:
    if isinstance(values, np.ndarray):
        kinds = {"f": DoubleTensorType, "U": StringTensorType}
        return kinds.get(values.dtype.kind, Int64TensorType)([None, values.shape[1]])
    if _is_list(values.type):
        return _type_of_members(name, values.type.value_type)([None, LIST_WIDTH])
    return _type_of_cells(name, values)([None, 1])


def _tensor(values: Any, type_: Any, missing_string: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(_NUMPY_TYPES[type(type_)])
    if type_.shape[1] is not LIST_WIDTH:
        return _cells(values, type_, missing_string, NAT)[:, np.newaxis]
    is_list = _is_list(values.type)  # or else nothing but missing
    starts, members = flattened(values) if is_list else (np.arange(len(values) + 1), values)
    lengths = np.diff(starts)
    is_member = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
    filler: Any = {StringTensorType: "", Int64TensorType: NAT}.get(type(type_), 0.0)
    lists = np.full(is_member.shape, filler, _NUMPY_TYPES[type(type_)])
    lists[is_member] = _cells(members, type_, missing_string, MISSING_MEMBER)
    return lists


def _cells(values: pa.Array, type_: Any, missing_string: str, missing: int) -> np.ndarray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if isinstance(type_, StringTensorType):
        values = values.cast(pa.large_string()).fill_null(missing_string)
    elif isinstance(type_, DoubleTensorType):
        values = values.cast(pa.float64(), safe=False).fill_null(np.nan)
    elif isinstance(type_, Int64TensorType):
        if pa.types.is_temporal(values.type):
            values = values.cast(_in_microseconds(values.type), safe=False)
        values = values.cast(pa.int64()).fill_null(missing)
    return values.to_numpy(zero_copy_only=False).astype(_NUMPY_TYPES[type(type_)])


def _in_microseconds(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_duration(type_):
        return pa.duration("us")
    return pa.time64("us") if pa.types.is_time(type_) else pa.timestamp("us")


def _as_arrow(name: str, values: Any) -> Any:
    try:
        is_series = isinstance(values, nw.Series)
        arrow = values.to_arrow() if is_series else pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise TypeError(
            f"Column {name!r} of X must hold cells of one type, which an input of an ONNX file "
            f"has: {error}."
        ) from error
    return arrow.combine_chunks() if isinstance(arrow, pa.ChunkedArray) else arrow


def _is_list(type_: pa.DataType) -> bool:
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return is_list or pa.types.is_fixed_size_list(type_)


def _type_of_cells(name: str, column: Any) -> Any:
    """Numbers with missing ones among them are float64, where NaN can say so."""
    type_ = _plain_type(column)
    if _is_string(type_):
        return StringTensorType
    if pa.types.is_temporal(type_):
        return Int64TensorType
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_) or pa.types.is_null(type_):
        return DoubleTensorType
    if pa.types.is_boolean(type_):
        return DoubleTensorType if column.null_count else BooleanTensorType
    if pa.types.is_integer(type_):
        return DoubleTensorType if column.null_count else Int64TensorType
    raise _bad_type(name, type_)


def _plain_type(column: Any) -> pa.DataType:
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.type.value_type if is_dictionary else column.type


def _type_of_members(name: str, type_: pa.DataType) -> Any:
    if _is_string(type_):
        return StringTensorType
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_) or pa.types.is_null(type_):
        return Int64TensorType
    if pa.types.is_floating(type_):
        return DoubleTensorType
    raise _bad_type(name, type_)


def _is_string(type_: pa.DataType) -> bool:
    is_string = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    return is_string or pa.types.is_string_view(type_)


def _bad_type(name: str, type_: pa.DataType) -> TypeError:
    return TypeError(
        f"Column {name!r} of X holds {type_}, for which an ONNX file has no input. Convert it to "
        f"strings or numbers before the fit."
    )
