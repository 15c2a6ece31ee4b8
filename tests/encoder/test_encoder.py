"""The codes that OrdinalFieldEncoder gives, compared with a slow encoder made of dictionaries."""

import datetime
import pickle
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.utils import estimator_html_repr

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder

DAYS = [datetime.datetime(2024, 1, day) for day in (5, 2, 9, 7)]
TABLE = {
    "text": ["b", "", None, "\U0001f600", "\uffee", "b", "a", "Z"],
    "id": [30, None, 7, -1, 7, 30, 2**40, 7],
    "flag": [True, False, None, True, True, False, False, None],
    "price": [0.5, 2.25, None, 0.5, -1.75, 3.0, 8.5, 2.25],
    "day": [DAYS[0], None, *DAYS, DAYS[1], DAYS[3]],
}
# Strings 2, 3, ..; whole numbers 2, 4, ..; quantities 4, 8, ..
CODES = np.array(
    [
        [5, 6, 3, 8, 8],
        [2, 0, 2, 12, 0],
        [0, 4, 0, 0, 8],
        [7, 2, 3, 8, 4],
        [6, 4, 3, 4, 16],
        [5, 6, 2, 16, 12],
        [4, 8, 2, 20, 4],
        [3, 4, 0, 12, 12],
    ]
)
ROWS = [list(row) for row in zip(*TABLE.values(), strict=True)]


def _arrow():
    return pa.table(TABLE)


def _pandas_nullable():
    frame = pd.DataFrame(TABLE)
    return frame.astype({"text": "string", "id": "Int64", "flag": "boolean", "price": "Float64"})


def _pandas_categories():
    frame = _pandas_nullable()
    return frame.astype({"text": "category", "id": "category", "flag": "category"})


def _with_missing(marker):
    rows = [[marker if cell is None else cell for cell in row] for row in ROWS]
    return pd.DataFrame(rows, columns=list(TABLE), dtype=object)


TABLES = {
    "pandas": lambda: pd.DataFrame(TABLE),
    "pandas object, None": lambda: _with_missing(None),
    "pandas object, NaN": lambda: _with_missing(np.nan),
    "pandas object, NaT": lambda: _with_missing(pd.NaT),
    "pandas object, NA": lambda: _with_missing(pd.NA),
    "pandas nullable": _pandas_nullable,
    "pandas category": _pandas_categories,
    "pandas, NumPy strings": lambda: pd.DataFrame(TABLE).astype({"text": object}),
    "pandas Arrow": lambda: _arrow().to_pandas(types_mapper=pd.ArrowDtype),
    "pandas nanoseconds": lambda: pd.DataFrame(TABLE).astype({"day": "datetime64[ns]"}),
    "polars": lambda: pl.DataFrame(TABLE),
    "polars category": lambda: pl.DataFrame(TABLE).with_columns(
        pl.col("text").cast(pl.Categorical)
    ),
    "polars narrow types": lambda: pl.DataFrame(TABLE).with_columns(
        pl.col("price").cast(pl.Float32), pl.col("day").cast(pl.Date)
    ),
    "pyarrow": _arrow,
    "pyarrow in chunks": lambda: pa.concat_tables([_arrow().slice(0, 3), _arrow().slice(3)]),
    "pyarrow dictionary": lambda: _arrow().set_column(
        0, "text", pa.chunked_array([_arrow()["text"].combine_chunks().dictionary_encode()])
    ),
    "numpy object": lambda: np.array(ROWS, dtype=object),
    "lists": lambda: ROWS,
}


def _slow_codes(batches, step, min_frequency=1, max_categories=None):
    """The code of each category after batches of values, None for missing, and rare values."""
    counts, codes, n_rows = {}, {}, 0
    for batch in batches:
        n_rows += len(batch)
        for value in batch:
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
        least = min_frequency if isinstance(min_frequency, int) else min_frequency * n_rows
        earned = sorted(v for v, count in counts.items() if v not in codes and count >= least)
        if max_categories is not None:
            room = max(0, max_categories - len(codes))
            earned = sorted(sorted(earned, key=lambda v: (-counts[v], v))[:room])
        for value in earned:
            codes[value] = 2 + step * len(codes)
    return codes, set(counts) - set(codes)


