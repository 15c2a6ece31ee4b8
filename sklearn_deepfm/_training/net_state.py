"""A trained net as plain data: sizes, settings, weights, history, moments, generators."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._model.components import COMPONENTS, Sizes, in_order, table_columns
from sklearn_deepfm._model.torch_modes import own_modes
from sklearn_deepfm._serialization.plain_values import Damaged, PlainData, expect, expect_finite
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.losses import LOSSES
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.state import OF_A_MODEL, TO_GO_ON

SETTINGS = (
    "embedding_l2",
    "linear_l2",
    "weight_decay",
    "table_optimizer",
    "ema_epochs",
    "precision",
    "initial_bias",
    "seed",
    "keep_optimizer",
    "lr",
    "max_epochs",
    "batch_size",
    "device",
)
_IN_FILES = {"module": "weights"}  # names of parts in files, where they are others


def net_to_plain(net: DeepFMNet) -> dict[str, PlainData]:
    """State of a net, without what follows from the fields and the target of its estimator."""
    state = net.__getstate__()
    trained = state["trained"]
    return {
        "module": _without_prefix(state, "module__"),
        "settings": {name: state[name] for name in SETTINGS},
        **{_IN_FILES.get(name, name): part for name, part in trained.items()},
        "interrupted": state["interrupted_"],
        "diverged": state["diverged_"],
    }


@own_modes()
def net_of_plain(
    plain: PlainData, net_class: type[DeepFMNet], fields: Fields, target: Target
) -> DeepFMNet:
    """The net of an estimator whose fields and target are known.

    Raises
    ------
    Damaged
        If the state does not fit such a net.
    """
    try:
        module = plain["module"]
        expect(isinstance(plain["settings"]["device"], str), "device")
        torch.device(plain["settings"]["device"])  # raises an error for a name that is none
        check_weights(plain["weights"])
        check_history(plain["history"])
        _check_sizes(module, plain["weights"], fields, target)
        net = net_class(
            criterion=LOSSES[target.loss],
            callbacks=[],
            frequencies=fields.frequencies,
            **{f"module__{name}": value for name, value in module.items()},
            **{name: plain["settings"][name] for name in SETTINGS},
        )
        net.__setstate__({**vars(net), **_trained_state(plain, net)})
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise Damaged(f"the network cannot be built: {error}") from error
    return net


def check_weights(weights: dict[str, np.ndarray]) -> None:
    """Raise Damaged for weights, or statistics of BatchNorm, that would predict NaN."""
    for name, array in weights.items():
        is_variance = name.endswith("running_var")
        expect(isinstance(array, np.ndarray), name)
        expect_finite(array, name, array.shape, least=0 if is_variance else -np.inf)


def check_history(history: PlainData) -> None:
    """Raise Damaged unless each entry has the number of its epoch, and a training loss."""
    expect(isinstance(history, list), "history")
    for number, epoch in enumerate(history, 1):
        expect(isinstance(epoch, dict) and epoch.get("epoch") == number, "history")
        expect(isinstance(epoch.get("train_loss"), float), "history")


def _check_sizes(
    module: dict[str, PlainData], weights: dict[str, np.ndarray], fields: Fields, target: Target
) -> None:
    """Compare the sizes with those of the weights, before a network of them takes memory."""
    for name in ("n_fields", "n_features", "n_outputs", "n_members", "embed_dim"):
        expect(type(module[name]) is int and module[name] > 0, name)
    expect(module["n_fields"] == len(fields), "n_fields")
    expect(module["n_features"] == fields.dims.sum(), "n_features")
    expect(module["n_outputs"] == target.n_outputs, "n_outputs")
    expect(module["slopes"] == fields.slopes, "slopes")
    components = in_order(module["components"])
    sizes = Sizes(*(module[name] for name in Sizes._fields))
    width = sum(table_columns(components, sizes.n_outputs, sizes.embed_dim, sizes.n_members))
    expect(weights["bias"].shape == (sizes.n_members * sizes.n_outputs,), "n_members")
    expect(weights["table"].shape == (module["n_features"], width), "embed_dim")
    left = Counter(w.shape for name, w in weights.items() if w.ndim == 2 and name != "table")
    for name in components:
        # One by one: of sizes from a damaged file there may be more than memory holds.
        for shape in COMPONENTS[name].matrices(sizes):
            expect(left[shape] > 0, "mlp_dims")
            left[shape] -= 1
    expect(left.total() == 0, "mlp_dims")


def _trained_state(plain: dict[str, PlainData], net: DeepFMNet) -> dict[str, PlainData]:
    """Entries of the pickle of a trained net besides its parameters."""
    names = TO_GO_ON if net.keep_optimizer else OF_A_MODEL
    return {
        "trained": {name: plain[_IN_FILES.get(name, name)] for name in names},
        "interrupted_": plain["interrupted"],
        "diverged_": plain["diverged"],
    }


def _without_prefix(state: dict[str, PlainData], prefix: str) -> dict[str, PlainData]:
    return {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
