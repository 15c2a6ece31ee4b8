"""The L2, the batch size and the patience that "auto" stands for."""

import numpy as np
import pytest

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._training.defaults import batch_size, learning_rate, patience

SMALL = {"embed_dim": 2, "mlp_dims": (4,), "max_epochs": 1, "batch_size": 512, "random_state": 0}


def rows(rng, n):
    """Distinct rows, so that none are merged."""
    return np.column_stack([np.arange(n), rng.integers(0, 3, n)])


def entropy(y):
    share = np.bincount(y) / len(y)
    return -(share * np.log(share)).sum()


@pytest.mark.parametrize("n", [6000, 20_000])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_factor_falls_with_the_rows_and_follows_the_loss_of_the_base_rate(n, share, rng):
    y = (np.arange(n) < share * n).astype(int)
    net = DeepFMClassifier(early_stopping=False, **SMALL).fit(rows(rng, n), y).net_
    assert net.embedding_l2 == pytest.approx(min(4000 * entropy(y) / n, 0.5))
    assert net.linear_l2 == pytest.approx(net.embedding_l2 / 50)


def test_learning_rate_follows_the_root_of_the_batch(rng):
    X, y = rows(rng, 2000), np.arange(2000) % 2
    fit = {**SMALL, "early_stopping": False}
    automatic = DeepFMClassifier(**{**fit, "batch_size": "auto"}).fit(X, y).net_
    assert automatic.lr == pytest.approx(1e-3)
    for n in (automatic.batch_size // 4, automatic.batch_size * 4):
        net = DeepFMClassifier(**{**fit, "batch_size": n}).fit(X, y).net_
        assert net.lr == pytest.approx(1e-3 * np.sqrt(n / automatic.batch_size))
    assert DeepFMClassifier(learning_rate=0.01, **fit).fit(X, y).net_.lr == 0.01


@pytest.mark.parametrize("n_rows", [20, 1000, 100_000])
def test_learning_rate_has_bounds_and_asks_for_no_more_rows_than_there_are(n_rows):
    automatic = min(batch_size("auto", n_rows), n_rows)
    usual = learning_rate("auto", automatic, n_rows)
    whole = learning_rate("auto", n_rows, n_rows)
    assert learning_rate("auto", 10**9, n_rows) == whole <= 4 * usual
    assert whole == pytest.approx(usual * min(np.sqrt(n_rows / automatic), 4))
    assert learning_rate("auto", 1, n_rows) >= usual / 4


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(2, 1e-3), (2048, 1e-3), (2952, 1.2e-3), (4096, 1.4142e-3), (10**8, 1.4142e-3)],
)
def test_learning_rate_of_automatic_batches_follows_the_rows(n_rows, expected):
    usual = learning_rate("auto", batch_size("auto", n_rows), n_rows)
    assert usual == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("components", [["linear"], ["fm"], ["linear", "fm"]])
@pytest.mark.parametrize("n", [50, 6000])
def test_factor_is_weaker_without_an_mlp(components, n, rng):
    y = np.arange(n) % 2
    params = {**SMALL, "early_stopping": False, "components": components}
    net = DeepFMClassifier(**params).fit(rows(rng, n), y).net_
    assert net.embedding_l2 == pytest.approx(min(4000 * np.log(2) / n, 0.5) / 64)
    assert net.linear_l2 == pytest.approx(net.embedding_l2 / 50)


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_factor_of_several_classes_labels_and_numbers(rng):
    n = 10_000
    X, y = rows(rng, n), np.arange(n) % 4
    fit = {"early_stopping": False, **SMALL}
    classes = DeepFMClassifier(**fit).fit(X, y).net_
    assert classes.embedding_l2 == pytest.approx(min(4000 * np.log(4) / n, 0.5))
    labels = DeepFMClassifier(**fit).fit(X, np.column_stack([y > 0, y > 1]).astype(int)).net_
    base = entropy((y > 0).astype(int)) + entropy((y > 1).astype(int))
    assert labels.embedding_l2 == pytest.approx(min(4000 * base / n, 0.5))
    X, y = rows(rng, 40_000), np.arange(40_000) % 4
    assert DeepFMRegressor(**fit).fit(X, y).net_.embedding_l2 == pytest.approx(0.1)
    several = DeepFMRegressor(**fit).fit(X, np.column_stack([y, y > 0, -y]))
    assert several.net_.embedding_l2 == pytest.approx(0.3)


