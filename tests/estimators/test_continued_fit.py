"""What later fits and loaded models share with the first, and what they refuse."""

import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler

from sklearn_deepfm import DeepFM, DeepFMClassifier, DeepFMRegressor


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 30, (600, 2))
    return X, (X.sum(1) + rng.normal(0, 5, 600) > 30).astype(int)


class Held(Callback):
    """Collects the validation rows of each fit."""

    def __init__(self, seen):
        self.seen = seen

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        rows = {tuple(row) for row in dataset_valid.index.tolist()}
        if not self.seen or self.seen[-1] != rows:
            self.seen.append(rows)

    def __sklearn_clone__(self):
        return self


@pytest.mark.parametrize("random_state", [None, 3, np.random.RandomState(3)])
def test_warm_start_holds_out_the_same_rows(random_state, data):
    seen = []
    model = DeepFMClassifier(
        warm_start=True,
        early_stopping=True,
        max_epochs=1,
        random_state=random_state,
        callbacks=[Held(seen)],
    )
    model.fit(*data).fit(*data)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"embed_dim": 8},
        {"mlp_dims": (16,)},
        {"dropout": 0.5},
        {"batch_norm": False},
        {"components": ("linear",)},
        {"sparse_updates": True},
        {"categorical_features": [0]},
    ],
)
def test_network_cannot_change_in_a_fit_that_goes_on(changed, data):
    model = DeepFMClassifier(warm_start=True, max_epochs=1).fit(*data).set_params(**changed)
    (name,) = changed
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"{name} was .* in the first fit and is .* now"):
            go_on(*data)


def vectors(*, changed=False):
    """Embeddings of 30 codes, more numbers than a repr shows; a change is in the middle."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 40)), columns=range(40))
    frame.iloc[15, 20] += 1e-9 if changed else 0
    return frame


@pytest.mark.parametrize("kind", [pd.DataFrame, np.asarray, pl.DataFrame, torch.tensor])
def test_long_parameter_that_has_changed_in_one_place_is_told(kind, data):
    def given(changed):
        frame = vectors(changed=changed)
        return {0: kind(frame if kind is pd.DataFrame else frame.to_numpy())}

    params = {"embed_dim": 40, "mlp_dims": (4,), "max_epochs": 1}
    model = DeepFMClassifier(pretrained=given(False), **params).fit(*data)
    model.set_params(pretrained=given(False)).partial_fit(*data)
    with pytest.raises(ValueError, match="^pretrained was .* in the first fit") as raised:
        model.set_params(pretrained=given(True)).partial_fit(*data)
    before, now = re.match(
        r"pretrained was (.*) in .* and is (.*) now, but", str(raised.value)
    ).groups()
    assert before != now
    assert len(before) < 300


@pytest.mark.parametrize(
    "same",
    [
        {"mlp_dims": [128, 64]},
        {"mlp_dims": (np.int64(128), 64)},
        {"embed_dim": np.int64(16)},
        {"components": ["deep", "fm", "linear"]},
        {"categorical_features": [True, True]},
        {"categorical_features": pd.Series([True, True])},
    ],
)
def test_equal_values_in_another_form_are_no_change(same, data):
    start = {"categorical_features": np.array([True, True])}
    model = DeepFMClassifier(max_epochs=1, **start).fit(*data)
    assert model.set_params(**same).partial_fit(*data).n_iter_ == 2


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is many times slower")
def test_penalties_rate_and_precision_may_change_in_a_fit_that_goes_on(data):
    once = {"max_epochs": 1, "early_stopping": False, "random_state": 0}
    model = DeepFMClassifier(warm_start=True, **once).fit(*data)
    before = model.module_.table.detach()[:, 1:].norm()
    model.set_params(embedding_l2=100.0, weight_decay=0.1, precision="bfloat16", max_epochs=30)
    model.fit(*data)
    assert [g["weight_decay"] for g in model.net_.optimizer_.param_groups] == [100.0, 0.1, 0.0]
    assert model.net_.precision == "bfloat16"
    assert model.module_.table.detach()[:, 1:].norm() < before / 3


def test_pickle_between_two_fits_changes_nothing_with_dropout(data):
    params = {"warm_start": True, "max_epochs": 2, "dropout": 0.5, "random_state": 0}
    straight = DeepFMClassifier(**params).fit(*data)
    loaded = pickle.loads(pickle.dumps(straight))
    X, y = data
    np.testing.assert_array_equal(
        straight.fit(X, y).predict_proba(X), loaded.fit(X, y).predict_proba(X)
    )


def test_fitted_model_holds_no_gradient(data):
    model = DeepFMClassifier(max_epochs=1).fit(*data)
    assert all(parameter.grad is None for parameter in model.module_.parameters())


def test_balanced_weights_of_partial_fit_go_by_all_rows_so_far(data):
    """Balanced within each call, a batch of one class would count like any other."""
    X, y = data
    order = np.argsort(y, kind="stable")
    n_zeros = (y == 0).sum()
    parts = [order[:n_zeros], order[n_zeros : n_zeros + 20]]
    balanced, by_hand = (DeepFMClassifier(random_state=0) for _ in range(2))
    balanced.set_params(class_weight="balanced")
    factors = [{}, {0: (n_zeros + 20) / 2 / n_zeros, 1: (n_zeros + 20) / 2 / 20}]
    for part, class_weight in zip(parts, factors, strict=True):
        balanced.partial_fit(X[part], y[part], classes=[0, 1])
        by_hand.set_params(class_weight=class_weight).partial_fit(X[part], y[part], classes=[0, 1])
    np.testing.assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), atol=1e-6)


def test_balanced_weights_with_a_class_absent_from_the_validation_rows(data):
    X, y = data
    model = DeepFMClassifier(class_weight="balanced", max_epochs=2)
    model.fit(X, y, X_val=X[y == 1], y_val=y[y == 1])
    assert np.isfinite(model.validation_scores_).all()


def test_classes_of_partial_fit_are_named_in_their_error(data):
    with pytest.raises(ValueError, match="classes must hold at least 2 classes"):
        DeepFMClassifier().partial_fit(*data, classes=[1])


def test_labels_without_an_order_are_refused(data):
    X, y = data
    mixed = np.array([1, "a"], dtype=object)[y]
    with pytest.raises(ValueError, match="y must hold labels of one sortable type"):
        DeepFMClassifier().fit(X, mixed)


def test_scorer_without_weights_gets_the_repeated_rows():
    """Equal rows are merged, which a scorer of unweighted rows must not notice."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (300, 2))
    y = X.sum(1) + rng.integers(0, 2, 300) * 1.0
    sizes = []

    def scorer(estimator, X, y):
        sizes.append(len(y))
        return -np.abs(estimator.predict(X) - y).max()

    params = {"early_stopping": True, "max_epochs": 3, "random_state": 0}
    by_callable = DeepFMRegressor(scoring=scorer, **params).fit(X, y)
    by_name = DeepFMRegressor(scoring="neg_max_error", **params).fit(X, y)
    assert by_callable.validation_scores_ == by_name.validation_scores_
    assert min(sizes) > 20 > len(np.unique(X, axis=0)) * 0.1


