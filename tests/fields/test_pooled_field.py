"""Codes in an order: which share table rows, what unseen ones get, and what is learned later."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri

from sklearn_deepfm._fields.field import FieldOptions
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.pooled_field import ROWS_OF_ITS_OWN, PooledField
from sklearn_deepfm._serialization.plain_values import Damaged


def field_of(codes, weight=None, n_bins="auto", missing=None):
    field = PooledField.new("a", FieldOptions("mean", n_bins))
    field.grow(InputColumn("a", np.asarray(codes), missing), weight)
    return field


def encoded(field, codes):
    return field.encode(InputColumn("a", np.asarray(codes)))


def repeated(counts):
    return np.repeat(list(counts), list(counts.values()))


def test_frequent_codes_have_rows_of_their_own_and_rare_neighbours_share():
    codes = repeated({5: 30, 6: 3, 7: 2, 8: 25, 9: 3, 10: 4})
    field = field_of(codes, n_bins=2)
    rows, _ = encoded(field, [5, 6, 7, 8, 9, 10])
    assert rows[1] == rows[2]
    assert rows[4] == rows[5]
    assert len({rows[0], rows[1], rows[3], rows[4]}) == 4
    assert field.n_rows == 2 + 4
    assert_array_equal(field.frequency[rows[[0, 1, 3, 4]]], [30, 5, 25, 7])


def test_scores_are_normal_quantiles_of_middle_ranks():
    codes = repeated({3: 40, 4: 10, 9: 50})
    _, scores = encoded(field_of(codes), [3, 4, 9])
    assert_allclose(scores, ndtri([0.2, 0.45, 0.75]), rtol=1e-6)


def test_unseen_code_has_the_row_of_its_bin_and_a_score_between():
    field = field_of(repeated({10: 5, 12: 4, 20: 50, 30: 5, 34: 6}), n_bins=2)
    rows, scores = encoded(field, [10, 11, 12, 19, 20, 21, 30, 32, 34])
    assert rows[1] == rows[0] == rows[2]
    assert rows[3] != rows[4]  # between rare codes it is more like them
    assert rows[5] == rows[3] or rows[5] == rows[6]
    assert rows[7] == rows[6] == rows[8]
    assert (np.diff(scores) > 0).all()


def test_unseen_code_beside_frequent_ones_has_the_row_of_the_nearest():
    field = field_of(repeated({10: 40, 20: 40}))
    rows, scores = encoded(field, [-3, 10, 13, 16, 20, 99])
    assert_array_equal(rows == rows[1], [1, 1, 1, 0, 0, 0])
    assert_array_equal(scores[[0, -1]], scores[[1, 4]])


def test_codes_0_and_1_that_fit_never_saw_are_an_average_cell():
    field = field_of(repeated({2: 30, 3: 30, 4: 40}))
    rows, scores = encoded(field, [0, 1])
    assert_array_equal(rows, [0, 0])
    assert_array_equal(scores, [0, 0])


def test_missing_and_rare_whole_numbers_of_an_encoder_stand_apart():
    field = field_of(repeated({0: 30, 1: 30, 2: 30, 4: 30, 6: 40}))
    rows, scores = encoded(field, [0, 1, 2, 3, 4])
    assert len(set(rows[[0, 1, 2, 4]])) == 4
    assert_array_equal(scores[:2], [0, 0])
    assert scores[2] < scores[3] < scores[4]
    assert 0 not in rows


def test_number_below_all_known_ones_of_an_encoder_has_their_place():
    field = field_of(repeated({0: 30, 2: 30, 4: 30, 6: 40}))
    rows, scores = encoded(field, [1, 2])
    assert rows[0] == rows[1]
    assert scores[0] == scores[1]


def test_quantities_have_bins_alone():
    field = field_of(np.repeat(4 * np.arange(1, 1001), 5), n_bins=10)
    rows, scores = encoded(field, 4 * np.arange(1, 1001))
    assert len(set(rows)) == 10
    assert (np.diff(rows) >= 0).all()
    assert (np.diff(scores) > 0).all()
    field.grow(InputColumn("a", np.array([4004, 9000])), None)
    assert field.n_rows == 2 + 10


def test_weights_count_as_rows_whatever_their_scale(rng):
    codes = rng.integers(0, 40, 300)
    weight = rng.integers(1, 4, 300)
    for scale in (1, 0.01, 1e6):
        field, same = field_of(codes, scale * weight), field_of(codes, 1.0 * weight)
        assert_array_equal(field.edges, same.edges)
        assert_allclose(field.scores, same.scores)
    counts = np.bincount(codes, weight) * 300 / weight.sum()
    own = np.flatnonzero(counts >= ROWS_OF_ITS_OWN)
    rows, _ = encoded(same, own)
    assert len(set(rows)) == len(own)


@pytest.mark.parametrize("seed", range(20))
def test_look_up_gives_what_the_intervals_give(seed):
    rng = np.random.default_rng(seed)
    step, n = rng.choice([1, 2, 4]), rng.integers(30, 500)
    codes = step * rng.integers(rng.integers(0, 3), rng.integers(4, 120), n)
    field = field_of(codes)
    new = np.arange(-5, codes.max() + 9)
    columns = [InputColumn("a", codes)]
    fields = Fields(columns, ["pooled"], None)
    index, value, _ = fields.encode(new[:, np.newaxis])
    rows, scores = encoded(field, new)
    assert_array_equal(index[:, 0], rows)
    assert_array_equal(value[:, 0], scores)


def test_codes_beyond_the_order_get_rows_later_and_no_score():
    field = field_of(repeated({2: 30, 3: 30, 4: 40}))
    before = copy.copy(field)
    field.grow(InputColumn("a", np.array([3, 9, 9, 7])), None)
    rows, scores = encoded(field, [7, 8, 9, 10])
    assert_array_equal(rows[[0, 2]], [before.n_rows, before.n_rows + 1])
    assert_array_equal(rows[[1, 3]], encoded(before, [8, 10])[0])
    assert_array_equal(scores[[0, 2]], [0, 0])
    assert_array_equal(field.codes, [2, 3, 4, 7, 9])
    assert_array_equal(field.later, [7, 9])
    assert_array_equal(encoded(before, [7, 9])[0], encoded(before, [4, 4])[0])
    field.grow(InputColumn("a", np.array([8, 7])), None)
    rows = encoded(field, [7, 8, 9])[0]
    assert_array_equal(rows, before.n_rows + np.array([0, 2, 1]))
    assert field.frequency.sum() == 100 + 4 + 2


def test_parts_of_a_table_add_up():
    first = field_of(repeated({2: 30, 3: 30, 4: 40}))
    one, other = copy.copy(first.without_counts()), copy.copy(first.without_counts())
    one.grow(InputColumn("a", np.array([2, 8])), None)
    other.grow(InputColumn("a", np.array([9, 3, 8, 9])), np.array([1.0, 2, 3, 4]))
    rows = one.absorb(other)
    of_one, of_other = (encoded(f, [2, 3, 4, 8, 9])[0] for f in (one, other))
    assert_array_equal(rows[of_other], of_one)
    assert_array_equal(one.frequency[of_one], [1, 2, 0, 4, 5])


def test_parts_of_another_first_table_are_refused():
    one, other = field_of(repeated({2: 30, 3: 30})), field_of(repeated({2: 10, 3: 30}))
    with pytest.raises(ValueError, match="its bins are made of"):
        one.absorb(other)


def test_missing_cells_have_a_row_and_no_score():
    missing = np.arange(120) % 3 == 0
    field = field_of(np.arange(120) % 40, missing=missing)
    rows, scores = field.encode(InputColumn("a", np.arange(120) % 40, missing))
    assert set(rows[missing]) == {field.missing_row}
    assert_array_equal(scores[missing], 0)
    assert field.missing_row not in rows[~missing]


def test_values_of_codes_are_those_of_row_and_slope(rng):
    field = field_of(repeated({2: 30, 3: 5, 4: 5, 5: 40}))
    values = rng.normal(size=(field.n_rows, 3))
    rows, scores = encoded(field, field.code_names)
    expected = values[rows] + scores[:, np.newaxis] * values[1]
    assert_allclose(field.of_codes(values), expected, rtol=1e-6)


def test_plain_data_gives_the_field_back_and_damage_is_found():
    field = field_of(repeated({0: 30, 2: 5, 4: 3, 6: 40}))
    field.grow(InputColumn("a", np.array([9])), None)
    state = field.to_plain()
    copied = PooledField.of_plain(state)
    new = np.arange(-2, 14)
    for one, other in zip(encoded(field, new), encoded(copied, new), strict=True):
        assert_array_equal(one, other)
    for name, wrong in {
        "rows_at": state["rows_at"] + 1,
        "edges": state["edges"][::-1],
        "codes": state["codes"][::-1],
        "has_score": state["has_score"][1:],
        "later": np.array([4]),
        "frequency": state["frequency"][1:],
    }.items():
        with pytest.raises(Damaged):
            PooledField.of_plain({**state, name: wrong})


def test_column_without_cells_is_learned_when_there_are_some():
    field = PooledField.new("a", FieldOptions("mean", "auto"))
    nothing = InputColumn("a", np.zeros(3, np.int64), np.ones(3, bool))
    field.grow(nothing, None)
    assert_array_equal(field.encode(nothing)[0], field.missing_row)
    PooledField.of_plain(field.to_plain())
    field.grow(InputColumn("a", repeated({2: 30, 3: 30, 4: 9})), None)
    assert len(set(encoded(field, [2, 3, 4])[0])) == 3
