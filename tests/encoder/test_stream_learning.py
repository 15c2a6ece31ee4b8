"""Data sets of Parquet that need not fit in memory: what an encoder learns of them."""

import contextlib
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm._serialization import archive

N = 3_000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Many parts of few rows."""
    monkeypatch.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", 256)


@pytest.fixture(scope="module")
def table():
    """A column of each kind; `late_float` has fractions at its end alone."""
    rng = np.random.default_rng(0)
    cities = np.array(["Oslo", "Rome", None, "Bonn", ""], dtype=object)
    user = rng.zipf(1.3, N).clip(max=10**6)
    late_float = rng.integers(0, 9, N).astype(float)
    late_float[-5:] += 0.5
    return pd.DataFrame(
        {
            "city": cities[rng.integers(0, 5, N)],
            "user": user,
            "gap": np.where(rng.random(N) < 0.1, np.nan, rng.integers(0, 50, N)),
            "price": rng.lognormal(size=N),
            "late_float": late_float,
            "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, N), "D"),
            "flag": rng.random(N) < 0.3,
            "kind": pd.Categorical(rng.choice(["x", "y", "z"], N)),
            "tags": [rng.choice(["p", "q", "r"], k).tolist() for k in rng.integers(0, 4, N)],
            "nothing": pd.Series([None] * N, dtype="string"),
            "y": rng.integers(0, 2, N),
            "w": rng.random(N),
        }
    )


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The table in files of unequal length, with small groups of rows."""
    path = tmp_path_factory.mktemp("parquet")
    for number, (start, stop) in enumerate([(0, 1000), (1000, 1007), (1007, N)]):
        part = pa.Table.from_pandas(table.iloc[start:stop], preserve_index=False)
        pq.write_table(part, path / f"{number}.parquet", row_group_size=300)
    return path


@pytest.fixture
def dataset(folder):
    return pads.dataset(folder)


def plain(encoder):
    """All that an encoder is, as text and numbers."""
    arrays = []
    tree = archive._encoded(encoder.__getstate__(), "", arrays)
    return tree, [array.tolist() for array in arrays]


def features(table):
    return table.drop(columns=["y", "w"])


PARAMS = [
    {},
    {"min_frequency": 5},
    {"min_frequency": 0.01},
    {"max_categories": 4},
    {"hash_dims": {"user": 64, "tags": 8}},
    {"n_bins": None},
    {"n_bins": 7, "numeric_features": ["user", "gap"]},
    {"categorical_features": ["price", "late_float", "day"]},
]


@pytest.mark.parametrize("params", PARAMS, ids=str)
@pytest.mark.parametrize("pending", [10, 2**20])
def test_encoder_learns_of_a_stream_what_it_learns_of_the_table(
    params, pending, table, dataset, monkeypatch
):
    monkeypatch.setattr("sklearn_deepfm._encoder.stream_learning._MOST_PENDING", pending)
    with (
        pytest.warns(UserWarning, match="'price'")
        if "day" in str(params)
        else contextlib.nullcontext()
    ):
        expected = OrdinalFieldEncoder(**params).fit(features(table))
    with (
        pytest.warns(UserWarning, match="'price'")
        if "day" in str(params)
        else contextlib.nullcontext()
    ):
        encoder = OrdinalFieldEncoder(**params).fit(dataset, "y", leave_out="w")
    assert plain(encoder) == plain(expected)


def test_stream_is_encoded_as_it_is_read(table, dataset):
    encoder = OrdinalFieldEncoder().fit(dataset, "y", leave_out=["w"])
    stream = encoder.transform(dataset)
    parts = list(stream.parts("y", ["y", "w"], None))
    assert len(parts) > 5
    codes = pd.concat([X for X, _ in parts], ignore_index=True)
    pd.testing.assert_frame_equal(codes, encoder.transform(features(table)))
    assert_array_equal(np.concatenate([y for _, (y, _, _) in parts]), table["y"])
    assert_array_equal(np.concatenate([both for _, (_, both, _) in parts]), table[["y", "w"]])
    assert parts[0][1][2] is None
    assert_array_equal(stream.column("w"), table["w"])


