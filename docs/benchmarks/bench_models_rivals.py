"""The models of bench_models.py: how each is fitted, and what a random search draws from.

A model is a function of data, a seed and parameters. It fits to the training rows, stops early by
the log-loss of the validation rows, and returns a function from rows to the probability of 1. A
library is imported by its model alone.
"""

import contextlib
import io
import warnings
from functools import partial

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

MAX_TREES = 1000
PATIENCE = 50  # trees


def encoder(data, **params):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Column", UserWarning)  # nearly unique ones
        return OrdinalFieldEncoder(**params).fit(data.train[0])


def deepfm(data, seed, encoder_params=None, l2_factor=1.0, **params):
    """`l2_factor` multiplies the automatic L2."""
    to_codes = encoder(data, **(encoder_params or {}))
    (X, y), (X_valid, y_valid) = data.train, data.valid
    if l2_factor != 1:
        loss = -np.mean(np.log(np.where(y == 1, y.mean(), 1 - y.mean())))
        params["embedding_l2"] = l2_factor * min(4000 * loss / len(y), 0.5)
    model = DeepFMClassifier(random_state=seed, **params)
    model.fit(to_codes.transform(X), y, X_val=to_codes.transform(X_valid), y_val=y_valid)
    return lambda X: model.predict_proba(to_codes.transform(X))[:, 1]


def draw_deepfm(rng):
    return {
        "l2_factor": float(np.exp(rng.uniform(np.log(1 / 8), np.log(8)))),
        "learning_rate": float(np.exp(rng.uniform(np.log(3e-4), np.log(5e-3)))),
        "dropout": float(rng.choice([0.0, 0.1, 0.2, 0.3, 0.5])),
        "embed_dim": int(rng.choice([8, 16, 32])),
        "mlp_dims": [(64,), (128, 64), (256, 128)][rng.integers(3)],
        "encoder_params": {"min_frequency": int(rng.choice([1, 2, 3]))},
    }


def logistic(data, seed, **params):
    """On one-hot codes, numbers in bins as DeepFM has them."""
    to_codes = encoder(data)
    model = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=300, **params)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "lbfgs failed")
        warnings.filterwarnings("ignore", "Found unknown")
        model.fit(to_codes.transform(data.train[0]), data.train[1])
    return lambda X: model.predict_proba(to_codes.transform(X))[:, 1]


def draw_logistic(rng):
    return {"C": float(np.exp(rng.uniform(np.log(1e-2), np.log(1e2))))}


def as_categories(data, most_levels=None):
    """Function from rows to rows with the native columns as categories, or ranks if too many."""
    X, _ = data.train
    levels = {name: np.sort(X[name].dropna().unique()) for name in data.native}

    def convert(X):
        X = X.copy()
        for name, known in levels.items():
            column = pd.Categorical(X[name].where(X[name].isin(known)), categories=known)
            is_native = most_levels is None or len(known) <= most_levels
            X[name] = column if is_native else np.where(column.codes < 0, np.nan, column.codes)
        return X

    return convert


def hist_boosting(data, seed, **params):
    """Native categories of up to 255 levels; larger fields enter by their rank."""
    convert = as_categories(data, most_levels=255)
    model = HistGradientBoostingClassifier(
        max_iter=MAX_TREES,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=seed,
        **params,
    )
    (X, y), (X_valid, y_valid) = data.train, data.valid
    model.fit(convert(X), y, X_val=convert(X_valid), y_val=y_valid)
    return lambda X: model.predict_proba(convert(X))[:, 1]


def draw_hist_boosting(rng):
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
        "max_leaf_nodes": int(rng.choice([15, 31, 63, 127, 255])),
        "min_samples_leaf": int(rng.choice([5, 20, 50, 100])),
        "l2_regularization": float(np.exp(rng.uniform(np.log(1e-3), np.log(30)))),
        "max_features": float(rng.choice([0.3, 0.6, 1.0])),
    }


def lightgbm(data, seed, **params):
    import lightgbm

    convert = as_categories(data)
    model = lightgbm.LGBMClassifier(
        n_estimators=MAX_TREES, random_state=seed, n_jobs=2, verbose=-1, **params
    )
    (X, y), (X_valid, y_valid) = data.train, data.valid
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    valid = {"eval_X": convert(X_valid), "eval_y": y_valid}
    model.fit(convert(X), y, **valid, callbacks=[stop])
    return lambda X: model.predict_proba(convert(X))[:, 1]


