"""Training whose loss becomes no number stops, says why, and leaves the last good weights."""

import numpy as np
import pytest
from skorch.callbacks import Callback

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor


class Blowup(Callback):
    """From an epoch on, learn at a rate at which nothing stays finite."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, *args, **kwargs):
        if len(net.history) == self.epoch:
            for group in net.optimizer_.param_groups:
                group["lr"] = 1e30


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 30, (400, 3))
    return X, (X.sum(axis=1) + rng.normal(size=400) > 45).astype(int)


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """Where losses are; on a device they are read when the epoch ends, which runs anywhere."""
    if request.param == "device":
        for file in ("net", "step"):
            monkeypatch.setattr(f"sklearn_deepfm._training.{file}.is_at_hand", lambda loss: False)


# By this score, which equals the loss, no linear model stands beside the epochs.
PARAMS = {"random_state": 0, "batch_size": 32, "max_epochs": 6, "scoring": "neg_log_loss"}
TABLES = [{"sparse_updates": False}, {"sparse_updates": True}, {"n_members": 2}]


@pytest.mark.parametrize("table", TABLES, ids=str)
@pytest.mark.parametrize("ema_epochs", [0, 1.0])
def test_best_epoch_before_is_left(data, table, ema_epochs, place):
    params = PARAMS | table | {"ema_epochs": ema_epochs}
    model = DeepFMClassifier(callbacks=[Blowup(4)], **params)
    with pytest.warns(UserWarning, match=r"became (nan|inf) in epoch 4.*Training stopped; .*best"):
        model.fit(*data)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert model.n_iter_ == 3
    params["max_epochs"] = 3
    expected = DeepFMClassifier(**params).fit(*data)
    np.testing.assert_array_equal(model.predict_proba(data[0]), expected.predict_proba(data[0]))
    assert best == np.argmax(expected.validation_scores_) + 1


@pytest.mark.parametrize("table", TABLES, ids=str)
@pytest.mark.parametrize("ema_epochs", [0, 1.0])
@pytest.mark.parametrize("large", [2**28, 100], ids=["in memory", "on disk"])
def test_epoch_before_is_left_where_nothing_validates(data, table, ema_epochs, large, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._training.weight_snapshot.LARGE", large)
    params = PARAMS | table | {"ema_epochs": ema_epochs, "early_stopping": False}
    model = DeepFMClassifier(callbacks=[Blowup(4)], **params)
    with pytest.warns(UserWarning, match="the weights are those of epoch 3, the last one before"):
        model.fit(*data)
    params["max_epochs"] = 3
    expected = DeepFMClassifier(**params).fit(*data)
    X = np.concatenate([data[0], [[99, 0, 99], [0, 99, 0]]])  # codes that fit did not see
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_epoch_before_is_left_of_few_rows_that_go_on(data, table):
    """Of the table, training changes those of the rows' codes, and the first of each field."""
    X, y = data
    params = PARAMS | table | {"early_stopping": False, "warm_start": True, "batch_size": 4}
    models = [DeepFMClassifier(**{**params, "max_epochs": 1}).fit(X, y) for _ in range(2)]
    with pytest.warns(UserWarning, match="the weights are those of epoch 3, the last one before"):
        models[0].set_params(callbacks=[Blowup(4)], max_epochs=5).fit(X[:12], y[:12])
    models[1].set_params(max_epochs=2).fit(X[:12], y[:12])
    X = np.concatenate([X, [[99, 0, 99], [0, 99, 0]]])
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in models))


@pytest.mark.parametrize("early_stopping", [True, False])
def test_epoch_that_is_left_is_one_of_the_fit(data, early_stopping):
    """The epochs before it may have been scored or not."""
    model = DeepFMClassifier(warm_start=True, **PARAMS | {"early_stopping": not early_stopping})
    model.fit(*data).set_params(early_stopping=early_stopping, callbacks=[Blowup(8)])
    left = "best one before" if early_stopping else "last one before"
    with pytest.warns(UserWarning, match=f"became .* in epoch 8.* of epoch 7, the {left}"):
        model.fit(*data)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("scoring", ["loss", "roc_auc"])
