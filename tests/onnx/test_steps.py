"""An ONNX file of a model with steps of scikit-learn gives what the model gives, or is refused."""

import re
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder, to_onnx

FAST = {"max_epochs": 1, "random_state": 0, "learning_rate": 0.1, "early_stopping": False}


@pytest.fixture(scope="module")
def X():
    """Columns of each kind; in float32 the prices would all be the same."""
    rng, n = np.random.default_rng(0), 120
    return pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rome", "Bonn"], n),
            "hour": rng.integers(0, 24, n),
            "price": 1e9 + rng.normal(size=n),
            "share": rng.random(n),
            "tags": [["x", "y"][: k % 3] for k in range(n)],
        }
    )


@pytest.fixture(scope="module")
def y(X):
    return ((X["price"] > 1e9) ^ (X["city"] == "Oslo")).to_numpy()


@pytest.fixture
def numbers(X):
    return X[["hour", "price", "share"]]


def estimator(**params):
    return DeepFMClassifier(**FAST, **params)


def assert_equal(model, X):
    session = onnxruntime.InferenceSession(to_onnx(model, X).SerializeToString())
    for rows in (X, X[:1]):
        result = session.run(None, feed_of(session, rows))[-1]
        is_proba = hasattr(model, "predict_proba")
        expected = model.predict_proba(rows) if is_proba else model.predict(rows)
        np.testing.assert_allclose(result, np.reshape(expected, result.shape), rtol=0, atol=1e-5)


def feed_of(session, X):
    types = {"tensor(int64)": np.int64, "tensor(double)": np.float64, "tensor(bool)": bool}
    X = pd.DataFrame(X) if isinstance(X, list) else X
    if not isinstance(X, pd.DataFrame):
        return {i.name: np.asarray(X, types[i.type]) for i in session.get_inputs()}
    X = X.set_axis([i.name for i in session.get_inputs()], axis=1)
    feed = {i.name: X[[i.name]].to_numpy(types.get(i.type, object)) for i in session.get_inputs()}
    for name in set(X) & {"tags"}:
        cells = [cell + [""] * (2 - len(cell)) for cell in X[name]]
        feed[name] = np.array(cells, dtype=object)
    return feed


SCALERS = [
    StandardScaler(),
    StandardScaler(with_std=False),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    VarianceThreshold(),
    SimpleImputer(strategy="median"),
]


@pytest.mark.parametrize("step", SCALERS, ids=str)
@pytest.mark.parametrize("encoder", ["passthrough", OrdinalFieldEncoder()], ids=str)
def test_step_of_others_in_front_works_in_float64(numbers, y, step, encoder):
    assert_equal(make_pipeline(step, encoder, estimator()).fit(numbers, y), numbers)


TABLES = {
    "matrix": lambda X: X.to_numpy(),
    "whole numbers": lambda X: X[["hour", "hour"]].to_numpy(),
    "one column of them": lambda X: X[["hour"]],
    "booleans": lambda X: X > X.mean(),
    "nullable": lambda X: X.convert_dtypes(),
    "lists": lambda X: X.to_numpy().tolist(),
    "columns without names": lambda X: X.set_axis(range(3), axis=1),
}


@pytest.mark.parametrize("table", TABLES)
def test_step_of_others_in_front_of_any_table_of_numbers(numbers, y, table):
    table = TABLES[table](numbers)
    assert_equal(make_pipeline(StandardScaler(), estimator()).fit(table, y), table)


def test_step_of_others_behind_the_encoder(X, y):
    X = X[["city", "hour", "price"]]
    for encoder in (OrdinalFieldEncoder(), OrdinalFieldEncoder(n_bins=None)):
        assert_equal(make_pipeline(encoder, StandardScaler(), estimator()).fit(X, y), X)
    assert_equal(make_pipeline(OrdinalFieldEncoder(), LogisticRegression()).fit(X, y), X)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_imputer_fills_gaps_and_drops_columns_without_a_number(numbers, y):
    X = numbers.assign(nothing=np.nan)
    X.loc[X.index % 7 == 0, ["price", "share"]] = np.nan
    for imputer in (SimpleImputer(), SimpleImputer(keep_empty_features=True)):
        assert_equal(make_pipeline(imputer, StandardScaler(), estimator()).fit(X, y), X)


def encoder_of(*names, **params):
    return ("codes", OrdinalFieldEncoder(**params), list(names))


