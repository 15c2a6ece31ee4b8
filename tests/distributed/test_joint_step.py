"""The step of several processes, here with a process whose part is the whole batch."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_deepfm import DeepFM
from sklearn_deepfm._distributed.group import ProcessGroup
from sklearn_deepfm._distributed.joint_norm import JointBatchNorm
from sklearn_deepfm._distributed.joint_step import JointStep
from sklearn_deepfm._distributed.processes import Processes
from sklearn_deepfm._model.layers import BatchNorm
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep

N_FEATURES = 12


class Whole(Processes):
    """A process that has no one to wait for."""

    def add_up(self, tensors):
        return [tensor.clone() for tensor in tensors]

    def gather(self, tensor):
        return [tensor]


def made(kind, sparse, *others):
    module = DeepFM(3, N_FEATURES, 4, (8,), sparse=sparse, seed=0)
    table = {"params": [module.table], "rows": "adam" if sparse else None, "n_first": 1}
    rest = [p for p in module.parameters() if p is not module.table]
    optimizer = RowSparseAdam([table, {"params": rest}], lr=0.01)
    return kind(module, nn.BCEWithLogitsLoss(reduction="none"), optimizer, "float32", *others)


def batch_of(rng):
    x = {"index": torch.from_numpy(rng.integers(0, N_FEATURES, (20, 3)))}
    return x, torch.from_numpy(rng.integers(0, 2, 20).astype(np.float32))


@pytest.mark.parametrize("sparse", [False, True])
def test_step_with_the_whole_batch_is_that_of_one_process(sparse, rng):
    joint, alone = made(JointStep, sparse, Whole()), made(TrainStep, sparse)
    for _ in range(3):
        batch = batch_of(rng)
        one, other = joint(batch), alone(batch)
        for name in ("loss", "y_pred"):
            assert torch.equal(one[name], other[name])
    for own, other in zip(joint.module.parameters(), alone.module.parameters(), strict=True):
        assert torch.equal(own, other)


def test_released_step_holds_no_process_and_nothing_as_long_as_the_table(rng):
    processes = Whole()
    step = made(JointStep, True, processes)
    step(batch_of(rng))
    assert len(step._distinct._scratch) == N_FEATURES
    step.release()
    assert step._distinct._scratch is None
    assert processes not in vars(step).values()


@pytest.mark.parametrize(("has_shards", "kind"), [(True, JointBatchNorm), (False, BatchNorm)])
def test_one_shard_is_normalised_as_several_are(has_shards, kind):
    step, group = made(TrainStep, False), ProcessGroup(None, has_shards)
    group.step_of(step.module, step.criterion, step.optimizer, "float32")
    assert type(step.module.mlps[0][1]) is kind
    step.module.eval()
    group.leave(step.module)
    assert type(step.module.mlps[0][1]) is BatchNorm
    assert not step.module.mlps[0][1].training
