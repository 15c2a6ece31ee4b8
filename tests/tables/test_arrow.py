"""Columns as Arrow arrays: exact numbers, sets in one order, and no mixtures."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sklearn_deepfm import OrdinalFieldEncoder
from sklearn_deepfm._tables.arrow import to_arrow
from sklearn_deepfm._tables.exact_numbers import as_doubles, without_decimals

NAIVE = dt.datetime(2020, 1, 1)
ZONED = dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5)))


def objects(*cells):
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


@pytest.mark.parametrize("kind", [set, frozenset])
def test_members_of_sets_are_in_one_order(kind):
    first, second = kind([0, 8]), kind([8, 0])
    assert list(first) != list(second), "sets that Python iterates in different orders"
    found = to_arrow(objects(first, second, None, [8, 0], kind())).to_pylist()
    assert found == [[0, 8], [0, 8], None, [8, 0], []]
    assert to_arrow(objects(kind(["b", None, "a"]))).to_pylist() == [["a", "b", None]]


MIXTURES = {
    "zones": (NAIVE, ZONED),
    "zones of other types": (pd.Timestamp(ZONED), np.datetime64("2020-01-01")),
    "zones of times": (dt.time(1), dt.time(1, tzinfo=dt.UTC)),
    "dates and numbers": (dt.date(2020, 1, 1), 2),
    "numbers and booleans": (1.5, True),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("form", ["cells", "lists", "categories"])
def test_mixtures_are_refused_wherever_they_stand(mixture, form):
    cells = [list(mixture)] if form == "lists" else [*mixture]
    column = pd.Series(objects(*cells), dtype=object)
    column = column.astype("category") if form == "categories" else column
    with pytest.raises(TypeError, match="Column 'a' holds .*: convert them"):
        OrdinalFieldEncoder().fit(pd.DataFrame({"a": column}))


def test_times_with_zones_are_moments_whatever_the_zone():
    utc = ZONED.astimezone(dt.UTC)
    codes = OrdinalFieldEncoder(categorical_features=["a"]).fit_transform(
        pd.DataFrame({"a": pd.Series(objects(ZONED, utc, None, pd.NaT), dtype=object)})
    )
    assert codes[:, 0].tolist() == [3, 3, 0, 0]


@pytest.mark.parametrize("n_chunks", [1, 2])
def test_dictionaries_of_all_chunks_become_one(n_chunks):
    chunks = [
        pa.DictionaryArray.from_arrays(
            pa.array([*range(100), None], pa.int8()), [f"{chunk}{i}" for i in range(100)]
        )
        for chunk in range(n_chunks)
    ]
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(chunks)))
    expected = [value for chunk in chunks for value in chunk.to_pylist()]
    assert to_arrow(column).to_pylist() == expected  # 200 categories, of int8 in each chunk


@pytest.mark.parametrize(
    ("cells", "type_", "expected"),
    [
        ([Decimal(2**60 + 1), None], pa.decimal128(38, 0), pa.array([2**60 + 1, None], pa.int64())),
        ([Decimal("3.00")], pa.decimal128(20, 2), pa.array([3], pa.int64())),
        ([Decimal(2**64 - 1)], pa.decimal256(50, 3), pa.array([2**64 - 1], pa.uint64())),
        ([Decimal("19.99"), Decimal(3)], pa.decimal128(20, 5), pa.array([19.99, 3.0])),
        ([Decimal("1e-20"), None], pa.decimal256(60, 30), pa.array([1e-20, None])),
    ],
    ids=str,
)
def test_decimals_are_integers_if_all_are_whole(cells, type_, expected):
    values = pa.array(cells, type_)
    assert without_decimals("a", values).equals(expected)
    assert without_decimals("a", values.dictionary_encode()).dictionary_decode().equals(expected)


def test_decimal_beyond_64_bits_is_refused_by_name():
    with pytest.raises(ValueError, match="'a' holds the whole number 18446744073709551616, which"):
        without_decimals("a", pa.array([Decimal(1), Decimal(2**64)]))


@pytest.mark.parametrize("values", [[2**53 + 1, "0.5"], ["0.5", -(2**60)]])
def test_whole_decimals_that_fractions_would_round_are_refused(values):
    values = pa.array([*map(Decimal, values)])
    with pytest.raises(ValueError, match=r"'a' holds the whole number -?\d+ beside floats or frac"):
        without_decimals("a", values)
    assert without_decimals("a", pa.array([Decimal("1e16") + Decimal("0.5")])).to_pylist() == [1e16]


def test_large_integers_in_lists_are_exact():
    assert to_arrow(objects([2**64 - 1, 1], None)).to_pylist() == [[2**64 - 1, 1], None]


def test_float32_fractions_are_what_they_are_written_as():
    values = pa.array([0.1, None, 3.25, 123456790528.0, 1e-30], pa.float32())
    assert as_doubles(values).to_pylist() == [0.1, None, 3.25, 123456790528.0, 1e-30]
