"""What training does to a model: weights of rows, precision, breaking off, codes it never saw."""

import contextlib
import copy
import multiprocessing
import os
import pickle
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import log_loss
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor


@pytest.fixture
def X(codes):
    return codes


@pytest.fixture
def y(visits):
    return visits[1]


def table_rows(X_train, X, field_dims):
    """By hand, the row of the table for each cell: seen codes in ascending order after row 0."""
    offsets = np.cumsum(field_dims) - field_dims
    seen = [np.unique(column) for column in X_train.T]
    rows = [np.searchsorted(s, column) + 1 for s, column in zip(seen, X.T, strict=True)]
    return np.column_stack(rows) + offsets


# The net that trained


def test_predictions_come_from_the_net_that_trained(classifier, X, y):
    classifier.fit(X, y)
    assert len(classifier.net_.history) == classifier.n_iter_ == classifier.max_epochs
    assert classifier.module_ is classifier.net_.module_
    logits = classifier.decision_function(X)
    with torch.no_grad():
        classifier.net_.module_.bias += 1
    np.testing.assert_allclose(classifier.decision_function(X), logits + 1, atol=1e-5)
    index = torch.from_numpy(table_rows(X, X, classifier.field_dims_))
    proba = classifier.module_.predict(index)[:, 0]
    np.testing.assert_allclose(classifier.predict_proba(X)[:, 1], proba, atol=1e-6)


def test_history_records_each_epoch(classifier, X, y):
    classifier.fit(X, y)
    assert [epoch["epoch"] for epoch in classifier.history_] == list(range(1, 9))
    assert classifier.loss_curve_ == [epoch["train_loss"] for epoch in classifier.history_]
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]
    assert {epoch["learning_rate"] for epoch in classifier.history_} == {0.03}
    assert all(epoch["dur"] > 0 for epoch in classifier.history_)
    assert classifier.validation_scores_ is None


def test_training_loss_is_that_of_the_model_without_penalties(classifier, X, y):
    """With steps too short to change anything, each epoch's loss is the model's."""
    classifier.set_params(
        learning_rate=1e-12, dropout=0, batch_norm=False, embedding_l2=1e6, weight_decay=1e6
    )
    losses = classifier.fit(X, y).loss_curve_
    np.testing.assert_allclose(losses, log_loss(y, classifier.predict_proba(X)), rtol=1e-4)


@pytest.mark.parametrize("max_epochs", [1, 3])
def test_epochs_are_as_many_as_asked_for(max_epochs, classifier, X, y):
    assert classifier.set_params(max_epochs=max_epochs).fit(X, y).n_iter_ == max_epochs


def test_row_sparse_updates_learn_as_well_as_dense_ones(classifier, X, y):
    dense, sparse = (
        clone(classifier).set_params(sparse_updates=flag).fit(X, y) for flag in (False, True)
    )
    assert not dense.module_.sparse
    assert sparse.module_.sparse
    assert sparse.loss_curve_[-1] == pytest.approx(dense.loss_curve_[-1], rel=0.15)
    assert sparse.loss_curve_[-1] < 0.7 * sparse.loss_curve_[0]
    assert sparse.loss_curve_ != dense.loss_curve_


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is many times slower")
def test_bfloat16_trains_and_predictions_are_float32(classifier, X, y):
    exact, low = (
        clone(classifier).set_params(precision=name).fit(X, y) for name in ("float32", "bfloat16")
    )
    assert low.loss_curve_ != exact.loss_curve_
    assert low.loss_curve_[-1] == pytest.approx(exact.loss_curve_[-1], rel=0.15)
    assert {p.dtype for p in low.module_.parameters()} == {torch.float32}
    index = torch.from_numpy(table_rows(X, X, low.field_dims_))
    with torch.no_grad():
        double = copy.deepcopy(low.module_).double()(index)[:, 0]
    np.testing.assert_allclose(low.decision_function(X), double, atol=1e-4)


# Weights


