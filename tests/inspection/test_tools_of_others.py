"""Inspection tools of scikit-learn and of shap on pipelines and estimators of this package."""

import importlib
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.inspection import PartialDependenceDisplay, partial_dependence, permutation_importance
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, contributions

matplotlib.use("Agg")
SMALL = {"embed_dim": 4, "mlp_dims": (8,), "max_epochs": 15, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def data():
    """Raw values; the label depends on the city and, by it, on the hour; the user says nothing."""
    rng = np.random.default_rng(0)
    n = 2000
    X = pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
            "hour": rng.uniform(0, 24, n),
            "user": rng.choice([f"u{k}" for k in range(50)], n),
        }
    )
    logit = np.where(X["city"] == "Rome", 2.5, -2.5) * np.where(X["hour"] < 12, 1, 0.2)
    return X, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


@pytest.fixture(scope="module")
def model(data):
    return make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=0, **SMALL)).fit(
        *data
    )


def test_permutation_importance_on_a_raw_frame(model, data):
    found = permutation_importance(model, *data, n_repeats=3, random_state=0, scoring="roc_auc")
    city, hour, user = found.importances_mean
    assert city > 0.2
    assert city > hour > 0.02 > abs(user)


def test_partial_dependence_on_a_raw_frame(model, data):
    X, _ = data
    found = partial_dependence(
        model, X, ["city"], categorical_features=["city", "user"], kind="average"
    )
    mean = dict(zip(found["grid_values"][0], found["average"][0], strict=True))
    assert mean["Rome"] > mean["Oslo"] + 0.3
    for city, average in mean.items():
        assert average == pytest.approx(model.predict_proba(X.assign(city=city))[:, 1].mean())


def test_displays_of_partial_dependence_in_one_and_two_dimensions(model, data):
    X, _ = data
    display = PartialDependenceDisplay.from_estimator(
        model,
        X[:200],
        ["city", "hour", ("city", "user")],
        categorical_features=["city", "user"],
        grid_resolution=10,
    )
    assert len(display.axes_.ravel()) == 3
    plt.close("all")


@pytest.fixture(scope="module")
def shap():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own imports
        return importlib.import_module("shap")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_shap_on_codes_adds_up_and_agrees_on_what_matters(shap, model, data):
    encoder, estimator = model[0], model[1]
    codes = encoder.transform(data[0][:200])
    explainer = shap.explainers.Permutation(
        lambda X: estimator.decision_function(X.astype(int)), codes, seed=0
    )
    found = explainer(codes[:20])
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, estimator.decision_function(codes[:20]), rtol=1e-4, atol=1e-4)
    by_shap = np.abs(found.values).mean(0)
    exact = np.abs(contributions(estimator, codes).fields).mean(0)
    assert by_shap.argmax() == exact.argmax() == 0
    assert by_shap.argmin() == exact.argmin() == 2


def test_codes_that_came_back_as_floats_are_codes_when_told_so(model, data):
    """What shap and others make of a matrix of integers."""
    encoder = model[0]
    codes = encoder.transform(data[0])
    params = {"categorical_features": [0, 1, 2], "random_state": 0, **SMALL}
    estimator = DeepFMClassifier(**params).fit(codes.astype(float), data[1])
    np.testing.assert_array_equal(
        estimator.predict_proba(codes.astype(float)), estimator.predict_proba(codes)
    )
