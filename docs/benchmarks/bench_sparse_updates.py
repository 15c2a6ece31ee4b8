"""Time a step of training that updates all rows of the table, and one that updates a batch's.

    python docs/benchmarks/bench_sparse_updates.py [--steps N] [--repeats N]

The rule of sparse_updates="auto" has to pick the faster one, or one that is nearly as fast, from
the rows of the table. Rows are as in bench_speed.py; the network is the
default one. Times are medians over epochs of both kinds in turn.
"""

import argparse
import statistics
import time
from types import SimpleNamespace

import numpy as np
import skorch
import torch
from bench_speed_peers import global_codes, make_rows
from setting import print_setting

from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training.defaults import is_sparse
from sklearn_deepfm._training.net import DeepFMClassifierNet

BATCHES = [(10, 32), (10, 256), (39, 256), (10, 4096), (39, 4096)]
FEATURES = [2**power for power in range(14, 22)]
AUTO = SimpleNamespace(sparse_updates="auto", table_optimizer="adam")


def new_net(task, sparse):
    return DeepFMClassifierNet(
        module__n_fields=task["fields"],
        module__n_features=task["features"] // task["fields"] * task["fields"],
        module__sparse=sparse,
        module__seed=0,
        criterion=torch.nn.BCEWithLogitsLoss,
        embedding_l2=1e-2,
        batch_size=task["batch"],
        lr=1e-3,
        max_epochs=1,
        keep_optimizer=True,
    )


def compare(task, n_steps, n_repeats):
    """Milliseconds a step, of all rows and of a batch's."""
    X, y = make_rows(task, n_steps * task["batch"], seed=0)
    index = torch.from_numpy(global_codes(task, X).astype(np.int32))
    samples = Samples(index, None, torch.from_numpy(y))
    nets = [new_net(task, sparse) for sparse in (False, True)]
    times = [[], []]
    for repeat in range(n_repeats + 1):
        for net, of_net in zip(nets, times, strict=True):
            start = time.perf_counter()
            net.train(samples, None, [])
            if repeat:  # the first one makes the optimizer's state
                of_net.append((time.perf_counter() - start) / n_steps * 1e3)
    return [statistics.median(of_net) for of_net in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print_setting(torch, skorch, np)
    print(
        f"\n{'fields':>6}{'batch':>7}{'rows of table':>15}{'rows / cells':>14}"
        f"{'all, ms':>9}{'batch, ms':>11}{'all / batch':>13}   auto"
    )
    for fields, batch in BATCHES:
        for features in FEATURES:
            features = features // fields * fields
            task = {"fields": fields, "batch": batch, "features": features}
            dense, sparse = compare(task, options.steps, options.repeats)
            auto = is_sparse(AUTO, features)
            print(
                f"{fields:6}{batch:7}{features:15,}{features / fields / batch:14.1f}"
                f"{dense:9.1f}{sparse:11.1f}{dense / sparse:13.2f}   "
                f"{'batch' if auto else 'all'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
