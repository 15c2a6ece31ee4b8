"""An ONNX file gives what the model gives, for every kind of column and target."""

import decimal
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
from skl2onnx import _parse
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    register_onnx_converters,
    to_onnx,
)
from sklearn_deepfm.datasets import load_flights

NAT = np.iinfo(np.int64).min
STRING, INT64, DOUBLE = StringTensorType, Int64TensorType, DoubleTensorType
FAST = {"max_epochs": 2, "random_state": 0, "learning_rate": 0.02}


def session_of(onnx_model):
    onnx.checker.check_model(onnx_model, full_check=True)
    return onnxruntime.InferenceSession(onnx_model.SerializeToString())


def feed_of(session, X):
    """A table as the inputs of a file, by the rules that `to_onnx` states."""
    if isinstance(X, np.ndarray):
        types = {"tensor(int64)": np.int64, "tensor(double)": np.float64}
        return {i.name: X.astype(types.get(i.type, object)) for i in session.get_inputs()}
    feed = {}
    for entry in session.get_inputs():
        if entry.name.endswith("_weights") and entry.name not in X:
            cells = X[entry.name.removesuffix("_weights")]
            cells = [[m["weight"] for m in cell] for cell in cells]
            feed[entry.name] = lists(cells, entry.type)
        elif entry.shape[1] != 1:
            feed[entry.name] = lists(X[entry.name], entry.type)
        else:
            feed[entry.name] = column(X[entry.name], entry.type)[:, np.newaxis]
    return feed


def column(cells, type_):
    if type_ == "tensor(string)":
        return cells.astype(object).where(cells.notna(), "<NA>").to_numpy(dtype=object)
    if cells.dtype.kind == "M":
        return cells.to_numpy().astype("datetime64[us]").astype(np.int64)
    if cells.dtype.kind == "m":
        return cells.to_numpy().astype("timedelta64[us]").astype(np.int64)
    types = {"tensor(int64)": np.int64, "tensor(double)": np.float64, "tensor(bool)": bool}
    if types[type_] is np.float64:
        return cells.astype(object).where(cells.notna(), np.nan).to_numpy(dtype=np.float64)
    return cells.to_numpy(dtype=types[type_])


def lists(cells, type_):
    filler = {"tensor(string)": "", "tensor(int64)": NAT, "tensor(double)": 0.0}[type_]
    missing = {"tensor(string)": "<NA>", "tensor(int64)": NAT + 1, "tensor(double)": np.nan}[type_]
    cells = [[None] if cell is None else list(cell) for cell in cells]
    cells = [[m["code"] if isinstance(m, dict) else m for m in cell] for cell in cells]
    return padded([[missing if m is None else m for m in cell] for cell in cells], filler)


def padded(cells, filler):
    width = max(map(len, cells), default=0)
    rows = [[*cell, *[filler] * (width - len(cell))] for cell in cells]
    return np.array(rows, dtype=object if filler == "" else type(filler)).reshape(len(rows), width)


def assert_equal(model, X, atol=1e-5):
    """Outputs of the file are those of the model, for all rows and for one alone."""
    session = session_of(to_onnx(model, X))
    for rows in (X, X[:1], X[:0]):
        results = session.run(None, feed_of(session, rows))
        if not len(rows):
            assert [len(result) for result in results] == [0] * len(results)
        elif len(results) == 1:
            expected = np.reshape(model.predict(rows), (len(rows), -1))
            np.testing.assert_allclose(results[0], expected, rtol=1e-6, atol=atol)
        else:
            proba = model.predict_proba(rows)
            np.testing.assert_allclose(results[1], proba, rtol=0, atol=atol)
            label = model.predict(rows)
            assert results[0].shape == label.shape
            is_clear = np.sort(proba, axis=1)[:, -1] - np.sort(proba, axis=1)[:, -2] > 1e-5
            if label.ndim == 1:
                np.testing.assert_array_equal(results[0][is_clear], label[is_clear])
                assert results[0].dtype == (object if label.dtype.kind in "UO" else label.dtype)


