"""Which columns are index fields, and the warning for codes that arrive as floats."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_deepfm import DeepFMClassifier
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.read_columns import which_hold_codes

COLUMNS = [InputColumn(name, np.array([1, 2])) for name in "ab"] + [
    InputColumn("c", np.array([0.5, 1]))
]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("from_dtype", [True, True, False]),
        (np.str_("from_dtype"), [True, True, False]),
        (None, [False, False, False]),
        ([], [False, False, False]),
        ([False, True, True], [False, True, True]),
        (np.array([2, 0]), [True, False, True]),
        ((1, 1), [False, True, False]),
        (["c", "a"], [True, False, True]),
        (pd.Index(["b"]), [False, True, False]),
        (np.array(["b"], dtype=object), [False, True, False]),
        (pl.Series(["b"]), [False, True, False]),
    ],
    ids=repr,
)
def test_choice_of_index_fields(choice, expected):
    assert which_hold_codes(COLUMNS, choice) == expected


@pytest.mark.parametrize(
    ("choice", "required"),
    [
        ("a", "'from_dtype', None, or a list of names or positions"),
        (1, "'from_dtype', None, or a list"),
        ({"a"}, "'from_dtype', None, or a list"),
        ([1.5], "'from_dtype', None, or a list"),
        ([["a"]], "'from_dtype', None, or a list"),
        ([["a"], ["b", "c"]], "'from_dtype', None, or a list"),
        ([True], "a mask of 3 booleans"),
        ([3], r"positions in \[0, 2\]"),
        ([-1], r"positions in \[0, 2\]"),
        (["a", "d"], r"names out of \['a', 'b', 'c'\]; \['d'\] are not"),
        ([None], r"names out of .*\[None\] are not"),
    ],
    ids=repr,
)
def test_bad_choice_of_index_fields_is_refused(choice, required):
    with pytest.raises(ValueError, match=f"categorical_features must be {required}.*, got "):
        which_hold_codes(COLUMNS, choice)


def test_codes_that_became_floats_warn_once_per_column(rng):
    codes = rng.permutation(np.repeat(np.arange(2.0, 42.0), 5))
    gaps = np.where(np.arange(200) % 7, codes, np.nan)
    columns = [InputColumn("a", codes), InputColumn("b", gaps), InputColumn("c", codes.astype(int))]
    with pytest.warns(UserWarning, match="holds 40 whole numbers: it is treated as a n") as caught:
        assert which_hold_codes(columns, "from_dtype") == [False, False, True]
    assert [str(warning.message)[:10] for warning in caught] == ["Column 'a'", "Column 'b'"]


@pytest.mark.parametrize(("first", "step"), [(2, 1), (2, 2), (3, 2)])
def test_codes_of_an_encoder_that_became_floats_warn(first, step):
    codes = np.repeat(np.append(first + step * np.arange(40.0), [0, 1]), 5)
    with pytest.warns(UserWarning, match="holds 42 whole numbers: it is treated as a number"):
        which_hold_codes([InputColumn("a", codes)], "from_dtype")


def test_ids_beyond_what_floats_hold_warn(rng):
    ids = rng.integers(2**55, 2**62, 300).astype(float)
    with pytest.warns(UserWarning, match=r"'user' holds whole numbers as floats.*'user': 'Int64'"):
        which_hold_codes([InputColumn("user", ids)], "from_dtype")
    quantities = [InputColumn("user", ids, is_quantity=True)]
    assert which_hold_codes(quantities, "from_dtype") == [False]  # warnings are errors here


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 50, 200),  # fractions
        np.repeat(np.arange(20.0), 10),  # few levels
        np.arange(200.0) - 1,  # below 0
        np.arange(200.0) * 3,  # sparse, as amounts are
        np.arange(200.0) * 4,  # quantities, by the codes of an encoder
        np.arange(99.0),  # few rows
        np.full(200, np.nan),
    ],
)
def test_true_floats_do_not_warn(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert which_hold_codes([InputColumn("a", values)], "from_dtype") == [False]


@pytest.mark.parametrize(("choice", "expected"), [(None, False), ([0], True), ([False], False)])
def test_choice_made_does_not_warn(choice, expected):
    assert which_hold_codes([InputColumn("a", np.arange(200.0))], choice) == [expected]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_warning_points_at_the_call_of_fit(method):
    X, y = np.arange(200.0)[:, None], np.arange(200) % 2
    options = {"classes": [0, 1]} if method == "partial_fit" else {}
    with pytest.warns(UserWarning, match="whole numbers") as caught:
        getattr(DeepFMClassifier(max_epochs=1, mlp_dims=()), method)(X, y, **options)
    assert [warning.filename for warning in caught] == [__file__]
