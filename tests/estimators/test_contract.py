"""scikit-learn's common checks, and those that check_estimator does not call."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.utils.estimator_checks as checks
from sklearn.base import clone

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

ESTIMATORS = [DeepFMClassifier(), DeepFMRegressor(), OrdinalFieldEncoder()]
VARIANTS = [
    {"early_stopping": True},
    {"batch_norm": False},
    {"components": ("linear", "deep")},
    {"batch_size": 16},
    {"sparse_updates": True},
]
EXPECTED_NUMBER = {"DeepFMClassifier": 55, "DeepFMRegressor": 50, "OrdinalFieldEncoder": 38}


def failures(estimator):
    """Run all checks; nothing is expected to fail, nothing may be skipped."""
    with warnings.catch_warnings():
        # The checks fit on data that deserve warnings, such as columns of all distinct values.
        warnings.simplefilter("ignore")
        results = checks.check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) >= EXPECTED_NUMBER[type(estimator).__name__]
    return [
        (result["check_name"], result["status"], str(result["exception"]))
        for result in results
        if result["status"] != "passed"
    ]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_passes_every_common_check(estimator):
    assert failures(estimator) == []


@pytest.mark.variants
@pytest.mark.parametrize("params", VARIANTS, ids=str)
@pytest.mark.parametrize("estimator", [DeepFMClassifier, DeepFMRegressor])
def test_variant_passes_every_common_check(estimator, params):
    assert failures(estimator(**params)) == []


@pytest.mark.variants
def test_balanced_classifier_passes_every_common_check():
    assert failures(DeepFMClassifier(class_weight="balanced")) == []


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_column_names_are_compared(estimator):
    estimator = clone(estimator)
    if hasattr(estimator, "max_epochs"):
        estimator.set_params(max_epochs=1)
    checks.check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_set_output_transform_polars,
        checks.check_global_output_transform_pandas,
        checks.check_global_set_output_transform_polars,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
    ],
)
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
def test_encoder_names_its_output(check):
    check("OrdinalFieldEncoder", OrdinalFieldEncoder())


@pytest.mark.parametrize("estimator", [DeepFMClassifier, DeepFMRegressor])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"dropout": 0.5}])
def test_weight_is_repetition(estimator, params, rng):
    """Of few rows, a weight w is exactly w equal rows, and 0 is no row.

    The scale of weights is nothing.
    """
    X = np.column_stack([rng.integers(0, 6, 20), rng.integers(0, 4, 20)])
    y = (X[:, 0] > X[:, 1]) ^ (rng.random(20) < 0.1)
    weight = rng.integers(0, 4, 20)
    model = estimator(max_epochs=3, random_state=0, **params)
    weighted = clone(model).fit(X, y.astype(int), sample_weight=weight)
    scaled = clone(model).fit(X, y.astype(int), sample_weight=weight * 7.5)
    order = rng.permutation(weight.sum())
    repeated = clone(model).fit(
        np.repeat(X, weight, axis=0)[order], np.repeat(y.astype(int), weight)[order]
    )
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    np.testing.assert_allclose(weighted.predict(X), scaled.predict(X), rtol=1e-6)
    if estimator is DeepFMClassifier:
        np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))
        np.testing.assert_allclose(weighted.predict_proba(X), scaled.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("estimator", [DeepFMClassifier, DeepFMRegressor])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "n_members": 2}])
@pytest.mark.parametrize("n", [40, 300])
def test_weight_zero_is_no_row_at_any_size(estimator, params, n):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"code": rng.integers(0, 6, n), "number": rng.normal(size=n)})
    y, weight = rng.integers(0, 2, n), rng.integers(0, 3, n)
    model = estimator(max_epochs=2, random_state=0, **params)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    fewer = clone(model).fit(X[weight > 0], y[weight > 0], sample_weight=weight[weight > 0])
    assert weighted.loss_curve_ == fewer.loss_curve_
    np.testing.assert_array_equal(weighted.predict(X), fewer.predict(X))
