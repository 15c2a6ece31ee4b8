"""Columns beside which an order may matter: what is counted, against loops over the rows."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_deepfm._fields import other_columns
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._fields.other_columns import LEVELS, OtherColumns
from sklearn_deepfm._fields.outcomes import outcomes_of


@pytest.fixture
def counted(monkeypatch):
    """The sums and rows that the order is tested by."""
    found = []
    monkeypatch.setattr(
        other_columns, "order_matters_beside", lambda *sums_and_rows: found.extend(sums_and_rows)
    )
    return found


def lists(n):
    members = InputColumn("l", np.arange(n))
    return InputListColumn("l", members, np.arange(n + 1), None)


def test_sums_and_rows_of_each_level_are_those_of_loops(counted, rng):
    n = 300
    code, few = rng.integers(10, size=n) * 3, rng.integers(4, size=n)
    numbers = rng.normal(size=n)
    y, weight = rng.normal(size=n), rng.random(n)
    columns = [InputColumn("few", few), InputColumn("code", code), InputColumn("x", numbers)]
    others = OtherColumns([*columns, lists(n)], outcomes_of(y, weight, is_class=False))
    others.show_order(1, code)
    (of_few, of_numbers), (rows_of_few, rows_of_numbers) = counted
    weight = weight / weight.mean()
    y = (y - np.average(y, weights=weight)) / np.sqrt(np.cov(y, aweights=weight, ddof=0))
    for k in range(4):
        mean = np.average(y[few == k], weights=weight[few == k])
        for c in range(10):
            rows = (few == k) & (code == 3 * c)
            assert_allclose(rows_of_few[c, k], weight[rows].sum())
            assert_allclose(of_few[c, k, 0], (weight * (y - mean))[rows].sum(), atol=1e-9)
    assert rows_of_numbers.shape == (10, LEVELS)
    assert_allclose(rows_of_numbers.sum(0), n / LEVELS, rtol=0.1)
    assert_allclose(of_numbers.sum((0, 2)), 0, atol=1e-9)


def test_levels_ascend_and_missing_cells_have_the_first(rng):
    n = 400
    outcomes = outcomes_of(rng.normal(size=n), None, is_class=False)
    numbers, missing = rng.integers(1000, size=n), rng.random(n) < 0.3
    floats = np.where(missing, np.nan, numbers)
    columns = [InputColumn("i", numbers, missing), InputColumn("f", floats)]
    of_integers, of_floats = OtherColumns(columns, outcomes)._levels.values()
    assert_array_equal(of_integers, of_floats)
    assert np.ptp(of_integers[missing]) == 0
    ascending = of_integers[~missing][np.argsort(numbers[~missing])]
    assert (np.diff(ascending) >= 0).all()
    assert ascending.min() >= of_integers[missing][0]


@pytest.mark.parametrize("is_class", [True, False])
def test_a_row_of_weight_w_is_w_rows(is_class, counted, rng):
    code, other = rng.integers(10, size=200), rng.integers(LEVELS, size=200)
    y = rng.integers(3, size=200) if is_class else rng.normal(size=200)
    repeats = rng.multinomial(200, np.full(200, 1 / 200))
    keep = repeats > 0
    for times, weight in ((keep, repeats[keep]), (repeats, None)):
        rows = np.repeat(np.arange(200), times)
        columns = [InputColumn("code", code[rows]), InputColumn("other", other[rows])]
        outcomes = outcomes_of(y[rows], weight, is_class=is_class)
        OtherColumns(columns, outcomes).show_order(0, code[rows])
    (sums,), (rows,), (sums_of_repeats,), (rows_of_repeats,) = counted
    # By weights it is fewer rows, to whose number weights are scaled.
    assert_allclose(rows * 200 / keep.sum(), rows_of_repeats)
    assert_allclose(sums * 200 / keep.sum(), sums_of_repeats, atol=1e-9)


def test_classes_and_outputs_are_columns_side_by_side_up_to_four(counted, rng):
    code, other = rng.integers(10, size=(2, 200))
    columns = [InputColumn("code", code), InputColumn("other", other)]
    for n_classes, n_columns in ((2, 1), (4, 3), (8, 4)):
        y = np.arange(200) % n_classes
        OtherColumns(columns, outcomes_of(y, None, is_class=True)).show_order(0, code)
        assert counted[0][0].shape == (10, LEVELS, n_columns)
        counted.clear()


def test_of_many_rows_some_are_counted(counted, monkeypatch, rng):
    monkeypatch.setattr(other_columns, "_MOST_ROWS", 100)
    code, other = rng.integers(5, size=(2, 1000))
    columns = [InputColumn("code", code), InputColumn("other", other)]
    OtherColumns(columns, outcomes_of(code, None, is_class=False)).show_order(0, code)
    assert counted[1][0].sum() == 100


def test_beside_many_columns_some_are_asked(counted, monkeypatch, rng):
    monkeypatch.setattr(other_columns, "_MOST_COLUMNS", 4)
    columns = [InputColumn(str(j), rng.integers(5, size=100)) for j in range(10)]
    outcomes = outcomes_of(rng.normal(size=100), None, is_class=False)
    OtherColumns(columns, outcomes).show_order(1, columns[1].values)
    assert len(counted[0]) == 4  # the first, fourth, seventh and tenth


def test_a_column_alone_and_lists_beside_it_show_no_order(rng):
    code = rng.integers(50, size=500)
    outcomes = outcomes_of(np.sin(code / 8), None, is_class=False)
    alone = [InputColumn("code", code)]
    for columns in (alone, [*alone, lists(500)]):
        assert not OtherColumns(columns, outcomes).show_order(0, code)


def test_column_of_one_code_beside_it_shows_what_the_column_alone_does(rng):
    code = rng.integers(50, size=2000)
    constant = InputColumn("constant", np.zeros(2000, int))
    for y, expected in ((np.sin(code / 8), True), (rng.normal(size=50)[code], False)):
        outcomes = outcomes_of(y + rng.normal(size=2000), None, is_class=False)
        others = OtherColumns([InputColumn("code", code), constant], outcomes)
        assert others.show_order(0, code) == expected


@pytest.mark.parametrize("partner", ["whole", "floats", "missing", "categories"])
def test_order_beside_a_partner_of_any_kind(partner, rng):
    n = 3000
    code, side = rng.integers(300, size=n), rng.integers(300, size=n)
    y = np.sin(code / 60) * np.sin(side / 60) + rng.normal(size=n)
    column = {
        "whole": InputColumn("side", side),
        "floats": InputColumn("side", side / 7),
        "missing": InputColumn("side", side, rng.random(n) < 0.2),
        "categories": InputColumn("side", side // 50, None, pa.array(range(6)).to_pandas()),
    }[partner]
    others = OtherColumns([InputColumn("code", code), column], outcomes_of(y, None, is_class=False))
    assert others.show_order(0, code)
    shuffled = rng.permutation(300)[code]
    assert not others.show_order(0, shuffled)
