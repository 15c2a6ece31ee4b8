"""What OrdinalFieldEncoder refuses, what it warns of, and that a refusal changes nothing."""

import datetime
import warnings
from copy import deepcopy
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder

FRAME = pd.DataFrame(
    {"city": ["Rome", "Oslo", "Rome"], "user": [7, 9, 7], "price": [0.5, 1.5, 2.5]}
)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_frequency": 0}, "min_frequency must be an int of at least 1 or a number in .*got 0"),
        ({"min_frequency": 1.0}, "min_frequency must be .*got 1.0"),
        ({"min_frequency": True}, "min_frequency must be .*got True"),
        ({"max_categories": 0}, "max_categories must be None or an int of at least 1.*got 0"),
        ({"n_bins": 1}, "n_bins must be 'auto' or None or an int of at least 2.*got 1"),
        ({"n_bins": "many"}, "n_bins must be .*got 'many'"),
        ({"categorical_features": "city"}, "categorical_features must be .*a list .*got 'city'"),
        ({"numeric_features": [True]}, r"numeric_features must be .*a list .*got \[True\]"),
        ({"numeric_features": [-1]}, r"numeric_features must be .*a list .*got \[-1\]"),
        ({"numeric_features": ["town"]}, "numeric_features holds 'town', which is no column of X"),
        ({"categorical_features": [3]}, "categorical_features holds 3, .*positions from 0 to 2"),
        (
            {"categorical_features": ["user"], "numeric_features": [1]},
            "'user' is both in categorical_features and in numeric_features",
        ),
        ({"numeric_features": ["city"]}, "'city' is in numeric_features but holds strings"),
        ({"hash_dims": 0}, "hash_dims must be None or an int from 1 to .* or a dict.*got 0"),
        ({"hash_dims": 2**31}, "hash_dims must be None or an int from 1 to 2..30 .*got 2147483648"),
        ({"hash_dims": {"city": 9, 0: 9}}, "hash_dims names a column twice"),
        ({"hash_dims": {"city": 0}}, "hash_dims must be .*got {'city': 0}"),
        ({"hash_dims": {"town": 9}}, "hash_dims holds 'town', which is no column of X"),
        ({"hash_dims": {1.5: 9}}, "hash_dims holds 1.5, which is no column of X"),
        (
            {"hash_dims": {"user": 9}, "numeric_features": ["user"]},
            "'user' is both in hash_dims and in numeric_features",
        ),
        ({"separators": {"city": ""}}, "separators must be .* a string that is not empty"),
        ({"separators": {"user": "|"}}, "'user' must hold strings to take apart, .*holds numbers"),
        ({"member_weights": {"city": "user"}}, "Column 'city' must hold lists .*holds strings"),
        ({"member_weights": {"city": "city"}}, "member_weights must map columns of lists to"),
    ],
    ids=str,
)
def test_parameter_out_of_range_is_refused_at_fit(params, message):
    for fit in ("fit", "fit_transform", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(OrdinalFieldEncoder(**params), fit)(FRAME)


def test_name_is_refused_where_columns_have_none():
    with pytest.raises(ValueError, match=r"holds 'city', which is no column of X. .*\[0, 1\]"):
        OrdinalFieldEncoder(categorical_features=["city"]).fit(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], "Column 'bad' holds int, str. .*must be all strings, or all numbers"),
        ([1, "a", None], "Column 'bad' holds NoneType, int, str"),
        ([True, 2], "Column 'bad' holds bool, int"),
        ([1.5, "a"], "Column 'bad' holds float, str"),
        ([{1}, 2], "Column 'bad' holds int, set"),
        ([1j, 2j], "Column 'bad' holds complex"),
        ([[[1]], [[2, 3]]], "Column 'bad' holds list.*one value per cell, or a list of strings"),
        ([[1], 2], "Column 'bad' holds int, list"),
        ([{"a": 1}, {"a": 2}], "Column 'bad' holds struct.*one value per cell, or a list"),
        ([b"a", b"b"], "Column 'bad' holds binary.*decode bytes"),
    ],
    ids=str,
)
def test_column_that_cannot_be_encoded_is_refused(values, message):
    bad = pd.DataFrame({"good": [1] * len(values), "bad": pd.Series(values, dtype=object)})
    with pytest.raises(TypeError, match=message):
        OrdinalFieldEncoder().fit(bad)
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"good": [1], "bad": [1]}))
    with pytest.raises(TypeError, match=message):
        encoder.transform(bad)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, Decimal(2**64), 10**400], ids=str)
