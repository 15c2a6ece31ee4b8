"""scikit-learn's own callbacks, which an older scikit-learn does not have."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")
SMALL = {"embed_dim": 2, "mlp_dims": (4,), "max_epochs": 3, "random_state": 0}


@pytest.fixture
def data(rng):
    X = pd.DataFrame(rng.integers(0, 5, (400, 3)), columns=["a", "b", "c"])
    return X, (X["a"] + X["b"] > 4).astype(int)


def test_estimators_take_callbacks_where_scikit_learn_has_them():
    for model in (DeepFMClassifier(), DeepFMRegressor()):
        assert hasattr(model, "set_callbacks") == HAS_CALLBACKS


if HAS_CALLBACKS:
    from sklearn.callback import ProgressBar, ScoringMonitor

    class Stop:
        """Ask for an end after some epochs, and note what it was told."""

        def __init__(self, after):
            self.after = after
            self.seen = []

        def setup(self, estimator, context):
            self.seen.append("setup")

        def teardown(self, estimator, context):
            self.seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.seen.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.seen.append(f"end {context.task_name}")
            self.after -= context.task_name == "epoch"
            return self.after == 0

    def test_callbacks_do_not_hinder_checkpoints(data, tmp_path, monkeypatch):
        monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)
        model = DeepFMClassifier(max_epochs=3, checkpoint=tmp_path / "file")
        model.set_callbacks(ScoringMonitor(scoring="neg_log_loss")).fit(*data)
        assert model.n_iter_ == 3

    @pytest.mark.parametrize("early_stopping", [True, False])
    @pytest.mark.parametrize("ema_epochs", [0, 1.0])
    def test_monitor_scores_the_model_as_it_is_after_each_epoch(data, early_stopping, ema_epochs):
        X, y = data
        # By this score no linear model stands beside the epochs.
        params = {**SMALL, "early_stopping": early_stopping, "ema_epochs": ema_epochs}
        params["scoring"] = "neg_log_loss"
        monitor = ScoringMonitor(scoring="neg_log_loss")
        model = DeepFMClassifier(**params, n_members=2).set_callbacks(monitor).fit(X, y)
        log = monitor.get_logs().data_as_pandas
        scores = log.loc[log["task_name"] == "epoch", "neg_log_loss"].tolist()
        assert len(scores) == 3
        if early_stopping:  # the fit goes back to the best epoch
            best = np.argmax(model.validation_scores_)
            expected = -log_loss(y, model.predict_proba(X))
            assert scores[best] == pytest.approx(expected, rel=1e-6)
        else:
            for n_epochs, score in enumerate(scores, 1):
                alone = DeepFMClassifier(**{**params, "max_epochs": n_epochs}, n_members=2)
                expected = -log_loss(y, alone.fit(X, y).predict_proba(X))
                assert score == pytest.approx(expected, rel=1e-6)
        fit = log.loc[log["task_name"] == "fit", "neg_log_loss"]
        assert fit.item() == pytest.approx(-log_loss(y, model.predict_proba(X)), rel=1e-6)

    def test_callbacks_change_nothing_of_the_model(data):
        X, y = data
        alone = DeepFMClassifier(**SMALL).fit(X, y)
        monitor = ScoringMonitor(scoring="accuracy")
        watched = DeepFMClassifier(**SMALL).set_callbacks(monitor).fit(X, y)
        np.testing.assert_array_equal(watched.predict_proba(X), alone.predict_proba(X))
        assert watched.history_[-1]["train_loss"] == alone.history_[-1]["train_loss"]

    def test_weights_reach_the_scorer(data):
        X, y = data
        weight = np.where(y == 1, 3.0, 0.5)
        monitor = ScoringMonitor(scoring="neg_log_loss")
        model = DeepFMClassifier(**SMALL).set_callbacks(monitor).fit(X, y, sample_weight=weight)
        log = monitor.get_logs().data_as_pandas
        expected = -log_loss(y, model.predict_proba(X), sample_weight=weight)
        fit = log.loc[log["task_name"] == "fit", "neg_log_loss"]
        assert fit.item() == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("model", [DeepFMClassifier, DeepFMRegressor])
    def test_callback_may_stop_training(model, data):
        stop = Stop(after=2)
        fitted = model(**SMALL).set_callbacks(stop).fit(*data)
        assert fitted.n_iter_ == 2
        epochs = ["begin epoch", "end epoch"] * 2
        assert stop.seen == ["setup", "begin fit", *epochs, "end fit", "teardown"]

    def test_failed_fit_tears_callbacks_down_and_leaves_the_estimator(data):
        X, y = data
        stop = Stop(after=9)
        model = DeepFMClassifier(**SMALL).set_callbacks(stop)
        with pytest.raises(ValueError, match="Found input variables with inconsistent"):
            model.fit(X, y[:5])
        assert stop.seen == ["setup", "teardown"]
        assert not hasattr(model, "net_")
        model.fit(X, y)
        assert stop.seen[-1] == "teardown"
        assert clone(model).get_params() == model.get_params()

    def test_progress_bar_of_epochs(data, capfd):
        DeepFMClassifier(**SMALL).set_callbacks(ProgressBar()).fit(*data)
        assert "DeepFMClassifier" in capfd.readouterr().out

    @pytest.mark.parametrize("is_search", [False, True])
    def test_bar_and_monitor_in_a_pipeline_and_in_a_search_of_two_processes(data, capfd, is_search):
        X, y = data
        monitor = ScoringMonitor(scoring="accuracy")
        estimator = DeepFMClassifier(**SMALL).set_callbacks(monitor)
        model, n_fits = make_pipeline(OrdinalFieldEncoder(), estimator), 1
        if is_search:
            grid = {"deepfmclassifier__embed_dim": [2, 3]}
            model, n_fits = GridSearchCV(model, grid, cv=2, n_jobs=2, refit=False), 4
        model.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
        assert "DeepFMClassifier" in capfd.readouterr().out
        log = monitor.get_logs().data_as_pandas
        assert (log["task_name"] == "epoch").sum() == n_fits * 3
        assert log["accuracy"].between(0, 1).all()

    def test_encoder_tells_of_its_fit(data):
        stop = Stop(after=9)
        for fit in (OrdinalFieldEncoder.fit, OrdinalFieldEncoder.fit_transform):
            stop.seen = []
            fit(OrdinalFieldEncoder().set_callbacks(stop), data[0])
            assert stop.seen == ["setup", "begin fit", "end fit", "teardown"]
