"""Settings and fixtures that all tests share."""

import os

# scikit-learn skips its check of array API input unless scipy was imported with this.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# The models here are too small to gain from threads, and threads of processes that share
# cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest


@pytest.fixture(params=range(3))
def rng(request):
    """A generator for each of a few seeds: for what must hold whatever the data."""
    return np.random.default_rng(request.param)
