"""Evidence from y that neighbouring codes belong together, against a slow reference."""

import numpy as np
import pytest

from sklearn_deepfm._common.quantiles import inner_edges
from sklearn_deepfm._fields.evidence import (
    BETTER_THAN_CODES,
    BETTER_THAN_NOTHING,
    BETTER_WITH_NEIGHBOURS,
    N_FOLDS,
    levels_of,
    neighbours_belong_together,
    outcomes_of,
)


def slow_losses(codes, y, is_class):
    """Out-of-fold loss of each row by code, by nothing, and by bins of each level."""
    distinct, rank, counts = np.unique(codes, return_inverse=True, return_counts=True)
    fold = np.random.RandomState(0).randint(N_FOLDS, size=len(codes))
    m, losses = (
        (10 if is_class else 5),
        np.zeros((2 + 2 * len(levels_of(len(distinct))), len(codes))),
    )
    if not is_class:
        y = (y - y.mean()) / y.std()
    targets = np.eye(y.max() + 1)[y] if is_class else y[:, np.newaxis]
    order = np.arange(len(distinct))
    levels = levels_of(len(distinct))
    groups = [np.searchsorted(inner_edges(order, counts, n), order, side="right") for n in levels]
    for held in range(N_FOLDS):
        train, out = fold != held, np.flatnonzero(fold == held)
        mean = targets[train].mean(0)
        for row in out:
            same = targets[train & (rank == rank[row])]
            found = [(same.sum(0) + m * mean) / (len(same) + m), mean]
            found += [
                _shrunk(targets, train, rank, group, rank[row], groups, mean, m) for group in groups
            ]
            for group in groups:
                is_other = train & (group[rank] == group[rank[row]]) & (rank != rank[row])
                prior = (targets[is_other].sum(0) + m * mean) / (is_other.sum() + m)
                found.append((same.sum(0) + m * prior) / (len(same) + m))
            for kind, p in enumerate(found):
                if is_class:
                    losses[kind, row] = -np.log(np.clip(p[y[row]], 1e-4, 1 - 1e-4))
                else:
                    losses[kind, row] = (y[row] - p[0]) ** 2
    return losses


def _shrunk(targets, train, rank, group, code, groups, mean, m):
    """Mean of the bin of a code, shrunk to what the levels above say of the rows of that bin."""
    above = groups[: next(k for k, g in enumerate(groups) if g is group)]
    in_bin = train & (group[rank] == group[code])
    parents = [_of_codes(targets, train, rank, above, c, mean, m) for c in rank[in_bin]]
    own = _of_codes(targets, train, rank, above, code, mean, m)
    excess = targets[in_bin].sum(0) - np.sum(parents, axis=0)
    return own + excess / (in_bin.sum() + m)


def _of_codes(targets, train, rank, above, code, mean, m):
    if not above:
        return mean
    return _shrunk(targets, train, rank, above[-1], code, above, mean, m)


def t(differences):
    return differences.mean() / (differences.std() / np.sqrt(len(differences)) + 1e-12)


