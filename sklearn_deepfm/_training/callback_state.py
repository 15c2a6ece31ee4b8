"""State of callbacks in a checkpoint: what they have set on themselves, as plain data."""

from __future__ import annotations

import inspect
from numbers import Real

from skorch import NeuralNet
from skorch.callbacks import Callback

from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._training.weight_snapshot import WeightSnapshot, to_numpy, to_torch

_OF_AN_EPOCH = "y_trues_", "y_preds_"  # targets and predictions that EpochScoring gathers


def callback_state(callback: Callback, net: NeuralNet) -> dict[str, object]:
    """Attributes that a callback has set on itself, without its parameters.

    Parameters, classes and functions come back with the callback when the program runs again.
    """
    learned = set(vars(callback)) - set(inspect.signature(type(callback)).parameters)
    state: dict[str, object] = {}
    for attribute in sorted(learned - set(_OF_AN_EPOCH)):
        value = getattr(callback, attribute)
        if isinstance(value, type):
            continue
        if isinstance(value, WeightSnapshot):
            tensors = value.tensors(net.module_.state_dict())
            state[attribute] = {"weights": {n: to_numpy(tensor) for n, tensor in tensors.items()}}
        elif hasattr(value, "load_state_dict"):
            state[attribute] = {"state": dict(value.state_dict())}
        elif not callable(value):
            state[attribute] = {"value": value}
    return state


def load_callback(callback: Callback, state: dict[str, PlainData], net: NeuralNet) -> None:
    """Give a callback the attributes that `callback_state` has returned.

    Raises
    ------
    Damaged
        If weights are of another network, or an attribute is of another kind than the one that
        the callback has when training begins.
    """
    for attribute, kept in state.items():
        if "weights" in kept:
            weights = {name: to_torch(array) for name, array in kept["weights"].items()}
            # Checked here: the weights are copied into the net only when training ends.
            shapes = {name: tensor.shape for name, tensor in weights.items()}
            own = {name: tensor.shape for name, tensor in net.module_.state_dict().items()}
            expect(shapes == own, attribute)
            setattr(callback, attribute, WeightSnapshot(weights))
        elif "state" in kept:
            scheduler = getattr(callback, attribute)
            begun = dict(scheduler.state_dict())
            expect(_is_like(kept["state"], begun), attribute)
            scheduler.load_state_dict(kept["state"])
        else:
            _check_value(callback, attribute, kept["value"])
            setattr(callback, attribute, kept["value"])


def _check_value(callback: Callback, attribute: str, value: object) -> None:
    """Compare a value with the one at the beginning; users' callbacks may change its kind."""
    room = type(callback).__module__.partition(".")[0]
    if room not in ("skorch", "sklearn_deepfm") or not hasattr(callback, attribute):
        return
    begun = getattr(callback, attribute)
    if begun is None or isinstance(begun, WeightSnapshot):  # what is none or weights
        expect(room == "skorch" or value is None, attribute)
    elif not isinstance(begun, list | dict):  # these may have grown
        expect(_is_like(value, begun), attribute)


def _is_like(value: object, begun: object) -> bool:
    """Whether a value is of the kind of another one, as are its members."""
    if isinstance(begun, bool | str):
        return type(value) is type(begun)
    if isinstance(begun, Real):
        return isinstance(value, Real) and not isinstance(value, bool)
    if isinstance(begun, dict):
        if not isinstance(value, dict) or set(value) != set(begun):
            return False
        return all(_is_like(value[key], begun[key]) for key in begun)
    if isinstance(begun, list):
        if not isinstance(value, list) or len(value) != len(begun):
            return False
        return all(map(_is_like, value, begun))
    return True
