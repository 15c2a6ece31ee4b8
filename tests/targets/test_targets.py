"""Targets on their way to the network and back, against the plain formulas."""

import copy
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import get_scorer, r2_score, roc_auc_score
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._samples.rows import Rows, check_target
from sklearn_deepfm._targets.classification import ClassTarget, MultiLabelTarget
from sklearn_deepfm._targets.regression import RegressionTarget, few_rows_like

CLASSES = [
    ["no", "yes"],
    ["b", "a much longer one", "c"],
    [5, 9],
    [-7, 0, 3, 10**12],
    [False, True],
    [1.0, 2.0],
    np.array(["x", "y"], dtype=object),
]


def rows_of(y, weight=None):
    return Rows([], np.asarray(y), weight)


def checked(y, n_rows=2):
    return check_target(y, n_rows, "DeepFMClassifier")


@pytest.mark.parametrize("classes", CLASSES, ids=str)
def test_labels_are_numbered_in_sorted_order_and_come_back(classes, rng):
    y = np.asarray(classes)[np.concatenate([np.arange(len(classes)), rng.integers(0, 2, 50)])]
    labels = ClassTarget(y)
    assert labels.classes.tolist() == sorted(classes)
    assert labels.classes.dtype == y.dtype
    assert labels.n_outputs == (1 if len(classes) == 2 else len(classes))
    number = {label: position for position, label in enumerate(sorted(classes))}
    encoded = labels.encode(y)
    assert encoded.tolist() == [number[label] for label in y.tolist()]
    assert_array_equal(labels.decode(encoded), y)
    assert labels.to_network(encoded).dtype == (np.float32 if len(classes) == 2 else np.int64)


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        (["no", "yes"], "maybe"),
        (["no", "yes"], "a"),
        (["no", "yes"], "zzz"),
        ([5, 9], 7),
        ([5, 9], 4),
        ([5, 9], 10),
        ([5, 9], "5"),
        (["5", "9"], 5),
    ],
)
def test_unknown_label_is_refused(classes, label):
    with pytest.raises(
        ValueError, match=rf"label .*{label}.*, which is none of the cl.*\['?\w+'?, "
    ):
        ClassTarget(np.array(classes)).encode(np.array([label]))


def test_single_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class: .*5"):
        ClassTarget(np.array([5, 5]))


@pytest.mark.parametrize("y", [[0.5, 1.5], np.array([1, "a"], dtype=object)])
def test_what_is_no_label_is_refused(y):
    with pytest.raises(ValueError, match="Unknown label type"):
        ClassTarget(np.asarray(y))


