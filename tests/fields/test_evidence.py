"""Evidence from y that neighbouring codes belong together, against a slow reference."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_deepfm._common.quantiles import inner_edges
from sklearn_deepfm._fields import evidence as evidence_module
from sklearn_deepfm._fields.evidence import (
    N_FOLDS,
    Evidence,
    evidence_of,
    levels_of,
    neighbours_belong_together,
)
from sklearn_deepfm._fields.outcomes import outcomes_of
from sklearn_deepfm._fields.ranks import ranks_of


class Slow:
    """Means of y, one row after the other, for the rows of one output."""

    def __init__(self, rank, fold, y, weight, is_class):
        self.rank, self.fold, self.is_class = rank, fold, is_class
        self.weight = np.ones(len(y)) if weight is None else weight / weight.mean()
        if not is_class:
            mean = np.average(y, weights=self.weight)
            y = (y - mean) / np.sqrt(np.average((y - mean) ** 2, weights=self.weight))
        self.y, self.m = y, 10 if is_class else 5
        self.targets = np.eye(y.max() + 1)[y] if is_class else y[:, np.newaxis]
        rows = np.bincount(rank, weights=self.weight)
        codes, levels = np.arange(len(rows)), levels_of(len(rows))
        self.groups = [
            np.searchsorted(inner_edges(codes, rows, n), codes, side="right") for n in levels
        ]

    def total(self, mask):
        return self.weight[mask].sum(), self.weight[mask] @ self.targets[mask]

    def mean(self, row):
        n, sums = self.total(self.fold != self.fold[row])
        return sums / n

    def shrunk(self, mask, prior):
        n, sums = self.total(mask)
        return (sums + self.m * prior) / (n + self.m)

    def by_code(self, row):
        train = self.fold != self.fold[row]
        return self.shrunk(train & (self.rank == self.rank[row]), self.mean(row))

    def by_bin(self, level, row):
        """Of the bin of the row, whose prior is what the levels above say of its rows."""
        return self._of_bin(level, self.rank[row], row)

    def _of_bin(self, level, code, row):
        if level < 0:
            return self.mean(row)
        group, train = self.groups[level], self.fold != self.fold[row]
        in_bin = np.flatnonzero(train & (group[self.rank] == group[code]))
        excess = 0
        for other in in_bin:
            above = self._of_bin(level - 1, self.rank[other], row)
            excess = excess + self.weight[other] * (self.targets[other] - above)
        own = self._of_bin(level - 1, code, row)
        return own + excess / (self.weight[in_bin].sum() + self.m)

    def with_others(self, level, row):
        group, train = self.groups[level], self.fold != self.fold[row]
        is_same = self.rank == self.rank[row]
        is_other = train & (group[self.rank] == group[self.rank[row]]) & ~is_same
        return self.shrunk(train & is_same, self.shrunk(is_other, self.mean(row)))

    def losses(self, predict):
        found = []
        for row, y in enumerate(self.y):
            p = predict(row)
            found.append(
                -np.log(np.clip(p[y], 1e-4, 1 - 1e-4)) if self.is_class else (y - p[0]) ** 2
            )
        return np.array(found)


def slow_evidence(slows):
    """The statistics of `Evidence`, of several outputs."""
    levels = range(len(slows[0].groups))

    def total(of_first, of_second):
        means, errors = 0, 0
        for slow, first, second in zip(slows, of_first, of_second, strict=True):
            d, w = first - second, slow.weight
            mean = np.average(d, weights=w)
            means += mean
            errors += np.sqrt(np.average((d - mean) ** 2, weights=w) / w.sum())
        return means, errors

    nothing = [slow.losses(slow.mean) for slow in slows]
    codes = [slow.losses(slow.by_code) for slow in slows]
    bins = [[s.losses(lambda r, s=s, k=k: s.by_bin(k, r)) for s in slows] for k in levels]
    others = [[s.losses(lambda r, s=s, k=k: s.with_others(k, r)) for s in slows] for k in levels]
    best_bins = max(bins, key=lambda of_level: total(nothing, of_level)[0])
    best_others = max(others, key=lambda of_level: total(codes, of_level)[0])
    pairs = (codes, best_bins), (codes, best_others), (best_bins, best_others), (nothing, codes)
    return [np.divide(*total(*pair)) for pair in pairs]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, None])
@pytest.mark.parametrize("seed", range(2))
def test_evidence_is_that_of_a_slow_one(seed, n_classes, is_weighted, monkeypatch):
    monkeypatch.setattr(evidence_module, "LEVELS", (3, 7))
    rng = np.random.default_rng(seed)
    codes, fold = rng.integers(0, 9 + 12 * seed, 70), rng.integers(N_FOLDS, size=70)
    signal = np.sin(codes / 9) + rng.normal(size=40)[codes] / 2 + rng.normal(size=70)
    y = signal if n_classes is None else np.digitize(signal, [0, 0.8][: n_classes - 1])
    weight, is_class = rng.random(70) if is_weighted else None, n_classes is not None
    rank, n_codes = ranks_of(codes)
    slow = Slow(rank, fold, y, weight, is_class)
    rows = np.bincount(rank, slow.weight, n_codes)
    found = evidence_of(rank, fold, rows, outcomes_of(y, weight, is_class=is_class))
    assert_allclose(found, slow_evidence([slow]), rtol=1e-6)


def test_means_and_errors_of_several_outputs_are_added(monkeypatch, rng):
    monkeypatch.setattr(evidence_module, "LEVELS", (3, 7))
    rank, fold = rng.permutation(60) % 20, rng.integers(N_FOLDS, size=60)
    y = rng.integers(2, size=(60, 2))
    outcomes = outcomes_of(y, None, is_class=True)
    found = evidence_of(rank, fold, np.full(20, 3.0), outcomes)
    slows = [Slow(rank, fold, labels, None, True) for labels in y.T]
    assert_allclose(found, slow_evidence(slows), rtol=1e-6)


# The rule


def rule(evidence, rows_of_code, *, by_itself, beside):
    """What the docstring says: is something at stake, and then three questions."""
    if rows_of_code < 5 and evidence.codes_beat_mean < 0:
        return True
    keep_rows = rows_of_code >= 20
    gain = evidence.others_help_codes
    neighbours_help = evidence.bins_beat_codes > 0 or (keep_rows and gain > 1)
    little_is_lost = keep_rows or evidence.codes_beat_bins <= 3
    order_helps = by_itself or beside or (evidence.codes_beat_bins <= 3 and gain > 2)
    return neighbours_help and little_is_lost and order_helps


@pytest.mark.parametrize("rows_of_code", [4, 5, 40])
@pytest.mark.parametrize(("by_itself", "beside"), [(0, 0), (1, 0), (0, 1)])
def test_answer_is_that_of_the_questions(by_itself, beside, rows_of_code, monkeypatch):
    codes = np.repeat(np.arange(30), rows_of_code)
    outcomes = outcomes_of(codes % 2, None, is_class=True)
    for numbers in product((-1, 0.1), (0.5, 1.5, 2.5), (2.9, 3.1), (-0.1, 0, 0.1)):
        evidence = Evidence(*numbers)
        monkeypatch.setattr(evidence_module, "evidence_of", lambda *_, e=evidence: e)
        monkeypatch.setattr(evidence_module, "order_matters", lambda *_: by_itself)
        expected = rule(evidence, rows_of_code, by_itself=by_itself, beside=beside)
        found = neighbours_belong_together(codes, outcomes, lambda _: bool(beside))
        assert bool(found) == bool(expected), evidence


def test_order_is_tested_by_residuals_of_all_outputs(monkeypatch, rng):
    seen = SimpleNamespace()
    monkeypatch.setattr(evidence_module, "evidence_of", lambda *_: Evidence(1, 0, 0, 0))

    def remember(sums, rows):
        seen.sums, seen.rows = sums, rows

    monkeypatch.setattr(evidence_module, "order_matters", remember)
    codes, y = rng.permutation(200) % 40, rng.integers(2, size=(200, 2))
    neighbours_belong_together(codes, outcomes_of(y, None, is_class=True))
    for code in range(40):
        expected = (y - y.mean(0))[codes == code].sum(0)
        assert_allclose(seen.sums[code], expected, atol=1e-9)
    assert_array_equal(seen.rows, 5)


@pytest.mark.parametrize(
    "codes",
    [np.zeros(500, int), np.arange(500) % 2, np.arange(500) % 11, np.arange(64)],
    ids=["one code", "two codes", "few codes of many rows", "few rows"],
)
def test_nothing_is_asked_of_too_few_codes_or_rows(codes, monkeypatch):
    monkeypatch.setattr(evidence_module, "evidence_of", None)
    outcomes = outcomes_of(codes.astype(float), None, is_class=False)
    assert not neighbours_belong_together(codes, outcomes)


def test_constant_y_says_nothing():
    codes = np.arange(2000) % 50
    for y, is_class in ((np.zeros(2000, int), True), (np.full(2000, 7.0), False)):
        assert not neighbours_belong_together(codes, outcomes_of(y, None, is_class=is_class))


# Weights


@pytest.mark.parametrize("is_class", [True, False])
def test_a_row_of_weight_w_is_w_rows_of_its_fold(is_class, rng):
    """Where weights sum to the number of rows, as those of fewer rows tell less."""
    n = 300
    rank, fold = rng.permutation(n) % 60, rng.integers(N_FOLDS, size=n)
    y = rng.integers(3, size=n) if is_class else rng.normal(size=n)
    repeats = rng.multinomial(n, np.full(n, 1 / n))
    repeats[np.unique(rank, return_index=True)[1]] += 1  # each code has a row
    repeats[np.argsort(-repeats, kind="stable")[:60]] -= 1
    found = evidence_of(
        rank,
        fold,
        np.bincount(rank, repeats),
        outcomes_of(y, repeats.astype(float), is_class=is_class),
    )
    repeated = [np.repeat(values, repeats) for values in (rank, fold, y)]
    expected = evidence_of(
        *repeated[:2],
        np.bincount(repeated[0], minlength=60),
        outcomes_of(repeated[2], None, is_class=is_class),
    )
    assert repeats.sum() == n
    assert_allclose(found, expected, rtol=1e-9)


def test_scale_of_weights_and_names_of_classes_have_no_effect(rng):
    codes, y = rng.integers(60, size=500), rng.integers(12, size=500)
    weight, fold = rng.integers(1, 4, 500), rng.integers(N_FOLDS, size=500)
    rank, n_codes = ranks_of(codes)
    rows = np.bincount(rank, weight / weight.mean(), n_codes)
    expected = evidence_of(rank, fold, rows, outcomes_of(y, weight, is_class=True))
    names = rng.permutation(12)
    for labels, scale in ((y, 1e-3), (y, 1e6), (names[y], 1)):
        outcomes = outcomes_of(labels, scale * weight, is_class=True)
        assert_allclose(evidence_of(rank, fold, rows, outcomes), expected, rtol=1e-9)


def test_rows_of_a_large_weight_count_more(rng):
    smooth, codes = rng.random(2000) < 0.5, rng.integers(400, size=2000)
    y = np.where(smooth, codes < 200, rng.integers(0, 2, 400)[codes]).astype(int)

    def answer(weight):
        return neighbours_belong_together(codes, outcomes_of(y, weight, is_class=True))

    assert answer(np.where(smooth, 1.0, 1e-3))
    assert not answer(np.where(smooth, 1e-3, 1.0))


def test_codes_far_apart_are_in_their_order(rng):
    codes = rng.integers(300, size=2000)
    y = (np.sin(codes / 60) + rng.normal(size=2000) > 0).astype(int)
    outcomes = outcomes_of(y, None, is_class=True)
    assert neighbours_belong_together(codes * 10**12 - 5, outcomes)
    assert not neighbours_belong_together(rng.permutation(300)[codes] * 10**12, outcomes)
