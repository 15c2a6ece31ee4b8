"""One model trained by two processes: the same as by one, the same in both, and no one hangs.

torchrun starts this file as a program. Each of its processes does all that is listed in WORK, in
order, and writes down what came out; the tests look at that.
"""

import contextlib
import hashlib
import io
import os
import pickle
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.dataset
import pytest
import torch
import torch.distributed as dist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch import callbacks as of_skorch
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    load_model,
    to_onnx,
)
from sklearn_deepfm._distributed.group import ProcessGroup
from sklearn_deepfm._distributed.joint_norm import JointBatchNorm
from sklearn_deepfm._distributed.processes import TIMEOUT, _backend
from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._model.layers import BatchNorm
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training import checkpoint

PROGRAM = Path(__file__).parents[2] / "docs" / "distributed" / "train.py"
RANK = int(os.environ.get("RANK", "-1"))  # of this process, where torchrun has started it
# A network so small that hardly a unit is so near to 0 that rounding switches it on or off.
EXACT = {"batch_norm": False, "dropout": 0.0, "mlp_dims": (8, 4), "batch_size": 56}
USUAL = {"random_state": 0, "batch_size": 128, "learning_rate": 0.01}
WORK = {}


def work(do):
    """What both processes do, under its name."""
    WORK[do.__name__] = do
    return do


# The data


def table(n=1600):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, (n, 4)).astype(float)
    X[:, 3] = rng.normal(size=n)
    return X, (X.sum(axis=1) + rng.normal(scale=20, size=n) > 90).astype(int)


def lists(n=1600):
    rng = np.random.default_rng(0)
    tags = [rng.integers(0, 30, rng.integers(0, 4)).tolist() for _ in range(n)]
    return pd.DataFrame({"tags": tags, "user": rng.integers(0, 99, n), "x": rng.normal(size=n)})


X, Y = table()
VARIANTS = {
    "dense": {"sparse_updates": False},
    "sparse": {"sparse_updates": True},
    "adagrad": {"table_optimizer": "adagrad"},
    "members": {"n_members": 3, "sparse_updates": True},
    "labels": {"y": np.stack([Y, 1 - Y, X[:, 0] > 30], axis=1).astype(int)},
    "classes": {"y": X[:, 0].astype(int) % 3, "sparse_updates": True},
    "numbers": {"cls": DeepFMRegressor, "y": X.sum(axis=1)},
    "weights": {"weight": np.random.default_rng(1).random(len(X)) * (X[:, 1] > 1)},
    "lists": {"X": lists(), "sparse_updates": True, "categorical_features": ["tags", "user"]},
    "last weights": {"ema_epochs": 0},
    "penalties": {"weight_decay": 1e-3, "embedding_l2": 1e-2, "sparse_updates": True},
    "scored": {"scoring": "roc_auc"},
    "no validation": {"early_stopping": False},
}


class Hashes(Callback):
    """A hash of the weights after every step and epoch, and what dropout draws from."""

    def on_train_begin(self, net, *args, **kwargs):
        self.found, self.dropout = [], None

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.found.append(hash_of(net.module_.parameters()))
        self.dropout = self.dropout or str(net.module_.random_state())

    def on_epoch_end(self, net, *args, **kwargs):
        self.found.append(hash_of(net.module_.state_dict().values()))

    def on_train_end(self, net, *args, **kwargs):
        net.hashes, net.dropout_state = self.found, self.dropout


def hash_of(tensors):
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.detach().numpy().data)
    return digest.hexdigest()


def fit_variant(name, distributed):
    """More than 50 steps, without anything that each process draws or measures by itself."""
    params = {
        **EXACT,
        "random_state": 0,
        "max_epochs": 2,
        "callbacks": [Hashes()],
        **VARIANTS[name],
    }
    rows, y = params.pop("X", X), params.pop("y", Y)
    cls, weight = params.pop("cls", DeepFMClassifier), params.pop("weight", None)
    params.setdefault("categorical_features", [0, 1, 2])
    model = cls(**params, distributed=distributed).fit(rows, y, weight)
    return model, rows


def learned(model, rows=X):
    """All that a fit leaves, in a form that can be compared."""
    predict = getattr(model, "predict_proba", model.predict)
    weights = {name: t.numpy() for name, t in model.module_.state_dict().items()}
    history = [{k: v for k, v in epoch.items() if k != "dur"} for epoch in model.history_]
    seconds = [epoch["dur"] for epoch in model.history_]
    hashes = getattr(model.net_, "hashes", None), getattr(model.net_, "dropout_state", None)
    return weights, history, seconds, hashes, predict(rows)


def fit(**params):
    cls = params.pop("cls", DeepFMClassifier)
    data = params.pop("data", (X, Y))
    params = {**USUAL, "categorical_features": [0, 1, 2], "max_epochs": 4, **params}
    return cls(distributed=True, **params).fit(*data)


# What both processes do. First: the same model as one process makes


@work
def variants(folder):
    found = {name: learned(*fit_variant(name, True)) for name in VARIANTS}
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("sklearn_deepfm._model.touched_rows._is_on_host", lambda tensor: False)
        return found | {"sparse, as on a GPU": learned(*fit_variant("sparse", True))}


