"""The inputs of an ONNX file: their names and types, by a table such as fit saw."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    Int64TensorType,
    StringTensorType,
)

LIST_WIDTH = None  # as long as the longest list of a batch


def input_types(X: Any) -> list[tuple[str, Any]]:
    """Name and type of each input, in the order of the columns.

    A matrix of numbers or of strings is one input, "X"; other tables have an input for
    each column, (n, 1), or (n, length of the longest list), and one more for the weights
    of its members, where lists have any.

    Raises
    ------
    TypeError
        If a column holds what no input can.
    """
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return _types_of_columns(dict(zip(_names(frame), frame.iter_columns(), strict=True)))
    array = np.asarray(X)
    if array.ndim != 2:
        raise ValueError(
            f"X must be a table of the columns that fit saw, got an array of shape {array.shape}."
        )
    if array.dtype.kind in "iubfU":
        kinds = {"f": DoubleTensorType, "U": StringTensorType}
        return [("X", kinds.get(array.dtype.kind, Int64TensorType)([None, array.shape[1]]))]
    return _types_of_columns({f"x{j}": values for j, values in enumerate(array.T)})


def _names(frame: nw.DataFrame) -> list[str]:
    """The names of the columns; "x" and the position where there is none to give."""
    return [
        name if isinstance(name, str) and name else f"x{position}"
        for position, name in enumerate(frame.columns)
    ]


def _types_of_columns(columns: dict[str, Any]) -> list[tuple[str, Any]]:
    types = []
    for name, values in columns.items():
        arrow = _as_arrow(name, values)
        if not _is_list(arrow.type):
            types.append((name, _type_of_cells(name, arrow)([None, 1])))
            continue
        members = arrow.type.value_type
        if pa.types.is_struct(members):  # codes with weights, as an encoder gives them
            types.append((name, Int64TensorType([None, LIST_WIDTH])))
            types.append((f"{name}_weights", DoubleTensorType([None, LIST_WIDTH])))
        else:
            kind = _type_of_members(name, members)
            types.append((name, kind([None, LIST_WIDTH])))
    return types


def _as_arrow(name: str, values: Any) -> Any:
    try:
        if isinstance(values, nw.Series):
            return values.to_arrow()
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise TypeError(
            f"Column {name!r} of X must hold cells of one type, which an input of an ONNX file "
            f"has: {error}."
        ) from error


def _is_list(type_: pa.DataType) -> bool:
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return is_list or pa.types.is_fixed_size_list(type_)


def _type_of_cells(name: str, column: Any) -> Any:
    """Numbers with missing ones among them are float64, where NaN can say so."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
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
