"""A trained DeepFM as nodes of an ONNX graph: from embeddings to logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from sklearn_deepfm._model.components import COMPONENTS, has_part
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._onnx.graph import Graph


def logits_of(graph: Graph, module: DeepFM, rows: str) -> str:
    """Mean of the members' logits.

    Parameters
    ----------
    graph : Graph
    module : DeepFM
    rows : str
        First-order weights and embeddings of the fields, (n, n_fields, width).

    Returns
    -------
    logits : str
        Of shape (n, n_outputs), float32.
    """
    if module.n_members == 1:
        return _member_logits(graph, module, 0, rows)
    logits = []
    for member, columns in enumerate(module.columns_of_members()):
        own = graph("Gather", rows, columns.cpu().numpy(), axis=2)
        logits.append(_member_logits(graph, module, member, own))
    return graph("Mean", *logits)


def _member_logits(graph: Graph, module: DeepFM, member: int, rows: str) -> str:
    """Logits of one member by equations 1 to 4 of the paper, as in `DeepFM.member_logits`."""
    first, embedding = _parts(graph, module, rows)
    parts = {"first": first, "embedding": embedding}
    terms = [
        COMPONENT_NODES[name](graph, module, member, parts[COMPONENTS[name].part])
        for name in module.components
    ]
    # Paper: no global bias in equation 2, and a sigmoid inside of y_DNN, which is dropped here.
    bias = module.bias.detach().cpu().numpy().reshape(module.n_members, -1)[member]
    logits = graph("Add", terms[0], bias[np.newaxis])
    for term in terms[1:]:
        logits = graph("Add", logits, term)  # y_FM + y_DNN (equation 1)
    return logits


def _parts(graph: Graph, module: DeepFM, rows: str) -> tuple[str, str]:
    """First-order weights and embeddings of one member's rows; "" where a row has none."""
    n_first = module.n_first // module.n_members
    ends = np.array([0]), np.array([n_first]), np.array([np.iinfo(np.int64).max])
    first = graph("Slice", rows, ends[0], ends[1], np.array([2])) if n_first else ""
    if not has_part(module.components, "embedding"):
        return first, ""
    return first, graph("Slice", rows, ends[1], ends[2], np.array([2])) if n_first else rows


def _first_order(graph: Graph, module: DeepFM, member: int, first: str) -> str:
    """Sum of w_i over the fields (equation 2)."""
    return graph("ReduceSum", first, np.array([1]), keepdims=0)


def _second_order(graph: Graph, module: DeepFM, member: int, embedding: str) -> str:
    """Sum of <v_i, v_j> over i < j (equation 2): half of (sum of v)^2 - sum of v^2."""
    total = graph("ReduceSum", embedding, np.array([1]), keepdims=0)
    own_squares = graph("ReduceSum", graph("Mul", embedding, embedding), np.array([1]), keepdims=0)
    squares = graph("Sub", graph("Mul", total, total), own_squares)
    n_outputs = module.n_outputs
    if n_outputs == 1:
        half = np.full((1, 1), 0.5, np.float32)
        return graph("Mul", graph("ReduceSum", squares, np.array([1]), keepdims=1), half)
    # Paper: one output. Several share v, and each weighs its coordinates.
    scale = module.fm_scale.detach().cpu().numpy().reshape(module.n_members, n_outputs, -1)
    return graph("MatMul", squares, 0.5 * scale[member].T)


def _deep(graph: Graph, module: DeepFM, member: int, embedding: str) -> str:
    """Logits of an MLP, with each BatchNorm folded into the layer before it (equation 4)."""
    weights = [_folded(layer, behind) for layer, behind in _linear_layers(module.mlps[member])]
    hidden = graph("Reshape", embedding, np.array([-1, weights[0][0].shape[1]]))  # equation 3
    for weight, bias in weights[:-1]:
        hidden = graph("Relu", graph("Gemm", hidden, weight, bias, transB=1))
    return graph("MatMul", hidden, weights[-1][0].T)  # without a bias: the global one serves


# Nodes of a component's logits for one member, by the names of `COMPONENTS`: from the part of the
# rows that it needs, first-order weights or embeddings, (n, n_fields, width) to (n, n_outputs).
COMPONENT_NODES: dict[str, Callable[[Graph, DeepFM, int, str], str]] = {
    "linear": _first_order,
    "fm": _second_order,
    "deep": _deep,
}


def _linear_layers(mlp: nn.Module) -> list[tuple[nn.Linear, nn.Module | None]]:
    """Each linear layer with the module behind it, None behind the last one."""
    layers = list(mlp.children())
    return [
        (layer, layers[i + 1] if i + 1 < len(layers) else None)
        for i, layer in enumerate(layers)
        if isinstance(layer, nn.Linear)
    ]


def _folded(layer: nn.Linear, behind: nn.Module | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer with the BatchNorm behind it folded in."""
    # In float64, so that the folded weights are rounded once.
    weight = layer.weight.detach().cpu().double().numpy()
    bias = np.zeros(1) if layer.bias is None else layer.bias.detach().cpu().double().numpy()
    if isinstance(behind, nn.BatchNorm1d):
        gain, shift, mean, variance = (
            tensor.detach().cpu().double().numpy()  # type: ignore[union-attr]
            for tensor in (behind.weight, behind.bias, behind.running_mean, behind.running_var)
        )
        factor = gain / np.sqrt(variance + behind.eps)
        weight, bias = weight * factor[:, np.newaxis], (bias - mean) * factor + shift
    return weight.astype(np.float32), bias.astype(np.float32)
