"""Time predictions: of one row, of one user against all items, and of many rows.

    python docs/benchmarks/bench_predict.py [--rows N] [--items N] [--calls N]

One row: a flight of `load_flights`, through a pipeline of OrdinalFieldEncoder and DeepFMClassifier
or, as codes, through the classifier alone. One user: the items' codes are at hand, the user is
encoded from a data frame of one row, and all pairs are scored. The network is the default one,
trained for one epoch; what it learned has no effect on the time.
"""

import argparse
import statistics
import time
import warnings

import narwhals
import numpy as np
import pandas as pd
import polars as pl
import sklearn
import torch
from setting import print_setting
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

N_TRAIN, N_USER_FIELDS = 50_000, 4


def deepfm():
    return DeepFMClassifier(max_epochs=1, early_stopping=False, random_state=0)


def milliseconds(function, calls):
    """Time of each call, after a few to warm up."""
    for call in calls[: len(calls) // 10]:
        function(call)
    times = []
    for call in calls:
        start = time.perf_counter()
        function(call)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def print_one_row(n_calls):
    X, y = load_flights(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))
    train, rows = rows[:N_TRAIN], rows[N_TRAIN : N_TRAIN + n_calls]
    model = make_pipeline(OrdinalFieldEncoder(), deepfm()).fit(X.iloc[train], y.iloc[train])
    polars, codes = pl.from_pandas(X), model[0].transform(X)
    contenders = {
        "pipeline, pandas": (model.predict_proba, [X.iloc[[k]] for k in rows]),
        "pipeline, polars": (model.predict_proba, [polars[k : k + 1] for k in rows]),
        "classifier, codes": (model[1].predict_proba, [codes[k : k + 1] for k in rows]),
    }
    print(f"\npredict_proba of one row, {X.shape[1]} fields, ms: median, best of {n_calls}")
    for name, (function, calls) in contenders.items():
        times = milliseconds(function, calls)
        print(f"{name:24}{statistics.median(times):9.3f}{min(times):9.3f}")


def ids(rng, n_rows, n_fields):
    """A data frame of whole numbers, with 4 to 100,000 categories by column."""
    dims = np.geomspace(4, 100_000, n_fields).astype(int)
    columns = {f"field {j}": rng.integers(0, dim, n_rows) for j, dim in enumerate(dims)}
    return pd.DataFrame(columns)


def print_many_rows(rng, n_fields, options):
    train = ids(rng, N_TRAIN, n_fields)
    encoder = OrdinalFieldEncoder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of fields with hardly more rows than values
        classifier = deepfm().fit(encoder.fit_transform(train), rng.integers(0, 2, N_TRAIN))
        codes = encoder.transform(ids(rng, options.rows, n_fields))
    items = codes[: options.items]

    def score(user):
        pairs = items.copy()
        pairs[:, :N_USER_FIELDS] = encoder.transform(user)[:, :N_USER_FIELDS]
        return classifier.predict_proba(pairs)[:, 1]

    times = milliseconds(score, [train.iloc[[k]] for k in range(20)])
    many = min(milliseconds(classifier.predict_proba, [codes] * 3)) / 1e3
    print(
        f"{n_fields:6}{statistics.median(times):15.0f}{min(times):9.0f}{many:17.2f}"
        f"{len(codes) / many / 1e3:14.0f}k"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()
    print_setting(sklearn, torch, np, pd, pl, narwhals)
    print_one_row(options.calls)
    print(
        f"\none user, {options.items:,} items (ms: median, best of 20); {options.rows:,} rows (s)"
    )
    print(f"{'fields':>6}{'ms, median':>15}{'best':>9}{'s, best of 3':>17}{'rows/s':>15}")
    for n_fields in (12, 39):
        print_many_rows(np.random.default_rng(0), n_fields, options)


if __name__ == "__main__":
    main()
