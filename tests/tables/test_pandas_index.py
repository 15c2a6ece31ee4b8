"""The index of a data frame, which pandas writes beside the columns and Arrow reads as one."""

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
    contributions,
    predict_to_parquet,
)

N = 200
LEFT_OUT = "are left out: pandas wrote them as the index"
SMALL = {"max_epochs": 2, "embed_dim": 2, "mlp_dims": (3,), "random_state": 0}


@pytest.fixture(scope="module")
def frame():
    """Rows whose index is no range, as after a filter or a shuffle."""
    rng = np.random.default_rng(0)
    columns = {"city": rng.choice(["a", "b", "c"], N), "shop": rng.integers(0, 9, N)}
    return pd.DataFrame({**columns, "y": rng.integers(0, 2, N)}, index=rng.permutation(N))


INDEXES = {
    "without a name": (lambda df: df, ["__index_level_0__"]),
    "named": (lambda df: df.rename_axis("key"), ["key"]),
    "two levels": (lambda df: df.set_index([df.index, df.index % 7]), ["__index_level_"]),
    "dates": (lambda df: df.set_index(pd.to_datetime(df.index, unit="D")), ["__index_level_0__"]),
}


@pytest.fixture(params=INDEXES)
def written(request, frame, tmp_path):
    """A data set that pandas wrote, and what a warning must name of it."""
    indexed, named = INDEXES[request.param]
    indexed(frame).to_parquet(tmp_path / "rows")
    return pads.dataset(tmp_path / "rows"), named


def warns(named=("__index_level_0__",)):
    return pytest.warns(UserWarning, match=f"{named[0]}.*{LEFT_OUT}")


def model():
    return make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL))


def test_data_set_has_the_fields_of_the_frame(written, frame):
    dataset, named = written
    with warns(named):
        fitted = model().fit(dataset, "y")
    X = frame[["city", "shop"]]
    assert fitted[0].feature_names_in_.tolist() == ["city", "shop"]
    expected = model().fit(X, frame["y"]).predict_proba(X)
    for rows in (X, dataset):  # without a warning
        assert_array_equal(fitted.predict_proba(rows), expected)


def test_estimator_reads_a_data_set_without_the_index(frame, tmp_path):
    X = frame[["shop"]]
    frame[["shop", "y"]].to_parquet(tmp_path / "rows")
    dataset = pads.dataset(tmp_path / "rows")
    with warns():
        fitted = DeepFMClassifier(**SMALL).fit(dataset, "y")
    expected = DeepFMClassifier(**SMALL).fit(X, frame["y"])
    assert_array_equal(fitted.predict_proba(dataset), expected.predict_proba(X))


def as_batch(table):
    return table.combine_chunks().to_batches()[0]


@pytest.mark.parametrize("container", [lambda table: table, as_batch], ids=["table", "batch"])
def test_table_of_arrow_is_read_without_the_index(frame, container):
    X, y = frame[["city", "shop"]], frame["y"]
    table = container(pa.Table.from_pandas(X))
    with warns():
        fitted = model().fit(table, y)
    expected = model().fit(X, y)
    assert_array_equal(fitted.predict_proba(table), expected.predict_proba(X))
    assert_array_equal(expected.predict_proba(table), expected.predict_proba(X))
    of_table, of_frame = (contributions(expected, rows).to_frame() for rows in (table, X))
    pd.testing.assert_frame_equal(of_table, of_frame)  # the same index too
    codes = expected[0].transform(X)
    coded = pd.DataFrame(codes, columns=X.columns, index=X.index)
    with warns():
        estimator = DeepFMClassifier(**SMALL).fit(container(pa.Table.from_pandas(coded)), y)
    assert estimator.feature_names_in_.tolist() == ["city", "shop"]


def test_table_without_the_metadata_of_pandas_has_the_index_by_its_name(frame, tmp_path):
    frame.to_parquet(tmp_path / "pandas")
    pl.read_parquet(tmp_path / "pandas").write_parquet(tmp_path / "polars")
    dataset = pads.dataset(tmp_path / "polars")
    assert "__index_level_0__" in dataset.schema.names
    assert dataset.schema.pandas_metadata is None
    with warns():
        encoder = OrdinalFieldEncoder().fit(dataset, "y")
    assert encoder.feature_names_in_.tolist() == ["city", "shop"]


def test_range_is_no_column_and_no_word_is_said(frame, tmp_path):
    frame.reset_index(drop=True).to_parquet(tmp_path / "rows")
    encoder = OrdinalFieldEncoder().fit(pads.dataset(tmp_path / "rows"), "y")
    assert encoder.feature_names_in_.tolist() == ["city", "shop"]


def test_index_may_be_target_weight_or_key(frame, tmp_path):
    """Then it was named, and nothing is said."""
    frame.set_index("y").to_parquet(tmp_path / "rows")
    dataset = pads.dataset(tmp_path / "rows")
    fitted = model().fit(dataset, "y")
    assert fitted[0].feature_names_in_.tolist() == ["city", "shop"]
    assert fitted.score(dataset, "y") == fitted.score(frame[["city", "shop"]], frame["y"])
    path = tmp_path / "predictions"
    assert predict_to_parquet(fitted, dataset, path, keep=["y"]) == N
    assert pq.read_table(path)["y"].to_pylist() == frame["y"].tolist()


def test_column_that_fit_saw_is_read_where_another_file_has_it_as_index(frame, tmp_path):
    X = frame[["city", "shop"]]
    fitted = model().fit(X, frame["y"])
    indexed = X.set_index("shop")
    indexed.to_parquet(tmp_path / "rows")
    expected = fitted.predict_proba(X)
    assert_array_equal(fitted.predict_proba(pads.dataset(tmp_path / "rows")), expected)
    table = pa.Table.from_pandas(indexed).select(["city", "shop"])
    assert_array_equal(fitted.predict_proba(table), expected)
    assert_array_equal(contributions(fitted, table).values, contributions(fitted, X).values)


def test_data_set_of_an_index_alone_is_refused(frame, tmp_path):
    frame[["y"]].to_parquet(tmp_path / "rows")
    with pytest.raises(ValueError, match=r"X must have columns besides \['y', '__index_level_0__'"):
        OrdinalFieldEncoder().fit(pads.dataset(tmp_path / "rows"), "y")


def test_frame_of_polars_has_the_columns_that_it_has(frame, tmp_path):
    """It has no index, and nothing says what a column was elsewhere."""
    X = pl.DataFrame(frame[["city"]]).with_columns(
        pl.Series("__index_level_0__", frame["shop"].to_numpy())
    )
    fitted = model().fit(X, frame["y"])
    assert fitted[0].feature_names_in_.tolist() == X.columns
    X.write_parquet(tmp_path / "rows")
    expected = fitted.predict_proba(X)
    # Fit saw the column: it is read where Arrow would take it for an index.
    for rows in (pads.dataset(tmp_path / "rows"), X.to_arrow(), X.to_pandas()):
        assert_array_equal(fitted.predict_proba(rows), expected)