@pytest.mark.parametrize("class_weight", [{"yes": 4}, {"no": 0.25, "yes": 2}, "balanced"])
def test_class_weight_is_a_sample_weight(class_weight, classifier, X, y):
    keep = (y == "no") | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], y[keep]
    factors = class_weight
    if class_weight == "balanced":
        factors = {label: len(y) / (2 * np.sum(y == label)) for label in ("no", "yes")}
    weight = np.array([factors.get(label, 1) for label in y])
    by_class = clone(classifier).set_params(class_weight=class_weight).fit(X, y)
    by_row = clone(classifier).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), atol=1e-4)
    plain = classifier.fit(X, y).predict_proba(X)[:, 1].mean()
    assert by_class.predict_proba(X)[:, 1].mean() > plain + 0.02


def test_weights_enter_the_training_loss(classifier, X, y):
    weight = np.random.default_rng(0).uniform(0, 5, len(y))
    classifier.set_params(learning_rate=1e-12, dropout=0, batch_norm=False, max_epochs=1)
    (loss,) = classifier.fit(X, y, sample_weight=weight).loss_curve_
    expected = log_loss(y, classifier.predict_proba(X), sample_weight=weight)
    assert loss == pytest.approx(expected, rel=1e-4)


# Breaking off


class Interrupt(Callback):
    """What Ctrl-C does, in the middle of the third epoch."""

    def on_batch_begin(self, net, training=None, **kwargs):
        if len(net.history) == 3 and len(net.history[-1, "batches"]) == 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interrupted_fit_leaves_a_usable_model(early_stopping, classifier, X, y):
    classifier.set_params(callbacks=[Interrupt()], early_stopping=early_stopping)
    with pytest.warns(UserWarning, match="interrupted after 2 full epochs"):
        classifier.fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 2
    assert not classifier.module_.training
    assert log_loss(y, classifier.predict_proba(X)) < 0.7
    loaded = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))


def test_interrupted_fit_keeps_the_best_weights_so_far(classifier, X, y):
    classifier.set_params(callbacks=[Interrupt()], learning_rate=0.1, embedding_l2=0)
    with pytest.warns(UserWarning, match="interrupted"):
        classifier.fit(X[:900], y[:900], X_val=X[900:], y_val=y[900:])
    loss = log_loss(y[900:], classifier.predict_proba(X[900:]))
    assert loss == pytest.approx(-max(classifier.validation_scores_), abs=1e-6)
    assert len(classifier.validation_scores_) == 2


def trains_until_stopped(path):
    X = np.random.default_rng(0).integers(0, 9, (2000, 3))
    model = DeepFMClassifier(max_epochs=100_000, verbose=1)
    with (
        open(path, "w", buffering=1) as output,
        contextlib.redirect_stdout(output),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        model.fit(X, X[:, 0] > X[:, 1])
        messages = [str(warning.message) for warning in caught]
        assert any(f"after {model.n_iter_} full epochs" in text for text in messages), messages
        assert model.score(X, X[:, 0] > X[:, 1]) > 0.4
        output.write(f"usable after {model.n_iter_}")


def test_interrupt_signal_stops_a_fit(tmp_path):
    os.mkfifo(tmp_path / "output")
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=trains_until_stopped, args=[tmp_path / "output"])
    process.start()
    with open(tmp_path / "output") as output:
        # The table of the columns comes first.
        assert any(line.startswith("epoch   1") for line in iter(output.readline, ""))
        os.kill(process.pid, signal.SIGINT)
        last = output.read().splitlines()[-1]
    process.join()
    assert process.exitcode == 0
    assert last.startswith("usable after")
    assert int(last.split()[-1]) >= 1


# Codes that fit did not see