def test_fit_transform_gives_the_stream_of_transform(dataset):
    columns = dataset.replace_schema(pa.schema([dataset.schema.field(n) for n in ("user", "y")]))
    parts = OrdinalFieldEncoder().fit_transform(columns, "y").parts()
    expected = OrdinalFieldEncoder().fit(columns, "y").transform(columns).parts()
    for (X, _), (X_expected, _) in zip(parts, expected, strict=True):
        assert_array_equal(X, X_expected)


def test_bins_of_many_rows_are_cut_on_a_sample(dataset, table, monkeypatch):
    exact = OrdinalFieldEncoder(n_bins=10).fit(dataset, "y", leave_out="w")
    monkeypatch.setattr("sklearn_deepfm._encoder.stream_learning.SAMPLE", N // 3)
    encoder = OrdinalFieldEncoder(n_bins=10).fit(dataset, "y", leave_out="w")
    for name in ("price", "late_float"):
        j = list(encoder.feature_names_in_).index(name)
        assert encoder.field_kinds_[j] == "bins"
        share = np.histogram(table[name], encoder.categories_[j])[0] / N
        if name == "price":
            np.testing.assert_allclose(share, 0.1, atol=0.03)
            assert (encoder.categories_[j] != exact.categories_[j]).any()
    assert_array_equal(encoder.categories_[0], exact.categories_[0])  # counted in all rows
    assert encoder.n_samples_seen_ == N


@pytest.mark.parametrize("n_bins", ["auto", None])
def test_infinity_in_a_row_out_of_the_sample_is_refused(n_bins, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._encoder.stream_learning.SAMPLE", 1)
    for values in (np.append(np.linspace(0, 1, 600), np.inf), np.append(np.inf, np.ones(600) / 3)):
        dataset = pads.dataset(pa.table({"x": values}))
        with pytest.raises(ValueError, match="'x' holds infinity"):
            OrdinalFieldEncoder(n_bins=n_bins).fit(dataset)


def test_stream_may_have_further_columns_and_another_order(dataset, table):
    encoder = OrdinalFieldEncoder().fit(features(table)[["user", "city"]])
    codes = np.concatenate([X for X, _ in encoder.transform(dataset).parts()])
    assert_array_equal(codes, encoder.transform(table[["user", "city"]]))


def test_column_without_values_has_no_categories(tmp_path):
    pq.write_table(pa.table({"a": pa.nulls(5), "b": [[None]] * 5}), tmp_path / "file")
    encoder = OrdinalFieldEncoder().fit(pads.dataset(tmp_path / "file"))
    assert encoder.field_kinds_ == ["empty", "lists of empty"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e, d: e.fit(d, "z"), ValueError, r"y must name a column .* got 'z'. The columns"),
        (lambda e, d: e.fit(d, np.zeros(N)), ValueError, "y must name .* got a ndarray"),
        (lambda e, d: e.fit(d, "y", leave_out=["q"]), ValueError, r"leave_out must name .*list"),
        (lambda e, d: e.fit(d, d.schema.names), ValueError, "X must have columns besides .*'city'"),
        (lambda e, d: e.fit(pd.DataFrame({"a": [1]}), leave_out="a"), ValueError, "Drop the col"),
        (lambda e, d: e.partial_fit(d), TypeError, "got a data set, which fit, transform"),
        (lambda e, d: e.fit(d.filter(pads.field("w") > 2), "y"), ValueError, "X has 0 rows"),
        (lambda e, d: e.fit([[1, 2]]).transform(d), ValueError, "table without names of columns"),
        (
            lambda e, d: e.fit(pd.DataFrame({"shop": ["a"]})).transform(d),
            ValueError,
            r"The data set lacks the columns \['shop'\] that fit saw",
        ),
        (lambda e, d: e.fit(e.fit(d, "y").transform(d)), TypeError, "is encoded already"),
        (
            lambda e, d: e.set_params(hash_dims={"price": 9}).fit(d, "y"),
            ValueError,
            "'price' is in hash_dims but holds quantities",
        ),
    ],
)
def test_what_a_stream_cannot_be_is_refused(call, error, message, dataset):
    encoder = OrdinalFieldEncoder()
    with pytest.raises(error, match=message):
        call(encoder, dataset)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("is_global", [False, True])
