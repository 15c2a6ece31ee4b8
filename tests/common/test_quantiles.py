"""Edges of bins at quantiles, and the bins of numbers of another precision."""

import sys

import numpy as np
import pytest

from sklearn_deepfm._common.quantiles import inner_edges, positions_among

NUMBERS = np.unique(np.divide.outer(np.arange(1, 30), np.arange(1, 30)))  # .5, .1, 1/3, 7


@pytest.mark.parametrize("fitted", [np.float32, np.float64])
@pytest.mark.parametrize("served", [np.float32, np.float64])
def test_a_number_is_in_one_bin_in_both_precisions(fitted, served):
    distinct = NUMBERS.astype(fitted)
    edges = inner_edges(distinct, np.ones(len(distinct)), len(distinct))
    assert edges.dtype == np.float64
    assert len(edges) == len(NUMBERS) - 1  # a bin for each number
    assert positions_among(edges, NUMBERS.astype(served)).tolist() == [*range(len(NUMBERS))]


def test_edges_of_float32_hold_what_rounds_to_them_alone():
    edge, below = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(0))
    (found,) = inner_edges(np.array([below, edge]), np.ones(2), 2)
    assert np.float32(found) == edge
    assert np.float32(np.nextafter(found, 0)) == below


def test_edges_that_are_whole_stay():
    distinct = np.array([1, 2, 3], dtype=np.float32)
    assert inner_edges(distinct, np.ones(3), 3).tolist() == [2.0, 3.0]


def test_edges_beyond_float32_are_beyond_all_float32():
    edges = np.array([0.0, 1e300])
    assert positions_among(edges, np.array([1.0, 3e38], dtype=np.float32)).tolist() == [1, 1]


@pytest.mark.parametrize("n_bins", [10_000, 10**15, 2**53, sys.maxsize, 10**400])
@pytest.mark.parametrize("weight", [1.0, 1e-3])
def test_more_bins_than_rows_give_each_value_its_own(n_bins, weight):
    distinct, counts = np.arange(5.0), np.array([1, 900, 30, 1, 7]) * weight
    assert inner_edges(distinct, counts, n_bins).tolist() == [1.0, 2.0, 3.0, 4.0]
