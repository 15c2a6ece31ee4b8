"""Tables of few and of many distinct rows, where logistic or linear regression is the truth.

    python docs/benchmarks/bench_distinct_rows.py [--rows 200 1000 5000 20000 100000]
        [--distinct 20 300 3000 10000] [--seeds 3]

The label of a row depends on one, two or three columns of ids by a sum of normal effects, of
standard deviation 1.5 together. The distinct rows are so many; the rows are drawn from them. Beside
the estimators with default parameters stand LogisticRegression (Ridge for numbers) on one-hot codes
and HistGradientBoosting on the same codes as categories. Loss: log-loss, or squared error over the
variance of y, of 20,000 new rows; best: of a model that knows the effects. weights: some rows stand
twice, with half the weight each.
"""

import argparse
import warnings

import numpy as np
import sklearn
import torch
from scipy.special import expit
from setting import print_setting
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor

N_TEST = 20_000


def table(n_rows, n_distinct, n_columns, rng):
    """Codes of rows, and the sum of their effects."""
    n_values = max(round(n_distinct ** (1 / n_columns)), 2)
    codes = rng.integers(0, n_values, (n_rows + N_TEST, n_columns))
    effects = rng.normal(scale=1.5 / np.sqrt(n_columns), size=(n_columns, n_values))
    return codes, effects[np.arange(n_columns), codes].sum(axis=1)


def models(is_class, seed):
    one_hot = OneHotEncoder(handle_unknown="ignore")
    if is_class:
        boosting = HistGradientBoostingClassifier(random_state=seed)
        return (
            DeepFMClassifier(random_state=seed),
            LogisticRegression(max_iter=1000),
            boosting,
            one_hot,
        )
    boosting = HistGradientBoostingRegressor(random_state=seed)
    return DeepFMRegressor(random_state=seed), Ridge(), boosting, one_hot


def losses(n_rows, n_distinct, n_columns, kind, seed):
    rng = np.random.default_rng(seed)
    X, effect = table(n_rows, n_distinct, n_columns, rng)
    is_class = kind != "numbers"
    y = rng.random(len(X)) < expit(effect) if is_class else effect + rng.normal(size=len(X))
    y = y.astype(int) if is_class else y
    train, weight = np.arange(n_rows), None
    if kind == "weights":
        twice = rng.random(n_rows) < np.where(X[:n_rows, 0] % 2, 0.8, 0.2)
        train = np.concatenate([train, train[twice]])
        weight = np.where(twice[train], 0.5, 1.0)
    ours, linear, boosting, one_hot = models(is_class, seed)
    boosting.set_params(categorical_features=list(range(n_columns)) if X.max() < 255 else None)
    name = {"ours": ours, "linear": make_pipeline(one_hot, linear), "boosting": boosting}
    truth = expit(effect[n_rows:]) if is_class else effect[n_rows:]
    found = {"best": loss(y[n_rows:], truth, is_class)}
    for label, model in name.items():
        weights = {} if weight is None else {"sample_weight": weight}
        if weights and label == "linear":
            weights = {f"{model.steps[-1][0]}__sample_weight": weight}
        model.fit(X[train], y[train], **weights)
        new = X[n_rows:]
        predicted = model.predict_proba(new)[:, 1] if is_class else model.predict(new)
        found[label] = loss(y[n_rows:], predicted, is_class)
    return found


def loss(y, predicted, is_class):
    return log_loss(y, predicted) if is_class else np.mean((y - predicted) ** 2) / np.var(y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 1000, 5000, 20_000, 100_000])
    parser.add_argument("--distinct", type=int, nargs="+", default=[20, 300, 3000, 10_000])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print_setting(sklearn, torch, np)
    print(f"\n{'kind':8}{'columns':>8}{'rows':>8}{'distinct':>9}", end="")
    print("".join(f"{label:>10}" for label in ("best", "ours", "linear", "boosting")))
    for kind, n_columns in [
        ("classes", 1),
        ("classes", 2),
        ("classes", 3),
        ("numbers", 2),
        ("weights", 2),
    ]:
        for n_rows in options.rows:
            for n_distinct in options.distinct:
                parts = [
                    losses(n_rows, n_distinct, n_columns, kind, seed)
                    for seed in range(options.seeds)
                ]
                print(f"{kind:8}{n_columns:8}{n_rows:8,}{n_distinct:9,}", end="")
                means = (np.mean([part[label] for part in parts]) for label in parts[0])
                print("".join(f"{mean:10.4f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
