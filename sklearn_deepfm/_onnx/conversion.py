"""Conversion of a fitted model to an ONNX model by skl2onnx, with checked inputs and outputs."""

from __future__ import annotations

import json
from typing import Any

import skl2onnx
from onnx import GraphProto, ModelProto
from onnx.helper import set_model_props
from skl2onnx.common.data_types import TensorType
from sklearn.base import BaseEstimator, is_regressor
from sklearn.impute import SimpleImputer
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._estimators.classifier import DeepFMClassifier
from sklearn_deepfm._onnx.check import check_file, first_rows, last_method, remedy
from sklearn_deepfm._onnx.converters import register
from sklearn_deepfm._onnx.graph import ML_DOMAIN, ML_OPSET, OPSET
from sklearn_deepfm._onnx.inputs import (
    free_name,
    input_types,
    tensors,
    units,
    values_of_inputs,
)
from sklearn_deepfm._onnx.operators import convert_imputer, register_columns, shape_of_imputer
from sklearn_deepfm._onnx.steps import OWN, Steps, unwrap_search


def export(model: BaseEstimator, X: Any, missing_string: str) -> ModelProto:
    """An ONNX model of `model`, as :func:`to_onnx` documents it."""
    model = unwrap_search(model)
    check_is_fitted(model)
    if not isinstance(missing_string, str):
        raise TypeError(
            f"missing_string must be a string, which is sent in place of a missing one, got "
            f"{missing_string!r}. Missing numbers are sent as NaN."
        )
    register()
    register_columns()
    values, rows, method = values_of_inputs(X), first_rows(X), last_method(model)
    expected = getattr(model, method)(rows)  # refuses a table unlike that of fit
    steps, types = Steps(), input_types(values)
    onnx_model = _converted(model, types, missing_string, steps)
    _name_inputs(onnx_model.graph, list(types))
    onnx_model.producer_name = "sklearn_deepfm"
    notes = json.dumps(steps.notes | units(values, types))
    set_model_props(onnx_model, {"missing_string": missing_string, "columns": notes})
    # Tests compare this library's own nodes; not all converters of skl2onnx are exact.
    if steps.foreign_steps and (method == "predict_proba" or is_regressor(model)):
        feed = tensors(values_of_inputs(rows), types, missing_string)
        check_file(onnx_model, feed, expected, method == "predict_proba", steps.foreign_steps)
    return onnx_model


def _converted(
    model: BaseEstimator, types: dict[str, TensorType], missing_string: str, steps: Steps
) -> ModelProto:
    options: dict[type[BaseEstimator], dict[str, str | bool]] = {
        type_: {"missing_string": missing_string} for type_ in OWN
    }
    options[DeepFMClassifier]["zipmap"] = False  # a matrix instead of a dict per row
    try:
        return skl2onnx.convert_sklearn(
            model,
            initial_types=list(types.items()),
            target_opset={"": OPSET, ML_DOMAIN: ML_OPSET},
            options=options,
            custom_parsers={type(model): steps.parse},
            custom_shape_calculators={SimpleImputer: shape_of_imputer},
            custom_conversion_functions={SimpleImputer: convert_imputer},
        )
    except (RuntimeError, NotImplementedError) as error:
        if not steps.foreign_steps:
            raise
        raise ValueError(f"skl2onnx: {error}. {remedy(steps.foreign_steps)}") from error


def _name_inputs(graph: GraphProto, names: list[str]) -> None:
    """Give the inputs the exact names of the columns, which skl2onnx has made identifiers of.

    Every other tensor of the graph that has such a name gets an underscore behind it.
    """
    new = {entry.name: name for entry, name in zip(graph.input, names, strict=True)}
    others = {name for node in graph.node for name in node.output}
    others |= {tensor.name for tensor in graph.initializer}
    taken = others | set(names)
    for name in others & set(names):
        new[name] = free_name(name, taken)
        taken.add(new[name])
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = new.get(entry.name, entry.name)