def _slow_transform(codes, values, ordered):
    """The code of each value; unknown ones have a place among the numbers `ordered`."""
    between = {value: 1 + 2 * sum(known < value for known in ordered) for value in values if value}
    return [0 if value is None else codes.get(value, between[value]) for value in values]


def _random_values(rng, n_rows, kind):
    numbers = np.minimum(rng.zipf(1.4, n_rows), 60).tolist()
    values = [f"v{number}" if kind == "strings" else number for number in numbers]
    is_missing = rng.random(n_rows) < 0.1
    return [None if missing else v for v, missing in zip(values, is_missing, strict=True)]


def _frame(values, kind):
    return pd.DataFrame(
        {"field": pd.Series(values, dtype="string" if kind == "strings" else "Int64")}
    )


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_same_data_gives_same_codes_in_every_table(make):
    encoder = OrdinalFieldEncoder()
    assert_array_equal(encoder.fit_transform(make()), CODES)
    assert_array_equal(encoder.transform(make()), CODES)
    assert encoder.field_dims_.tolist() == [8, 10, 4, 21, 17]
    assert encoder.field_kinds_ == ["categories"] * 3 + ["bins"] * 2


@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names")
@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_encoder_fitted_on_one_table_reads_every_other(make):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame(TABLE))
    assert_array_equal(encoder.transform(make()), CODES)


@pytest.mark.parametrize(
    "values",
    [
        np.array([5, 3, 5, 9], dtype=np.uint8),
        np.array([5, 3, 5, 9], dtype=np.uint64),
        np.array([5.0, 3.0, 5.0, 9.0], dtype=np.float16),
        np.array([5.0, 3.0, 5.0, 9.0], dtype=np.longdouble),
        np.array(["b", "a", "b", "c"]),
        np.array(["b", "a", "b", "c"], dtype=object),
    ],
    ids=lambda values: str(values.dtype),
)
def test_numpy_array_of_one_type_is_read(values):
    codes = OrdinalFieldEncoder().fit_transform(np.c_[values, values[::-1]])
    expected = np.array([[3, 4], [2, 3], [3, 2], [4, 3]])
    assert_array_equal(codes, expected if values.dtype.kind in "UO" else 2 * expected - 2)


@pytest.mark.parametrize("unit", ["Y", "D", "h", "ns"])
def test_numpy_dates_of_every_unit_are_read(unit):
    values = np.array([["2001"], ["NaT"], ["1999"]], dtype=f"datetime64[{unit}]")
    assert_array_equal(OrdinalFieldEncoder().fit_transform(values), [[8], [0], [4]])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["strings", "whole numbers"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_frequency": 3},
        {"min_frequency": 0.02},
        {"max_categories": 5},
        {"min_frequency": 2, "max_categories": 12},
    ],
    ids=str,
)
def test_codes_equal_those_of_slow_encoder_over_partial_fits(seed, kind, params):
    rng = np.random.default_rng(seed)
    batches = [_random_values(rng, n_rows, kind) for n_rows in (80, 1, 150, 40)]
    encoder = OrdinalFieldEncoder(**params)
    new = _random_values(rng, 100, kind)
    for n_seen, batch in enumerate(batches, start=1):
        encoder.partial_fit(_frame(batch, kind))
        step = 1 if kind == "strings" else 2
        codes, rare = _slow_codes(batches[:n_seen], step, **params)
        of_fit, _ = _slow_codes(batches[:1], step, **params)
        ordered = [] if rare or kind == "strings" else of_fit
        assert encoder.categories_[0].tolist() == sorted(codes, key=codes.get)
        assert encoder.field_dims_.tolist() == [2 + step * len(codes)]
        for values in (batch, new):
            expected = _slow_transform(codes, values, ordered)
            assert_array_equal(encoder.transform(_frame(values, kind))[:, 0], expected)
    assert encoder.n_samples_seen_ == 271


