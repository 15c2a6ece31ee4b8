"""Columns of numbers: bins and normal scores, against sorting and counting."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._common.quantiles import auto_n_bins, normal_scores
from sklearn_deepfm._fields.index_field import UNSEEN_ROW
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.numeric_field import NumericField


def numbers(values, missing=None):
    return InputColumn("c", np.asarray(values), missing)


def fitted(column, weight=None, n_bins="auto"):
    field = NumericField("c", n_bins)
    field.grow(column, weight)
    return field


def encoded(field, values):
    rows, value = field.encode(numbers(values))
    assert rows.dtype == np.int32
    assert value.dtype == np.float32
    return rows.tolist(), value


def test_score_is_the_normal_quantile_of_the_middle_rank(rng):
    x, weight = rng.integers(0, 30, 200) * 1.0, rng.random(200)
    field = fitted(numbers(x), weight)
    for value in np.unique(x):
        below, equal = weight[x < value].sum(), weight[x == value].sum()
        expected = norm.ppf((below + equal / 2) / weight.sum())
        assert_allclose(encoded(field, [value])[1], expected, rtol=1e-5, atol=1e-6)


def test_score_is_interpolated_between_numbers_and_bounded_by_their_ends():
    field = fitted(numbers([0.0, 1.0, 3.0, 3.0]))
    low, middle, high = norm.ppf([1 / 8, 3 / 8, 6 / 8])
    _, scores = encoded(field, [-1e300, 0, 0.5, 1, 2.5, 3, 1e300])
    expected = [low, low, (low + middle) / 2, middle, middle + 0.75 * (high - middle), high, high]
    assert_allclose(scores, expected, rtol=1e-6)


EXTREMES = [
    -1.7e308,
    -1e308,
    -1e17,
    -1.0,
    -1e-116,
    -1e-300,
    -5e-324,
    -0.0,
    5e-324,
    2.3e-309,
    1e-290,
]
EXTREMES += [1.1e-271, 1e-9, 1.0, 1 + 2**-52, 4.6e307, 1.7e308]


@pytest.mark.parametrize("known", itertools.combinations(EXTREMES, 3), ids=str)
def test_scores_of_any_numbers_are_finite_and_ascend(known):
    rows, scores = encoded(fitted(numbers(known)), EXTREMES)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()
    assert (np.diff(rows) >= 0).all()


def test_numbers_near_zero_share_a_score_but_not_a_bin():
    x = np.logspace(-320, -280, 41)
    rows, scores = encoded(fitted(numbers(x), n_bins=10), x)
    assert len(set(rows)) == 10
    assert_array_equal(scores, 0)


def test_scores_of_many_numbers_are_standard_normal(rng):
    x = rng.lognormal(3, 2, 20_000)
    _, scores = encoded(fitted(numbers(x)), x)
    assert len(fitted(numbers(x)).knots) <= 257
    assert_allclose([scores.mean(), scores.std()], [0, 1], atol=0.02)
    order = np.argsort(x)
    assert (np.diff(scores[order]) >= 0).all()


def test_bins_hold_equal_shares_of_the_rows(rng):
    x = rng.normal(size=1000)
    rows, _ = encoded(fitted(numbers(x), n_bins=4), x)
    bins, counts = np.unique(rows, return_counts=True)
    assert bins.tolist() == [2, 3, 4, 5]
    assert (counts == 250).all()
    order = np.argsort(x)
    assert (np.diff(np.array(rows)[order]) >= 0).all()


@pytest.mark.parametrize(
    ("n_rows", "n_bins"),
    [(2, 2), (39, 2), (100, 5), (400, 20), (2000, 20), (5000, 50), (100_000, 255)],
)
def test_auto_asks_for_more_rows_a_bin_where_there_are_more_rows(n_rows, n_bins):
    assert auto_n_bins(n_rows) == n_bins
    field = fitted(numbers(np.random.default_rng(0).permutation(n_rows) * 0.5))
    assert len(field.edges) + 1 == n_bins
    assert field.n_rows == 2 + n_bins


def test_a_frequent_number_leaves_the_other_bins_to_the_others():
    x = np.concatenate([np.zeros(900), np.arange(1, 101)])
    field = fitted(numbers(x))
    assert field.frequency[2] == 900
    assert (field.frequency[3:] <= 6).all()
    assert len(field.edges) + 1 == 20


def test_repeated_and_weighted_numbers_are_one_and_the_same(rng):
    x, weight = rng.normal(size=300), rng.integers(1, 4, 300)
    weighted = fitted(numbers(x), weight * 7.0, n_bins=8)
    repeated = fitted(numbers(np.repeat(x, weight)), None, n_bins=8)
    assert_allclose(weighted.scores, repeated.scores, rtol=1e-9)
    # A cut may fall to the next number by rounding.
    same = np.equal(encoded(weighted, x)[0], encoded(repeated, x)[0])
    assert same.mean() > 0.98


def test_frequency_counts_bins_and_missing_cells_of_all_calls():
    field = fitted(numbers([1.0, 2.0, np.nan, 3.0, 4.0]), n_bins=2)
    assert field.frequency.tolist() == [0, 0, 2, 2, 1]
    before = field.frequency
    field.grow(numbers([-5.0, np.nan]), np.array([2.0, 3.0]))
    assert field.frequency.tolist() == [0, 0, 4, 2, 4]
    assert before.tolist() == [0, 0, 2, 2, 1]  # a copy taken before stays valid


def test_bins_and_scores_stay_those_of_the_first_call():
    field = fitted(numbers([1.0, 2.0, 3.0, 4.0]), n_bins=2)
    before = encoded(field, [0.0, 1.5, 9.0])
    field.grow(numbers([-100.0, 100.0, np.nan]), None)
    rows, scores = encoded(field, [0.0, 1.5, 9.0])
    assert rows == before[0]
    assert_array_equal(scores, before[1])
    assert encoded(field, [np.nan])[0] == [4]


@pytest.mark.parametrize("constant", [0, 0.1, 1e9])
def test_constant_number_is_zero_at_any_later_value(constant):
    field = fitted(numbers(np.full(1000, constant)))
    rows, scores = encoded(field, [constant, constant + 1e6])
    assert rows == [2, 2]
    assert_allclose(scores, 0, atol=1e-9)


def test_nan_that_fit_did_not_see_is_the_average():
    rows, scores = encoded(fitted(numbers([1.0, 2.0])), [np.nan])
    assert rows == [UNSEEN_ROW]
    assert scores.tolist() == [0]


def test_column_may_begin_with_missing_cells_alone():
    field = fitted(numbers([np.nan, np.nan]))
    assert encoded(field, [np.nan, 7.0])[0] == [2, UNSEEN_ROW]
    field.grow(numbers([1.0, 3.0]), None)
    rows, scores = encoded(field, [np.nan, 1.0, 3.0])
    assert rows == [2, 3, 4]
    assert_allclose(scores, [0, norm.ppf(0.25), norm.ppf(0.75)], rtol=1e-6)


def test_codes_and_masked_cells_may_be_numbers():
    field = fitted(numbers([1, 3, 99], np.array([False, False, True])), n_bins=None)
    rows, value = field.encode(numbers([1, 3, 0], np.array([False, False, True])))
    assert rows.tolist() == [2, 2, 3]
    assert_allclose(value, [norm.ppf(0.25), norm.ppf(0.75), 0], rtol=1e-6)


def test_categories_are_no_numbers():
    column = InputColumn("c", np.zeros(1, int), categories=pd.Index(["a"]))
    with pytest.raises(ValueError, match="'c' is categorical where numbers are required"):
        fitted(column)


def test_knots_hold_both_ends(rng):
    distinct = np.sort(rng.normal(size=5000))
    knots, scores = normal_scores(distinct, rng.random(5000))
    assert knots[0] == distinct[0]
    assert knots[-1] == distinct[-1]
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_bins_follow_any_shape_and_the_slope_a_line(rng):
    x = rng.normal(size=(3000, 1))
    wave = np.sin(3 * x[:, 0])
    params = {"learning_rate": 0.01, "max_epochs": 10, "mlp_dims": (), "random_state": 0}
    linear = {"components": ("linear",), "embedding_l2": 1e-4, **params}
    assert DeepFMRegressor(**linear).fit(x, wave).score(x, wave) > 0.9
    assert DeepFMRegressor(n_bins=None, **linear).fit(x, wave).score(x, wave) < 0.5
    assert DeepFMRegressor(n_bins=None, **linear).fit(x, x[:, 0]).score(x, x[:, 0]) > 0.99


def test_an_outlier_has_no_effect_beyond_its_rank(rng):
    X, y = rng.normal(size=(300, 2)), rng.integers(0, 2, 300)
    X[0, 0] = X[:, 0].max() + 1
    far = X.copy()
    far[0, 0] = 1e12
    near, distant = (DeepFMClassifier(max_epochs=2, random_state=0).fit(x, y) for x in (X, far))
    assert_allclose(near.predict_proba(X[1:]), distant.predict_proba(X[1:]), atol=1e-6)
