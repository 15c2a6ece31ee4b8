"""Train DeepFM on Frappe with the published settings, over several seeds.

    python docs/benchmarks/bench_frappe.py --data DIR [--seeds N]

Train, validation and test rows are those of the published split. Embedding 10, MLP 400-400-400,
batch 4096, L2 of the table .05, dropout .2, Adam with 1e-3, divided by 10 after an epoch
without gain in validation AUC, stop after two. Test rows are predicted once, after each fit.
"""

import argparse
import os
import pathlib
import statistics
import time

import numpy as np
import pandas as pd
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

PUBLISHED = "published  .98395 +- .00016 AUC, .14946 +- .00175 log-loss (DeepFM, 5 seeds, BARS)"


def read(folder):
    tables = [pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "valid", "test")]
    return [(table.drop(columns="label"), table["label"].to_numpy()) for table in tables]


def fit(train, valid, seed, **params):
    model = DeepFMClassifier(
        embed_dim=10,
        mlp_dims=(400, 400, 400),
        batch_size=4096,
        embedding_l2=0.05,
        linear_l2=0.05,
        ema_epochs=0,
        dropout=0.2,
        learning_rate=1e-3,
        lr_schedule="plateau",
        scoring="roc_auc",
        n_iter_no_change=2,
        max_epochs=100,
        random_state=seed,
        **params,
    )
    return model.fit(*train, X_val=valid[0], y_val=valid[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DEEPFM_DATA"), required=False)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sparse-updates", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data, or DEEPFM_DATA, must name the folder that holds frappe/")
    print_setting(torch, sklearn, skorch, np)

    (X_train, y_train), (X_valid, y_valid), (X_test, y_test) = read(
        pathlib.Path(options.data) / "frappe"
    )
    encoder = OrdinalFieldEncoder().fit(X_train)
    train, valid = (encoder.transform(X_train), y_train), (encoder.transform(X_valid), y_valid)
    test = encoder.transform(X_test)
    scores = []
    print(f"\n{'seed':>4}{'epochs':>8}{'fit, s':>8}{'test AUC':>10}{'log-loss':>10}")
    for seed in range(options.seeds):
        start = time.perf_counter()
        model = fit(train, valid, seed, sparse_updates=options.sparse_updates)
        seconds = time.perf_counter() - start
        proba = model.predict_proba(test)[:, 1]
        scores.append((roc_auc_score(y_test, proba), log_loss(y_test, proba)))
        auc, loss = scores[-1]
        print(f"{seed:4}{model.n_iter_:8}{seconds:8.0f}{auc:10.5f}{loss:10.5f}", flush=True)
    for label, average in (("mean", statistics.mean), ("sd", statistics.stdev)):
        auc, loss = (average(column) for column in zip(*scores, strict=True))
        print(f"{label:20}{auc:10.5f}{loss:10.5f}")
    print(PUBLISHED)


if __name__ == "__main__":
    main()
