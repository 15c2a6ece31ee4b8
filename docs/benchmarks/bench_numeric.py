"""What a column of numbers may be to DeepFM: a value times a vector, bins, or mixtures of bins.

    python docs/benchmarks/bench_numeric.py --data DIR [--sets flights adult criteo_10k]
        [--ways value bins ...] [--seeds 3] [--params '{"embedding_l2": 0.1}']

Each way turns the numbers of a table into columns for DeepFMClassifier, which stops early and
otherwise has its defaults; the other columns are encoded alike. With v_k an embedding for each bin
or knot k:

value         u + x v, x standardised
log value     the same of sign(x) log(1 + |x|)
bins          v_k of the quantile bin of x: what OrdinalFieldEncoder makes of it
20 a bin      the same with up to 255 bins of 20 rows or more
100 a bin     of 100 rows or more
200 a bin     of 200 rows or more
32 bins       with at most 32 bins
neighbours    v_k / 2 + (v_(k-1) + v_(k+1)) / 4
interpolated  (1 - t) v_k + t v_(k+1), for x between the knots k and k+1, the quantiles
cumulative    v_1 + .. + v_(k-1) + t v_k, with 32 knots: piecewise-linear encoding [1]
periodic      u + x v + sum_j sin(c_j x) a_j + cos(c_j x) b_j, 8 random frequencies of sd 2 [1]
value + bins  x v + v_k
score         u + z v, z the normal score of x: DeepFMClassifier(n_bins=None) on a column of floats
score + bins  z v + v_k: what the estimators make of a column of floats

[1] Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning,
NeurIPS 2022.

A random fifth of the rows is for validation, anew for each seed. seconds: of fit.
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

HARD_BINS = ("bins", "20 a bin", "100 a bin", "200 a bin", "32 bins")
N_FREQUENCIES = 8
N_FLIGHTS = 100_000


class Way:
    """One column of numbers, by the name of a way; learned on the training rows."""

    def __init__(self, name, x, seed):
        self.name = name
        x = self.transformed(x)
        seen = x[~np.isnan(x)]
        self.mean, self.sd = seen.mean(), seen.std() or 1.0
        self.low, self.high = seen.min(), seen.max()
        n_bins = 32 if name in ("32 bins", "cumulative") else "auto"
        if name.endswith(" a bin"):
            n_bins = int(np.clip(len(seen) / int(name.split()[0]), 2, 255))
        self.encoder = OrdinalFieldEncoder(n_bins=n_bins, numeric_features=[0]).fit(x[:, None])
        self.knots = np.unique(self.encoder.categories_[0])
        self.frequencies = np.random.default_rng(seed).normal(0, 2, N_FREQUENCIES)

    def transformed(self, x):
        return np.sign(x) * np.log1p(np.abs(x)) if self.name == "log value" else x

    def __call__(self, x):
        if self.name.startswith("score"):
            return x
        x = self.transformed(x)
        bins = self.encoder.transform(x[:, None])[:, 0]
        if self.name in HARD_BINS:
            return bins
        codes, weights = self.members(np.clip(x, self.low, self.high), bins)
        codes = np.where(np.isnan(x)[:, None], 0, codes)
        return as_lists(codes, np.where(np.isnan(x)[:, None], 1 / codes.shape[1], weights))

    def members(self, x, bins):
        """Codes and weights, a row for each number."""
        z = np.nan_to_num((x - self.mean) / self.sd)
        n, ones = len(self.knots), np.ones(len(x))
        if self.name == "neighbours":
            codes = np.column_stack([bins - 1, bins, bins + 1]).clip(2, n)
            return codes, np.tile([0.25, 0.5, 0.25], (len(x), 1))
        if self.name == "periodic":
            angle = z[:, None] * self.frequencies
            weights = [ones, z, np.sin(angle), np.cos(angle)]
            return np.tile(np.arange(2, 4 + 2 * N_FREQUENCIES), (len(x), 1)), np.column_stack(
                weights
            )
        if self.name.endswith("value"):
            return np.tile([2, 3], (len(x), 1)), np.column_stack([ones, z])
        if self.name == "value + bins":
            return np.column_stack([bins, np.ones_like(bins)]), np.column_stack([ones, z])
        knot = np.clip(
            np.searchsorted(self.knots, np.nan_to_num(x), side="right") - 1, 0, max(n - 2, 0)
        )
        right = np.minimum(knot + 1, n - 1)
        width = np.where(right > knot, self.knots[right] - self.knots[knot], 1.0)
        t = np.clip((np.nan_to_num(x) - self.knots[knot]) / width, 0, 1)
        if self.name == "interpolated":
            return np.column_stack([knot, right]) + 2, np.column_stack([1 - t, t])
        steps = np.arange(n)
        return np.tile(steps + 2, (len(x), 1)), np.clip(knot[:, None] + t[:, None] - steps, 0, 1)


def as_lists(codes, weights):
    used = weights != 0
    starts = np.concatenate([[0], np.cumsum(used.sum(1))]).astype(np.int32)
    members = pa.StructArray.from_arrays(
        [pa.array(codes[used].astype(np.int32)), pa.array(weights[used].astype(np.float32))],
        names=["code", "weight"],
    )
    return pd.arrays.ArrowExtensionArray(pa.ListArray.from_arrays(starts, members))


WAYS = (
    "value",
    "log value",
    "bins",
    "20 a bin",
    "100 a bin",
    "200 a bin",
    "32 bins",
    "neighbours",
    "interpolated",
    "cumulative",
    "periodic",
    "value + bins",
    "score",
    "score + bins",
)


def read(name, folder):
    """Table, target and names of the columns of numbers."""
    if name == "flights":
        X, y = load_flights(return_X_y=True)
        rows = np.random.default_rng(0).permutation(len(X))[:N_FLIGHTS]
        numbers = ["day_of_year", "sched_dep_minute", "sched_arr_minute", "distance"]
        return X.iloc[rows], np.asarray(y)[rows], numbers
    frame = pd.read_parquet(folder / name / "data.parquet")
    target = {"adult": "income", "criteo_10k": "label"}[name]
    y, X = frame[target], frame.drop(columns=target)
    numbers = X.select_dtypes("number").columns.tolist()
    return X, (y == y.max()).to_numpy(int), numbers


def run(way, X, y, numbers, seed, params):
    train, valid = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y)
    rest = [name for name in X.columns if name not in numbers]
    encoder = OrdinalFieldEncoder(categorical_features=rest).fit(X[rest].iloc[train])
    tables = {
        name: pd.DataFrame(encoder.transform(X[rest].iloc[rows]), columns=rest)
        for name, rows in (("train", train), ("valid", valid))
    }
    for number in numbers:
        x = X[number].to_numpy(float, na_value=np.nan)
        column = Way(way, x[train], seed)
        tables["train"][number], tables["valid"][number] = column(x[train]), column(x[valid])
    model = DeepFMClassifier(
        pooling="sum",
        n_bins=None if way == "score" else "auto",
        categorical_features=[name for name in X if tables["train"][name].dtype != float],
        random_state=seed,
        **params,
    )
    start = time.perf_counter()
    model.fit(tables["train"], y[train])
    seconds = time.perf_counter() - start
    proba = model.predict_proba(tables["valid"])[:, 1]
    return roc_auc_score(y[valid], proba), log_loss(y[valid], proba), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--sets", nargs="+", default=["flights", "adult", "criteo_10k"])
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--params", type=json.loads, default={"early_stopping": True})
    options = parser.parse_args()
    print_setting(torch, sklearn, skorch, np)
    for name in options.sets:
        X, y, numbers = read(name, pathlib.Path(options.data or "."))
        print(f"\n{name}, {len(y):,} rows, {len(numbers)} columns of numbers of {X.shape[1]}")
        print(f"{'':14}{'AUC':>8}{'sd':>8}{'log-loss':>10}{'sd':>8}{'seconds':>9}")
        for way in options.ways:
            results = [
                run(way, X, y, numbers, seed, options.params) for seed in range(options.seeds)
            ]
            mean, sd = np.mean(results, axis=0), np.std(results, axis=0)
            print(
                f"{way:14}{mean[0]:8.4f}{sd[0]:8.4f}{mean[1]:10.4f}{sd[1]:8.4f}{mean[2]:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