@pytest.mark.parametrize("scale", [1, 1e-15, 1e-300, 1e12])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_initial_bias_is_the_logit_of_the_weighted_base_rate(n_classes, scale, rng):
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 40)])
    weight = rng.random(len(y)) * scale
    labels = ClassTarget(y)
    labels.fit(rows_of(y, weight))
    share = np.array([weight[y == k].sum() for k in range(n_classes)]) / weight.sum()
    if n_classes == 2:
        assert_allclose(labels.initial_bias, [np.log(share[1] / share[0])], rtol=1e-9)
    else:
        assert_allclose(labels.initial_bias.sum(), 0, atol=1e-9)
    bias = labels.initial_bias[None]
    assert_allclose(labels.proba(bias), share[None], rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_yet_to_come_starts_as_half_a_row(n_classes):
    labels = ClassTarget(np.arange(n_classes))
    labels.fit(rows_of([0] * 50))
    proba = labels.proba(labels.initial_bias[None])[0]
    assert_allclose(proba[1:] / proba[0], 0.5 / 50)


def test_binary_answers_follow_the_sigmoid(rng):
    labels, logits = ClassTarget(np.array(["no", "yes"])), rng.normal(scale=5, size=(200, 1))
    proba = 1 / (1 + np.exp(-logits[:, 0]))
    assert_allclose(labels.proba(logits), np.column_stack([1 - proba, proba]))
    assert_allclose(labels.log_proba(logits), np.log(np.column_stack([1 - proba, proba])))
    assert_array_equal(labels.decision(logits), logits[:, 0])
    assert_array_equal(labels.predict(logits), np.where(proba > 0.5, "yes", "no"))


def test_multiclass_answers_follow_the_softmax(rng):
    labels, logits = ClassTarget(np.array([5, 7, 9])), rng.normal(scale=5, size=(200, 3))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_allclose(labels.proba(logits), proba)
    assert_allclose(labels.log_proba(logits), np.log(proba))
    assert_array_equal(labels.decision(logits), logits)
    assert_array_equal(labels.predict(logits), [5 + 2 * np.argmax(row) for row in proba])


def test_extreme_logits_are_exact():
    binary, multi = ClassTarget(np.array([0, 1])), ClassTarget(np.array([0, 1, 2]))
    two = np.array([[1000.0], [-1000.0], [0.0]])
    assert_array_equal(binary.proba(two), [[0, 1], [1, 0], [0.5, 0.5]])
    assert_array_equal(binary.log_proba(two)[:2], [[-1000, 0], [0, -1000]])
    assert_array_equal(binary.predict(two), [1, 0, 0])
    three = np.array([[1000.0, -1000.0, 0.0], [-1000.0, -1000.0, 1000.0]])
    assert_array_equal(multi.proba(three), [[1, 0, 0], [0, 0, 1]])
    assert_array_equal(multi.log_proba(three), [[0, -2000, -1000], [-2000, -2000, 0]])


def test_amount_is_standardised_by_weight_and_comes_back(rng):
    y, weight = rng.lognormal(3, 1, 80), rng.random(80)
    amount = RegressionTarget(y)
    assert_array_equal(amount.encode(y), y)
    amount.fit(rows_of(y, weight))
    mean = (weight * y).sum() / weight.sum()
    std = np.sqrt((weight * (y - mean) ** 2).sum() / weight.sum())
    network = amount.to_network(y)
    assert network.dtype == np.float32
    assert_allclose(network, (y - mean) / std, rtol=1e-5, atol=1e-6)
    assert_allclose(amount.predict(network[:, None].astype(float)), y, rtol=1e-5)
    assert_allclose(amount.predict(np.zeros((1, 1))), mean)
    assert amount.initial_bias == [0]
    assert amount.decode(y) is y


CONSTANTS = [0.0, 0.1, 1e-6, -1e9, 1e300, 5e-324]


@pytest.mark.parametrize("constant", CONSTANTS)
def test_constant_amount_is_predicted_whatever_the_network_says(constant):
    amount = RegressionTarget(np.zeros(1))
    amount.fit(rows_of(np.full(1000, constant)))
    assert_array_equal(amount.to_network(np.array([constant, -1e300, 1e300])), 0)
    assert_array_equal(amount.predict(np.array([[0.0], [3.0], [-1e30]])), constant)


def test_amount_that_is_constant_up_to_rounding_is_constant():
    amount, y = RegressionTarget(np.zeros(1)), 1e16 + 2 * np.arange(100.0)
    amount.fit(rows_of(y))
    assert_allclose(amount.predict(np.array([[1.0]])), y.mean(), rtol=1e-15)


@pytest.mark.parametrize("constant", [0.0, -1e3])
def test_regressor_predicts_a_constant_and_learns_what_comes_after_it(constant):
    X, y = np.arange(64).reshape(-1, 1) % 8, np.full(64, constant)
    params = {"components": ("linear",), "learning_rate": 0.05, "max_epochs": 20}
    model = DeepFMRegressor(warm_start=True, random_state=0, **params).fit(X, y)
    assert_array_equal(model.predict(np.arange(20).reshape(-1, 1)), constant)
    # Rows of another mean and deviation.
    later = constant + 1e-3 * (X[:, 0] + 5)
    by_fit, by_partial_fit = copy.deepcopy(model).fit(X, later), model
    for _ in range(20):
        by_partial_fit.partial_fit(X, later)
    assert r2_score(later, by_partial_fit.predict(X)) > 0.8
    assert r2_score(later, by_fit.predict(X)) > 0.8


@pytest.mark.parametrize("size", [1.0, 1e300, 1e-290])
@pytest.mark.parametrize("is_weighed", [False, True])
def test_few_rows_stand_for_the_rows_of_all_parts(size, is_weighed, rng):
    constant = np.full(500, 0.1)
    y = np.column_stack([rng.normal(size=500), rng.random(500) < 0.01, constant]) * size
    y[7] = 0.9 * size  # two of them vary in the one part more than in the other
    weight = rng.uniform(0.5, 2, 500) if is_weighed else None
    parts = [slice(0, 10), slice(10, 11), slice(11, 500)]
    few = [few_rows_like(y[part], None if weight is None else weight[part]) for part in parts]
    of_all, of_few = RegressionTarget(y), RegressionTarget(y)
    of_all.fit(rows_of(y, weight))
    of_few.fit(rows_of(*map(np.concatenate, zip(*few, strict=True))))
    assert_allclose(of_few.mean, of_all.mean, rtol=1e-10)
    assert_allclose(of_few.scale, of_all.scale, rtol=1e-10)
    assert of_few.scale[1] > 0


def test_constant_of_all_parts_is_constant_in_the_few_rows():
    y = np.full(1000, 0.1)
    few = [few_rows_like(y[:n], None) for n in (3, 500, 1000)]
    target = RegressionTarget(y)
    target.fit(rows_of(*map(np.concatenate, zip(*few, strict=True))))
    assert (target.mean, target.scale) == (pytest.approx(0.1, rel=1e-15), 0)


def test_constant_output_of_several_is_predicted():
    X = np.arange(64).reshape(-1, 1) % 8
    y = np.column_stack([X[:, 0], np.full(64, 1e-6)])
    predicted = DeepFMRegressor(max_epochs=3, random_state=0).fit(X, y).predict(X)
    assert_array_equal(predicted[:, 1], 1e-6)
    assert predicted[:, 0].std() > 0


def test_first_rows_that_differ_standardise_what_was_constant():
    amounts = RegressionTarget(np.zeros((1, 2)))
    amounts.fit(rows_of([[4.0, 1.0], [4.0, 3.0]]))
    amounts.see(rows_of([[4.0, 9.0], [4.0, 99.0]]))
    assert (amounts.mean.tolist(), amounts.scale.tolist()) == ([4, 2], [0, 1])
    weight = np.array([3.0, 5.0])
    amounts.see(rows_of([[8.0, 9.0], [6.0, 99.0]], weight))
    y, weight = np.array([8.0, 6.0, 4.0]), np.append(weight, 4)  # with 4 as one row more
    mean = np.average(y, weights=weight)
    deviation = np.sqrt(np.average((y - mean) ** 2, weights=weight))
    assert_allclose([amounts.mean, amounts.scale], [[mean, 2], [deviation, 1]], rtol=1e-12)
    amounts.see(rows_of([[-5.0, 9.0]]))
    assert_allclose([amounts.mean, amounts.scale], [[mean, 2], [deviation, 1]], rtol=1e-12)


@pytest.mark.parametrize("y", [[1, 2], [True, False], [1.5, 2], np.array([1, 2.5], dtype=object)])
def test_amount_takes_numbers(y):
    encoded = RegressionTarget(np.zeros(1)).encode(np.asarray(y))
    assert encoded.dtype == np.float64
    assert encoded.tolist() == list(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["1", "2"]), "y must hold numbers, got .*'1'"),
        (np.array(["2020", "2021"], dtype="M8[D]"), "y must hold numbers, got .*2020"),
        (np.array(["a", 1], dtype=object), "could not convert string to float"),
        (np.array([1.0, np.nan]), "Input y contains NaN"),
        (np.array([1.0, np.inf]), "Input y contains infinity"),
    ],
)
def test_amount_refuses_what_is_no_number(y, message):
    with pytest.raises(ValueError, match=message):
        RegressionTarget(y).encode(y)


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series, pl.Series, pd.Categorical])
@pytest.mark.parametrize("y", [["a", "b"], [1, 2], [True, False]])
def test_target_may_come_in_any_container(make, y):
    assert checked(make(y)).tolist() == y


