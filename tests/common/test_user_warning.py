"""A warning names the line of the user, whichever layers lie between."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm._common.user_warning import warn_user

SMALL = {"embed_dim": 2, "mlp_dims": (4,), "max_epochs": 1, "random_state": 0}
IDS = pd.DataFrame({"id": [f"id {number}" for number in range(200)]})
Y = np.arange(200) % 2


def caught(act):
    """Files of the warnings that an act gives."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return {(warning.category, warning.filename) for warning in found}


ACTS = {
    "fit": lambda: OrdinalFieldEncoder().fit(IDS),
    "output of a type": lambda: (
        OrdinalFieldEncoder().set_output(transform="pandas").fit_transform(IDS)
    ),
    "pipeline": lambda: make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(IDS, Y),
    "search": lambda: GridSearchCV(
        make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)), {}, cv=2
    ).fit(IDS, Y),
    "joblib": lambda: joblib.Parallel(n_jobs=1)([joblib.delayed(OrdinalFieldEncoder().fit)(IDS)]),
    "cross-validation": lambda: cross_val_score(
        make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)), IDS, Y, cv=2
    ),
}


def repeat(n, about=None):
    """Warn at one line, and change the filters in between as pandas does at each of its calls."""
    for number in range(n):
        warn_user(f"Number {number} of the rows", topic=about)
        with warnings.catch_warnings():
            warnings.simplefilter("always", DeprecationWarning)


@pytest.mark.parametrize(
    ("action", "about", "n_expected"),
    [("default", "rows", 1), ("default", None, 3), ("always", "rows", 3), ("ignore", "rows", 0)],
)
def test_a_line_has_one_warning_of_a_topic_if_the_filters_say_so(action, about, n_expected):
    for _ in range(2):  # other filters are another start
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("error", DeprecationWarning)
            warnings.filterwarnings(action, "Number . of the rows")
            repeat(3, about)
        assert len(found) == n_expected
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warn_user("something else")


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_warning_points_at_the_line_of_the_user(act):
    assert caught(act) == {(UserWarning, __file__)}
