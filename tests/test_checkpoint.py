"""A fit that is killed goes on from its checkpoint, to the very model it would have become."""

import errno
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, _archive

BASE = {"random_state": 0, "max_epochs": 8, "batch_size": 32}
VARIANTS = {
    "default": {},
    "sparse": {"sparse_updates": True},
    "adagrad": {"table_optimizer": "adagrad"},
    "members": {"n_members": 3},
    "no validation": {"early_stopping": False},
    "last weights": {"ema_epochs": 0, "early_stopping": False},
    "no norm": {"batch_norm": False, "ema_epochs": 0},
    "stops": {"learning_rate": 0.1, "n_iter_no_change": 6, "max_epochs": 30},
    "plateau": {"learning_rate": 0.1, "n_iter_no_change": 4, "max_epochs": 15, "ema_epochs": 0},
    "schedule": {"callbacks": [LRScheduler("StepLR", step_size=2)]},
    "scores": {"callbacks": [EpochScoring("roc_auc", name="auc", lower_is_better=False)]},
    "roc_auc": {"scoring": "roc_auc"},
    "no seed": {"random_state": None},
}


class Killed(BaseException):
    """What a process that is killed sees: nothing after it runs, but in this process it must."""


class Kill(Callback):
    """Break off in an epoch, at a batch, if `at` says so."""

    at = None

    def on_batch_end(self, net, *args, **kwargs):
        epoch = net.history[-1]
        if (epoch["epoch"], len(epoch["batches"])) == Kill.at:
            raise Killed


@pytest.fixture
def kill(monkeypatch):
    """Sets where, with checkpoints after each epoch."""
    monkeypatch.setattr("sklearn_deepfm._checkpoint.TIME_BETWEEN", 0)
    return lambda *at: monkeypatch.setattr(Kill, "at", at or None)


def data(n=300):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 20, (n, 3)).astype(float)
    X[:, 2] = rng.normal(size=n)
    return X, (X[:, 0] + rng.normal(scale=5, size=n) > 10).astype(int)


def classifier(path=None, **params):
    return DeepFMClassifier(categorical_features=[0, 1], checkpoint=path, **{**BASE, **params})


def assert_same(model, expected, X):
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.n_iter_ == expected.n_iter_
    assert model.loss_curve_ == expected.loss_curve_
    assert model.validation_scores_ == expected.validation_scores_
    for name, weights in expected.module_.state_dict().items():
        assert torch.equal(model.module_.state_dict()[name], weights)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("at", [(2, 1), (3, 4), (6, 2)], ids=str)
def test_broken_off_fit_ends_as_if_it_had_not_been(variant, at, tmp_path, kill):
    params, (X, y) = dict(VARIANTS[variant]), data()
    params["callbacks"] = [*params.get("callbacks", ()), Kill()]
    path = tmp_path / "fit.checkpoint"
    kill(*at)
    with pytest.raises(Killed):
        classifier(path, **params).fit(X, y)
    kill()
    seeds = _archive.read(path)["random"]
    model = classifier(path, **params).fit(X, y)
    if variant == "no seed":
        params["random_state"] = np.random.RandomState()
        params["random_state"].set_state(seeds)
    assert_same(model, classifier(**params).fit(X, y), X)
    assert list(tmp_path.iterdir()) == []


def test_fit_with_a_checkpoint_is_the_fit_without(tmp_path):
    X, y = data()
    assert_same(classifier(tmp_path / "file").fit(X, y), classifier().fit(X, y), X)
    assert list(tmp_path.iterdir()) == []


def test_regressor_with_lists_and_weights(tmp_path, kill):
    X = pd.DataFrame({"tags": [[k % 5, k % 3] for k in range(300)], "x": np.sqrt(np.arange(300))})
    y, weight = np.arange(300) % 7, np.arange(300) % 5
    model = DeepFMRegressor(callbacks=[Kill()], checkpoint=tmp_path / "file", **BASE)
    kill(4, 1)
    with pytest.raises(Killed):
        model.fit(X, y, weight)
    kill()
    model.fit(X, y, weight)
    expected = DeepFMRegressor(callbacks=[Kill()], **BASE).fit(X, y, weight)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def fit_in_a_process(path, answer):
    torch.set_num_threads(1)
    X, y = data(1500)
    model = classifier(path, max_epochs=40, early_stopping=False, sparse_updates=True)
    answer.with_suffix(".started").touch()
    np.save(answer, model.fit(X, y).predict_proba(X))


