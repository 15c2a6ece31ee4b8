"""What happens between epochs: the user's callbacks, validation scores, best weights, stopping."""

import contextlib
import fcntl
import gc
import io
import os
import pty
import re
import string
import struct
import subprocess
import sys
import termios

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import f1_score, log_loss, make_scorer, mean_absolute_error, roc_auc_score
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
    PrintLog,
)

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder
from sklearn_deepfm._training.callbacks import Reporting, Schedule, training_callbacks

N_TRAIN = 900


@pytest.fixture
def data(codes, visits):
    """Training and validation rows: X, y, X_val, y_val."""
    y = visits[1]
    return codes[:N_TRAIN], y[:N_TRAIN], codes[N_TRAIN:], y[N_TRAIN:]


@pytest.fixture
def fit(classifier, data):
    """Fit with validation rows, to where the model overfits."""

    def fit(weights=None, **params):
        X, y, X_val, y_val = data
        params = {"max_epochs": 10, "embedding_l2": 0, "early_stopping": "auto", **params}
        model = clone(classifier).set_params(**params)
        return model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights)

    return fit


def recorded(model, name):
    return [epoch[name] for epoch in model.history_]


# The user's callbacks


def test_lr_scheduler_of_the_user_replaces_the_plateau(fit):
    params = {"early_stopping": False, "tol": 1e9, "n_iter_no_change": 5}  # never a gain
    model = fit(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.95)], **params)
    np.testing.assert_allclose(recorded(model, "learning_rate"), 0.03 * 0.95 ** np.arange(10))
    # Without it the schedule would have stepped in.
    assert recorded(fit(**params), "learning_rate")[-1] < 0.03 * 0.95**9


def test_checkpoint_writes_weights_that_load(fit, tmp_path):
    model = fit(callbacks=[Checkpoint(dirname=str(tmp_path))], early_stopping=False)
    written = torch.load(tmp_path / "params.pt", weights_only=True)
    restored = model.module_.state_dict()
    assert set(written) == set(restored)
    for name, tensor in written.items():
        assert torch.equal(tensor, restored[name]), name
    assert (tmp_path / "history.json").exists()
    assert (tmp_path / "optimizer.pt").exists()


@pytest.mark.parametrize("on_train", [False, True])
def test_epoch_scoring_scores_the_rows_of_its_part(on_train, fit, data):
    X, y, X_val, y_val = data
    scoring = EpochScoring("roc_auc", lower_is_better=False, name="auc", on_train=on_train)
    model = fit(callbacks=[scoring], early_stopping=False, scoring="roc_auc", lr_schedule=None)
    aucs = recorded(model, "auc")
    if on_train:
        # Scores of moving weights with dropout: they only have to rise to where fit ends.
        assert aucs[-1] > aucs[0] + 0.2
        assert aucs[-1] == pytest.approx(roc_auc_score(y, model.predict_proba(X)[:, 1]), abs=0.1)
    else:
        assert aucs == pytest.approx(model.validation_scores_, rel=1e-12)
        auc = roc_auc_score(y_val, model.predict_proba(X_val)[:, 1])
        assert max(aucs) == pytest.approx(auc, abs=1e-4)


def test_batch_scoring_averages_over_the_validation_batches(fit, data):
    scoring = BatchScoring("accuracy", lower_is_better=False)
    model = fit(callbacks=[scoring], early_stopping=False, scoring="accuracy")
    np.testing.assert_allclose(recorded(model, "accuracy"), model.validation_scores_)


