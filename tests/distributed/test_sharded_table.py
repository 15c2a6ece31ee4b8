"""The recipe for a table split over processes: two real ones, beside one that has the whole table.

torchrun starts this file as a program, which runs the recipe on the data below. All is in double
precision: what rounding leaves is then far below any mistake.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sklearn_deepfm import DeepFM

RECIPE = Path(__file__).parents[2] / "docs" / "distributed" / "sharded_table.py"
SIZES = [1200, 7, 94]  # of the fields: an odd number of rows in all
N_FEATURES, WIDTH = sum(SIZES), 17
CONSTANTS = {
    "BATCH_SIZE": 64,
    "LEARNING_RATE": 0.02,
    "DROPOUT": 0.0,
    "PENALTY": 2,
    "N_AT_ONCE": 100,
}
N_EPOCHS = 3
MODEL = {"n_fields": len(SIZES), "dropout": 0.0, "batch_norm": False}


def data():
    """What the recipe makes of the flights: positions, targets and the length of the table."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, SIZES, (1001, len(SIZES)))
    y = (index[:, 1] > 3) ^ (index[:, 2] > 40)
    index = torch.from_numpy(index + np.append(0, np.cumsum(SIZES)[:-1]))
    y = torch.from_numpy(y.astype(np.float64))
    return index[:701], index[701:], y[:701], y[701:], N_FEATURES


def recipe():
    spec = importlib.util.spec_from_file_location("sharded_table", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(CONSTANTS, flights=data)
    return module


# What torchrun starts


class Largest(TorchDispatchMode):
    """Remember how many numbers the largest tensor holds that any operation has given."""

    n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
        self.n = max([self.n, *sizes])
        return result


def run(folder):
    """Run the recipe in this process, and write down its losses and what it has held."""
    torch.set_default_dtype(torch.float64)
    module, held = recipe(), {}

    class Watched(module.ShardedTable):
        def gathered(self):
            state = self.optimizer.state[self.rows]
            moments = [state["exp_avg"], state["exp_avg_sq"]]
            held["shapes"] = [list(tensor.shape) for tensor in (self.rows, *moments)]
            held["largest"] = largest.n
            return super().gathered()

    module.ShardedTable = Watched
    with Largest() as largest:
        losses = module.main(["--epochs", str(N_EPOCHS), "--output", str(folder)])
    path = folder / f"{os.environ['RANK']}.json"
    path.write_text(json.dumps({"losses": losses, **held}))


if __name__ == "__main__":
    run(Path(sys.argv[1]))


# The tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    result = subprocess.run(
        [*command, "--standalone", __file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def processes(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def unsharded(double):
    """A module with the whole table, trained on the same batches, and its losses."""
    constants, (index, _, y, _, _) = recipe(), data()
    module = DeepFM(n_features=1, **MODEL, seed=0)
    module.table = torch.nn.Parameter(initial_table())
    others = [parameter for name, parameter in module.named_parameters() if name != "table"]
    of_table = torch.optim.SparseAdam([module.table], lr=constants.LEARNING_RATE)
    of_others = torch.optim.Adam(others, lr=constants.LEARNING_RATE)
    order, losses, last = torch.Generator().manual_seed(0), [], torch.zeros(N_FEATURES)
    for _ in range(N_EPOCHS):
        for batch in torch.randperm(701, generator=order).tensor_split(11):
            module.zero_grad()
            loss = binary_cross_entropy_with_logits(module(index[batch])[:, 0], y[batch])
            loss.backward()
            losses.append(loss.item())
            rows, step = index[batch].unique(), len(losses)
            with torch.no_grad():
                grad = module.table.grad[rows]
                missed = (step - last[rows]).unsqueeze(1)
                grad[:, 1:] += CONSTANTS["PENALTY"] / 701 * missed * module.table[rows, 1:]
            last[rows] = step
            module.table.grad = torch.sparse_coo_tensor(
                rows.unsqueeze(0), grad, module.table.shape, check_invariants=True
            )
            of_table.step()
            of_others.step()
    return module, losses


def initial_table():
    generator, n = torch.Generator().manual_seed(0), CONSTANTS["N_AT_ONCE"]
    parts = torch.empty(N_FEATURES, WIDTH).split(n)
    table = torch.cat([part.normal_(std=1e-2, generator=generator) for part in parts])
    table[:, 0] = 0
    return table


def test_losses_are_those_of_one_process_with_the_whole_table(processes, unsharded):
    _, losses = unsharded
    assert len(losses) == N_EPOCHS * 11
    assert losses[-1] < losses[0] - 0.2
    for process in processes:
        np.testing.assert_allclose(process["losses"], losses, rtol=0, atol=1e-10)


def test_each_process_holds_its_rows_and_never_made_the_table(processes):
    for process, n_rows in zip(processes, [651, 650], strict=True):
        assert process["shapes"] == [[n_rows, WIDTH]] * 3  # rows and both moments
        assert process["largest"] <= 651 * WIDTH


def test_module_put_together_is_the_unsharded_one_and_predicts_the_same(folder, unsharded):
    module, _ = unsharded
    _, index_test, *_ = data()
    whole = DeepFM(n_features=N_FEATURES, **MODEL)
    whole.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    torch.testing.assert_close(whole.state_dict(), module.state_dict(), rtol=0, atol=1e-10)
    proba = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(whole.predict(index_test)[:, 0], proba, rtol=0, atol=1e-10)
    assert np.ptp(proba) > 0.5
