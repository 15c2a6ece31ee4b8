"""Tests of an order by shuffled ones, against loops over orders, bins and codes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_deepfm._fields.order import (
    BESIDE_BEYOND_CHANCE,
    BEYOND_CHANCE,
    N_BINS,
    N_BINS_BESIDE,
    N_SHUFFLES,
    N_SHUFFLES_BESIDE,
    TREND_BEYOND_CHANCE,
    _explained_in_orders,
    order_matters,
    order_matters_beside,
)


def slow_orders(n_codes, n_shuffles):
    random = np.random.RandomState(0)
    return [np.arange(n_codes), *(random.permutation(n_codes) for _ in range(n_shuffles))]


def slow_explained(sums, rows, order, n_bins):
    """What bins of codes in an order explain of the variance of y, in one level."""
    # Each code lies where the middle of its rows, over all levels, does.
    bins, below = {}, 0.0
    for code in order:
        middle = below + rows[code].sum() / 2
        bins.setdefault(int(middle * (n_bins / rows.sum())), []).append(code)
        below += rows[code].sum()
    explained = np.zeros(rows.shape[1])
    for codes in bins.values():
        for level in range(rows.shape[1]):
            n = sum(rows[code, level] for code in codes)
            total = sum(sums[code, level] for code in codes)
            explained[level] += (total**2).sum() / n if n else 0
    return explained


def deviations(found):
    return (np.array(found) - np.mean(found[1:], 0)) / (np.std(found[1:], 0) + 1e-12)


def slow_line(sums, rows, order):
    """What a line over the middle ranks explains of the variance of y."""
    products, squares, below = np.zeros(sums.shape[1]), 0.0, 0.0
    for code in order:
        x = below + rows[code] / 2 - rows.sum() / 2
        products += x * sums[code]
        squares += rows[code] * x**2
        below += rows[code]
    return (products**2).sum() / squares


def slow_order_matters(sums, rows):
    lines = [slow_line(sums, rows, order) for order in slow_orders(len(rows), N_SHUFFLES)]
    if deviations(lines)[0] > TREND_BEYOND_CHANCE:
        return True
    for n_bins in N_BINS:
        orders = slow_orders(len(rows), N_SHUFFLES)
        found = [slow_explained(sums[:, None], rows[:, None], o, n_bins)[0] for o in orders]
        if deviations(found)[0] > BEYOND_CHANCE and (n_bins == 6 or 2 * n_bins <= len(rows)):
            return True
    return False


def slow_order_matters_beside(sums, rows):
    orders = slow_orders(len(rows[0]), N_SHUFFLES_BESIDE)
    found = [
        [slow_explained(s, r, order, N_BINS_BESIDE).sum() for s, r in zip(sums, rows, strict=True)]
        for order in orders
    ]
    return deviations(deviations(found).max(1))[0] > BESIDE_BEYOND_CHANCE


def residuals(y, code, n_codes, level=None):
    """Sums of y less the mean of the level, and rows, of each code and level."""
    level = np.zeros(len(y), int) if level is None else level
    sums, rows = np.zeros((n_codes, level.max() + 1, 1)), np.zeros((n_codes, level.max() + 1))
    for k in range(level.max() + 1):
        of_level = y - y[level == k].mean()
        for c in range(n_codes):
            sums[c, k] = of_level[(code == c) & (level == k)].sum()
            rows[c, k] = ((code == c) & (level == k)).sum()
    return sums, rows


@pytest.mark.parametrize("strength", [0, 0.2, 0.4, 1])
def test_order_is_tested_as_loops_do(strength, rng):
    n_codes = 60
    code = rng.integers(n_codes, size=400)
    own = rng.normal(size=n_codes)[code]
    sums, rows = residuals(strength * np.sin(code / 15) + own / 2, code, n_codes)
    expected = slow_order_matters(sums[:, 0], rows[:, 0])
    assert order_matters(sums[:, 0], rows[:, 0]) == expected
    assert expected in ({0: [False], 1: [True]}.get(strength, [False, True]))


@pytest.mark.parametrize("strength", [0, 0.5, 2])
def test_order_beside_others_is_tested_as_loops_do(strength, rng):
    n_codes = 30
    code, level, other = (rng.integers(n, size=600) for n in (n_codes, 4, 3))
    y = strength * np.sin(code / 8) * (level - 1.5) + rng.normal(size=600)
    parts = [residuals(y, code, n_codes, of_column) for of_column in (other, level)]
    sums, rows = zip(*parts, strict=True)
    expected = slow_order_matters_beside(sums, rows)
    assert order_matters_beside(sums, rows) == expected
    assert expected in ({0: [False], 2: [True]}.get(strength, [False, True]))


def test_explained_of_weights_and_several_columns_is_that_of_loops(rng):
    sums, rows = rng.normal(size=(40, 3, 2)), rng.random((40, 3))
    rows[3:9, 1] = 0  # no row of these codes in this level
    sums[3:9, 1] = 0
    rows[-2:] = sums[-2:] = 0  # codes of no weight
    found = _explained_in_orders(sums, rows, 6, 4)
    expected = [slow_explained(sums, rows, order, 6) for order in slow_orders(40, 4)]
    assert_allclose(found, expected)


def test_order_of_effects_of_single_codes_is_none():
    """However strong they are: shuffled orders have the same ones."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = rng.integers(1, 40, 300).astype(float)
        sums = (rows * rng.standard_t(3, 300))[:, np.newaxis]
        found.append(order_matters(sums - rows[:, np.newaxis] * sums.sum() / rows.sum(), rows))
    assert np.mean(found) <= 0.05


def test_weak_trend_is_found_by_a_line_where_bins_find_nothing(monkeypatch):
    def n_found():
        found = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            code = rng.integers(300, size=1000)
            sums, rows = residuals(code / 700 + rng.normal(size=1000), code, 300)
            found.append(order_matters(sums[:, 0], rows[:, 0]))
        return sum(found)

    with_lines = n_found()
    monkeypatch.setattr("sklearn_deepfm._fields.order.TREND_BEYOND_CHANCE", np.inf)
    assert n_found() + 4 <= with_lines


def test_few_codes_have_too_few_orders():
    rows = np.full(5, 100.0)
    sums = np.linspace(-90, 90, 5)[:, np.newaxis]
    assert not order_matters(sums, rows)
    assert not order_matters_beside([sums[:, np.newaxis]], [rows[:, np.newaxis]])


def test_no_other_column_tells_nothing():
    assert not order_matters_beside([], [])


def test_order_is_found_beside_one_of_many_columns(rng):
    code, level = rng.integers(100, size=2000), rng.integers(3, size=2000)
    y = np.sin(code / 20) * (level - 1) + rng.normal(size=2000)
    others = [rng.integers(8, size=2000) for _ in range(20)]
    parts = [residuals(y, code, 100, of_column) for of_column in others]
    assert not order_matters_beside(*zip(*parts, strict=True))
    parts.insert(7, residuals(y, code, 100, level))
    assert order_matters_beside(*zip(*parts, strict=True))
