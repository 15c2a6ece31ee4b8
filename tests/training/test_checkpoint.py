"""A fit that is killed goes on from its checkpoint, to the very model it would have become."""

import copy
import errno
import math
import multiprocessing
import os
import pickle
import signal
from functools import cache
from random import Random
from threading import Timer

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback, EpochScoring, Freezer, LRScheduler, Unfreezer

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._serialization import archive
from sklearn_deepfm._training import checkpoint

BASE = {"random_state": 0, "max_epochs": 8, "batch_size": 32}
VARIANTS = {
    "cosine": {"lr_schedule": "cosine"},
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
    "frozen": {"callbacks": [Freezer("mlps*"), Unfreezer("mlps*0.weight", at=5)]},
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
    monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)
    return lambda *at: monkeypatch.setattr(Kill, "at", at or None)


def data(n=300):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 20, (n, 3)).astype(float)
    X[:, 2] = rng.normal(size=n)
    return X, (X[:, 0] + rng.normal(scale=5, size=n) > 10).astype(int)


def classifier(path=None, **params):
    return DeepFMClassifier(categorical_features=[0, 1], checkpoint=path, **{**BASE, **params})


@cache
def whole(variant="default"):
    """The model of a fit that nothing breaks off."""
    return classifier(**with_kill(variant)).fit(*data())


def with_kill(variant="default"):
    params = VARIANTS[variant]
    return {**params, "callbacks": [*params.get("callbacks", ()), Kill()]}


def assert_same(model, expected, X):
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.n_iter_ == expected.n_iter_
    assert model.loss_curve_ == expected.loss_curve_
    assert model.validation_scores_ == expected.validation_scores_
    for name, weights in expected.module_.state_dict().items():
        assert torch.equal(model.module_.state_dict()[name], weights)


# After one epoch, after many, and where the rate of the next one is another.
MOMENTS = [(variant, at) for variant in VARIANTS for at in ((2, 1), (6, 2))]
MOMENTS += [("default", (3, 4)), ("schedule", (3, 4))]


@pytest.mark.parametrize(("variant", "at"), MOMENTS, ids=str)
def test_broken_off_fit_ends_as_if_it_had_not_been(variant, at, tmp_path, kill):
    params, (X, y) = with_kill(variant), data()
    path = tmp_path / "fit.checkpoint"
    kill(*at)
    with pytest.raises(Killed):
        classifier(path, **params).fit(X, y)
    kill()
    seeds = archive.read(path)["random"]
    model = classifier(path, **params).fit(X, y)
    if variant == "no seed":
        params["random_state"] = np.random.RandomState()
        params["random_state"].set_state(seeds)
        assert_same(model, classifier(**params).fit(X, y), X)
    else:
        assert_same(model, whole(variant), X)
    assert list(tmp_path.iterdir()) == []


def test_fit_with_a_checkpoint_is_the_fit_without(tmp_path):
    X, y = data()
    assert_same(classifier(tmp_path / "file").fit(X, y), whole(), X)
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


