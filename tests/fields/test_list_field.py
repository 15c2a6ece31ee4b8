"""Columns of lists: from Arrow to the rows of a table, against lists and dicts."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.index_field import UNSEEN_ROW
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._fields.list_field import ListField, as_lists


def bags(cells, type_=None):
    return InputListColumn.from_arrow("c", pa.array(cells, type_ or pa.list_(pa.int32())))


def weighted(cells):
    """Lists of (code, weight)."""
    type_ = pa.list_(pa.struct([("code", pa.int32()), ("weight", pa.float32())]))
    structs = [
        None if cell is None else [{"code": c, "weight": w} for c, w in cell] for cell in cells
    ]
    return bags(structs, type_)


def fitted(column, weight=None, pooling="mean"):
    field = ListField("c", pooling)
    field.grow(column, weight)
    return field


def decoded(field, column):
    """For each cell its members' rows, and their weights."""
    rows, starts, weights = field.encode_lists(column)
    assert rows.dtype == np.int32
    parts = [slice(a, b) for a, b in itertools.pairwise(starts)]
    return [(rows[part].tolist(), weights[part].tolist()) for part in parts]


CELLS = [[5, 3], [], None, [3, 3, 9], [None, 5]]


def test_each_member_gets_the_row_of_its_code_and_an_equal_share():
    # 3, 5, 9 have the rows 1, 2, 3; missing 4; the empty bag 5
    expected = [
        ([2, 1], [0.5, 0.5]),
        ([5], [1.0]),
        ([4], [1.0]),
        ([1, 1, 3], pytest.approx([1 / 3] * 3)),
        ([4, 2], [0.5, 0.5]),
    ]
    field = fitted(bags(CELLS))
    assert decoded(field, bags(CELLS)) == expected
    assert field.n_rows == 6
    assert_array_equal(field.frequency, [0, 3, 2, 1, 2, 1])


def test_codes_and_empty_cells_that_fit_did_not_see_are_average():
    field = fitted(bags([[1, 2]]))
    assert decoded(field, bags([[2, 7], [], None])) == [
        ([2, UNSEEN_ROW], [0.5, 0.5]),
        ([UNSEEN_ROW], [1.0]),
        ([UNSEEN_ROW], [1.0]),
    ]


def test_sum_pooling_counts_each_member_once():
    assert decoded(fitted(bags(CELLS), pooling="sum"), bags([[3, 5, 3], []])) == [
        ([1, 2, 1], [1.0, 1.0, 1.0]),
        ([5], [1.0]),
    ]


def test_weights_of_members_are_shares_of_their_bag():
    column = weighted([[(4, 1.0), (6, 3.0)], [], [(6, 0.0)], None])
    rows_and_shares = [([1, 2], [0.25, 0.75]), ([4], [1.0]), ([2], [0.0]), ([3], [1.0])]
    assert decoded(fitted(column), column) == rows_and_shares
    sums = [([1, 2], [1.0, 3.0]), ([4], [1.0]), ([2], [0.0]), ([3], [1.0])]
    assert decoded(fitted(column, pooling="sum"), column) == sums


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_weights_must_be_finite(weight):
    with pytest.raises(ValueError, match="Column 'c' holds the weight .* a finite weight"):
        weighted([[(1, weight)]])


def test_weights_of_a_mean_must_not_be_negative():
    column = weighted([[(1, 1.0), (2, -0.5)]])
    assert decoded(fitted(column, pooling="sum"), column) == [([1, 2], [1.0, -0.5])]
    with pytest.raises(ValueError, match="'c' holds the weight -0.5, where pooling='mean' needs"):
        fitted(column).encode_lists(column)


def test_growing_keeps_rows_and_adds_those_of_new_members(rng):
    field = fitted(bags([[2, 4], [4]]))
    field.grow(bags([[1, 4], [], [9]]), np.array([1.0, 2.0, 3.0]))
    assert decoded(field, bags([[2, 4, 1, 9], []])) == [([1, 2, 3, 4], [0.25] * 4), ([5], [1.0])]
    assert_allclose(field.frequency, [0, 1, 3, 1, 3, 2])


