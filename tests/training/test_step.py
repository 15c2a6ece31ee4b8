"""A training step equals its parts taken one by one, and tells gradients to those who ask."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sklearn_deepfm import DeepFM, DeepFMClassifier
from sklearn_deepfm._training.divergence import Diverged
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep
from sklearn_deepfm._training.weight_average import make_weight_average

N_FEATURES = 12


def made(sparse, n_members=1):
    # BatchNorm leaves the bias before it a gradient of rounding errors, which Adam enlarges.
    fixed = {"dropout": 0.0, "batch_norm": False, "seed": 0}
    module = DeepFM(3, N_FEATURES, 4, (8,), sparse=sparse, n_members=n_members, **fixed)
    table = {"params": [module.table], "rows": "adam" if sparse else None, "n_first": n_members}
    others = [p for p in module.parameters() if p is not module.table]
    optimizer = RowSparseAdam([table, {"params": others}], lr=0.01)
    return TrainStep(module, nn.BCEWithLogitsLoss(reduction="none"), optimizer)


def batch_of(rng, weighted=False):
    x = {"index": torch.from_numpy(rng.integers(0, N_FEATURES, (20, 3)))}
    if weighted:
        x["weight"] = torch.from_numpy(rng.random(20).astype(np.float32))
    return x, torch.from_numpy(rng.integers(0, 2, 20).astype(np.float32))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_members", [1, 2])
def test_step_is_that_of_torch_on_the_mean_loss(n_members, weighted, rng):
    step = made(False, n_members)
    twin = copy.deepcopy(step.module).train()
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(3):
        x, y = batch_of(rng, weighted)
        result = step((x, y))
        adam.zero_grad()
        weight = x.get("weight", torch.ones(20))
        losses = [
            (binary_cross_entropy_with_logits(logits[:, 0], y, reduction="none") * weight).mean()
            for logits in twin.member_logits(x["index"]).unbind(1)
        ]
        sum(losses).backward()
        adam.step()
        torch.testing.assert_close(result["loss"], sum(losses) / n_members)
    assert step.n_steps == 3
    for own, other in zip(step.module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def test_step_on_touched_rows_leaves_all_others_as_they_are(rng):
    step = made(True)
    before = step.module.table.detach().clone()
    x, y = batch_of(rng)
    x["index"] = x["index"].clamp(max=5)
    seen = []
    step((x, y), on_grad=seen.append)
    (touched,) = seen
    assert touched.positions.tolist() == x["index"].unique().tolist()
    assert step.module.table.grad is None
    changed = (step.module.table != before).any(1)
    assert changed[touched.positions].all()
    assert not changed[6:].any()


def test_step_updates_the_average(rng):
    step = made(False)
    step.average = make_weight_average(step.module, 1.0, 10)
    tables = []
    for _ in range(4):
        step(batch_of(rng))
        tables.append(step.module.table.detach().clone())
    step.average.apply()
    decay = np.exp(-1 / 10)
    weights = decay ** np.arange(3, -1, -1)
    expected = sum(w * t for w, t in zip(weights, tables, strict=True)) / weights.sum()
    torch.testing.assert_close(step.module.table.detach(), expected, rtol=1e-5, atol=1e-6)


def test_loss_that_is_not_finite_stops_before_the_update(rng):
    step = made(False)
    x, y = batch_of(rng)
    step((x, y))
    before = copy.deepcopy(step.module.state_dict())
    with pytest.raises(Diverged) as caught:
        step((x, torch.full_like(y, torch.nan)))
    assert caught.value.n_steps == step.n_steps == 1
    for name, tensor in step.module.named_parameters():
        assert torch.equal(tensor, before[name])


class Gradients(Callback):
    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.sizes = {name: parameter.grad.shape for name, parameter in named_parameters}


@pytest.mark.parametrize("sparse", [False, True])
def test_callbacks_get_the_gradients(sparse, rng):
    X, y = rng.integers(0, 500, (64, 2)), rng.integers(0, 2, 64)
    seen = []

    class Watch(Gradients):
        def on_train_end(self, net, **kwargs):
            seen.append(self.sizes)

    DeepFMClassifier(max_epochs=1, sparse_updates=sparse, callbacks=[Watch()]).fit(X[:8], y[:8])
    n_rows = len(np.unique(X[:8, 0])) + len(np.unique(X[:8, 1])) + (0 if sparse else 2)
    assert seen[0]["table"][0] == n_rows


def test_clipped_gradients_make_smaller_steps(rng):
    X, y = rng.integers(0, 9, (300, 2)), rng.integers(0, 2, 300)
    params = {"max_epochs": 1, "early_stopping": False, "random_state": 0, "ema_epochs": 0}
    free = DeepFMClassifier(**params).fit(X, y)
    clip = [GradientNormClipping(gradient_clip_value=1e-9)]
    clipped = DeepFMClassifier(**params, callbacks=clip).fit(X, y)
    start = DeepFMClassifier(**{**params, "learning_rate": 1e-30}).fit(X, y)
    moved = [
        (m.module_.mlps[0][0].weight - start.module_.mlps[0][0].weight).norm().item()
        for m in (free, clipped)
    ]
    assert 0 < moved[1] < moved[0] / 2


@pytest.mark.parametrize("freezes", [True, False])
def test_who_gets_the_gradients_may_freeze_the_table_from_the_next_step_on(freezes, rng):
    step, twin = made(True), made(True)
    for one in (step, twin):
        one.module.table.requires_grad_(freezes)
    batches = [batch_of(rng) for _ in range(2)]
    step(batches[0], on_grad=lambda touched: step.module.table.requires_grad_(not freezes))
    step(batches[1])
    twin(batches[0])
    twin.module.table.requires_grad_(not freezes)
    twin(batches[1])
    for one, other in zip(step.module.parameters(), twin.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    states = [[*one.optimizer.state[one.module.table].values()] for one in (step, twin)]
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