@pytest.mark.parametrize("kind", ["strings", "whole numbers", "whole numbers far apart"])
def test_few_rows_get_the_codes_of_many(kind):
    rng = np.random.default_rng(0)
    numbers = np.repeat(rng.permutation(5000), 2) * (10**9 if kind.endswith("apart") else 1)
    values = [f"v{number}" if kind == "strings" else int(number) for number in numbers]
    encoder = OrdinalFieldEncoder().fit(_frame(values, kind))
    unseen = "v" if kind == "strings" else 5001
    unseen_code = 1 + 2 * int(np.unique(numbers).searchsorted(5001))
    new = [*values[::7], unseen, None]
    together = encoder.transform(_frame(new, kind))
    one_by_one = [encoder.transform(_frame([value], kind)) for value in new[-60:]]
    assert_array_equal(np.concatenate(one_by_one), together[-60:])
    assert together[-2:, 0].tolist() == [{"strings": 1}.get(kind, unseen_code), 0]


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_row_alone_gets_its_codes(make):
    table = make()
    encoder = OrdinalFieldEncoder().fit(table)
    for k, codes in enumerate(CODES):
        row = table.iloc[[k]] if isinstance(table, pd.DataFrame) else table[k : k + 1]
        assert_array_equal(encoder.transform(row), [codes])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float64", "category"])
def test_whole_numbers_outside_of_those_of_fit_are_unknown(dtype):
    encoder = OrdinalFieldEncoder(min_frequency=2).fit(pd.DataFrame({"a": [-3, -3, 5, 5, 6]}))
    values = [-3, 5, 6, None, -4, 0, 7, 2**53 - 1, -(2**53) + 1, 5]
    codes = [2, 4, 1, 0, 1, 1, 1, 1, 1, 4]
    frame = pd.DataFrame({"a": pd.Series(values, dtype="Int64").astype(dtype)})
    assert encoder.transform(frame)[:, 0].tolist() == codes
    alone = [encoder.transform(frame.iloc[[k]])[0, 0] for k in range(len(frame))]
    assert alone == codes


def test_fit_gives_same_codes_for_any_order_of_rows():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(TABLE)
    order = rng.permutation(len(frame))
    encoder = OrdinalFieldEncoder().fit(frame.iloc[order])
    assert_array_equal(encoder.transform(frame), CODES)


def test_categories_of_a_category_column_that_no_row_holds_get_no_code():
    column = pd.Categorical(["b", "c", "b"], categories=["d", "c", "b", "a"])
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": column}))
    assert encoder.categories_[0].tolist() == ["b", "c"]


def test_slice_of_a_category_column_is_encoded():
    frame = pd.DataFrame({"a": pd.Categorical(["b", "c", "a", "b"])})
    encoder = OrdinalFieldEncoder().fit(frame)
    assert encoder.transform(frame.iloc[1:2]).tolist() == [[4]]


def test_dictionary_with_repeated_and_null_values_is_read():
    repeated = pa.DictionaryArray.from_arrays([0, 1, 2, None], ["b", "a", "b"])
    with_null = pa.DictionaryArray.from_arrays([0, 1, 2, 0], ["b", None, "a"])
    table = pa.table({"repeated": repeated, "with_null": with_null})
    expected = [[3, 3], [2, 0], [3, 2], [0, 3]]
    encoder = OrdinalFieldEncoder()
    assert_array_equal(encoder.fit_transform(table), expected)
    assert_array_equal(encoder.transform(table), expected)


def test_category_column_of_fractions_holds_categories():
    frame = pd.DataFrame({"a": pd.Categorical([2.5, 0.5, 2.5])})
    encoder = OrdinalFieldEncoder().fit(frame)
    assert encoder.categories_[0].tolist() == [0.5, 2.5]
    assert_array_equal(encoder.transform(frame), [[3], [2], [3]])


@pytest.mark.filterwarnings("ignore:Column 'a' holds whole numbers as floats")
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 2.0, np.nan], "categories"),
        ([1.0, 2.5, np.nan], "bins"),
        ([1.0, 2.0**60, np.nan], "bins"),
        ([1e300, 2.0, np.nan], "bins"),
        ([Decimal("1.5"), Decimal("2"), None], "bins"),
        ([Decimal("1"), Decimal("2"), None], "categories"),
        ([datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 2)], "bins"),
        ([datetime.timedelta(1), datetime.timedelta(2), None], "bins"),
        ([datetime.time(1), datetime.time(2), None], "bins"),
        (pd.to_datetime(["2020", "2021", None], utc=True), "bins"),
        ([None, None, None], "empty"),
        ([np.nan, np.nan, np.nan], "empty"),
    ],
    ids=str,
)
def test_kind_of_field_follows_from_values(values, kind):
    frame = pd.DataFrame({"a": pd.Series(values)})
    assert OrdinalFieldEncoder().fit(frame).field_kinds_ == [kind]


