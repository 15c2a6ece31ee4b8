"""Any table becomes columns of codes and numbers, and what is neither is refused by name."""

import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.read_columns import read_cells, read_columns

LIBRARIES = {
    "pandas": pd.DataFrame,
    "pandas-arrow": lambda data: pa.table(data).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas-nullable": lambda data: pd.DataFrame(data).convert_dtypes(),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}
ARROW_CITIES = pa.array(["Rome", "Oslo", None, "Rome"]).dictionary_encode()
CITIES = {
    "pandas": pd.Categorical(["Rome", "Oslo", None, "Rome"]),
    "pandas-reversed": pd.Categorical(["Rome", "Oslo", None, "Rome"], ["Rome", "Oslo"]),
    "pandas-unused": pd.Categorical(["Rome", "Oslo", None, "Rome"], ["Bonn", "Oslo", "Rome"]),
    "pandas-arrow": pd.Series(ARROW_CITIES, dtype=pd.ArrowDtype(ARROW_CITIES.type)),
    "polars": pl.Series(["Rome", "Oslo", None, "Rome"], dtype=pl.Categorical),
    "polars-enum": pl.Series(["Rome", "Oslo", None, "Rome"], dtype=pl.Enum(["Rome", "Oslo"])),
    "pyarrow": ARROW_CITIES,
    "pyarrow-chunks": pa.chunked_array([ARROW_CITIES[:1], ARROW_CITIES[1:]]),
    "pyarrow-repeats": pa.DictionaryArray.from_arrays([0, 1, None, 2], ["Rome", "Oslo", "Rome"]),
    "pyarrow-null": pa.DictionaryArray.from_arrays([0, 1, 2, 0], ["Rome", "Oslo", None]),
    "pyarrow-unsigned": ARROW_CITIES.cast(pa.dictionary(pa.uint8(), pa.string())),
    "pandas-arrow-chunks": pd.Series(
        pd.arrays.ArrowExtensionArray(
            pa.chunked_array(
                [
                    pa.array(["Rome", "Oslo"]).dictionary_encode(),
                    ARROW_CITIES[2:].dictionary_encode(),
                ]
            )
        )
    ),
}


def read(X, estimator=None, reset=True):
    return read_columns(estimator or DeepFMClassifier(), X, reset=reset)


def cells(column):
    """What a column stands for, as a list with None for missing."""
    values = column.values.tolist()
    if column.categories is not None:
        return [None if value < 0 else column.categories[value] for value in values]
    missing = np.isnan(column.values) if column.missing is None else column.missing
    return [None if gap else value for value, gap in zip(values, missing, strict=True)]


@pytest.mark.parametrize("dtype", [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 64)])
def test_whole_numbers_of_a_matrix_are_codes(dtype):
    info = np.iinfo(dtype)
    X = np.array([[info.min, 1], [info.max, 2]], dtype=dtype)
    columns = read(X)
    assert [column.name for column in columns] == [0, 1]
    assert all(column.holds_codes for column in columns)
    assert cells(columns[0]) == [info.min, info.max]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_of_a_matrix_are_numbers_and_keep_nan(dtype):
    (column,) = read(np.array([[1.5], [np.nan]], dtype=dtype))
    assert not column.holds_codes
    assert cells(column) == [1.5, None]


def test_booleans_of_a_matrix_are_codes():
    (column,) = read(np.array([[True], [False]]))
    assert column.holds_codes
    assert cells(column) == [1, 0]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("make", [np.array, pd.DataFrame])
def test_python_numbers_are_codes_where_all_are_whole_by_their_type(make, missing):
    rows = [[2**60 + 1, 2.5, True, 2**64 - 1], [missing, Decimal("1.5"), np.float32(3), Decimal(1)]]
    columns = read(make(np.array(rows, dtype=object)))
    assert [column.holds_codes for column in columns] == [True, False, False, True]
    expected = [[2**60 + 1, None], [2.5, 1.5], [1, 3], [2**64 - 1, 1]]
    assert [cells(column) for column in columns] == expected


