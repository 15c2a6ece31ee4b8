"""What a model is once it is fitted: saved and loaded, shared by threads, the same every time."""

import copy
import io
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._estimators.prediction import BATCH_SIZE as PREDICT_BATCH_SIZE


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


ROUND_TRIPS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "cloudpickle": lambda model: pickle.loads(cloudpickle.dumps(model)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture
def binary(classifier, codes, visits):
    return classifier.set_params(early_stopping=True).fit(codes, visits[1])


def same_codes(n_rows, seed=0):
    """Rows that hold every code of a fixed vocabulary, each at least once, and a target."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 50, size=(n_rows, 4))
    X[:50] = np.arange(50)[:, None]
    return X, X[:, 0] % 2 ^ (X[:, 1] > 20)


# Saving and loading


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_loaded_classifier_is_the_same(round_trip, binary, codes):
    loaded = round_trip(binary)
    np.testing.assert_array_equal(loaded.predict_proba(codes), binary.predict_proba(codes))
    np.testing.assert_array_equal(loaded.predict(codes), binary.predict(codes))
    assert loaded.get_params() == binary.get_params()
    assert loaded.history_ == binary.history_
    assert loaded.n_iter_ == binary.n_iter_ > 1
    assert loaded.loss_curve_ == binary.loss_curve_
    assert loaded.validation_scores_ == binary.validation_scores_
    assert loaded.classes_.tolist() == ["no", "yes"]
    assert not loaded.module_.training


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_loaded_regressor_is_the_same(round_trip, regressor, codes):
    regressor.fit(codes, 10 + 3.0 * codes[:, 1])
    loaded = round_trip(regressor)
    np.testing.assert_array_equal(loaded.predict(codes), regressor.predict(codes))
    assert loaded.history_ == regressor.history_


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_loaded_pipeline_is_the_same(round_trip, pipeline, visits):
    X, y = visits
    pipeline.fit(X, y)
    loaded = round_trip(pipeline)
    np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
    unseen = X.head(3).assign(user="nobody", price=np.nan)
    np.testing.assert_array_equal(loaded.predict_proba(unseen), pipeline.predict_proba(unseen))


def test_deep_copy_goes_its_own_way(binary, codes, visits):
    before = binary.predict_proba(codes)
    copied = copy.deepcopy(binary)
    copied.partial_fit(codes, visits[1])
    np.testing.assert_array_equal(binary.predict_proba(codes), before)
    assert not np.array_equal(copied.predict_proba(codes), before)


def test_pickle_is_as_large_after_few_rows_as_after_many():
    sizes = []
    for n_rows in (500, 5000):
        X, y = same_codes(n_rows)
        model = DeepFMClassifier(max_epochs=2, batch_size=500, early_stopping=True, random_state=0)
        model.set_params(categorical_features=range(X.shape[1]))  # more rows tell more of kinds
        sizes.append(len(pickle.dumps(model.fit(X, y))))
    assert abs(sizes[0] - sizes[1]) < 100


def test_pickle_holds_the_optimizer_only_to_go_on():
    X, y = same_codes(500)
    model = DeepFMClassifier(max_epochs=1, random_state=0)
    fitted = len(pickle.dumps(model.fit(X, y)))
    warm = len(pickle.dumps(clone(model).set_params(warm_start=True).fit(X, y)))
    partial = len(pickle.dumps(model.partial_fit(X, y)))
    assert warm > 2 * fitted
    assert partial > 2 * fitted
    assert len(pickle.dumps(model.fit(X, y))) == pytest.approx(fitted, abs=100)


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_loaded_model_goes_on_as_the_saved_one(sparse_updates):
    X, y = same_codes(500)
    model = DeepFMClassifier(
        max_epochs=2,
        warm_start=True,
        dropout=0,
        sparse_updates=sparse_updates,
        random_state=0,
    )
    model.fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    X[:40] += 7  # codes not seen before
    model.fit(X, y)
    loaded.fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.n_iter_ == 4


def test_model_of_a_missing_device_is_loaded_on_the_cpu(binary, codes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = binary.predict_proba(codes)
    binary.net_.device = "cuda:1"
    saved = pickle.dumps(binary)
    with pytest.warns(UserWarning, match="device='cuda:1', which this machine does not have"):
        loaded = pickle.loads(saved)
    np.testing.assert_array_equal(loaded.predict_proba(codes), expected)
    assert loaded.net_.device == "cpu"


# Fits that fail


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"dropout": 2}, None, "dropout must be"),
        ({}, ["yes"] * 20, "at least 2 classes"),
        ({"device": "no such device"}, None, "device"),
        ({"scoring": "no such scorer", "early_stopping": True}, None, "no such scorer"),
    ],
)
def test_failed_fit_leaves_the_model_as_it_was(params, y, message, binary, codes):
    before, n_iter = binary.predict_proba(codes), binary.n_iter_
    X = codes[:20, :2]
    y = np.arange(20) % 2 if y is None else y
    with pytest.raises((ValueError, RuntimeError), match=message):
        binary.set_params(**params).fit(X, y)
    np.testing.assert_array_equal(binary.predict_proba(codes), before)
    assert binary.n_features_in_ == codes.shape[1]
    assert binary.classes_.tolist() == ["no", "yes"]
    assert binary.n_iter_ == n_iter


class Breaking(Callback):
    """Fails after the first batch of the second epoch."""

    def on_batch_end(self, net, training=None, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("broken in the second epoch")


def test_fit_that_breaks_while_training_leaves_the_model_as_it_was(binary, codes, visits):
    before, n_iter = binary.predict_proba(codes), binary.n_iter_
    with pytest.raises(RuntimeError, match="broken in the second epoch"):
        binary.set_params(callbacks=[Breaking()]).fit(codes, visits[1])
    np.testing.assert_array_equal(binary.predict_proba(codes), before)
    assert binary.n_iter_ == n_iter


def test_warm_start_that_breaks_while_training_can_be_used(classifier, codes, visits):
    y = visits[1]
    classifier.set_params(warm_start=True, max_epochs=1).fit(codes, y)
    with pytest.raises(RuntimeError, match="broken in the second epoch"):
        classifier.set_params(callbacks=[Breaking()]).fit(codes, y)
    assert not classifier.module_.training
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 1
    proba = classifier.predict_proba(codes)
    np.testing.assert_array_equal(classifier.predict_proba(codes[:5]), proba[:5])
    assert classifier.set_params(callbacks=None).fit(codes, y).n_iter_ == 2


def test_refit_forgets_the_names_of_the_columns(classifier, codes, visits):
    classifier.fit(pd.DataFrame(codes, columns=list("abcde")), visits[1])
    assert classifier.feature_names_in_.tolist() == list("abcde")
    classifier.fit(codes, visits[1])
    assert not hasattr(classifier, "feature_names_in_")
    assert classifier.predict(codes).shape == (len(codes),)


# Threads


def test_eight_threads_predict_what_one_does(binary, codes):
    parts = np.array_split(codes, 40)
    serial = [binary.predict_proba(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(binary.predict_proba, parts))
    for one, other in zip(serial, threaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fits_in_threads_equal_serial_ones(classifier, codes, visits):
    models = [
        clone(classifier).set_params(random_state=seed, dropout=0.3, sparse_updates=seed % 2 == 0)
        for seed in range(4)
    ]

    def proba(model):
        return clone(model).fit(codes, visits[1]).predict_proba(codes)

    serial = [proba(model) for model in models]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(proba, models))
    np.testing.assert_array_equal(threaded, serial)
    assert not np.array_equal(serial[0], serial[1])


# Chance


def global_states():
    of_numpy = np.random.get_state()  # noqa: NPY002
    return pickle.dumps((of_numpy, random.getstate(), torch.get_rng_state().numpy()))


@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("sparse_updates", [False, True])
def test_global_generators_stay_where_they_are(
    random_state, sparse_updates, classifier, codes, visits
):
    before = global_states()
    classifier.set_params(
        random_state=random_state, early_stopping=True, sparse_updates=sparse_updates
    )
    classifier.fit(codes, visits[1]).partial_fit(codes, visits[1]).predict(codes)
    pickle.loads(pickle.dumps(classifier))
    assert global_states() == before
    torch.rand(1)
    assert global_states() != before  # so the comparison can fail


def test_global_seed_does_not_matter_without_random_state(classifier, codes, visits):
    classifier.set_params(random_state=None)
    probas = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        probas.append(classifier.fit(codes, visits[1]).predict_proba(codes))
    assert not np.array_equal(*probas)


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"sparse_updates": True}])
def test_same_seed_same_model(params, classifier, codes, visits):
    y = visits[1]
    classifier.set_params(max_epochs=3, **params)
    first = classifier.fit(codes, y).predict_proba(codes)
    torch.rand(7)
    np.testing.assert_array_equal(classifier.fit(codes, y).predict_proba(codes), first)
    other = clone(classifier).set_params(random_state=1).fit(codes, y).predict_proba(codes)
    assert not np.array_equal(other, first)


def test_generator_as_random_state_moves_on(classifier, codes, visits):
    y = visits[1]
    classifier.set_params(random_state=np.random.RandomState(0))
    first = classifier.fit(codes, y).predict_proba(codes)
    second = classifier.fit(codes, y).predict_proba(codes)
    assert not np.array_equal(first, second)
    classifier.set_params(random_state=np.random.RandomState(0))
    np.testing.assert_array_equal(classifier.fit(codes, y).predict_proba(codes), first)


# Prediction in pieces


@pytest.mark.parametrize("size", [1, 3, 16, 63, 1000, PREDICT_BATCH_SIZE, PREDICT_BATCH_SIZE + 1])
def test_a_row_has_the_same_bits_in_any_piece(size, binary):
    n_rows = PREDICT_BATCH_SIZE + 300
    X = np.random.default_rng(0).integers(0, 45, size=(n_rows, binary.n_features_in_))
    whole = binary.decision_function(X)
    starts = [0, 5, PREDICT_BATCH_SIZE - 2, n_rows - size]
    for start in starts:
        part = slice(start, start + size)
        np.testing.assert_array_equal(binary.decision_function(X[part]), whole[part])


@pytest.mark.parametrize("mlp_dims", [(7,), (128, 64), (400, 400, 400)])
def test_a_row_with_numbers_has_the_same_bits_in_any_piece(mlp_dims, rng):
    X = pd.DataFrame(
        {
            "code": rng.integers(0, 30, 500),
            "number": rng.normal(size=500),
            "other": rng.normal(size=500),
        }
    )
    y = rng.integers(0, 3, 500)
    model = DeepFMClassifier(mlp_dims=mlp_dims, max_epochs=1, random_state=0).fit(X, y)
    whole = model.predict_proba(X)
    for size in (1, 2, 17, 100, 333):
        pieces = [model.predict_proba(X[i : i + size]) for i in range(0, min(500, 20 * size), size)]
        pieces = np.concatenate(pieces)
        np.testing.assert_array_equal(pieces, whole[: len(pieces)])


def test_predictions_leave_the_module_in_eval_mode(binary, codes):
    assert not binary.module_.training
    binary.predict(codes)
    binary.predict_log_proba(codes)
    assert not any(module.training for module in binary.module_.modules())


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_members": 3},
        {"components": ("linear",)},
        {"components": ("linear", "fm")},
        {"embed_dim": 32, "mlp_dims": (16,), "batch_norm": True},
        {"mlp_dims": (400, 400), "pooling": "sum"},
    ],
)
@pytest.mark.parametrize("target", ["several", "labels"])
def test_a_row_has_the_same_bits_in_any_piece_whatever_the_model(params, target):
    """Widths are multiples of 16: of others, a product may round a row by where it stands."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "code": rng.integers(0, 30, 200),
            "number": rng.normal(size=200),
            "list": [rng.integers(0, 9, k).tolist() for k in rng.integers(0, 4, 200)],
        }
    )
    y = rng.integers(0, 5, 200) if target == "several" else rng.integers(0, 2, (200, 3))
    model = DeepFMClassifier(**params, max_epochs=1, random_state=0).fit(X, y)
    whole = model.predict_proba(X)
    for rows in ([0], [5], [7, 3], range(1, 18), range(60, 161)):
        part = model.predict_proba(X.iloc[list(rows)])
        np.testing.assert_array_equal(part, whole[list(rows)])