LARGE_IDS = [2**60 + 1, 2**60, None, 2**62 + 1]
EXACT_TABLES = {
    "Python integers": lambda: pd.DataFrame({"a": pd.Series(LARGE_IDS, dtype=object)}),
    "objects of decimals": lambda: pd.DataFrame({"a": pd.Series(_decimals(), dtype=object)}),
    "categories of decimals": lambda: pd.DataFrame(
        {"a": pd.Series(_decimals(), dtype=object).astype("category")}
    ),
    "matrix of decimals": lambda: np.array([[value] for value in _decimals()], dtype=object),
    "polars": lambda: pl.DataFrame({"a": _decimals()}),
    "pyarrow": lambda: pa.table({"a": pa.array(_decimals(), pa.decimal128(38, 0))}),
    "pyarrow, two places": lambda: pa.table({"a": pa.array(_decimals(), pa.decimal128(38, 2))}),
    "pandas, Arrow": lambda: pd.DataFrame(
        {"a": pd.array(_decimals(), dtype=pd.ArrowDtype(pa.decimal128(38, 0)))}
    ),
}


def _decimals():
    return [None if value is None else Decimal(value) for value in LARGE_IDS]


@pytest.mark.filterwarnings("ignore:X (has|does not have) (valid )?feature names")
@pytest.mark.parametrize("params", [{}, {"hash_dims": 10**6}], ids=str)
@pytest.mark.parametrize("make", EXACT_TABLES.values(), ids=EXACT_TABLES)
def test_large_whole_numbers_are_exact_whatever_holds_them(make, params):
    integers = pd.DataFrame({"a": pd.Series(LARGE_IDS, dtype="Int64")})
    encoder = OrdinalFieldEncoder(**params)
    codes = encoder.fit_transform(integers)
    assert len(set(codes[:, 0].tolist())) == len(LARGE_IDS)
    assert_array_equal(encoder.transform(make()), codes)
    assert_array_equal(encoder.transform(make()[:1]), codes[:1])
    fitted = OrdinalFieldEncoder(**params)
    assert_array_equal(fitted.fit_transform(make()), codes)
    assert_array_equal(fitted.transform(integers), codes)


@pytest.mark.parametrize("later", ["float32", "float64"])
@pytest.mark.parametrize("first", ["float32", "float64"])
@pytest.mark.parametrize(
    ("params", "values"),
    [
        ({"n_bins": 400}, np.unique(np.divide.outer(np.arange(1, 20), np.arange(1, 20)))),
        ({"categorical_features": [0]}, np.arange(1, 99) / 100),
        ({"categorical_features": [0], "hash_dims": 10**6}, np.arange(1, 400) / 100),
    ],
    ids=["bins", "categories", "hashed"],
)
def test_a_number_has_one_code_in_both_precisions(params, values, first, later):
    X = values[:, np.newaxis]
    encoder = OrdinalFieldEncoder(**params)
    codes = encoder.fit_transform(X.astype(first))
    assert len(set(codes.ravel().tolist())) >= len(values) - 1  # the last bin ends with its number
    assert_array_equal(encoder.transform(X.astype(later)), codes)


