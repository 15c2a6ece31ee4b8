"""Time and memory of fit against rows, fields and features.

    python docs/benchmarks/bench_growth.py [--repeats N] [--figure FILE.png]

Each fit is one epoch of the default network with batches of 4096, in a process of its own, on an
index matrix of uniform codes: the worst case for the table, since hardly a row is touched twice in
a batch. Features are the rows of the table that fit made. Memory is what the process adds to its
imports, the data included.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import sklearn
import skorch
import torch
from setting import print_setting

from sklearn_deepfm import DeepFMClassifier

BASE = {"rows": 300_000, "fields": 12, "features": 120_000}
AXES = {
    "rows": [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000],
    "fields": [3, 6, 12, 24, 48],
    "features": [12_000, 120_000, 360_000, 1_200_000, 3_000_000],
}


def peak_memory():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(task):
    """Seconds and bytes of a fit, after one on a few rows that has the libraries loaded."""
    model = DeepFMClassifier(max_epochs=1, batch_size=4096, early_stopping=False, random_state=0)
    model.fit(np.arange(10).reshape(5, 2), [0, 1, 0, 1, 0])
    before = peak_memory()
    rng = np.random.default_rng(0)
    shape = task["rows"], task["fields"]
    X = rng.integers(0, task["features"] // task["fields"], shape, dtype=np.int32)
    y = rng.integers(0, 2, task["rows"], dtype=np.int8)
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "memory": peak_memory() - before,
        "features": int(model.field_dims_.sum()),
    }


def run(task, n_repeats):
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    results = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(n_repeats)
    ]
    return {name: statistics.median(r[name] for r in results) for name in results[0]}


def draw(table, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.5), sharey="row", layout="constrained")
    for column, axis in zip(axes.T, AXES, strict=True):
        points = [(task, result) for name, task, result in table if name == axis]
        x = [result["features"] if axis == "features" else task[axis] for task, result in points]
        for ax, key, scale in zip(column, ("seconds", "memory"), (1, 2**20), strict=True):
            y = [result[key] / scale for _, result in points]
            ax.loglog(x, y, "o-", label="measured")
            last = np.array([x[0], x[-1]])
            ax.loglog(last, y[-1] * last / last[-1], ":", color="grey", label="in proportion")
            ax.set_xticks(x, [_short(value) for value in x], fontsize=8)
            ax.minorticks_off()
        column[1].set_xlabel(axis)
    axes[0, 0].set_ylabel("fit, s")
    axes[1, 0].set_ylabel("memory, MiB")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def _short(number):
    """Such as 300k for 300,000."""
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.{3 if number >= 10 * size else 2}g}{unit}"
    return str(number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--figure")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task)))
        return
    print_setting(torch, sklearn, skorch, np)
    print(f"\n{'rows':>11}{'fields':>8}{'features':>11}{'fit, s':>9}{'us/row':>8}{'MiB':>8}")
    table = []
    for axis, values in AXES.items():
        for value in values:
            task = {**BASE, axis: value}
            result = run(task, options.repeats)
            table.append((axis, task, result))
            print(
                f"{task['rows']:11,}{task['fields']:8}{result['features']:11,}"
                f"{result['seconds']:9.1f}{result['seconds'] / task['rows'] * 1e6:8.1f}"
                f"{result['memory'] / 2**20:8.0f}",
                flush=True,
            )
    if options.figure:
        draw(table, options.figure)


if __name__ == "__main__":
    main()
