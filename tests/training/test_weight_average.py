"""The average of the weights, against sums over all steps."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._model import touched_rows
from sklearn_deepfm._model.layers import BatchNorm
from sklearn_deepfm._model.touched_rows import TouchedRows
from sklearn_deepfm._training.weight_average import WeightAverage

N_ROWS, WIDTH = 7, 3


def steps(rng, n_steps):
    """Tables and other weights after each step; a step changes some rows only, the last none."""
    table, other = rng.normal(size=(N_ROWS, WIDTH)), rng.normal(size=4)
    for _ in range(n_steps):
        rows = np.flatnonzero(rng.random(N_ROWS - 1) < 0.4)
        before, table, other = table.copy(), table.copy(), other + rng.normal(size=4)
        table[rows] += rng.normal(size=(len(rows), WIDTH))
        yield before, rows, table, other


def by_hand(history, decay):
    weight = decay ** np.arange(len(history))[::-1]
    return np.tensordot(weight / weight.sum(), np.stack(history), 1)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("n_steps", [1, 2, 40])
@pytest.mark.parametrize("rows_at_once", [2, 1000])
def test_average_is_the_weighted_sum_over_the_steps(
    rows_at_once, n_steps, decay, by_rows, rng, monkeypatch
):
    monkeypatch.setattr(touched_rows, "IN_CACHE", rows_at_once * WIDTH)
    table, other = torch.zeros(N_ROWS, WIDTH).double(), torch.zeros(4).double()
    average = WeightAverage([table, other], decay, by_rows=by_rows)
    tables, others = [], []
    for before, rows, after, more in steps(rng, n_steps):
        table.copy_(torch.from_numpy(after))
        other.copy_(torch.from_numpy(more))
        average.update(TouchedRows(torch.from_numpy(rows), torch.from_numpy(before[rows])))
        tables.append(after)
        others.append(more)
    average.apply()
    assert_allclose(table, by_hand(tables, decay), atol=1e-12)
    assert_allclose(other, by_hand(others, decay), atol=1e-12)
    average.apply()  # which changes nothing
    assert_allclose(table, by_hand(tables, decay), atol=1e-12)
    average.restore()
    assert_array_equal(table, tables[-1])
    assert_array_equal(other, others[-1])


@pytest.mark.parametrize("by_rows", [False, True])
def test_average_goes_on_after_it_was_looked_at(by_rows, rng):
    """As after each epoch, for the validation rows."""
    models = []
    for looks in (False, True):
        table, other = torch.zeros(N_ROWS, WIDTH).double(), torch.zeros(4).double()
        average = WeightAverage([table, other], 0.9, by_rows=by_rows)
        for i, (before, rows, after, more) in enumerate(steps(np.random.default_rng(0), 30)):
            average.restore()
            table.copy_(torch.from_numpy(after))
            other.copy_(torch.from_numpy(more))
            average.update(TouchedRows(torch.from_numpy(rows), torch.from_numpy(before[rows])))
            if looks and i % 7 == 3:
                average.apply()
        average.apply()
        models.append((table, other))
    for one, two in zip(*models, strict=True):
        assert_allclose(one, two, atol=1e-12)


def test_no_step_no_average():
    table = torch.ones(2, 1)
    average = WeightAverage([table], 0.5)
    average.apply()
    assert_array_equal(table, [[1], [1]])


def test_every_few_steps_count_alone():
    weight = torch.zeros(1)
    average = WeightAverage([weight], 0.5, every=3)
    for value in range(1, 8):
        weight.fill_(value)
        average.update(None)
    average.apply()  # steps 1, 3 and 6
    assert weight.item() == pytest.approx((0.25 * 1 + 0.5 * 3 + 6) / 1.75)


# In the estimators


def test_without_average_the_last_weights_predict(classifier, codes, visits):
    """Averaged weights are others; with a horizon of a moment they are the last ones."""
    models = {
        epochs: clone(classifier).set_params(ema_epochs=epochs, batch_norm=False)
        for epochs in (0, 1e-9, 1)
    }
    tables = {e: m.fit(codes, visits[1]).module_.table.detach() for e, m in models.items()}
    assert_array_equal(tables[0], tables[1e-9])
    assert models[0].loss_curve_ == models[1].loss_curve_  # training does not see it
    assert (tables[0] - tables[1]).abs().max() > 1e-3


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_weights_are_averaged_over_the_steps(sparse_updates, classifier, codes, visits):
    """Of a whole fit, against copies that a callback takes after each step."""
    taken = []

    class Copies(Callback):
        def on_batch_end(self, net, training, **kwargs):
            taken.append(copy.deepcopy(dict(net.module_.named_parameters())))

    classifier.set_params(
        callbacks=[Copies], max_epochs=3, ema_epochs=0.5, sparse_updates=sparse_updates
    )
    classifier.fit(codes, visits[1])
    steps_of_epoch = len(taken) / 3
    decay = np.exp(-1 / (0.5 * steps_of_epoch))
    fields = classifier._fields
    for name, parameter in classifier.module_.named_parameters():
        expected = by_hand([weights[name].detach().numpy() for weights in taken], decay)
        rows = slice(None)
        if name == "table":  # the rows of unseen codes are means of others
            rows = np.setdiff1d(np.arange(len(expected)), fields.offsets)
        assert_allclose(parameter.detach()[rows], expected[rows], atol=2e-5)


def test_hidden_units_are_normalised_as_the_averaged_weights_make_them(classifier, codes, visits):
    """Their mean and variance over the training rows, not those of the weights in training."""
    classifier.set_params(dropout=0).fit(codes, visits[1])
    module = classifier.module_
    norm = next(layer for layer in module.modules() if isinstance(layer, BatchNorm))
    linear = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    index, _, _ = classifier._fields.encode(codes)
    with torch.no_grad():
        hidden = linear(module.member_terms(torch.from_numpy(index))[1].flatten(1))
    assert_allclose(norm.running_mean, hidden.mean(0), atol=1e-4)
    assert_allclose(norm.running_var, hidden.var(0), rtol=1e-3)


def test_partial_fit_takes_the_last_weights(classifier, codes, visits):
    models = [clone(classifier).set_params(ema_epochs=epochs) for epochs in (0, 5)]
    y = visits[1]
    proba = [m.partial_fit(codes, y, classes=["no", "yes"]).predict_proba(codes) for m in models]
    assert_array_equal(*proba)


@pytest.mark.parametrize("seed", range(3))
def test_best_weights_are_those_that_were_validated(seed, classifier, codes, visits):
    """The averaged ones of the best epoch, which give its score again."""
    from sklearn.metrics import log_loss

    y = visits[1]
    classifier.set_params(
        early_stopping=True, max_epochs=60, embedding_l2=0, learning_rate=0.1, random_state=seed
    )
    classifier.fit(codes[:800], y[:800], X_val=codes[800:], y_val=y[800:])
    loss = log_loss(y[800:], classifier.predict_proba(codes[800:]))
    assert -max(classifier.validation_scores_) == pytest.approx(loss, abs=1e-6)
    assert np.argmax(classifier.validation_scores_) + 6 == classifier.n_iter_ < 60


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_batches_of_one_row_are_trained_as_they_are_predicted(rng):
    """Such a batch has no statistics of its own, and averaging leaves training alone."""
    X, y = rng.integers(0, 5, (300, 2)) + 5 * np.arange(300)[:, None], np.arange(300) % 2
    params = {"embed_dim": 2, "mlp_dims": (4,), "max_epochs": 3, "random_state": 0}
    curves = [
        DeepFMClassifier(batch_size=1, ema_epochs=e, lr_schedule=None, **params).fit(X, y)
        for e in (0, 1)
    ]
    assert curves[0].loss_curve_ == curves[1].loss_curve_


@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("ema_epochs", [1e-300, 1e-3, 1e3, 1e17, 1e308])
def test_any_horizon_is_an_average(ema_epochs, sparse_updates, classifier, codes, visits):
    """Of equally many weights from each step, if it is long."""
    classifier.set_params(ema_epochs=ema_epochs, sparse_updates=sparse_updates, max_epochs=3)
    proba = classifier.fit(codes, visits[1]).predict_proba(codes)
    assert np.isfinite(proba).all()
    assert proba.std() > 0.01


def test_training_does_not_see_that_it_is_validated(classifier, codes, visits):
    """Statistics of hidden units included, which are put back with the weights."""
    y = visits[1]
    with_rows, without = (clone(classifier).set_params(lr_schedule=None) for _ in range(2))
    with_rows.fit(codes[:800], y[:800], X_val=codes[800:], y_val=y[800:])
    without.set_params(ema_epochs=0).fit(codes[:800], y[:800])
    assert with_rows.loss_curve_ == without.loss_curve_


def test_callbacks_see_the_weights_that_would_predict(classifier, codes, visits):
    tables = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            tables.append(net.module_.table.detach().clone())

    model = classifier.set_params(callbacks=[Look]).fit(codes, visits[1])
    rows = np.setdiff1d(np.arange(len(tables[0])), model._fields.offsets)
    assert_array_equal(tables[-1][rows], model.module_.table.detach()[rows])


class Pickled(Callback):
    nets = []

    def on_epoch_end(self, net, **kwargs):
        self.nets.append(pickle.dumps(net))


def test_net_pickled_during_a_fit_holds_no_rows(classifier, codes, visits):
    classifier.set_params(callbacks=[Pickled], max_epochs=2, n_members=2, early_stopping=True)
    classifier.fit(codes, visits[1])
    assert len(Pickled.nets) == 2
    for net in map(pickle.loads, Pickled.nets):
        assert net.average is None
        assert net._trained_on is None
        assert not net.unseen