class KillItself(Callback):
    """SIGKILL the process some time after a batch: no handler runs, nothing is flushed."""

    after, seconds = math.inf, 0.0
    n_batches = 0  # of this process

    def on_batch_end(self, net, *args, **kwargs):
        KillItself.n_batches += 1
        if KillItself.n_batches == KillItself.after:
            Timer(KillItself.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif KillItself.n_batches > KillItself.after + 2 * N_BATCHES:
            signal.pause()  # however late the timer comes, the fit is not over


N_ROWS, N_BATCHES = 320, 10  # in an epoch


def fit_in_a_process(path, answer, after=math.inf, seconds=0.0):
    torch.set_num_threads(1)
    checkpoint.TIME_BETWEEN = 0
    KillItself.after, KillItself.seconds = after, seconds
    params = {"max_epochs": 55, "early_stopping": False, "sparse_updates": True}
    X, y = data(N_ROWS)
    model = classifier(path, callbacks=[KillItself()], **params).fit(X, y)
    weights = {name: tensor.numpy() for name, tensor in model.module_.state_dict().items()}
    np.savez(answer, proba=model.predict_proba(X), **weights)


def test_process_killed_at_ten_moments_ends_with_the_same_model(tmp_path):
    """Each goes on for an epoch to three, and dies in the middle of a step or of a write."""
    context = multiprocessing.get_context("forkserver")

    def exit_code(*args):
        process = context.Process(target=fit_in_a_process, args=args)
        process.start()
        process.join()
        return process.exitcode

    path, random, n_epochs = tmp_path / "fit.checkpoint", Random(0), [0]
    for number in range(10):
        after = random.randint(N_BATCHES + 1, 3 * N_BATCHES)
        if number % 2:
            after = 2 * N_BATCHES  # a write is next
        code = exit_code(path, tmp_path / "none", after, random.uniform(0, 0.004))
        assert code == -signal.SIGKILL
        n_epochs.append(len(archive.read(path)["history"]))
    assert (np.diff(n_epochs) > 0).all()
    assert exit_code(path, tmp_path / "resumed.npz") == 0
    assert exit_code(None, tmp_path / "whole.npz") == 0
    resumed, whole = np.load(tmp_path / "resumed.npz"), np.load(tmp_path / "whole.npz")
    assert set(resumed) == set(whole)
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name])
    assert {entry.name for entry in tmp_path.iterdir()} == {"resumed.npz", "whole.npz"}


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
    assert archive.read(path)["history"][-1]["epoch"] == 2
    kill()
    assert_same(classifier(path, **params).fit(X, y), whole(), X)


@pytest.fixture(scope="module")
def bytes_left(tmp_path_factory):
    """What is in the checkpoint that a fit has left."""
    path = tmp_path_factory.mktemp("left") / "file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "TIME_BETWEEN", 0)
        patch.setattr(Kill, "at", (4, 1))
        with pytest.raises(Killed):
            classifier(path, callbacks=[Kill()]).fit(*data())
    return path.read_bytes()


@pytest.fixture
def left(bytes_left, tmp_path, kill):
    """A checkpoint that a fit has left."""
    (tmp_path / "file").write_bytes(bytes_left)
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
    archive.write(left, {"checkpoint": 99})
    with pytest.raises(ValueError, match="written as such, .* or of another version"):
        classifier(left).fit(X, y)


def test_user_who_interrupts_keeps_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)

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
    monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)

    class Holds(Callback):
        def on_train_begin(self, net, *args, **kwargs):
            self.thing_ = object()

    X, y = data()
    with pytest.raises(TypeError, match=r"callbacks.Holds.thing_.* cannot be saved without code"):
        classifier(tmp_path / "file", callbacks=[Holds()]).fit(X, y)


def test_writing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    writes, clock = [], iter(np.arange(0, 1e6, 1.0))
    monkeypatch.setattr(
        "sklearn_deepfm._training.checkpoint.time.monotonic", lambda: float(next(clock))
    )
    monkeypatch.setattr(archive, "write", lambda *args, **kwargs: writes.append(args))
    X, y = data()
    classifier(tmp_path / "file", max_epochs=40, early_stopping=False).fit(X, y)
    assert 2 <= len(writes) <= 6  # a write takes 1 second here, as an epoch does


# Several fits, and files that say something else


def test_two_fits_at_a_time_cannot_have_one_file(tmp_path):
    X, y = data()
    path = tmp_path / "file"

    class FitsToo(Callback):
        def on_epoch_begin(self, net, *args, **kwargs):
            if len(net.history) == 2:
                classifier(path).fit(X, y)

    with pytest.raises(ValueError, match="checkpoint .* is in use by another fit"):
        classifier(path, callbacks=[FitsToo()]).fit(X, y)
    with pytest.raises(ValueError, match="left by a fit of other rows"):
        classifier(path).fit(X, y)  # the first one has given it back, and left its file
    path.unlink()
    classifier(path).fit(X, y)
    assert list(tmp_path.iterdir()) == []