MIXED = {
    "scaler": [encoder_of("city", "hour"), ("scaled", StandardScaler(), ["price", "share"])],
    "whole numbers first": [("scaled", StandardScaler(), ["hour", "price"])],
    "other order": [encoder_of("share", "hour", "city")],
    "a column twice": [encoder_of("city", "hour"), ("more", OrdinalFieldEncoder(), ["city"])],
    "numbers passed on": [encoder_of("price", "city", n_bins=None), ("drop", "drop", ["hour"])],
    "positions": [("codes", OrdinalFieldEncoder(), [-1, 0]), ("scaled", StandardScaler(), [2])],
    "slices": [("c", OrdinalFieldEncoder(), slice("city", "hour")), ("s", MaxAbsScaler(), [2, 3])],
    "slice of positions": [("scaled", StandardScaler(), slice(1, 3))],
    "mask": [("scaled", StandardScaler(), [False, True, True, False])],
    "selector": [("scaled", StandardScaler(), make_column_selector(dtype_include="number"))],
    "none": [encoder_of("city"), ("nothing", StandardScaler(), [])],
    "pipeline": [("scaled", make_pipeline(SimpleImputer(), StandardScaler()), ["hour", "price"])],
    "one hot": [("hot", OneHotEncoder(sparse_output=False), ["city", "hour"])],
    "ordinal": [("ordinal", OrdinalEncoder(), ["city", "hour"])],
}


@pytest.mark.parametrize("steps", MIXED)
@pytest.mark.parametrize("remainder", ["drop", OrdinalFieldEncoder()], ids=str)
def test_column_transformer(X, y, steps, remainder):
    X, columns = X.drop(columns="tags"), ColumnTransformer(MIXED[steps], remainder=remainder)
    assert_equal(make_pipeline(columns, estimator()).fit(X, y), X)


def test_column_transformer_that_passes_columns_on(X, y):
    X = X.drop(columns="tags")
    columns = ColumnTransformer([encoder_of("city")], remainder="passthrough")
    assert_equal(make_pipeline(columns, estimator()).fit(X, y), X)
    X = X.set_axis(range(4), axis=1)
    columns = ColumnTransformer([("codes", OrdinalFieldEncoder(), [0])], remainder="passthrough")
    assert_equal(make_pipeline(columns, estimator()).fit(X, y), X)


def test_column_transformer_of_a_matrix_in_another_order(y):
    X = np.random.default_rng(0).integers(0, 9, (120, 3))
    columns = ColumnTransformer([("codes", OrdinalFieldEncoder(), [2, 0, 1])])
    assert_equal(make_pipeline(columns, estimator()).fit(X, X[:, 0] > 4), X)


def test_column_transformer_with_lists_and_numbers(X, y):
    steps = [encoder_of("tags", "price", n_bins=None), ("scaled", StandardScaler(), ["share"])]
    columns = ColumnTransformer(steps).set_output(transform="pandas")
    assert_equal(make_pipeline(columns, estimator()).fit(X, y), X)


def test_column_transformer_behind_other_steps(X, numbers, y):
    columns = ColumnTransformer([("c", OrdinalFieldEncoder(), [2, 0]), ("s", MinMaxScaler(), [1])])
    assert_equal(make_pipeline(StandardScaler(), columns, estimator()).fit(numbers, y), numbers)
    inner = make_pipeline(ColumnTransformer([("codes", OrdinalFieldEncoder(), [1, 0])]))
    columns = ColumnTransformer([("inner", inner, ["hour", "city"])])
    assert_equal(make_pipeline(columns, estimator()).fit(X, y), X)
    encoder = OrdinalFieldEncoder().set_output(transform="pandas")
    columns = ColumnTransformer([("codes", "passthrough", ["city"])])
    lists_first = X[["tags", "city"]]
    model = make_pipeline(encoder, columns, estimator()).fit(lists_first, y)
    assert_equal(model, lists_first)
    encoder = OrdinalFieldEncoder(member_weights={"tags": "shares"})
    weighed = lists_first.assign(shares=[[1.0] * len(tags) for tags in X["tags"]])
    model = make_pipeline(encoder, columns, estimator()).fit(weighed, y)
    with pytest.raises(ValueError, match="ColumnTransformer behind a step that gives lists"):
        to_onnx(model, weighed)


def test_weights_of_transformers(numbers, y):
    steps = [("codes", OrdinalFieldEncoder()), ("scaled", StandardScaler()), ("none", "drop")]
    union = FeatureUnion(steps, transformer_weights={"scaled": 2.5})
    model = make_pipeline(union, estimator(categorical_features=[0, 1, 2]))
    assert_equal(model.fit(numbers, y), numbers)
    columns = ColumnTransformer(
        [(name, step, ["price", "share"]) for name, step in steps],
        transformer_weights={"scaled": 2.5},
    )
    assert_equal(make_pipeline(columns, estimator()).fit(numbers, y), numbers)


def test_columns_that_no_step_reads_are_inputs_still(X, y):
    X = X.drop(columns="tags")
    for names in (["city", "price"], ["hour", "price", "city"]):  # of several types
        model = make_pipeline(ColumnTransformer([encoder_of(*names)]), estimator()).fit(X, y)
        assert [entry.name for entry in to_onnx(model, X).graph.input] == list(X)
        assert_equal(model, X)


