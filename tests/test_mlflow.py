"""MLflow's sklearn flavour gives back what it was given; -m mlflow runs it where MLflow is."""

import subprocess
import sys

import numpy as np
import pytest

from sklearn_deepfm import DeepFMRegressor

pytestmark = [pytest.mark.mlflow, pytest.mark.filterwarnings("default")]  # MLflow has its own

SERVE = """
import sys
import mlflow, numpy as np, pandas as pd

folder, rows, answer = sys.argv[1:]
np.save(answer, mlflow.pyfunc.load_model(folder).predict(pd.read_parquet(rows)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a model is saved, and the working folder of whatever MLflow writes beside it."""
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "model")


@pytest.mark.parametrize("form", ["pickle", "cloudpickle", "skops"])
def test_pipeline_comes_back_the_same(form, folder, visits, pipeline):
    import mlflow.sklearn

    X, y = visits
    pipeline.fit(X, y)
    kinds = [type(step) for _, step in pipeline.steps]
    names = [f"{kind.__module__}.{kind.__name__}" for kind in kinds]
    trusted = {"skops_trusted_types": names} if form == "skops" else {}
    mlflow.sklearn.save_model(pipeline, folder, serialization_format=form, **trusted)
    loaded = mlflow.sklearn.load_model(folder)
    np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
    assert loaded[-1].history_ == pipeline[-1].history_


def test_another_process_predicts_the_same(folder, tmp_path, visits, pipeline):
    import mlflow.sklearn

    X, _ = visits
    y = X["price"]
    pipeline.set_params(deepfm=DeepFMRegressor(max_epochs=2, random_state=0)).fit(X, y)
    mlflow.sklearn.save_model(pipeline, folder, serialization_format="cloudpickle")
    rows, answer = tmp_path / "rows.parquet", tmp_path / "answer.npy"
    X.to_parquet(rows)
    subprocess.run([sys.executable, "-c", SERVE, folder, rows, answer], check=True)
    np.testing.assert_array_equal(np.load(answer), pipeline.predict(X))