def test_unseen_code_is_predicted_as_the_average_one(classifier, X, y):
    rng = np.random.default_rng(0)
    X = X.copy()
    X[:, 0] = rng.choice([2, 3, 4], size=len(X), p=[0.7, 0.2, 0.1])
    weight = rng.integers(1, 4, len(X))
    classifier.fit(X, y, sample_weight=weight)
    unseen = X.copy()
    unseen[:, 0] = 99
    expected = classifier.decision_function(unseen)

    frequency = np.bincount(X[:, 0], weights=weight)[2:]
    with torch.no_grad():
        table = classifier.module_.table
        mean = torch.from_numpy(frequency / frequency.sum()).float() @ table[1:4]
        table[2] = mean  # the row of code 3
    X[:, 0] = 3
    np.testing.assert_allclose(classifier.decision_function(X), expected, atol=1e-5)
    assert np.ptp(frequency) > 100


def test_code_of_weightless_rows_alone_is_unseen(classifier, X, y):
    X = X.copy()
    X[:50, 0] = 88
    weight = np.ones(len(X))
    weight[:50] = 0
    classifier.fit(X, y, sample_weight=weight)
    other = X.copy()
    other[:50, 0] = 99
    np.testing.assert_array_equal(classifier.predict_proba(X), classifier.predict_proba(other))


# Numbers as a target


def test_regressor_follows_shift_and_scale_of_its_target(regressor, X, y):
    amount = (y == "yes") + 0.1 * X[:, 2]
    first = clone(regressor).fit(X, amount).predict(X)
    second = clone(regressor).fit(X, 1000 * amount + 5).predict(X)
    np.testing.assert_allclose(second, 1000 * first + 5, rtol=1e-4)
    assert np.corrcoef(first, amount)[0, 1] > 0.8


def test_regressor_learns_a_weighted_mean(X):
    """With nothing to tell rows apart the prediction is the mean by weight."""
    X = np.zeros((200, 1), dtype=int)
    y = np.arange(200.0)
    weight = np.where(y < 100, 3.0, 1.0)
    model = DeepFMRegressor(max_epochs=1, learning_rate=1e-6, random_state=0)
    prediction = model.fit(X, y, sample_weight=weight).predict(X[:1])
    assert prediction[0] == pytest.approx(np.average(y, weights=weight), abs=1)


def test_classifier_starts_at_the_weighted_base_rate(X):
    model = DeepFMClassifier(max_epochs=1, learning_rate=1e-9, batch_norm=False, random_state=0)
    y = np.arange(len(X)) % 10 == 0
    weight = np.where(y, 2.25, 1)
    proba = model.fit(X, y, sample_weight=weight).predict_proba(X)[:, 1]
    np.testing.assert_allclose(proba, 0.2, atol=0.01)


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_cpu_without_bfloat16_warns(capability, classifier, X, y, monkeypatch, recwarn):
    monkeypatch.setattr("sklearn_deepfm._training.devices._cpu_capability", lambda: capability)
    classifier.set_params(max_epochs=1).fit(X, y)
    assert not recwarn.list
    classifier.set_params(precision="bfloat16").fit(X, y)
    assert [str(w.message)[:40] for w in recwarn] == [
        "precision='bfloat16' is many times slower"[:40]
    ] * (capability == "AVX2")


def test_adagrad_learns_and_keeps_one_number_a_row(classifier, X, y):
    classifier.set_params(table_optimizer="adagrad", warm_start=True).fit(X, y)
    (table,) = classifier.net_.optimizer_.param_groups[0]["params"]
    state = classifier.net_.optimizer_.state[table]
    assert {name: tuple(t.shape) for name, t in state.items() if t.ndim} == {
        "last_step": (len(table),),
        "sum": (len(table), 1),
    }
    assert classifier.loss_curve_[-1] < 0.7 * classifier.loss_curve_[0]


@pytest.mark.parametrize("flag", [True, np.bool_(True), "auto"])
def test_adagrad_takes_any_flag_that_is_true(flag, classifier, X, y):
    classifier.set_params(table_optimizer="adagrad", sparse_updates=flag, max_epochs=1).fit(X, y)
    assert classifier.module_.sparse is True


