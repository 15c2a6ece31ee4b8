"""The state of training is all that a step changes, and comes back from plain data."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training.state import PARTS, load_plain, to_plain

VARIANTS = {
    "dense": {"sparse_updates": False},
    "sparse": {"sparse_updates": True},
    "adagrad": {"table_optimizer": "adagrad", "n_members": 2},
    "no average": {"ema_epochs": 0, "batch_norm": False},
}


def tensors_within(thing, seen=None):
    """Every tensor that can be reached from an object by attributes and containers."""
    seen = {} if seen is None else seen
    if id(thing) in seen or isinstance(thing, Samples | DiskBuffer | type):
        return seen
    if torch.is_tensor(thing):
        seen[id(thing)] = thing
        return seen
    seen[id(thing)] = None
    if isinstance(thing, dict):
        children = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set):
        children = list(thing)
    else:
        children = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    for child in children:
        tensors_within(child, seen)
    return seen


def arrays_within(plain):
    if isinstance(plain, np.ndarray):
        yield plain
    elif isinstance(plain, dict | list):
        for part in plain.values() if isinstance(plain, dict) else plain:
            yield from arrays_within(part)


class Compare(Callback):
    """What the fourth step changes among all that the net holds."""

    def on_batch_begin(self, net, training=None, **kwargs):
        if training and net.step_.n_steps == 3:
            self.before = {
                key: (tensor, tensor.detach().clone())
                for key, tensor in tensors_within(net).items()
                if tensor is not None and tensor.grad_fn is None
            }

    def on_batch_end(self, net, training=None, **kwargs):
        if training and net.step_.n_steps == 4:
            self.changed = [
                now for now, then in self.before.values() if not torch.equal(now.detach(), then)
            ]
            self.kept = list(arrays_within(to_plain(net)))
            self.before = {}


def data(rng):
    return rng.integers(0, 30, (300, 3)), rng.integers(0, 2, 300)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_step_changes_is_part_of_the_state(variant, rng):
    found = []

    class Report(Compare):
        def on_train_end(self, net, **kwargs):
            found.append((self.changed, self.kept))

    params = {**VARIANTS[variant], "max_epochs": 1, "batch_size": 32, "early_stopping": False}
    DeepFMClassifier(callbacks=[Report()], random_state=0, **params).fit(*data(rng))
    ((changed, kept),) = found
    assert len(changed) > 5
    for tensor in changed:
        array = tensor.detach().numpy()
        assert any(array.shape == a.shape and np.array_equal(array, a) for a in kept), array.shape


class Keep(Callback):
    def __init__(self, states):
        self.states = states

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            self.states.append(copy.deepcopy(to_plain(net)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_comes_back_from_plain_data(variant, rng):
    X, y = data(rng)
    states = []
    params = {**VARIANTS[variant], "max_epochs": 3, "batch_size": 32, "early_stopping": False}
    DeepFMClassifier(callbacks=[Keep(states)], random_state=0, **params).fit(X, y)
    (state,) = states
    other = DeepFMClassifier(warm_start=True, random_state=1, **{**params, "max_epochs": 1})
    net = other.fit(X, y).net_
    load_plain(net, state)
    again = to_plain(net)
    assert again.keys() == state.keys() == PARTS.keys()
    for one, two in zip(arrays_within(state), arrays_within(again), strict=True):
        assert_array_equal(one, two)
    assert again["lr"] == state["lr"]
    assert again["is_trained"] == state["is_trained"]
    assert len(again["history"]) == len(state["history"]) == 3
