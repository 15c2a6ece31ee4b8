"""Codes become rows of one table: against a dict, whatever the codes are."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_deepfm._fields.index_field import UNSEEN_ROW, IndexField
from sklearn_deepfm._fields.input_columns import InputColumn

INT64 = np.iinfo(np.int64)


def codes(values, missing=None, dtype=None):
    return InputColumn("c", np.asarray(values, dtype=dtype), missing)


def categories(values, order):
    """A column of strings or numbers, None missing, whose categories stand in this order."""
    order = pd.Index(order)
    positions = [-1 if value is None else order.get_loc(value) for value in values]
    return InputColumn("c", np.array(positions), categories=order)


def fitted(column, weight=None, kind=IndexField):
    field = kind("c")
    field.grow(column, weight)
    return field


def rows_of(field, column):
    rows, value = field.encode(column)
    assert value is None
    return rows.tolist()


def reference_rows(seen, seen_missing, values, missing):
    """Row of each cell by a dict: 1, 2, ... in the order of the codes, 0 for all others."""
    known = sorted({v for v, gap in zip(seen, seen_missing, strict=True) if not gap})
    row = {code: position + 1 for position, code in enumerate(known)}
    missing_row = len(known) + 1 if any(seen_missing) else 0
    cells = zip(values, missing, strict=True)
    return [missing_row if gap else row.get(value, 0) for value, gap in cells]


@pytest.mark.parametrize("share_missing", [0, 0.2])
@pytest.mark.parametrize("scale", [1, 10**3, 10**15])
def test_rows_are_those_of_a_dict(rng, scale, share_missing):
    seen, later = (rng.integers(-20, 20, size) * scale for size in (60, 200))
    seen_missing, later_missing = (rng.random(size) < share_missing for size in (60, 200))
    field = fitted(codes(seen, seen_missing))
    expected = reference_rows(seen, seen_missing, later, later_missing)
    assert rows_of(field, codes(later, later_missing)) == expected
    assert field.n_rows == 1 + len(set(seen[~seen_missing])) + seen_missing.any()


def test_frequency_is_the_weight_of_each_row(rng):
    values, missing, weight = rng.integers(0, 9, 50), rng.random(50) < 0.3, rng.random(50)
    field = fitted(codes(values, missing), weight)
    rows = np.array(rows_of(field, codes(values, missing)))
    expected = [weight[rows == row].sum() for row in range(field.n_rows)]
    assert_allclose(field.frequency, expected)
    assert field.frequency[UNSEEN_ROW] == 0


def test_huge_codes_take_few_rows():
    field = fitted(codes([10**15, -(10**15), 10**15 + 7]))
    assert field.n_rows == 4
    assert rows_of(field, codes([10**15, 10**15 + 1, 10**15 + 7, -(10**15)])) == [2, 0, 3, 1]


@pytest.mark.parametrize(
    "known",
    [[INT64.max], [INT64.min], [INT64.max - 1, INT64.max], [INT64.min, INT64.max], [-1, 0], [7]],
)
def test_codes_at_the_ends_of_int64_are_told_apart(known):
    others = [INT64.min, INT64.min + 1, -1, 0, 1, INT64.max - 1, INT64.max]
    field = fitted(codes(known, dtype=np.int64))
    expected = [sorted(known).index(code) + 1 if code in known else 0 for code in others]
    assert rows_of(field, codes(others, dtype=np.int64)) == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64, np.float32, np.float64])
def test_codes_match_across_types(dtype):
    field = fitted(codes([3, 5, 9]))
    assert rows_of(field, codes([9, 4, 3], dtype=dtype)) == [3, 0, 1]


def test_missing_cells_fall_back_when_fit_saw_none():
    field = fitted(codes([3, 5]))
    assert field.n_rows == 3
    assert rows_of(field, codes([3, 5], np.array([True, False]))) == [0, 2]
    assert rows_of(field, codes([np.nan, 5])) == [0, 2]


def test_field_of_missing_cells_alone():
    field = fitted(codes([np.nan, np.nan]))
    assert field.n_rows == 2
    assert rows_of(field, codes([np.nan, 0, 1])) == [1, 0, 0]


@pytest.mark.parametrize("known", [[0, 5], [INT64.min, 0, 5], [-(2**53), 2**53]])
def test_float_that_is_no_code_falls_back(known):
    field = fitted(codes(known))
    strange = [0.5, -0.5, 5.000001, 1e300, -1e300, 2.0**63, -(2.0**63), 2.0**53 + 2]
    assert rows_of(field, codes(strange)) == [0] * len(strange)


def test_float_zero_has_no_sign():
    assert rows_of(fitted(codes([0.0, 1.0])), codes([-0.0])) == [1]


@pytest.mark.parametrize("value", [0.5, 1e300, 2.0**53 + 2])
def test_float_that_is_no_code_is_refused_in_fit(value):
    with pytest.raises(
        ValueError, match=r"'c' holds codes, .* categorical_.* whole numbers of at most 2\*\*53"
    ):
        fitted(codes([1.0, value]))


@pytest.mark.parametrize("known", [[1, 2], [INT64.min, INT64.max]])
def test_unsigned_code_beyond_int64_falls_back(known):
    beyond = codes([2**63, 2**63 + 1, 2**64 - 1, 2], dtype=np.uint64)
    assert rows_of(fitted(codes(known)), beyond) == [0, 0, 0, 2 if 2 in known else 0]


def test_unsigned_code_beyond_int64_is_refused_in_fit():
    with pytest.raises(ValueError, match=r"'c' holds 9223372036854775808, beyond .* 2\*\*63 - 1"):
        fitted(codes([2**63, 1], dtype=np.uint64))


def test_categories_are_known_by_value_not_by_order():
    field = fitted(categories(["b", "a", None, "b"], ["a", "b", "unused"]))
    assert field.n_rows == 4
    later = categories(["a", "b", "z", None, "unused"], ["unused", "z", "b", "a"])
    assert rows_of(field, later) == [1, 2, 0, 3, 0]


@pytest.mark.parametrize("dtype", ["str", "object", "string[pyarrow]", "category"])
def test_categories_match_across_types_of_strings(dtype):
    field = fitted(categories(["a", "b"], ["a", "b"]))
    later = InputColumn("c", np.array([0, 1]), categories=pd.Index(["b", "z"], dtype=dtype))
    assert rows_of(field, later) == [2, 0]


def test_categories_that_are_numbers_match_across_types():
    field = fitted(categories([3, 5], [3, 5]))
    assert rows_of(field, categories([5.0, 2.0], [2.0, 5.0])) == [2, 0]


def test_column_of_no_categories_is_missing():
    field = fitted(categories(["a", None], ["a"]))
    empty = InputColumn("c", np.array([-1, -1]), categories=pd.Index([], dtype=object))
    assert rows_of(field, empty) == [2, 2]
    assert rows_of(fitted(empty), categories(["a", None], ["a"])) == [0, 1]


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (categories(["a"], ["a"]), codes([0]), "was categorical in fit and is int64 now"),
        (codes([0]), categories(["a"], ["a"]), "was integers in fit and is categorical now"),
        (categories(["1"], ["1"]), categories([1], [1]), "were strings in fit and are numbers"),
        (categories([1], [1]), categories(["1"], ["1"]), "were numbers in fit and are strings"),
    ],
)
def test_column_of_another_kind_is_refused(before, now, message):
    field = fitted(before)
    for call in (field.encode, lambda column: field.grow(column, None)):
        with pytest.raises(ValueError, match=f"olumn 'c' {message}"):
            call(now)
