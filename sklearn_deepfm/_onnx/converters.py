"""Converters of the estimators and the encoder, which are registered with skl2onnx."""

from __future__ import annotations

from typing import Any

import numpy as np
import skl2onnx
from skl2onnx import _parse
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._estimators.classifier import DeepFMClassifier
from sklearn_deepfm._estimators.regressor import DeepFMRegressor
from sklearn_deepfm._onnx.encoder import (
    MISSING_STRING,
    convert_encoder,
    parse_encoder,
    shape_of_codes,
)
from sklearn_deepfm._onnx.fields import FieldNodes
from sklearn_deepfm._onnx.graph import (
    BOOL,
    DOUBLE,
    INT64,
    Graph,
    columns_of,
    element_type,
    width_of,
)
from sklearn_deepfm._onnx.network import logits_of
from sklearn_deepfm._targets.classification import MultiLabelTarget

# Of the table: a protocol buffer ends at 2 GiB, and 16 MiB are left for the rest of the file.
MOST_BYTES = 2**31 - 2**24


def register() -> None:
    """Register the converters of the estimators and the encoder with skl2onnx."""
    options = {
        "zipmap": [True, False, "columns"],
        "nocl": [True, False],
        "output_class_labels": [True, False],
        "missing_string": None,
    }
    skl2onnx.update_registered_converter(
        OrdinalFieldEncoder,
        "SklearnDeepFMOrdinalFieldEncoder",
        shape_of_codes,
        convert_encoder,
        parser=parse_encoder,
        options={"missing_string": None},
    )
    # Else a ColumnTransformer's columns would be cast to the type of the first of them.
    if OrdinalFieldEncoder not in _parse.do_not_merge_columns:
        _parse.do_not_merge_columns = (*_parse.do_not_merge_columns, OrdinalFieldEncoder)
    skl2onnx.update_registered_converter(
        DeepFMClassifier,
        "SklearnDeepFMClassifier",
        _shapes_of_classifier,
        _convert_classifier,
        options=options,
    )
    skl2onnx.update_registered_converter(
        DeepFMRegressor,
        "SklearnDeepFMRegressor",
        _shape_of_regressor,
        _convert_regressor,
        options={"missing_string": None},
    )


def _shapes_of_classifier(operator: Any) -> None:
    target, (label, proba) = operator.raw_operator._target, operator.outputs
    n_classes = len(target.classes)
    if isinstance(target, MultiLabelTarget):
        label.type = Int64TensorType([None, n_classes])
    else:
        label.type = _type_of_labels(target.classes)([None])
    proba.type = FloatTensorType([None, n_classes])


def _type_of_labels(classes: np.ndarray) -> Any:
    kind = classes.dtype.kind
    if kind in "UO" and all(isinstance(label, str) for label in classes):
        return StringTensorType
    types = {"i": Int64TensorType, "u": Int64TensorType, "b": BooleanTensorType}
    types["f"] = DoubleTensorType
    if kind not in types or (kind == "u" and classes.max() > np.iinfo(np.int64).max):
        raise ValueError(
            f"The classes must be strings, numbers that fit int64 or float64, or booleans in an "
            f"ONNX file, got {classes.tolist()!r}. Convert y before the fit."
        )
    return types[kind]


def _shape_of_regressor(operator: Any) -> None:
    n_outputs = operator.raw_operator._target.n_outputs
    operator.outputs[0].type = DoubleTensorType([None, n_outputs])


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph, target = Graph(scope, container), operator.raw_operator._target
    logits = _logits(graph, operator, container)
    label, proba = operator.outputs
    if isinstance(target, MultiLabelTarget):
        graph.assign(proba, graph("Sigmoid", logits))
        is_label = graph("Greater", logits, np.zeros(1, np.float32))
        graph.assign(label, graph("Cast", is_label, to=INT64))
        return
    if target.n_outputs == 1:
        # The sigmoid of -logit, as in predict_proba: 1 - p would lose the digits of a small one.
        both = graph("Concat", graph("Neg", logits), logits, axis=1)
        graph.assign(proba, graph("Sigmoid", both))  # equation 1
        # A logit of 0 is the first class, as in predict.
        number = graph("Cast", graph("Greater", logits, np.zeros(1, np.float32)), to=INT64)
        number = graph("Reshape", number, np.array([-1]))
    else:
        graph.assign(proba, graph("Softmax", logits, axis=1))
        number = graph("ArgMax", logits, axis=1, keepdims=0)
    classes = target.classes
    type_ = element_type(label.type)
    classes = classes.astype(np.float64) if type_ == DOUBLE else classes
    classes = classes.astype(np.int64) if type_ in (INT64, BOOL) else classes
    found = graph("Gather", classes, number)
    graph.assign(label, graph("Cast", found, to=BOOL) if type_ == BOOL else found)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Logits to numbers in float64, as in `predict`: float32 would round a large mean."""
    graph, target = Graph(scope, container), operator.raw_operator._target
    logits = graph("Cast", _logits(graph, operator, container), to=DOUBLE)
    scale, mean = (
        np.reshape(part, (1, -1)).astype(np.float64) for part in (target.scale, target.mean)
    )
    graph.assign(operator.outputs[0], graph("Add", graph("Mul", logits, scale), mean))


def _logits(graph: Graph, operator: Any, container: Any) -> str:
    model, inputs = operator.raw_operator, operator.inputs
    check_is_fitted(model)
    table = model.module_.table.detach().cpu().numpy()
    if table.nbytes > MOST_BYTES:
        raise ValueError(
            f"The table of embeddings takes {table.nbytes / 2**30:.1f} GiB, and an ONNX file holds "
            f"2 GiB. Fit with fewer categories (min_frequency or max_categories of the encoder) "
            f"or a smaller embed_dim."
        )
    missing = container.get_options(model, {"missing_string": MISSING_STRING})["missing_string"]
    nodes = FieldNodes(graph, model._fields, table, missing)
    is_matrix = len(inputs) == 1 and width_of(inputs[0]) == len(model._fields)
    if is_matrix and element_type(inputs[0].type) == INT64 and model._fields.lookups is not None:
        rows = nodes.rows_of_matrix(inputs[0].full_name)
    else:
        rows = nodes.rows(columns_of(graph, inputs))
    return logits_of(graph, model.module_, rows)
