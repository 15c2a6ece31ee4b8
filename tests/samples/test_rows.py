"""The rows to train on: weights, repeats merged into one row, a part held out."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._samples.rows import (
    FEW_ROWS,
    Rows,
    check_weight,
    hold_out,
    merge_repeats,
    without_zero_weights,
)


def numbered(n_rows, y=None, weight=None):
    """Rows whose only column is their number."""
    y = np.zeros(n_rows, dtype=int) if y is None else y
    return Rows([InputColumn("number", np.arange(n_rows))], y, weight)


def numbers(rows):
    return rows.columns[0].values


def random_rows(rng, n_rows=FEW_ROWS):
    """Columns of every kind with few values, so that many rows are equal."""
    missing = rng.random(n_rows) < 0.3
    columns = [
        InputColumn("codes", np.where(missing, 0, rng.integers(-2, 2, n_rows)), missing),
        InputColumn("numbers", rng.choice([0.1, 2.5, np.nan], n_rows)),
        InputColumn("categories", rng.integers(-1, 2, n_rows), categories=pd.Index(["b", "a"])),
    ]
    return Rows(columns, rng.choice([0.5, 1.5], n_rows), None)


def cells(rows):
    """Each row as a tuple, with None for a missing cell."""
    parts = []
    for column in rows.columns:
        gap = column.missing if column.missing is not None else np.isnan(column.values)
        parts.append(np.where(gap, None, column.values))
    return list(zip(*parts, rows.y.tolist(), strict=True))


def assert_same(one, other):
    assert_array_equal(one.y, other.y)
    assert_array_equal(one.weight, other.weight)
    for a, b in zip(one.columns, other.columns, strict=True):
        assert a.values.tobytes() == b.values.tobytes()
        assert_array_equal(a.missing, b.missing)


@pytest.mark.parametrize(
    ("weight", "expected"), [(None, None), (2, [2, 2]), ([0, 3], [0, 3]), ([True, False], [1, 0])]
)
def test_weight_becomes_floats(weight, expected):
    checked = check_weight(weight, np.ones(2))
    assert checked is None if expected is None else checked.tolist() == expected
    assert checked is None or checked.dtype == np.float64


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([[1, 2]], r"^w must be 1D array or scalar.* shape \(1, 2\)"),
        (np.array(3.0), r"^w must be 1D .* shape \(\)"),
        ([1], r"inconsistent numbers of samples: \[2, 1\]"),
        ([-1, 1], r"^w must hold finite numbers of at least 0, got values in \[-1.0, 1.0\]"),
        ([np.nan, 1], "^w must hold finite numbers .*nan"),
        ([np.inf, 1], r"^w must hold finite numbers .*\[1.0, inf\]"),
        ([0, 0], "^w is zero for every sample"),
        (0, "^w is zero for every sample"),
        (["a", "b"], "could not convert string to float"),
    ],
)
def test_bad_weight_is_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        check_weight(weight, np.ones(2), "w")


@pytest.mark.parametrize("name", ["sample_weight", "sample_weight_val"])
def test_bad_weight_is_refused_under_its_name(name):
    X, y = np.array([[0], [1]]), [0, 1]
    options = {"sample_weight_val": None, "X_val": X, "y_val": y, name: [-1, 1]}
    with pytest.raises(ValueError, match=f"^{name} must hold finite"):
        DeepFMClassifier().fit(X, y, **options)


def test_rows_of_weight_zero_are_dropped():
    rows = numbered(4, weight=np.array([1.0, 0, 2, 0]))
    kept = without_zero_weights(rows)
    assert numbers(kept).tolist() == [0, 2]
    assert kept.weight.tolist() == [1, 2]
    assert without_zero_weights(kept) is kept
    assert without_zero_weights(numbered(4)).weight is None


def test_merged_rows_are_distinct_and_carry_the_sum_of_weights(rng):
    rows = random_rows(rng)
    weight = rng.integers(1, 9, len(rows)).astype(float)
    expected = Counter()
    for row, w in zip(cells(rows), weight, strict=True):
        expected[row] += w
    found = merge_repeats(Rows(rows.columns, rows.y, weight))
    assert dict(zip(cells(found), found.weight, strict=True)) == expected
    assert len(found) == len(expected) < len(rows)
    assert found.columns[2].categories is rows.columns[2].categories


def test_weighted_and_repeated_rows_merge_to_the_same_bits_in_any_order(rng):
    rows = random_rows(rng, 16)
    weight = rng.integers(0, 5, len(rows))
    weighted = merge_repeats(without_zero_weights(Rows(rows.columns, rows.y, weight * 1.0)))
    repeated = np.repeat(np.arange(len(rows)), weight)
    assert_same(weighted, merge_repeats(rows.take(repeated)))
    assert_same(weighted, merge_repeats(rows.take(rng.permutation(repeated))))
    assert_same(weighted, merge_repeats(weighted))


def test_scale_of_the_weights_stays_in_the_sums(rng):
    rows = random_rows(rng)
    weight = rng.random(len(rows))
    one, four = (merge_repeats(Rows(rows.columns, rows.y, weight * s)) for s in (1, 4))
    assert_array_equal(4 * one.weight, four.weight)
    assert_array_equal(one.y, four.y)


def test_rows_that_differ_in_the_target_alone_are_distinct():
    rows = Rows([InputColumn("c", np.zeros(4, dtype=int))], np.array([1, 0, 1, 1]), None)
    found = merge_repeats(rows)
    assert found.y.tolist() == [0, 1]
    assert found.weight.tolist() == [1, 3]


@pytest.mark.parametrize("n_rows", [1, 2, FEW_ROWS, FEW_ROWS + 1, 4096, 16384])
def test_few_rows_are_merged_and_no_more(n_rows):
    rows = numbered(1).take(np.zeros(n_rows, dtype=int))
    found = merge_repeats(rows)
    if n_rows <= FEW_ROWS:
        assert found.weight.tolist() == [n_rows]
    else:
        assert found is rows


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("n_rows", [FEW_ROWS + 1, 3000])
def test_rows_are_held_out_one_by_one(n_rows, stratify, rng):
    """Whatever is equal among them: training knows the codes that it is validated on."""
    cells = np.tile(np.arange(5), n_rows // 5)
    rows = Rows([InputColumn("c", cells)], rng.integers(0, 3, len(cells)), None)
    train, valid = hold_out(rows, 0.2, np.random.RandomState(0), stratify=stratify)
    assert set(train.columns[0].values) == set(range(5)) >= set(valid.columns[0].values)
    assert len(valid) == pytest.approx(0.2 * len(cells), abs=2)


@pytest.mark.parametrize("stratify", [True, False])
def test_few_rows_of_equal_columns_are_held_out_together(stratify, rng):
    """Or training would see a cell with one label only, and learn that the other never occurs."""
    cells = rng.integers(0, 12, FEW_ROWS)
    rows = merge_repeats(Rows([InputColumn("c", cells)], rng.integers(0, 2, FEW_ROWS), None))
    train, valid = hold_out(rows, 0.2, np.random.RandomState(0), stratify=stratify)
    assert not set(train.columns[0].values) & set(valid.columns[0].values)
    assert len(train) + len(valid) == len(rows)
    assert 0.05 < len(valid) / len(rows) < 0.4
    assert set(train.y) == set(rows.y)


def test_class_that_is_nowhere_the_heaviest_keeps_a_training_row(rng):
    cells = np.repeat(np.arange(20), 2)
    y, weight = np.tile([0, 1], 20), np.tile([5.0, 1.0], 20)
    rare = rng.integers(20) * 2
    y[rare + 1] = 2  # the only row of class 2, the light one of its cell
    for seed in range(20):
        rows = Rows([InputColumn("c", cells)], y, weight)
        train, _ = hold_out(rows, 0.5, np.random.RandomState(seed), stratify=True)
        assert set(train.y) == {0, 1, 2}


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("stratify", [True, False])
def test_hold_out_splits_rows_in_proportion(rng, fraction, stratify):
    y = rng.choice(4, 300, p=[0.6, 0.3, 0.08, 0.02])
    y[:4] = range(4)
    rows = numbered(300, y, weight=np.arange(300.0))
    parts = hold_out(rows, fraction, np.random.RandomState(0), stratify=stratify)
    for part in parts:
        assert (np.diff(numbers(part)) > 0).all()
        assert_array_equal(part.y, y[numbers(part)])
        assert_array_equal(part.weight, numbers(part))
    train, valid = parts
    assert sorted([*numbers(train), *numbers(valid)]) == list(range(300))
    if stratify:
        counts = np.bincount(y)
        held, kept = np.bincount(valid.y, minlength=4), np.bincount(train.y, minlength=4)
        assert (kept >= 1).all()
        assert (np.abs(held - np.minimum(fraction * counts, counts - 1)) <= 0.5).all()
    else:
        assert len(valid) == round(fraction * 300)


@pytest.mark.parametrize("stratify", [True, False])
def test_hold_out_is_reproducible_and_random(stratify):
    rows = numbered(100, np.arange(100) % 2)

    def held(seed):
        random = np.random.RandomState(seed)
        return numbers(hold_out(rows, 0.2, random, stratify=stratify)[1]).tolist()

    assert held(0) == held(0) != held(1)
    assert {row for seed in range(60) for row in held(seed)} == set(range(100))


def test_class_of_one_row_is_trained_on():
    y = np.array([0] * 40 + [1] * 40 + [2])
    for seed in range(20):
        train, _ = hold_out(numbered(81, y), 0.9, np.random.RandomState(seed), stratify=True)
        assert set(train.y) == {0, 1, 2}


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_two_rows_make_one_of_each(fraction):
    parts = hold_out(numbered(2), fraction, np.random.RandomState(0), stratify=False)
    assert [len(part) for part in parts] == [1, 1]


def test_classes_too_small_to_split_warn_and_are_split_alike():
    rows = numbered(30, np.arange(30) // 3)
    with pytest.warns(UserWarning, match="Every class has too few rows"):
        train, valid = hold_out(rows, 0.1, np.random.RandomState(0), stratify=True)
    assert (len(train), len(valid)) == (27, 3)


def test_warning_of_small_classes_points_at_the_call_of_fit():
    model = DeepFMClassifier(max_epochs=1, early_stopping=True, random_state=0)
    with pytest.warns(UserWarning, match="Every class has too few rows") as caught:
        model.fit(np.arange(4)[:, None], [0, 0, 1, 1])
    assert [warning.filename for warning in caught] == [__file__]


def test_single_row_cannot_be_held_out():
    with pytest.raises(
        ValueError, match="needs at least 2 distinct rows .* got n_samples = 1 of them"
    ):
        hold_out(numbered(1), 0.1, np.random.RandomState(0), stratify=True)


def test_equal_rows_of_two_groups_are_not_merged():
    cells, groups = np.zeros(4, dtype=int), np.array(["a", "b", "a", "a"], dtype=object)
    merged = merge_repeats(Rows([InputColumn("c", cells)], cells, None, groups))
    assert sorted(zip(merged.groups, merged.weight, strict=True)) == [("a", 3), ("b", 1)]
