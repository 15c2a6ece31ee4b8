"""Recipes of training beside the default one: quality and time on validation rows.

    python docs/benchmarks/bench_recipe.py [--data DIR] [--sets flights:60000 ...] [--seeds 2]
        [--recipes former ...]

former       batches a quarter as large, a learning rate of 1e-3, patience of at least 500 steps
rate / 1.4, rate x 1.4, rate x 2
             other learning rates of the same batches
batch x 4    larger batches, the learning rate with their root
patience 3   3 epochs without a better score, after 1 of which the learning rate falls
cosine       20 epochs, over which the learning rate falls to 0
L2 / 2, L2 x 2
             other penalties of embeddings

Training rows are fitted to; scores are of the validation rows, differences to the default with the
same seeds, sd their deviation. "time" is that of the processor, by that of the default; "epochs"
are those run and the best one.
"""

import argparse
import os
import pathlib
import time
import warnings

import numpy as np
import sklearn
import torch
from bench_models_data import SETS
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm._training.defaults import batch_size, learning_rate, penalties

RECIPES = (
    "default", "former", "rate / 1.4", "rate x 1.4", "rate x 2", "batch x 4", "patience 3",
    "cosine", "L2 / 2", "L2 x 2",
)  # fmt: skip
DEFAULT_SETS = (
    "adult:10000", "criteo_10k:10000", "flights:20000", "amazon_access:25000", "frappe:60000",
    "flights:60000",
)  # fmt: skip


def parameters(recipe, y):
    """Those in which a recipe differs from the default."""
    n = round(0.9 * len(y))  # a tenth is held out
    size = batch_size("auto", n)
    rate, share = learning_rate("auto", size, n), y.mean()
    if recipe == "former":
        size = max(size // 4, 32)
        patience = max(5, -(-500 // -(-n // size)))
        return {"batch_size": size, "learning_rate": 1e-3, "n_iter_no_change": patience}
    if recipe.startswith("rate"):
        factor = float(recipe.split()[-1])
        return {"learning_rate": rate / factor if "/" in recipe else rate * factor}
    if recipe == "batch x 4":
        return {"batch_size": 4 * size}
    if recipe == "patience 3":
        return {"n_iter_no_change": 3}
    if recipe == "cosine":
        return {"lr_schedule": "cosine", "max_epochs": 20, "n_iter_no_change": 20}
    if recipe.startswith("L2"):
        loss = -share * np.log(share) - (1 - share) * np.log(1 - share)
        automatic, _ = penalties(DeepFMClassifier(), n, loss)
        return {"embedding_l2": automatic / 2 if "/" in recipe else automatic * 2}
    return {}


def scores(data, recipe, seed):
    """AUC and log-loss of the validation rows, seconds, epochs and the best epoch."""
    model = DeepFMClassifier(random_state=seed, **parameters(recipe, data.train[1]))
    model = make_pipeline(OrdinalFieldEncoder(), model)
    start = time.process_time()
    model.fit(*data.train)
    seconds = time.process_time() - start
    X, y = data.valid
    proba = model.predict_proba(X)[:, 1]
    last = model[-1]
    return roc_auc_score(y, proba), log_loss(y, proba), seconds, last.n_iter_, last.best_epoch_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--sets", nargs="+", default=DEFAULT_SETS)
    parser.add_argument("--recipes", nargs="+", default=RECIPES[1:], choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = None if options.data is None else pathlib.Path(options.data)
    print_setting(torch, sklearn, np)
    for wanted in options.sets:
        name, n_rows = wanted.split(":")
        parts = [SETS[name](folder, s).part(int(n_rows), s) for s in range(options.seeds)]
        print(f"\n{name}, {len(parts[0].train[1]):,} rows")
        print(f"{'':12}{'AUC':>8}{'sd':>8}{'log-loss':>10}{'sd':>8}{'time':>7}{'epochs':>13}")
        first = None
        for recipe in ("default", *options.recipes):
            found = np.array([scores(data, recipe, seed) for seed, data in enumerate(parts)])
            first = found if first is None else first
            change = found[:, :2] - (first[:, :2] if recipe != "default" else 0)
            (auc, loss), (auc_sd, loss_sd) = change.mean(0), change.std(0)
            sign = "+" if recipe != "default" else ""
            print(
                f"{recipe:12}{auc:{sign}8.4f}{auc_sd:8.4f}{loss:{sign}10.4f}{loss_sd:8.4f}"
                f"{np.median(found[:, 2] / first[:, 2]):7.2f}"
                f"{found[:, 3].mean():7.1f} ({found[:, 4].mean():.1f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