@work
def usual(folder):
    """BatchNorm and dropout, stopped early, with the best weights of an epoch before."""
    return {
        "dense": learned(fit(max_epochs=40, n_iter_no_change=2, callbacks=[Hashes()])),
        "sparse": learned(fit(max_epochs=4, callbacks=[Hashes()], sparse_updates=True)),
        "last weights": learned(
            fit(max_epochs=4, callbacks=[Hashes()], ema_epochs=0, early_stopping=False)
        ),
        "other settings": with_settings_of_its_own(
            lambda: learned(fit(max_epochs=4, callbacks=[Hashes()], sparse_updates=True))
        ),
    }


def with_settings_of_its_own(call):
    """The result of a call in a process where torch is set otherwise than in the other one."""
    if RANK == 0:
        return call()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"):
            return call()
    finally:
        torch.set_default_dtype(torch.float32)


@work
def no_seed(folder):
    state = np.random.RandomState(RANK)
    return [learned(fit(random_state=None)), learned(fit(random_state=state)), state.randint(99)]


@work
def few_rows(folder):
    """Batches that leave nothing for one of the processes."""
    few = {"data": (X[:5], Y[:5] * 0 + [0, 1, 0, 1, 1]), "batch_size": 1, "early_stopping": False}
    of_lists = {**few, "data": (lists(5), few["data"][1]), "categorical_features": ["tags", "user"]}
    return [
        learned(fit(**few, batch_norm=norm, sparse_updates=sparse))
        for norm in (False, True)
        for sparse in (False, True)
    ] + [learned(fit(**of_lists, sparse_updates=True, n_members=2), lists(5))]


@work
def streams(folder):
    return learned(fit_stream(True))


def fit_stream(distributed):
    """With codes that come later."""
    params = {**EXACT, "random_state": 0, "categorical_features": [0, 1, 2]}
    model = DeepFMClassifier(distributed=distributed, **params)
    for part in np.array_split(np.arange(len(X)), 4):
        model.partial_fit(X[part] + (part[0] > 500) * np.array([9, 0, 0, 0]), Y[part], [0, 1])
    return model


@work
def spooled(folder):
    return learned(*fit_spooled(True))


def fit_spooled(distributed):
    """Rows that are too many for memory, in chunks and buffers of which there are several."""
    rows = pd.DataFrame({"a": X[:, 0].astype(int), "b": X[:, 1].astype(int)})
    table = pyarrow.Table.from_pandas(rows.assign(y=Y))
    params = {**EXACT, "random_state": 0, "max_epochs": 2, "callbacks": [Hashes()]}
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", 500)
        monkey.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_CHUNK", 50)
        monkey.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_BLOCK", 400)
        model = DeepFMClassifier(distributed=distributed, **params)
        model.fit(pyarrow.dataset.dataset(table), "y")
    return model, rows


def columns():
    """A table of Arrow with every kind of column."""
    frame = lists().assign(
        a=X[:, 0].astype(int),
        place=pd.Categorical([f"p{k:.0f}" for k in X[:, 1]]),
        price=np.where(X[:, 2] > 50, np.nan, X[:, 3]),
        y=Y,
        third=X[:, 0].astype(int) % 3,
        amount=X.sum(axis=1),
        weight=np.random.default_rng(1).random(len(X)) * (X[:, 1] > 1),
    )
    return pyarrow.Table.from_pandas(frame, preserve_index=False)


OTHERS = ["y", "third", "amount", "weight"]
SHARDS = {
    "dense": {"sparse_updates": False},
    "sparse": {"sparse_updates": True},
    "classes": {"y": "third", "sparse_updates": True},
    "weighted numbers": {"cls": DeepFMRegressor, "y": "amount", "weight": "weight"},
    "members": {"n_members": 2, "sparse_updates": True},
    "no codes": {"columns": ["price", "x"]},
    "last weights": {"ema_epochs": 0},
}


def fit_shard(distributed, rows=slice(None), sample=2**20, **params):
    """All rows are one batch, so that it is the same one whoever has which of them."""
    own = {**EXACT, "batch_size": len(X), "random_state": 0, "max_epochs": 55, **params}
    own.setdefault("learning_rate", 1e-3)  # larger steps make more of how sums are rounded
    cls, y = own.pop("cls", DeepFMClassifier), own.pop("y", "y")
    weight, names = own.pop("weight", None), own.pop("columns", None)
    own.setdefault("early_stopping", False)
    own.setdefault("callbacks", [Hashes()])
    table = columns()
    if own.pop("by_class", False):
        table = table.take(np.argsort(table["y"].to_numpy(), kind="stable"))
    features = names or [name for name in table.column_names if name not in OTHERS]
    table = table.select([*features, y, *([weight] if weight else [])])
    dataset = pyarrow.dataset.dataset(table.take(np.arange(len(X))[rows]))
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", 50)
        monkey.setattr("sklearn_deepfm._estimators.stream_fit.SAMPLE", sample)
        monkey.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", 300)
        monkey.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_CHUNK", 50)
        monkey.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_BLOCK", 400)
        return cls(distributed=distributed, **own).fit(dataset, y, weight), table.select(features)


def own_rows(sizes=(1000, 600)):
    return [slice(0, sizes[0]), slice(sizes[0], sum(sizes))][RANK]


@work
def shards(folder):
    return {
        name: learned(*fit_shard("shards", own_rows(), **params)) for name, params in SHARDS.items()
    }


