"""What a callable `scoring` gets of the validation rows, and scores that are none."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._estimators import stream_fit

SMALL = {"max_epochs": 1, "random_state": 0, "mlp_dims": (4,), "early_stopping": True}


@pytest.fixture(scope="module")
def clicks():
    """Rows of 20 users, some of whom click more: AUC within a user is another than over all."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 20, 400), rng.integers(0, 15, 400)
    frame = pd.DataFrame({"user": user, "item": item, "row": np.arange(400) + 0.5})
    return frame, (rng.random(400) < 1 / (1 + np.exp(0.3 * (10 - user)))).astype(int)


class Kept:
    """A scorer that keeps all that it got; `groups` only where `names` it."""

    def __init__(self):
        self.calls = []

    def __call__(self, estimator, X, y, groups=None):
        self.calls.append((X, y, groups, estimator.predict_proba(X)))
        return 1.0


def by_group(y, proba, groups):
    """Mean of the AUC within each group that has both classes."""
    parts = [np.asarray(groups) == group for group in np.unique(groups)]
    return np.mean(
        [roc_auc_score(y[part], proba[part]) for part in parts if len(set(y[part])) == 2]
    )


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.Table.from_pandas, np.asarray])
def test_scorer_gets_the_rows_held_out_as_fit_got_them(kind, clicks):
    frame, y = clicks
    kept, X = Kept(), kind(frame)
    columns = {} if kind is not np.asarray else {"categorical_features": [0, 1]}
    model = DeepFMClassifier(scoring=kept, **columns, **SMALL).fit(X, y)
    ((held, labels, groups, proba),) = kept.calls
    assert type(held) is type(X)
    rows = np.asarray(held)[:, 2].astype(int)
    assert len(set(rows)) == 40
    assert (labels == y[rows]).all()
    assert (np.asarray(held) == np.asarray(X)[rows]).all()
    assert groups is None
    assert np.array_equal(proba, model.predict_proba(held))


def test_auc_by_user_is_the_one_computed_by_hand(clicks):
    frame, y = clicks

    def by_user(estimator, X, y):
        return by_group(y, estimator.predict_proba(X)[:, 1], X["user"])

    model = DeepFMClassifier(scoring=by_user, **SMALL)
    model.fit(frame[:300], y[:300], X_val=frame[300:], y_val=y[300:])
    proba = model.predict_proba(frame[300:])[:, 1]
    assert model.validation_scores_ == [by_group(y[300:], proba, frame["user"][300:])]
    assert model.validation_scores_ != [roc_auc_score(y[300:], proba)]


@pytest.mark.parametrize("splits", [False, True])
def test_groups_are_those_of_the_rows(splits, clicks):
    frame, y = clicks
    users = np.array([f"user {u}" for u in frame["user"]])
    kept, splitter = Kept(), GroupShuffleSplit(1, test_size=0.2) if splits else None
    model = DeepFMClassifier(scoring=kept, validation_split=splitter, **SMALL)
    model.fit(frame, y, groups=users)
    ((held, _, groups, _),) = kept.calls
    assert groups.tolist() == users[held["row"].astype(int)].tolist()
    rest = frame.drop(held.index)
    assert set(rest["user"]).isdisjoint(held["user"]) == splits


def test_groups_of_validation_rows_come_beside_them(clicks):
    frame, y = clicks
    kept = Kept()
    model = DeepFMClassifier(scoring=kept, **SMALL)
    weight = np.ones(100)
    weight[0] = 0  # such a row is none
    model.fit(
        frame[:300],
        y[:300],
        X_val=frame[300:],
        y_val=y[300:],
        sample_weight_val=weight,
        groups_val=frame["user"][300:],
    )
    ((held, _, groups, _),) = kept.calls
    pd.testing.assert_frame_equal(held, frame[301:])
    assert groups.tolist() == frame["user"][301:].tolist()


