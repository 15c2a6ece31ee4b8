"""Linear baselines: scikit-learn's on the same fields, kept unless training beats them."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder, contributions
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._samples.rows import Rows
from sklearn_deepfm._samples.samples import samples_of
from sklearn_deepfm._training.best_epoch import best_epoch, is_better
from sklearn_deepfm._training.linear_baseline import MOST_ROWS, STRENGTHS, VARIANCE_OF_BINS
from sklearn_deepfm._training.run import Learner, TrainingSet, _baselines
from sklearn_deepfm._training.training_group import TrainingGroup

N_TRAIN, N = 600, 900
UNTRAINED = {"max_epochs": 1, "learning_rate": 1e-9, "random_state": 0}


@pytest.fixture
def table(rng):
    """Codes of two columns, and the sum of their effects."""
    X = np.column_stack([rng.integers(0, 9, N), rng.integers(0, 6, N)])
    return X, rng.normal(scale=1.5, size=9)[X[:, 0]] + rng.normal(size=6)[X[:, 1]]


@pytest.fixture(params=[1.0, 10.0])
def strength(request, monkeypatch):
    """The one penalty that there is."""
    monkeypatch.setattr("sklearn_deepfm._training.linear_baseline.STRENGTHS", (request.param,))
    return request.param


def on_one_hot(model, X, y, weight=None):
    """A linear model on one-hot codes of the training rows."""
    one_hot = OneHotEncoder(handle_unknown="ignore").fit(X[:N_TRAIN])
    weights = {} if weight is None else {"sample_weight": weight[:N_TRAIN]}
    model.fit(one_hot.transform(X[:N_TRAIN]), y[:N_TRAIN], **weights)
    return make_pipeline(one_hot, model)


def fitted(model, X, y, weight=None):
    weight = None if weight is None else weight[:N_TRAIN]
    return model.fit(X[:N_TRAIN], y[:N_TRAIN], weight, X_val=X[N_TRAIN:], y_val=y[N_TRAIN:])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifier_keeps_logistic_regression(table, rng, classes, weighted, strength):
    X, odds = table
    y = np.digitize(odds + rng.logistic(size=N), [0, 1][: classes - 1])
    weight = rng.integers(1, 4, N) / 2 if weighted else None
    model = fitted(DeepFMClassifier(**UNTRAINED), X, y, weight)
    mean_1 = None if weight is None else weight / weight[:N_TRAIN].mean()
    linear = on_one_hot(LogisticRegression(C=1 / strength), X, y, mean_1)
    assert model.best_epoch_ == 0
    assert_allclose(model.predict_proba(X), linear.predict_proba(X), atol=2e-3)


def test_labels_have_a_logistic_regression_each(table, rng, strength):
    X, odds = table
    y = (np.column_stack([odds, -odds]) + rng.logistic(size=(N, 2)) > 0).astype(int)
    model = fitted(DeepFMClassifier(**UNTRAINED), X, y)
    linear = on_one_hot(OneVsRestClassifier(LogisticRegression(C=1 / strength)), X, y)
    assert model.best_epoch_ == 0
    proba = model.predict_proba(X)
    proba = np.column_stack([p[:, 1] for p in proba]) if isinstance(proba, list) else proba
    assert_allclose(proba, linear.predict_proba(X), atol=2e-3)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_regressor_keeps_ridge(table, rng, n_outputs, strength):
    X, effect = table
    y = 50 + 7 * (effect[:, np.newaxis] * [1, -1] + rng.normal(size=(N, 2)))[:, :n_outputs]
    y = y[:, 0] if n_outputs == 1 else y
    model = fitted(DeepFMRegressor(**UNTRAINED), X, y)
    linear = on_one_hot(Ridge(alpha=strength), X, y)  # whose penalty has no unit
    assert model.best_epoch_ == 0
    assert_allclose(model.predict(X), linear.predict(X), atol=0.05)


@pytest.mark.parametrize("is_class", [True, False])
def test_numbers_have_a_line_and_bins_that_stay_close_to_it(rng, is_class, strength):
    X = np.column_stack([rng.normal(size=N), rng.exponential(size=N)])
    y = np.tanh(2 * X[:, 0]) + X[:, 1] + rng.logistic(size=N)
    y = (y > 1).astype(int) if is_class else y
    kind = DeepFMClassifier if is_class else DeepFMRegressor
    model = fitted(kind(**UNTRAINED, n_bins=5), X, y)
    assert model.best_epoch_ == 0
    index, scores, _ = model._fields.encode([InputColumn(j, x) for j, x in enumerate(X.T)])
    bins = OneHotEncoder(sparse_output=False).fit_transform(index)
    design = np.hstack([scores, np.sqrt(VARIANCE_OF_BINS) * bins])
    linear = LogisticRegression(C=1 / strength) if is_class else Ridge(alpha=strength)
    linear.fit(design[:N_TRAIN], y[:N_TRAIN])
    predicted = model.decision_function(X) if is_class else model.predict(X)
    expected = linear.decision_function(design) if is_class else linear.predict(design)
    assert_allclose(predicted, expected, atol=0.02)


@pytest.mark.parametrize("n_ids", [5, 1_000])
def test_stronger_penalty_is_taken_only_where_the_weak_one_is_worse_by_more_than_chance(n_ids, rng):
    """Of 1,000 ids without an effect each has a weight of noise; 5 have many rows."""
    X = np.column_stack([rng.integers(0, n_ids, 4_000), rng.integers(0, 3, 4_000)])
    y = (rng.random(4_000) < expit(X[:, 1] - 1)).astype(int)
    part = {"X_val": X[2_000:], "y_val": y[2_000:]}
    model = DeepFMClassifier(**UNTRAINED).fit(X[:2_000], y[:2_000], **part)
    ids = model.module_.table.detach().numpy()[: n_ids + 1, 0]
    weak = np.abs(weights_of(X[:2_000], y[:2_000], LogisticRegression())[:n_ids]).max()
    assert (np.abs(ids).max() > 0.9 * weak) == (n_ids == 5)


def weights_of(X, y, model):
    return model.fit(OneHotEncoder().fit_transform(X), y).coef_[0]


def test_numbers_have_a_slope_and_lists_share_a_weight(rng):
    """The gain of the slope, and of list members, over what the other columns tell."""
    tags = [rng.choice(list("abcdef"), k).tolist() for k in rng.integers(0, 4, N)]
    number = rng.normal(size=N)
    odds = 3 * number + 3 * np.array([("a" in cell) - ("b" in cell) for cell in tags])
    X = pd.DataFrame({"number": number, "tags": tags})
    y = (rng.random(N) < expit(odds)).astype(int)
    codes = OrdinalFieldEncoder(n_bins=None).fit_transform(X)
    loss = {}
    for name in ("number", "tags", "both"):
        columns = codes if name == "both" else codes[[name]]
        parts = [columns[:N_TRAIN], y[:N_TRAIN], columns[N_TRAIN:], y[N_TRAIN:]]
        model = DeepFMClassifier(**UNTRAINED).fit(*parts[:2], X_val=parts[2], y_val=parts[3])
        assert model.best_epoch_ == 0
        loss[name] = log_loss(y[N_TRAIN:], model.predict_proba(parts[2]))
    assert loss["number"] < 0.6
    assert loss["tags"] < 0.68
    assert loss["both"] < min(loss["number"], loss["tags"]) - 0.05


def test_each_member_learns_from_its_own_rows(table, rng):
    X, odds = table
    y = (odds + rng.logistic(size=N) > 0).astype(int)
    model = DeepFMClassifier(n_members=3, **UNTRAINED).fit(X, y)
    assert model.best_epoch_ == 0
    first = model.module_.table.detach()[:, :3]
    assert (first.std(1) > 1e-3).any()
    assert_allclose(first, first.mean(1, keepdim=True).expand(-1, 3), atol=0.3)


def test_a_pattern_that_no_linear_model_has_is_learned(rng):
    X = rng.integers(0, 6, (3_000, 2))
    y = (rng.random(3_000) < expit(rng.normal(scale=2, size=(6, 6))[X[:, 0], X[:, 1]])).astype(int)
    model = DeepFMClassifier(random_state=0, max_epochs=20).fit(X, y)
    assert model.best_epoch_ == np.argmax(model.validation_scores_) + 1
    assert [e["valid_score_best"] for e in model.history_].count(True) >= 1


@pytest.mark.parametrize("seed", range(3))
def test_best_epoch_is_the_best_of_all_that_follow_one_that_beats_the_baseline(seed):
    rng = np.random.default_rng(seed)
    X, effect = rng.integers(0, 5, (500, 2)), rng.normal(scale=2, size=(5, 5))
    y = (rng.random(500) < expit(effect[X[:, 0], X[:, 1]])).astype(int)
    model = DeepFMClassifier(random_state=seed, max_epochs=40).fit(X, y)
    scores = np.array(model.validation_scores_)
    flags = [epoch["valid_score_best"] for epoch in model.history_]
    assert model.best_epoch_ == (1 + int(np.argmax(scores)) if any(flags) else 0)
    other = DeepFMClassifier(random_state=seed, max_epochs=40, scoring="neg_log_loss").fit(X, y)
    if model.best_epoch_:
        assert_array_equal(model.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    "params", [{"linear_l2": 1.0}, {"pretrained": {0: np.ones((9, 16))}}], ids=["l2", "pretrained"]
)
def test_what_the_user_has_chosen_is_seen_in_the_model(table, rng, params):
    X, odds = table
    y = (odds + rng.logistic(size=N) > 0).astype(int)
    assert DeepFMClassifier(max_epochs=1, random_state=0, **params).fit(X, y).best_epoch_ == 1


def test_fewer_than_ten_rows_prove_nothing():
    before = torch.linspace(1, 2, 9)
    assert not is_better(before, before - 0.5)
    assert is_better(torch.linspace(1, 2, 10), torch.linspace(0, 1.5, 10))


def test_threads_leave_the_filters_of_warnings_alone(table, rng):
    X, odds = table
    y = (odds + rng.logistic(size=N) > 0).astype(int)
    filters = list(warnings.filters)
    models = [DeepFMClassifier(max_epochs=1, random_state=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda model: model.fit(X, y), models))
    assert warnings.filters == filters


def test_many_outputs_have_no_baseline(table, monkeypatch):
    X, odds = table
    monkeypatch.setattr("sklearn_deepfm._training.linear_baseline.MOST_WEIGHTS", 40)
    model = DeepFMClassifier(max_epochs=1, random_state=0)
    y = np.digitize(odds, [-1, 0, 1])
    assert model.fit(X, y).best_epoch_ == 1
    assert model.fit(X, y > 1).best_epoch_ == 0


def test_kept_model_is_told(table, rng, capsys):
    X, odds = table
    y = (odds + rng.logistic(size=N) > 0).astype(int)
    told = "no epoch was better than a linear model by more than chance: it was kept"
    with pytest.warns(ConvergenceWarning, match="no epoch has beaten a linear model, which was"):
        DeepFMClassifier(verbose=1, max_epochs=3, learning_rate=1e-4, random_state=0).fit(X, y)
    assert capsys.readouterr().out.splitlines()[-1] == told
    DeepFMClassifier(verbose=1, scoring="neg_log_loss", **UNTRAINED).fit(X, y)
    assert told not in capsys.readouterr().out


def test_kept_model_is_taken_apart_saved_and_trained_further(table, rng):
    X, _ = table
    y = (rng.random(N) < expit(rng.normal(scale=3, size=(9, 6))[X[:, 0], X[:, 1]])).astype(int)
    model = DeepFMClassifier(warm_start=True, **UNTRAINED).fit(X, y)
    before = model.predict_proba(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.best_epoch_ == 0
    assert_array_equal(loaded.predict_proba(X), before)
    assert np.abs(contributions(model, X).deep).max() == 0
    model.set_params(learning_rate=1e-2, max_epochs=20).fit(X, y)
    assert model.best_epoch_ > 1
    assert log_loss(y, model.predict_proba(X)) < log_loss(y, before) - 0.05


def test_unseen_code_is_an_average_one_in_the_kept_model(table, rng):
    X, odds = table
    y = (odds + rng.logistic(size=N) > 0).astype(int)
    model = fitted(DeepFMClassifier(**UNTRAINED), X, y)
    start, count = model._fields.frequencies[0]
    first = model.module_.table.detach().numpy()[start : start + len(count), 0]
    assert first[0] == pytest.approx(np.average(first[1:], weights=count[1:]), abs=1e-6)


@pytest.mark.parametrize(
    "why", ["many rows", "another score", "no linear component", "no validation rows"]
)
def test_where_there_is_no_baseline_training_decides(rng, why):
    n = MOST_ROWS * 2 if why == "many rows" else 1_000
    X, y = rng.integers(0, 9, (n, 2)), rng.integers(0, 2, n)
    params = {
        "another score": {"scoring": "roc_auc"},
        "no linear component": {"components": ("fm", "deep")},
        "no validation rows": {"early_stopping": False},
    }
    model = DeepFMClassifier(max_epochs=1, random_state=0, **params.get(why, {})).fit(X, y)
    assert model.best_epoch_ == (None if why == "no validation rows" else 1)


@pytest.mark.parametrize("has_shards", [False, True])
def test_shards_have_no_baseline(has_shards):
    """Of which no process has all the rows."""
    model = DeepFMClassifier().fit(np.arange(300)[:, np.newaxis] % 7, np.arange(300) % 2)
    group = TrainingGroup()
    group.has_shards = has_shards
    rows = Rows([InputColumn(0, np.arange(300) % 7)], np.arange(300) % 2, None)
    samples = samples_of(rows, model._fields, model._target, 1)
    model.net_.initialized_ = False
    learner = Learner(model.net_, model._fields, model._target, 300)
    found = _baselines(learner, TrainingSet(samples, None, None), model._parameters, group)
    assert len(found) == (0 if has_shards else len(STRENGTHS))


def test_gain_must_be_more_than_chance():
    rng = np.random.default_rng(0)
    for n, gain in [(20, 0.5), (20, 0.2), (100, 0.1), (100, 0.02), (5_000, 0.01), (5_000, -0.01)]:
        before = rng.random(n)
        after = before - gain - rng.normal(scale=0.5, size=n)
        gains = before - after
        error = np.sqrt(np.square(gains - gains.mean()).sum() / (n - 1)) / np.sqrt(n)
        expected = gains.sum() / n > np.sqrt(40 / n) * error
        assert is_better(torch.tensor(before), torch.tensor(after)) == expected


def test_best_epoch_of_a_history():
    assert best_epoch([]) is None
    assert best_epoch([{"epoch": 1, "train_loss": 0.5}]) is None
    # As files of earlier versions have it.
    assert best_epoch([{"epoch": k + 1, "valid_score": s} for k, s in enumerate([-3, -1, -2])]) == 2
    flags = [True, False, True, False]
    history = [
        {"epoch": k + 1, "valid_score": 0.0, "valid_score_best": flag}
        for k, flag in enumerate(flags)
    ]
    assert best_epoch(history) == 3
    assert best_epoch(history[1:2]) == 0