def test_scorer_without_weights_is_refused_for_weights_that_are_no_counts():
    rng = np.random.default_rng(0)
    X, weight = rng.integers(0, 9, (300, 2)), rng.random(300)
    model = DeepFMRegressor(scoring="neg_max_error", early_stopping=True, max_epochs=1)
    with pytest.raises(ValueError, match="scoring='neg_max_error' must take sample_weight"):
        model.fit(X, X.sum(1) * 1.0, weight)


@pytest.mark.parametrize("callback", [LRScheduler, ("rate", LRScheduler)])
def test_scheduler_given_as_a_class_replaces_the_plateau(callback, data):
    model = DeepFMClassifier(
        early_stopping=True, n_iter_no_change=50, max_epochs=6, tol=1e9, callbacks=[callback]
    )
    model.fit(*data)
    # Its default anneals from .1 within bounds; the plateau would divide by 10 each time.
    assert min(epoch["learning_rate"] for epoch in model.history_) > 1e-2


def test_numeric_fields_need_their_values():
    module = DeepFM(2, 6, slopes={0: 1})
    index = np.zeros((3, 2), dtype=int)
    with pytest.raises(ValueError, match="value must hold the numbers of the 1 numeric fields"):
        module(torch.from_numpy(index))


def test_early_stopping_on_few_distinct_rows_stays_calibrated():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 8, (4_000, 2))
    logit = rng.normal(0, 1, (8, 8))[X[:, 0], X[:, 1]] - 1.5
    y = (rng.random(4_000) < 1 / (1 + np.exp(-logit))).astype(int)
    proba = DeepFMClassifier(early_stopping=True, random_state=0).fit(X, y).predict_proba(X)[:, 1]
    assert abs(np.mean(proba) - y.mean()) < 0.02
