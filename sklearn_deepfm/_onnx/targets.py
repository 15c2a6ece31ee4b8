"""The targets of an estimator as nodes of an ONNX graph: from logits to labels and numbers."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from skl2onnx.common._topology import Variable
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)

from sklearn_deepfm._onnx.graph import BOOL, DOUBLE, INT64, Graph, element_type
from sklearn_deepfm._targets.classification import ClassTarget, MultiLabelTarget
from sklearn_deepfm._targets.regression import RegressionTarget
from sklearn_deepfm._targets.target import Target


@singledispatch
def declare_outputs(target: Target, outputs: list[Variable]) -> None:
    """Set the types of an estimator's outputs: labels and probabilities, or numbers.

    Parameters
    ----------
    target : ClassTarget, MultiLabelTarget or RegressionTarget
    outputs : list of Variable
    """
    raise NotImplementedError(f"a target of type {type(target).__name__}")


@singledispatch
def add_outputs(target: Target, graph: Graph, logits: str, outputs: list[Variable]) -> None:
    """Add the nodes that make an estimator's outputs of its logits.

    Parameters
    ----------
    target : ClassTarget, MultiLabelTarget or RegressionTarget
    graph : Graph
    logits : str
        Of shape (n, n_outputs), float32.
    outputs : list of Variable
        As `declare_outputs` takes them.
    """
    raise NotImplementedError(f"a target of type {type(target).__name__}")


@declare_outputs.register
def _(target: ClassTarget, outputs: list[Variable]) -> None:
    label, proba = outputs
    label.type = _type_of_labels(target.classes)([None])
    proba.type = FloatTensorType([None, len(target.classes)])


@add_outputs.register
def _(target: ClassTarget, graph: Graph, logits: str, outputs: list[Variable]) -> None:
    label, proba = outputs
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


def _type_of_labels(
    classes: np.ndarray,
) -> type[StringTensorType | Int64TensorType | BooleanTensorType | DoubleTensorType]:
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


@declare_outputs.register
def _(target: MultiLabelTarget, outputs: list[Variable]) -> None:
    label, proba = outputs
    label.type = Int64TensorType([None, target.n_outputs])
    proba.type = FloatTensorType([None, target.n_outputs])


@add_outputs.register
def _(target: MultiLabelTarget, graph: Graph, logits: str, outputs: list[Variable]) -> None:
    label, proba = outputs
    graph.assign(proba, graph("Sigmoid", logits))
    is_label = graph("Greater", logits, np.zeros(1, np.float32))
    graph.assign(label, graph("Cast", is_label, to=INT64))


@declare_outputs.register
def _(target: RegressionTarget, outputs: list[Variable]) -> None:
    outputs[0].type = DoubleTensorType([None, target.n_outputs])


@add_outputs.register
def _(target: RegressionTarget, graph: Graph, logits: str, outputs: list[Variable]) -> None:
    # In float64, as in `predict`: float32 would round a large mean.
    numbers = graph("Cast", logits, to=DOUBLE)
    scale, mean = (
        np.reshape(part, (1, -1)).astype(np.float64) for part in (target.scale, target.mean)
    )
    graph.assign(outputs[0], graph("Add", graph("Mul", numbers, scale), mean))
