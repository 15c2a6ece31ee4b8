"""What smaller tables cost: embeddings of fewer numbers, rare categories together, hashing.

    python docs/benchmarks/bench_sizes.py --data DIR [--sets flights amazon_access] [--seeds 3]

exact: each category that fit saw has a code. top m: the m most frequent categories of each field
have one, and the rest share one. hashed m: each category has one of m codes by its hash, several
together; at the same m, and so at about the same number of rows, what hashing costs is the
difference to top m. at least k: categories in fewer than k rows share a code. Training stops early;
other settings are the defaults. A random fifth of the rows is for validation, anew for each seed.

rows: of the embedding table. unknown: validation cells, by field of most categories, whose category
has no code of its own.
"""

import argparse
import os
import pathlib
import time

import numpy as np
import pandas as pd
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

N_FLIGHTS = 100_000
WAYS = {
    "exact, embed_dim=16": ({}, {}),
    "embed_dim=32": ({}, {"embed_dim": 32}),
    "embed_dim=8": ({}, {"embed_dim": 8}),
    "embed_dim=4": ({}, {"embed_dim": 4}),
    "at least 2": ({"min_frequency": 2}, {}),
    "at least 10": ({"min_frequency": 10}, {}),
    "top 1000": ({"max_categories": 1000}, {}),
    "hashed 1000": ({"hash_dims": 1000}, {}),
    "top 100": ({"max_categories": 100}, {}),
    "hashed 100": ({"hash_dims": 100}, {}),
}


def read(name, folder):
    if name == "flights":
        X, y = load_flights(return_X_y=True)
        rows = np.random.default_rng(0).permutation(len(X))[:N_FLIGHTS]
        return X.iloc[rows], np.asarray(y)[rows]
    frame = pd.read_parquet(folder / name / "data.parquet")
    return frame.drop(columns=["ACTION", "catboost_split"]), frame["ACTION"].to_numpy()


def run(X, y, seed, encoder_params, params):
    X_train, X_valid, y_train, y_valid = train_test_split(
        X, y, test_size=0.2, random_state=seed, stratify=y
    )
    encoder = OrdinalFieldEncoder(**encoder_params).fit(X_train)
    model = DeepFMClassifier(early_stopping=True, random_state=seed, **params)
    codes = encoder.transform(X_train)
    start = time.perf_counter()
    model.fit(codes, y_train)
    seconds = time.perf_counter() - start
    codes = encoder.transform(X_valid)
    proba = model.predict_proba(codes)[:, 1]
    largest = X_train.nunique().argmax()
    unknown = (codes[:, largest] == 1).mean()
    scores = roc_auc_score(y_valid, proba), log_loss(y_valid, proba)
    return *scores, len(model.module_.table), unknown, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--sets", nargs="+", default=["flights", "amazon_access"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print_setting(torch, sklearn, skorch, np)
    for name in options.sets:
        X, y = read(name, pathlib.Path(options.data or "."))
        print(f"\n{name}, {len(y):,} rows, categories of the fields: {X.nunique().tolist()}")
        heads = ("AUC", "sd", "log-loss", "sd", "rows", "unknown", "fit, s")
        print(f"{'':20}" + "".join(f"{head:>10}" for head in heads))
        for way, params in WAYS.items():
            results = [run(X, y, seed, *params) for seed in range(options.seeds)]
            auc, loss, rows, unknown, seconds = np.mean(results, axis=0)
            sd = np.std(results, axis=0)
            print(
                f"{way:20}{auc:10.4f}{sd[0]:10.4f}{loss:10.4f}{sd[1]:10.4f}{rows:10,.0f}"
                f"{unknown:10.1%}{seconds:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
