"""Times as they are, with weekday and hour as columns of their own, and as lists of the three.

    python docs/benchmarks/bench_dates.py [--rows 8000] [--seeds 3]

Tables of a year of times, to the minute, with a shop and an amount. What depends on the time is
named in the first column. AUC of half as many further rows:

as it is   OrdinalFieldEncoder and DeepFM with their defaults
columns    with two further columns, weekday and hour
list       the column of times holds lists of its bin, the weekday and the hour
boosting   HistGradientBoosting on microseconds; boosting+ has the two columns as well
"""

import argparse
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
import torch
from setting import print_setting
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

KINDS = ("hour",), ("weekday",), ("hour x shop",), ("trend",), ("hour", "weekday", "trend")
MINUTES = 365 * 24 * 60
BINS = 100  # of times, in lists


def table(kind, n, seed):
    """Rows in random order, and their classes."""
    rng = np.random.default_rng(seed)
    minute = rng.integers(MINUTES, size=n)
    when = pd.Timestamp("2023-01-01") + pd.to_timedelta(minute, "min")
    shop = rng.integers(8, size=n)
    X = pd.DataFrame({"when": when, "shop": np.array([*"abcdefgh"])[shop]})
    X["amount"] = rng.lognormal(3, 1, n).round(2)
    of_shop, of_weekday = rng.normal(size=8)[shop], rng.normal(size=7)[when.day_of_week]
    effects = {
        "hour": 1.5 * np.sin(2 * np.pi * (when.hour - 7) / 24),
        "weekday": of_weekday,
        "hour x shop": 2 * np.sin(2 * np.pi * when.hour / 24) * of_shop,
        "trend": 2 * np.sin(5 * minute / MINUTES),
    }
    logit = sum(np.asarray(effects[name]) for name in kind) + of_shop / 2
    logit = logit + 0.3 * np.log(X["amount"].to_numpy())
    return X, (logit - logit.mean() + rng.logistic(size=n) > 0).astype(int)


def with_columns(X):
    """The table with weekday and hour."""
    return X.assign(weekday=X["when"].dt.day_of_week, hour=X["when"].dt.hour)


def with_lists(X, n):
    """Codes of the table, and lists of three codes for each time."""
    encoder = OrdinalFieldEncoder().fit(X[:n])
    codes = pd.DataFrame(encoder.transform(X), columns=list(X))
    when = X["when"].dt
    parts = [
        codes["when"] * BINS // encoder.field_dims_[0],
        1000 + when.day_of_week,
        2000 + when.hour,
    ]
    members = np.stack(parts, axis=1).astype(np.int32).ravel()
    starts = pa.array(np.arange(0, len(members) + 1, 3, dtype=np.int32))
    lists = pa.ListArray.from_arrays(starts, pa.array(members))
    return codes.assign(when=pd.Series(lists, dtype=pd.ArrowDtype(lists.type)))


def scores(kind, n, seed):
    """AUC of each way."""
    X, y = table(kind, n + n // 2, seed)
    deepfm = DeepFMClassifier(random_state=seed)
    encoded = make_pipeline(OrdinalFieldEncoder(), deepfm)
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
    found = []
    for model, rows in ((encoded, X), (encoded, with_columns(X)), (deepfm, with_lists(X, n))):
        found.append(model.fit(rows[:n], y[:n]).predict_proba(rows[n:])[:, 1])
    for rows in (X, with_columns(X)):
        rows = rows.assign(when=rows["when"].astype("int64"), shop=rows["shop"].astype("category"))
        found.append(boosting.fit(rows[:n], y[:n]).predict_proba(rows[n:])[:, 1])
    return [roc_auc_score(y[n:], proba) for proba in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print_setting(torch, sklearn, np)
    names = "as it is", "columns", "list", "boosting", "boosting+"
    print(f"\n{'':26}", *(f"{name:>9}" for name in names))
    for kind in KINDS:
        means = np.mean([scores(kind, options.rows, s) for s in range(options.seeds)], axis=0)
        print(f"{' + '.join(kind):26}", *(f"{mean:9.4f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