def test_refused_fit_leaves_nothing_beside(tmp_path):
    with pytest.raises(ValueError, match="at least 2 classes"):
        classifier(tmp_path / "file").fit(data()[0], [1] * 300)
    assert list(tmp_path.iterdir()) == []


def test_fits_of_a_cross_validation_may_have_one_file_one_after_the_other(tmp_path):
    X, y = data()
    scores = cross_val_score(classifier(tmp_path / "file"), X, y, error_score="raise")
    np.testing.assert_array_equal(scores, cross_val_score(classifier(), X, y))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none" / "file", "in a folder that does not exist. Make the"),
        (lambda folder: folder, "must name a file, and .* is a folder"),
        (lambda folder: "", "must name a file, and '' is a folder, or nothing"),
        (lambda folder: f"{folder}/none/", "must name a file, and .*none/' is a folder, or noth"),
        (lambda folder: folder / ("n" * 254), "cannot be written: .*too long.* of a shorter name"),
    ],
)
def test_checkpoint_that_cannot_be_written_is_refused_at_once(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        classifier(make(tmp_path)).fit(*data())
    assert list(tmp_path.iterdir()) == []


def test_folder_that_takes_no_file_is_refused_at_once(tmp_path):
    # As where the user may not write, but for root too.
    (tmp_path / ".file.checkpoint-lock").mkdir()
    with pytest.raises(ValueError, match="cannot be written: .*Is a directory"):
        classifier(tmp_path / "file").fit(*data())


ENTRIES = ["random", "history", "module", "is_trained", "dropout", "order"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("value", [None, [], ["x"], 7, np.zeros(3)], ids=repr)
def test_checkpoint_that_holds_something_else_is_an_error(entry, value, left):
    content = archive.read(left)
    archive.write(left, {**content, entry: value})
    with pytest.raises(ValueError, match="checkpoint .* is damaged: .* Delete it to fit anew"):
        classifier(left, callbacks=[Kill()]).fit(*data())
    assert archive.read(left)["key"] == content["key"]  # it is left as it was
    archive.write(left, {name: part for name, part in content.items() if name != entry})
    with pytest.raises(ValueError, match="written as such, .* or of another version"):
        classifier(left, callbacks=[Kill()]).fit(*data())


def test_checkpoint_that_was_mended_is_gone_on_with(left):
    content = archive.read(left)
    for entry in ENTRIES:
        archive.write(left, {**content, entry: None})
        with pytest.raises(ValueError, match="is damaged"):
            classifier(left, callbacks=[Kill()]).fit(*data())
    archive.write(left, content)
    assert_same(classifier(left, callbacks=[Kill()]).fit(*data()), whole(), data()[0])


INSIDE = {
    "moments": ["optimizer", "0", "exp_avg"],
    "seeds": ["random", 1],
    "position": ["random", 2],
    "step": ["optimizer", "0", "step"],
    "average": ["average", "averages", 0],
    "steps averaged": ["average", "n_calls"],
    "weights": ["module", "table"],
}


@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize("value", [None, "x", np.zeros(3, np.float32), np.zeros((2, 2))], ids=repr)
def test_checkpoint_with_something_else_inside_is_an_error(where, value, left):
    content = archive.read(left)
    *path, last = INSIDE[where]
    content["random"] = list(content["random"])
    part = content
    for key in path:
        part = part[key]
    part[last] = value
    content["random"] = tuple(content["random"])
    archive.write(left, content)
    with pytest.raises(ValueError, match="checkpoint .* is damaged: .* Delete it to fit anew"):
        classifier(left, callbacks=[Kill()]).fit(*data())


def stated(content, where, value):
    """The content with an entry inside it changed."""
    *path, last = where
    part = content
    for key in path:
        part = part[key]
    part[last] = value
    return content


IMPOSSIBLE = [
    (["lr"], [None, None]),
    (["lr"], [0.001, math.nan]),
    (["lr"], [0.001, -1.0]),
    (["optimizer", "0", "step"], np.array(-3, np.float32)),
    (["average", "step"], -1),
    (["average", "n_calls"], 0),
    (["average", "is_applied"], None),
    (["average", "aside"], []),
    (["history"], [{}] * 3),
    (["history", 1, "epoch"], 7),
    (["history", 0, "train_loss"], None),
    (["callbacks", "deepfm_best", "best_score_", "value"], None),
    (["callbacks", "deepfm_best", "_copy"], {"value": 3}),
    (["callbacks", "deepfm_stop", "misses_", "value"], "x"),
    (["callbacks", "deepfm_plateau", "lr_scheduler_", "state", "best"], None),
    (["callbacks", "train_loss", "best_score_", "value"], [1.0]),
]


@pytest.mark.parametrize(("where", "value"), IMPOSSIBLE, ids=repr)
def test_entry_that_no_training_gives_is_an_error(where, value, left):
    archive.write(left, stated(archive.read(left), where, value))
    with pytest.raises(ValueError, match="checkpoint .* is damaged: .* Delete it to fit anew"):
        classifier(left, callbacks=[Kill()]).fit(*data())


@pytest.mark.parametrize(
    "where",
    [["module", "table"], ["optimizer", "0", "exp_avg"], ["average", "averages", 0]],
    ids=repr,
)
def test_numbers_that_are_none_are_an_error(where, left):
    content = archive.read(left)
    part = content
    for key in where:
        part = part[key]
    part[(0,) * part.ndim] = np.nan
    archive.write(left, content)
    with pytest.raises(ValueError, match="checkpoint .* is damaged: .* Delete it to fit anew"):
        classifier(left, callbacks=[Kill()]).fit(*data())


def test_best_weights_of_another_network_are_an_error(tmp_path, kill):
    params = {**VARIANTS["stops"], "callbacks": [Kill()]}
    kill(8, 2)
    with pytest.raises(Killed):
        classifier(tmp_path / "file", **params).fit(*data())
    kill()
    content = archive.read(tmp_path / "file")
    weights = content["callbacks"]["deepfm_best"]["_copy"]["weights"]
    weights["table"] = weights["table"][1:]
    archive.write(tmp_path / "file", content)
    with pytest.raises(ValueError, match="is damaged: .*'_copy' is not what it must be"):
        classifier(tmp_path / "file", **params).fit(*data())


def test_history_that_leaves_no_epoch_is_an_error(left):
    content = archive.read(left)
    archive.write(left, {**content, "history": content["history"] * 9})
    with pytest.raises(ValueError, match="is damaged: .*'history'"):
        classifier(left, callbacks=[Kill()]).fit(*data())


class Copies(Callback):
    def on_epoch_end(self, net, *args, **kwargs):
        copy.deepcopy(net)
        pickle.dumps(net)


def test_callbacks_may_copy_the_net(tmp_path):
    model = classifier(tmp_path / "file", callbacks=[Copies()], max_epochs=2).fit(*data())
    assert model.n_iter_ == 2


def test_path_is_where_it_was_when_the_fit_began(tmp_path, monkeypatch):
    class Moves(Callback):
        def on_epoch_end(self, net, *args, **kwargs):
            os.chdir("/")

    monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)
    monkeypatch.chdir(tmp_path)
    classifier("file", callbacks=[Moves()]).fit(*data())
    assert list(tmp_path.iterdir()) == []
    assert not os.path.exists("/file")


def test_link_leads_to_the_file(tmp_path, kill):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "file")
    kill(4, 1)
    with pytest.raises(Killed):
        classifier(tmp_path / "link", callbacks=[Kill()]).fit(*data())
    kill()
    assert (tmp_path / "link").is_symlink()
    assert archive.read(tmp_path / "disk" / "file")["history"]
    classifier(tmp_path / "link", callbacks=[Kill()]).fit(*data())
    assert list((tmp_path / "disk").iterdir()) == []