def letters(rng, n, k=6):
    return rng.choice([f"letter {i}" for i in range(k)], n)


def make_frame(seed, n=300, **columns):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"letter": letters(rng, n), **{k: v(rng, n) for k, v in columns.items()}})


def with_gaps(values, rng, share=0.1):
    values = pd.Series(values).astype(object)
    return values.where(rng.random(len(values)) > share, None)


def fitted(X, encoder=None):
    model = make_pipeline(encoder or OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    return model.fit(X, np.arange(len(X)) % 2)


KINDS = {
    "strings": lambda rng, n: letters(rng, n, 20),
    "strings with gaps": lambda rng, n: with_gaps(letters(rng, n), rng),
    "unicode": lambda rng, n: rng.choice(["ä", "日本", "", " ", "a\0b", "🦆", "NA"], n),
    "arrow strings": lambda rng, n: pd.array(letters(rng, n), dtype="string[pyarrow]"),
    "categories": lambda rng, n: pd.Categorical(letters(rng, n)),
    "integers": lambda rng, n: rng.integers(-5, 5, n),
    "sparse ids": lambda rng, n: rng.choice(rng.integers(-(2**62), 2**62, 15), n),
    "integers with gaps": lambda rng, n: with_gaps(rng.integers(0, 9, n), rng).astype(float),
    "nullable integers": lambda rng, n: with_gaps(rng.integers(0, 9, n), rng).astype("Int64"),
    "small integers": lambda rng, n: rng.integers(0, 200, n).astype(np.uint8),
    "booleans": lambda rng, n: rng.random(n) < 0.3,
    "nullable booleans": lambda rng, n: with_gaps(rng.random(n) < 0.3, rng).astype("boolean"),
    "numbers": lambda rng, n: rng.normal(size=n),
    "numbers with gaps": lambda rng, n: with_gaps(rng.normal(size=n), rng).astype(float),
    "few numbers": lambda rng, n: rng.choice([0.5, 1.5, 2.5], n),
    "float32": lambda rng, n: rng.normal(size=n).astype(np.float32),
    "decimals": lambda rng, n: [decimal.Decimal(int(v)) / 4 for v in rng.integers(0, 99, n)],
    "dates": lambda rng, n: pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.random(n), "D"),
    "dates with gaps": lambda rng, n: pd.Series(
        pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.random(n), "D")
    ).where(rng.random(n) > 0.2),
    "durations": lambda rng, n: pd.to_timedelta(rng.integers(0, 10**6, n), "s"),
    "all missing": lambda rng, n: np.full(n, np.nan),
    "constant": lambda rng, n: np.full(n, 7.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pipeline_with_each_kind_of_column(kind):
    X = make_frame(0, x=KINDS[kind])
    y = (X["letter"] > "letter 2") ^ (np.arange(len(X)) % 3 == 0)
    model = make_pipeline(OrdinalFieldEncoder(min_frequency=2), DeepFMClassifier(**FAST))
    model.fit(X[:200], y[:200])
    assert_equal(model, X)


@pytest.mark.parametrize("kind", ["integers", "few numbers", "numbers with gaps", "dates"])
def test_pipeline_with_quantities_as_categories(kind):
    X = make_frame(1, x=KINDS[kind])
    X["x"] = X["x"].iloc[np.arange(300) % 60].to_numpy()
    encoder = OrdinalFieldEncoder(categorical_features=["x"], max_categories=40)
    model = make_pipeline(encoder, DeepFMClassifier(**FAST)).fit(X[:250], np.arange(250) % 2)
    assert_equal(model, X)


@pytest.mark.parametrize("kind", ["integers", "numbers", "numbers with gaps", "dates with gaps"])
@pytest.mark.parametrize("n_bins", [None, 5])
def test_pipeline_with_numbers_passed_on(kind, n_bins):
    X = make_frame(1, x=KINDS[kind], other=KINDS["numbers with gaps"])
    encoder = OrdinalFieldEncoder(numeric_features=["x", "other"], n_bins=None)
    model = make_pipeline(encoder, DeepFMClassifier(n_bins=n_bins, **FAST))
    model.fit(X[:200], np.arange(200) % 2)
    assert_equal(model, X)


def test_numbers_at_the_edges_of_bins():
    x = np.random.default_rng(0).normal(size=500)
    model = make_pipeline(OrdinalFieldEncoder(n_bins=50), DeepFMClassifier(**FAST))
    model.fit(pd.DataFrame({"x": x}), x > 0)
    edges = model[0].categories_[0]
    around = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    X = pd.DataFrame({"x": [*around, 1e300, -1e300]})
    session = session_of(to_onnx(model[0], X))
    codes = session.run(None, feed_of(session, X))[0]
    np.testing.assert_array_equal(codes, model[0].transform(X))
    assert_equal(model, X)


def lists_with_gaps(members, rng):
    """Lists of some members, None among them, and None in the place of some lists."""
    members = [*members, None]
    cells = [[members[i] for i in rng.integers(0, len(members), k % 4)] for k in range(180)]
    return [*cells, *[None] * 20]


LISTS = {
    "strings": lambda rng: [list(letters(rng, k)) for k in rng.integers(0, 4, 200)],
    "integers": lambda rng: [rng.integers(0, 9, k).tolist() for k in rng.integers(0, 4, 200)],
    "strings, some missing": lambda rng: lists_with_gaps(list(letters(rng, 50)), rng),
    "integers, some missing": lambda rng: lists_with_gaps(rng.integers(0, 9, 50).tolist(), rng),
    "booleans": lambda rng: lists_with_gaps([True, False], rng),
    "separated": lambda rng: ["|".join(letters(rng, k)) for k in rng.integers(0, 4, 200)],
    "separated, with gaps": lambda rng: with_gaps(
        ["|".join(letters(rng, k)) for k in rng.integers(0, 4, 200)], rng
    ),
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_pipeline_with_lists(kind, pooling):
    rng = np.random.default_rng(0)
    X = make_frame(2, n=200, tags=lambda rng, n: LISTS[kind](rng), x=KINDS["numbers"])
    separators = {"tags": "|"} if kind.startswith("separated") else None
    model = make_pipeline(
        OrdinalFieldEncoder(separators=separators, n_bins=None, min_frequency=3),
        DeepFMClassifier(pooling=pooling, **FAST),
    )
    model.fit(X[:150], rng.random(150) < 0.5)
    assert_equal(model, X)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("weight", [float, int])
def test_pipeline_with_lists_of_weighted_members(pooling, weight):
    rng = np.random.default_rng(0)
    X = make_frame(2, n=200, tags=lambda rng, n: LISTS["strings, some missing"](rng))
    X["shares"] = [
        None if cell is None else [weight(9 * share) for share in rng.random(len(cell))]
        for cell in X["tags"]
    ]
    model = make_pipeline(
        OrdinalFieldEncoder(member_weights={"tags": "shares"}),
        DeepFMClassifier(pooling=pooling, **FAST),
    )
    model.fit(X[20:], rng.random(180) < 0.5)
    assert_equal(model, X)
    codes = model[0].transform(X)
    assert_equal(model[1], codes)


def test_negative_weights_have_no_answer():
    X = pd.DataFrame({"tags": [["a", "b"]] * 20, "shares": [[1.0, 2.0]] * 20})
    encoder = OrdinalFieldEncoder(member_weights={"tags": "shares"})
    session = session_of(to_onnx(fitted(X, encoder), X))
    feed = feed_of(session, X[:2])
    feed["shares"][0, 0] = -1  # predict refuses it
    proba = session.run(None, feed)[1]
    assert np.isnan(proba[0]).all()
    assert np.isfinite(proba[1]).all()


def test_file_says_what_its_types_do_not():
    X = pd.DataFrame(
        {"tags": [["a"]], "shares": [[1.0]], "words": "a b", "day": pd.Timestamp("2026-01-01")}
    )
    X = pd.concat([X] * 20, ignore_index=True)
    X["is_new"], X["is_late"] = pd.array([True, None] * 10, dtype="boolean"), True
    encoder = OrdinalFieldEncoder(member_weights={"tags": "shares"}, separators={"words": " "})
    model = fitted(X, encoder)
    notes = notes_of(to_onnx(model, X))
    lists_of = {"shares": {"weights_of": "tags"}, "words": {"separator": " "}}
    units = {"day": {"unit": "microseconds"}, "is_new": {"unit": "booleans"}}
    assert notes == lists_of | units
    codes = model[0].transform(X)
    assert notes_of(to_onnx(model[1], codes)) == {"tags_weights": {"weights_of": "tags"}}
    codes["tags_weights"] = 1
    estimator = DeepFMClassifier(**FAST).fit(codes, [0, 1] * 10)
    assert notes_of(to_onnx(estimator, codes)) == {"tags_weights_": {"weights_of": "tags"}}


def notes_of(onnx_model):
    return json.loads({p.key: p.value for p in onnx_model.metadata_props}["columns"])


TARGETS = {
    "strings": lambda rng, n: letters(rng, n, 2),
    "integers": lambda rng, n: rng.choice([-3, 8], n),
    "booleans": lambda rng, n: rng.random(n) < 0.5,
    "floats": lambda rng, n: rng.choice([0.0, 1.0], n),
    "three strings": lambda rng, n: letters(rng, n, 3),
    "four integers": lambda rng, n: rng.integers(0, 4, n),
    "labels": lambda rng, n: rng.integers(0, 2, (n, 3)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n_members", [1, 3])
def test_classifier_with_each_kind_of_target(target, n_members):
    X = make_frame(3, x=KINDS["numbers"])
    y = TARGETS[target](np.random.default_rng(0), len(X))
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(n_members=n_members, **FAST))
    assert_equal(model.fit(X, y), X)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("n_members", [1, 3])
def test_regressor(n_outputs, n_members):
    X = make_frame(3, x=KINDS["numbers with gaps"])
    y = 1e6 + np.random.default_rng(0).normal(size=(len(X), n_outputs))
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMRegressor(n_members=n_members, **FAST))
    assert_equal(model.fit(X, y[:, 0] if n_outputs == 1 else y), X)


@pytest.mark.parametrize(
    "params",
    [
        {"components": ("linear",)},
        {"components": ("fm",)},
        {"components": ("linear", "fm")},
        {"components": ("deep",), "batch_norm": False},
        {"mlp_dims": ()},
        {"mlp_dims": (5,), "embed_dim": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_each_part_of_the_model(params, n_classes):
    X = make_frame(4, x=KINDS["numbers"])
    y = np.random.default_rng(0).integers(0, n_classes, len(X))
    for n_members in (1, 2):
        estimator = DeepFMClassifier(n_members=n_members, **params, **FAST)
        assert_equal(make_pipeline(OrdinalFieldEncoder(n_bins=None), estimator).fit(X, y), X)


MATRICES = {
    "dense codes": lambda rng: rng.integers(0, 20, (300, 4)),
    "small codes": lambda rng: rng.integers(0, 20, (300, 4)).astype(np.int8),
    "sparse codes": lambda rng: rng.choice(rng.integers(-(2**62), 2**62, 30), (300, 3)),
    "numbers": lambda rng: rng.normal(size=(300, 3)),
    "numbers with gaps": lambda rng: np.where(
        rng.random((300, 3)) < 0.2, np.nan, rng.normal(size=(300, 3))
    ),
    "float32": lambda rng: rng.normal(size=(300, 3)).astype(np.float32),
    "one column": lambda rng: rng.integers(0, 5, (300, 1)),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_estimator_alone_on_a_matrix(matrix):
    X = MATRICES[matrix](np.random.default_rng(0))
    y = np.arange(len(X)) % 2
    assert_equal(DeepFMClassifier(**FAST).fit(X[:200], y[:200]), X)


def test_estimator_alone_on_codes_typed_as_floats():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((300, 3)) < 0.1, np.nan, rng.integers(0, 9, (300, 3)))
    model = DeepFMClassifier(categorical_features=[0, 2], **FAST)
    model.fit(X[:200], np.arange(200) % 2)
    X[250:260] = [[0.5, 0.5, 2.0**60]]
    assert_equal(model, X)


def test_estimator_alone_on_a_data_frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "city": pd.Categorical(with_gaps(letters(rng, 300), rng)),
            "zone": pd.Categorical(rng.integers(0, 5, 300)),
            "is_new": rng.random(300) < 0.5,
            "code": with_gaps(rng.integers(0, 30, 300), rng).astype("Int64"),
            "price": rng.normal(size=300),
            "tags": [rng.integers(0, 9, k).tolist() for k in rng.integers(0, 4, 300)],
            "nothing": np.nan,
            "no category": pd.Categorical([None] * 300),
        }
    )
    X.loc[X.index % 50 == 0, "tags"] = None
    assert_equal(DeepFMClassifier(**FAST).fit(X[:200], np.arange(200) % 2), X)


def test_encoder_alone_gives_its_codes():
    X = make_frame(5, x=KINDS["strings with gaps"], day=KINDS["dates with gaps"])
    encoder = OrdinalFieldEncoder(min_frequency=3).fit(X[:200])
    session = session_of(to_onnx(encoder, X))
    (codes,) = session.run(None, feed_of(session, X))
    np.testing.assert_array_equal(codes, encoder.transform(X))
    assert codes.dtype == np.int64


def test_matrix_of_strings_is_one_input():
    X = letters(np.random.default_rng(0), 600).astype(object).reshape(200, 3)
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    model.fit(X, np.arange(200) % 2)
    session = session_of(to_onnx(model, X.astype(str)))
    assert [i.shape for i in session.get_inputs()] == [[None, 3]]
    proba = session.run(None, {"X": X})[1]
    np.testing.assert_allclose(proba, model.predict_proba(X), atol=1e-5)


def test_found_by_a_search():
    X = make_frame(7)
    pipeline = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    search = GridSearchCV(pipeline, {"deepfmclassifier__embed_dim": [2, 4]}, cv=2)
    assert_equal(search.fit(X, np.arange(300) % 2), X)


def test_inputs_have_the_names_of_the_columns():
    names = ["a (b)", "日本", "a.b", "label", "constant", "codes", "u(a)", "a/b", "X"]
    X = pd.DataFrame({name: letters(np.random.default_rng(0), 300) for name in names})
    model = fitted(X)
    assert_equal(model, X)
    onnx_model = to_onnx(model, X)
    assert [i.name for i in onnx_model.graph.input] == names
    assert [i.name for i in onnx_model.graph.output] == ["label_", "probabilities"]
    X.columns = range(len(names))
    assert [i.name for i in to_onnx(fitted(X), X).graph.input] == [f"x{j}" for j in range(9)]


def test_converters_serve_skl2onnx_itself():
    X = make_frame(8)
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    model.fit(X, np.arange(300) % 2)
    register_onnx_converters()
    types = [("letter", STRING([None, 1]))]
    session = session_of(skl2onnx.convert_sklearn(model, initial_types=types, target_opset=20))
    label, proba = session.run(None, {"letter": X[["letter"]].to_numpy(dtype=object)})
    assert label.tolist() == model.predict(X).tolist()
    expected = model.predict_proba(X)
    assert [set(row) for row in proba[:2]] == [{0, 1}] * 2  # a dict per row, as it does
    np.testing.assert_allclose([row[1] for row in proba], expected[:, 1], atol=1e-5)


def test_flights_with_unseen_and_missing_values():
    X, y = load_flights(return_X_y=True)
    rng, n_rows = np.random.default_rng(0), 100_000
    order = rng.permutation(len(X))
    X, y = X.iloc[order], y.iloc[order]
    train, X = X[:20_000], X[-n_rows:].copy()
    for name in ("carrier", "tailnum", "dest"):
        X[name] = X[name].astype(object)
        X.loc[rng.random(n_rows) < 0.1, name] = None
        X.loc[rng.random(n_rows) < 0.1, name] = "never seen"
    numeric = ["sched_dep_minute", "sched_arr_minute", "distance"]
    model = make_pipeline(OrdinalFieldEncoder(numeric_features=numeric), DeepFMClassifier(**FAST))
    model.fit(train, y[:20_000])
    assert_equal(model, X)


def test_missing_string_is_a_choice():
    X = pd.DataFrame({"x": ["<NA>", "b", None] * 50})
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    model.fit(X, [0, 1, 0] * 50)
    with pytest.raises(ValueError, match="missing_string must be .* '<NA>' is one of column 'x'"):
        to_onnx(model, X)
    rare = fitted(X[:149].replace("b", "c"), OrdinalFieldEncoder(min_frequency=80))
    with pytest.raises(ValueError, match="missing_string must be .* '<NA>' is one of column 'x'"):
        to_onnx(rare, X)
    session = session_of(to_onnx(model, X, missing_string="?"))
    proba = session.run(None, {"x": np.array([["<NA>"], ["b"], ["?"]], dtype=object)})[1]
    np.testing.assert_allclose(proba, model.predict_proba(X[:3]), atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["missing_string"] == "?"


def test_category_of_the_estimator_that_is_the_missing_string():
    X = pd.DataFrame({"x": pd.Categorical(["<NA>", "b", None] * 50)})
    model = DeepFMClassifier(**FAST).fit(X, [0, 1, 0] * 50)
    with pytest.raises(ValueError, match="missing_string must be .* '<NA>' is one of column 'x'"):
        to_onnx(model, X)


def test_what_no_operator_can_do_is_refused():
    X = make_frame(9)
    with pytest.raises(ValueError, match="'letter' is hashed .* min_frequency"):
        to_onnx(fitted(X, OrdinalFieldEncoder(hash_dims=8)), X)
    huge = X.assign(x=np.arange(300, dtype=np.uint64) % 7 + np.uint64(2**63))
    with pytest.raises(ValueError, match="'x' has a category beyond the largest int64"):
        to_onnx(fitted(huge), huge)
    empties = X.assign(x=[["", "a"]] * 300)
    with pytest.raises(ValueError, match="'x' holds lists with the member ''"):
        to_onnx(fitted(empties), empties)
    weighed = X.assign(x="a|b", w="1|2")
    encoder = OrdinalFieldEncoder(separators={"x": "|", "w": "|"}, member_weights={"x": "w"})
    with pytest.raises(ValueError, match="'x' holds separated strings .* weights"):
        to_onnx(fitted(weighed, encoder), weighed)
    fractions = X.assign(letter=pd.Categorical(np.arange(300) % 4 / 4))
    with pytest.raises(ValueError, match="'letter' holds categories of type 'floating'"):
        to_onnx(DeepFMClassifier(**FAST).fit(fractions, np.arange(300) % 2), fractions)
    days = pd.to_datetime(np.arange(300) % 2, unit="D").to_numpy()
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST)).fit(X, days)
    with pytest.raises(ValueError, match="classes must be strings, numbers that fit int64"):
        to_onnx(model, X)
    beyond = np.arange(300, dtype=np.uint64) % 2 + np.uint64(2**63)
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST)).fit(X, beyond)
    with pytest.raises(ValueError, match="classes must be strings, numbers that fit int64"):
        to_onnx(model, X)


