"""Containers of columns: those that are tables, and advice for all others."""

import pickle
import types
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    OrdinalFieldEncoder,
    load_model,
    save_model,
)

N = 100
SMALL = {"max_epochs": 2, "embed_dim": 2, "mlp_dims": (3,), "random_state": 0}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"user": rng.integers(0, 9, N), "item": rng.integers(0, 5, N), "x": rng.normal(size=N)}
    )


@pytest.fixture(scope="module")
def y():
    return np.arange(N) % 2


def estimators():
    """The two readers: of the encoder, and of the estimators."""
    return {
        "encoder": make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)),
        "estimator": DeepFMClassifier(**SMALL),
    }


@pytest.fixture(params=estimators())
def model(request):
    return estimators()[request.param]


# A batch of Arrow is a table


def batch_of(frame):
    return pa.RecordBatch.from_pandas(frame)


def test_record_batch_is_read_as_a_table(frame, y, model):
    expected = model.fit(pa.Table.from_pandas(frame), y).predict_proba(frame)
    assert_array_equal(model.predict_proba(batch_of(frame)), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(batch_of(frame[["item", "user", "x"]]))
    model.fit(batch_of(frame), y)
    assert_array_equal(model.predict_proba(frame), expected)


def test_integers_of_a_record_batch_stay_integers_beside_floats(frame):
    """As floats they would be other numbers, and numbers instead of codes."""
    ids = frame.assign(user=frame["user"] + 2**60)
    encoder = OrdinalFieldEncoder().fit(batch_of(ids))
    assert encoder.categories_[0].tolist() == [2**60 + j for j in range(9)]
    model = DeepFMClassifier(**SMALL).fit(batch_of(frame), np.arange(N) % 2)
    assert_array_equal(model._is_index, [True, True, False])


# Names of columns that are no strings


@pytest.mark.parametrize(
    "names",
    [[30, 10, 20], [("a", 1), ("a", 2), ("b", 1)]],
    ids=["integers", "two levels"],
)
def test_columns_named_by_anything_but_strings_must_come_in_the_order_of_fit(
    frame, y, model, names, tmp_path
):
    X = frame.set_axis(names, axis=1)
    model.fit(X, y)
    expected = model.predict_proba(X)
    save_model(model, tmp_path / "model")
    for fitted in (model, pickle.loads(pickle.dumps(model)), load_model(tmp_path / "model")):
        assert_array_equal(fitted.predict_proba(X), expected)
        with pytest.raises(ValueError, match=r"X must have the columns of fit.* number 1 is"):
            fitted.predict_proba(X.iloc[:, [0, 2, 1]])
        assert_array_equal(fitted.predict_proba(frame.to_numpy()), expected)  # has no names


@pytest.mark.parametrize("names", [None, "abc", ["a", "b"], [30, 10, 20]], ids=repr)
def test_names_that_are_none_of_the_columns_are_damage(frame, y, model, names):
    fitted = getattr(model.fit(frame.set_axis([30, 10, 20], axis=1), y), "steps", [("", model)])
    state = fitted[0][1].__getstate__()
    with pytest.raises(ValueError, match="_other_names"):
        type(fitted[0][1])().__setstate__({**state, "_other_names": names})


def test_names_are_those_of_the_last_fit(frame, y, model):
    X = frame.set_axis([30, 10, 20], axis=1)
    model.fit(X, y).fit(frame.to_numpy(), y)
    model.predict(X.iloc[:, [1, 0, 2]])  # fit saw no names: they may be any
    model.fit(X, y).fit(X.iloc[:, [1, 0, 2]], y)
    with pytest.raises(ValueError, match="number 0 is 30, where fit saw 10"):
        model.predict(X)


@pytest.mark.parametrize("part", ["encoder", "estimator"])
def test_later_parts_come_in_the_order_of_the_first(frame, y, part):
    X, other = (frame[["user", "item"]].set_axis(names, axis=1) for names in ([2, 1], [1, 2]))
    if part == "encoder":
        encoder = OrdinalFieldEncoder().partial_fit(X)
        call, before = (lambda: encoder.partial_fit(other)), encoder.n_samples_seen_
    else:
        model = DeepFMClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
        call = lambda: model.partial_fit(other, y)  # noqa: E731
    with pytest.raises(ValueError, match="number 0 is 1, where fit saw 2"):
        call()
    if part == "encoder":
        assert encoder.n_samples_seen_ == before


# Everything else gets advice


def parquet_file(frame, tmp_path):
    frame.to_parquet(tmp_path / "rows")
    return pq.ParquetFile(tmp_path / "rows")


def parquet_dataset(frame, tmp_path):
    frame.to_parquet(tmp_path / "rows")
    return pq.ParquetDataset(tmp_path / "rows")


def dask_frame(frame, tmp_path):
    import dask.dataframe

    return dask.dataframe.from_pandas(frame, npartitions=2)


def spark_frame(frame, tmp_path):
    """Spark takes a machine of its own: a class with the methods of its data frames."""
    methods = {name: lambda self: None for name in ("collect", "toPandas")}
    cls = type("DataFrame", (), {"columns": property(), "schema": property(), **methods})
    cls.__module__ = "pyspark.sql.classic.dataframe"
    return cls()


def reader(frame, tmp_path):
    return pa.RecordBatchReader.from_batches(batch_of(frame).schema, [batch_of(frame)])


RECORDS = r"make it a data frame, pandas\.DataFrame\(X\)"
CONTAINERS = {
    "list of dicts": (lambda df, _: df.to_dict("records"), f"got a list: {RECORDS}"),
    "tuple of dicts": (lambda df, _: (*df.to_dict("records"),), f"got a tuple: {RECORDS}"),
    "list of series": (lambda df, _: [row for _, row in df.iterrows()], f"got a list: {RECORDS}"),
    "list of records": (lambda df, _: [*df.to_records()], f"got a list: {RECORDS}"),
    "recarray": (lambda df, _: df.to_records(index=False), f"got a recarray: {RECORDS}"),
    "structured": (lambda df, _: df.to_records().view(np.ndarray), f"got a ndarray: {RECORDS}"),
    "dict": (lambda df, _: df.to_dict("list"), "got a dict: make it a data frame"),
    "mapping": (
        lambda df, _: types.MappingProxyType(df.to_dict("list")),
        "got a mappingproxy: make it a data frame",
    ),
    "RecordBatchReader": (reader, r"got a RecordBatchReader: read_all\(\) it first"),
    "Scanner": (
        lambda df, _: pads.dataset(pa.Table.from_pandas(df)).scanner(),
        r"got a Scanner: to_table\(\) it first",
    ),
    "ParquetFile": (parquet_file, r"got a ParquetFile: read\(\) it first"),
    "ParquetDataset": (parquet_dataset, r"got a ParquetDataset: read\(\) it first"),
    "polars": (lambda df, _: pl.from_pandas(df).lazy(), r"got a LazyFrame: collect\(\) it first"),
    "dask": (dask_frame, r"got a DataFrame of dask: compute\(\) it first"),
    "spark": (spark_frame, r"got a DataFrame of pyspark: toPandas\(\) it first"),
}


@pytest.fixture(scope="module")
def fitted(frame, y):
    return {name: model.fit(frame, y) for name, model in estimators().items()}


@pytest.mark.filterwarnings("ignore:.*:FutureWarning:dask")
@pytest.mark.parametrize("kind", CONTAINERS)
def test_container_that_is_no_table_gets_advice(kind, frame, y, fitted, tmp_path):
    make, message = CONTAINERS[kind]
    for model in fitted.values():
        with pytest.raises(TypeError, match=f"X must be a data frame or a matrix, {message}"):
            model.predict(make(frame, tmp_path))
    for model in estimators().values():
        with pytest.raises(TypeError, match=message):
            model.fit(make(frame, tmp_path), y)


@pytest.mark.parametrize("first", ["a.parquet", Path("a.parquet"), b"a.parquet"], ids=repr)
@pytest.mark.parametrize("kind", [list, tuple])
def test_paths_get_advice(kind, first, y, fitted):
    """And so do the values of a column, which look the same."""
    X = kind([first, "b.parquet"])
    message = f"matrix, got a {kind.__name__} whose first element is .*a.parquet.*Read files"
    for model in fitted.values():
        with pytest.raises(TypeError, match=message):
            model.predict(X)
    for model in estimators().values():
        with pytest.raises(TypeError, match=message):
            model.fit(X, y)


def test_advice_computes_nothing(fitted):
    """A lazy frame of polars warns where its columns are asked for: it reads files for that."""
    lazy = pl.LazyFrame({"user": [1], "item": [1], "x": [1.0]}).map_batches(
        lambda _: pytest.fail("was computed")
    )
    with pytest.raises(TypeError, match=r"collect\(\) it first"):
        fitted["encoder"].predict(lazy)


def test_matrices_and_frames_of_narwhals_are_still_read(frame, fitted):
    import narwhals as nw

    expected = fitted["encoder"].predict_proba(frame)
    for X in (nw.from_native(frame), pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert_array_equal(fitted["encoder"].predict_proba(X), expected)