def test_adagrad_is_for_the_rows_of_a_batch(classifier, X, y):
    classifier.set_params(table_optimizer="adagrad", sparse_updates=False)
    with pytest.raises(ValueError, match="needs sparse_updates=True or 'auto', got False"):
        classifier.fit(X, y)


@pytest.mark.parametrize("params", [{}, {"sparse_updates": True}, {"table_optimizer": "adagrad"}])
def test_fits_in_threads_equal_fits_in_turn(params, classifier, X, y, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._model.field_terms.MANY_CELLS", 0)
    classifier.set_params(**params)
    models = [clone(classifier).set_params(random_state=seed, max_epochs=2) for seed in range(4)]
    in_turn = [clone(model).fit(X, y).predict_proba(X) for model in models]
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda model: model.fit(X, y), models))
    for model, expected in zip(fitted, in_turn, strict=True):
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_fit_leaves_the_number_of_threads_alone(classifier, X, y):
    before = torch.get_num_threads(), torch.get_num_interop_threads()
    classifier.set_params(max_epochs=1, sparse_updates=True).fit(X, y).predict(X)
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == before


@pytest.mark.parametrize(("n_codes", "expected"), [(65_000, False), (66_000, True)])
def test_auto_updates_a_batchs_rows_in_large_tables_only(n_codes, expected):
    X = np.arange(n_codes)[:, None].repeat(2, axis=1) // [1, n_codes]
    model = DeepFMClassifier(mlp_dims=(), embed_dim=1, max_epochs=1, batch_size=4096)
    model.set_params(early_stopping=False, categorical_features=[0, 1]).fit(X, X[:, 0] % 2)
    assert model.module_.sparse is expected
    assert (len(model.module_.table) > 2**16) is expected


@pytest.mark.parametrize("n_members", [1, 2])
def test_more_epochs_begin_as_fewer_do(n_members, classifier, X, y):
    """What a search by successive halving rests on, with `max_epochs` as its resource."""

    def losses(max_epochs):
        model = clone(classifier).set_params(max_epochs=max_epochs, n_members=n_members)
        history = model.set_params(early_stopping=True).fit(X, y).history_
        return [(epoch["train_loss"], epoch["valid_loss"]) for epoch in history]

    assert losses(4)[:2] == losses(2)


class Sizes(TorchDispatchMode):
    """Number of elements of the largest tensor that an operation has made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        # A view, or a tensor changed in place, is no new one.
        if isinstance(found, torch.Tensor) and not func._schema.returns[0].alias_info:
            self.largest = max(self.largest, found.numel())
        return found


class AfterTheFirstStep(Callback):
    """Watches the steps of training but the first, which makes the state of the optimizer."""

    def __init__(self, sizes):
        self.sizes = sizes

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training and net.history[-1].get("batches", [{}])[1:]:
            self.sizes.__enter__()
            self.is_watching = True

    def on_batch_end(self, net, batch, training, **kwargs):
        if vars(self).pop("is_watching", False):
            self.sizes.__exit__(None, None, None)


@pytest.mark.parametrize("table_optimizer", ["adam", "adagrad"])
def test_step_of_a_large_table_makes_nothing_that_grows_with_it(table_optimizer):
    rng = np.random.default_rng(0)
    found = []
    for n_codes in (1_000, 6_000):
        X = np.column_stack([np.arange(6_000) % n_codes, rng.integers(0, 9, 6_000)])
        sizes = Sizes()
        DeepFMClassifier(
            sparse_updates=True,
            table_optimizer=table_optimizer,
            embed_dim=4,
            mlp_dims=(8,),
            batch_size=200,
            max_epochs=1,
            early_stopping=False,
            callbacks=[AfterTheFirstStep(sizes)],
            random_state=0,
        ).fit(X, X[:, 1] % 2)
        found.append(sizes.largest)
    assert found[0] == found[1] < 6_000  # the cells of a batch, with their embeddings