DECIMALS = [Decimal(2**60 + 1), None, Decimal(3)]
TYPED_DECIMALS = {
    "polars": lambda: pl.DataFrame({"a": DECIMALS}),
    "pyarrow": lambda: pa.table({"a": pa.array(DECIMALS, pa.decimal128(38, 2))}),
    "pandas": lambda: pd.DataFrame({"a": pd.array(DECIMALS, pd.ArrowDtype(pa.decimal128(38, 0)))}),
}


@pytest.mark.parametrize("make", TYPED_DECIMALS.values(), ids=TYPED_DECIMALS)
def test_decimals_are_codes_where_all_are_whole(make):
    (column,) = read(make())
    assert column.holds_codes
    assert cells(column) == DECIMALS
    (column,) = read(pa.table({"a": [Decimal("19.99"), None]}))
    assert cells(column) == [19.99, None]


@pytest.mark.parametrize("typed", [True, False])
def test_decimals_in_lists_are_codes(typed):
    lists = [[Decimal(2**60 + 1), Decimal(3)], None]
    table = pa.table({"a": pa.array(lists, pa.list_(pa.decimal128(38, 0)))})
    (column,) = read(table if typed else pd.DataFrame({"a": lists}))
    assert cells(column.members) == [2**60 + 1, 3, None]


def test_categories_of_float32_are_what_they_are_written_as():
    values = np.array([0.1, 0.25], dtype=np.float32)
    (column,) = read(pd.DataFrame({"a": pd.Categorical(values)}))
    assert cells(column) == [0.1, 0.25]


@pytest.mark.parametrize("kind", [set, frozenset])
def test_sets_are_lists_in_one_order(kind):
    (column,) = read(pd.DataFrame({"a": [kind([0, 8]), kind([8, 0]), None, [8, 0]]}))
    assert column.members.values.tolist() == [0, 8, 0, 8, 0, 8, 0]
    assert column.starts.tolist() == [0, 2, 4, 5, 7]


def test_lists_are_read_as_the_array_they_make():
    assert [column.holds_codes for column in read([[1, 2], [3, 4]])] == [True, True]
    assert [column.holds_codes for column in read([[1, 2], [3, 4.5]])] == [False, False]


@pytest.mark.parametrize("library", LIBRARIES)
def test_mixed_frame_has_the_same_cells_in_every_library(library):
    data = {"user": [7, -9, 7], "price": [0.5, 2.0, 1.0], "member": [True, False, True]}
    columns = read(LIBRARIES[library](data))
    assert [column.name for column in columns] == list(data)
    assert [column.holds_codes for column in columns] == [True, False, True]
    assert [cells(column) for column in columns] == list(data.values())


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "pandas"])
def test_missing_cells_are_kept_in_every_library(library):
    data = {"user": [7, None, 2**60], "price": [0.5, None, 1.0], "member": [True, None, False]}
    columns = read(LIBRARIES[library](data))
    assert [column.holds_codes for column in columns] == [True, False, True]
    assert [cells(column) for column in columns] == list(data.values())


@pytest.mark.parametrize("name", CITIES)
def test_categories_are_numbered_by_their_values_alone(name):
    library = pd if name.startswith("pandas") else pl if name.startswith("polars") else pa
    table = (pa.table if library is pa else library.DataFrame)({"city": CITIES[name]})
    (column,) = read(table)
    assert cells(column) == ["Rome", "Oslo", None, "Rome"]
    assert column.categories.tolist() == ["Oslo", "Rome"]


@pytest.mark.parametrize(
    "values", [[5, 3, None], [True, False, None], [0.5, None, 0.25], [(1,), None, 2, "b"], [None]]
)
def test_categories_may_be_of_any_type(values):
    (column,) = read(pd.DataFrame({"c": pd.Series(values, dtype="object").astype("category")}))
    assert column.holds_codes
    assert cells(column) == values


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [None] * 3}),
        pl.DataFrame({"a": [None] * 3}),
        pa.table({"a": pa.nulls(3)}),
    ],
)
def test_column_of_no_type_holds_missing_numbers(table):
    (column,) = read(table)
    assert cells(column) == [None] * 3