CLASSES = tuple(np.bincount(Y).tolist())  # rows of each
USUAL_SHARDS = {
    # With this score, which equals the loss, training has no linear baseline.
    "scoring": "neg_log_loss",
    **USUAL,
    "max_epochs": 4,
    "early_stopping": True,
    "mlp_dims": (32,),
    "categorical_features": ["tags", "user", "a", "place"],  # whose counts are compared
}
USUAL_SHARDS |= {"dropout": 0.2, "batch_norm": True}
# A penalty that leaves rows of data their norm; a row without gradient loses it all the same,
# by steps of full size.
OF_FEW = {"batch_size": 3, "max_epochs": 1, "embedding_l2": 1e-3}
# No choice of an epoch, which would be that of a few rows.
OF_CLASSES = {"sparse_updates": True, "max_epochs": 12, "early_stopping": False}


@work
def shards_as_usual(folder):
    """Batches, hold-outs, members and dropout, and codes that one process alone has seen."""
    found = {}
    for name, params in {
        "dense": {},
        "sparse": {"sparse_updates": True, "weight": "weight"},
        "members": {"n_members": 2, "scoring": "roc_auc"},
        "late codes": {"sample": 100},
        "batches of few": {**OF_FEW, "sizes": (1590, 10)},
        "classes apart": {
            "by_class": True,
            **OF_CLASSES,
            "sizes": CLASSES,
        },
        "few apart": {"by_class": True, "batch_size": 32, "sizes": (1590, 10)},
    }.items():
        params = {**USUAL_SHARDS, **params}
        rows = own_rows(params.pop("sizes", (1000, 600)))
        model, features = fit_shard("shards", rows, **params)
        fields = [
            (field.name, dict(zip(field.codes.tolist(), field.frequency[field.rows], strict=True)))
            for field in model._fields
            if hasattr(field, "codes")
        ]
        found[name] = learned(model, features), fields, model._fields.dims
    return found


@work
def normed(folder):
    """A layer and its gradients, where each process has some rows of a batch, or none."""
    group = ProcessGroup(dist.group.WORLD, has_shards=True)
    found = {}
    for name, size in {"some": (5, 11), "none": (16, 0)}.items():
        layer = JointBatchNorm(BatchNorm(3), group.sum_over_batch)
        whole = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (16, 3))).float()
        own = whole.split(size)[RANK]
        group.takes_part = len(own) > 0
        x = (own if len(own) else whole[:1]).clone().requires_grad_()
        output = layer(x)
        (output.pow(3).sum() * group.takes_part).backward()
        grads = group.add_up([layer.weight.grad, layer.bias.grad])
        found[name] = own, output, x.grad, grads, layer.running_mean, layer.running_var
    return found


@work
def shards_encoded(folder):
    """By an encoder that was fitted to all rows, or by one of each process."""
    table = columns().select(["place", "price", "tags", "y"])
    everything, shard = (
        pyarrow.dataset.dataset(part) for part in (table, table.take(np.arange(1600)[own_rows()]))
    )
    model = DeepFMClassifier(distributed="shards", **{**USUAL, "max_epochs": 2})
    encoder = OrdinalFieldEncoder().fit(everything, "y")
    whole = make_pipeline(encoder, model.fit(encoder.transform(shard), "y"))
    alone = make_pipeline(OrdinalFieldEncoder(), clone(model))
    return whole.predict_proba(table.drop_columns("y")), error_of(lambda: alone.fit(shard, "y"))


@work
def shards_go_on(folder):
    """From a checkpoint, after both were broken off."""
    path, rows = folder / "shards.checkpoint", own_rows()
    params = {**USUAL, "max_epochs": 6, "batch_norm": True}

    class Breaks(Callback):
        def on_epoch_end(self, net, *args, **kwargs):
            if len(net.history) == 4 and Trap.springs is not None:
                raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)
        monkey.setattr(Trap, "springs", raises)
        breaks = partial(fit_shard, "shards", rows, **params, callbacks=[Breaks()])
        error = error_of(lambda: breaks(checkpoint=path))
        dist.barrier()
        was_there = path.exists()
        dist.barrier()
        monkey.setattr(Trap, "springs", None)
        went_on = learned(*breaks(checkpoint=path))
    return error[0], was_there, went_on, learned(*breaks())


@work
def shards_refused(folder):
    table = columns().select(["a", "y"])
    more = pyarrow.dataset.dataset(columns().select(["a", "user", "y"]))
    one = pyarrow.dataset.dataset(table)
    of_strings = table.cast(pyarrow.schema([("a", "i8"), ("y", "string")]))
    of_floats = pyarrow.schema([("a", "f8"), ("y", "i8")])
    model = DeepFMClassifier(distributed="shards", **USUAL)
    other_mode = DeepFMClassifier(distributed=differing("shards", True), **USUAL)
    calls = {
        "table": lambda: model.fit(X, Y),
        "partial_fit": lambda: model.partial_fit(X, Y, [0, 1]),
        "no rows": lambda: model.fit(differing(one, pyarrow.dataset.dataset(table[:0])), "y"),
        "columns": lambda: model.fit(
            differing(one, pyarrow.dataset.dataset(table.rename_columns(["b", "y"]))), "y"
        ),
        "types": lambda: model.fit(
            differing(one, pyarrow.dataset.dataset(table.cast(of_floats))), "y"
        ),
        "target": lambda: model.fit(one, differing("y", "a")),
        "encoder": lambda: model.fit(
            differing(OrdinalFieldEncoder().fit(one, "y").transform(one), one), "y"
        ),
        "type of y": lambda: model.fit(differing(one, pyarrow.dataset.dataset(of_strings)), "y"),
        "weight": lambda: model.fit(more, "y", differing(None, "a")),
        "mode": lambda: other_mode.fit(one, "y"),
    }
    return {name: error_of(call) for name, call in calls.items()}


