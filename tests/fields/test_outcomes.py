"""Outputs of y counted by codes, against loops over the rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_deepfm._fields.outcomes import outcomes_of

N_ROWS, SHAPE = 120, (3, 5)


def outcome_of(rng, n_classes, weight=None):
    """An output, and what is averaged of each row."""
    if n_classes is None:
        y = rng.normal(5, 3, N_ROWS)
        mean = np.average(y, weights=weight)
        standard = (y - mean) / np.sqrt(np.average((y - mean) ** 2, weights=weight))
        return outcomes_of(y, weight, is_class=False)[0], standard[:, np.newaxis]
    y = np.append(rng.integers(n_classes, size=N_ROWS - 1), n_classes - 1)
    return outcomes_of(y, weight, is_class=True)[0], np.eye(n_classes)[y]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4, None])
def test_totals_and_residuals_are_sums_over_rows(n_classes, is_weighted, rng):
    weight = rng.random(N_ROWS) * 7 if is_weighted else None
    outcome, averaged = outcome_of(rng, n_classes, weight)
    group, code = rng.integers(SHAPE[0], size=N_ROWS), rng.integers(SHAPE[1], size=N_ROWS)
    totals = outcome.totals(group * SHAPE[1] + code, SHAPE)
    residuals = totals.residuals()
    weight = np.ones(N_ROWS) if weight is None else weight / weight.mean()
    for g in range(SHAPE[0]):
        mean = np.average(averaged[group == g], axis=0, weights=weight[group == g])
        for c in range(SHAPE[1]):
            rows = (group == g) & (code == c)
            w, y = weight[rows][:, np.newaxis], averaged[rows]
            assert_allclose(totals.n[g, c], w.sum())
            assert_allclose(totals.sums[g, c], (w * y).sum(0), atol=1e-12)
            expected = (w * (y - mean)).sum(0)
            expected = expected if n_classes is None else expected[1:]
            assert_allclose(residuals[g, c], expected, atol=1e-9)
            if n_classes is None:
                assert_allclose(totals.squares[g, c], (w * y**2).sum())


@pytest.mark.parametrize("n_classes", [2, 4, None])
def test_difference_is_the_mean_of_those_of_the_rows(n_classes, rng):
    weight = rng.random(N_ROWS)
    outcome, averaged = outcome_of(rng, n_classes, weight)
    cell = rng.integers(np.prod(SHAPE), size=N_ROWS)
    first, second = rng.random((2, *SHAPE, averaged.shape[1])) / 2 + 0.1
    mean, error = outcome.difference(outcome.totals(cell, SHAPE), first, second)

    def losses(prediction):
        of_rows = prediction.reshape(-1, averaged.shape[1])[cell]
        if n_classes is None:
            return ((averaged - of_rows) ** 2)[:, 0]
        return -np.log((averaged * of_rows).sum(1))

    d, weight = losses(first) - losses(second), weight / weight.mean()
    assert_allclose(mean, np.average(d, weights=weight))
    variance = np.average((d - np.average(d, weights=weight)) ** 2, weights=weight)
    assert_allclose(error, np.sqrt(variance / N_ROWS))


def test_rarest_of_many_classes_count_as_one(rng):
    y = np.repeat(np.arange(10), [1, 9, 2, 8, 7, 6, 5, 4, 30, 3])
    outcome = outcomes_of(y, None, is_class=True)[0]
    of_classes = outcome.totals(np.zeros(len(y), int), (1, 1)).sums[0, 0]
    assert of_classes.tolist() == [30, 9, 8, 7, 6, 5, 4, 3 + 2 + 1]


@pytest.mark.parametrize("n_classes", [3, None])
def test_some_rows_alone(n_classes, rng):
    weight = rng.random(N_ROWS)
    outcome, averaged = outcome_of(rng, n_classes, weight)
    rows = rng.permutation(N_ROWS)[:50]
    totals = outcome.take(rows).totals(np.zeros(50, int), (1, 1))
    weight = weight[rows] / weight.mean()
    assert_allclose(totals.n, [[weight.sum()]])
    assert_allclose(totals.sums[0, 0], weight @ averaged[rows])


def test_labels_and_several_numbers_are_outputs_of_their_own(rng):
    y = rng.integers(2, size=(50, 3))
    for is_class in (True, False):
        outcomes = outcomes_of(y, None, is_class=is_class)
        assert len(outcomes) == 3
        for outcome, column in zip(outcomes, y.T, strict=True):
            alone = outcomes_of(column, None, is_class=is_class)[0]
            cell = rng.integers(4, size=50)
            assert_allclose(outcome.totals(cell, (1, 4)).sums, alone.totals(cell, (1, 4)).sums)
