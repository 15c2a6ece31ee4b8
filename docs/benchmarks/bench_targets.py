"""Kinds of targets on flights: several classes, several labels, a number; beside boosting.

    python docs/benchmarks/bench_targets.py [--rows 100000] [--seeds 3]

classes: early or on time, up to 15 minutes late, up to 60, more. labels: later than 0, 15 and 60
minutes, at once; boosting fits one model for each. minutes: of delay, between -30 and 180. Peers
are HistGradientBoosting, with native categories where there are at most 255 and stopping early, and
the prior or the mean. DeepFM has its defaults. A random fifth of the rows is for testing.
"""

import argparse
import time

import numpy as np
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputClassifier

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

STEPS = [0, 15, 60]


def targets(delay):
    return {
        "classes": np.searchsorted(STEPS, delay),
        "labels": (delay[:, None] > STEPS).astype(int),
        "minutes": np.clip(delay, -30, 180).astype(float),
    }


def models(kind, native, seed):
    boosting = {"categorical_features": native, "early_stopping": True, "random_state": seed}
    if kind == "minutes":
        return {
            "DeepFM": DeepFMRegressor(random_state=seed),
            "boosting": HistGradientBoostingRegressor(max_iter=500, **boosting),
            "mean": DummyRegressor(),
        }
    peer = HistGradientBoostingClassifier(max_iter=500, **boosting)
    return {
        "DeepFM": DeepFMClassifier(random_state=seed),
        "boosting": MultiOutputClassifier(peer) if kind == "labels" else peer,
        "prior": DummyClassifier(),
    }


def scores(kind, model, X, y):
    """Names and values."""
    if kind == "minutes":
        predicted = model.predict(X)
        return {"R2": r2_score(y, predicted), "mean error": mean_absolute_error(y, predicted)}
    proba = model.predict_proba(X)
    if kind == "classes":
        auc = roc_auc_score(y, proba, multi_class="ovr", average="macro")
        return {"AUC": auc, "log-loss": log_loss(y, proba)}
    if isinstance(proba, list):
        proba = np.column_stack([of_label[:, 1] for of_label in proba])
    losses = [log_loss(y[:, k], proba[:, k]) for k in range(y.shape[1])]
    return {"AUC": roc_auc_score(y, proba), "log-loss": sum(losses)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print_setting(torch, sklearn, skorch, np)
    X, delay = load_flights(target="delay", return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[: options.rows]
    X, delay = X.iloc[rows], np.asarray(delay)[rows]
    for kind, y in targets(delay).items():
        results = {}
        for seed in range(options.seeds):
            train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed)
            encoder = OrdinalFieldEncoder().fit(X.iloc[train])
            X_train, X_test = encoder.transform(X.iloc[train]), encoder.transform(X.iloc[test])
            native = np.flatnonzero(encoder.field_dims_ <= 255)
            for name, model in models(kind, native, seed).items():
                start = time.perf_counter()
                model.fit(X_train, y[train])
                seconds = time.perf_counter() - start
                row = {**scores(kind, model, X_test, y[test]), "fit, s": seconds}
                results.setdefault(name, []).append(row)
        print(f"\n{kind}{'':10}" + "".join(f"{head:>12}" for head in row))
        for name, rows_of in results.items():
            values = [np.mean([row[head] for row in rows_of]) for head in rows_of[0]]
            print(f"{name:{len(kind) + 10}}" + "".join(f"{v:12.4f}" for v in values), flush=True)


if __name__ == "__main__":
    main()