def test_numeric_features_bins_whole_numbers():
    frame = pd.DataFrame({"age": np.arange(400) % 100, "id": np.arange(400) % 7})
    frame["level"] = frame["age"].astype("category")
    by_name = OrdinalFieldEncoder(numeric_features=["age", "level"], n_bins=4)
    by_position = OrdinalFieldEncoder(numeric_features=np.array([0, 2]), n_bins=4)
    expected = np.c_[
        4 + 4 * (frame["age"] // 25), 2 + 2 * frame["id"], 4 + 4 * (frame["age"] // 25)
    ]
    assert_array_equal(by_name.fit_transform(frame), expected)
    assert_array_equal(by_position.fit(frame).transform(frame), expected)
    assert by_name.field_kinds_ == ["bins", "categories", "bins"]


def test_categorical_features_keeps_fractions_and_dates_as_categories():
    frame = pd.DataFrame({"size": [2.5, 0.5, None, 2.5], "day": DAYS})
    encoder = OrdinalFieldEncoder(categorical_features=["size", 1])
    assert_array_equal(encoder.fit_transform(frame), [[5, 5], [3, 3], [0, 9], [5, 7]])
    assert encoder.categories_[0].tolist() == [0.5, 2.5]
    assert encoder.categories_[1].tolist() == sorted(DAYS)
    assert encoder.transform(pd.DataFrame({"size": [3], "day": DAYS[:1]})).tolist() == [[1, 5]]


def test_negative_zero_is_zero():
    frame = pd.DataFrame({"a": [-0.0, 0.0, 0.5]})
    codes = OrdinalFieldEncoder(categorical_features=["a"]).fit_transform(frame)
    assert codes.tolist() == [[3], [3], [5]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_rows", [1, 2, 39, 40, 700, 6000])
def test_auto_bins_ascend_and_none_is_empty(seed, n_rows):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(n_rows) < 0.3, 0.5, rng.lognormal(size=n_rows).round(2))
    values[0] = 0.25
    encoder = OrdinalFieldEncoder()
    codes = encoder.fit_transform(values[:, None])[:, 0]
    assert (np.diff(codes[np.argsort(values)]) >= 0).all()
    counts = np.bincount(codes)[4::4]
    assert counts.sum() == n_rows
    assert len(counts) == (encoder.field_dims_[0] - 1) // 4 <= len(np.unique(values))
    assert counts.min() >= 1


def test_auto_bins_are_1024_when_there_are_values_enough():
    values = np.random.default_rng(0).normal(size=(30_000, 1))
    assert OrdinalFieldEncoder().fit(values).field_dims_.tolist() == [4 * 1024 + 1]


@pytest.mark.parametrize("n_bins", [2, 7, 50])
def test_bins_of_distinct_values_have_equal_numbers_of_rows(n_bins):
    values = np.random.default_rng(0).normal(size=(700, 1))
    codes = OrdinalFieldEncoder(n_bins=n_bins).fit_transform(values)[:, 0]
    counts = np.bincount(codes)[4::4]
    assert len(counts) == n_bins
    assert counts.max() - counts.min() <= 1


def test_frequent_value_gets_a_bin_of_its_own():
    values = np.r_[np.full(900, 0.0), np.linspace(0.5, 1, 100)]
    codes = OrdinalFieldEncoder(n_bins=5).fit_transform(values[:, None])[:, 0]
    assert (codes[:900] == 4).all()
    assert np.bincount(codes)[8::4].tolist() == [25, 25, 25, 25]


def test_bin_holds_its_left_edge_and_outer_bins_have_no_end():
    encoder = OrdinalFieldEncoder(n_bins=2).fit([[0.5], [1.0], [1.5], [2.0]])
    assert encoder.categories_[0].tolist() == [0.5, 1.5, 2.0]
    new = [[-9.0], [1.4], [1.5], [9.0], [None]]
    assert encoder.transform(new)[:, 0].tolist() == [4, 4, 8, 8, 0]


def test_edges_of_dates_are_dates():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"day": DAYS}))
    assert encoder.categories_[0].dtype == "datetime64[us]"
    assert encoder.categories_[0].tolist() == [DAYS[1], DAYS[0], DAYS[3], DAYS[2], DAYS[2]]


def test_missing_values_do_not_move_bins():
    values = np.random.default_rng(0).normal(size=(300, 1))
    with_gaps = np.r_[values, np.full((300, 1), np.nan)]
    codes = OrdinalFieldEncoder(n_bins=6).fit_transform(with_gaps)
    assert_array_equal(codes[:300], OrdinalFieldEncoder(n_bins=6).fit_transform(values))
    assert (codes[300:] == 0).all()


@pytest.mark.filterwarnings("ignore:Column 'a' held whole numbers alone")
def test_number_that_whole_numbers_cannot_hold_has_a_place_between():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": [1, 2, 3]}))
    floats = pd.DataFrame({"a": [1.0, 2.5, np.inf, 1e300, -1e300, np.nan]})
    assert encoder.transform(floats)[:, 0].tolist() == [2, 5, 7, 7, 1, 0]
    large = pd.DataFrame({"a": np.array([3, 2**63, 2**64 - 1], dtype=np.uint64)})
    assert encoder.transform(large)[:, 0].tolist() == [6, 7, 7]


