"""State of training: each thing that a step or an epoch changes in a net, in one list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from skorch import NeuralNet
from skorch.history import History
from torch import Tensor

from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._training.best_epoch import Epoch
from sklearn_deepfm._training.weight_average import make_weight_average
from sklearn_deepfm._training.weight_snapshot import from_any_buffer, to_numpy, to_torch

Net: TypeAlias = NeuralNet  # a BaseNet, which imports this file


class Part(NamedTuple):
    """One thing that training changes: how it becomes plain data, and how it is set to that."""

    to_plain: Callable[[Net], PlainData]
    load: Callable[[Net, PlainData], None]


def _history(net: Net) -> list[Epoch]:
    return [{name: v for name, v in epoch.items() if name != "batches"} for epoch in net.history_]


def _load_history(net: Net, epochs: list[Epoch]) -> None:
    net.history_ = History({**epoch, "batches": []} for epoch in epochs)


def _weights(net: Net) -> dict[str, PlainData]:
    return {name: to_numpy(tensor) for name, tensor in net.module_.state_dict().items()}


def _load_weights(net: Net, arrays: dict[str, PlainData]) -> None:
    net.module_.load_state_dict({name: from_any_buffer(a) for name, a in arrays.items()})


def _is_trained(net: Net) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in net.module_.named_parameters()}


def _load_is_trained(net: Net, flags: dict[str, bool]) -> None:
    for name, parameter in net.module_.named_parameters():
        parameter.requires_grad_(flags[name])


def _order(net: Net) -> np.ndarray:
    state: np.ndarray = to_numpy(net.order_.get_state())
    return state


def _load_order(net: Net, array: np.ndarray) -> None:
    net.order_.set_state(from_any_buffer(array))


def _moments(net: Net) -> dict[str, PlainData]:
    """Moments of the optimizer, by the number of the parameter."""
    return {
        str(number): {name: to_numpy(value) for name, value in values.items()}
        for number, values in net.optimizer_.state_dict()["state"].items()
    }


def _load_moments(net: Net, moments: dict[str, PlainData]) -> None:
    state = {
        int(number): {name: to_torch(value) for name, value in values.items()}
        for number, values in moments.items()
    }
    groups = net.optimizer_.state_dict()["param_groups"]
    net.optimizer_.load_state_dict({"state": state, "param_groups": groups})


def _rates(net: Net) -> list[float]:
    return [group["lr"] for group in net.optimizer_.param_groups]


def _load_rates(net: Net, rates: list[float]) -> None:
    for group, lr in zip(net.optimizer_.param_groups, rates, strict=True):
        expect(type(lr) in (int, float) and 0 <= lr < math.inf, "lr")
        group["lr"] = lr


def _average(net: Net) -> PlainData:
    return None if net.average is None else net.average.to_plain()


def _load_average(net: Net, average: PlainData) -> None:
    if average is not None:
        # A net has none yet at its first epoch, and would begin an empty one.
        net.step_.average = make_weight_average(net.module_, net.ema_epochs, net.n_batches)
        net.step_.average.load_plain(average)


# In the order of loading. What training is to change and must not forget is added here, and
# nowhere else: pickles, files and checkpoints go by this list. The undo of a failed call takes the
# generators from it, and `tensors_of_step`.
PARTS = {
    "history": Part(_history, _load_history),
    "module": Part(_weights, _load_weights),
    "is_trained": Part(_is_trained, _load_is_trained),
    "dropout": Part(
        lambda net: net.module_.random_state(),
        lambda net, state: net.module_.set_random_state(state),
    ),
    "order": Part(_order, _load_order),
    "optimizer": Part(_moments, _load_moments),
    "lr": Part(_rates, _load_rates),
    "average": Part(_average, _load_average),
}
OF_A_MODEL = "history", "module", "order"  # what a trained net keeps
GENERATORS = "dropout", "order"
TO_GO_ON = *OF_A_MODEL, "dropout", "optimizer"  # what a net keeps that is trained further


def to_plain(net: Net, names: Iterable[str] = tuple(PARTS)) -> dict[str, PlainData]:
    """Parts of the state of training as numbers and arrays, which share memory with the net."""
    return {name: PARTS[name].to_plain(net) for name in names}


def load_plain(net: Net, plain: Mapping[str, PlainData]) -> None:
    """Set a net, whose module and optimizer are built, to what `to_plain` has returned.

    Raises
    ------
    Damaged, ValueError
        If the state is not one of such a net.
    """
    for name, part in PARTS.items():
        if name in plain:
            part.load(net, plain[name])


def tensors_of_step(
    module: DeepFM, moments: Mapping[Tensor, Mapping[str, Tensor]], table: Tensor
) -> dict[str, Tensor]:
    """The tensors that a step writes in place: weights, statistics and moments, by name.

    Parameters
    ----------
    module : DeepFM
    moments : mapping of Parameter to dict
        State of the optimizer.
    table : Parameter
        The one whose moments, of which a step may touch some rows alone, have names that begin
        with "table.".
    """
    tensors: dict[str, Tensor] = dict(module.state_dict())
    for number, (parameter, values) in enumerate(moments.items()):
        prefix = "table" if parameter is table else number
        tensors |= {f"{prefix}.{name}": value for name, value in values.items()}
    return tensors