def test_what_only_stands_around_a_model_is_taken_off(X, y):
    pipeline = make_pipeline("passthrough", OrdinalFieldEncoder(), estimator())
    search = RandomizedSearchCV(
        pipeline, {"deepfmclassifier__embed_dim": [2, 4]}, n_iter=2, cv=2, random_state=0
    ).fit(X, y)
    assert_equal(search, X)
    assert_equal(FrozenEstimator(search), X)


def test_regressor_behind_a_step_of_others(numbers):
    y = np.column_stack([numbers["share"] * 1e-6, numbers["hour"] * 1e6])
    model = make_pipeline(StandardScaler(), DeepFMRegressor(**FAST)).fit(numbers, y)
    session = onnxruntime.InferenceSession(to_onnx(model, numbers).SerializeToString())
    (result,) = session.run(None, feed_of(session, numbers))
    scale = y.std(axis=0)
    np.testing.assert_allclose(result / scale, model.predict(numbers) / scale, atol=1e-5)


@pytest.mark.parametrize(
    "around",
    [
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: VotingClassifier([("a", model)], voting="soft"),
        lambda model: FixedThresholdClassifier(model, threshold=0.3),
    ],
)
def test_what_changes_the_predictions_of_a_model_is_refused(X, y, around):
    model = around(make_pipeline(OrdinalFieldEncoder(), estimator())).fit(X, y)
    with pytest.raises(ValueError, match=f"{type(model).__name__} around a model of sklearn_deepf"):
        to_onnx(model, X)


def test_steps_that_skl2onnx_does_not_do_exactly_are_refused(X, numbers, y):
    cities = X[["city"]].where(X["hour"] > 2, None)
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    model = make_pipeline(encoder, estimator()).fit(cities, y)
    differs = r"ONNX file differs from the model in \d+ of 120 rows: .*\['OneHotEncoder'\]"
    with pytest.raises(ValueError, match=differs):  # where a city is missing
        to_onnx(model, cities)
    single = (10_000 + numbers[["share"]]).astype(np.float32)
    model = make_pipeline(StandardScaler(), estimator()).fit(single, y)
    with pytest.raises(ValueError, match="ONNX file differs .* Columns of float32 differ too"):
        to_onnx(model, single)
    model = make_pipeline(StandardScaler(), DeepFMRegressor(**FAST)).fit(single, 1e-9 * y)
    with pytest.raises(ValueError, match="ONNX file differs"):
        to_onnx(model, single)


class Unknown(TransformerMixin, BaseEstimator):
    """A step that skl2onnx has no converter for."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X


def test_steps_that_skl2onnx_cannot_convert_are_refused(X, numbers, y):
    model = make_pipeline(Unknown(), estimator()).fit(numbers, y)
    with pytest.raises(ValueError, match="(?s)skl2onnx: .*leave out the step that is to blame"):
        to_onnx(model, numbers)
    for imputer in (SimpleImputer(add_indicator=True), SimpleImputer(missing_values=-1)):
        model = make_pipeline(imputer, estimator()).fit(numbers, y)
        with pytest.raises(ValueError, match="numbers in the place of NaN, and nothing else"):
            to_onnx(model, numbers)
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalFieldEncoder())
    for table, message in (
        (X[["city"]], "numbers in the place of NaN, and nothing else"),
        (X[["city", "hour"]], "The step SimpleImputer gets columns of strings and of numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            to_onnx(model.fit(table), table)


def test_file_that_onnxruntime_cannot_run_is_refused(X, y):
    encoder = OneHotEncoder(sparse_output=False)
    cities = X[["city"]].where(X["hour"] > 2, None)
    model = make_pipeline(encoder, estimator()).fit(cities, y)
    with pytest.raises(ValueError, match="(?s)onnxruntime cannot run the file: .*OneHotEncoder"):
        to_onnx(model, cities)


def test_rows_tried_out_may_all_miss_a_column(X, y):
    X, y = pd.concat([X] * 10, ignore_index=True), np.tile(y, 10)
    X.loc[:1000, ["city", "tags"]] = None
    steps = [encoder_of("city", "tags"), ("scaled", StandardScaler(), ["price"])]
    columns = ColumnTransformer(steps).set_output(transform="pandas")
    model = make_pipeline(columns, estimator()).fit(X, y)
    assert len(to_onnx(model, X).graph.input) == 5


def test_without_onnxruntime_the_error_says_how_to_get_it(numbers, y, monkeypatch):
    model = make_pipeline(StandardScaler(), estimator()).fit(numbers, y)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=re.escape("['StandardScaler'], is tried out with onnxr")):
        to_onnx(model, numbers)
