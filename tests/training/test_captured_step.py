"""A step that is recorded and replayed equals the eager one, bit for bit, whatever changes."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from sklearn_deepfm import DeepFM
from sklearn_deepfm._model import touched_rows
from sklearn_deepfm._training import captured_step
from sklearn_deepfm._training.captured_step import CapturedStep
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep
from sklearn_deepfm._training.weight_average import make_weight_average

N_FEATURES = 40
CRITERIA = {1: nn.BCEWithLogitsLoss, 3: nn.CrossEntropyLoss}


class _Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result


class Recorder:
    """Stands in for CUDA graphs: records the operations of torch, and does them again.

    As in a graph, what the host computes is fixed from then on. Each operation of torch is done
    again on the very tensors that it had, and its result is written into the tensors that it
    gave. Numbers of Python, branches and NumPy are not seen.
    """

    n_records = 0

    def __call__(self, work):
        self.n_records += 1
        with _Recording() as recording:
            result = work()

        def replay():
            with torch.no_grad():
                for func, args, kwargs, result in recording.operations:
                    again = func(*args, **kwargs)
                    for old, new in zip(tensors_of(result), tensors_of(again), strict=True):
                        if old.data_ptr() != new.data_ptr():  # not in place, and no view
                            old.detach().copy_(new)

        return result, replay

    def around_steps(self):
        return nullcontext()


def tensors_of(result):
    return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch):
    # On the host NumPy finds the distinct rows, which no record sees.
    monkeypatch.setattr(touched_rows.DistinctRows, "_on_host", touched_rows.DistinctRows._on_device)
    monkeypatch.setattr(captured_step, "STEPS_BEFORE", 2)


def pair(rule=None, n_outputs=1, n_members=1, average=2.0, numeric=False, dropout=0.2):
    """An eager and a captured step of equal modules, and the recorder."""
    slopes = {1: N_FEATURES - 1} if numeric else None
    kept = {"sparse": rule is not None, "n_members": n_members, "n_outputs": n_outputs, "seed": 0}
    module = DeepFM(3, N_FEATURES, 4, (8, 6), dropout, slopes=slopes, **kept)
    recorder, steps = Recorder(), []
    for kind in ("eager", "captured"):
        own = copy.deepcopy(module)
        table = {"params": [own.table], "rows": rule, "n_first": own.n_first, "weight_decay": 0.01}
        table |= {"first_decay": 0.002, "n_members": n_members}
        if n_members > 1:
            table["member"] = own.member_of_columns()
        others = [p for p in own.parameters() if p is not own.table]
        optimizer = RowSparseAdam([table, {"params": others, "weight_decay": 0.001}], lr=0.01)
        given = own, CRITERIA[n_outputs](reduction="none"), optimizer, "float32"
        step = TrainStep(*given) if kind == "eager" else CapturedStep(*given, recorder)
        step.average = make_weight_average(own, average, 40) if average else None
        steps.append(step)
    return *steps, recorder


def batches(rng, n_outputs=1, numeric=False, weighted=False):
    """Batches without end, of two sizes as in an epoch."""
    while True:
        for n in (20, 21, 20):
            x = {"index": torch.from_numpy(rng.integers(0, N_FEATURES - 1, (n, 3)))}
            if numeric:
                x["value"] = torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))
            if weighted:
                x["weight"] = torch.from_numpy(rng.random(n).astype(np.float32))
            y = rng.integers(0, max(n_outputs, 2), n)
            yield x, torch.from_numpy(y if n_outputs > 1 else y.astype(np.float32))


def assert_equal(eager, captured):
    for one, other in zip(eager, captured, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def state_of(step):
    moments = [t for p in step.module.parameters() for t in step.optimizer.state[p].values()]
    average = step.average.to_plain() if step.average else {}
    arrays = [torch.from_numpy(np.array(a)) for a in average.get("averages", [])]
    return [*step.module.state_dict().values(), *moments, *arrays]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rule": "adam"},
        {"rule": "adagrad"},
        {"rule": "adam", "n_members": 2},
        {"rule": "adagrad", "n_members": 2},
        {"n_outputs": 3},
        {"rule": "adam", "n_outputs": 3, "average": 0.0},
        {"average": 30.0},  # updated in some of the steps
        {"rule": "adam", "numeric": True},
        {"numeric": True},
    ],
    ids=lambda settings: " ".join(f"{k}={v}" for k, v in settings.items()) or "dense",
)
@pytest.mark.parametrize("weighted", [False, True])
def test_replayed_steps_equal_eager_ones(settings, weighted, rng):
    eager, captured, recorder = pair(**settings)
    kept = {name: settings[name] for name in ("n_outputs", "numeric") if name in settings}
    for number, batch in zip(range(30), batches(rng, weighted=weighted, **kept), strict=False):
        for step in (eager, captured):
            for group in step.optimizer.param_groups:
                group["lr"] = 0.01 / (1 + number)  # as a schedule would
        one, other = eager(batch), captured(batch)
        assert_equal(one.values(), other.values())
    assert_equal(state_of(eager), state_of(captured))
    assert captured.n_steps == eager.n_steps == 30
    # One for each size of batch, twice where some steps leave the average out.
    assert recorder.n_records == (4 if settings.get("average") == 30.0 else 2)


def test_changed_constant_or_frozen_parameter_is_recorded_anew(rng):
    eager, captured, recorder = pair("adam")
    stream = batches(rng)
    for change in ("none", "penalty", "betas", "frozen table", "frozen layer"):
        for step in (eager, captured):
            if change == "penalty":
                step.optimizer.param_groups[0]["weight_decay"] = 0.5
            if change == "betas":
                for group in step.optimizer.param_groups:
                    group["betas"] = (0.8, 0.99)
            step.module.table.requires_grad_(change != "frozen table")
            step.module.mlps[0][0].weight.requires_grad_(change != "frozen layer")
        for _ in range(6):
            batch = next(stream)
            assert_equal(eager(batch).values(), captured(batch).values())
    assert_equal(state_of(eager), state_of(captured))
    assert recorder.n_records == 10


@pytest.mark.parametrize("rule", [None, "adam"])
@pytest.mark.parametrize("part", ["table", "layer"])
def test_parameter_that_is_trained_later_keeps_its_moments(rule, part, rng):
    eager, captured, recorder = pair(rule)
    for number, batch in zip(range(20), batches(rng), strict=False):
        for step in (eager, captured):
            own = {"table": step.module.table, "layer": step.module.mlps[0][0].weight}
            own[part].requires_grad_(number >= 8)
        assert_equal(eager(batch).values(), captured(batch).values())
    assert_equal(state_of(eager), state_of(captured))
    assert recorder.n_records == 4


def test_penalty_that_changes_in_each_step_leaves_no_records(rng):
    eager, captured, recorder = pair("adam")
    for number, batch in zip(range(12), batches(rng), strict=False):
        for step in (eager, captured):
            step.optimizer.param_groups[1]["weight_decay"] = 0.001 * number
        assert_equal(eager(batch).values(), captured(batch).values())
    assert_equal(state_of(eager), state_of(captured))
    assert recorder.n_records == 0
    assert len(captured._taken) == 1


def test_who_listens_to_gradients_hears_each_step(rng):
    _, captured, recorder = pair("adam")
    heard = []
    for _, batch in zip(range(8), batches(rng), strict=False):
        captured(batch, on_grad=heard.append)
    assert len(heard) == 8
    assert recorder.n_records == 0


def test_results_of_a_step_outlive_the_next_one(rng):
    _, captured, _ = pair()
    results = [captured(batch) for _, batch in zip(range(12), batches(rng), strict=False)]
    assert len({float(result["loss"]) for result in results}) == 12


def test_released_step_holds_no_record(rng):
    _, captured, _ = pair()
    for _, batch in zip(range(8), batches(rng), strict=False):
        captured(batch)
    captured.release()
    assert captured.average is None
    assert not captured._records