def test_column_vector_is_flattened_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert checked([[1], [2]]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "DeepFMClassifier requires y to be passed, but the target y is None"),
        ([1, 2, 3], r"inconsistent numbers of samples: \[2, 3\]"),
        ([[[1, 2]], [[3, 4]]], "dim 3"),
        ([[1, 2], [3]], "inhomogeneous"),
        ([[1, 2], [3, np.nan]], "Input y contains NaN"),
        ([1j, 2], "Complex data not supported"),
        ([1.0, np.nan], "Input y contains NaN"),
        (["a", None], "Input y contains NaN"),
        (pd.array([1, None], dtype="Int64"), "Input y contains NaN"),
        (pd.array([True, None], dtype="boolean"), "Input y contains NaN"),
        (np.array(["2020", "NaT"], dtype="M8[D]"), "Input y contains NaN"),
        ([1.0, np.inf], "Input y contains infinity"),
    ],
    ids=str,
)
def test_bad_target_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        checked(y)


def test_fixed_predictions_serve_scorers(rng):
    y, logits = rng.integers(0, 2, 60), rng.normal(size=(60, 1))
    words = np.array(["no", "yes"])[y]
    X = np.zeros((60, 1))
    answers = ClassTarget(np.array(["no", "yes"])).fixed_predictions(logits, X)
    assert get_scorer("roc_auc")(answers, X, words) == roc_auc_score(y, logits[:, 0])
    assert get_scorer("accuracy")(answers, X, words) == np.mean((logits[:, 0] > 0) == y)
    assert get_scorer("neg_log_loss")(answers, X, words) < 0
    amount = RegressionTarget(y)
    amount.fit(rows_of(y.astype(float)))
    predicted = logits[:, 0] * y.std() + y.mean()
    score = get_scorer("r2")(amount.fixed_predictions(logits, X), X, y)
    assert_allclose(score, r2_score(y, predicted))


