"""Inputs of an ONNX file: their names, types and values, from a table like that of fit."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    Int64TensorType,
    StringTensorType,
    TensorType,
)

from sklearn_deepfm._onnx.graph import MISSING_MEMBER, NAT
from sklearn_deepfm._tables.arrow import is_list
from sklearn_deepfm._tables.columns import Column, ListColumn, column_of_arrow
from sklearn_deepfm._tables.lists import flattened, lists_of
from sklearn_deepfm._tables.table import Columns, column_names, read_table

Values: TypeAlias = Column | ListColumn | np.ndarray
LIST_WIDTH = None  # free: the length of the longest list of a batch
_NUMPY_TYPES: dict[type[TensorType], type] = {
    BooleanTensorType: bool,
    DoubleTensorType: np.float64,
    Int64TensorType: np.int64,
    StringTensorType: object,
}


def values_of_inputs(X: Any) -> dict[str, Values]:
    """The values of each input by its name, in the order of the columns.

    A matrix of numbers or of strings is one input, "X"; other tables have an input for
    each column, and one more for the weights of the members of its lists, where these
    have any.

    Raises
    ------
    TypeError
        If a column holds values that neither an encoder nor an estimator takes.
    """
    table = read_table(X)
    if isinstance(table, np.ndarray) and table.dtype.kind in "iubfU":
        return {"X": table}
    columns, names = Columns(table), _names(column_names(table))
    values: dict[str, Values] = {}
    for position, name in enumerate(names):
        arrow = columns.arrow(position)
        if not is_list(arrow.type) or not pa.types.is_struct(arrow.type.value_type):
            values[name] = column_of_arrow(name, arrow)
            continue
        members, starts = flattened(arrow)  # codes with weights, as an encoder gives them
        halves = [lists_of(pc.struct_field(members, part), starts) for part in ("code", "weight")]
        values[name] = column_of_arrow(name, halves[0])
        values[free_name(f"{name}_weights", names)] = column_of_arrow(name, halves[1])
    return values


def _names(names: list) -> list[str]:
    """Names of the columns; "x" and the position for a column without a name."""
    return [
        name if isinstance(name, str) and name else f"x{position}"
        for position, name in enumerate(names)
    ]


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with underscores behind it until it is not taken."""
    while name in taken:
        name += "_"
    return name


def input_types(values: dict[str, Values]) -> dict[str, TensorType]:
    """The type of each input by its name.

    Raises
    ------
    TypeError
        If a column holds lists of a type that no input can hold.
    """
    return {name: _type_of(name, cells) for name, cells in values.items()}


def _type_of(name: str, values: Values) -> TensorType:
    if isinstance(values, np.ndarray):
        kinds = {"f": DoubleTensorType, "U": StringTensorType}
        return kinds.get(values.dtype.kind, Int64TensorType)([None, values.shape[1]])
    cells = values.cells.as_quantities().values
    if values.holds_lists:
        return _type_of_members(name, cells.type)([None, LIST_WIDTH])
    return _type_of_cells(cells)([None, 1])


def _type_of_cells(cells: pa.Array) -> type[TensorType]:
    """Type of single cells; numbers are float64 if some are missing, which NaN stands for."""
    if pa.types.is_large_string(cells.type):
        return StringTensorType
    if pa.types.is_temporal(cells.type):
        return Int64TensorType
    if pa.types.is_floating(cells.type) or cells.null_count or not len(cells):
        return DoubleTensorType
    return BooleanTensorType if pa.types.is_boolean(cells.type) else Int64TensorType


def _type_of_members(name: str, type_: pa.DataType) -> type[TensorType]:
    if pa.types.is_temporal(type_):
        raise TypeError(
            f"Column {name!r} of X holds lists of {type_}, for which an ONNX file has no input. "
            f"Convert their members to strings or whole numbers before the fit."
        )
    if pa.types.is_large_string(type_):
        return StringTensorType
    return DoubleTensorType if pa.types.is_floating(type_) else Int64TensorType


def units(values: dict[str, Values], types: dict[str, TensorType]) -> dict[str, dict[str, str]]:
    """Units of inputs whose numbers stand for dates, "microseconds", or for "booleans"."""
    notes = {}
    for name, column in values.items():
        if isinstance(column, np.ndarray) or isinstance(types[name], BooleanTensorType):
            continue
        type_ = column.cells.as_quantities().values.type
        if pa.types.is_temporal(type_):
            notes[name] = {"unit": "microseconds"}
        elif pa.types.is_boolean(type_):
            notes[name] = {"unit": "booleans"}
    return notes


def tensors(
    values: dict[str, Values], types: dict[str, TensorType], missing_string: str
) -> dict[str, np.ndarray]:
    """Rows as the tensors that the inputs of a file take."""
    return {name: _tensor(cells, types[name], missing_string) for name, cells in values.items()}


def _tensor(values: Values, type_: TensorType, missing_string: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(_NUMPY_TYPES[type(type_)])
    if type_.shape[1] is not LIST_WIDTH:
        return _cells(values.cells, type_, missing_string, NAT)[:, np.newaxis]
    column = values.as_lists(None)
    lengths = np.diff(column.starts)
    is_member = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
    # Fills up shorter lists: what no member is, and for weights 0.
    fillers: dict[type[TensorType], str | int] = {StringTensorType: "", Int64TensorType: NAT}
    filler = fillers.get(type(type_), 0.0)
    lists: np.ndarray = np.full(is_member.shape, filler, _NUMPY_TYPES[type(type_)])
    lists[is_member] = _cells(column.members, type_, missing_string, MISSING_MEMBER)
    return lists


def _cells(column: Column, type_: TensorType, missing_string: str, missing: int) -> np.ndarray:
    values, cls = column.as_quantities().values, type(type_)
    if cls is not BooleanTensorType:
        arrow_type, filler = {
            DoubleTensorType: (pa.float64(), np.nan),
            Int64TensorType: (pa.int64(), missing),
            StringTensorType: (pa.large_string(), missing_string),
        }[cls]
        values = values.cast(arrow_type, safe=False).fill_null(filler)
    return values.to_numpy(zero_copy_only=False).astype(_NUMPY_TYPES[cls])
