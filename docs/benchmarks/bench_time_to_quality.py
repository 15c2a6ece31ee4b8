"""Quality against seconds: defaults beside boosting and logistic regression, by rows.

    pip install catboost lightgbm
    python docs/benchmarks/bench_time_to_quality.py [--data DIR] [--sets flights ...]
        [--rows 1000 10000 100000 1000000] [--seeds 3]
    python docs/benchmarks/bench_time_to_quality.py --draw TABLE ... --figure FILE

Every model has its library's defaults, is fitted to training and validation rows together, and
holds out rows by itself if it does. Where a set has fewer rows than asked, all of them are taken.

DeepFM      OrdinalFieldEncoder and DeepFMClassifier
4 members   the same with n_members=4
boosting    HistGradientBoostingClassifier; fields of more than 255 levels by their ranks
LightGBM    LGBMClassifier, with categories
CatBoost    CatBoostClassifier, with categories
linear      LogisticRegression on one-hot codes

Test rows are predicted once for each line and seed. "fit, s" is the median wall time of a fit,
"x" what it is divided by that of the first model. --draw makes a figure of printed tables.
"""

import argparse
import os
import pathlib
import re
import time
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import sklearn
import torch
from bench_models_data import SETS
from bench_models_rivals import as_categories
from setting import print_setting
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

NAMES = "flights", "frappe", "amazon_access", "adult", "criteo_10k"


def deepfm(data, seed, **params):
    return make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=seed, **params))


def linear(data, seed):
    one_hot = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(OrdinalFieldEncoder(), one_hot, LogisticRegression(max_iter=300))


class OnCategories:
    """A model of trees behind the columns in the form that it takes."""

    def __init__(self, model, convert, **of_fit):
        self._model, self._convert, self._of_fit = model, convert, of_fit

    def fit(self, X, y):
        self._model.fit(self._convert(X), y, **self._of_fit)
        return self

    def predict_proba(self, X):
        return self._model.predict_proba(self._convert(X))


def boosting(data, seed):
    model = HistGradientBoostingClassifier(random_state=seed)
    return OnCategories(model, as_categories(data, most_levels=255))


def lightgbm(data, seed):
    import lightgbm

    model = lightgbm.LGBMClassifier(random_state=seed, verbose=-1)
    return OnCategories(model, as_categories(data))


def catboost(data, seed):
    import catboost

    def convert(X):
        X = X.copy()
        for name in data.native:
            X[name] = X[name].astype(object).where(X[name].notna(), "missing").astype(str)
        return X

    model = catboost.CatBoostClassifier(random_seed=seed, verbose=False, allow_writing_files=False)
    return OnCategories(model, convert, cat_features=data.native)


MODELS = {
    "DeepFM": deepfm,
    "4 members": partial(deepfm, n_members=4),
    "boosting": boosting,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
    "linear": linear,
}


def lines_of(name, options):
    """A dict for each number of rows, seed and model."""
    for n_rows in options.rows:
        for seed in range(options.seeds):
            whole = SETS[name](options.data, seed)
            n_valid = len(whole.valid[1])
            data = whole.part(max(n_rows - n_valid, 1), seed) if n_rows > 2 * n_valid else whole
            X, y = data.all_for_training()
            if len(y) > n_rows:
                data = replace(whole, train=(X, y)).part(n_rows, seed)
                X, y = data.train
            for model in options.models:
                fitted, start = MODELS[model](data, seed), time.perf_counter()
                fitted.fit(X, y)
                seconds = time.perf_counter() - start
                proba = np.clip(fitted.predict_proba(data.test[0])[:, 1], 1e-7, 1 - 1e-7)
                yield {
                    "rows": len(y),
                    "model": model,
                    "AUC": roc_auc_score(data.test[1], proba),
                    "log-loss": log_loss(data.test[1], proba),
                    "fit, s": seconds,
                }
        if len(y) < n_rows:  # there are no more
            return


def print_lines(name, table):
    """A line for each number of rows and model."""
    for n_rows, of_rows in table.groupby("rows", sort=False):
        print(f"\n{name}, {n_rows:,} rows")
        print(f"{'':12}{'AUC':>8}{'sd':>8}{'log-loss':>10}{'sd':>8}{'fit, s':>9}{'x':>7}")
        first = None
        for model, part in of_rows.groupby("model", sort=False):
            mean, sd = part.mean(numeric_only=True), part.std(numeric_only=True, ddof=0)
            seconds = part["fit, s"].median()
            first = first or seconds
            print(
                f"{model:12}{mean['AUC']:8.4f}{sd['AUC']:8.4f}{mean['log-loss']:10.4f}"
                f"{sd['log-loss']:8.4f}{seconds:9.1f}{seconds / first:7.2f}",
                flush=True,
            )


def read(files):
    """Mean log-loss and median seconds by set, model and rows, from printed tables."""
    found = []
    for line in (line for file in files for line in file.read_text().splitlines()):
        if match := re.fullmatch(r"(\w+), ([\d,]+) rows", line):
            name, n_rows = match[1], int(match[2].replace(",", ""))
        elif match := re.fullmatch(r"(.{12})" + r"\s+([\d.]+)" * 6, line):
            found.append((name, match[1].strip(), n_rows, float(match[4]), float(match[6])))
    return pd.DataFrame(found, columns=["set", "model", "rows", "log-loss", "seconds"])


def draw(table, file):
    """Log-loss against seconds: a panel for each set, a line through the sizes for each model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = table["set"].unique()
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 6), layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        of_set = table[table["set"] == name]
        for model, part in of_set.groupby("model", sort=False):
            style = {"linewidth": 2.5, "zorder": 3} if model == "DeepFM" else {"linewidth": 1}
            style["color"] = f"C{[*MODELS].index(model)}"
            axis.plot(part["seconds"].clip(0.05), part["log-loss"], "o-", label=model, **style)
        # Trees of few rows are far above all others.
        axis.set_ylim(top=1.05 * of_set.loc[of_set["model"] == "DeepFM", "log-loss"].max())
        sizes = ", ".join(f"{n:,}" for n in of_set["rows"].unique())
        axis.set_title(f"{name}\n{sizes} rows", fontsize="small")
        axis.set(xscale="log", xlabel="seconds of fit", ylabel="log-loss")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    handles = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].legend(*handles, loc="center", frameon=False)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--sets", nargs="+", default=[*NAMES], choices=NAMES)
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=MODELS)
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 10_000, 100_000, 10**6])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--figure", type=pathlib.Path)
    options = parser.parse_args()
    if options.draw:
        return draw(read(options.draw), options.figure)
    options.data = None if options.data is None else pathlib.Path(options.data)
    warnings.simplefilter("ignore")
    print_setting(torch, sklearn, np)
    for name in options.sets:
        print_lines(name, pd.DataFrame(lines_of(name, options)))


if __name__ == "__main__":
    main()