@pytest.mark.parametrize("answer", ["predict", "predict_proba", "decision_function"])
def test_fixed_predictions_are_for_their_rows_alone(answer):
    X = np.zeros((6, 1))
    answers = ClassTarget(np.array([0, 1])).fixed_predictions(np.zeros((6, 1)), X)
    assert len(getattr(answers, answer)(X)) == 6
    for other in (X[:3], X.copy()):
        with pytest.raises(ValueError, match="the very X .* got another ndarray"):
            getattr(answers, answer)(other)


def test_label_sets_start_from_the_share_of_each_label(rng):
    y, weight = (rng.random((60, 3)) < [0.1, 0.5, 0.9]).astype(int), rng.random(60)
    y[:, 0] = 0
    sets = MultiLabelTarget(y)
    sets.fit(rows_of(sets.encode(y), weight))
    share = (weight[:, None] * y).sum(0) / weight.sum()
    expected = np.log(np.clip(share, 0.5 / 60, None) / np.clip(1 - share, 0.5 / 60, None))
    assert_allclose(sets.initial_bias[1:], expected[1:])
    assert sets.initial_bias[0] == np.log(0.5 / 60 / (1 - 0.5 / 60))
    assert sets.classes.tolist() == [0, 1, 2]


def test_label_sets_have_a_probability_for_each_label(rng):
    sets, logits = MultiLabelTarget(np.eye(4, dtype=int)), rng.normal(size=(9, 4))
    assert_allclose(sets.proba(logits), 1 / (1 + np.exp(-logits)))
    assert_allclose(np.exp(sets.log_proba(logits)), sets.proba(logits))
    assert_array_equal(sets.predict(logits), (sets.proba(logits) > 0.5).astype(int))
    assert_array_equal(sets.decision(logits), logits)