@pytest.mark.parametrize("writes", [True, False])
def test_of_processes_that_train_together_one_writes(writes):
    users = [LRScheduler(), Checkpoint, ("log", PrintLog()), EpochScoring("accuracy")]
    reporting = Reporting(verbose=1, tasks=[("sklearn_callbacks", Callback())], writes=writes)
    callbacks = training_callbacks(users, None, Schedule(None, 1), reporting)
    kept = users if writes else [users[0], users[3]]
    assert [callback for callback in callbacks if callback in users] == kept
    names = {callback[0] for callback in callbacks if isinstance(callback, tuple)}
    assert writes == ({"deepfm_progress", "sklearn_callbacks"} <= names)
    assert writes or not {"deepfm_progress", "sklearn_callbacks"} & names


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_gradient_clipping_takes_effect(sparse_updates, fit):
    def moved(callbacks, learning_rate):
        model = fit(
            callbacks=callbacks,
            learning_rate=learning_rate,
            sparse_updates=sparse_updates,
            early_stopping=False,
        )
        return [p.detach().clone() for p in model.module_.parameters()]

    start = moved(None, 1e-12)
    free = moved(None, 0.03)
    # Adam's eps is 1e-8: gradients far below it no longer move anything.
    clipped = moved([GradientNormClipping(1e-13)], 0.03)
    assert min((a - b).abs().max() for a, b in zip(free, start, strict=True)) > 1e-3
    assert max((a - b).abs().max() for a, b in zip(clipped, start, strict=True)) < 1e-5


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_frozen_table_stays_as_it_was(sparse_updates, fit):
    params = {"sparse_updates": sparse_updates, "early_stopping": False}
    frozen = fit(callbacks=[Freezer("table")], **params).module_.table
    start = fit(learning_rate=1e-12, **params).module_.table
    assert ((frozen - start).abs().amax(1) < 1e-6).all()
    assert ((fit(**params).module_.table - start).abs().amax(1) > 1e-4).any()


def test_callbacks_are_copied_for_each_fit(fit):
    scoring = EpochScoring("roc_auc", lower_is_better=False, name="auc")
    named = ("clip", GradientNormClipping(1.0))
    before = [dict(vars(callback)) for callback in (scoring, named[1])]
    model = fit(callbacks=[scoring, named, GradientNormClipping])
    assert [vars(callback) for callback in (scoring, named[1])] == before
    assert not any(callback is scoring for callback in model.net_.callbacks)
    again = fit(callbacks=[scoring, named, GradientNormClipping])
    assert recorded(again, "auc") == recorded(model, "auc")


class Reports(Callback):
    """Tell each epoch's score to something outside of the fit, and raise after some epochs."""

    def __init__(self, told, n_epochs=None):
        self.told = told
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        self.told.append(net.history[-1, "valid_score"])
        if len(net.history) == self.n_epochs:
            raise RuntimeError("enough")


def test_callback_refers_to_the_object_that_it_was_given(fit):
    told = []
    assert fit(callbacks=[Reports(told)]).validation_scores_ == told


@pytest.mark.parametrize("fitted_before", [False, True])
def test_exception_of_a_callback_leaves_the_estimator_as_it_was(
    fitted_before, classifier, data, monkeypatch
):
    X, y, X_val, y_val = data
    if fitted_before:
        before = classifier.fit(X, y).predict_proba(X)
    monkeypatch.setattr(
        "sklearn_deepfm._training.weight_snapshot.LARGE", 1
    )  # the best weights are in a file
    told = []
    classifier.set_params(callbacks=[Reports(told, 9)], max_epochs=20, embedding_l2=0)
    with pytest.raises(RuntimeError, match="enough"):
        classifier.fit(X, y, X_val=X_val, y_val=y_val)
    gc.collect()  # would warn of a file that is left open
    assert told[-1] < max(told)
    assert hasattr(classifier, "net_") == fitted_before
    if fitted_before:
        np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert classifier.set_params(callbacks=None, max_epochs=3).fit(X, y).n_iter_ == 3


class Modes(Callback):
    """Record in which mode the module trains and validates each batch."""

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if not training:
            net.history.record("validated_before", True)

    def on_grad_computed(self, net, *args, **kwargs):
        modes = net.history[-1].get("modes", set())
        net.history.record("modes", modes | {net.module_.training})


def test_every_epoch_trains_in_training_mode(fit):
    model = fit(callbacks=[Modes()])
    assert recorded(model, "modes") == [{True}] * model.n_iter_
    assert recorded(model, "validated_before") == [True] * model.n_iter_
    assert model.n_iter_ > 1


