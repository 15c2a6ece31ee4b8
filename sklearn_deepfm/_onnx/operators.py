"""Operators between the steps of an ONNX graph: join columns, pick one, fill gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import skl2onnx
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Operator, Scope, Variable
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer

from sklearn_deepfm._onnx.graph import DOUBLE, STRING, Graph, tensor_of, width_of


class ConcatColumns:
    """Joins columns into one matrix: of float64, times a weight, or of strings.

    `of_step` is the step that gives them; it knows their number where skl2onnx does not.
    """

    alias = "SklearnDeepFMMatrix"

    def __init__(self, weight: float = 1.0, of_step: BaseEstimator | None = None) -> None:
        self.weight, self.of_step = weight, of_step

    def width(self, inputs: list[Variable]) -> int | None:
        """Number of columns; None if neither the inputs nor `of_step` tell."""
        widths = [width for variable in inputs if (width := width_of(variable)) is not None]
        if len(widths) == len(inputs):
            return sum(widths)
        # Lists, or a converter that does not declare its number of outputs: ask the step itself.
        names_out = getattr(self.of_step, "get_feature_names_out", None)
        return None if names_out is None else len(names_out())


class PickColumn:
    """Takes one column of matrices that stand side by side."""

    alias = "SklearnDeepFMColumn"

    def __init__(self, position: int) -> None:
        self.position = position

    def place(self, inputs: list[Variable]) -> tuple[Variable, int]:
        """The matrix that holds the column, and the column's position in it."""
        position = self.position
        for variable in inputs:
            width = width_of(variable)
            if width is None:
                break
            if position < width:
                return variable, position
            position -= width
        raise ValueError(
            "A ColumnTransformer behind a step that gives lists, or whose number of columns "
            "skl2onnx does not tell, cannot be in an ONNX file. Make it the first step."
        )


def register_columns() -> None:
    """Register both operators with skl2onnx."""
    skl2onnx.update_registered_converter(
        ConcatColumns, ConcatColumns.alias, _shape_of_matrix, _convert_matrix, overwrite=True
    )
    skl2onnx.update_registered_converter(
        PickColumn, PickColumn.alias, _shape_of_column, _convert_column, overwrite=True
    )


def declare(scope: Scope, step: ConcatColumns | PickColumn, inputs: list[Variable]) -> Variable:
    """Declare one of the two operators in a scope, and return its output."""
    operator = scope.declare_local_operator(step.alias, step)
    operator.inputs = inputs
    is_string = isinstance(inputs[0].type, StringTensorType)
    type_ = StringTensorType if is_string else DoubleTensorType  # float64, as in scikit-learn
    operator.outputs.append(scope.declare_local_variable("columns", type_([None, None])))
    return operator.outputs[0]


def _shape_of_matrix(operator: Operator) -> None:
    operator.outputs[0].type.shape = [None, operator.raw_operator.width(operator.inputs)]


def _convert_matrix(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    graph, tensors = Graph(scope, container), list(map(tensor_of, operator.inputs))
    parts = [t.name if t.type == STRING else graph.cast(t, DOUBLE) for t in tensors]
    matrix = graph("Concat", *parts, axis=1)
    weight = operator.raw_operator.weight
    graph.assign(
        operator.outputs[0],
        matrix if weight == 1 else graph("Mul", matrix, np.array(weight, np.float64)),
    )


def _shape_of_column(operator: Operator) -> None:
    variable, _ = operator.raw_operator.place(operator.inputs)
    operator.outputs[0].type = type(variable.type)([None, 1])


def _convert_column(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    graph = Graph(scope, container)
    variable, position = operator.raw_operator.place(operator.inputs)
    column = graph("Gather", variable.full_name, np.array([position]), axis=1)
    graph.assign(operator.outputs[0], column)


def shape_of_imputer(operator: Operator) -> None:
    """Set the number of columns: as SimpleImputer does, without those that were all missing."""
    operator.outputs[0].type = DoubleTensorType([None, len(_kept(operator.raw_operator))])


def convert_imputer(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the imputer's nodes."""
    imputer, graph = operator.raw_operator, Graph(scope, container)
    is_number = isinstance(operator.inputs[0].type, DoubleTensorType)
    if not is_number or not pd.isna(imputer.missing_values) or imputer.add_indicator:
        raise ValueError(
            f"In an ONNX file a SimpleImputer can put numbers in the place of NaN, and nothing "
            f"else, got {imputer!r}. Leave it out: OrdinalFieldEncoder and the estimators take "
            f"missing values as they are."
        )
    kept = _kept(imputer)
    cells = graph("Gather", operator.inputs[0].full_name, kept, axis=1)
    fillers = imputer.statistics_[kept].astype(np.float64)
    graph.assign(operator.outputs[0], graph("Where", graph("IsNaN", cells), fillers, cells))


def _kept(imputer: SimpleImputer) -> np.ndarray:
    """Columns in which fit saw any number; a SimpleImputer drops the others."""
    return np.flatnonzero(~pd.isna(imputer.statistics_))