@pytest.mark.parametrize("values", [["a"], [None, "a"], [b"a"], ["1.5"], [1.5, "2"]])
def test_strings_are_refused_with_the_remedy(values):
    X = pd.DataFrame({"a": np.ones(len(values)), "b": pd.Series(values, dtype=object)})
    message = "Column {} .*Put an OrdinalFieldEncoder in front"
    with pytest.raises(ValueError, match=message.format("'b'")):
        read(X)
    with pytest.raises(ValueError, match=message.format("1")):
        read(X.to_numpy(dtype=object))


@pytest.mark.parametrize(
    "X",
    [
        np.array([["a"]]),
        np.array([[b"a"]]),
        [[1, "a"]],
        np.array([["2020"]], dtype="M8[D]"),
        np.ones((1, 1), "m8[s]"),
    ],
)
def test_matrix_of_other_types_is_refused(X):
    with pytest.raises(ValueError, match="Column 0 .*an OrdinalFieldEncoder in front"):
        read(X)


@pytest.mark.parametrize("value", ["a", b"a", datetime.date(2020, 1, 1), {"a": 1}])
@pytest.mark.parametrize("frame", [pl.DataFrame, pa.table])
def test_typed_column_of_neither_codes_nor_numbers_is_refused(frame, value):
    with pytest.raises(ValueError, match="Column 'b' holds .*an OrdinalFieldEncoder in front"):
        read(frame({"a": [1], "b": [value]}))


@pytest.mark.parametrize("value", [{}, 1j, datetime.date(2020, 1, 1)])
def test_cell_that_is_no_scalar_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="Column 1 holds .*OrdinalFieldEncoder"):
        read(np.array([[1, 2], [3, value]], dtype=object))


@pytest.mark.parametrize("make", [np.array, pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused_by_column(make, value):
    name = {np.array: "1", pd.DataFrame: "1", pl.DataFrame: "'column_1'"}[make]
    X = [[0.0, 1.0], [2.0, value]]
    X = make(X) if make is not pl.DataFrame else pl.DataFrame(X, orient="row")
    with pytest.raises(ValueError, match=f"Column {name} contains infinity or a value too large"):
        read(X)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.inf, "contains infinity or a value too large"),
        (Decimal("Infinity"), "contains infinity or a value too large"),
        (10**400, r"holds the whole number 1[0.]+0, which is beyond 64 bits"),
        (Decimal(2**64), "holds the whole number 18446744073709551616, which is beyond 64 bits"),
    ],
)
def test_python_number_too_large_is_refused_by_column(value, message):
    with pytest.raises(ValueError, match=f"Column 0 {message}"):
        read(np.array([[value], [None]], dtype=object))


def test_whole_number_beside_floats_that_lose_its_digits_is_refused():
    with pytest.raises(ValueError, match="Column 0 holds the whole number 9007199254740993 beside"):
        read(np.array([[2**53 + 1], [0.5]], dtype=object))


def test_sparse_columns_of_pandas_are_told_what_they_were():
    X = pd.get_dummies(pd.Series(["a", "b"]), sparse=True)
    with pytest.raises(TypeError, match="Column 'a' is sparse, .*it is one field"):
        read(X)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (sparse.csr_array(np.eye(2)), TypeError, "raw columns, got a sparse csr_array"),
        ("train.parquet", TypeError, "got the path 'train.parquet'. Read it"),
        (Path("train.parquet"), TypeError, "got the path .*'train.parquet'.*. Read it"),
        (np.array([1, 2]), ValueError, "Expected 2D array, got 1D"),
        (pd.Series([1, 2]), ValueError, "Expected a 2-dimensional container|Expected 2D"),
        (pl.Series([1, 2]), ValueError, "Expected 2D array, got 1D"),
        (np.ones((2, 2, 2)), ValueError, "dim 3"),
        (np.array([[1j]]), ValueError, "Complex data not supported"),
        (np.empty((0, 2)), ValueError, r"0 sample\(s\)"),
        (np.empty((2, 0)), ValueError, r"0 feature\(s\)"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\) and 1 feature\(s\)"),
        (pd.DataFrame(index=[1, 2]), ValueError, r"2 sample\(s\) and 0 feature\(s\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "unique.*\n- 'a' 2 times"),
        (pa.table([[1], [2]], names=["a", "a"]), ValueError, "unique.*\n- 'a' 2 times"),
        (pd.DataFrame({0: [1], "a": [2]}), TypeError, "Feature names are only supported"),
    ],
)
def test_what_is_no_table_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        read(X)