def test_container_that_holds_no_stream_is_refused(container, is_global, dataset, table):
    encoder = OrdinalFieldEncoder().fit(dataset, "y")
    config = config_context(transform_output=container) if is_global else contextlib.nullcontext()
    if not is_global:
        encoder.set_output(transform=container)
    with config:
        for call in (encoder.transform, encoder.fit_transform):
            with pytest.raises(ValueError, match=f"set_output.transform='{container}'. asks for a"):
                call(dataset)
        of_table = encoder.transform(table.drop(columns="y"))
        assert type(of_table).__module__.startswith(container)
    assert len(encoder.set_output(transform="default").transform(dataset)) == N


def test_names_that_come_twice_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ValueError, match="unique column names, but two are 'a'"):
        OrdinalFieldEncoder().fit(pads.dataset(table))


def test_refused_fit_leaves_the_encoder_as_it_was(dataset):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": ["x"]}))
    before = pickle.dumps(encoder)
    with pytest.raises(ValueError, match="X has 0 rows"):
        encoder.fit(dataset.filter(pads.field("w") > 2), "y")
    assert pickle.dumps(encoder) == before


@pytest.mark.filterwarnings("ignore:Column 'amount' holds whole numbers but for a few fractions")
def test_decimals_of_a_stream_are_ids_where_all_are_whole():
    ids = 2**60 + np.arange(N) % 700
    amounts = [Decimal(i % 50) for i in range(N - 5)] + [Decimal("0.25")] * 5
    whole, late = pa.array([Decimal(int(i)) for i in ids]), pa.array(amounts)
    table = pa.table({"id": whole, "amount": late})
    encoder = OrdinalFieldEncoder().fit(pads.dataset(table))
    assert encoder.field_kinds_ == ["categories", "bins"]
    assert encoder.categories_[0].tolist() == np.unique(ids).tolist()
    expected = OrdinalFieldEncoder().fit(table.to_pandas())
    assert encoder.categories_[1].tolist() == expected.categories_[1].tolist()
    later = pd.DataFrame({"id": ids[:9], "amount": np.array(amounts[:9], dtype=float)})
    assert_array_equal(encoder.transform(later), expected.transform(later))


def test_decimals_of_a_stream_that_no_type_holds_are_refused():
    amounts = [Decimal(2**60 + i) for i in range(256)] + [Decimal("0.25")] * 256
    encoder = OrdinalFieldEncoder(categorical_features=["amount"])
    with pytest.raises(
        ValueError, match=r"'amount' holds whole numbers beyond 2\*\*53 in one part"
    ):
        encoder.fit(pads.dataset(pa.table({"amount": amounts})))


@pytest.mark.parametrize("in_memory", [0, 10**4])
def test_labels_of_a_stream_that_are_decimals_are_integers(in_memory, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", in_memory)
    table = pa.table({"a": np.arange(300) % 9, "y": [Decimal(i % 2) for i in range(300)]})
    model = DeepFMClassifier(max_epochs=1, embed_dim=2, mlp_dims=(2,), random_state=0)
    with_integers = table.set_column(1, "y", table["y"].cast(pa.int64()))
    expected = clone(model).fit(pads.dataset(with_integers), "y")
    model.fit(pads.dataset(table), "y")
    assert model.classes_.tolist() == [0, 1]
    assert model.classes_.dtype == np.int64
    X = pd.DataFrame({"a": np.arange(9)})
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.score(pads.dataset(table), "y") == model.score(pads.dataset(with_integers), "y")
