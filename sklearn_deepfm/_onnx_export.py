"""From a fitted model and some rows to an ONNX model."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import skl2onnx
from onnx import GraphProto, ModelProto
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._classifier import DeepFMClassifier
from sklearn_deepfm._field_encoder import OrdinalFieldEncoder
from sklearn_deepfm._onnx_converters import register
from sklearn_deepfm._onnx_graph import ML_DOMAIN, ML_OPSET, OPSET
from sklearn_deepfm._onnx_inputs import input_types
from sklearn_deepfm._regressor import DeepFMRegressor

OWN = DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder


def export(model: Any, X: Any, missing_string: str) -> ModelProto:
    """An ONNX model of `model`, as :func:`to_onnx` documents it."""
    check_is_fitted(model)
    register()
    options: dict[Any, dict[str, Any]] = {
        type_: {"missing_string": missing_string} for type_ in OWN
    }
    options[DeepFMClassifier] = {"missing_string": missing_string, "zipmap": False}
    if is_classifier(model):
        options[id(model)] = {"zipmap": False}
    types = input_types(X)
    _check_names(model, X)
    onnx_model = skl2onnx.convert_sklearn(
        model,
        initial_types=types,
        target_opset={"": OPSET, ML_DOMAIN: ML_OPSET},
        options=options,
    )
    _name_inputs(onnx_model.graph, [name for name, _ in types])
    onnx_model.producer_name = "sklearn_deepfm"
    entry = onnx_model.metadata_props.add()
    entry.key, entry.value = "missing_string", missing_string
    return onnx_model


def _check_names(model: Any, X: Any) -> None:
    """The columns must be those of fit, in their order: a file has nothing else to go by."""
    names = getattr(model, "feature_names_in_", None)
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if names is None or not isinstance(frame, nw.DataFrame):
        return
    if [str(name) for name in frame.columns] != [str(name) for name in names]:
        raise ValueError(
            f"X must have the columns of fit in their order, {list(names)}, got {frame.columns}."
        )


def _name_inputs(graph: GraphProto, names: list[str]) -> None:
    """Give the inputs the very names of the columns, which skl2onnx makes identifiers of.

    Anything else in the graph that has such a name gets an underscore behind it.
    """
    new = {entry.name: name for entry, name in zip(graph.input, names, strict=True)}
    others = {name for node in graph.node for name in node.output}
    others |= {tensor.name for tensor in graph.initializer}
    taken = others | set(names)
    for name in others & set(names):
        new[name] = _free(name, taken)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = new.get(entry.name, entry.name)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