@work
def warm_starts(folder):
    model = fit(warm_start=True, **EXACT, callbacks=[Hashes()])
    return learned(model.fit(X[::-1], Y[::-1]))


@work
def program(folder):
    """The guide's: a Pipeline fitted, predictions gathered in order, a file of one of them."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        proba = runpy.run_path(str(PROGRAM))["main"](folder / "flights.deepfm", 1500)
    return proba, printed.getvalue()


@work
def searched(folder):
    params = {**USUAL, "categorical_features": [0, 1, 2], "max_epochs": 2}
    model = DeepFMClassifier(distributed=True, **params)
    search = GridSearchCV(model, {"embed_dim": [2, 3]}, cv=2, scoring="roc_auc").fit(X, Y)
    return search.cv_results_["mean_test_score"], search.best_estimator_.predict_proba(X)


@work
def pickled(folder):
    return pickle.dumps(fit(max_epochs=1))


# What happens between epochs


class Records(Callback):
    """Records what differs between the processes, and stops one of them."""

    def __init__(self, last=99):
        self.last = last

    def on_epoch_end(self, net, *args, **kwargs):
        net.history.record("own", (RANK + 1) ** -len(net.history))
        if RANK == 1 and len(net.history) == self.last:
            raise KeyboardInterrupt


class Moves(Callback):
    """Changes the weights of the first process, as what one of them reads from a file does."""

    def on_train_end(self, net, *args, **kwargs):
        with torch.no_grad():
            net.module_.bias.add_(1 - RANK)


def random_score(estimator, X, y):
    return float(np.random.random())  # noqa: NPY002, the process's own


@work
def epochs(folder):
    np.random.seed(RANK)  # noqa: NPY002
    plateau = of_skorch.LRScheduler(ReduceLROnPlateau, monitor="own", patience=0)
    return {
        "one stops": learned(fit(callbacks=[Records(last=2)])),
        "own rates": learned(fit(callbacks=[Hashes(), Records(), plateau], early_stopping=False)),
        "own scores": learned(fit(scoring=random_score, n_iter_no_change=1, max_epochs=30)),
    }


@work
def files(folder):
    own, printed = folder / f"of process {RANK}", io.StringIO()
    own.mkdir()
    keeps = of_skorch.Checkpoint(monitor="valid_loss_best", dirname="kept")
    with contextlib.chdir(own), contextlib.redirect_stdout(printed):
        model = fit(callbacks=[("keeps", keeps), Moves()], verbose=1)
    return learned(model), (own / "kept").exists(), printed.getvalue()


@work
def goes_on(folder):
    """From the checkpoint that the killed processes have left."""
    path = folder / "checkpoint"
    was_there = path.exists()
    dist.barrier()
    model = fit_into(None, checkpoint=path, max_epochs=5)
    return was_there, learned(model), path.exists(), learned(fit(max_epochs=5))


# What goes wrong


class Trap(Callback):
    """In the third epoch one process does something else than to train, if `springs` says so."""

    springs = None

    def on_batch_end(self, net, training, **kwargs):
        is_there = len(net.history) == 3 and len(net.history[-1]["batches"]) == 2
        if Trap.springs is not None and is_there and training and RANK == 1:
            Trap.springs()


def fit_into(springs, **params):
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(Trap, "springs", springs)
        return fit(callbacks=[Trap()], **params)


def error_of(call):
    start = time.monotonic()
    try:
        call()
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - start
    return "none", 0


def differing(zero, one):
    return zero if RANK == 0 else one


@work
def refused(folder):
    calls = {
        "y of one": lambda: fit(data=(X, differing(Y, Y * 0))),
        "y of both": lambda: fit(data=(X, Y * 0)),
        "parameter": lambda: fit(embed_dim=differing(4, 0)),
        "other parameter": lambda: fit(embed_dim=differing(4, 8)),
        "other seed": lambda: fit(random_state=RANK),
        "other class": lambda: fit(cls=differing(DeepFMClassifier, DeepFMRegressor)),
        "other callback": lambda: fit(callbacks=[Records(last=RANK)]),
        "other rows": lambda: fit(data=(X[RANK:], Y[RANK:])),
        "other codes": lambda: fit(data=(X + RANK * np.array([1, 0, 0, 0]), Y)),
        "checkpoint": lambda: fit(checkpoint=differing(None, folder / "none")),
        "weights": lambda: differing(other_weights, same_weights)(),
        "no classes": lambda: DeepFMClassifier(distributed=True).partial_fit(
            X, Y, classes=differing([0, 1], None)
        ),
    }
    return {name: error_of(call) for name, call in calls.items()}


def same_weights():
    fit(warm_start=True).fit(X, Y)


def other_weights():
    model = fit(warm_start=True)
    with torch.no_grad():
        model.module_.bias.add_(1)
    model.fit(X, Y)


@work
def other_version(folder):
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(
            "sklearn_deepfm._distributed.group._versions",
            lambda: {"version of torch": f"2.{RANK}"},
        )
        return error_of(fit)


@work
def diverges(folder):
    class Blowup(Callback):
        def on_epoch_begin(self, net, *args, **kwargs):
            if len(net.history) == 3:
                net.optimizer_.param_groups[0]["lr"] = 1e30

    with pytest.warns(UserWarning, match="Training stopped; the weights are those of epoch"):
        model = fit(callbacks=[Blowup()], sparse_updates=True, scoring="neg_log_loss")
    return error_of(lambda: fit(learning_rate=1e30)), learned(model)


def raises():
    raise ZeroDivisionError("of a callback")


def interrupts():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)  # until the signal is handled


@work
def broken_off(folder):
    """One process leaves amid training; the next fit of both is as good as any."""
    return {
        springs.__name__: (error_of(partial(fit_into, springs)), learned(fit()))
        for springs in (raises, interrupts)
    }


@work
def left_usable(folder):
    """A fit that goes on with another: what the error leaves."""
    model = fit_into(None, warm_start=True, max_epochs=1)
    before = learned(model)
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(Trap, "springs", raises)
        found = error_of(lambda: model.set_params(max_epochs=4).fit(X, Y))
    return found, before, learned(model), learned(fit_on(model))


def fit_on(model):
    return model.fit(X, Y)


@work
def hangs(folder):
    is_over = folder / "is over"

    def waits():
        while not is_over.exists():
            time.sleep(0.01)

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv(TIMEOUT, "3")
        found = error_of(partial(fit_into, waits))
    is_over.touch()
    return found


# The processes


def both(folder, *names):
    for name in names:
        path = folder / f"{name}.{RANK}"
        try:
            path.write_bytes(pickle.dumps(WORK[name](folder)))
        except Exception:
            (folder / f"{name}.{RANK}.failed").write_text(traceback.format_exc())
        dist.barrier()


def killed(folder):
    """One process kills itself in a fit that writes checkpoints."""

    def kills():
        os.kill(os.getpid(), signal.SIGKILL)

    # torchrun then ends the other one, which must first tell what it sees.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    checkpoint.TIME_BETWEEN = 0
    fit_into(kills, checkpoint=folder / "checkpoint", max_epochs=5)


def launch(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    return subprocess.run(
        [*command, __file__, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def after_kill(folder):
    return launch("killed", folder)


@pytest.fixture(scope="module")
def found(folder, after_kill):
    """What came out of some work, in the first process and in the second."""
    result = launch("both", folder, *WORK)

    def found(name):
        paths = [folder / f"{name}.{rank}" for rank in (0, 1)]
        for path in paths:
            assert path.exists(), [p.read_text() for p in folder.glob("*.failed")] or result.stderr
        return [pickle.loads(path.read_bytes()) for path in paths]

    return found


def assert_same(one, other):
    """The very same model."""
    for name in one[0]:
        np.testing.assert_array_equal(one[0][name], other[0][name], err_msg=name)
    assert one[1] == other[1]
    np.testing.assert_array_equal(one[4], other[4])


# Tests: the same model


@pytest.mark.parametrize("name", [*VARIANTS, "sparse, as on a GPU"])
def test_two_processes_make_the_model_of_one(found, name):
    model, rows = fit_variant(name.removesuffix(", as on a GPU"), False)
    expected = learned(model, rows)
    for weights, history, _, hashes, answers in (of_all[name] for of_all in found("variants")):
        assert len(hashes[0]) >= 50 + 2
        for key, tensor in expected[0].items():
            np.testing.assert_allclose(weights[key], tensor, atol=1e-5, err_msg=key)
        np.testing.assert_allclose(answers, expected[4], rtol=1e-5, atol=1e-5)
        assert len(history) == len(expected[1])
        for epoch, alone in zip(history, expected[1], strict=True):
            assert epoch == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("name", [*VARIANTS, "sparse, as on a GPU"])
def test_parameters_are_bit_equal_after_every_step(found, name):
    zero, one = (of_all[name] for of_all in found("variants"))
    assert zero[3][0] == one[3][0]
    assert_same(zero, one)


def test_with_dropout_and_batch_norm_all_is_the_same_in_both_but_what_is_drawn(found):
    zero, one = found("usual")
    for name in zero:
        assert_same(zero[name], one[name])
        (hashes, dropout), (of_one, drawn) = zero[name][3], one[name][3]
        assert hashes == of_one
        assert dropout != drawn
    assert_same(zero["other settings"], zero["sparse"])


def test_both_stop_in_the_same_epoch_with_the_best_weights(found):
    zero, one = (of_all["dense"] for of_all in found("usual"))
    scores = [epoch["valid_score"] for epoch in zero[1]]
    assert len(scores) < 40
    assert len(scores) == len(one[1]) == int(np.argmax(scores)) + 3
    alone = DeepFMClassifier(categorical_features=[0, 1, 2], **USUAL).fit(X, Y)
    assert max(scores) == pytest.approx(max(alone.validation_scores_), abs=0.03)


def test_seconds_of_an_epoch_are_those_of_the_first(found):
    zero, one = (of_all["dense"] for of_all in found("usual"))
    assert zero[2] == one[2]


def test_without_a_seed_both_draw_from_the_first_ones(found):
    zero, one = found("no_seed")
    assert_same(zero[0], one[0])
    assert_same(zero[1], one[1])
    assert zero[2] == one[2]


def test_process_without_rows_in_a_batch_takes_part(found):
    zero, one = found("few_rows")
    for of_zero, of_one in zip(zero, one, strict=True):
        assert_same(of_zero, of_one)
        assert np.isfinite(of_zero[4]).all()


def test_stream_is_that_of_one_process(found):
    zero, one = found("streams")
    assert_same(zero, one)
    np.testing.assert_allclose(zero[4], fit_stream(False).predict_proba(X), atol=1e-5)


def test_rows_beyond_memory_make_the_model_of_one_process(found):
    zero, one = found("spooled")
    assert_same(zero, one)
    assert zero[3][0] == one[3][0]
    expected = learned(*fit_spooled(False))
    for name, tensor in expected[0].items():
        np.testing.assert_allclose(zero[0][name], tensor, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", SHARDS)
def test_shards_make_the_model_of_one_process(found, name):
    expected = learned(*fit_shard(False, **SHARDS[name]))
    zero, one = (of_all[name] for of_all in found("shards"))
    assert_same(zero, one)
    assert zero[3][0] == one[3][0]
    assert len(zero[3][0]) >= 55
    for key, tensor in expected[0].items():
        np.testing.assert_allclose(zero[0][key], tensor, atol=1e-5, err_msg=key)
    np.testing.assert_allclose(zero[4], expected[4], rtol=1e-5, atol=1e-5)


def test_shards_share_codes_counts_and_validation_rows(found):
    zero, one = found("shards_as_usual")
    frame = columns().to_pandas()
    for name in zero:
        (model, fields, dims), (of_one, *_) = zero[name], one[name]
        assert_same(model, of_one)
        assert np.isfinite(model[4]).all()
        counts = dict(fields)
        held = 0 if name == "members" else 0.2
        n_rows = (frame["weight"] > 0).sum() if name == "sparse" else len(X)
        assert set(counts["a"]) == set(range(60))
        if name != "sparse":
            assert (1 - held) * n_rows <= sum(counts["a"].values()) <= n_rows
        assert len(counts["place"]) == (58 if name == "sparse" else 60)
        assert set(counts["user"]) == set(range(99))
        assert model[0]["table"].shape[0] == dims.sum()
    alone = learned(*fit_shard(False, **USUAL_SHARDS | {"n_members": 2, "scoring": "roc_auc"}))
    scores = [[epoch["valid_score"] for epoch in m[1]] for m in (zero["members"][0], alone)]
    assert max(scores[0]) == pytest.approx(max(scores[1]), abs=0.03)
    drawn = zero["dense"][0][3], one["dense"][0][3]
    assert drawn[0][1] != drawn[1][1]


@pytest.mark.parametrize("name", ["some", "none"])
def test_batch_is_normalised_as_if_one_process_had_it(found, name):
    parts = [of_all[name] for of_all in found("normed")]
    parts = parts if name == "some" else parts[:1]
    layer, x = BatchNorm(3), torch.cat([part[0] for part in parts]).requires_grad_()
    expected = layer(x)
    expected.pow(3).sum().backward()
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), expected, **close)
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), x.grad, **close)
    for *_, grads, mean, variance in (of_all[name] for of_all in found("normed")):
        torch.testing.assert_close(grads, [layer.weight.grad, layer.bias.grad], **close)
        torch.testing.assert_close(mean, layer.running_mean)
        torch.testing.assert_close(variance, layer.running_var)


@pytest.mark.parametrize("name", ["classes apart", "few apart"])
def test_shards_that_are_not_alike_learn_as_one_process_does(found, name):
    params = OF_CLASSES if name == "classes apart" else {"batch_size": 32}
    alone = learned(*fit_shard(False, **USUAL_SHARDS | params, by_class=True))
    model = found("shards_as_usual")[0][name][0]
    losses = [log_loss(np.sort(Y), of_fit[4]) for of_fit in (model, alone)]
    assert losses[0] == pytest.approx(losses[1], abs=0.03)


def test_rows_that_no_process_has_in_a_batch_are_left_alone(found):
    """The stand-in of a process without rows is no row of the batch."""
    model, _, _ = found("shards_as_usual")[1]["batches of few"]
    alone = learned(*fit_shard(False, **USUAL_SHARDS | OF_FEW))
    norms = [np.linalg.norm(of_fit[0]["table"], axis=1) for of_fit in (model, alone)]
    assert norms[0].min() > norms[1].min() / 3


def test_shards_through_an_encoder(found):
    (proba, refused), (of_one, of_other) = found("shards_encoded")
    np.testing.assert_array_equal(proba, of_one)
    assert np.isfinite(proba).all()
    for message, _ in (refused, of_other):
        assert message.startswith("ValueError: the encoder must be the same in all processes")


def test_shards_go_on_from_a_checkpoint_to_the_same_model(found):
    for error, was_there, went_on, whole in found("shards_go_on"):
        assert error.startswith(("ZeroDivisionError", "RuntimeError: Process"))
        assert was_there
        assert_same(went_on, whole)


REFUSED_SHARDS = {
    "table": ("^ValueError: distributed='shards' needs a pyarrow.dataset.Dataset as X",) * 2,
    "partial_fit": ("^ValueError: distributed='shards' is for fit, of a data set",) * 2,
    "no rows": (
        "process 1 has refused it: ValueError: The data set has no row",
        "^ValueError: The data set has no row",
    ),
    "columns": (r"columns of X must be the same .*\['a'\] .* and \['b'\] in process 1",) * 2,
    "types": ("types of X must be the same in all processes",) * 2,
    "target": ("^ValueError: y must be the same in all .*got 'y' .* and 'a' in process 1",) * 2,
    "encoder": ("^ValueError: the encoder must be the same in all .* and none in process 1",) * 2,
    "type of y": ("^ValueError: the type of y must be .*int64.* and ..string.. in process 1",) * 2,
    "weight": ("^ValueError: sample_weight must be the same .*got None .* and 'a' in process",) * 2,
    "mode": ("distributed must be the same .*got 'shards' in process 0 and True in",) * 2,
}


@pytest.mark.parametrize("name", REFUSED_SHARDS)
def test_shards_that_do_not_fit_together_are_refused(found, name):
    for of_process, pattern in zip(found("shards_refused"), REFUSED_SHARDS[name], strict=True):
        message, seconds = of_process[name]
        assert re.search(pattern, message), message
        assert seconds < 60


def test_fit_that_goes_on_with_another(found):
    zero, one = found("warm_starts")
    assert_same(zero, one)
    assert zero[3][0] == one[3][0]
    assert len(zero[1]) == 8


def test_program_of_the_guide(found, folder):
    (proba, printed), (of_one, nothing) = found("program")
    loaded = load_model(folder / "flights.deepfm")
    rows = runpy.run_path(str(PROGRAM))["load_flights"](return_X_y=True)[0][:1500]
    np.testing.assert_array_equal(proba, of_one)
    np.testing.assert_allclose(proba, loaded.predict_proba(rows), atol=1e-6)
    assert "epoch   1" in printed
    assert "expected to be late" in printed
    assert nothing == ""


def test_search_goes_through_the_same_fits_in_both(found):
    zero, one = found("searched")
    for of_zero, of_one in zip(zero, one, strict=True):
        np.testing.assert_array_equal(of_zero, of_one)
        assert np.isfinite(of_zero).all()


def test_fitted_estimator_is_an_ordinary_one(found):
    zero, one = map(pickle.loads, found("pickled"))
    np.testing.assert_array_equal(zero.predict_proba(X), one.predict_proba(X))
    assert to_onnx(zero, X).graph.node
    assert np.isfinite(zero.set_params(distributed=False).fit(X, Y).predict_proba(X)).all()


# Between epochs


def test_all_stop_where_a_callback_of_one_does(found):
    zero, one = (of_all["one stops"] for of_all in found("epochs"))
    assert_same(zero, one)
    assert len(zero[1]) == 2


def test_what_callbacks_record_and_set_is_that_of_the_first(found):
    zero, one = (of_all["own rates"] for of_all in found("epochs"))
    assert_same(zero, one)
    assert zero[3][0] == one[3][0]
    assert [epoch["own"] for epoch in zero[1]] == [1, 1, 1, 1]
    assert [epoch["learning_rate"] for epoch in zero[1]] == pytest.approx([0.01, 0.01, 1e-3, 1e-4])


def test_scores_that_are_drawn_are_those_of_the_first(found):
    zero, one = (of_all["own scores"] for of_all in found("epochs"))
    assert_same(zero, one)


def test_first_process_writes_and_prints(found):
    (_, is_there, printed), (_, is_other, nothing) = found("files")
    assert is_there
    assert not is_other
    assert printed.count("train loss") == 4
    assert nothing == ""


def test_weights_that_a_callback_of_the_first_has_changed_are_those_of_both(found):
    (model, *_), (of_one, *_) = found("files")
    assert_same(model, of_one)


# When something goes wrong


def test_killed_process_ends_the_other_with_a_clear_message(after_kill, folder):
    assert after_kill.returncode != 0
    message = (
        "RuntimeError: Process 0 of 2 ends its fit, since another one has ended: look at what that "
        "one said before; if nothing, it was killed, or hangs."
    )
    assert message in after_kill.stderr
    assert "Signal 9" in after_kill.stderr


def test_killed_fit_goes_on_from_its_checkpoint_to_the_same_model(found):
    zero, one = found("goes_on")
    for was_there, model, is_left, whole in (zero, one):
        assert was_there
        assert not is_left
        assert_same(model, whole)
    assert_same(zero[1], one[1])


REFUSED = {
    "y of one": ("process 1 has refused it: ValueError: y must hold at least 2", "^ValueError: y "),
    "y of both": ("^ValueError: y must hold at least 2", "^ValueError: y must hold at least 2"),
    "parameter": ("process 1 has refused it: ValueError: embed_dim must", "^ValueError: embed_dim"),
    "other parameter": ("ValueError: embed_dim must be the same .*got 4 .* 0 and 8 .* 1",) * 2,
    "other seed": ("random_state must be the same in all processes .*got 0 .* and 1",) * 2,
    "other class": (
        "ValueError: the estimator must be .*got DeepFMClassifier .* 0 and DeepFMRegressor .* 1",
    )
    * 2,
    "other callback": ("callbacks must be the same in all processes",) * 2,
    "other rows": ("training rows must be the same in all processes",) * 2,
    "other codes": ("fields must be the same in all processes",) * 2,
    "checkpoint": (
        "Process 1 is at the step 'checkpoint' of a fit and process 0 at 'kinds of columns'",
        "Process 0 is at the step 'kinds of columns' of a fit and process 1 at 'checkpoint'",
    ),
    "weights": ("weights must be the same in all processes",) * 2,
    "no classes": ("process 1 has refused it: ValueError: classes", "^ValueError: classes must"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_fit_that_one_process_refuses_ends_in_both(found, name):
    for of_process, pattern in zip(found("refused"), REFUSED[name], strict=True):
        message, seconds = of_process[name]
        assert re.search(pattern, message), message
        assert seconds < 60  # of a timeout of ten minutes


def test_other_versions_are_refused(found):
    for message, _ in found("other_version"):
        assert re.search(r"version of torch must be .*got 2.0 in process 0 and 2.1 in", message)


def test_divergence_ends_both_alike(found):
    zero, one = found("diverges")
    assert_same(zero[1], one[1])
    assert len(zero[1][1]) == 2
    for (message, _), _ in (zero, one):
        assert message.startswith("ValueError: The training loss became ")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("raises", "ZeroDivisionError: of a callback"),
        ("interrupts", "RuntimeError: Training was interrupted; it ends in all processes."),
    ],
)
def test_process_that_leaves_amid_training_ends_the_other(found, name, own):
    zero, one = (of_all[name] for of_all in found("broken_off"))
    assert zero[0][0].startswith("RuntimeError: Process 0 of 2 ends its fit, since another one has")
    assert zero[0][1] < 60
    assert one[0][0] == own
    assert_same(zero[1], one[1])


def test_error_leaves_a_model_that_went_on_as_it_was(found):
    zero, one = found("left_usable")
    assert zero[0][0].startswith("RuntimeError: Process 0 of 2 ends its fit")
    assert one[0][0].startswith("ZeroDivisionError")
    for _, before, after, _ in (zero, one):
        assert_same(after, before)
    assert_same(zero[3], one[3])


def test_process_that_hangs_ends_the_other_after_the_timeout(found):
    (zero, _), (one, _) = found("hangs")
    assert "another one has not answered for 0:00:03: look at what" in zero
    assert "another one has ended" in one


# Without other processes


@pytest.fixture
def torchrun(monkeypatch):
    """Sets what torchrun sets, with a free port."""

    def set_environment(rank=0, size=1, **more):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        named = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        for name, value in {**named, **more}.items():
            monkeypatch.setenv(name, str(value))

    yield set_environment
    if dist.is_initialized():
        dist.destroy_process_group()


def test_torchrun_is_needed():
    with pytest.raises(ValueError, match=r"^distributed=True needs .* sets RANK, .*torchrun --n"):
        DeepFMClassifier(distributed=True).fit(X, Y)


def test_device_without_collectives_is_refused(torchrun):
    torchrun()
    with pytest.raises(ValueError, match="^device must be 'cpu' or 'cuda' .* got 'mps'"):
        DeepFMClassifier(distributed=True, device="mps").fit(X, Y)


@pytest.mark.parametrize(("device", "own"), [("cuda", [3]), ("auto", [3]), ("cuda:1", [])])
def test_each_process_of_a_machine_has_its_own_gpu(torchrun, monkeypatch, device, own):
    torchrun(LOCAL_RANK=3)
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert _backend(device) == "cpu:gloo,cuda:nccl"
    assert chosen == own


@pytest.mark.parametrize("said", ["", "0", "-1", "1e-7", "ten", "nan", "inf"])
def test_timeout_that_is_no_number_of_seconds_is_refused(torchrun, monkeypatch, said):
    torchrun()
    monkeypatch.setenv(TIMEOUT, said)
    with pytest.raises(ValueError, match=r"SKLEARN_DEEPFM_TIMEOUT must be a number of seconds"):
        DeepFMClassifier(distributed=True).fit(X, Y)


def test_others_that_do_not_come_are_waited_for_until_the_timeout(torchrun, monkeypatch):
    torchrun(size=2)
    monkeypatch.setenv(TIMEOUT, "1")
    with pytest.raises(RuntimeError, match="^Not all processes have called fit within 0:00:01"):
        DeepFMClassifier(distributed=True).fit(X, Y)


def test_one_process_of_torchrun_is_as_good_as_none(torchrun):
    torchrun()
    params = {"max_epochs": 2, "categorical_features": [0, 1, 2], "random_state": 0}
    model = DeepFMClassifier(distributed=True, **params).fit(X, Y)
    alone = DeepFMClassifier(**params).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n_rows", [1, 6, 64])
def test_parts_of_a_batch_are_its_rows(size, n_rows):
    number = torch.arange(n_rows)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), (number % 3).cumsum(0)])
    members = torch.arange(int(starts[-1]))
    batch = Samples(
        number[:, None], number[:, None] / 2, number, bags=Bags(members, starts, members / 2)
    ).take(slice(0, n_rows))
    group, parts = ProcessGroup(), []
    for group.rank in range(size):
        group.size = size
        x, y = group.part_of(batch)
        assert size == 1 or x["n_rows"] == n_rows
        if "weight" in x:  # a row for a process that has none
            assert n_rows < size
            assert x["weight"].tolist() == [0]
        else:
            parts.append((x, y))
    assert torch.equal(torch.cat([y for _, y in parts]), number)
    assert torch.equal(torch.cat([x["value"] for x, _ in parts])[:, 0], number / 2)
    assert torch.equal(torch.cat([x["bags"].members for x, _ in parts]), members)
    lengths = [len(y) for _, y in parts]
    assert max(lengths) - min(lengths) <= 1


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ConvergenceWarning)
    role, path, *names = sys.argv[1:]
    {"both": both, "killed": killed}[role](Path(path), *names)
