"""A call that fails leaves a fitted model as it was: weights, moments, fields, statistics."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
)
from sklearn_deepfm._training import base_net, rollback
from sklearn_deepfm._training.net import DeepFMNet

PARAMS = {"random_state": 0, "batch_size": 4, "embed_dim": 3, "mlp_dims": (4,), "max_epochs": 2}
VARIANTS = {
    "dense": {"sparse_updates": False},
    "sparse": {"sparse_updates": True},
    "adagrad": {"table_optimizer": "adagrad"},
    "members": {"n_members": 2, "early_stopping": True, "sparse_updates": True},
    "last weights": {"ema_epochs": 0, "early_stopping": True},
    "frozen": {"pretrained": {"code": np.ones((30, 3))}, "frozen": ["code"]},
}
WAYS = "partial_fit", "warm_start"


def table(n_rows, seed, first_code=0):
    """Codes, numbers and lists, with codes and missing cells of their own from `first_code` on."""
    rng = np.random.default_rng(seed)
    codes = first_code + rng.integers(0, 30, n_rows)
    X = pd.DataFrame({"code": codes, "x": rng.normal(size=n_rows)})
    X["tags"] = [[int(code) % 7, int(code)] for code in codes]
    if first_code:
        X.loc[:3, "x"] = np.nan
    return X, (codes + rng.integers(0, 15, n_rows) > 22 + first_code).astype(int)


FIRST = table(120, 0)
PARTS = {"known codes": table(12, 1), "new codes": table(40, 1, first_code=10)}


def begun(way, **params):
    """A model that has learned, and what goes on with it."""
    params = {**PARAMS, "class_weight": "balanced", **params}
    model = DeepFMClassifier(warm_start=way == "warm_start", **params)
    if way == "partial_fit":
        return model.partial_fit(*FIRST, classes=[0, 1])
    return model.fit(*FIRST)


def go_on(model, part):
    return model.fit(*part) if model.warm_start else model.partial_fit(*part)


def content(model):
    """All that a pickle holds but parameters, what training goes on with among it, by name."""
    state = pickle.loads(pickle.dumps(model)).__getstate__()
    found = {}

    def add(name, value):
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                add(f"{name}.{key}", item)
        elif not name.endswith(".dur"):  # seconds
            array = np.asarray(value)
            found[name] = (array.dtype.str, array.shape, array.tolist())

    add("learned", state["learned"])
    add("names", list(getattr(model, "feature_names_in_", ())))
    return found


def assert_same(model, other):
    expected = content(other)
    assert {n for n, value in content(model).items() if value != expected.get(n)} == set()
    assert content(model).keys() == expected.keys()


class Steps:
    """Stands in for a training step that fails the third time."""

    def __init__(self, error):
        self.error, self.n, self.step = error, 0, DeepFMNet.train_step

    def __get__(self, net, owner):
        def step(batch, **kwargs):
            self.n += 1
            if self.n == 3:
                raise self.error
            return self.step(net, batch, **kwargs)

        return step


def grows_badly(error):
    def resize_rows(*args):
        raise error

    return resize_rows


NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")
FAILURES = {
    "divergence": (ValueError, "The training loss became .* The model is as it was before this"),
    "memory": (MemoryError, "is not enough.* The model is as it was before this call"),
    "a step": (RuntimeError, "something else"),
    "growth": (MemoryError, "is not enough.* A network that goes on keeps its size: fit a clone"),
    "Ctrl-C amid growth": (KeyboardInterrupt, "pressed"),
}


@pytest.fixture
def fail(monkeypatch):
    """Let a model go on with a part and fail."""

    def fail(failure, model, part):
        error, message = FAILURES[failure]
        params, net = model.get_params(), DeepFMNet
        with monkeypatch.context() as patch:
            if failure == "divergence":
                model.set_params(learning_rate=1e30)
            elif failure == "memory":
                patch.setattr(net, "train_step", Steps(NO_MEMORY))
            elif failure == "a step":
                patch.setattr(net, "train_step", Steps(RuntimeError("something else")))
            else:
                raised = NO_MEMORY if failure == "growth" else KeyboardInterrupt("pressed")
                patch.setattr(base_net, "resize_rows", grows_badly(raised))
            with pytest.raises(error, match=message):
                go_on(model, part)
        model.set_params(**params)

    return fail


CASES = [(variant, "divergence") for variant in VARIANTS]
CASES += [(variant, failure) for variant in ("dense", "sparse") for failure in [*FAILURES][1:]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("variant", "failure"), CASES)
def test_failed_call_leaves_the_model_as_if_it_had_not_been(variant, way, failure, fail):
    model = begun(way, **VARIANTS[variant])
    twin = pickle.loads(pickle.dumps(model))
    if "growth" not in failure:
        fail(failure, model, PARTS["known codes"])
        assert_same(model, twin)
    fail(failure, model, PARTS["new codes"])
    assert_same(model, twin)
    for part in PARTS.values():
        assert_same(go_on(model, part), go_on(twin, part))


@pytest.mark.parametrize("failure", ["divergence", "memory"])
@pytest.mark.parametrize("variant", ["dense", "sparse"])
def test_what_is_put_back_of_a_large_table_comes_from_disk(variant, failure, fail, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._training.weight_snapshot.LARGE", 100)
    monkeypatch.setattr("sklearn_deepfm._training.weight_snapshot.N_AT_ONCE", 64)
    model = begun("warm_start", **VARIANTS[variant])
    twin = pickle.loads(pickle.dumps(model))
    for part in PARTS.values():
        fail(failure, model, part)
        assert_same(model, twin)


@pytest.mark.parametrize("failure", ["divergence", "memory"])
def test_fitted_model_that_goes_on_for_the_first_time(failure, fail):
    """A fit without warm_start has left no moments, and none are left by the call."""
    model = DeepFMRegressor(**PARAMS).fit(*FIRST)
    twin = pickle.loads(pickle.dumps(model))
    fail(failure, model, PARTS["new codes"])
    assert_same(model, twin)
    assert not model.net_.optimizer_.state


def test_few_rows_for_a_large_table_copy_few(monkeypatch):
    """Whatever the table, as much as the call itself touches."""
    copied = []

    class Spy(rollback.WeightSnapshot):
        def __init__(self, *args):
            super().__init__(*args)
            copied.append(sum(copy.numel() for copy in self._copies.values()))

    X = np.arange(20_000).reshape(-1, 2)
    model = DeepFMRegressor(sparse_updates=True, **{**PARAMS, "batch_size": 500, "max_epochs": 1})
    model.set_params(categorical_features=[0, 1])
    model.fit(X, X[:, 0]).set_params(batch_size=4)
    model.partial_fit(X[:8], X[:8, 0])  # which makes the moments
    monkeypatch.setattr("sklearn_deepfm._training.rollback.WeightSnapshot", Spy)
    model.partial_fit(X[:8], X[:8, 0])
    model.partial_fit(X[:8] + 10**6, X[:8, 0])
    assert len(copied) == 2
    assert max(copied) < 1000 < len(model.module_.table) / 10


# What raises is the user's


class Breaks(Callback):
    """Raise an error when told of something, at the earliest in the second epoch of all."""

    def __init__(self, event):
        self.event = event

    def raise_at(self, event, net):
        if event == self.event and len(net.history) > 1:
            raise LookupError(f"broken at {event}")

    def on_train_begin(self, net, *args, **kwargs):
        if self.event == "train begin":
            raise LookupError("broken at train begin")

    def on_epoch_begin(self, net, *args, **kwargs):
        self.raise_at("epoch begin", net)

    def on_batch_end(self, net, *args, training, **kwargs):
        self.raise_at("batch end", net)

    def on_epoch_end(self, net, *args, **kwargs):
        self.raise_at("epoch end", net)

    def on_train_end(self, net, *args, **kwargs):
        self.raise_at("train end", net)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("event", ["train begin", "epoch begin"])
def test_callback_that_breaks_before_a_step_leaves_the_model_as_it_was(way, event):
    model = begun(way, max_epochs=1)
    twin = pickle.loads(pickle.dumps(model))
    with pytest.raises(LookupError, match=f"broken at {event}"):
        go_on(model.set_params(callbacks=[Breaks(event)]), PARTS["new codes"])
    assert_same(model, twin)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("event", ["batch end", "epoch end", "train end"])
@pytest.mark.parametrize("variant", ["dense", "sparse"])
def test_callback_that_breaks_after_a_step_leaves_what_was_learned(variant, way, event, fail):
    model = begun(way, **VARIANTS[variant], max_epochs=1)
    dims, bias = model.field_dims_, model.module_.bias.clone()
    part = PARTS["new codes"]
    with pytest.raises(LookupError, match=f"broken at {event}"):
        go_on(model.set_params(callbacks=[Breaks(event)]), part)
    assert (model.field_dims_ > dims).all()
    assert not torch.equal(model.module_.bias, bias)
    assert model.n_iter_ == (1 if event == "batch end" else 2)
    twin = pickle.loads(pickle.dumps(model.set_params(callbacks=None)))
    np.testing.assert_array_equal(twin.predict_proba(part[0]), model.predict_proba(part[0]))
    fail("Ctrl-C amid growth", model, table(12, 1, first_code=20))  # an error of its own
    assert_same(model, twin)
    assert_same(go_on(model, part), go_on(twin, part))


class Killed(BaseException):
    """Such as a time limit raises it, wherever training is."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [Killed, MemoryError])
@pytest.mark.parametrize("variant", ["dense", "sparse"])
def test_callback_that_is_killed_or_lacks_memory_leaves_the_model_as_it_was(variant, error, way):
    class Dies(Callback):
        def on_batch_end(self, net, *args, **kwargs):
            if len(net.history[-1]["batches"]) == 3:
                raise error

    model = begun(way, **VARIANTS[variant])
    twin = pickle.loads(pickle.dumps(model))
    with pytest.raises(error):
        go_on(model.set_params(callbacks=[Dies()]), PARTS["new codes"])
    assert_same(model.set_params(callbacks=None), twin)
    assert not model.module_.training
    assert model.module_._distinct._scratch is None


def test_scorer_that_breaks_leaves_the_model_as_it_was():
    def scorer(estimator, X, y, sample_weight=None):
        raise LookupError("broken scorer")

    model = begun("warm_start", early_stopping=True)
    twin = pickle.loads(pickle.dumps(model))
    with pytest.raises(LookupError, match="broken scorer"):
        go_on(model.set_params(scoring=scorer), PARTS["new codes"])
    assert_same(model.set_params(scoring="loss"), twin)
