"""Python objects as exact numbers."""

from decimal import Decimal

import numpy as np
import pytest

from sklearn_deepfm._tables.objects import as_array, exact_number, exact_target


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**60 + 1, 2**60 + 1),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (Decimal("1152921504606846977.0"), 2**60 + 1),
        (True, 1),
        (np.bool_(False), 0),
        (3.0, 3.0),
        (Decimal("0.5"), 0.5),
        (Decimal("Infinity"), float("inf")),
    ],
    ids=str,
)
def test_whole_numbers_by_their_type_are_ints(value, expected):
    found = exact_number(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([-(2**63), 2**63 - 1], np.int64),
        ([0, 2**64 - 1], np.uint64),
        ([2**53, 0.5], np.float64),
        ([], np.float64),
    ],
)
def test_array_has_a_type_that_holds_all_exactly(numbers, dtype):
    array = as_array("a", numbers)
    assert array.dtype == dtype
    assert array.tolist() == numbers


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([2**64, 1], "'a' holds the whole number 18446744073709551616, which is beyond 64 bits"),
        ([-1, 2**63], "'a' holds the whole number 9223372036854775808, which is beyond 64 bits"),
        ([2**53 + 1, 0.5], "'a' holds the whole number 9007199254740993 beside floats"),
    ],
)
def test_what_no_type_holds_exactly_is_refused_by_name(numbers, message):
    with pytest.raises(ValueError, match=f"Column {message}"):
        as_array("a", numbers)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([Decimal(0), Decimal("1.00")], np.array([0, 1])),
        ([2**60 + 1, 5], np.array([2**60 + 1, 5])),
        ([Decimal("0.5"), 2], np.array([0.5, 2.0])),
        ([[Decimal(1), 0], [0, 1]], np.array([[1, 0], [0, 1]])),
        ([True, False], np.array([True, False])),
    ],
    ids=str,
)
def test_targets_of_exact_objects_get_their_type(y, expected):
    found = exact_target(np.array(y, dtype=object))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("y", [["a", 1], [1.5, 2], [None, 1]])
def test_targets_of_other_objects_stay(y):
    y = np.array(y, dtype=object)
    assert exact_target(y) is y
