"""Settings and fixtures that all tests share."""

import multiprocessing
import os
import signal

# scikit-learn skips its check of array API input unless scipy was imported with this.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# The models here are too small to gain from threads, and threads of processes that share
# cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.pipeline import Pipeline

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

# What a fork server has imported, its processes need not. torch imports the second at the first
# step of an optimizer. A server that runs already imports nothing more: so it is said here.
multiprocessing.set_forkserver_preload(["sklearn_deepfm", "torch._dynamo"])

# Where models train unless a test says so: "cuda" runs the tests on a GPU.
if device := os.environ.get("DEEPFM_DEVICE"):
    for estimator in (DeepFMClassifier, DeepFMRegressor):
        estimator.__init__.__kwdefaults__["device"] = device

SMALL = {
    "early_stopping": False,
    "embed_dim": 8,
    "mlp_dims": (32,),
    "learning_rate": 0.03,
    "batch_size": 128,
    "embedding_l2": 1e-2,
    "max_epochs": 8,
    "n_iter_no_change": 5,
}


@pytest.fixture(scope="session", autouse=True)
def interrupts():
    """Ctrl-C interrupts, even where a shell has started pytest in the background of a script.

    Such a shell has its jobs ignore SIGINT: Python then installs no handler, and processes that
    tests start inherit that.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=range(3))
def rng(request):
    """A generator for each of a few seeds: for what must hold whatever the data."""
    return np.random.default_rng(request.param)


@pytest.fixture(scope="session")
def visits():
    """A table with strings whose label hangs on a pair of fields, and on neither alone."""
    rng = np.random.default_rng(0)
    n_users, n_items, n_rows = 40, 6, 1200
    user, item = rng.integers(0, n_users, n_rows), rng.integers(0, n_items, n_rows)
    taste, style = rng.choice([-1, 1], n_users), rng.choice([-1, 1], n_items)
    X = pd.DataFrame(
        {
            "user": [f"user {u}" for u in user],
            "item": [f"item {i}" for i in item],
            "hour": rng.integers(0, 12, n_rows),
            "city": rng.choice(["Bonn", "Cork", "Lima", "Oslo", "Rome"], n_rows),
            "price": rng.lognormal(size=n_rows).round(3),
        }
    )
    likes = rng.random(n_rows) < expit(3 * taste[user] * style[item])
    return X, np.where(likes, "yes", "no")


@pytest.fixture(scope="session")
def codes(visits):
    """The same table as a matrix of codes, whose columns are categories whatever y says."""
    X = visits[0].assign(price=pd.qcut(visits[0]["price"], 20, labels=False))
    return OrdinalFieldEncoder(categorical_features=list(X)).fit_transform(X)


@pytest.fixture
def classifier():
    """A small classifier that learns `visits` in a fraction of a second."""
    return DeepFMClassifier(**SMALL, random_state=0)


@pytest.fixture
def regressor():
    """A regressor of the same size."""
    return DeepFMRegressor(**SMALL, random_state=0)


@pytest.fixture
def pipeline(classifier):
    """The guide's pipeline, from a data frame to probabilities."""
    return Pipeline([("encoder", OrdinalFieldEncoder()), ("deepfm", classifier)])
