"""Descriptions of values: equal for equal values, whatever holds them, and different otherwise."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from sklearn_deepfm._common.fingerprint import describe


@pytest.mark.parametrize(
    "kind", [np.asarray, pd.DataFrame, pl.DataFrame, torch.tensor, lambda a: pd.Series(a[:, 0])]
)
def test_one_number_among_many_makes_another_description(kind):
    numbers = np.arange(3000.0).reshape(1500, 2)
    changed = numbers.copy()
    changed[700, 0] += 1e-9
    assert describe(kind(numbers)) == describe(kind(numbers.copy()))
    assert describe(kind(numbers)) != describe(kind(changed))


def test_index_of_a_column_counts():
    one, other = pd.Series([1, 2], index=["a", "b"]), pd.Series([1, 2], index=["b", "a"])
    assert describe(one) != describe(other)


def test_objects_in_arrays_are_described_like_those_in_lists():
    class Thing:
        pass

    things = np.array([Thing(), "a"], dtype=object)
    assert describe(things) == describe([Thing(), "a"])  # by class, not by address