def test_groups_that_a_scorer_needs_are_asked_for(clicks):
    def needs(estimator, X, y, groups):
        return by_group(y, estimator.predict_proba(X)[:, 1], groups)

    model = DeepFMClassifier(scoring=needs, **SMALL)
    with pytest.raises(ValueError, match="takes groups, and .* have none. Pass groups to fit"):
        model.fit(*clicks)
    assert 0 < model.fit(*clicks, groups=clicks[0]["user"]).validation_scores_[0] < 1
    with pytest.raises(ValueError, match="groups_val need X_val"):
        model.fit(*clicks, groups_val=[1])


def test_rows_are_repeated_for_a_scorer_without_weights(clicks):
    frame, y = clicks
    kept, weight = Kept(), 1 + np.arange(400) % 2
    DeepFMClassifier(scoring=kept, **SMALL).fit(frame, y, weight, groups=frame["user"])
    ((held, labels, groups, _),) = kept.calls
    rows = held["row"].astype(int).to_numpy()
    assert np.bincount(rows, minlength=400)[rows].tolist() == weight[rows].tolist()
    assert (labels == y[rows]).all()
    assert (groups == held["user"]).all()


@pytest.mark.parametrize("given", [False, True])
def test_scorer_gets_the_rows_of_a_data_set(given, clicks, monkeypatch):
    monkeypatch.setattr(stream_fit, "IN_MEMORY", 100)
    monkeypatch.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", 150)
    frame, y = clicks
    dataset = pa.dataset.dataset(pa.Table.from_pandas(frame.assign(y=y), preserve_index=False))
    named = {"X_val": dataset, "y_val": "y", "groups_val": "user"} if given else {}
    kept = Kept()
    model = DeepFMClassifier(scoring=kept, **SMALL)
    model.fit(dataset, "y", **named)
    ((held, labels, groups, proba),) = kept.calls
    rows = held["row"].to_numpy().astype(int)
    assert len(rows) == 400 if given else 10 < len(rows) < 90
    assert held.equals(pa.Table.from_pandas(frame, preserve_index=False).take(rows))
    assert (labels == y[rows]).all()
    assert (groups is not None) == given
    assert np.array_equal(proba, model.predict_proba(held))


def test_scorer_that_asks_for_other_rows_is_told(clicks):
    def of_half(estimator, X, y):
        return estimator.predict_proba(X[::2])[:, 1].mean()

    with pytest.raises(ValueError, match="answers for all validation rows at once"):
        DeepFMClassifier(scoring=of_half, **SMALL).fit(*clicks)


def test_scorers_of_scikit_learn_are_as_before(clicks):
    frame, y = clicks
    for scoring in (
        "average_precision",
        make_scorer(average_precision_score, response_method="predict_proba"),
    ):
        model = DeepFMClassifier(scoring=scoring, **SMALL)
        model.fit(frame[:300], y[:300], X_val=frame[300:], y_val=y[300:])
        proba = model.predict_proba(frame[300:])[:, 1]
        assert model.validation_scores_ == [average_precision_score(y[300:], proba)]


@pytest.mark.filterwarnings("ignore:Only one class is present in y_true")
@pytest.mark.filterwarnings("ignore:Every class has too few rows")
def test_score_of_one_class_is_refused_at_once(clicks):
    frame, _ = clicks
    y = np.where(np.arange(400) < 3, "yes", "no")  # no "yes" is held out
    model = DeepFMClassifier(scoring="roc_auc", **{**SMALL, "max_epochs": 9})
    message = "scoring='roc_auc' is nan for the 40 validation rows, which are all of class 'no': "
    with pytest.raises(ValueError, match=f"{message}.*X_val and y_val.*early_stopping=False"):
        model.fit(frame, y)
    assert not hasattr(model, "net_")


def test_score_that_is_nan_leaves_a_fitted_model_as_it_was(clicks):
    frame, y = clicks
    model = DeepFMRegressor(warm_start=True, **SMALL).fit(frame, y)
    before = model.predict(frame)
    model.set_params(scoring=lambda estimator, X, y: np.nan)
    with pytest.raises(ValueError, match="is nan for the 40 validation rows: no epoch"):
        model.fit(frame, y)
    assert np.array_equal(model.predict(frame), before)