def test_last_step_of_an_epoch_has_no_loss_after_it(data, early_stopping, scoring):
    """One batch an epoch: its loss is finite, and its step ruins the weights."""
    params = {"batch_size": 512, "early_stopping": early_stopping, "scoring": scoring}
    left = r"epoch [12], the (best|last)" if scoring != "loss" else r"a linear model|epoch [12],"
    model = DeepFMClassifier(learning_rate=1e30, max_epochs=1, **params)
    with pytest.raises(ValueError, match="The training loss became nan in epoch 1"):
        model.fit(*data)
    model = DeepFMClassifier(callbacks=[Blowup(3)], max_epochs=6, random_state=0, **params)
    with pytest.warns(UserWarning, match=rf"Training stopped; .* ({left})"):
        model.fit(*data)
    assert np.isfinite(model.predict_proba(data[0])).all()


def test_first_fit_that_diverges_at_once_changes_nothing(data, place):
    model = DeepFMClassifier(learning_rate=1e30, **PARAMS)
    divergence_message = (
        r"in epoch 1, with learning_rate=1e\+30: the likely cause .* Lower .* to 1e\+29 say"
    )
    with pytest.raises(ValueError, match=divergence_message):
        model.fit(*data)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("table", TABLES, ids=str)
@pytest.mark.parametrize("early_stopping", [True, False])
def test_fit_that_goes_on_and_diverges_leaves_the_weights_of_the_last_one(
    data, table, early_stopping
):
    params = PARAMS | table | {"early_stopping": early_stopping}
    model = DeepFMClassifier(warm_start=True, **params).fit(*data)
    before, n_iter = model.predict_proba(data[0]), model.n_iter_
    with pytest.raises(ValueError, match="The model is as it was before this call"):
        model.set_params(learning_rate=1e30).fit(*data)
    np.testing.assert_array_equal(model.predict_proba(data[0]), before)
    assert model.n_iter_ == n_iter
    model.set_params(learning_rate=1e-3).fit(*data)
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_part_of_a_stream_that_diverges_leaves_the_weights_before_it(data, table, place):
    X, y = data
    model = DeepFMClassifier(**PARAMS | table).partial_fit(X, y, classes=[0, 1])
    unseen = np.full((1, 3), 10**6)
    before, of_unseen = model.predict_proba(X), model.predict_proba(unseen)
    part = np.concatenate([X[:40, :2], X[:40, 2:] + 100], axis=1)  # with codes never seen
    with pytest.raises(ValueError, match="as it was before this call"):
        model.set_params(learning_rate=1e30, batch_size=8).partial_fit(part, y[:40])
    np.testing.assert_array_equal(model.predict_proba(X), before)
    np.testing.assert_array_equal(model.predict_proba(unseen), of_unseen)
    model.set_params(learning_rate=1e-3).partial_fit(part, y[:40])
    assert np.isfinite(model.predict_proba(X)).all()


def test_extreme_number_that_comes_in_is_named_as_the_cause(data, place):
    X, y = data
    embeddings = {0: np.full((30, 16), 1e30)}
    model = DeepFMClassifier(pretrained=embeddings, **PARAMS)
    with pytest.raises(ValueError, match="before a step was taken: .* Look at y, .* pretrained"):
        model.fit(X, y)


def test_low_precision_is_named_among_the_causes(data, recwarn):
    model = DeepFMRegressor(learning_rate=1e30, precision="bfloat16", **PARAMS)
    with pytest.raises(ValueError, match="too large, or precision='bfloat16'"):
        model.fit(*data)


class SpoilsOneRow(Callback):
    """What the last step of an epoch may do to a code that few rows have."""

    def on_batch_end(self, net, *, training, **kwargs):
        if training and len(net.history) == 2 and len(net.history[-1]["batches"]) == net.n_batches:
            net.module_.table.data[-1] = np.inf


@pytest.mark.parametrize("table", TABLES[:2], ids=str)
def test_weights_count_that_the_rows_looked_at_do_not_read(data, table):
    X, y = data
    X[:, 2] = np.minimum(X[:, 2], 28)
    X[1, 2] = 29  # row 1 is not among the 64 that are predicted
    params = PARAMS | table | {"ema_epochs": 0, "early_stopping": False}
    model = DeepFMClassifier(callbacks=[SpoilsOneRow()], **params)
    with pytest.warns(UserWarning, match="in epoch 2.*the last one before"):
        model.fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
