"""Quality beside logistic regression, gradient boosting and other DeepFMs.

    pip install lightgbm catboost deepctr-torch pytorch-widedeep
    python docs/benchmarks/bench_models.py --tables defaults [--data DIR] [--sets flights ...]
        [--models DeepFM ...] [--seeds 3] [--trials 30] [--members 1 2 4 8] [--figure FILE]

Tables:

defaults   All models fit to the same training rows and stop early by the log-loss of the same
           validation rows; boosting grows up to 1,000 trees with a patience of 50, everything
           else is its library's default. DeepFM is OrdinalFieldEncoder() and DeepFMClassifier().
tuned      Random search: each trial fits to at most 15,000 training rows; the parameters with the
           best validation log-loss are fitted to all. DeepFM also with 4 members.
members    DeepFM fits to training and validation rows and holds out by itself.
pairs      The same, with pairs of columns and counts as further columns.
weights    The same, with classes weighed; "turned back": predicted odds divided by their weights'.
ablation   Parts of the model, as in Table 2 of the DeepFM paper.
unseen     A tenth of the levels of the largest field is in no training or validation row; test rows
           are those with such a level.

Test rows are predicted once for each line and seed. AUC and log-loss are means over the seeds, sd
their deviation. ECE is the expected calibration error over 15 bins of equally many rows, chance
what it would be for labels drawn with the predicted probabilities, mean the mean prediction.
"""

import argparse
import os
import pathlib
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd
import sklearn
import skorch
import torch
from bench_models_data import SETS
from bench_models_rivals import MODELS, deepfm
from pairs_and_counts import PairsAndCounts
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

TRIAL_ROWS = 15_000
PARTS = {
    "LR": ("linear",),
    "FM": ("linear", "fm"),
    "DNN": ("deep",),
    "Wide & Deep": ("linear", "deep"),
    "DeepFM": ("linear", "fm", "deep"),
}
LARGEST_FIELD = {
    "flights": "tailnum",
    "frappe": "item",
    "amazon_access": "RESOURCE",
    "criteo_10k": "C3",
}


def calibration(y, proba, n_bins=15):
    """Mean prediction, share of ones and number of rows of bins of equally many rows."""
    bins = np.array_split(np.argsort(proba, kind="stable"), n_bins)
    return np.array([(proba[rows].mean(), y[rows].mean(), len(rows)) for rows in bins]).T


def calibration_error(y, proba):
    mean, share, count = calibration(y, proba)
    return np.average(np.abs(mean - share), weights=count)


def chance_error(proba, n_draws=100):
    """Expected calibration error where each label is drawn with the predicted probability."""
    rng = np.random.default_rng(0)
    draws = [rng.random(len(proba)) < proba for _ in range(n_draws)]
    return np.mean([calibration_error(y, proba) for y in draws])


def scored(fit, data):
    """Fit, predict the test rows once, and score."""
    start = time.perf_counter()
    predict = fit()
    seconds = time.perf_counter() - start
    X, y = data.test
    proba = np.clip(predict(X), 1e-7, 1 - 1e-7)
    return {
        "AUC": roc_auc_score(y, proba),
        "log-loss": log_loss(y, proba),
        "ECE": calibration_error(y, proba),
        "chance": chance_error(proba),
        "mean": proba.mean(),
        "fit, s": seconds,
    }


def defaults(name, data, seed, options):
    for model in options.models:
        yield model, scored(lambda model=model: MODELS[model][0](data, seed), data)


def tuned(name, data, seed, options):
    """The search of each model draws from a generator of its own."""
    part = data.part(TRIAL_ROWS, seed)
    for model in options.models:
        fit, draw = MODELS[model]
        if draw is None:
            continue
        rng, start = np.random.default_rng(seed), time.perf_counter()
        trials = [draw(rng) for _ in range(options.trials)]
        losses = [log_loss(data.valid[1], fit(part, seed, **p)(data.valid[0])) for p in trials]
        best = trials[int(np.argmin(losses))]
        minutes = (time.perf_counter() - start) / 60
        print(f"  {name}, seed {seed}, {model}: {best}, {minutes:.0f} min of search", flush=True)
        yield model, scored(lambda fit=fit, best=best: fit(data, seed, **best), data)
        if model == "DeepFM":
            best = {**best, "n_members": 4}
            yield "DeepFM, 4 members", scored(lambda best=best: deepfm(data, seed, **best), data)


