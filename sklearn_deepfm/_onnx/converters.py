"""Converters of the estimators and the encoder, which are registered with skl2onnx."""

from __future__ import annotations

import skl2onnx
from skl2onnx import _parse
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Operator, Scope
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
    INT64,
    Graph,
    columns_of,
    element_type,
    width_of,
)
from sklearn_deepfm._onnx.network import logits_of
from sklearn_deepfm._onnx.targets import add_outputs, declare_outputs

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
        _declare_outputs,
        _convert_estimator,
        options=options,
    )
    skl2onnx.update_registered_converter(
        DeepFMRegressor,
        "SklearnDeepFMRegressor",
        _declare_outputs,
        _convert_estimator,
        options={"missing_string": None},
    )


def _declare_outputs(operator: Operator) -> None:
    declare_outputs(operator.raw_operator._target, operator.outputs)


def _convert_estimator(
    scope: Scope, operator: Operator, container: ModelComponentContainer
) -> None:
    graph = Graph(scope, container)
    logits = _logits(graph, operator, container)
    add_outputs(operator.raw_operator._target, graph, logits, operator.outputs)


def _logits(graph: Graph, operator: Operator, container: ModelComponentContainer) -> str:
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