@pytest.mark.parametrize(
    "y", [[[0, 2], [1, 0]], [["a", "b"], ["b", "a"]], [[0.5, 1], [1, 0]], [[1, -1], [-1, 1]]]
)
def test_label_sets_hold_zero_and_one_alone(y):
    with pytest.raises(ValueError, match="y of several columns must hold 0 and 1 alone"):
        MultiLabelTarget(np.array(y))


def test_target_keeps_its_number_of_columns(rng):
    for target in (MultiLabelTarget(np.eye(3)), RegressionTarget(np.zeros((5, 3)))):
        for y in (np.eye(2), np.zeros(4)):
            with pytest.raises(
                ValueError, match="y must have .* of the first fit|in the first fit"
            ):
                target.encode(y)


def test_balanced_label_sets_weigh_as_scikit_learn_does(rng):
    y = (rng.random((60, 3)) < [0.1, 0.5, 0.9]).astype(int)
    sets = MultiLabelTarget(y)
    rows = rows_of(y)
    weight = rows.weighed(sets.factors("balanced", rows)).weight
    assert_allclose(weight, compute_sample_weight("balanced", y))
    assert sets.factors(None, rows) is None


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c"]], ids=str)
def test_class_weight_may_name_what_it_may_in_scikit_learn(labels):
    """Classes that a fold lacks among them: every set of names, over classes of all numbers."""
    classes = np.array(labels)
    target, rows = ClassTarget(classes), rows_of(np.arange(len(labels)))
    n_refused = 0
    for named in product([False, True], repeat=4):
        weight = {name: 2.0 + j for j, name in enumerate("abcd") if named[j]}
        try:
            expected = compute_class_weight(weight, classes=classes, y=classes)
        except ValueError:
            n_refused += 1
            with pytest.raises(ValueError, match="class_weight must map labels out of .*none for"):
                target.factors(weight, rows)
        else:
            assert_array_equal(target.factors(weight, rows), expected)
    assert n_refused == {2: 9, 3: 7}[len(labels)]


def test_fold_that_lacks_a_class_is_fitted_with_the_factors_of_the_others():
    X, y = np.arange(60).reshape(-1, 1) % 5, np.tile([0, 1], 30)
    y[50:] = 2  # the rare class of the last weeks
    model = DeepFMClassifier(max_epochs=1, random_state=0, class_weight={0: 1, 1: 3, 2: 9})
    weighed = clone(model).set_params(class_weight=None)
    weighed.fit(X[:40], y[:40], sample_weight=np.where(y[:40] == 1, 3, 1))
    assert_array_equal(clone(model).fit(X[:40], y[:40]).predict_proba(X), weighed.predict_proba(X))
    scores = cross_val_score(model, X, y, cv=TimeSeriesSplit(2), error_score="raise")
    assert np.isfinite(scores).all()


def test_label_sets_cannot_be_weighed_by_names():
    with pytest.raises(ValueError, match="class_weight must be None or 'balanced' where y has"):
        MultiLabelTarget(np.eye(3)).factors({0: 2.0}, None)


def test_amounts_are_standardised_each_by_itself(rng):
    y, weight = rng.lognormal(3, 1, (80, 2)) * [1, 100], rng.random(80)
    y = np.column_stack([y, np.full(80, 7.0)])
    amounts = RegressionTarget(y)
    amounts.fit(rows_of(amounts.encode(y), weight))
    single = [RegressionTarget(column) for column in y.T]
    for k, amount in enumerate(single):
        amount.fit(rows_of(y[:, k], weight))
        assert_allclose(amounts.to_network(y)[:, k], amount.to_network(y[:, k]), atol=1e-6)
    assert_allclose(amounts.predict(amounts.to_network(y).astype(float)), y, rtol=1e-4)