def test_values_that_no_tensor_can_hold_are_refused():
    days = pd.DataFrame({"x": [[pd.Timestamp("2026-01-01")]] * 100})
    encoder = OrdinalFieldEncoder(categorical_features=["x"])
    with pytest.raises(TypeError, match="'x' of X holds lists of timestamp"):
        to_onnx(fitted(days, encoder), days)
    bytes_ = pd.DataFrame({"x": pd.Categorical([b"a", b"b"] * 50)})
    with pytest.raises(TypeError, match="'x' holds binary"):
        to_onnx(DeepFMClassifier(**FAST).fit(bytes_, [0, 1] * 50), bytes_)


def test_lists_that_no_tensor_can_hold_are_refused():
    X = pd.DataFrame({"x": [[0.5, 1.5], [2.5]] * 50})
    encoder = OrdinalFieldEncoder(categorical_features=["x"])
    with pytest.raises(ValueError, match="'x' holds lists of floats"):
        to_onnx(fitted(X, encoder), X)
    for member in (NAT, NAT + 1):
        X = pd.DataFrame({"x": [[member, 3], [4]] * 50})
        with pytest.raises(ValueError, match=f"'x' holds {member}, which an ONNX file takes for"):
            to_onnx(fitted(X), X)
        with pytest.raises(ValueError, match=f"'x' holds {member}, which an ONNX file takes for"):
            to_onnx(DeepFMClassifier(**FAST).fit(X, [0, 1] * 50), X)


