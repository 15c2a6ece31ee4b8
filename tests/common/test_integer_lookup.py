"""An array look-up gives what a dict gives, whatever number it is asked for."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_deepfm._common.integer_lookup import IntegerLookup, IntegerLookups

INT64 = np.iinfo(np.int64)
DTYPES = [np.int8, np.uint8, np.int16, np.uint32, np.int32, np.int64]


def distinct(rng, low):
    return np.unique(rng.integers(low, low + 60, 30))


def numbered(keys):
    return IntegerLookup(keys, np.arange(len(keys), dtype=np.int32), -1)


def look_up(keys, numbers):
    """By dict: slow and obvious."""
    known = {key: position for position, key in enumerate(keys.tolist())}
    return [known.get(number, -1) for number in numbers.tolist()]


@pytest.mark.parametrize("low", [0, 1, -1, -40, 10**12, INT64.min + 1, INT64.max - 60])
def test_map_gives_what_a_dict_gives(low, rng):
    keys = distinct(rng, low)
    around = rng.integers(max(low - 5, INT64.min), min(low + 64, INT64.max), 200)
    far = np.array([INT64.min, INT64.min + 1, -1, 0, 1, INT64.max - 1, INT64.max])
    numbers = np.concatenate([keys, around, far])
    assert_array_equal(numbered(keys)(numbers), look_up(keys, numbers))


@pytest.mark.parametrize("dtype", DTYPES)
def test_map_takes_any_integers(dtype):
    keys, numbers = np.array([0, 3, 4]), np.array([0, 1, 3, 4, 5, 100]).astype(dtype)
    assert_array_equal(numbered(keys)(numbers), look_up(keys, numbers))


def test_map_without_keys_knows_nothing():
    nothing = numbered(np.empty(0, dtype=np.int64))
    assert_array_equal(nothing(np.array([INT64.min, -1, 0, 1, INT64.max])), [-1] * 5)


def test_keys_far_apart_do_not_suit():
    assert IntegerLookup.suits(np.arange(5))
    assert IntegerLookup.suits(np.empty(0, dtype=np.int64))
    assert not IntegerLookup.suits(np.array([0, 10**6]))
    assert not IntegerLookup.suits(np.array([INT64.min, INT64.max]))
    assert not IntegerLookup.suits(np.array([INT64.min, INT64.min + 1]))  # no room below


@pytest.mark.parametrize("dtype", DTYPES)
def test_maps_side_by_side_give_what_each_gives(dtype, rng):
    maps = [numbered(distinct(rng, low)) for low in (0, -30, 20, 10**12)]
    offsets = np.array([5, 100, 1000, 2000])
    info = np.iinfo(dtype)
    X = rng.integers(info.min, info.max, (300, 4), dtype=dtype, endpoint=True)
    X[:100] = rng.integers(0, 90, (100, 4))
    X[100], X[101] = info.min, info.max
    expected = [map_(X[:, j]) + offsets[j] for j, map_ in enumerate(maps)]
    found = IntegerLookups(maps, offsets)(X)
    assert found.dtype == np.int32
    assert_array_equal(found, np.column_stack(expected))
