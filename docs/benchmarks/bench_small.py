"""Time small fits beside MLPClassifier, and a grid search in two processes.

    python docs/benchmarks/bench_small.py [--repeats N]

Small fits: 1,000 rows of 20 columns, of numbers and of codes, 20 epochs in batches of 32, both
networks with hidden layers of 128 and 64 units; ours has an embedding of 16 numbers for each column
in front of them. The ratio is the median of the ratios within the repeats. Grid search: 20
candidates on 10,000 rows, 5 epochs, cv=3, n_jobs=2.
"""

import argparse
import os
import statistics
import time
import warnings

import numpy as np
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from sklearn_deepfm import DeepFMClassifier

GRID = {"embed_dim": [4, 8, 16, 32], "dropout": [0.0, 0.1, 0.2, 0.3, 0.5]}


def timed(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def small_fits(X, y, n_repeats):
    ours = DeepFMClassifier(max_epochs=20, batch_size=32, early_stopping=False, random_state=0)
    mlp = MLPClassifier((128, 64), max_iter=20, batch_size=32, random_state=0)
    return [(timed(ours.fit, X, y), timed(mlp.fit, X, y)) for _ in range(n_repeats)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_setting(torch, sklearn, skorch, np)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    kinds = {"numbers": rng.normal(size=(1000, 20)), "codes": rng.integers(0, 20, (1000, 20))}
    print(f"\n1,000 rows {'ours, s':>10}{'MLP, s':>9}{'ours / MLP':>12}")
    for kind, X in kinds.items():
        times = small_fits(X, y, options.repeats)
        ours, mlp = (statistics.median(t) for t in zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in times)
        print(f"{kind:10} {ours:10.2f}{mlp:9.2f}{ratio:12.1f}", flush=True)

    X, y = rng.integers(0, 100, (10_000, 10)), rng.integers(0, 2, 10_000)
    search = GridSearchCV(DeepFMClassifier(max_epochs=5, random_state=0), GRID, cv=3, n_jobs=2)
    print(
        f"\ngrid search of {len(GRID['embed_dim']) * len(GRID['dropout'])} candidates, "
        f"{os.cpu_count()} cores: {timed(search.fit, X, y):.0f} s"
    )


if __name__ == "__main__":
    main()
