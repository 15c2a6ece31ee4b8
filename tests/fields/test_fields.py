"""All fields of a table side by side: the layout of their rows, and how it grows."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn


def numbers(values):
    return InputColumn("c", np.array(values))


def random_table(rng, n_rows=40):
    """Columns of all kinds, and which of them hold codes."""
    columns, is_index = [], []
    for name in range(rng.integers(1, 8)):
        kind = rng.integers(4)
        missing = rng.random(n_rows) < rng.choice([0, 0.3])
        values = rng.integers(-5, rng.integers(1, 60), n_rows) * rng.choice([1, 10**9])
        if kind == 0:
            column = InputColumn(name, np.where(missing, np.nan, rng.normal(size=n_rows)))
        elif kind == 1:
            column = InputColumn(name, np.where(missing, np.nan, values))
        elif kind == 2:
            column = InputColumn(name, values, missing if missing.any() else None)
        else:
            order = pd.Index(rng.permutation(list("abcdefgh")))
            column = InputColumn(name, np.where(missing, -1, values % 8), categories=order)
        columns.append(column)
        is_index.append(kind > 0)
    return columns, is_index


@pytest.mark.parametrize("seed", range(30))
def test_fields_lie_side_by_side_in_the_table(seed):
    rng = np.random.default_rng(seed)
    columns, is_index = random_table(rng)
    part = rng.permutation(40)[:10]
    fields = Fields([column.take(part) for column in columns], is_index, None)
    index, value, _ = fields.encode(columns)
    assert index.dtype == np.int32
    assert index.shape == (40, len(columns))
    assert_array_equal(fields.offsets, np.concatenate([[0], np.cumsum(fields.dims)[:-1]]))
    assert (index >= fields.offsets).all()
    assert (index < fields.offsets + fields.dims).all()
    numeric = np.flatnonzero(~np.array(is_index))
    assert fields.slopes == {j: fields.offsets[j] + 1 for j in numeric}
    slopes = list(fields.slopes.values())
    assert not np.isin(index, slopes).any()  # the network adds them; no cell names them
    assert (value is None) == (len(numeric) == 0)
    assert value is None or value.shape == (40, len(numeric))
    starts = [start for start, _ in fields.frequencies]
    assert starts == fields.offsets.tolist()


@pytest.mark.parametrize("seed", range(30))
def test_growth_keeps_old_rows_and_adds_the_frequencies(seed):
    rng = np.random.default_rng(seed)
    columns, is_index = random_table(rng)
    weight = rng.random(40)
    first, second = np.arange(15), np.arange(15, 40)
    old = Fields([column.take(first) for column in columns], is_index, weight[first])
    before, dims = copy.deepcopy(old.__dict__), old.dims.copy()
    old_index, old_value, _ = old.encode(columns)
    new, source, is_new = old.grown([column.take(second) for column in columns], weight[second])
    new_index, _, _ = new.encode(columns)
    if new.dims.sum() == old.dims.sum():
        assert len(source) == len(is_new) == 0
        source, is_new = np.arange(old.dims.sum()), np.zeros(old.dims.sum(), dtype=bool)

    # A cell keeps its row, or gets a new one that starts from its field's first row.
    assert len(source) == len(is_new) == new.dims.sum()
    assert_array_equal(source[new_index], old_index)
    assert_array_equal(source[~is_new], np.arange(old.dims.sum()))
    field_of = np.repeat(np.arange(len(columns)), new.dims)
    assert_array_equal(source[is_new], old.offsets[field_of[is_new]])
    for j, column in enumerate(columns):
        if is_index[j]:
            whole = Fields([column], [True], weight)
            assert new.dims[j] == whole.dims[0]
            by_row = np.bincount(new_index[:, j] - new.offsets[j], weight, new.dims[j])
            assert_allclose(new._fields[j].frequency, by_row, atol=1e-12)

    # The old object serves on as if nothing had happened.
    assert_array_equal(old.dims, dims)
    again_index, again_value, _ = old.encode(columns)
    assert_array_equal(again_index, old_index)
    assert_array_equal(again_value, old_value)
    for field, copied in zip(old._fields, before["_fields"], strict=True):
        assert_array_equal(field.frequency, copied.frequency)


# Matrices of codes


def fields_of(X):
    return Fields([InputColumn(j, X[:, j]) for j in range(X.shape[1])], [True] * X.shape[1], None)


@pytest.mark.parametrize("scale", [1, 10**9])  # dense codes and codes far apart
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_matrix_is_encoded_as_its_columns(dtype, scale, rng):
    fields = fields_of(rng.integers(0, 40, (100, 5)) * np.array([1, 1, 1, 1, scale]))
    info = np.iinfo(dtype)
    X = rng.integers(0, 60, (50, 5)).astype(dtype)
    X[0], X[1] = info.min, info.max
    index, value, _ = fields.encode(X)
    assert value is None
    assert_array_equal(index, fields.encode([InputColumn(j, X[:, j]) for j in range(5)])[0])


def test_copies_work_out_afresh_what_follows_from_the_fields(rng):
    X = rng.integers(0, 40, (100, 3))
    fields = fields_of(X)
    unused = pickle.dumps(fields)
    before, _, _ = fields.encode(X)
    assert len(pickle.dumps(fields)) == len(unused)
    assert_array_equal(pickle.loads(pickle.dumps(fields)).encode(X)[0], before)
    new, _, _ = fields.grown([InputColumn(j, np.array([100 + j])) for j in range(3)], None)
    assert_array_equal(new.offsets, fields.offsets + np.arange(3))
    assert_array_equal(new.encode(X)[0], before + np.arange(3))
    assert_array_equal(fields.encode(X)[0], before)


def test_more_rows_than_can_be_numbered_are_refused(monkeypatch):
    X = pd.DataFrame({"few": np.arange(40) % 3, "many": np.arange(40)})
    model = DeepFMClassifier(max_epochs=1).partial_fit(X[:20], np.arange(20) % 2, [0, 1])
    monkeypatch.setattr("sklearn_deepfm._fields.fields.MOST_ROWS", 30)
    with pytest.raises(ValueError, match="need 45 rows .* at most 30 .* them, 41, are of .*'many'"):
        DeepFMClassifier().fit(X, np.arange(40) % 2)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="The fields need 45 rows of the table"):
        model.partial_fit(X, np.arange(40) % 2)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert DeepFMClassifier(max_epochs=1).fit(X[:20], np.arange(20) % 2).n_iter_ == 1


def with_bags(columns, is_index, rng):
    lengths = rng.integers(0, 4, 40)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    members = InputColumn("bag", rng.integers(0, 30, starts[-1]))
    weights = rng.random(starts[-1]) if rng.random() < 0.5 else None
    return [*columns, InputListColumn("bag", members, starts, weights)], [*is_index, True]


@pytest.mark.parametrize("seed", range(30))
def test_fields_of_parts_together_are_those_of_all_rows(seed):
    """Whoever has seen what: the same codes, counts and average cells, in some order of rows."""
    rng = np.random.default_rng(seed)
    columns, is_index = with_bags(*random_table(rng), rng)
    weight, parts = rng.random(40), np.split(rng.permutation(40), [8, 14, 30])
    few, *others = ([column.take(part) for column in columns] for part in parts)
    start = Fields(few, is_index, weight[parts[0]]).without_counts()
    grown = [start.grown(few, weight[parts[0]])[0]]
    grown += [
        start.grown(column, weight[part])[0] for column, part in zip(others, parts[1:], strict=True)
    ]
    dims = [fields.dims.copy() for fields in grown]
    together = grown[0].absorbing(grown[1:])
    expected, *_ = start.grown(columns, weight)
    assert_array_equal(together.dims, expected.dims)
    assert_array_equal(dims, [fields.dims for fields in grown])  # which stay as they are
    index, value, bags = together.encode(columns)
    other_index, other_value, other_bags = expected.encode(columns)
    table = np.full(together.dims.sum(), -1)  # of the row that each has in the other one
    for rows, of_other in ((index, other_index), (bags[0], other_bags[0])):
        table[rows.ravel()] = of_other.ravel()
        assert_array_equal(table[rows.ravel()], of_other.ravel())
    known = table >= 0
    frequency = np.concatenate([counts for _, counts in together.frequencies])
    of_other = np.concatenate([counts for _, counts in expected.frequencies])
    assert_allclose(frequency[known], of_other[table[known]])
    assert_allclose(frequency.sum(), of_other.sum())
    for one, other in zip(together, expected, strict=True):
        assert_allclose(np.sort(one.average_cell), np.sort(other.average_cell), atol=1e-12)
    if value is not None:
        assert_array_equal(value, other_value)
    for fields, part in zip(grown, parts, strict=True):
        own = [column.take(part) for column in columns]
        rows, (own_index, _, own_bags) = fields.rows_in(together), fields.encode(own)
        whole_index, _, whole_bags = together.encode(own)
        assert_array_equal(rows[own_index], whole_index)
        assert_array_equal(rows[own_bags[0]], whole_bags[0])


def test_field_dims_count_what_the_docstring_names():
    X = pd.DataFrame(
        {
            "code": pd.array([3, 5, 3, 9], "Int64"),
            "gap": pd.array([3, None, 3, 3], "Int64"),
            "list": [[1, 2], [2], [], [1]],
            "number": [0.5, 1.5, 2.5, 3.5],
            "with NaN": [0.5, np.nan, 2.5, 3.5],
        }
    )
    model = DeepFMClassifier(n_bins=2, max_epochs=1).fit(X, [0, 1, 0, 1])
    codes, gap, lists = 3 + 1, 1 + 1 + 1, 2 + 1 + 1
    n_bins = 2
    numbers = n_bins + 1 + 1
    assert model.field_dims_.tolist() == [codes, gap, lists, numbers, numbers + 1]