@pytest.mark.parametrize("later", LIBRARIES)
@pytest.mark.parametrize("first", LIBRARIES)
def test_names_are_learned_and_compared_across_libraries(first, later):
    estimator = DeepFMClassifier()
    read(LIBRARIES[first]({"a": [1], "b": [2]}), estimator)
    assert estimator.n_features_in_ == 2
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
    read(LIBRARIES[later]({"a": [1], "b": [2]}), estimator, reset=False)
    with pytest.raises(ValueError, match="must be in the same order"):
        read(LIBRARIES[later]({"b": [1], "a": [2]}), estimator, reset=False)
    with pytest.raises(ValueError, match="seen at fit time, yet now missing|unseen at fit time"):
        read(LIBRARIES[later]({"a": [1], "c": [2]}), estimator, reset=False)


def test_number_of_columns_is_compared():
    estimator = DeepFMClassifier()
    read(np.ones((2, 2)), estimator)
    with pytest.raises(ValueError, match="has 3 features, but DeepFMClassifier is expecting 2"):
        read(np.ones((2, 3)), estimator, reset=False)


def test_names_are_compared_with_a_matrix():
    estimator = DeepFMClassifier()
    read(pd.DataFrame({"a": [1], "b": [2]}), estimator)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        read(np.ones((1, 2), dtype=int), estimator, reset=False)


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64"])
def test_matrix_of_integers_stays_whole_after_fit(dtype):
    estimator, X = DeepFMClassifier(), np.array([[1, 2], [3, 4]], dtype=dtype)
    read(X, estimator)
    assert read_cells(estimator, X) is X
    with pytest.raises(ValueError, match="has 1 features, but DeepFMClassifier is expecting 2"):
        read_cells(estimator, X[:, :1])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        read_cells(estimator, X[:0])


@pytest.mark.parametrize("dtype", ["bool", "uint64", "float64", object])
def test_any_other_matrix_is_read_by_column_after_fit(dtype):
    estimator, X = DeepFMClassifier(), np.array([[1, 0], [1, 1]], dtype=dtype)
    read(X, estimator)
    assert [cells(column) for column in read_cells(estimator, X)] == X.T.tolist()


def test_rows_of_a_column_keep_their_missing_cells_and_categories():
    values, categories = np.array([1, 0, -1]), pd.Index(["a", "b"])
    assert cells(InputColumn("c", values, None, categories).take([2, 0])) == [None, "b"]
    taken = InputColumn("c", values, values < 0).take(slice(1, None))
    assert cells(taken) == [0, None]
    assert len(taken) == 2


CODES = np.ma.array([[0], [1]] * 20, mask=[[False], [False]] * 19 + [[False], [True]])


@pytest.mark.parametrize("model", [DeepFMClassifier(max_epochs=1), OrdinalFieldEncoder()])
def test_masked_cells_are_refused(model):
    """NumPy gives what is under the mask."""
    y = np.array([0, 1] * 20)
    masked = [(CODES, y, "X must have no masked cells, .* with 1 of them")]
    if isinstance(model, DeepFMClassifier):
        masked.append((CODES.data, np.ma.array(y, mask=y == 1), "y must have .* with 20 of them"))
    for X, target, message in masked:
        with pytest.raises(TypeError, match=message):
            model.fit(X, target)
    model.fit(np.ma.array(CODES.data), np.ma.array(y))  # whose masks mask nothing
    with pytest.raises(TypeError, match="X must have no masked cells"):
        (model.transform if hasattr(model, "transform") else model.predict)(CODES)


@pytest.mark.parametrize("name", ["sample_weight", "groups"])
def test_masked_weights_and_groups_are_refused(name):
    y = np.array([0, 1] * 20)
    with pytest.raises(TypeError, match=f"{name} must have no masked cells"):
        DeepFMClassifier().fit(CODES.data, y, **{name: np.ma.array(y + 1, mask=y == 1)})
