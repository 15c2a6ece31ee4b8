"""Searches whose fits run on a cluster, or are given up when they promise little."""

import os

import joblib
import numpy as np
import optuna
import pytest
from distributed import Client, LocalCluster
from optuna.pruners import MedianPruner
from optuna.trial import TrialState
from optuna_integration import SkorchPruningCallback
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV

# Dask


@pytest.fixture(scope="module")
def cluster():
    """Two processes of one thread."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        yield cluster


GRID = {"deepfm__learning_rate": [1e-3, 0.03], "encoder__min_frequency": [1, 3]}
SEARCHES = {
    GridSearchCV: {"param_grid": GRID},
    RandomizedSearchCV: {"param_distributions": GRID, "n_iter": 3, "random_state": 0},
    HalvingGridSearchCV: {
        "param_grid": GRID,
        "resource": "deepfm__max_epochs",
        "max_resources": 4,
        "factor": 2,
        "random_state": 0,
    },
}


@pytest.mark.parametrize(("search", "params"), SEARCHES.items())
def test_search_on_a_cluster_finds_what_one_process_finds(
    search, params, cluster, pipeline, visits
):
    X, y = visits

    def fitted(**more):
        return search(pipeline, cv=2, scoring="neg_log_loss", **params, **more).fit(X, y)

    with joblib.parallel_config("dask"):
        found = fitted()
    alone = fitted(n_jobs=1)
    for name in ("split0_test_score", "split1_test_score", "params"):
        assert list(found.cv_results_[name]) == list(alone.cv_results_[name]), name
    assert found.best_params_ == alone.best_params_
    np.testing.assert_array_equal(found.predict_proba(X), alone.predict_proba(X))


def test_fits_run_in_the_processes_of_the_cluster(cluster, pipeline, visits):
    def process(model, X, y):  # by value: the workers cannot import this file
        return os.getpid()

    search = GridSearchCV(pipeline, GRID, cv=2, scoring=process, refit=False)
    with joblib.parallel_config("dask"):
        scores = search.fit(*visits).cv_results_
    processes = {*scores["split0_test_score"], *scores["split1_test_score"]}
    assert processes <= {worker.pid for worker in cluster.workers.values()}


# Optuna

N_EPOCHS = 6


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize", pruner=MedianPruner(n_startup_trials=2))


@pytest.fixture
def objective(classifier, codes, visits):
    """Fit with one learning rate, and tell Optuna of each epoch."""
    y = visits[1]

    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-6, 0.1, log=True)
        callbacks = [SkorchPruningCallback(trial, "valid_score")]
        model = clone(classifier).set_params(
            learning_rate=rate, max_epochs=N_EPOCHS, callbacks=callbacks
        )
        model.fit(codes[:900], y[:900], X_val=codes[900:], y_val=y[900:])
        trial.set_user_attr("scores", model.validation_scores_)
        return max(model.validation_scores_)

    return objective


def test_optuna_prunes_bad_trials_and_no_good_ones(study, objective):
    rates = [1e-3, 3e-3, 1e-6, 1e-2, 1e-5]
    for rate in rates:
        study.enqueue_trial({"learning_rate": rate})
    study.optimize(objective, n_trials=len(rates))
    good, pruned = TrialState.COMPLETE, TrialState.PRUNED
    assert [trial.state for trial in study.trials] == [good, good, pruned, good, pruned]
    assert [len(trial.intermediate_values) for trial in study.trials] == [6, 6, 1, 6, 1]
    assert study.best_params == {"learning_rate": 1e-2}


def test_optuna_is_told_the_validation_scores(study, objective):
    study.enqueue_trial({"learning_rate": 0.03})
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert list(trial.intermediate_values.values()) == trial.user_attrs["scores"]
    assert len(trial.user_attrs["scores"]) == N_EPOCHS


# Halving


def test_halving_gives_epochs_to_those_that_do_well_with_few(classifier, codes, visits):
    y, rates = visits[1], [1e-6, 1e-5, 1e-4, 0.03]

    def n_epochs(model, X, y):
        return model.n_iter_

    def search(scoring):
        return HalvingGridSearchCV(
            classifier,
            {"learning_rate": rates},
            resource="max_epochs",
            max_resources=8,
            factor=2,
            cv=2,
            scoring=scoring,
            random_state=0,
        ).fit(codes, y)

    found = search("neg_log_loss")
    assert found.n_resources_ == [2, 4, 8]
    assert found.n_candidates_ == [4, 2, 1]
    assert found.best_params_ == {"learning_rate": 0.03, "max_epochs": 8}
    assert found.best_estimator_.n_iter_ == 8
    spent = search(n_epochs).cv_results_
    np.testing.assert_array_equal(spent["mean_test_score"], spent["n_resources"])