@pytest.mark.parametrize("make", [lambda number: number, lambda number: [number]])
def test_whole_number_beyond_64_bits_is_refused(number, make):
    bad = pd.DataFrame({"good": [1, 2], "bad": pd.Series([make(number), None], dtype=object)})
    with pytest.raises(
        ValueError, match=r"'bad' holds the whole number [-\d.]+, which is beyond 64"
    ):
        OrdinalFieldEncoder().fit(bad)


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"bad": [[[1]], [[2]]]}),
        pl.DataFrame({"bad": [{"a": 1}]}),
        pa.table({"bad": [[[1]], [[2]]]}),
    ],
    ids=["polars list of lists", "polars struct", "pyarrow list of lists"],
)
def test_nested_cells_are_refused_in_every_table(table):
    with pytest.raises(TypeError, match="Column 'bad' holds .*one value per cell, or a list"):
        OrdinalFieldEncoder().fit(table)


def test_array_names_a_column_by_position():
    with pytest.raises(TypeError, match="Column 1 holds int, str"):
        OrdinalFieldEncoder().fit([[1, "a"], [2, 3]])


def test_complex_column_of_a_frame_is_refused():
    with pytest.raises(TypeError, match="Column 'bad' holds .*omplex"):
        OrdinalFieldEncoder().fit(pd.DataFrame({"bad": [1j, 2j]}))


def test_sparse_matrix_is_refused():
    with pytest.raises(TypeError, match="[Ss]parse"):
        OrdinalFieldEncoder().fit(sparse.eye(3, format="csr"))


@pytest.mark.parametrize(
    "table", [FRAME.iloc[:0], FRAME[[]], pl.DataFrame({"a": []})], ids=["rows", "columns", "polars"]
)
def test_table_without_rows_or_columns_is_refused(table):
    with pytest.raises(ValueError, match=r"X has \d rows and \d columns, a minimum of 1 of each"):
        OrdinalFieldEncoder().fit(table)


def test_repeated_column_name_is_refused():
    with pytest.raises(ValueError, match="unique column names"):
        OrdinalFieldEncoder().fit(FRAME[["city", "city"]])


@pytest.mark.parametrize("n_bins", ["auto", None])
@pytest.mark.parametrize("values", [[1.5, np.inf], [-np.inf, 1.5]])
def test_infinity_is_refused_in_quantities(values, n_bins):
    message = "Column 'a' holds infinity, and quantities must be finite"
    table = pd.DataFrame({"a": values})
    with pytest.raises(ValueError, match=message):
        OrdinalFieldEncoder(n_bins=n_bins).fit(table)
    encoder = OrdinalFieldEncoder(n_bins=n_bins).fit(pd.DataFrame({"a": [1.5, 2.5]}))
    for method in (encoder.transform, encoder.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(table)


KINDS = {
    "numbers": [1, 2],
    "strings": ["1", "2"],
    "booleans": [True, False],
    "datetimes": [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2)],
    "datetimes with a time zone": pd.to_datetime(["2020", "2021"], utc=True),
    "durations": [datetime.timedelta(1), datetime.timedelta(2)],
    "times": [datetime.time(1), datetime.time(2)],
}


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("fitted", KINDS)
def test_column_of_another_kind_is_refused_and_both_are_named(fitted, new):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": KINDS[fitted]}))
    X = pd.DataFrame({"a": KINDS[new]})
    if new == fitted:
        encoder.partial_fit(X).transform(X)
        return
    message = f"Column 'a' held {fitted} when the encoder was fitted and holds {new} now"
    for method in (encoder.transform, encoder.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X)


def test_bins_refuse_strings():
    encoder = OrdinalFieldEncoder().fit(FRAME)
    with pytest.raises(ValueError, match="Column 'price' held numbers .* and holds strings now"):
        encoder.transform(FRAME.assign(price="cheap"))


