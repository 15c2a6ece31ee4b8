"""Hashed categories: codes that hang on the value alone."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_deepfm import OrdinalFieldEncoder

# A model that was trained on one machine must find these codes on any other.
KNOWN = {
    "strings": (["a", "b", "", "\U0001f600"], [1011, 1953, 1551, 137]),
    "whole numbers": ([0, 1, -1, 2**62], [3, 1581, 137, 1053]),
    "floats": ([0.5, -2.25, 1e300, 3.0], [1277, 1415, 695, 1715]),
    "booleans": ([True, False], [1581, 3]),
    "dates": (pd.to_datetime(["2013-01-01", "2013-06-30"]), [1199, 997]),
}


def codes(values, n=1000):
    encoder = OrdinalFieldEncoder(hash_dims=n, categorical_features=["c"])
    return encoder.fit_transform(pd.DataFrame({"c": values}))[:, 0].tolist()


@pytest.mark.parametrize("kind", KNOWN)
def test_codes_are_those_of_every_platform(kind):
    values, expected = KNOWN[kind]
    assert codes(values) == expected
    assert codes(pd.Series(values).astype("category")) == expected
    assert codes([*values, None])[-1] == 0


def test_codes_are_those_of_another_process():
    program = """
import pandas as pd
from sklearn_deepfm import OrdinalFieldEncoder
X = pd.DataFrame({"c": ["a", "b", "", "c"]})
print(OrdinalFieldEncoder(hash_dims=1000).fit_transform(X)[:, 0].tolist())
"""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # another than here
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(codes(["a", "b", "", "c"]))


def test_a_number_has_one_code_whatever_its_type():
    (expected,) = codes([7])
    for values in ([7.0], np.array([7], np.uint64), np.array([7], np.int8), [7.0, None], [7, 0.5]):
        assert codes(values)[0] == expected


def test_codes_fill_their_range_evenly():
    got = np.array(codes([f"user {i}" for i in range(50_000)], n=100))
    counts = np.bincount(got, minlength=202)
    assert counts[0] == counts[2::2].sum() == 0
    assert len(counts) == 202
    assert np.square(counts[3::2] - 500).sum() / 500 < 150  # chi-squared, 99 degrees of freedom


def test_nothing_is_learned_and_nothing_unknown():
    encoder = OrdinalFieldEncoder(hash_dims={"user": 50}).fit(
        pd.DataFrame({"user": ["a"], "city": ["Oslo"]})
    )
    assert encoder.field_kinds_ == ["hashed", "categories"]
    assert encoder.field_dims_.tolist() == [102, 3]
    assert encoder.categories_[0].tolist() == []
    new = pd.DataFrame({"user": [f"u{i}" for i in range(100)], "city": ["Oslo"] * 100})
    output = encoder.transform(new)
    assert output[:, 0].min() >= 2
    before = output.copy()
    assert_array_equal(encoder.partial_fit(new).transform(new), before)
    assert encoder.inverse_transform(output[:1]).tolist() == [[None, "Oslo"]]


def test_column_keeps_the_kind_of_its_values():
    encoder = OrdinalFieldEncoder(hash_dims=9).partial_fit(pd.DataFrame({"c": [None]}))
    encoder.partial_fit(pd.DataFrame({"c": ["a"]}))
    with pytest.raises(ValueError, match="Column 'c' held strings .* holds numbers now"):
        encoder.transform(pd.DataFrame({"c": [1]}))


def test_quantities_are_not_hashed_and_members_of_lists_are():
    X = pd.DataFrame({"price": [0.5, 1.5], "tags": [["a"], ["a", "b"]]})
    encoder = OrdinalFieldEncoder(hash_dims=1000)
    output = encoder.fit_transform(X)
    assert encoder.field_kinds_ == ["bins", "lists of hashed"]
    assert [list(cell) for cell in output["tags"]] == [[506], [506, 977]]


def test_few_rows_of_a_column_of_many_categories_give_the_same_codes():
    column = pd.Series([f"user {i}" for i in range(1000)]).astype("category")
    encoder = OrdinalFieldEncoder(hash_dims=10**6).fit(pd.DataFrame({"c": column}))
    whole = encoder.transform(pd.DataFrame({"c": column}))
    assert_array_equal(encoder.transform(pd.DataFrame({"c": column[5:7]})), whole[5:7])


def test_quantities_named_in_hash_dims_are_an_error():
    X = pd.DataFrame({"price": [0.5, 1.5]})
    with pytest.raises(ValueError, match="'price' is in hash_dims but holds quantities"):
        OrdinalFieldEncoder(hash_dims={"price": 9}).fit(X)
    encoder = OrdinalFieldEncoder(hash_dims={"price": 9}, categorical_features=["price"])
    assert encoder.fit(X).field_kinds_ == ["hashed"]
