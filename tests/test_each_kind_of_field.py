"""What the guide shows of one table works on a table of each kind of field, or is refused by name.

A kind is a column and how the encoder is told to take it. Each table has it beside a column of
shops, so that there are pairs of fields.
"""

import datetime
import decimal
import functools

import matplotlib
import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import sklearn
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit
from sklearn.pipeline import Pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    EmbeddingDisplay,
    OrdinalFieldEncoder,
    WaterfallDisplay,
    contributions,
    importances,
    load_model,
    nearest_categories,
    predict_to_parquet,
    save_model,
    to_onnx,
)

matplotlib.use("Agg")

N = 120
SMALL = {"embed_dim": 16, "mlp_dims": (16,), "max_epochs": 1, "batch_size": 64, "random_state": 0}


def _with_gaps(values, rng):
    return [None if gap else value for value, gap in zip(values, rng.random(N) < 0.2, strict=True)]


def _lists(members, rng):
    return [rng.choice(members, k).tolist() for k in rng.integers(0, 4, N)]


def _weighted(rng):
    lists = _lists(["p", "q", "r"], rng)
    return {"x": lists, "amounts": [rng.integers(1, 5, len(cell)).tolist() for cell in lists]}


START = pd.Timestamp("2013-01-01")
# The columns, from a generator, and the parameters of the encoder.
KINDS = {
    "strings": (lambda rng: rng.choice(["Oslo", "Rome", "", "Bonn"], N), {}),
    "strings with gaps": (lambda rng: _with_gaps(rng.choice(["a", "b"], N), rng), {}),
    "rare strings": (lambda rng: [f"{k}" for k in rng.geometric(0.3, N)], {"min_frequency": 10}),
    "integers": (lambda rng: rng.integers(-3, 4, N), {}),
    "integers with gaps": (
        lambda rng: np.where(rng.random(N) < 0.2, np.nan, rng.integers(0, 4, N)),
        {},
    ),
    "integers of 64 bits": (lambda rng: 2**62 + rng.integers(0, 5, N), {}),
    "objects of integers": (lambda rng: rng.integers(0, 4, N).astype(object), {}),
    "decimals": (lambda rng: [decimal.Decimal(int(k)) for k in rng.integers(0, 4, N)], {}),
    "booleans": (lambda rng: rng.random(N) < 0.5, {}),
    "booleans with gaps": (
        lambda rng: pd.array(_with_gaps([True, False] * 60, rng), "boolean"),
        {},
    ),
    "categories": (lambda rng: pd.Categorical(rng.choice(["x", "y"], N), ["z", "y", "x"]), {}),
    "categories of integers": (lambda rng: pd.Categorical(rng.integers(0, 4, N)), {}),
    "dates": (lambda rng: START + pd.to_timedelta(rng.integers(0, 900, N), "h"), {}),
    "dates with zone": (
        lambda rng: START.tz_localize("UTC") + pd.to_timedelta(rng.integers(0, 900, N), "h"),
        {},
    ),
    "dates as categories": (
        lambda rng: START + pd.to_timedelta(rng.integers(0, 5, N), "D"),
        {"categorical_features": ["x"]},
    ),
    "durations": (lambda rng: pd.to_timedelta(rng.integers(0, 900, N), "s"), {}),
    "times of day": (lambda rng: [datetime.time(int(h)) for h in rng.integers(0, 24, N)], {}),
    "fractions": (lambda rng: rng.normal(size=N), {}),
    "fractions with gaps": (lambda rng: np.where(rng.random(N) < 0.2, np.nan, rng.random(N)), {}),
    "fractions passed on": (lambda rng: rng.normal(size=N), {"n_bins": None}),
    "fractions as categories": (
        lambda rng: rng.integers(0, 4, N) / 4 + 0.1,
        {"categorical_features": ["x"]},
    ),
    "integers as numbers": (lambda rng: rng.integers(0, 99, N), {"numeric_features": ["x"]}),
    "nothing": (lambda rng: [None] * N, {}),
    "lists": (lambda rng: _with_gaps(_lists(["p", "q", "r"], rng), rng), {}),
    "lists of integers": (lambda rng: _lists([3, 5, 8], rng), {}),
    "lists with weights": (_weighted, {"member_weights": {"x": "amounts"}}),
    "separated strings": (
        lambda rng: ["|".join(cell) for cell in _lists(["p", "q", "r"], rng)],
        {"separators": {"x": "|"}},
    ),
    "hashed strings": (lambda rng: rng.choice(["a", "b", "c"], N), {"hash_dims": {"x": 8}}),
    "hashed lists": (lambda rng: _lists(["p", "q", "r"], rng), {"hash_dims": {"x": 8}}),
}
WITHOUT_CATEGORIES = {
    "dates",
    "dates with zone",
    "durations",
    "times of day",
    "fractions",
    "fractions with gaps",
    "fractions passed on",
    "integers as numbers",
}
NO_CATEGORIES = r"categories that are not hashed, got (0 \()?'x'|'x' has none|'x' holds numbers"
HASHED = {"hashed strings", "hashed lists"}


