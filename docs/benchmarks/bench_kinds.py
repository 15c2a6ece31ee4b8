"""Whole numbers as categories, as numbers, and as y says, beside boosting and a linear model.

    python docs/benchmarks/bench_kinds.py --data DIR [--sets adult smooth ...] [--rows 2000 8000]
        [--seeds 3] [--models default categories ...] [--test]

default     OrdinalFieldEncoder and DeepFM with their defaults: the estimator asks y
categories  whole numbers named in categorical_features
numbers     whole numbers named in numeric_features
boosting    HistGradientBoosting; columns of at most 255 strings are categories
linear      LogisticRegression or Ridge on standardised numbers and one-hot strings
network     MLPClassifier or MLPRegressor on the same

Sets are shared ones, tables that ship with scikit-learn, and generated ones. These have three
columns of whole numbers of one kind and two of strings, of y with logistic noise:

few ids     40 names without order, each with an effect of its own
many ids    one name for 10 rows
smooth      a curve over 1,000 values
steps       the same curve in eight steps, over 1,000 values
spikes      a curve, and an effect of its own of each 20th value
both        a curve over 200 values, and an effect of its own of each of them
together    no effect of one column alone: the product of two
heavy tail  a curve of the logarithm of numbers that spread over five powers of ten

Scores are of validation rows, a fifth of the training rows; with --test of the test rows. "pooled"
counts the columns of codes whose neighbours share rows.
"""

import argparse
import pathlib
import time
import warnings

import numpy as np
import pandas as pd
import sklearn
import torch
from bench_models_data import SETS
from setting import print_setting
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

SHARED = "adult", "criteo_10k", "amazon_access", "flights", "frappe"
SHIPPED = "breast_cancer", "iris", "wine", "digits", "diabetes"
MODELS = "default", "categories", "numbers", "boosting", "linear", "network"


def curve(x):
    """A curve over the ranks of x."""
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable") / len(x)
    return 2 * np.sin(4 * rank) - 2 * rank


def effects_of(kind, n, rng):
    """Whole numbers of one kind, and their effect on y."""
    if kind in ("few ids", "many ids"):
        n_ids = 40 if kind == "few ids" else max(n // 10, 40)
        x = rng.integers(n_ids, size=n)
        return 1000 + rng.permutation(n_ids)[x], rng.normal(size=n_ids)[x]
    if kind == "heavy tail":
        x = np.exp(rng.normal(6, 2, n)).astype(int)
        return x, curve(x)
    x = rng.integers(200 if kind == "both" else 1000, size=n)
    if kind == "steps":
        return x, curve(x // 125)
    if kind == "spikes":
        return x, curve(x) / 2 + np.where(x % 20 == 0, 2 * rng.normal(size=1000)[x], 0)
    if kind == "both":
        return x, curve(x) + 0.7 * rng.normal(size=200)[x]
    return x, curve(x)


GENERATED = (
    "few ids", "many ids", "smooth", "steps", "spikes", "both", "together", "heavy tail",
)  # fmt: skip


def generated(kind, n, seed):
    """A table of one kind, split into training, validation and test rows."""
    rng = np.random.default_rng(seed)
    parts = [effects_of(kind, 2 * n, rng) for _ in range(3)]
    X = pd.DataFrame({f"x{j}": x for j, (x, _) in enumerate(parts)})
    effects = [effect - effect.mean() for _, effect in parts]
    logit = 2 * effects[0] * effects[1] if kind == "together" else np.sum(effects, axis=0)
    for name in "ab":
        X[name] = rng.choice([*"uvwxyz"], 2 * n)
        logit = logit + X[name].map(dict(zip("uvwxyz", rng.normal(size=6) / 2, strict=True)))
    y = (logit - logit.mean() + rng.logistic(size=2 * n) > 0).to_numpy().astype(int)
    return split(X, y, n, seed)


def split(X, y, n, seed):
    """At most n training rows, a quarter as many for validation, and the rest for testing."""
    is_class = not np.issubdtype(y.dtype, np.floating)
    held = []
    for share in (0.25, 0.2):
        X, X_held, y, y_held = train_test_split(
            X, y, test_size=share, random_state=seed, stratify=y if is_class else None
        )
        held.append((X_held, y_held))
    test, valid = held
    X, y = (X[:n], y[:n]) if n < len(y) else (X, y)
    return (X, y), valid, test


def parts_of(name, folder, n, seed):
    """Training, validation and test rows of a set."""
    if name in GENERATED:
        return generated(name, n, seed)
    if name in SHIPPED:
        loaded = getattr(datasets, f"load_{name}")(as_frame=True)
        return split(loaded.data, loaded.target.to_numpy(), n, seed)
    data = SETS[name](folder, seed).part(n, seed)
    return data.train, data.valid, data.test


def whole(X):
    """Columns of whole numbers, by their values."""
    numbers = X.select_dtypes("number")
    return [c for c in numbers if (numbers[c].dropna() % 1 == 0).all()]


def model_of(name, X, is_class, seed):
    """A pipeline by its name in the table."""
    if name == "boosting":
        kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
        return kind(categorical_features="from_dtype", random_state=seed)
    if name in ("linear", "network"):
        last = LogisticRegression(max_iter=1000) if is_class else Ridge()
        if name == "network":
            last = (MLPClassifier if is_class else MLPRegressor)(random_state=seed)
        numbers = make_column_selector(dtype_include="number")
        others = make_column_selector(dtype_exclude="number")
        return make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                (OneHotEncoder(handle_unknown="ignore", min_frequency=2), others),
            ),
            last,
        )
    chosen = {"categories": "categorical_features", "numbers": "numeric_features"}
    encoder = OrdinalFieldEncoder(**({chosen[name]: whole(X)} if name in chosen else {}))
    last = DeepFMClassifier if is_class else DeepFMRegressor
    return make_pipeline(encoder, last(random_state=seed))


