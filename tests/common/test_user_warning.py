"""A warning names the line of the user, whichever layers lie between."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

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


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_warning_points_at_the_line_of_the_user(act):
    assert caught(act) == {(UserWarning, __file__)}
