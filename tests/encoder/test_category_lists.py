"""Cells of several categories: lists and strings to take apart become lists of codes."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

GENRES = [["war", "sea"], [], None, ["sea", None, "sea"], ["art"]]
CODES = [[4, 3], [], [0], [3, 0, 3], [2]]  # art 2, sea 3, war 4


def objects(cells):
    return pd.DataFrame({"genres": pd.Series(cells, dtype=object)})


TABLES = {
    "pandas lists": objects,
    "pandas arrays": lambda cells: objects(
        [None if cell is None else np.array(cell, object) for cell in cells]
    ),
    "pandas Arrow": lambda cells: objects(cells).astype(pd.ArrowDtype(pa.list_(pa.string()))),
    "polars": lambda cells: pl.DataFrame({"genres": cells}, schema={"genres": pl.List(pl.String)}),
    "polars categories": lambda cells: pl.DataFrame(
        {"genres": cells}, schema={"genres": pl.List(pl.Categorical)}
    ),
    "pyarrow": lambda cells: pa.table({"genres": pa.array(cells, pa.large_list(pa.string()))}),
}
if int(pa.__version__.split(".")[0]) >= 18:  # older ones cannot make them
    TABLES["pyarrow views"] = lambda cells: pa.table(
        {"genres": pa.array(cells, pa.list_(pa.string_view()))}
    )


def lists(output, name="genres"):
    return [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in output[name]]


@pytest.mark.parametrize("library", TABLES)
def test_lists_become_arrow_lists_of_codes(library):
    encoder = OrdinalFieldEncoder()
    for output in (
        encoder.fit_transform(TABLES[library](GENRES)),
        encoder.transform(TABLES[library](GENRES)),
    ):
        assert output.dtypes["genres"] == pd.ArrowDtype(pa.list_(pa.int32()))
        assert lists(output) == CODES
    assert encoder.field_kinds_ == ["lists of categories"]
    assert encoder.field_dims_.tolist() == [5]
    assert encoder.categories_[0].tolist() == ["art", "sea", "war"]
    new = TABLES[library]([["sea", "opera"], ["opera"], None])
    assert lists(encoder.transform(new)) == [[3, 1], [1], [0]]


def test_strings_are_taken_apart_and_empty_parts_dropped():
    X = pd.DataFrame({"genres": ["war|sea", "", None, "sea||sea|", "art", "|"]})
    for column in (X, X.astype("category"), pl.from_pandas(X)):
        encoder = OrdinalFieldEncoder(separators={"genres": "|"})
        assert lists(encoder.fit_transform(column)) == [[4, 3], [], [0], [3, 3], [2], []]
        assert lists(encoder.transform(column[:2])) == [[4, 3], []]
    assert encoder.transform(pd.DataFrame({"genres": [None]}))["genres"].tolist()[0] == [0]


def test_separator_may_be_named_by_position_and_be_long():
    encoder = OrdinalFieldEncoder(separators={1: ", "})
    output = encoder.fit_transform(np.array([["x", "a, b"], ["y", "b"]], dtype=object))
    assert output.columns.tolist() == ["x0", "x1"]
    assert output["x0"].tolist() == [2, 3]
    assert lists(output, "x1") == [[2, 3], [3]]


def test_weights_of_members_go_along():
    X = pd.DataFrame(
        {
            "amounts": [[2, 1], [], None, [0.5]],
            "basket": [["tea", "milk"], [], None, ["milk"]],
            "day": [1, 2, 1, 2],
        }
    )
    encoder = OrdinalFieldEncoder(member_weights={"basket": "amounts"})
    output = encoder.fit_transform(X)
    assert output.columns.tolist() == encoder.get_feature_names_out().tolist() == ["basket", "day"]
    assert output["basket"].tolist() == [
        [{"code": 3, "weight": 2.0}, {"code": 2, "weight": 1.0}],
        [],
        [{"code": 0, "weight": 1.0}],
        [{"code": 2, "weight": 0.5}],
    ]
    assert output["day"].tolist() == [2, 4, 2, 4]
    values = encoder.inverse_transform(output)
    assert values[:, 0].tolist() == [["tea", "milk"], [], [None], ["milk"]]
    strings = pd.DataFrame({"b": ["tea|milk", "milk"], "w": ["2|1", "0.5"]})
    split = OrdinalFieldEncoder(separators={"b": "|", "w": "|"}, member_weights={"b": "w"})
    assert split.fit_transform(strings)["b"].tolist() == [output["basket"][0], output["basket"][3]]


def test_missing_cells_and_missing_weights_meet():
    X = pd.DataFrame(
        {
            "b": [["x", None, "y"], None, None, [], ["x"]],
            "w": [[5, 3, 2], None, [], None, [4]],
        }
    )
    output = OrdinalFieldEncoder(member_weights={"b": "w"}).fit_transform(X)
    weights = [[member["weight"] for member in cell] for cell in output["b"]]
    assert weights == [[5.0, 3.0, 2.0], [1.0], [1.0], [], [4.0]]
    codes = [[member["code"] for member in cell] for cell in output["b"]]
    assert codes == [[2, 0, 3], [0], [0], [], [2]]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [[1], [1]],
            "Columns 'b' and 'w' must hold lists of equal length.* in row 0 they hold 2 and 1",
        ),
        ([[1, None], [1]], "Column 'w' holds the weight nan"),
        ([None, [1]], "Columns 'b' and 'w' must hold lists of equal .* they hold 2 and 0"),
        ([["1", "x"], ["2"]], "Column 'w' must hold numbers, the weights of the members of 'b'"),
        ([[True, True], [True]], "Column 'w' must hold lists of numbers.* holds lists of booleans"),
        ([1, 1], "Column 'w' must hold lists by the parameters of the encoder, and holds numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, message):
    X = pd.DataFrame({"b": [["x", "y"], ["x"]], "w": weights})
    with pytest.raises(ValueError, match=message):
        OrdinalFieldEncoder(member_weights={"b": "w"}).fit(X)


def test_lists_of_quantities_are_refused():
    X = pd.DataFrame({"c": [[1.5], [2.0]]})
    with pytest.raises(
        ValueError, match="Column 'c' holds lists of numbers, which cannot be binned"
    ):
        OrdinalFieldEncoder().fit(X)
    output = OrdinalFieldEncoder(categorical_features=["c"]).fit_transform(X)
    assert lists(output, "c") == [[2], [3]]


def test_codes_are_those_of_the_flat_column(rng):
    baskets = [rng.integers(100, 600, n) for n in rng.integers(0, 201, 300)]
    flat = OrdinalFieldEncoder(min_frequency=3, max_categories=400)
    strings = np.concatenate(baskets).astype(str)  # of one length, so that they sort as numbers
    expected = flat.fit_transform(strings[:, None])[:, 0]
    encoder = clone(flat)
    output = encoder.fit_transform(pd.DataFrame({"b": baskets}))
    assert_array_equal(np.concatenate(lists(output, "b")), expected)
    assert [len(cell) for cell in output["b"]] == [len(basket) for basket in baskets]


def test_partial_fit_learns_new_members_and_keeps_codes():
    encoder = OrdinalFieldEncoder().partial_fit(objects([["b"], []]))
    encoder.partial_fit(objects([["a", "b"], None]))
    assert lists(encoder.transform(objects([["a", "b", "c"]]))) == [[3, 2, 1]]
    encoder = OrdinalFieldEncoder().partial_fit(objects([[], []]))
    assert encoder.field_kinds_ == ["lists of empty"]
    assert lists(encoder.transform(objects([["a"], None]))) == [[1], [0]]
    encoder.partial_fit(objects([["a"]]))
    assert lists(encoder.transform(objects([["a"], None]))) == [[2], [0]]


def test_empty_lists_do_not_become_single_values():
    encoder = OrdinalFieldEncoder().partial_fit(objects([[], []]))
    with pytest.raises(ValueError, match="Column 'genres' must hold lists .* and holds strings"):
        encoder.partial_fit(pd.DataFrame({"genres": ["war"]}))


@pytest.mark.parametrize("cell", [None, 3, "a", [None], ["a"], [9], [2.5]])
def test_what_is_no_list_of_codes_has_no_inverse(cell):
    encoder = OrdinalFieldEncoder().fit(objects(GENRES))
    with pytest.raises(
        ValueError, match="Column 0 of X (must hold lists of codes|holds .* no code)"
    ):
        encoder.inverse_transform(objects([cell]))


def test_inverse_of_a_polars_table():
    X = pd.DataFrame({"b": [["x", "y"], []], "w": [[1, 2], []]})
    encoder = OrdinalFieldEncoder(member_weights={"b": "w"}).set_output(transform="polars")
    assert encoder.inverse_transform(encoder.fit_transform(X))[:, 0].tolist() == [["x", "y"], []]


def test_a_column_keeps_its_form():
    encoder = OrdinalFieldEncoder().fit(objects(GENRES))
    with pytest.raises(ValueError, match="'genres' held lists of strings .* and holds strings now"):
        encoder.transform(pd.DataFrame({"genres": ["war"]}))
    with pytest.raises(ValueError, match="'genres' held lists of strings .*holds lists of numbers"):
        encoder.transform(objects([[1]]))
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"genres": [None]}))
    with pytest.raises(ValueError, match="'genres' held single values, or none, .*holds lists now"):
        encoder.transform(objects(GENRES))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_keeps_lists(container):
    X = objects(GENRES).assign(year=range(5))
    output = OrdinalFieldEncoder().set_output(transform=container).fit_transform(X)
    assert list(output.columns) == ["genres", "year"]
    cells = [list(cell) for cell in output["genres"].to_list()]
    assert cells == CODES


def test_index_of_the_table_is_kept():
    X = objects(GENRES).set_index(pd.Index(list("vwxyz")))
    assert OrdinalFieldEncoder().fit_transform(X).index.tolist() == list("vwxyz")


def test_pickled_encoder_gives_the_same_lists():
    encoder = OrdinalFieldEncoder().fit(objects(GENRES))
    copy = pickle.loads(pickle.dumps(encoder))
    assert lists(copy.transform(objects(GENRES))) == CODES


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_pipeline_learns_baskets_of_strings_with_unseen_members(rng):
    def table(n):
        baskets = [[f"item {i}" for i in rng.integers(0, 40, n)] for n in rng.integers(0, 60, n)]
        liked = [np.mean([int(name[5:]) < 12 for name in basket] or [0]) for basket in baskets]
        noise = rng.choice(["a", "b"], n)
        return pd.DataFrame({"basket": baskets, "noise": noise}), (np.array(liked) > 0.3).astype(
            int
        )

    X, y = table(2000)
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=10, random_state=0))
    model.fit(X, y)
    X_new, y_new = table(500)
    assert model.score(X_new, y_new) > 0.9
    proba = model.predict_proba(X_new[:4])
    X_new["basket"] = [[*basket, "item never seen"] for basket in X_new["basket"]]
    assert model.predict_proba(X_new[:4]).shape == proba.shape
    assert model.score(X_new, y_new) > 0.85


def test_numbers_are_passed_on_without_bins():
    days = pd.to_datetime(["1970-01-01", "1970-01-02", None])
    X = pd.DataFrame({"price": [1.5, None, 2.25], "day": days, "city": ["a", "b", "a"]})
    encoder = OrdinalFieldEncoder(n_bins=None)
    output = encoder.fit_transform(X)
    assert output.dtypes.astype(str).tolist() == ["float64", "float64", "int32"]
    assert_array_equal(output["price"], [1.5, np.nan, 2.25])
    assert_array_equal(output["day"], [0, 86_400e6, np.nan])
    assert encoder.field_kinds_ == ["numbers", "numbers", "categories"]
    assert encoder.field_dims_.tolist() == [0, 0, 4]
    assert encoder.inverse_transform(output)[0].tolist() == [1.5, 0.0, "a"]
    whole = OrdinalFieldEncoder(n_bins=None, numeric_features=["n"])
    assert whole.fit_transform(pd.DataFrame({"n": [3, 4]})).dtypes["n"] == np.float64


def test_a_long_list_takes_no_more_room_than_many_short_ones():
    long, short = [list(range(200))], [[2 * i, 2 * i + 1] for i in range(100)]
    encoder = OrdinalFieldEncoder().fit(pd.DataFrame({"items": long}))
    sizes = [
        pa.array(encoder.transform(pd.DataFrame({"items": cells}))["items"]).nbytes
        for cells in (long, short, [*long, *[[0]] * 99])
    ]
    assert sizes[0] <= sizes[1]
    assert sizes[2] < 2 * sizes[1]  # and the others are not padded to its length