def draw_lightgbm(rng):
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
        "num_leaves": int(rng.choice([15, 31, 63, 127, 255])),
        "min_child_samples": int(rng.choice([5, 20, 50, 100])),
        "reg_lambda": float(np.exp(rng.uniform(np.log(1e-3), np.log(30)))),
        "colsample_bytree": float(rng.choice([0.3, 0.6, 1.0])),
        "cat_smooth": float(rng.choice([1, 10, 100])),
        "cat_l2": float(rng.choice([1, 10, 100])),
        "min_data_per_group": int(rng.choice([10, 50, 100, 200])),
    }


def catboost(data, seed, **params):
    import catboost

    def convert(X):
        X = X.copy()
        for name in data.native:
            X[name] = X[name].astype(object).where(X[name].notna(), "missing").astype(str)
        return X

    model = catboost.CatBoostClassifier(
        iterations=MAX_TREES,
        cat_features=data.native,
        early_stopping_rounds=PATIENCE,
        random_seed=seed,
        thread_count=2,
        verbose=False,
        allow_writing_files=False,
        **params,
    )
    (X, y), (X_valid, y_valid) = data.train, data.valid
    model.fit(convert(X), y, eval_set=(convert(X_valid), y_valid))
    return lambda X: model.predict_proba(convert(X))[:, 1]


def draw_catboost(rng):
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(0.03), np.log(0.3)))),
        "depth": int(rng.choice([4, 6, 8])),
        "l2_leaf_reg": float(np.exp(rng.uniform(np.log(1), np.log(30)))),
        "random_strength": float(rng.choice([0.5, 1, 5])),
    }


def deepctr_torch(data, seed, epochs=20):
    """Its DeepFM on the codes that this project's encoder makes; best epoch of up to 20."""
    import torch
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import DeepFM

    to_codes = encoder(data)
    dims = to_codes.field_dims_
    columns = [SparseFeat(f"f{j}", int(dim), 16) for j, dim in enumerate(dims)]
    model = DeepFM(columns, columns, seed=seed)
    model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), "binary_crossentropy")

    def by_name(X):
        codes = to_codes.transform(X)
        return {f"f{j}": codes[:, j] for j in range(codes.shape[1])}

    def one_epoch():
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(by_name(data.train[0]), data.train[1], batch_size=256, epochs=1, verbose=0)

    return _best_epoch(
        model, one_epoch, lambda X: model.predict(by_name(X), 4096)[:, 0], data, epochs
    )


def pytorch_widedeep(data, seed, epochs=20):
    """Its DeepFM, wide part and all, on the same codes; best epoch of up to 20."""
    import torch
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import Wide, WideDeep
    from pytorch_widedeep.models.rec import DeepFactorizationMachine

    torch.manual_seed(seed)
    to_codes = encoder(data)
    dims = [int(dim) for dim in to_codes.field_dims_]
    deep = DeepFactorizationMachine(
        column_idx={f"f{j}": j for j in range(len(dims))},
        num_factors=16,
        cat_embed_input=[(f"f{j}", dim) for j, dim in enumerate(dims)],
        mlp_hidden_dims=[128, 64],
        mlp_dropout=0.2,
    )
    model = WideDeep(wide=Wide(sum(dims)), deeptabular=deep)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    trainer = Trainer(model, objective="binary", optimizers=adam, verbose=0, num_workers=0)

    def codes(X):
        X = to_codes.transform(X) + np.cumsum([0, *dims[:-1]]) + 1  # 0 is kept for the unseen
        return {"X_wide": X, "X_tab": X}

    def one_epoch():
        trainer.fit(**codes(data.train[0]), target=data.train[1], n_epochs=1, batch_size=256)

    def proba(X):
        return trainer.predict_proba(**codes(X), batch_size=4096)[:, 1]

    return _best_epoch(model, one_epoch, proba, data, epochs)


def _best_epoch(model, one_epoch, proba, data, epochs):
    """Stop after 2 epochs without gain in the validation rows' log-loss, back at the best one."""
    from sklearn.metrics import log_loss

    best, weights, misses = np.inf, None, 0
    for _ in range(epochs):
        one_epoch()
        loss = log_loss(data.valid[1], proba(data.valid[0]).clip(1e-7, 1 - 1e-7))
        if loss < best:
            best, misses = loss, 0
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        else:
            misses += 1
        if misses == 2:
            break
    model.load_state_dict(weights)
    return proba


MODELS = {
    "DeepFM": (deepfm, draw_deepfm),
    "DeepFM, 4 members": (partial(deepfm, n_members=4), None),
    "LogisticRegression": (logistic, draw_logistic),
    "HistGradientBoosting": (hist_boosting, draw_hist_boosting),
    "LightGBM": (lightgbm, draw_lightgbm),
    "CatBoost": (catboost, draw_catboost),
    "DeepCTR-Torch": (deepctr_torch, None),
    "pytorch-widedeep": (pytorch_widedeep, None),
}
