"""Log-loss of validation rows where batch_size is set and learning_rate is not.

    DEEPFM_DATA=... python docs/benchmarks/bench_batch_sizes.py [--seeds 2] [--times 0.25 4 16 64]

Sizes are the automatic one times a number. fixed: learning_rate=1e-3, whatever the size; root: the
default, which follows the root of the size.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from bench_models_data import SETS
from setting import print_setting
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm._training.defaults import batch_size

ROWS = {"adult": 5_000, "amazon_access": 10_000, "flights": 10_000, "frappe": 10_000}


def loss(data, n_in_batch, rate, seed):
    params = {"batch_size": n_in_batch, "learning_rate": rate, "random_state": seed}
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**params)).fit(*data.train)
    return log_loss(data.valid[1], model.predict_proba(data.valid[0])[:, 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--times", type=float, nargs="+", default=[0.25, 1, 4, 16, 64])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = Path(os.environ["DEEPFM_DATA"])
    print_setting(sklearn, torch, np)
    print(f"\n{'set':15}{'rows':>8}{'times':>8}{'batch':>8}{'fixed':>9}{'root':>9}")
    for name, n_rows in ROWS.items():
        parts = [SETS[name](folder, seed).part(n_rows, seed) for seed in range(options.seeds)]
        n_train = int(0.9 * len(parts[0].train[0]))
        for times in options.times:
            n_in_batch = int(times * batch_size("auto", n_train))
            fixed, root = (
                np.mean([loss(data, n_in_batch, rate, i) for i, data in enumerate(parts)])
                for rate in (1e-3, "auto")
            )
            sizes = f"{n_rows:8,}{times:8g}{n_in_batch:8}"
            print(f"{name:15}{sizes}{fixed:9.4f}{root:9.4f}", flush=True)


if __name__ == "__main__":
    main()