class Sizes(Callback):
    """Record the sizes of both parts and the share of the second class in the held-out one."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        net.history.record("n_train", len(dataset_train))
        net.history.record("n_valid", len(dataset_valid))
        net.history.record("share", float(dataset_valid.y.mean()))


@pytest.mark.parametrize("estimator", [DeepFMClassifier, DeepFMRegressor])
@pytest.mark.parametrize(("fraction", "n_valid"), [(0.1, 40), (0.25, 100), (0.5, 200)])
def test_held_out_rows_are_a_fraction_stratified_by_class(fraction, n_valid, estimator):
    X = np.column_stack([np.arange(400), np.arange(400) % 7])
    y = (np.arange(400) % 10 == 0).astype(int)
    model = estimator(
        early_stopping=True, validation_fraction=fraction, max_epochs=1, callbacks=[Sizes()]
    ).fit(X, y)
    (epoch,) = model.history_
    assert (epoch["n_train"], epoch["n_valid"]) == (400 - n_valid, n_valid)
    if estimator is DeepFMClassifier:
        assert epoch["share"] == pytest.approx(0.1)


# Scores, best weights, stopping


@pytest.mark.parametrize("early_stopping", [True, False])
def test_best_weights_are_restored(early_stopping, fit, data):
    model = fit(early_stopping=early_stopping, n_iter_no_change=2)
    best = np.argmax(model.validation_scores_)
    assert best < model.n_iter_ - 1  # there is something to restore
    loss = log_loss(data[3], model.predict_proba(data[2]))
    assert loss == pytest.approx(-model.validation_scores_[best], abs=1e-6)
    assert (model.n_iter_ == 10) == (not early_stopping)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_epochs_without_gain(patience, fit):
    model = fit(n_iter_no_change=patience, max_epochs=20)
    assert model.n_iter_ == np.argmax(model.validation_scores_) + 1 + patience < 20
    # Nothing but the first score counts as a gain of 10.
    assert fit(n_iter_no_change=patience, tol=10).n_iter_ == 1 + patience


@pytest.mark.parametrize(("patience", "misses_allowed"), [(2, 0), (3, 0), (4, 1), (6, 2)])
def test_learning_rate_falls_tenfold_after_half_the_patience(patience, misses_allowed, fit):
    model = fit(n_iter_no_change=patience, max_epochs=16)
    expected, best, misses = [0.03], -np.inf, 0
    for score in model.validation_scores_:
        misses = misses + 1 if score <= best + 1e-6 else 0
        falls = misses > misses_allowed
        expected.append(expected[-1] / 10 if falls else expected[-1])
        best, misses = max(best, score), 0 if falls else misses
    np.testing.assert_allclose(recorded(model, "learning_rate"), expected[:-1])
    assert expected[-2] < 0.03
    assert set(recorded(fit(lr_schedule=None), "learning_rate")) == {0.03}


class Rates(Callback):
    """Collects the learning rate of each step in a list."""

    def __init__(self, rates):
        self.rates = rates

    def on_batch_begin(self, net, *, training, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_cosine_falls_from_step_to_step_and_ends_where_training_ends(early_stopping, fit):
    rates, n_steps = [], 4 * (N_TRAIN // 100)
    kept = {"lr_schedule": "cosine", "batch_size": 100, "max_epochs": 4, "n_iter_no_change": 4}
    model = fit(callbacks=[Rates(rates)], early_stopping=early_stopping, **kept)
    expected = 0.03 * (1 + np.cos(np.pi * np.arange(n_steps) / n_steps)) / 2
    np.testing.assert_allclose(rates, expected)
    np.testing.assert_allclose(recorded(model, "learning_rate"), expected[:: N_TRAIN // 100])


def test_cosine_needs_no_validation_rows_and_is_not_for_parts(classifier, data):
    X, y, *_ = data
    model = clone(classifier).set_params(lr_schedule="cosine", early_stopping=False, max_epochs=3)
    rates = recorded(model.fit(X, y), "learning_rate")
    assert rates[0] > rates[1] > rates[2] > 0
    parts = clone(model).partial_fit(X, y, classes=np.unique(y)).partial_fit(X, y)
    assert set(recorded(parts, "learning_rate")) == {rates[0]}


def mean_of_yes(estimator, X, y, sample_weight=None):
    """A scorer made by hand: the mean probability of what happened."""
    return estimator.predict_proba(X)[np.arange(len(y)), (y == "yes").astype(int)].mean()


SCORINGS = {
    "roc_auc": lambda y, proba: roc_auc_score(y, proba[:, 1]),
    "neg_log_loss": lambda y, proba: -log_loss(y, proba),
    "f1_macro": lambda y, proba: f1_score(y, by_hand(proba), average="macro"),
    make_scorer(f1_score, pos_label="yes"): lambda y, proba: f1_score(
        y, by_hand(proba), pos_label="yes"
    ),
    mean_of_yes: lambda y, proba: proba[np.arange(len(y)), (y == "yes").astype(int)].mean(),
}


def by_hand(proba):
    return np.where(proba[:, 1] > 0.5, "yes", "no")


@pytest.mark.parametrize(("scoring", "expected"), SCORINGS.items())
def test_validation_scores_are_those_of_the_scorer(scoring, expected, fit, data):
    model = fit(scoring=scoring, early_stopping=False)
    score = expected(data[3], model.predict_proba(data[2]))
    assert max(model.validation_scores_) == pytest.approx(score, abs=1e-4)
    assert len(set(model.validation_scores_)) > 1


def test_scoring_of_zeros_and_ones_by_name(classifier, data):
    X, y, X_val, y_val = data
    classifier.set_params(scoring="f1")
    classifier.fit(X, (y == "yes") + 0, X_val=X_val, y_val=(y_val == "yes") + 0)
    score = f1_score(y_val == "yes", classifier.predict(X_val))
    assert max(classifier.validation_scores_) == pytest.approx(score, abs=1e-4)


def test_regressor_is_scored_in_the_unit_of_its_target(regressor, data):
    X, y, X_val, y_val = data
    y, y_val = 1000 + 300.0 * (y == "yes"), 1000 + 300.0 * (y_val == "yes")
    regressor.set_params(scoring="neg_mean_absolute_error")
    regressor.fit(X, y, X_val=X_val, y_val=y_val)
    score = -mean_absolute_error(y_val, regressor.predict(X_val))
    assert max(regressor.validation_scores_) == pytest.approx(score, rel=1e-5)
    assert -300 < score < -1


@pytest.mark.parametrize("scoring", ["loss", "neg_log_loss"])
def test_weights_of_validation_rows_enter_their_score(scoring, fit, data):
    weights = np.random.default_rng(0).uniform(0, 3, len(data[3]))
    weights[data[3] == "no"] /= 100
    model = fit(weights, scoring=scoring, early_stopping=False)
    proba = model.predict_proba(data[2])
    loss = log_loss(data[3], proba, sample_weight=weights)
    assert -max(model.validation_scores_) == pytest.approx(loss, abs=1e-6)
    assert abs(loss - log_loss(data[3], proba)) > 1e-4


@pytest.mark.parametrize("class_weight", [{"yes": 5}, "balanced"])
def test_class_weights_enter_the_validation_score(class_weight, classifier, data):
    X, y, X_val, y_val = data
    keep = (y_val == "no") | (np.arange(len(y_val)) % 5 == 0)
    X_val, y_val = X_val[keep], y_val[keep]
    classifier.set_params(class_weight=class_weight).fit(X, y, X_val=X_val, y_val=y_val)
    # "balanced" goes by the training rows, so that both are judged by the same loss.
    # Balanced over the training rows, whatever the validation rows are like.
    factor = 5 if class_weight != "balanced" else (y == "no").sum() / (y == "yes").sum()
    weight = np.where(y_val == "yes", factor, 1)
    loss = log_loss(y_val, classifier.predict_proba(X_val), sample_weight=weight)
    assert -max(classifier.validation_scores_) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("n_distinct", "n_rows", "holds_out"),
    [(199, 199, False), (200, 200, True), (7, 12_000, True)],
)
def test_auto_early_stopping_counts_rows_whether_equal_or_not(n_distinct, n_rows, holds_out):
    X = (np.arange(n_rows) % n_distinct)[:, None]
    y = X[:, 0] % 2
    model = DeepFMClassifier(components=("linear",), max_epochs=1, batch_size=4096).fit(X, y)
    assert (model.validation_scores_ is not None) == holds_out
    model.set_params(early_stopping=False).fit(X, y)
    assert model.validation_scores_ is None


def test_auto_early_stopping_is_on_with_validation_rows(fit):
    model = fit(early_stopping="auto", max_epochs=40, n_iter_no_change=5)
    best = np.argmax(model.validation_scores_)
    assert model.n_iter_ == len(model.validation_scores_) == best + 6 < 40


# What is printed


def epoch_lines(out):
    """The lines after the table of the columns."""
    lines = out.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("epoch")) :]


def test_verbose_prints_a_line_per_epoch(fit, capsys):
    model = fit(verbose=1, scoring="roc_auc")
    lines = epoch_lines(capsys.readouterr().out)
    assert [int(line.split()[1]) for line in lines] == list(range(1, model.n_iter_ + 1))
    for line, epoch in zip(lines, model.history_, strict=True):
        assert f"train loss {epoch['train_loss']:.5f}" in line
        assert f"valid score {epoch['valid_score']:.5f}" in line


def test_silent_by_default(fit, capsys):
    fit()
    assert capsys.readouterr() == ("", "")


def test_lines_tell_the_time_left_where_there_is_no_terminal(fit, capsys):
    model = fit(verbose=2, max_epochs=3, early_stopping=False)
    out, err = capsys.readouterr()
    assert err == ""
    lines = epoch_lines(out)
    assert len(lines) == model.n_iter_ == 3
    assert all(re.search(r"at most \d+ s left$", line) for line in lines)
    assert lines[-1].endswith("at most 0 s left")
    assert out.isprintable() or set(out) - set(string.printable) == set()
    assert not set("\r\b\x1b") & set(out)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_lines_where_errors_go_nowhere(fit, stream, monkeypatch, capsys):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    fit(verbose=2, max_epochs=1)
    assert epoch_lines(capsys.readouterr().out)[0].startswith("epoch   1")


def test_warnings_point_at_the_line_that_called_fit():
    X = np.random.default_rng(0).integers(0, 50, (300, 2)).astype(float)
    with pytest.warns(UserWarning, match="whole numbers") as caught:
        DeepFMClassifier(max_epochs=1).fit(X, np.arange(300) % 2)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="'key' has 190 categories") as caught:
        OrdinalFieldEncoder().fit(pd.DataFrame({"key": [f"k{i % 190}" for i in range(200)]}))
    assert caught[0].filename == __file__


def test_bar_in_a_terminal():
    """A real process at the end of a pseudo-terminal."""
    code = (
        "import numpy as np; from sklearn_deepfm import DeepFMClassifier\n"
        "X = np.random.default_rng(0).integers(0, 9, (400, 3)); y = X[:, 0] > 4\n"
        "DeepFMClassifier(verbose=2, max_epochs=2, scoring='roc_auc', batch_size=100).fit(X, y)"
    )
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writer, stdout=subprocess.PIPE)
    os.close(writer)
    drawn = b""
    with contextlib.suppress(OSError):  # which tells that the process has ended
        while part := os.read(reader, 4096):
            drawn += part
    os.close(reader)
    out, _ = process.communicate()
    assert process.returncode == 0
    first, *columns = out.decode().splitlines()  # the table of the columns, above the bar
    assert first.split() == ["column", "kind", "values", "unknown", "table", "rows"]
    assert [line.split()[0] for line in columns] == [str(j) for j in range(len(columns))]
    drawn = drawn.decode()
    assert "epoch 1/2" in drawn
    assert "epoch 2/2: 100%" in drawn
    done, n_batches = re.findall(r"(\d+)/(\d+) \[", drawn)[-1]
    assert done == n_batches
    for figure in ("train loss 0.", "valid loss 0.", "valid score "):
        assert figure in drawn


def test_early_stopping_needs_a_row_to_hold_out():
    model = DeepFMClassifier(early_stopping=True)
    with (
        pytest.warns(UserWarning, match="Every class has too few rows"),
        pytest.raises(ValueError, match="early_stopping=True needs a row to hold out, got 2"),
    ):
        model.fit([[0], [1]], [0, 1])


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_auto_early_stopping_does_without_rows_to_hold_out():
    X = np.arange(300)[:, None]
    model = DeepFMClassifier(embed_dim=2, mlp_dims=(4,), max_epochs=1)
    with pytest.warns(UserWarning, match="Every class has too few rows"):
        model.fit(X, X[:, 0])
    assert model.validation_scores_ is None