def slow_answer(codes, y, is_class):
    by_code, nothing, *others = slow_losses(codes, y, is_class)
    bins, with_neighbours = others[: len(others) // 2], others[len(others) // 2 :]
    best = min(bins, key=np.mean)
    helps = t(by_code - best) > 0 and t(nothing - best) > BETTER_THAN_NOTHING
    of_neighbours = t(by_code - min(with_neighbours, key=np.mean)) > BETTER_WITH_NEIGHBOURS
    counts = np.bincount(codes)
    of_neighbours &= counts[counts >= 20].sum() >= 0.8 * len(codes)
    return helps or t(by_code - bins[-1]) > BETTER_THAN_CODES or of_neighbours


@pytest.mark.parametrize("n_classes", [2, 3, None])
@pytest.mark.parametrize("seed", range(6))
def test_answer_is_that_of_a_slow_one(seed, n_classes, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._fields.evidence.LEVELS", (3, 7))
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3 + 7 * seed, 80) * 2
    signal = np.sin(codes / 9) + rng.normal(size=200)[codes] / 2 + rng.normal(size=80)
    y = signal if n_classes is None else np.digitize(signal, [0, 0.8][: n_classes - 1])
    outcomes = outcomes_of(y, None, is_class=n_classes is not None)
    expected = slow_answer(codes, y, n_classes is not None)
    assert neighbours_belong_together(codes, outcomes) == expected


def table(kind, n, rng):
    """Codes and their effect on y."""
    if kind in ("ids", "many ids"):
        n_ids = 40 if kind == "ids" else n // 12
        codes = rng.integers(n_ids, size=n)
        return codes, 1.5 * rng.normal(size=n_ids)[codes]
    if kind == "heavy tail":
        codes = np.exp(rng.normal(6, 2, n)).astype(int)
        return codes, 2 * np.tanh(np.log(codes + 1) - 6)
    codes = rng.integers(1000, size=n)
    return codes, (3 * (codes // 250 % 2) if kind == "steps" else 2 * np.sin(codes / 150))


@pytest.mark.parametrize("is_class", [True, False])
@pytest.mark.parametrize("n", [600, 3000, 20_000])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ids", 0), ("many ids", 0), ("smooth", 1), ("steps", 1), ("heavy tail", 1)],
)
def test_quantities_are_pooled_and_ids_are_not(kind, expected, n, is_class):
    answers = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        codes, effect = table(kind, n, rng)
        y = effect - effect.mean() + rng.logistic(size=n)
        y = (y > 0).astype(int) if is_class else y
        answers.append(neighbours_belong_together(codes, outcomes_of(y, None, is_class=is_class)))
    assert np.mean(np.array(answers) == expected) >= 0.9


def test_scale_of_weights_and_order_of_labels_have_no_effect(rng):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        codes, y = rng.integers(60, size=500), rng.integers(12, size=500)
        weight = rng.integers(1, 4, 500)
        answers = {
            neighbours_belong_together(codes, outcomes_of(labels, scale * weight, is_class=True))
            for labels in (y, 11 - y)
            for scale in (1, 0.01, 1e6)
        }
        assert len(answers) == 1


def test_rows_of_a_large_weight_count_more(rng):
    smooth, codes = rng.random(2000) < 0.5, rng.integers(400, size=2000)
    y = np.where(smooth, codes < 200, rng.integers(0, 2, 400)[codes]).astype(int)

    def answer(weight):
        return neighbours_belong_together(codes, outcomes_of(y, weight, is_class=True))

    assert answer(np.where(smooth, 1.0, 1e-3))
    assert not answer(np.where(smooth, 1e-3, 1.0))


def test_several_outputs_answer_together(rng):
    codes = rng.integers(500, size=2000)
    y = np.stack([np.sin(codes / 100), rng.normal(size=2000)], axis=1) + rng.normal(size=(2000, 2))
    assert neighbours_belong_together(codes, outcomes_of(y, None, is_class=False))
    labels = (y > 0).astype(int)
    assert neighbours_belong_together(codes, outcomes_of(labels, None, is_class=True))


@pytest.mark.parametrize("codes", [np.zeros(50, int), np.arange(50) % 2], ids=["one", "two"])
def test_two_codes_have_no_order(codes):
    outcomes = outcomes_of(np.arange(50) % 2, None, is_class=True)
    assert not neighbours_belong_together(codes, outcomes)


def test_constant_y_says_nothing():
    codes = np.arange(200) % 50
    for y, is_class in ((np.zeros(200, int), True), (np.full(200, 7.0), False)):
        assert not neighbours_belong_together(codes, outcomes_of(y, None, is_class=is_class))


def test_codes_far_apart_are_ranked(rng):
    codes = rng.integers(300, size=2000)
    y = (np.sin(codes / 60) + rng.normal(size=2000) > 0).astype(int)
    outcomes = outcomes_of(y, None, is_class=True)
    assert neighbours_belong_together(codes * 10**12 - 5, outcomes)