@pytest.mark.parametrize("dtype", ["uint64", object])
def test_integers_beyond_int64_keep_their_value(dtype):
    values = [2**64 - 1, 5, 2**63]
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": pd.Series(values, dtype=dtype)}))
    assert encoder.categories_[0].tolist() == [5, 2**63, 2**64 - 1]
    negative = pd.DataFrame({"a": [-1, 5, -(2**63)]})
    assert encoder.transform(negative)[:, 0].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("values", "n_codes"),
    [(["a", "b"], 4), ([1, 2], 6), ([0.5, 1.5], 9), (DAYS[:2], 9), ([True, False], 4)],
)
def test_column_without_values_is_missing_whatever_was_fitted(values, n_codes):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": values}))
    for nothing in ([None, None], [np.nan, np.nan], pd.Series([None, None], dtype="string")):
        assert encoder.transform(pd.DataFrame({"a": nothing})).tolist() == [[0], [0]]
        encoder.partial_fit(pd.DataFrame({"a": nothing}))
    assert encoder.field_dims_.tolist() == [n_codes]


def test_field_fitted_without_values_learns_its_kind_later():
    encoder = OrdinalFieldEncoder(numeric_features=["b"], n_bins=2)
    encoder.fit(pd.DataFrame({"a": [None, None], "b": [None, None]}))
    new = pd.DataFrame({"a": ["y", "x"], "b": [4, 3]})
    assert encoder.transform(new).tolist() == [[1, 1], [1, 1]]
    assert [len(categories) for categories in encoder.categories_] == [0, 0]
    encoder.partial_fit(new)
    assert encoder.transform(new).tolist() == [[3, 8], [2, 4]]
    assert encoder.field_kinds_ == ["categories", "bins"]


def test_bins_stay_as_first_fitted():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 1))
    encoder = OrdinalFieldEncoder().fit(values)
    codes = encoder.transform(values)
    encoder.partial_fit(values * 7)
    assert_array_equal(encoder.transform(values), codes)


def test_fit_forgets_what_was_fitted_before():
    encoder = OrdinalFieldEncoder().fit([["a"], ["b"]])
    encoder.fit([[7, 1.5], [8, 2.5]])
    assert encoder.categories_[0].tolist() == [7, 8]
    assert encoder.n_features_in_ == 2


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_fit_transform_equals_fit_then_transform(make):
    together = OrdinalFieldEncoder(min_frequency=2).fit_transform(make())
    apart = OrdinalFieldEncoder(min_frequency=2).fit(make()).transform(make())
    assert_array_equal(together, apart)


def test_codes_are_a_contiguous_int32_matrix():
    encoder = OrdinalFieldEncoder()
    frame = pd.DataFrame(TABLE)
    for codes in (encoder.fit_transform(frame), encoder.transform(frame[:3])):
        assert codes.dtype == np.int32
        assert codes.flags.c_contiguous


def test_inverse_transform_gives_values_back():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame(TABLE))
    values = encoder.inverse_transform(CODES)
    assert values.dtype == object
    for j, name in enumerate(("text", "id", "flag")):
        assert values[:, j].tolist() == TABLE[name]
    assert_array_equal(encoder.inverse_transform(np.ones((1, 5))), [[None] * 5])


@pytest.mark.parametrize("seed", range(4))
def test_codes_of_inverse_transform_are_the_codes_it_was_given(seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=500),
            "close": np.nextafter(1.5, 2) - rng.integers(0, 3, 500) * 2.0**-52,
            "day": pd.Timestamp("2020") + pd.to_timedelta(rng.integers(0, 10**6, 500), unit="us"),
            "zoned": pd.Timestamp("2020", tz="Asia/Tokyo")
            + pd.to_timedelta(rng.integers(0, 99, 500), unit="D"),
            "wait": pd.to_timedelta(rng.integers(0, 10**9, 500), unit="ns"),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], 500),
        }
    )
    encoder = OrdinalFieldEncoder(n_bins=40)
    codes = encoder.fit_transform(frame)
    codes[rng.random(codes.shape) < 0.1] = 0
    values = pd.DataFrame(encoder.inverse_transform(codes), columns=frame.columns)
    assert_array_equal(encoder.transform(values), codes)


def test_inverse_transform_takes_the_output_of_set_output():
    frame = pd.DataFrame(TABLE)
    for library in ("pandas", "polars"):
        encoder = OrdinalFieldEncoder().set_output(transform=library)
        values = encoder.inverse_transform(encoder.fit_transform(frame))
        assert values[:, 0].tolist() == TABLE["text"]


