"""Two processes of one thread, trained together through torchrun, against one of two threads.

    python docs/benchmarks/bench_distributed.py [--tasks speed quality] [--repeats N]
        [--seeds N] [--rows N] [--device cuda --processes 4]

On GPUs so many processes, of which each has its own, against one.

Speed: training rows a second in the fastest epoch after the first, the median over repeats, on
the flights (defaults), and on tables of a large vocabulary (rows as in bench_speed.py, batches of
4096) with the default MLP and with one of three layers of 400. Quality: random 80/20 splits of
the flights, defaults. On each split two processes and one are fitted with the same seed, two that
have half of the rows each ("shards"), and one process with another seed, which shows how far models
of one kind are apart. A difference is the mean of those within the splits, with its standard error.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.dataset
import sklearn
import skorch
import torch
from bench_speed_peers import make_rows
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
LARGE = {"fields": 20, "features": 1_000_000}
SPEED = {
    "flights": {},
    "1M codes": {"batch_size": 4096},
    "1M codes, MLP 3 x 400": {"batch_size": 4096, "mlp_dims": (400, 400, 400)},
}


def ways_of(options):
    """Processes, and threads of each, by what they are called."""
    if options.device != "cpu":
        return {"1 x 1": (1, 4), f"{options.processes} x 1": (options.processes, 4)}
    return {"1 x 1": (1, 1), "1 x 2": (1, 2), "2 x 1": (2, 1)}


def rows_of(name, n_rows):
    if name == "flights":
        X, y = load_flights(return_X_y=True)
        rows = np.random.default_rng(0).permutation(len(X))[:n_rows]
        return X.iloc[rows], np.asarray(y)[rows]
    return make_rows(LARGE, n_rows or 200_000, seed=0)


def speed(name, distributed, device, n_rows):
    X, y = rows_of(name, n_rows)
    X = OrdinalFieldEncoder().fit_transform(X) if name == "flights" else X
    model = DeepFMClassifier(
        max_epochs=3,
        early_stopping=False,
        random_state=0,
        distributed=distributed,
        device=device,
        **SPEED[name],
    ).fit(X, y)
    return {"rows/s": len(X) / min(epoch["dur"] for epoch in model.history_[1:])}


def quality(split, distributed, device, seed, n_rows):
    X_train, X_test, y_train, y_test = train_test_split(
        *rows_of("flights", n_rows), test_size=0.2, random_state=split
    )
    encoder = OrdinalFieldEncoder().fit(X_train)
    model = DeepFMClassifier(random_state=seed, distributed=distributed, device=device)
    if distributed == "shards":
        own = X_train.assign(late=y_train)[int(os.environ["RANK"]) :: int(os.environ["WORLD_SIZE"])]
        shard = pyarrow.dataset.dataset(pyarrow.Table.from_pandas(own, preserve_index=False))
        model.fit(encoder.transform(shard), "late")
    else:
        model.fit(encoder.transform(X_train), y_train)
    proba = model.predict_proba(encoder.transform(X_test))[:, 1]
    return {
        "AUC": roc_auc_score(y_test, proba),
        "log-loss": log_loss(y_test, proba),
        "epochs": model.n_iter_,
        "fit, s": sum(epoch["dur"] for epoch in model.history_),
    }


def run(options, way, task, name, *arguments, shards=False):
    """The result of a task in processes of their own, as the first of them prints it."""
    processes, threads = ways_of(options)[way]
    distributed = "shards" if shards else processes > 1
    task = json.dumps([task, name, distributed, options.device, *arguments, options.rows])
    launcher = [*TORCHRUN, str(processes)] if processes > 1 else []
    command = [*launcher, __file__, "--task", task]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def compare_speed(options):
    ways = [*ways_of(options)]
    print(
        f"\ntraining, rows/s{'':8}"
        + "".join(f"{way:>10}" for way in ways)
        + f"   {ways[-1]} / {ways[-2]}"
    )
    for name in SPEED:
        found = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, of_way in found.items():
                of_way.append(run(options, way, "speed", name)["rows/s"])
        speeds = {way: statistics.median(of_way) for way, of_way in found.items()}
        print(
            f"{name:24}"
            + "".join(f"{value:10,.0f}" for value in speeds.values())
            + f"{speeds[ways[-1]] / speeds[ways[-2]]:16.2f}",
            flush=True,
        )


def compare_quality(options):
    several = [*ways_of(options)][-1]
    fits = {
        "1 x 1": ("1 x 1", 0, False),
        several: (several, 0, False),
        f"{several}, shards": (several, 0, True),
        "1 x 1, other seed": ("1 x 1", 1, False),
    }
    results = [
        {"fit": fit, **run(options, way, "quality", split, 2 * split + other, shards=shards)}
        for split in range(options.seeds)
        for fit, (way, other, shards) in fits.items()
    ]
    table = pd.DataFrame(results)
    table = {fit: table[table["fit"] == fit].reset_index(drop=True) for fit in fits}
    print(f"\nflights, test rows, {options.seeds} splits")
    print(
        f"{'':18}{'AUC':>9}{'sd':>9}{'log-loss':>10}{'sd':>9}{'epochs':>8}{'fit, s':>8}"
        f"{'AUC - first':>13}{'error':>9}   by split"
    )
    for fit, part in table.items():
        mean, sd = part.mean(numeric_only=True), part.std(numeric_only=True)
        gap = part["AUC"] - table["1 x 1"]["AUC"]
        print(
            f"{fit:18}{mean['AUC']:9.5f}{sd['AUC']:9.5f}{mean['log-loss']:10.5f}"
            f"{sd['log-loss']:9.5f}{mean['epochs']:8.1f}{mean['fit, s']:8.0f}"
            f"{gap.mean():+13.5f}{gap.sem():9.5f}  ",
            *(f"{value:+.4f}" for value in gap),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["speed", "quality"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5, help="splits of the rows for quality")
    parser.add_argument("--rows", type=int, help="instead of all flights, or 200,000")
    parser.add_argument("--device", default="cpu", help="'cuda' for a GPU for each process")
    parser.add_argument("--processes", type=int, default=2, help="on GPUs; on a CPU it is two")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        name, *arguments = options.task
        result = {"speed": speed, "quality": quality}[name](*arguments)
        if int(os.environ.get("RANK", "0")) == 0:
            print(json.dumps(result))
        return
    print_setting(torch, sklearn, skorch, np)
    print("ways      processes x threads of each")
    if "speed" in options.tasks:
        compare_speed(options)
    if "quality" in options.tasks:
        compare_quality(options)


if __name__ == "__main__":
    main()