@pytest.mark.parametrize("value", [2.5, 2**63])
def test_partial_fit_refuses_a_number_its_categories_cannot_hold(value):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": [1, 2]}))
    values = np.array([1, value], dtype=np.uint64 if value > 3 else float)
    with pytest.raises(ValueError, match=f"Column 'a' held int64 .* holds {value} now"):
        encoder.partial_fit(pd.DataFrame({"a": values}))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (FRAME[["city", "user"]], "now missing:\n- price"),
        (FRAME.assign(more=1), "unseen at fit time:\n- more"),
        (FRAME[["user", "city", "price"]], "must be in the same order"),
        (pl.from_pandas(FRAME[["city", "user"]]), "now missing:\n- price"),
        (pa.Table.from_pandas(FRAME[["user", "city", "price"]]), "must be in the same order"),
    ],
    ids=["missing", "extra", "order", "missing, polars", "order, pyarrow"],
)
def test_other_columns_than_those_of_fit_are_refused(table, message):
    encoder = OrdinalFieldEncoder().fit(FRAME)
    for method in (encoder.transform, encoder.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(table)


@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
def test_encoder_must_be_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(OrdinalFieldEncoder(), method)(FRAME)


def test_categories_are_no_attribute_before_fit():
    assert not hasattr(OrdinalFieldEncoder(), "categories_")


@pytest.mark.parametrize("code", [-1, 6, 2.5])
def test_inverse_transform_refuses_what_is_no_code(code):
    encoder = OrdinalFieldEncoder().fit(FRAME)
    with pytest.raises(ValueError, match=f"Column 1 of X holds {code}.*from 0 to 5"):
        encoder.inverse_transform([[2, 2, 2], [2, code, 2]])


def test_inverse_transform_refuses_another_number_of_columns():
    encoder = OrdinalFieldEncoder().fit(FRAME)
    with pytest.raises(ValueError, match="X has 2 columns of codes, and the encoder has 3 fields"):
        encoder.inverse_transform([[2, 2]])


@pytest.mark.parametrize(
    "bad",
    [
        pd.DataFrame({"new": [1.5], "bad": [np.inf]}),
        pd.DataFrame({"new": [1, 2], "bad": pd.Series(["a", 1], dtype=object)}),
        pd.DataFrame({"new": [1], 2: [1]}),
    ],
    ids=["infinity", "mixed types", "mixed column names"],
)
def test_fit_that_fails_leaves_the_fitted_state(bad):
    encoder = OrdinalFieldEncoder().fit(FRAME)
    before, codes = deepcopy(vars(encoder)), encoder.transform(FRAME)
    for method in (encoder.fit, encoder.fit_transform, encoder.partial_fit):
        with pytest.raises((TypeError, ValueError)):
            method(bad)
    assert vars(encoder).keys() == before.keys()
    assert encoder.feature_names_in_.tolist() == before["feature_names_in_"].tolist()
    assert encoder.n_samples_seen_ == 3
    assert_array_equal(encoder.transform(FRAME), codes)


def test_partial_fit_that_fails_in_the_last_column_leaves_the_first():
    encoder = OrdinalFieldEncoder().fit(FRAME)
    with pytest.raises(ValueError, match="held numbers"):
        encoder.partial_fit(FRAME.assign(city="Bonn", price="cheap"))
    assert encoder.categories_[0].tolist() == ["Oslo", "Rome"]


def test_nearly_unique_column_warns_at_fit():
    keys = np.append(np.arange(190), np.zeros(10, int))
    message = r"'key' has 190 categories in 200 rows.*min_frequency=2.*or hash_dims"
    with pytest.warns(UserWarning, match=rf"{message}\.$"):
        OrdinalFieldEncoder().fit(pd.DataFrame({"key": [f"k{i}" for i in keys]}))
    with pytest.warns(UserWarning, match=rf"{message}; if it is a quantity, name it in numeric_f"):
        OrdinalFieldEncoder(categorical_features=["key"]).fit(pd.DataFrame({"key": keys}))
    OrdinalFieldEncoder().fit(pd.DataFrame({"key": keys}))  # y may say that it is a quantity


@pytest.mark.parametrize(
    ("n_distinct", "n_rows", "params"),
    [
        (99, 99, {}),
        (180, 200, {}),
        (200, 200, {"min_frequency": 2}),
        (200, 200, {"max_categories": 50}),
        (200, 200, {"hash_dims": 50}),
    ],
    ids=str,
)
def test_fit_is_silent_when_rows_are_few_or_remedied(n_distinct, n_rows, params):
    frame = pd.DataFrame({"a": [f"k{i % n_distinct}" for i in range(n_rows)]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OrdinalFieldEncoder(**params).fit_transform(frame)


def test_mostly_unknown_column_warns_at_transform():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": ["x", "y"]}))
    new = pd.DataFrame({"a": ["x"] * 40 + ["X", "Y"] * 30 + [None] * 9})
    message = "Column 'a': fit never saw 2 of the 3 distinct values, .*unknown, 60% of all"
    with pytest.warns(UserWarning, match=message):
        assert encoder.transform(new)[:, 0].tolist() == [2] * 40 + [1] * 60 + [0] * 9


def test_many_new_values_of_many_warn_at_transform():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": np.arange(100) % 50}))
    with pytest.warns(UserWarning, match="fit never saw 20 of the 20 distinct values"):
        encoder.transform(pd.DataFrame({"a": np.arange(1000, 1020)}))


@pytest.mark.parametrize(
    "values",
    [
        [1000] * 3668,  # one new user, in each row of a request
        np.arange(1000, 1019).repeat(10),  # fewer new ones than would show another spelling
        [*range(30), *[1000] * 99, *range(2000, 2019)],  # most rows, but of few values
    ],
    ids=["one", "few", "most rows"],
)
@pytest.mark.parametrize("make", [lambda value: value, lambda value: [value]])
def test_few_new_values_in_many_rows_are_silent(values, make):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": [make(i % 50) for i in range(100)]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(pd.DataFrame({"a": [make(int(value)) for value in values]}))


@pytest.mark.parametrize(
    "values",
    [["z"] * 19, ["x"] * 20 + ["z"] * 20, ["rare"] * 40, [None] * 50],
    ids=["few rows", "half", "seen but rare", "missing"],
)
def test_transform_is_silent_unless_most_of_many_values_are_new(values):
    frame = pd.DataFrame({"a": ["x", "x", "rare"]})
    encoder = OrdinalFieldEncoder(min_frequency=2).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(pd.DataFrame({"a": pd.Series(values, dtype="string")}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([0, 3 * 10**11], "M8[s]"),
            "'when' must hold dates of the years 1 to 9999, got o",
        ),
        (np.array([0, -(10**14)], "M8[ms]"), "'when' must hold dates of the years 1 to 9999"),
        (np.array([0, 10**16], "M8[s]"), "'when' must hold dates .* Set those to missing"),
        (np.array([0, 10**16], "m8[s]"), "'when' must hold durations of at most 292,000 years"),
        (pa.array([0, 2**31 - 1], pa.date32()), "'when' must hold dates of the years 1 to 9999"),
        (pa.array([0, 10**12], pa.timestamp("s", "UTC")), "'when' must hold dates of the years"),
    ],
    ids=str,
)
def test_time_beyond_what_python_holds_is_refused(values, message):
    """Counted in microseconds it would wrap around to another date."""
    is_arrow = isinstance(values, pa.Array)
    table = pa.table({"when": values}) if is_arrow else pd.DataFrame({"when": values})
    encoder = OrdinalFieldEncoder()
    with pytest.raises(ValueError, match=message):
        encoder.fit(table)
    encoder.fit(table[:1])
    with pytest.raises(ValueError, match=message):
        encoder.transform(table)


@pytest.mark.parametrize("unit", ["Y", "D", "h"])
def test_dates_of_numpy_that_would_wrap_around_are_refused(unit):
    values = np.array([[0], [2**62]], dtype=f"M8[{unit}]")
    with pytest.raises(TypeError, match="years 1 to 9999"):
        OrdinalFieldEncoder().fit(values)


@pytest.mark.parametrize(
    "values",
    [
        [datetime.time(1), 7],
        [datetime.timedelta(1), 1.5],
        [datetime.date(2020, 1, 1), 7],
        [datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 5)],
        [datetime.datetime(2020, 1, 1), 7],
        [1.5, True],
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [lambda a: pd.DataFrame({"a": a}), lambda a: a.reshape(-1, 1)])
def test_mixture_that_arrow_would_take_for_one_type_is_refused(values, make):
    """Else the number 7 would be 7 microseconds, or 7 days after the first of January 1970."""
    objects = np.empty(len(values) + 1, dtype=object)
    objects[:-1] = values
    with pytest.raises(TypeError, match="must be all strings, or all numbers .*these are .* and"):
        OrdinalFieldEncoder().fit(make(objects))


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2020, 1, 1), None, float("nan")],
        [datetime.datetime(2020, 1, 1), pd.Timestamp("2021"), pd.NaT],
        [1, np.float32(2), 3],
        [True, np.bool_(False), pd.NA],
    ],
    ids=str,
)
def test_objects_of_one_kind_may_be_of_several_types(values):
    codes = OrdinalFieldEncoder().fit_transform(
        pd.DataFrame({"a": pd.Series(values, dtype=object)})
    )
    assert len(set(codes.ravel())) == len({v for v in values if not pd.isna(v)}) + any(
        map(pd.isna, values)
    )
