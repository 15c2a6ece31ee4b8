"""Going on with a model: warm starts and partial fits, codes that turn up later."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from sklearn_deepfm import DeepFMClassifier

STILL = 1e-12  # a learning rate at which nothing moves


@pytest.fixture
def first(codes, visits):
    """Half of the rows, without the larger codes of the first and the third field."""
    keep = (codes[:, 0] < 30) & (codes[:, 2] < 10)
    return codes[keep], visits[1][keep]


@pytest.fixture
def then(codes, visits):
    """All rows: codes not in `first` among them."""
    return codes, visits[1]


def rows_of(model, field):
    """Rows of the table that belong to a field: the one for unseen codes, then seen ones."""
    end = int(np.cumsum(model.field_dims_)[field])
    return model.module_.table.detach()[end - int(model.field_dims_[field]) : end].clone()


def counts(X, field):
    return torch.from_numpy(np.unique(X[:, field], return_counts=True)[1]).float()


def start_over(classifier, way):
    """Two calls that go on from each other, as (begin, go on)."""
    if way == "warm_start":
        classifier.set_params(warm_start=True)
        return classifier.fit, classifier.fit
    return (
        lambda X, y: classifier.partial_fit(X, y, classes=["no", "yes"]),
        classifier.partial_fit,
    )


WAYS = ["warm_start", "partial_fit"]
ALL = [0, 1, 2, 3, 4]  # columns, none of which is asked whether neighbours share rows


# Both ways of going on


@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_table_grows_and_learned_rows_keep_their_weights(
    way, sparse_updates, classifier, first, then
):
    classifier.set_params(sparse_updates=sparse_updates, embedding_l2=0, categorical_features=ALL)
    begin, go_on = start_over(classifier, way)
    begin(*first)
    dims = classifier.field_dims_
    assert dims.tolist() == [len(np.unique(column)) + 1 for column in first[0].T]
    before = [rows_of(classifier, field) for field in range(5)]
    classifier.set_params(learning_rate=STILL)
    go_on(*then)

    assert classifier.field_dims_.tolist() == [len(np.unique(column)) + 1 for column in then[0].T]
    assert (classifier.field_dims_ > dims)[[0, 2]].all()
    for field, old in enumerate(before):
        new = rows_of(classifier, field)
        torch.testing.assert_close(new[1 : len(old)], old[1:], rtol=0, atol=1e-6)
        # What is new starts as the average of what was known.
        share = counts(first[0], field) / len(first[0])
        average = (share @ old[1:]).expand(len(new) - len(old), -1)
        torch.testing.assert_close(new[len(old) :], average, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_row_of_unseen_codes_counts_all_calls(way, classifier, first, then):
    classifier.set_params(categorical_features=ALL)
    begin, go_on = start_over(classifier, way)
    begin(*first)
    go_on(*then)
    for field in range(5):
        row, *seen = rows_of(classifier, field)
        known = np.unique(first[0][:, field])
        codes, frequency = np.unique(then[0][:, field], return_counts=True)
        frequency += [np.sum(first[0][:, field] == code) for code in codes]
        # Rows of codes that came later stand after the others.
        order = np.argsort(~np.isin(codes, known), kind="stable")
        share = torch.from_numpy(frequency[order] / frequency.sum()).float()
        torch.testing.assert_close(row, share @ torch.stack(seen), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dropout", [0, 0.3])
@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_pickle_in_between_changes_nothing(way, sparse_updates, dropout, classifier, first, then):
    classifier.set_params(dropout=dropout, sparse_updates=sparse_updates, max_epochs=2)
    begin, _ = start_over(classifier, way)
    begin(*first)
    loaded = pickle.loads(pickle.dumps(classifier))
    for model in (classifier, loaded):
        go_on = model.fit if way == "warm_start" else model.partial_fit
        go_on(*then)
        go_on(*first)
    np.testing.assert_array_equal(loaded.predict_proba(then[0]), classifier.predict_proba(then[0]))
    assert loaded.loss_curve_ == classifier.loss_curve_


@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_new_codes_are_learned(way, sparse_updates, classifier, first, then):
    classifier.set_params(sparse_updates=sparse_updates)
    begin, go_on = start_over(classifier, way)
    passes = 1 if way == "warm_start" else 8
    for _ in range(passes):
        begin(*first)
    new = ~(then[0] == first[0][:, None]).all(2).any(0)
    X, y = then[0][new], then[1][new]
    before = roc_auc_score(y, classifier.predict_proba(X)[:, 1])
    for _ in range(passes):
        go_on(*then)
    assert roc_auc_score(y, classifier.predict_proba(X)[:, 1]) > max(0.8, before + 0.05)


# Warm start


def test_warm_start_goes_on_where_the_last_fit_ended(classifier, then):
    """With averaged weights it goes on from these; the weights of the last step add up."""
    classifier.set_params(ema_epochs=0)
    cold = clone(classifier).fit(*then)
    warm = classifier.set_params(warm_start=True, max_epochs=4).fit(*then)
    middle = warm.loss_curve_[-1]
    warm.fit(*then)
    assert warm.n_iter_ == len(warm.history_) == 8
    assert [epoch["epoch"] for epoch in warm.history_] == list(range(1, 9))
    assert max(warm.loss_curve_[4:]) < warm.loss_curve_[0]
    assert warm.loss_curve_[4] < middle + 0.05
    # The optimizer's state went along too: the two halves are one fit of 8 epochs.
    assert warm.loss_curve_ == cold.loss_curve_


def test_without_warm_start_fit_starts_over(classifier, then):
    once = classifier.fit(*then).predict_proba(then[0])
    classifier.partial_fit(*then)
    np.testing.assert_array_equal(classifier.fit(*then).predict_proba(then[0]), once)
    assert classifier.n_iter_ == classifier.max_epochs


def test_warm_start_restarts_the_learning_rate_and_the_best_score(classifier, then):
    X, y = then
    classifier.set_params(warm_start=True, n_iter_no_change=3, tol=1e9)
    validation = {"X_val": X[900:], "y_val": y[900:]}
    classifier.fit(X[:900], y[:900], **validation)
    n_first = classifier.n_iter_
    rates = [epoch["learning_rate"] for epoch in classifier.history_]
    assert min(rates) < 0.03
    classifier.fit(X[:900], y[:900], **validation)
    assert classifier.history_[n_first]["learning_rate"] == 0.03


# Partial fit


def test_first_partial_fit_needs_all_classes(first):
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        DeepFMClassifier().partial_fit(*first)


def test_partial_fit_knows_classes_that_come_later(classifier, first):
    X, y = first
    only_no = y == "no"
    classifier.partial_fit(X[only_no], y[only_no], classes=["yes", "no", "maybe"])
    assert classifier.classes_.tolist() == ["maybe", "no", "yes"]
    assert classifier.predict_proba(X).shape == (len(X), 3)
    for _ in range(6):
        classifier.partial_fit(X, y)
    assert roc_auc_score(y == "yes", classifier.predict_proba(X)[:, 2]) > 0.8
    assert classifier.predict_proba(X)[:, 0].max() < 0.2


def test_label_that_is_no_class_is_an_error(classifier, first):
    X, y = first
    classifier.partial_fit(X, y, classes=["no", "yes"])
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="'maybe', which is none of the classes"):
        classifier.partial_fit(X, np.where(y == "yes", "maybe", y))
    with pytest.raises(ValueError, match="classes must be the same in every call"):
        classifier.partial_fit(X, y, classes=["no", "maybe"])
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert classifier.n_iter_ == 1


def test_partial_fits_are_the_epochs_of_one_fit(classifier, then):
    """On the same rows; only the order in which they are drawn goes on."""
    whole = clone(classifier).set_params(ema_epochs=0).fit(*then)
    for _ in range(8):
        classifier.partial_fit(*then, classes=["no", "yes"])
    assert classifier.n_iter_ == 8
    assert classifier.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(classifier.predict_proba(then[0]), whole.predict_proba(then[0]))


def test_partial_fit_after_fit_is_the_same_for_a_loaded_model(classifier, first, then):
    """Both begin with a new optimizer: fit keeps its state for a warm start only."""
    classifier.set_params(dropout=0, max_epochs=2).fit(*first)
    loaded = pickle.loads(pickle.dumps(classifier))
    expected = loaded.partial_fit(*then).predict_proba(then[0])
    np.testing.assert_array_equal(classifier.partial_fit(*then).predict_proba(then[0]), expected)
    assert classifier.n_iter_ == 3


def test_partial_fit_takes_weights(classifier, first):
    X, y = first
    weight = np.where(y == "yes", 5.0, 1.0)
    plain = clone(classifier)
    for _ in range(4):
        classifier.partial_fit(X, y, classes=["no", "yes"], sample_weight=weight)
        plain.partial_fit(X, y, classes=["no", "yes"])
    shift = classifier.predict_proba(X)[:, 1].mean() - plain.predict_proba(X)[:, 1].mean()
    assert shift > 0.1


def test_regressor_keeps_the_scale_of_the_first_call(regressor, first, then):
    def amount(rows):
        return 500 + 100.0 * (rows[1] == "yes") + rows[0][:, 2]

    regressor.partial_fit(first[0], amount(first))
    y, scores = amount(first), np.array([[0.0], [1.0]])
    np.testing.assert_allclose(regressor._target.predict(scores), [y.mean(), y.mean() + y.std()])
    for _ in range(15):
        regressor.partial_fit(then[0], amount(then))
    assert abs(amount(then).mean() - y.mean()) > 1
    np.testing.assert_allclose(regressor._target.predict(scores), [y.mean(), y.mean() + y.std()])
    assert regressor.score(then[0], amount(then)) > 0.5
    assert regressor.n_iter_ == 16
