"""Many rows of few distinct ones: as good as logistic regression where that is the truth."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

N_TEST = 5_000


def shops(n_rows, n_shops, seed=0):
    """Shops with an effect each, in cities that have none; and the log-odds of each row."""
    rng = np.random.default_rng(seed)
    effect, shop = rng.normal(scale=1.5, size=n_shops), rng.integers(0, n_shops, n_rows)
    return pd.DataFrame({"shop": shop, "city": shop % 30}), effect[shop], rng


def losses(model, X, y, n_rows):
    """Loss on new rows of a pipeline around a model, and of logistic regression."""
    linear = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    own = make_pipeline(OrdinalFieldEncoder(), model)
    parts = (own.fit(X[:n_rows], y[:n_rows]), linear.fit(X[:n_rows], y[:n_rows]))
    return [log_loss(y[n_rows:], part.predict_proba(X[n_rows:])) for part in parts]


@pytest.mark.parametrize(("n_rows", "n_shops"), [(3_000, 20), (6_000, 300)])
def test_effects_of_shops_are_learned(n_rows, n_shops):
    X, odds, rng = shops(n_rows + N_TEST, n_shops)
    y = (rng.random(len(X)) < expit(odds)).astype(int)
    own, linear = losses(DeepFMClassifier(random_state=0), X, y, n_rows)
    assert own < linear + 0.015


@pytest.mark.parametrize(("n_rows", "n_ids"), [(500, 20), (1_000, 300), (4_000, 1_000)])
@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_small_tables_are_as_good_as_the_linear_model_that_is_true(n_rows, n_ids, n_columns, kind):
    rng = np.random.default_rng(1)
    n_values = round(n_ids ** (1 / n_columns))
    X = rng.integers(0, n_values, (n_rows + N_TEST, n_columns))
    effects = rng.normal(scale=1.5 / np.sqrt(n_columns), size=(n_columns, n_values))
    effect = effects[np.arange(n_columns), X].sum(axis=1)
    if kind == "classes":
        y = (rng.random(len(X)) < expit(effect)).astype(int)
        models, loss = (DeepFMClassifier(random_state=0), LogisticRegression()), log_loss
    else:
        y = effect + rng.normal(size=len(X))
        models, loss = (DeepFMRegressor(random_state=0), Ridge()), lambda y, p: 1 - r2_score(y, p)
    found = []
    for model in (models[0], make_pipeline(OneHotEncoder(handle_unknown="ignore"), models[1])):
        model.fit(X[:n_rows], y[:n_rows])
        predict = model.predict_proba if kind == "classes" else model.predict
        found.append(loss(y[n_rows:], predict(X[n_rows:])))
    own, linear = found
    # A tenth of the rows is held out.
    assert own < linear + (0.02 if kind == "classes" else 0.025)


def test_two_columns_of_few_values_are_logistic_regression():
    rng = np.random.default_rng(1)
    n_rows = 1_500
    a, b = rng.integers(0, 10, n_rows + N_TEST), rng.integers(0, 8, n_rows + N_TEST)
    y = (rng.random(len(a)) < expit(2 * np.sin(a) - b / 2 + 2)).astype(int)
    X = pd.DataFrame({"a": a, "b": b})
    model = DeepFMClassifier(components=("linear",), random_state=0, learning_rate=1e-2)
    own, linear = losses(model, X, y, n_rows)
    assert own == pytest.approx(linear, abs=0.01)


def test_ratings_of_shops_are_learned():
    X, effect, rng = shops(2_000 + N_TEST, 50)
    y = np.clip(np.round(3 + effect + rng.normal(size=len(X))), 1, 5)
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMRegressor(random_state=0))
    linear = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge())
    own, others = (
        r2_score(y[2_000:], part.fit(X[:2_000], y[:2_000]).predict(X[2_000:]))
        for part in (model, linear)
    )
    assert own > others - 0.02


@pytest.mark.parametrize(("max_epochs", "warns"), [(2, True), (40, False)])
def test_fit_that_ends_while_its_score_improves_warns(max_epochs, warns):
    X, odds, rng = shops(1_000, 10)
    y = (rng.random(len(X)) < expit(odds)).astype(int)
    params = {"max_epochs": max_epochs, "random_state": 0, "n_iter_no_change": 3}
    model = DeepFMClassifier(**params, learning_rate=1e-2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X.to_numpy(), y)
    said = [str(warning.message) for warning in caught if warning.category is ConvergenceWarning]
    if warns:
        (message,) = said
        assert "score still improved when training ended after max_epochs=2" in message
        assert [warning.filename for warning in caught] == [__file__]
    else:
        assert not said
        assert model.n_iter_ < max_epochs


def test_without_validation_rows_nothing_can_be_said_of_convergence():
    X, y = np.arange(400)[:, None] % 7, np.arange(400) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DeepFMClassifier(max_epochs=2, early_stopping=False).fit(X, y)
        DeepFMClassifier(max_epochs=2).fit(X[:150], y[:150])