def test_factor_is_bounded_where_rows_are_few(rng):
    net = DeepFMClassifier(**SMALL).fit(rows(rng, 50), np.arange(50) % 2).net_
    assert net.embedding_l2 == 0.5


def test_factor_of_a_stream_counts_all_its_rows(rng):
    X, y = rows(rng, 16_000), np.arange(16_000) % 2
    model = DeepFMClassifier(**SMALL)
    for n in (8000, 16_000):
        model.partial_fit(X[n - 8000 : n], y[n - 8000 : n], classes=[0, 1])
        assert model.net_.embedding_l2 == pytest.approx(4000 * np.log(2) / n)


@pytest.mark.parametrize("several", [False, True])
def test_factor_of_a_stream_follows_the_classes_of_all_its_rows(several, rng):
    X, y = rows(rng, 16_000), (np.arange(16_000) >= 8000).astype(int)
    y = np.column_stack([y, y]) if several else y
    model = DeepFMClassifier(**SMALL)
    for part in (slice(8000), slice(8000, None)):
        model.partial_fit(X[part], y[part], classes=[0, 1])
    labels = 2 if several else 1
    assert model.net_.embedding_l2 == pytest.approx(4000 * labels * np.log(2) / 16_000)


def test_given_factors_are_taken(rng):
    X, y = rows(rng, 100), np.arange(100) % 2
    net = DeepFMClassifier(embedding_l2=0.3, linear_l2=0.2, **SMALL).fit(X, y).net_
    assert (net.embedding_l2, net.linear_l2) == (0.3, 0.2)
    net = DeepFMClassifier(embedding_l2=0, **SMALL).fit(X, y).net_
    assert (net.embedding_l2, net.linear_l2) == (0, 0)


@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_penalty_of_first_order_weights_shrinks_these_alone(sparse_updates, rng):
    X, y = rows(rng, 600), rng.integers(0, 2, 600)
    tables = [
        DeepFMClassifier(
            embedding_l2=0,
            linear_l2=linear_l2,
            early_stopping=False,
            components=("linear", "fm"),
            sparse_updates=sparse_updates,
            **SMALL | {"max_epochs": 60, "learning_rate": 0.05, "batch_size": 64},
        )
        .fit(X, y)
        .module_.table.detach()
        for linear_l2 in (0, 1)
    ]
    first, second = (table.square().mean(0).sqrt() for table in tables)
    assert second[0] < 0.5 * first[0]
    assert (second[1:] > 0.5 * first[1:]).all()


@pytest.mark.parametrize(
    ("n", "expected"), [(300, 32), (4095, 32), (4096, 64), (32_767, 256), (32_768, 512)]
)
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_automatic_batches_follow_the_rows(n, expected, rng):
    params = {**SMALL, "batch_size": "auto", "components": ("linear",), "early_stopping": False}
    net = DeepFMClassifier(**params).fit(rows(rng, n), np.arange(n) % 2).net_
    assert net.batch_size == expected


@pytest.mark.parametrize(
    ("asked", "n_batches", "epochs"),
    [("auto", 1, 250), ("auto", 9, 28), ("auto", 50, 5), ("auto", 10**6, 5), (3, 1, 3)],
)
def test_patience_is_five_epochs_or_250_steps(asked, n_batches, epochs):
    assert patience(asked, n_batches) == epochs


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 64), (64, 64), (65, 32), (4095, 32), (10**7, 4096)]
)
def test_one_batch_holds_few_rows(n_rows, size):
    assert batch_size("auto", n_rows) == size