@pytest.mark.parametrize("factor", [1e-250, 1e-100, 1.0, 1e100, 1e250])
def test_regression_is_the_same_at_any_scale(factor):
    X, rng = np.arange(60).reshape(-1, 1) % 6, np.random.default_rng(0)
    y = X[:, 0] + rng.normal(size=60)
    model = DeepFMRegressor(max_epochs=5, random_state=0)
    expected = clone(model).fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, y * factor).predict(X) / factor, expected, rtol=1e-5)


def test_target_beyond_what_can_be_learned_is_refused():
    with pytest.raises(ValueError, match=r"at most 1e\+300 in size, got -1e\+305\. .* logarithms"):
        DeepFMRegressor().fit([[0], [1], [2]], [1.0, -1e305, 2.0])


@pytest.mark.parametrize("factor", [1e-320, 1e-200, 1e200, 1e306])
@pytest.mark.parametrize("estimator", [DeepFMClassifier, DeepFMRegressor])
def test_scale_of_the_weights_has_no_effect_however_large(estimator, factor):
    X, rng = np.arange(60).reshape(-1, 1) % 6, np.random.default_rng(0)
    y, weight = rng.integers(0, 2, 60), rng.integers(1, 100, 60)
    model = estimator(max_epochs=5, random_state=0)
    expected = clone(model).fit(X, y, sample_weight=weight / 100).predict(X)
    found = model.fit(X, y, sample_weight=weight * factor).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-3 if factor < 1e-300 else 1e-5)


def test_weights_that_leave_one_row_keep_the_target_finite():
    weight = [1.0, 1e-300, 1e-300]
    model = DeepFMRegressor(max_epochs=2).fit([[0], [1], [2]], [1.0, 2.0, 3.0], weight)
    assert np.isfinite(model.predict([[0], [1], [2]])).all()


def test_class_whose_share_vanishes_counts_as_one_yet_to_come():
    X, y = [[0], [1]], [0, 1]
    model = DeepFMClassifier(max_epochs=1, random_state=0).fit(X, y, [5e-324, 2.0])
    assert np.isfinite(model.predict_proba(X)).all()


EXACT_LABELS = {
    "objects of decimals": lambda y: np.array([*map(Decimal, y)], dtype=object),
    "Python integers": lambda y: np.array(y, dtype=object),
    "pandas, Arrow": lambda y: pd.Series(
        [*map(Decimal, y)], dtype=pd.ArrowDtype(pa.decimal128(38, 0))
    ),
    "polars": lambda y: pl.Series([*map(Decimal, y)]),
    "pyarrow": lambda y: pa.chunked_array([[*map(Decimal, y)]]),
}


@pytest.mark.parametrize("make", EXACT_LABELS.values(), ids=EXACT_LABELS)
def test_labels_that_are_whole_decimals_or_objects_are_integers(make):
    X, y = np.arange(40)[:, np.newaxis] % 4, [2**60 + 1, 2**60] * 20
    params = {"max_epochs": 2, "embed_dim": 2, "mlp_dims": (2,), "random_state": 0}
    expected = DeepFMClassifier(**params).fit(X, np.array(y))
    model = DeepFMClassifier(**params).fit(X, make(y))
    assert model.classes_.tolist() == [2**60, 2**60 + 1]
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.score(X, make(y)) == expected.score(X, np.array(y))
    model = DeepFMClassifier(**params).partial_fit(X, make(y), classes=make(y))
    assert model.classes_.tolist() == [2**60, 2**60 + 1]
    model.partial_fit(X, make(y), classes=make(y))


def test_decimals_with_fractions_are_targets_of_regression():
    X, y = np.arange(40)[:, np.newaxis] % 4, np.arange(40) / 10
    decimals = np.array([Decimal(str(value)) for value in y], dtype=object)
    params = {"max_epochs": 2, "embed_dim": 2, "mlp_dims": (2,), "random_state": 0}
    expected, model = DeepFMRegressor(**params).fit(X, y), DeepFMRegressor(**params)
    assert_array_equal(model.fit(X, decimals).predict(X), expected.predict(X))
    assert model.score(X, decimals) == expected.score(X, y)
