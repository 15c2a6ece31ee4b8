"""Ranks of codes among the distinct ones."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_deepfm._fields.ranks import ranks_of


@pytest.mark.parametrize(
    "of_codes",
    [
        lambda codes: codes,
        lambda codes: codes * 10**12 - 5,
        lambda codes: codes / 7 - 3,
        lambda codes: codes.astype(np.uint8),
        lambda codes: np.where(codes == codes[0], -np.inf, codes),
    ],
    ids=["near", "far apart", "floats", "bytes", "infinity"],
)
def test_ranks_are_those_of_a_sort(of_codes, rng):
    values = of_codes(rng.integers(100, size=60))
    rank, n_codes = ranks_of(values)
    ascending = sorted(set(values.tolist()))
    assert_array_equal(rank, [ascending.index(value) for value in values.tolist()])
    assert n_codes == len(ascending)