def for_boosting(parts):
    """Strings as categories, or as codes where boosting does not take as many."""
    tables = [X.copy() for X, _ in parts]
    for column in tables[0].columns:
        if pd.api.types.is_numeric_dtype(tables[0][column]):
            continue
        levels = pd.Index(tables[0][column].dropna().unique()).sort_values()
        for table in tables:
            codes = pd.Categorical(table[column], levels)
            table[column] = codes if len(levels) < 255 else codes.codes
    return [(table, y) for table, (_, y) in zip(tables, parts, strict=True)]


def scores(model, X, y):
    """AUC and log-loss of classes, R2 and the root of the squared error of numbers."""
    if not hasattr(model, "predict_proba"):
        predicted = model.predict(X)
        return r2_score(y, predicted), np.sqrt(np.mean((predicted - y) ** 2))
    proba = model.predict_proba(X)
    auc = roc_auc_score(y, proba[:, 1] if proba.shape[1] == 2 else proba, multi_class="ovr")
    return auc, log_loss(y, proba, labels=model.classes_)


def run(name, folder, n, options):
    """Print the line of each model for one set."""
    found = {model: [] for model in options.models}
    for seed in range(options.seeds):
        parts = parts_of(name, folder, n, seed)
        for model in options.models:
            train, valid, test = for_boosting(parts) if model == "boosting" else parts
            is_class = not np.issubdtype(train[1].dtype, np.floating)
            fitted = model_of(model, train[0], is_class, seed)
            start = time.perf_counter()
            fitted.fit(*train)
            seconds, n_pooled = time.perf_counter() - start, np.nan
            if hasattr(fitted, "steps") and hasattr(fitted[-1], "field_kinds_"):
                n_pooled = fitted[-1].field_kinds_.count("pooled")
            rows = test if options.test else valid
            found[model].append((*scores(fitted, *rows), n_pooled, seconds))
    n_rows, n_columns, n_whole = *train[0].shape, len(whole(train[0]))
    print(f"\n{name}, {n_rows:,} rows, {n_columns} columns, {n_whole} of whole numbers")
    print(f"{'':12}{'AUC/R2':>9}{'sd':>8}{'loss':>10}{'sd':>8}{'pooled':>8}{'seconds':>9}")
    for model, of_seeds in found.items():
        (score, loss, n_pooled, seconds), sd = np.mean(of_seeds, 0), np.std(of_seeds, 0)
        pooled = "" if np.isnan(n_pooled) else f"{n_pooled:.1f}"
        print(
            f"{model:12}{score:9.4f}{sd[0]:8.4f}{loss:10.4f}{sd[1]:8.4f}{pooled:>8}{seconds:9.1f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", default=[*SHARED, *SHIPPED, *GENERATED])
    parser.add_argument("--rows", nargs="+", type=int, default=[2000, 8000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--test", action="store_true", help="scores of test rows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print_setting(torch, sklearn, np)
    for name in options.sets:
        for n in options.rows if name not in SHIPPED else options.rows[:1]:
            run(name, options.data, n, options)


if __name__ == "__main__":
    main()
