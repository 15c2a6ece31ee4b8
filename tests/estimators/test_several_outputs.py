"""Several labels or numbers at once, on flights and through scikit-learn's tools."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from sklearn_deepfm import DeepFM, DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

COLUMNS = ["month", "weekday", "carrier", "origin", "dest", "sched_dep_minute"]
MINUTES = [0, 15, 60]


@pytest.fixture(scope="module")
def flights():
    """Codes of train and test rows, and minutes of delay, of which none is beyond 3 hours."""
    X, delay = load_flights(target="delay", return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:16_000]
    X, delay = X[COLUMNS].iloc[rows], np.clip(np.asarray(delay)[rows], -30, 180)
    encoder = OrdinalFieldEncoder().fit(X[:12_000])
    codes = encoder.transform(X)
    return codes[:12_000], codes[12_000:], delay[:12_000], delay[12_000:]


def later_than(delay):
    return (delay[:, None] > MINUTES).astype(int)


def test_thresholds_of_delay_are_learned_together(flights):
    X_train, X_test, delay_train, delay_test = flights
    model = DeepFMClassifier(embedding_l2=0.1, random_state=0)
    proba = model.fit(X_train, later_than(delay_train)).predict_proba(X_test)
    y, share = later_than(delay_test), later_than(delay_train).mean(0)
    assert proba.shape == y.shape
    for k, auc in enumerate([0.6, 0.63, 0.67]):
        assert roc_auc_score(y[:, k], proba[:, k]) > auc
        prior = log_loss(y[:, k], np.full(len(y), share[k]))
        assert log_loss(y[:, k], proba[:, k]) < 0.98 * prior


def test_delay_and_its_logarithm_are_learned_together(flights):
    X_train, X_test, delay_train, delay_test = flights

    def both(delay):
        return np.column_stack([delay, np.log(delay + 31)])

    model = DeepFMRegressor(embedding_l2=0.1, random_state=0).fit(X_train, both(delay_train))
    predicted = model.predict(X_test)
    assert predicted.shape == (len(X_test), 2)
    assert (r2_score(both(delay_test), predicted, multioutput="raw_values") > 0.05).all()


def labels(rng, n=300):
    X = rng.integers(0, 6, (n, 3))
    return X, np.column_stack([X[:, 0] > 2, X[:, 1] == X[:, 2], X[:, 2] < 1]).astype(int)


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_each_label_is_a_binary_target_of_its_own(rng):
    # Linear terms alone share nothing: fitting labels together or one by one is the same.
    X, y = labels(rng)
    params = {"components": ("linear",), "max_epochs": 30, "learning_rate": 0.05, "random_state": 0}
    params["early_stopping"] = False  # or each label would stop in an epoch of its own
    together = DeepFMClassifier(**params).fit(X, y).predict_proba(X)
    for k in range(3):
        alone = DeepFMClassifier(**params).fit(X, y[:, k]).predict_proba(X)[:, 1]
        assert_allclose(together[:, k], alone, atol=0.02)


def test_answers_agree_with_each_other(rng):
    X, y = labels(rng)
    model = DeepFMClassifier(max_epochs=30, random_state=0).fit(X, y)
    proba, logits = model.predict_proba(X), model.decision_function(X)
    assert model.classes_.tolist() == [0, 1, 2]
    assert_allclose(proba, 1 / (1 + np.exp(-logits)))
    assert_allclose(model.predict_log_proba(X), np.log(proba))
    assert_array_equal(model.predict(X), (proba > 0.5).astype(int))
    assert model.score(X, y) == (model.predict(X) == y).all(1).mean() > 0.8
    assert_allclose(pickle.loads(pickle.dumps(model)).predict_proba(X), proba)
    assert_array_equal(
        model.net_.predict(torch.from_numpy(model._fields.encode(X)[0])), model.predict(X)
    )


@pytest.mark.parametrize("container", [np.array, pd.DataFrame, csr_array, lambda y: y.tolist()])
def test_sets_of_labels_may_come_in_any_container(container, rng):
    X, y = labels(rng)
    expected = DeepFMClassifier(max_epochs=2, random_state=0).fit(X, y).predict_proba(X)
    model = DeepFMClassifier(max_epochs=2, random_state=0).fit(X, container(y))
    assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_scikit_learn_searches_and_validates_with_several_outputs(rng):
    X, y = labels(rng)
    classifier = DeepFMClassifier(max_epochs=20, learning_rate=0.02, random_state=0)
    search = GridSearchCV(classifier, {"embed_dim": [2, 8]}, cv=2, scoring="f1_macro").fit(X, y)
    assert search.best_score_ > 0.5
    assert cross_val_score(classifier, X, y, cv=2, scoring="roc_auc").mean() > 0.8
    assert cross_val_predict(classifier, X, y, cv=2, method="predict_proba").shape == y.shape
    regressor = DeepFMRegressor(max_epochs=10, learning_rate=0.02, random_state=0)
    assert cross_val_score(regressor, X, y.astype(float), cv=2).mean() > 0.3


@pytest.mark.parametrize("scoring", ["loss", "roc_auc", "f1_macro"])
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_early_stopping_judges_all_labels(scoring, rng):
    X, y = labels(rng, 600)
    model = DeepFMClassifier(
        early_stopping=True, scoring=scoring, max_epochs=30, learning_rate=0.02, random_state=0
    )
    model.fit(X, y, sample_weight=rng.integers(1, 4, 600))
    assert len(model.validation_scores_) == model.n_iter_
    assert model.score(X, y) > 0.6


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_partial_fit_learns_sets_of_labels(rng):
    X, y = labels(rng)
    model = DeepFMClassifier(random_state=0, learning_rate=0.02)
    for _ in range(30):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.score(X, y) > 0.8
    with pytest.raises(ValueError, match="y must have a column for each of the 3 labels"):
        model.partial_fit(X, y[:, :2])
    with pytest.raises(ValueError, match="y must have a column for each of the 3 labels"):
        model.partial_fit(X, y[:, 0])


def test_a_column_of_labels_does_not_become_several(rng):
    X, y = labels(rng)
    model = DeepFMClassifier(random_state=0).partial_fit(X, y[:, 0], classes=[0, 1])
    dims = model.field_dims_.tolist()
    with pytest.raises(ValueError, match="y must be a single column of labels"):
        model.partial_fit(X + 9, y)
    assert model.field_dims_.tolist() == dims


def test_labels_may_be_objects_and_booleans(rng):
    X, y = labels(rng)
    expected = DeepFMClassifier(max_epochs=1, random_state=0).fit(X, y).predict_proba(X)
    for other in (y.astype(object), y.astype(bool), pd.DataFrame(y).astype({0: bool, 1: "Int64"})):
        model = DeepFMClassifier(max_epochs=1, random_state=0).fit(X, other)
        assert_array_equal(model.predict_proba(X), expected)


def test_classes_of_sets_are_the_numbers_of_their_columns(rng):
    X, y = labels(rng)
    with pytest.raises(ValueError, match=r"classes must be \[0, 1, 2\], .* got \['a', 'b'\]"):
        DeepFMClassifier().partial_fit(X, y, classes=["a", "b"])


def test_weights_and_repeated_rows_are_one_and_the_same(rng):
    X, y = labels(rng, 30)
    weight = rng.integers(0, 3, 30)
    params = {"max_epochs": 3, "random_state": 0}
    weighed = DeepFMClassifier(**params).fit(X, y, sample_weight=weight)
    repeated = DeepFMClassifier(**params).fit(np.repeat(X, weight, 0), np.repeat(y, weight, 0))
    assert_allclose(weighed.predict_proba(X), repeated.predict_proba(X))


def test_module_predicts_labels_by_sigmoid_and_classes_by_softmax():
    index = torch.tensor([[0, 2], [1, 3]])
    classes = DeepFM(2, 4, n_outputs=3, seed=0).eval()
    sets = DeepFM(2, 4, n_outputs=3, multi_label=True, seed=0).eval()
    with torch.no_grad():
        logits = sets(index)
    torch.testing.assert_close(sets.predict(index), logits.sigmoid())
    torch.testing.assert_close(classes.predict(index), logits.softmax(1))
