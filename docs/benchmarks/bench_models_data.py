"""The data sets of bench_models.py: training, validation and test rows of each."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_deepfm.datasets import load_flights

IDS = "carrier", "flight", "tailnum", "origin", "dest"


@dataclass(frozen=True)
class Data:
    """Rows as pairs of a data frame and labels 0 and 1; `native`: the columns of categories."""

    train: tuple
    valid: tuple
    test: tuple
    native: list

    def part(self, n_rows, seed):
        """The same with at most so many training rows."""
        X, y = self.train
        if len(y) <= n_rows:
            return self
        X, _, y, _ = train_test_split(X, y, train_size=n_rows, random_state=seed, stratify=y)
        return replace(self, train=(X, y))

    def all_for_training(self):
        """Training and validation rows together."""
        (X, y), (X_valid, y_valid) = self.train, self.valid
        return pd.concat([X, X_valid], ignore_index=True), np.concatenate([y, y_valid])

    def without_levels(self, column, share, seed):
        """No training or validation row has the held-out levels, all test rows have one."""
        levels = np.sort(self.train[0][column].dropna().unique())
        held = np.random.default_rng(seed).choice(levels, round(share * len(levels)), replace=False)
        keep = [_rows(part, ~part[0][column].isin(held)) for part in (self.train, self.valid)]
        return Data(*keep, _rows(self.test, self.test[0][column].isin(held)), self.native)


def _rows(part, mask):
    X, y = part
    return X[mask.to_numpy()], y[mask.to_numpy()]


def flights(folder, seed):
    """A random fifth for testing."""
    X, y = load_flights(return_X_y=True)
    train, test = _split(X, y.to_numpy(), 0.2, seed)
    return Data(*_split(*train, 0.1, seed), test, list(IDS))


def flights_by_time(folder, seed):
    """Training on January to October, of which a random tenth validates; then two months."""
    X, y = load_flights(return_X_y=True)
    early = (X["month"] <= 10).to_numpy()
    X = X.drop(columns=["month", "day", "day_of_year"])  # which never come again
    train, test = (X[early], y[early].to_numpy()), (X[~early], y[~early].to_numpy())
    return Data(*_split(*train, 0.1, seed), test, list(IDS))


def frappe(folder, seed):
    """The published split."""
    parts = [
        pd.read_parquet(folder / "frappe" / f"{p}.parquet") for p in ("train", "valid", "test")
    ]
    parts = [(part.drop(columns="label"), part["label"].to_numpy()) for part in parts]
    return Data(*parts, list(parts[0][0]))


def amazon_access(folder, seed):
    """The split of CatBoost's benchmark; a tenth of its training rows validates."""
    table = pd.read_parquet(folder / "amazon_access" / "data.parquet")
    X, y = table.drop(columns=["ACTION", "catboost_split"]), table["ACTION"].to_numpy()
    is_train = (table["catboost_split"] == "train").to_numpy()
    train, test = (X[is_train], y[is_train]), (X[~is_train], y[~is_train])
    return Data(*_split(*train, 0.1, seed), test, list(X))


def adult(folder, seed):
    """A random fifth for testing."""
    table = pd.read_parquet(folder / "adult" / "data.parquet")
    X, y = table.drop(columns="income"), (table["income"] == ">50K").to_numpy().astype(int)
    train, test = _split(X, y, 0.2, seed)
    return Data(*_split(*train, 0.1, seed), test, list(X.columns[X.dtypes != "int64"]))


def criteo_10k(folder, seed):
    """A random fifth for testing."""
    table = pd.read_parquet(folder / "criteo_10k" / "data.parquet")
    X, y = table.drop(columns="label"), table["label"].to_numpy()
    train, test = _split(X, y, 0.2, seed)
    return Data(*_split(*train, 0.1, seed), test, [c for c in X if c.startswith("C")])


def _split(X, y, share, seed):
    X, X_held, y, y_held = train_test_split(X, y, test_size=share, random_state=seed, stratify=y)
    return (X, y), (X_held, y_held)


SETS = {
    "flights": flights,
    "flights_by_time": flights_by_time,
    "frappe": frappe,
    "amazon_access": amazon_access,
    "adult": adult,
    "criteo_10k": criteo_10k,
}