@functools.cache
def table(kind):
    """Rows of a kind, and their labels."""
    rng = np.random.default_rng(0)
    columns = KINDS[kind][0](rng)
    columns = columns if isinstance(columns, dict) else {"x": columns}
    X = pd.DataFrame({**columns, "shop": rng.choice(["north", "south", "west"], N)})
    return X, rng.integers(0, 2, N)


def encoder_of(kind):
    return OrdinalFieldEncoder(**KINDS[kind][1])


def pipeline_of(kind, estimator=DeepFMClassifier, **params):
    return Pipeline([("encoder", encoder_of(kind)), ("deepfm", estimator(**{**SMALL, **params}))])


@functools.cache
def fitted(kind):
    """The guide's pipeline, fitted to the table. No test changes it."""
    return pipeline_of(kind).fit(*table(kind))


@pytest.fixture(scope="module")
def canvas():
    """Axes for all pictures, since a figure takes longer than what is drawn."""
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_predictions(kind):
    X, y = table(kind)
    proba = fitted(kind).predict_proba(X)
    assert proba.shape == (N, 2)
    assert np.isfinite(proba).all()
    assert len(np.unique(proba[:, 1])) > 2
    assert fitted(kind).score(X, y) > 0.3


@each_kind
def test_a_row_is_scored_alike_whatever_rows_come_with_it(kind):
    X, _ = table(kind)
    whole = fitted(kind).predict_proba(X)
    for rows in ([0], [5], [7, 3], range(60, 101)):
        assert_array_equal(fitted(kind).predict_proba(X.iloc[list(rows)]), whole[list(rows)])


def codes_of_shops(codes):
    return (codes if isinstance(codes, np.ndarray) else codes.to_numpy())[:, -1].tolist()


@each_kind
def test_missing_cells_and_what_fit_never_saw(kind):
    X, _ = table(kind)
    encoder, model = fitted(kind)[0], fitted(kind)
    assert np.isfinite(model.predict_proba(X.head(3).assign(x=None))).all()
    new = X.head(3).assign(shop=["never", None, "south"])
    assert codes_of_shops(encoder.transform(new)) == [1, 0, 3]
    assert np.isfinite(model.predict_proba(new)).all()