def test_process_killed_at_ten_moments_ends_with_the_same_model(tmp_path):
    """SIGKILL: no handler runs, nothing is flushed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sklearn_deepfm"])
    answer = tmp_path / "answer.npy"

    def begin(path):
        answer.with_suffix(".started").unlink(missing_ok=True)
        process = context.Process(target=fit_in_a_process, args=(path, answer))
        process.start()
        while not answer.with_suffix(".started").exists():
            time.sleep(0.005)
        return process

    start, process = time.monotonic(), begin(tmp_path / "whole")
    process.join()
    seconds, expected = time.monotonic() - start, np.load(answer)
    answer.unlink()

    path, moments = tmp_path / "parts", random.Random(0)
    reached = []
    for _ in range(10):
        process = begin(path)
        process.join(seconds * moments.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if answer.exists():
            break
        reached.append(_archive.read(path)["history"][-1]["epoch"] if path.exists() else 0)
    assert len(reached) >= 3  # most of the ten, however fast the machine has become meanwhile
    assert reached == sorted(reached)
    assert reached[-1] > 0
    begin(path).join()
    np.testing.assert_array_equal(np.load(answer), expected)
    assert {entry.name for entry in tmp_path.iterdir()} == {"answer.npy", "answer.started"}


# Files that cannot be written, or are others


class FailingDisk:
    """From some write on there is no room; what was written before is kept."""

    def __init__(self, fails_from):
        self.fails_from, self.n = fails_from, 0
        self.fsync = os.fsync

    def __call__(self, handle):
        self.n += 1
        if self.n >= self.fails_from:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(handle)


def test_full_disk_keeps_the_checkpoint_before_and_training_goes_on(tmp_path, kill, monkeypatch):
    X, y = data()
    path, params = tmp_path / "file", {"callbacks": [Kill()]}
    kill(6, 1)
    with monkeypatch.context() as patch:
        # Two calls a write: of the file, and of its folder.
        patch.setattr(os, "fsync", FailingDisk(5))
        with (
            pytest.warns(UserWarning, match="could not be written .*No space left.* Training goes"),
            pytest.raises(Killed),
        ):
            classifier(path, **params).fit(X, y)
    assert _archive.read(path)["history"][-1]["epoch"] == 2
    kill()
    assert_same(classifier(path, **params).fit(X, y), classifier(**params).fit(X, y), X)


@pytest.fixture
def left(tmp_path, kill):
    """A checkpoint that a fit has left."""
    kill(4, 1)
    with pytest.raises(Killed):
        classifier(tmp_path / "file", callbacks=[Kill()]).fit(*data())
    kill()
    return tmp_path / "file"


def test_checkpoint_of_another_fit_is_refused_and_left(left):
    X, y = data()
    content = left.read_bytes()
    others = [{"dropout": 0.4}, {"max_epochs": 9}, {"random_state": 1}, {"batch_size": np.int64(8)}]
    others += [{"callbacks": []}, {"callbacks": [Kill(), LRScheduler("StepLR", step_size=1)]}]
    others += [{"scoring": lambda model, X, y: 0.0}, {"mlp_dims": np.array([4])}]
    for params, rows in [({}, X[::-1]), *((other, X) for other in others)]:
        params = {"callbacks": [Kill()], **params}
        with pytest.raises(ValueError, match="left by a fit of other rows or other parameters"):
            classifier(left, **params).fit(rows, y)
    assert left.read_bytes() == content


def test_damaged_or_foreign_checkpoint_is_refused(left):
    X, y = data()
    content = left.read_bytes()
    left.write_bytes(content[:-10])
    with pytest.raises(ValueError, match="is no file that sklearn_deepfm has written, or"):
        classifier(left).fit(X, y)
    _archive.write(left, {"checkpoint": 99})
    with pytest.raises(ValueError, match="written as such, .* or of another version"):
        classifier(left).fit(X, y)


def test_user_who_interrupts_keeps_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._checkpoint.TIME_BETWEEN", 0)

    class Interrupt(Callback):
        def on_epoch_begin(self, net, *args, **kwargs):
            if len(net.history) == 4:
                raise KeyboardInterrupt

    X, y = data()
    with pytest.warns(UserWarning, match="interrupted after 3 full epochs"):
        classifier(tmp_path / "file", callbacks=[Interrupt()]).fit(X, y)
    assert (tmp_path / "file").exists()


def test_warm_start_that_goes_on_cannot_have_one(tmp_path):
    X, y = data()
    model = classifier(tmp_path / "file", warm_start=True, max_epochs=2).fit(X, y)
    with pytest.raises(ValueError, match="checkpoint=.* needs a fit from scratch"):
        model.fit(X, y)
    model.set_params(checkpoint=None).fit(X, y)


def test_callback_whose_state_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._checkpoint.TIME_BETWEEN", 0)

    class Holds(Callback):
        def on_train_begin(self, net, *args, **kwargs):
            self.thing_ = object()

    X, y = data()
    with pytest.raises(TypeError, match=r"callbacks.Holds.thing_.* cannot be saved without code"):
        classifier(tmp_path / "file", callbacks=[Holds()]).fit(X, y)


def test_writing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    writes, clock = [], iter(np.arange(0, 1e6, 1.0))
    monkeypatch.setattr("sklearn_deepfm._checkpoint.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(_archive, "write", lambda *args, **kwargs: writes.append(args))
    X, y = data()
    classifier(tmp_path / "file", max_epochs=40, early_stopping=False).fit(X, y)
    assert 2 <= len(writes) <= 6  # a write takes 1 second here, as an epoch does