def test_set_output_keeps_names_index_and_type():
    frame = pd.DataFrame(TABLE, index=list("stuvwxyz"))
    encoder = OrdinalFieldEncoder().set_output(transform="pandas")
    for codes in (encoder.fit_transform(frame), encoder.transform(frame)):
        assert codes.columns.tolist() == list(TABLE)
        assert codes.index.tolist() == list("stuvwxyz")
        assert (codes.dtypes == np.int32).all()
    codes = encoder.set_output(transform="polars").transform(frame)
    assert codes.columns == list(TABLE)
    assert set(codes.dtypes) == {pl.Int32}


def test_feature_names_are_those_of_the_input():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame(TABLE))
    assert encoder.get_feature_names_out().tolist() == list(TABLE)
    encoder = OrdinalFieldEncoder().fit(ROWS)
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1", "x2", "x3", "x4"]


def test_encoder_works_in_a_column_transformer():
    transformer = make_column_transformer((OrdinalFieldEncoder(), ["text", "day"]))
    assert_array_equal(transformer.fit_transform(pd.DataFrame(TABLE)), CODES[:, [0, 4]])


def test_columns_with_whole_numbers_as_names_are_read():
    frame = pd.DataFrame({10: ["a", "b"], 20: [1.5, 2.5]})
    assert OrdinalFieldEncoder(numeric_features=[1]).fit_transform(frame).tolist() == [
        [2, 4],
        [3, 8],
    ]


def test_pickle_and_clone_keep_what_they_should():
    frame = pd.DataFrame(TABLE)
    encoder = OrdinalFieldEncoder(min_frequency=2).fit(frame)
    copy = pickle.loads(pickle.dumps(encoder))
    assert_array_equal(copy.transform(frame), encoder.transform(frame))
    assert_array_equal(
        copy.partial_fit(frame).transform(frame), encoder.partial_fit(frame).transform(frame)
    )
    assert clone(encoder).get_params() == encoder.get_params()
    assert not hasattr(clone(encoder), "field_dims_")
    assert "OrdinalFieldEncoder" in estimator_html_repr(encoder)


def test_pickle_leaves_out_what_transform_made_for_looking_up():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame(TABLE))
    size = len(pickle.dumps(encoder))
    encoder.transform(pd.DataFrame(TABLE))
    assert len(pickle.dumps(encoder)) == size


def test_threads_share_one_encoder():
    frame = pd.concat([pd.DataFrame(TABLE)] * 50, ignore_index=True)
    encoder = OrdinalFieldEncoder().fit(frame)
    expected = encoder.transform(frame)
    with ThreadPoolExecutor(4) as pool:
        for codes in pool.map(encoder.transform, [frame] * 16):
            assert_array_equal(codes, expected)


@pytest.mark.filterwarnings("ignore:Column 'id' held (whole numbers alone|integers beyond)")
def test_code_of_a_float_does_not_depend_on_the_other_rows():
    """Beyond 2**53 a float is no whole number of its own: it is not known, but has a place."""
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"id": [2**60, 2**53, 5] * 5}))
    values = [2.0**60, 2.0**53, 5.0, 0.5, np.nan, -1e300, 1e300]
    alone = [encoder.transform(pd.DataFrame({"id": [value]}))[0, 0] for value in values]
    assert alone == encoder.transform(pd.DataFrame({"id": values}))[:, 0].tolist()
    assert alone == [7, 4, 2, 1, 0, 1, 7]


@pytest.mark.parametrize("kind", ["datetime64[us]", "timedelta64[us]", "object", "float64"])
@pytest.mark.parametrize("later", [[False, True], ["a", "b"], [1, 2]], ids=str)
def test_column_of_missing_cells_is_that_whatever_it_turns_out_to_hold(kind, later):
    nothing = pd.DataFrame({"x": np.array([None, None], dtype=kind)})
    encoder = OrdinalFieldEncoder().fit(nothing).partial_fit(pd.DataFrame({"x": later}))
    assert encoder.transform(nothing).tolist() == [[0], [0]]
    assert encoder.transform(pd.DataFrame({"x": later})).tolist() == [
        [2],
        [4 if later == [1, 2] else 3],
    ]


def test_partial_fit_refuses_what_transform_would(rng):
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"x": rng.normal(size=50)}))
    with pytest.raises(ValueError, match="'x' holds infinity"):
        encoder.partial_fit(pd.DataFrame({"x": [np.inf]}))