def fit_to_all(data, seed, before=(), encoder_params=None, **params):
    """DeepFM on training and validation rows, behind further steps."""
    steps = [*before, OrdinalFieldEncoder(**(encoder_params or {}))]
    model = make_pipeline(*steps, DeepFMClassifier(random_state=seed, **params))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Column", UserWarning)  # nearly unique ones
        model.fit(*data.all_for_training())
    return lambda X: model.predict_proba(X)[:, 1]


def members(name, data, seed, options):
    for n in options.members:
        line = f"{n} members" if n > 1 else "1 member"
        yield line, scored(lambda n=n: fit_to_all(data, seed, n_members=n), data)


def pairs(name, data, seed, options):
    params = {"embed_dim": 8, "batch_size": 128, "encoder_params": {"min_frequency": 2}}
    params["encoder_params"]["n_bins"] = 16
    for n in (1, 4, 8):
        fit = partial(fit_to_all, data, seed, n_members=n)
        yield f"codes, {n} member(s)", scored(fit, data)
        fit = partial(fit_to_all, data, seed, [PairsAndCounts()], n_members=n, **params)
        yield f"and pairs, {n} member(s)", scored(fit, data)


def weights(name, data, seed, options):
    _, y = data.all_for_training()
    balanced = partial(fit_to_all, data, seed, class_weight="balanced")

    def turned_back():
        predict = balanced()

        def proba(X):
            p = predict(X)
            odds = p / (1 - p) * y.mean() / (1 - y.mean())
            return odds / (1 + odds)

        return proba

    yield "None", scored(lambda: fit_to_all(data, seed), data)
    yield "balanced", scored(balanced, data)
    yield "turned back", scored(turned_back, data)


def ablation(name, data, seed, options):
    for part, components in PARTS.items():
        yield part, scored(lambda c=components: deepfm(data, seed, components=c), data)


def unseen(name, data, seed, options):
    if name in LARGEST_FIELD:
        data = data.without_levels(LARGEST_FIELD[name], 0.1, seed)
        yield from defaults(name, data, seed, options)


TABLES = {
    "defaults": defaults,
    "tuned": tuned,
    "members": members,
    "pairs": pairs,
    "weights": weights,
    "ablation": ablation,
    "unseen": unseen,
}


def print_table(title, lines):
    table = pd.DataFrame(lines)
    if table.empty:
        return
    print(f"\n{title}, test rows")
    print(
        f"{'':22}{'seeds':>5}{'AUC':>9}{'sd':>8}{'log-loss':>10}{'sd':>8}{'ECE':>8}{'chance':>8}{'mean':>7}"
        f"{'fit, s':>8}"
    )
    for line, part in table.groupby("line", sort=False):
        mean, sd = part.mean(numeric_only=True), part.std(numeric_only=True).fillna(0)
        print(
            f"{line:22}{len(part):5}{mean['AUC']:9.5f}{sd['AUC']:8.5f}{mean['log-loss']:10.5f}"
            f"{sd['log-loss']:8.5f}{mean['ECE']:8.4f}{mean['chance']:8.4f}"
            f"{mean['mean']:7.3f}{mean['fit, s']:8.0f}",
            flush=True,
        )


def draw_calibration(folder, models, path):
    """Reliability of the defaults on flights."""
    import matplotlib.pyplot as plt

    data = SETS["flights"](folder, 0)
    X, y = data.test
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 0.8], [0, 0.8], color="grey", linewidth=1)
    for name in models:
        proba = MODELS[name][0](data, 0)(X)
        mean, share, _ = calibration(y, proba)
        label = f"{name}, ECE {calibration_error(y, proba):.4f}"
        axes.plot(mean, share, marker="o", markersize=3, label=label)
    axes.set(xlabel="predicted probability of delay", ylabel="share of delayed flights")
    axes.legend()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DEEPFM_DATA", "."))
    parser.add_argument("--tables", nargs="*", default=["defaults"], choices=list(TABLES))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--figure", help="reliability diagram of the defaults on flights")
    options = parser.parse_args()
    folder = pathlib.Path(options.data)
    print_setting(torch, sklearn, skorch, np)
    for table in options.tables:
        for name in options.sets:
            lines = []
            for seed in range(options.seeds):
                data = SETS[name](folder, seed)
                results = TABLES[table](name, data, seed, options)
                lines += [{"line": line, **scores} for line, scores in results]
            print_table(f"{table}: {name}", lines)
    if options.figure:
        draw_calibration(folder, options.models, options.figure)


if __name__ == "__main__":
    main()