@pytest.mark.parametrize("farthest", [2**53, -(2**53) - 1, -(2**63)])
def test_ids_beyond_what_floats_name_are_refused_where_cells_may_be_missing(farthest):
    ids = pd.array([farthest, farthest // 2, None, 5] * 50, dtype="Int64")
    X = pd.DataFrame({"x": ids, "y": 1})
    for model in (fitted(X), DeepFMClassifier(**FAST).fit(X, [0, 1] * 100)):
        with pytest.raises(ValueError, match=f"'x' has the category {farthest}, not below"):
            to_onnx(model, X)
    whole = X.dropna().astype({"x": np.int64})
    assert_equal(fitted(whole), whole)


def test_the_least_whole_number_is_a_number():
    X = pd.DataFrame({"x": [NAT, NAT + 1, 3, 2**63 - 1] * 50})
    for encoder in (OrdinalFieldEncoder(), OrdinalFieldEncoder(numeric_features=["x"])):
        assert_equal(fitted(X, encoder), X)


def test_table_that_the_model_does_not_take_is_refused():
    X = make_frame(10, x=KINDS["numbers"])
    model = fitted(X)
    for wrong in (X[["x"]], X[["x", "letter"]], X.rename(columns={"x": "z"})):
        with pytest.raises(ValueError, match="feature names should match"):
            to_onnx(model, wrong)
    with pytest.raises(ValueError, match="X has 3 features, .* expecting 2"):
        to_onnx(fitted(X.to_numpy()), X.assign(more=1).to_numpy())
    with pytest.raises(ValueError, match="'letter' held strings .* and holds numbers now"):
        to_onnx(model, X.assign(letter=1))
    dates = X.assign(x=pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(300), "D"))
    with pytest.raises(ValueError, match="'x' held datetimes .* and holds numbers now"):
        to_onnx(fitted(dates), X)
    with pytest.raises(TypeError, match="'x' holds int, str. The cells of one column"):
        to_onnx(model, X.assign(x=[1, "a"] * 150))
    with pytest.raises(ValueError, match="Expected 2D array"):
        to_onnx(model, np.zeros(3))
    search = GridSearchCV(model, {"deepfmclassifier__embed_dim": [2]}, cv=2, refit=False)
    with pytest.raises(
        TypeError, match="(?s)model must predict or transform, got GridSearchCV.* refit is True"
    ):
        to_onnx(search.fit(X, np.arange(300) % 2), X)


def test_missing_string_must_be_a_string_that_nothing_else_is():
    X = pd.DataFrame({"x": ["a|b", "b"] * 50})
    model = fitted(X, OrdinalFieldEncoder(separators={"x": "|"}))
    for missing_string in (None, 3, float("nan"), b"a"):
        with pytest.raises(TypeError, match="missing_string must be a string"):
            to_onnx(model, X, missing_string=missing_string)
    for missing_string in ("", "N|A"):
        with pytest.raises(
            ValueError, match="missing_string .* holds no separator, for column 'x'"
        ):
            to_onnx(model, X, missing_string=missing_string)


def converted(model, **types):
    """The model as skl2onnx converts it when nobody looks at the rows."""
    register_onnx_converters()
    types = [(name, type_([None, width])) for name, (type_, width) in types.items()]
    return skl2onnx.convert_sklearn(model, initial_types=types, target_opset=20)


def test_inputs_that_are_declared_as_another_type_are_refused():
    X = make_frame(10, x=KINDS["numbers"], tags=lambda rng, n: [["a"]] * n)
    model = fitted(X)
    right = {"letter": (STRING, 1), "x": (DOUBLE, 1), "tags": (STRING, None)}
    assert converted(model, **right).graph.input[2].name == "tags"
    for change, message in (
        ({"letter": (INT64, 1)}, "'letter' held strings .* would hold numbers"),
        ({"x": (STRING, 1)}, "'x' held numbers .* would hold strings"),
        ({"tags": (STRING, 1)}, "'tags' held lists .* would hold single values"),
        ({"x": (DOUBLE, None)}, "'x' held single values .* would hold lists"),
        ({"more": (INT64, 1)}, "fitted on 3 columns, and the inputs have 4"),
    ):
        with pytest.raises(ValueError, match=message):
            converted(model, **right | change)


def test_inputs_that_are_declared_as_an_estimator_did_not_see_them_are_refused():
    X = pd.DataFrame({"c": pd.Categorical(["a", "b"] * 100), "i": 1, "f": 0.5, "l": [[1]] * 200})
    model = DeepFMClassifier(**FAST).fit(X, [0, 1] * 100)
    right = {"c": (STRING, 1), "i": (INT64, 1), "f": (DOUBLE, 1), "l": (INT64, None)}
    assert len(converted(model, **right).graph.input) == 4
    for change, message in (
        ({"c": (INT64, 1)}, "'c' held categories of type 'string'"),
        ({"i": (STRING, 1)}, "'i' held codes"),
        ({"f": (STRING, 1)}, "'f' held numbers"),
        ({"l": (DOUBLE, None)}, "'l' held codes"),
        ({"l": (INT64, 1)}, "'l' held lists in fit, .* would hold single values"),
        ({"i": (INT64, None)}, "'i' held single values in fit, .* would hold lists"),
        ({"more": (INT64, 1)}, "fitted on 4 columns, and the inputs have 5"),
    ):
        with pytest.raises(ValueError, match=message):
            converted(model, **right | change)
    with pytest.raises(ValueError, match="fitted on 4 columns, and the inputs have 1"):
        converted(model, c=(STRING, 1))


def test_table_beyond_what_a_file_holds_is_refused(monkeypatch):
    from sklearn_deepfm._onnx import converters

    X = make_frame(11)
    model = fitted(X)
    monkeypatch.setattr(converters, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="an ONNX file holds 2 GiB"):
        to_onnx(model, X)


def test_without_skl2onnx_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn_deepfm\[onnx\]'"):
        to_onnx(None, None)
    with pytest.raises(ImportError, match="skl2onnx"):
        register_onnx_converters()


def test_registering_the_converters_again_changes_nothing():
    X = make_frame(8)[["letter"]]
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    model.fit(X, np.arange(300) % 2)
    for _ in range(2):
        register_onnx_converters()
        assert_equal(model, X)
    assert _parse.do_not_merge_columns.count(OrdinalFieldEncoder) == 1