@each_kind
def test_saved_and_loaded(kind, tmp_path):
    """Pickle and skops hold the same state: see test_persistence.py."""
    X, _ = table(kind)
    save_model(fitted(kind), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert_array_equal(loaded.predict_proba(X), fitted(kind).predict_proba(X))


@each_kind
def test_partial_fit_of_both_steps(kind):
    X, y = table(kind)
    encoder, model = encoder_of(kind), DeepFMClassifier(**SMALL)
    codes = encoder.partial_fit(X[:60]).transform(X[:60])
    model.partial_fit(codes, y[:60], classes=[0, 1])
    encoder.partial_fit(X[60:])
    model.partial_fit(encoder.transform(X[60:]), y[60:])
    if kind != "rare strings":  # some of which are no longer rare
        assert str(encoder.transform(X[:60])) == str(codes)
    assert np.isfinite(model.predict_proba(encoder.transform(X))).all()


def nothing_or_lists_of_it(value):
    return value is None or (isinstance(value, list) and not any(value))


@each_kind
def test_codes_back_to_values_and_to_the_same_codes(kind):
    X, _ = table(kind)
    encoder = fitted(kind)[0]
    codes = encoder.transform(X)
    values = encoder.inverse_transform(codes)
    assert values.shape == (N, 2)
    back = encoder.transform(X.assign(x=values[:, 0]))
    if kind in HASHED:
        assert all(map(nothing_or_lists_of_it, values[:, 0]))
    elif kind == "rare strings":
        assert_array_equal(back, np.where(codes == 1, 0, codes))  # that of None
    else:
        assert str(back) == str(codes)


@each_kind
def test_data_frame_of_codes_gives_the_model_of_the_matrix(kind):
    X, y = table(kind)
    encoder = encoder_of(kind).set_output(transform="pandas")
    codes = encoder.fit_transform(X)
    assert codes.columns.tolist() == encoder.get_feature_names_out().tolist() == ["x", "shop"]
    proba = DeepFMClassifier(**SMALL).fit(codes, y).predict_proba(codes)
    assert_array_equal(proba, fitted(kind).predict_proba(X))


@each_kind
def test_embeddings_out_and_in_again(kind):
    X, y = table(kind)
    encoder, deepfm = fitted(kind)
    if kind in WITHOUT_CATEGORIES | HASHED:
        with pytest.raises(ValueError, match=NO_CATEGORIES):
            encoder.by_category("x", pd.DataFrame())
        return
    learned = encoder.by_category("x", deepfm.embeddings(0))
    given = encoder.by_code("x", learned)
    new = DeepFMClassifier(**SMALL, pretrained={0: given}, frozen=[0])
    if kind == "nothing":
        with pytest.raises(ValueError, match="pretrained must give column 0 embeddings of codes"):
            new.fit(encoder.transform(X), y)
        return
    new.fit(encoder.transform(X), y)
    assert_array_equal(new.embeddings(0).loc[given.index], given)


@each_kind
def test_contributions_add_up(kind):
    X, _ = table(kind)
    for terms in ("effects", "products", "formula"):
        found = contributions(fitted(kind), X, terms=terms)
        assert_allclose(found.total, fitted(kind).decision_function(X), atol=1e-5)
    frame = found.to_frame()
    assert frame.columns.tolist() == ["bias", "x", "shop", "x x shop", "deep"]
    assert_allclose(frame.sum(axis=1), found.total, atol=1e-5)
    assert importances(fitted(kind), X).shares.sum() == pytest.approx(1)


@each_kind
def test_displays_and_nearest_categories(kind, canvas):
    X, _ = table(kind)
    model = fitted(kind)
    canvas.clear()
    assert WaterfallDisplay.from_estimator(model, X, ax=canvas).ax_ is canvas
    canvas.clear()
    if kind in {*WITHOUT_CATEGORIES, *HASHED, "nothing"}:
        with pytest.raises(ValueError, match=NO_CATEGORIES):
            EmbeddingDisplay.from_estimator(model, "x")
        with pytest.raises(ValueError, match=f"{NO_CATEGORIES}|category must be one of field 'x'"):
            nearest_categories(model, "x", 1)
    else:
        points = EmbeddingDisplay.from_estimator(model, "x", ax=canvas).points
        nearest = nearest_categories(model, "x", points.index[0])
        assert {points.index[0], *nearest.index} == {*points.index}


@each_kind
def test_every_value_scored_for_one_shop(kind):
    X, _ = table(kind)
    encoder, deepfm = fitted(kind)
    codes = encoder.transform(X.assign(shop="south"))
    row = encoder.transform(X.assign(shop="west").head(1))
    if isinstance(codes, np.ndarray):
        codes[:, 1] = row[:, 1]
    else:
        codes["shop"] = row["shop"].iloc[0]
    expected = fitted(kind).predict_proba(X.assign(shop="west"))
    assert_array_equal(deepfm.predict_proba(codes), expected)


NAT = np.iinfo(np.int64).min
FILLERS = {"tensor(string)": "", "tensor(int64)": NAT, "tensor(double)": 0.0}
MISSING = {"tensor(string)": "<NA>", "tensor(int64)": NAT + 1, "tensor(double)": np.nan}
TYPES = {
    "tensor(string)": object,
    "tensor(int64)": np.int64,
    "tensor(double)": np.float64,
    "tensor(bool)": bool,
}


def lists_of_input(cells, type_):
    lists = [[MISSING[type_]] if cell is None else list(cell) for cell in cells]
    width = max(map(len, lists))
    rows = [[*cell, *[FILLERS[type_]] * (width - len(cell))] for cell in lists]
    return np.array(rows, dtype=TYPES[type_])


def microseconds(cells):
    kinds = {"M": pa.timestamp("us"), "m": pa.duration("us"), "O": pa.time64("us")}
    kind = "M" if isinstance(cells.dtype, pd.DatetimeTZDtype) else cells.dtype.kind
    return pa.array(cells.tolist(), kinds[kind]).cast(pa.int64()).to_numpy()


def input_of_file(cells, entry):
    """A column as an input of the file, by the rules of the guide."""
    if entry.shape[1] != 1:
        return lists_of_input(cells, entry.type)
    if isinstance(cells.iloc[0], pd.Timestamp | pd.Timedelta | datetime.time):
        return microseconds(cells).reshape(-1, 1)
    missing = "<NA>" if entry.type == "tensor(string)" else np.nan
    cells = cells.astype(object).where(cells.notna(), missing)
    return cells.to_numpy().astype(TYPES[entry.type]).reshape(-1, 1)


@each_kind
def test_one_onnx_file(kind):
    X, _ = table(kind)
    if kind in HASHED:
        with pytest.raises(ValueError, match="'x'.*hash"):
            to_onnx(fitted(kind), X)
        return
    session = onnxruntime.InferenceSession(to_onnx(fitted(kind), X).SerializeToString())
    feed = {entry.name: input_of_file(X[entry.name], entry) for entry in session.get_inputs()}
    _, proba = session.run(None, feed)
    assert_allclose(proba, fitted(kind).predict_proba(X), atol=1e-5)


@each_kind
def test_data_set_gives_the_model_of_the_table(kind, tmp_path):
    X, y = table(kind)
    pq.write_table(pa.Table.from_pandas(X.assign(y=y), preserve_index=False), tmp_path / "rows")
    rows = pads.dataset(tmp_path / "rows")
    model = pipeline_of(kind).fit(rows, "y")
    expected = fitted(kind).predict_proba(X)
    assert_array_equal(model.predict_proba(rows), expected)
    assert_array_equal(model.predict_proba(X), expected)
    predict_to_parquet(model, rows, tmp_path / "answers", keep=["shop"])
    assert_array_equal(pq.read_table(tmp_path / "answers")["proba_1"], expected[:, 1])


@each_kind
def test_polars_gives_the_model_of_pandas(kind):
    X, y = table(kind)
    X = pl.from_arrow(pa.Table.from_pandas(X, preserve_index=False))
    assert_array_equal(
        pipeline_of(kind).fit(X, y).predict_proba(X), fitted(kind).predict_proba(table(kind)[0])
    )


@each_kind
def test_weights_are_repeats(kind):
    X, y = table(kind)
    X, y, weight = X[:30], y[:30], np.arange(30) % 3
    codes = encoder_of(kind).fit_transform(X)
    repeated = np.repeat(np.arange(30), weight)
    take = codes.iloc if hasattr(codes, "iloc") else codes
    weighted = DeepFMClassifier(**SMALL).fit(codes, y, sample_weight=weight)
    twice = DeepFMClassifier(**SMALL).fit(take[repeated], y[repeated])
    assert_array_equal(weighted.predict_proba(codes), twice.predict_proba(codes))


@each_kind
def test_search_by_groups(kind):
    X, y = table(kind)
    groups = np.arange(N) // 4
    with sklearn.config_context(enable_metadata_routing=True):
        split = GroupShuffleSplit(test_size=0.2, random_state=0)
        model = pipeline_of(kind, validation_split=split, early_stopping=True)
        model[-1].set_fit_request(groups=True)
        search = GridSearchCV(model, {"deepfm__embed_dim": [2]}, cv=GroupKFold(2))
        search.fit(X, y, groups=groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert contributions(search, X).total.shape == (N,)


@each_kind
def test_validation_rows_through_a_pipeline(kind):
    X, y = table(kind)
    with sklearn.config_context(enable_metadata_routing=True):
        model = pipeline_of(kind).set_params(transform_input=["X_val"])
        model[-1].set_fit_request(X_val=True, y_val=True)
        model.fit(X[:90], y[:90], X_val=X[90:], y_val=y[90:])
    assert len(model[-1].validation_scores_) == 1


@each_kind
def test_permutation_importance(kind):
    X, y = table(kind)
    if kind == "lists with weights":  # lists of another row have other lengths
        with pytest.raises(ValueError, match="'x' and 'amounts' must hold lists of equal length"):
            permutation_importance(fitted(kind), X, y, n_repeats=1)
        return
    found = permutation_importance(fitted(kind), X, y, n_repeats=1, random_state=0)
    assert len(found.importances_mean) == 2


@each_kind
def test_members_products_and_several_numbers(kind):
    """A regressor with what changes the terms of fields."""
    X, y = table(kind)
    params = {"n_members": 2, "n_bins": None, "pooling": "sum", "table_optimizer": "adagrad"}
    model = pipeline_of(kind, DeepFMRegressor, **params)
    found = model.fit(X, np.column_stack([y, np.arange(N)])).predict(X)
    assert found.shape == (N, 2)
    assert np.isfinite(found).all()


@each_kind
def test_several_labels(kind):
    X, y = table(kind)
    found = pipeline_of(kind).fit(X, np.column_stack([y, y, 1 - y])).predict_proba(X)
    assert found.shape == (N, 3)
    assert ((found > 0) & (found < 1)).all()


@each_kind
def test_checkpoint_changes_nothing(kind, tmp_path):
    X, y = table(kind)
    model = clone(fitted(kind)).set_params(deepfm__checkpoint=str(tmp_path / "checkpoint"))
    assert_array_equal(model.fit(X, y).predict_proba(X), fitted(kind).predict_proba(X))
