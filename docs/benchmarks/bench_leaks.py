"""Memory of one process over 1,000 fits and 100,000 predictions.

    python docs/benchmarks/bench_leaks.py [--fits 1000] [--predicts 100000]

Small tables of everything: strings, numbers, lists, members, row-sparse steps, several classes. The
resident memory is printed ten times over; a leak would make it grow in proportion.
"""

import argparse
import gc
import os

import numpy as np
import pandas as pd
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

PARAMS = [{}, {"sparse_updates": True}, {"n_members": 2}, {"ema_epochs": 0, "early_stopping": True}]


def resident_mib():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(rng, n=300):
    return pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rome", None], n),
            "id": rng.integers(0, 200, n),
            "price": rng.normal(size=n),
            "tags": [rng.choice(["x", "y"], k).tolist() for k in rng.integers(0, 3, n)],
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=1_000)
    parser.add_argument("--predicts", type=int, default=100_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_setting(torch, sklearn, skorch, np)
    rng = np.random.default_rng(0)
    print(f"{'':22}{'resident, MiB':>14}")
    for step in range(11):
        for i in range(options.fits // 10 if step else 20):
            model = DeepFMClassifier(max_epochs=1, **PARAMS[i % len(PARAMS)])
            model = make_pipeline(OrdinalFieldEncoder(), model)
            model.fit(table(rng), rng.integers(0, 2 + i % 2, 300))
        print(f"{step * options.fits // 10:8} fits{resident_mib():23.1f}", flush=True)
    rows = table(rng, 50)
    for step in range(11):
        for i in range(options.predicts // 10 if step else 200):
            model.predict_proba(rows[i % 50 : i % 50 + 1])
        print(f"{step * options.predicts // 10:8} predictions{resident_mib():16.1f}", flush=True)


if __name__ == "__main__":
    main()