@pytest.mark.parametrize("n_fields", [1, 3])
def test_bags_of_several_fields_stand_sample_by_sample(rng, n_fields):
    columns = [
        bags([rng.integers(0, 9, n) for n in rng.integers(0, 201, 30)]) for _ in range(n_fields)
    ]
    fields = Fields(columns, [True] * n_fields, None)
    index, value, (members, starts, weights) = fields.encode(columns)
    assert index.shape == (30, 0)
    assert value is None
    alone = [decoded(f, c) for f, c in zip(fields._fields, columns, strict=True)]
    for bag in range(30 * n_fields):
        sample, j = divmod(bag, n_fields)
        part = slice(starts[bag], starts[bag + 1])
        rows, shares = alone[j][sample]
        assert_array_equal(members[part] - fields.offsets[j], rows)
        assert_array_equal(weights[part], np.float32(shares))
    assert starts[-1] == len(members) == len(weights)


@pytest.mark.parametrize("rows", [slice(1, 4), slice(2, 2), np.array([4, 0, 0, 2])])
@pytest.mark.parametrize(
    "make", [bags, lambda cells: weighted([[(c, c) for c in cell] for cell in cells])]
)
def test_taken_rows_are_those_of_the_list(rows, make):
    cells = [[1, 2, 3], [], [4], [5, 6], [7]]
    taken = make(cells).take(rows)
    expected = make(np.array(cells, dtype=object)[rows].tolist())
    assert_array_equal(taken.starts, expected.starts)
    assert_array_equal(taken.members.values, expected.members.values)
    assert (taken.weights is None) == (expected.weights is None)
    if taken.weights is not None:
        assert_array_equal(taken.weights, expected.weights)


def test_ranks_tell_equal_bags_from_others():
    (ranks,) = bags([[1, 2], [2, 1], [1, 2], [], None, []]).ranks()
    assert ranks[0] == ranks[2]
    assert ranks[3] == ranks[5]
    assert len(set(ranks)) == 4


def test_order_of_few_rows_has_no_effect(rng):
    X = pd.DataFrame({"b": [rng.integers(0, 5, n).tolist() for n in rng.integers(0, 3, 60)]})
    y, order = rng.integers(0, 2, 60), rng.permutation(60)
    params = {"max_epochs": 2, "early_stopping": True, "random_state": 0}
    first = DeepFMClassifier(**params).fit(X, y)
    second = DeepFMClassifier(**params).fit(X.iloc[order], y[order])
    assert first.validation_scores_ == second.validation_scores_
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_codes_beyond_int64_are_unseen_at_predict():
    fit = pa.array([[1], [2]], pa.list_(pa.uint64()))
    field = fitted(InputListColumn.from_arrow("c", fit))
    huge = InputListColumn.from_arrow("c", pa.array([[1, 2**63]], pa.list_(pa.uint64())))
    assert decoded(field, huge) == [([1, UNSEEN_ROW], [0.5, 0.5])]


def test_missing_column_of_another_type_is_a_column_of_missing_bags():
    field = fitted(bags([[1], None]))
    column = as_lists("c", InputColumn("c", np.full(2, np.nan)))
    assert decoded(field, column) == [([2], [1.0])] * 2


TABLES = {
    "pandas, Python lists": lambda cells: pd.DataFrame({"c": pd.Series(cells, dtype=object)}),
    "pandas, Arrow": lambda cells: pd.DataFrame(
        {"c": pd.Series(cells, dtype=pd.ArrowDtype(pa.list_(pa.int64())))}
    ),
    "polars": lambda cells: pl.DataFrame({"c": cells}, schema={"c": pl.List(pl.Int16)}),
    "pyarrow": lambda cells: pa.table({"c": pa.array(cells, pa.large_list(pa.int8()))}),
}