@pytest.mark.parametrize("dtype", [">i4", ">f8", "longdouble", "float16", ">M8[s]"])
def test_unusual_types_of_numpy_are_read_in_a_frame_as_in_a_matrix(dtype, rng):
    values = rng.integers(0, 9, 60).astype(dtype)
    codes = OrdinalFieldEncoder().fit_transform(pd.DataFrame({"x": values}))
    np.testing.assert_array_equal(codes, OrdinalFieldEncoder().fit_transform(values[:, np.newaxis]))
    assert len(np.unique(codes)) > 2


def test_tables_still_to_be_computed_are_refused(rng):
    frame = pl.DataFrame({"x": [1, 2]})
    with pytest.raises(TypeError, match=r"got a LazyFrame: collect\(\) it first"):
        OrdinalFieldEncoder().fit(frame.lazy())
    with pytest.raises(TypeError, match="got a dict: make it a data frame"):
        OrdinalFieldEncoder().fit({"x": [1, 2]})
    with pytest.raises(TypeError, match=r"got a LazyFrame: collect\(\) it first"):
        DeepFMClassifier().fit(frame.lazy(), [0, 1])


def test_dates_are_kept_to_the_microsecond():
    day = pd.Timestamp("2013-01-01")
    times = day + pd.to_timedelta([0, 1, 1_000, 2_000], "ns")
    encoder = OrdinalFieldEncoder(categorical_features=["t"])
    codes = encoder.fit_transform(pd.DataFrame({"t": times.as_unit("ns")}))
    assert codes.ravel().tolist() == [3, 3, 5, 7]  # less than a microsecond makes no category
    found = encoder.inverse_transform(codes).ravel().tolist()
    assert found == times.floor("us").to_pydatetime().tolist()


def test_unknown_whole_numbers_have_codes_between_their_neighbours():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": [10, 40, 20, None]}))
    new = pd.DataFrame({"a": [5, 10, 15, 20, 30, 40, 99, None]})
    assert encoder.transform(new)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    assert encoder.inverse_transform([[1], [2], [3]]).tolist() == [[None], [10], [None]]
    assert encoder.field_dims_.tolist() == [8]


def test_numbers_learned_later_have_codes_after_all_others_and_keep_the_order_of_fit():
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"a": [10, 20, 40]}))
    encoder.partial_fit(pd.DataFrame({"a": [30, 10, 5]}))
    new = pd.DataFrame({"a": [10, 20, 40, 5, 30, 35, 4, 50]})
    for copy in (encoder, pickle.loads(pickle.dumps(encoder))):
        assert copy.transform(new)[:, 0].tolist() == [2, 4, 6, 8, 10, 5, 1, 7]
    assert encoder.categories_[0].tolist() == [10, 20, 40, 5, 30]


def test_codes_of_quantities_follow_their_order(rng):
    values = rng.normal(size=3000)
    encoder = OrdinalFieldEncoder().fit(values[:, np.newaxis])
    new = np.sort(rng.normal(size=500))
    codes = encoder.transform(new[:, np.newaxis])[:, 0]
    assert (np.diff(codes) >= 0).all()
    assert (codes % 4 == 0).all()


@pytest.mark.parametrize("params", [{"categorical_features": ["a"]}, {"hash_dims": 100}], ids=str)
def test_names_have_odd_codes(params, rng):
    frame = pd.DataFrame({"a": rng.integers(0, 50, 200)})
    encoder = OrdinalFieldEncoder(**params)
    codes = encoder.fit_transform(frame)
    assert (codes % 2 == 1).all()
    assert 3 <= codes.min() <= codes.max() < encoder.field_dims_[0]


def test_embeddings_go_by_category_and_back(rng):
    frame = pd.DataFrame({"a": [10, 20, 40], "b": ["x", "y", "x"]})
    encoder = OrdinalFieldEncoder().fit(frame)
    by_category = pd.DataFrame(rng.normal(size=(4, 2)), index=[10, 15, 20, 40])
    by_code = encoder.by_code("a", by_category)
    assert by_code.index.tolist() == [2, 4, 6]
    back = encoder.by_category("a", by_code)
    pd.testing.assert_frame_equal(back, by_category.loc[[10, 20, 40]])
