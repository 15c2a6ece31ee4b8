"""SimpleImputer as nodes of an ONNX graph: skl2onnx has it in float32 alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from skl2onnx.common.data_types import DoubleTensorType

from sklearn_deepfm._onnx_graph import Graph


def shape_of_imputer(operator: Any) -> None:
    """The columns of which fit saw any number."""
    operator.outputs[0].type = DoubleTensorType([None, len(_kept(operator.raw_operator))])


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
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


def _kept(imputer: Any) -> np.ndarray:
    return np.flatnonzero(~pd.isna(imputer.statistics_))