@pytest.mark.parametrize("library", TABLES)
def test_lists_of_any_library_give_the_same_predictions(library, rng):
    cells = [list(map(int, rng.integers(0, 6, n))) for n in rng.integers(0, 5, 60)]
    cells[3] = None
    y = [0 if cell is None else len(cell) % 2 for cell in cells]
    reference = InputListColumn.from_arrow("c", pa.array(cells))
    model = DeepFMClassifier(max_epochs=2, random_state=0).fit(TABLES[library](cells), y)
    expected = Fields([reference], [True], None).dims
    assert_array_equal(model.field_dims_, expected)
    first = DeepFMClassifier(max_epochs=2, random_state=0).fit(TABLES["pyarrow"](cells), y)
    new = [*cells[:7], [], [99]]
    assert_array_equal(
        model.predict_proba(TABLES[library](new)), first.predict_proba(TABLES["pyarrow"](new))
    )


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_model_learns_from_which_members_are_in_a_basket(rng):
    baskets = [rng.integers(0, 40, n).tolist() for n in rng.integers(0, 201, 3000)]
    share = np.array([np.mean([m < 12 for m in basket] or [0.0]) for basket in baskets])
    y = (share > np.median(share)).astype(int)
    X = pd.DataFrame({"basket": baskets, "noise": rng.integers(0, 5, 3000)})
    model = DeepFMClassifier(max_epochs=10, random_state=0).fit(X[:2000], y[:2000])
    assert model.score(X[2000:], y[2000:]) > 0.9


def test_prediction_does_not_depend_on_the_other_rows(rng):
    baskets = pd.DataFrame(
        {"b": [rng.integers(0, 40, n).tolist() for n in rng.integers(0, 30, 99)]}
    )
    model = DeepFMClassifier(max_epochs=1, random_state=0).fit(baskets, np.arange(99) % 2)
    whole = model.predict_proba(baskets)
    for rows in ([0], [5, 98, 5], range(50, 99)):
        part = baskets.iloc[list(rows)]
        assert_array_equal(model.predict_proba(part), whole[list(rows)])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["a"], ["b"]], r"Column 'c' holds list<item: string>; DeepFMClassifier takes lists of"),
        ([[1.5], [2.0]], r"Column 'c' holds list<item: double>; DeepFMClassifier takes lists of"),
        ([[1], "no list"], r"Column 'c' holds objects, not all of which are lists"),
        ([[{"code": 1}], [{"code": 2}]], r"Column 'c' holds list<item: struct<code: int64>>"),
    ],
)
def test_lists_of_anything_else_are_refused(cells, message):
    X = pd.DataFrame({"c": pd.Series(cells, dtype=object)})
    with pytest.raises(ValueError, match=message):
        DeepFMClassifier().fit(X, [0, 1])


def test_missing_lists_may_be_nan():
    X = pd.DataFrame({"c": pd.Series([[1, 2], np.nan, [2]], dtype=object)})
    model = DeepFMClassifier(max_epochs=1, random_state=0).fit(X, [0, 1, 0])
    assert model.field_dims_.tolist() == [4]


def test_lists_in_a_matrix_name_the_remedy():
    X = np.empty((2, 1), dtype=object)
    X[:, 0] = [[1], [2, 3]]
    with pytest.raises(ValueError, match="Column 0 holds lists in a matrix .*set_output"):
        DeepFMClassifier().fit(X, [0, 1])


def test_a_column_keeps_its_form():
    lists, plain = pd.DataFrame({"c": [[1], [2]]}), pd.DataFrame({"c": [1, 2]})
    with pytest.raises(ValueError, match="Column 'c' held lists of codes in fit and holds one"):
        DeepFMClassifier(max_epochs=1).fit(lists, [0, 1]).predict(plain)
    with pytest.raises(ValueError, match="Column 'c' holds lists and held one value per cell"):
        DeepFMClassifier(max_epochs=1).fit(plain, [0, 1]).predict(lists)


def test_matrix_of_codes_is_none_of_lists():
    fields = Fields([bags([[1, 2], [3]])], [True], None)
    with pytest.raises(ValueError, match="'c' held lists of codes .* one value per cell now"):
        fields.encode(np.array([[1], [2]]))
