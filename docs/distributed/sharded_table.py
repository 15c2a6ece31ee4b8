"""Train DeepFM with the rows of its table split over processes, none of which holds all of them.

    torchrun --nproc-per-node 2 sharded_table.py --output folder

Row i of the table is on process i % n_processes, with its moments. Each process takes its part of
every batch, asks the others for the rows that occur in it, and has the module compute on a table of
these alone; the gradient of each row goes back to where the row is. Bias and MLP are on all
processes, which add up their gradients. In the end process 0 puts the table together, if it can
hold it, and writes the module (model.pt) and the predictions (predictions.npy).

Put data of your own in the place of `flights`; of large data let each process read its part alone.
"""

import argparse
import pathlib

import numpy as np
import torch
import torch.distributed as dist
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from sklearn_deepfm import DeepFM, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

BATCH_SIZE = 1024  # of all processes together
LEARNING_RATE = 2e-3
DROPOUT = 0.2
PENALTY = 2_000  # of the embeddings, for one row of data: as embedding_l2="auto" at a loss of .5
N_AT_ONCE = 2**16  # rows that are drawn, or rows of data that are predicted, at a time


class ShardedTable:
    """The rows i of a table with i % n_processes == rank, and Adam's moments of these.

    The whole table, which no process makes, is of shape (n_features, width). The first n_first
    columns are first-order weights, which start at 0, the others embeddings with a penalty of l2.
    """

    def __init__(self, n_features, width, n_first, l2):
        self.n_features, self.n_first, self.l2 = n_features, n_first, l2
        self.rank, self.n_processes = dist.get_rank(), dist.get_world_size()
        self.rows = torch.nn.Parameter(torch.empty(self.n_rows_of(self.rank), width))
        self._draw(torch.Generator().manual_seed(0))
        self.optimizer = torch.optim.SparseAdam([self.rows], lr=LEARNING_RATE)
        self._n_steps, self._last_step = 0, torch.zeros(len(self.rows), dtype=torch.int32)

    def n_rows_of(self, rank):
        """Number of rows that a process holds."""
        return len(range(rank, self.n_features, self.n_processes))

    @torch.no_grad()
    def _draw(self, generator):
        """Draw all rows, some at a time, and keep one's own: the same for any n_processes."""
        n_kept, width = 0, self.rows.shape[1]
        for start in range(0, self.n_features, N_AT_ONCE):
            drawn = torch.empty(min(N_AT_ONCE, self.n_features - start), width)
            drawn.normal_(std=1e-2, generator=generator)
            mine = drawn[(self.rank - start) % self.n_processes :: self.n_processes]
            self.rows[n_kept : n_kept + len(mine)] = mine
            n_kept += len(mine)
        self.rows[:, : self.n_first] = 0

    def look_up(self, index):
        """The distinct rows of a matrix of positions, as a leaf, and for each cell which it is."""
        n_rows = self.n_rows_of(0)  # no process holds more
        keys = index % self.n_processes * n_rows + index // self.n_processes
        keys, cells = keys.unique(return_inverse=True)  # in the order of the processes
        asks = (keys // n_rows).bincount(minlength=self.n_processes)
        answers = exchange(asks, [1] * self.n_processes, [1] * self.n_processes)
        self._asks, self._answers = asks.tolist(), answers.tolist()
        self._asked = exchange(keys % n_rows, self._asks, self._answers)
        rows = exchange(self.rows.detach()[self._asked], self._answers, self._asks)
        return rows.requires_grad_(), cells

    @torch.no_grad()
    def step(self, grad):
        """Send the gradient of the rows looked up back to where they are, and update them there."""
        grad = exchange(grad, self._asks, self._answers)
        grad = torch.sparse_coo_tensor(
            self._asked[None], grad, self.rows.shape, check_invariants=True
        ).coalesce()  # several may have asked for a row
        self.rows.grad, positions = grad, grad.indices()[0]
        self._n_steps += 1
        missed = self._n_steps - self._last_step[positions].unsqueeze(1)  # steps of the penalty
        self._last_step[positions] = self._n_steps
        embeddings = self.rows[positions, self.n_first :]
        grad.values()[:, self.n_first :] += self.l2 * missed * embeddings
        self.optimizer.step()

    def gathered(self):
        """The whole table on process 0, None on the others."""
        if self.rank != 0:
            dist.send(self.rows.detach(), 0)
            return None
        table = torch.empty(self.n_features, self.rows.shape[1])
        table[:: self.n_processes] = self.rows.detach()
        for rank in range(1, self.n_processes):
            rows = torch.empty(self.n_rows_of(rank), table.shape[1])
            dist.recv(rows, rank)
            table[rank :: self.n_processes] = rows
        return table


def exchange(tensor, sent, received):
    """Send so many of the rows to each process, and get so many from each, in their order."""
    result = tensor.new_empty(sum(received), *tensor.shape[1:])
    dist.all_to_all_single(result, tensor.contiguous(), received, sent)
    return result


def train_step(module, table, optimizer, index, y):
    """One step of all processes on a batch; returns its mean loss."""
    mine = slice(table.rank, None, table.n_processes)
    rows, cells = table.look_up(index[mine])
    logits = functional_call(module, {"table": rows}, (cells,))[:, 0]
    # The sum over the processes is then the mean over the batch.
    loss = binary_cross_entropy_with_logits(logits, y[mine], reduction="sum") / len(y)
    optimizer.zero_grad()
    loss.backward()
    for parameter in optimizer.param_groups[0]["params"]:
        dist.all_reduce(parameter.grad)
    optimizer.step()
    table.step(rows.grad)
    dist.all_reduce(loss.detach())  # in place
    return loss.item()


@torch.no_grad()
def predict(module, table, index):
    """Probabilities, on all processes, each of which computes its part."""
    module.eval()
    proba = torch.zeros(len(index))
    for part in torch.arange(len(index)).split(N_AT_ONCE):
        mine = part[table.rank :: table.n_processes]
        rows, cells = table.look_up(index[mine])
        proba[mine] = module.to_proba(functional_call(module, {"table": rows}, (cells,)))[:, 0]
    dist.all_reduce(proba)
    module.train()
    return proba.numpy()


def flights():
    """Positions in the table to train and to test with, their targets, the table's length."""
    X, y = load_flights(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    encoder = OrdinalFieldEncoder().fit(X)
    begins = np.append(0, encoder.field_dims_.cumsum())  # of the fields' rows
    indices = [torch.from_numpy(encoder.transform(part) + begins[:-1]) for part in (X, X_test)]
    targets = [torch.tensor(part.to_numpy(), dtype=torch.float32) for part in (y, y_test)]
    return *indices, *targets, int(begins[-1])


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path, help="folder for model and predictions")
    options = parser.parse_args(arguments)
    dist.init_process_group("gloo")
    index, index_test, y, y_test, n_features = flights()

    # Without BatchNorm, since each process would see the statistics of its part of a batch alone.
    settings = {"n_fields": index.shape[1], "dropout": DROPOUT, "batch_norm": False}
    module = DeepFM(n_features=1, **settings, seed=dist.get_rank())  # the table is elsewhere
    others = [parameter for name, parameter in module.named_parameters() if name != "table"]
    for parameter in others:
        dist.broadcast(parameter.data, 0)
    optimizer = torch.optim.Adam(others, lr=LEARNING_RATE)
    table = ShardedTable(n_features, module.table.shape[1], module.n_first, PENALTY / len(y))
    print(f"process {table.rank} holds {len(table.rows):,} of {n_features:,} rows", flush=True)

    order, losses = torch.Generator().manual_seed(0), []  # the same on all processes
    for epoch in range(options.epochs):
        batches = torch.randperm(len(y), generator=order).tensor_split(-(-len(y) // BATCH_SIZE))
        losses += [train_step(module, table, optimizer, index[b], y[b]) for b in batches]
        if table.rank == 0:
            print(f"epoch {epoch + 1}: loss {np.mean(losses[-len(batches) :]):.4f}", flush=True)
    proba = predict(module, table, index_test)
    if table.rank == 0:
        print(f"loss of {len(proba):,} other rows: {log_loss(y_test, proba):.4f}")
    whole = None if options.output is None else table.gathered()
    if whole is not None:
        whole_module = DeepFM(n_features=n_features, **settings)  # a module like any other
        whole_module.load_state_dict({**module.state_dict(), "table": whole})
        options.output.mkdir(parents=True, exist_ok=True)
        torch.save(whole_module.state_dict(), options.output / "model.pt")
        np.save(options.output / "predictions.npy", proba)
    dist.destroy_process_group()
    return losses


if __name__ == "__main__":
    main()
