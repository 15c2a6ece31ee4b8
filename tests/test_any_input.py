"""Any table works or gives a clear error: tables drawn at random, with whatever a cell may hold.

`python tests/test_any_input.py 20000` tries so many of each kind and prints how it went.
"""

import collections
import contextlib
import datetime as dt
import os
import pickle
import sys
import tempfile
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    load_model,
    save_model,
)

HUGE = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**70, -(2**70)]
CELLS = {
    "integers": st.integers(-5, 5) | st.sampled_from(HUGE),
    "small integers": st.integers(0, 9),
    # Few, and further apart than int64 can say.
    "hashes": st.sampled_from([-(2**63), -6 * 10**18, 5 * 10**18, 2**63 - 1]),
    "floats": st.floats(width=64)
    | st.sampled_from([0.0, -0.0, 1e200, -1e200, 5e-324, 2.0**53, 2.0**60, 0.5])
    | st.sampled_from([1.7e308, -1.7e308]),
    "whole floats": st.integers(-3, 3).map(float) | st.just(float("nan")),
    "booleans": st.booleans(),
    "strings": st.sampled_from(
        ["", "a", "b", "A", " a", "NaN", "None", "<NA>", "\0", "a\0", "日本"]
    )
    | st.text(st.characters(), max_size=3),
    "surrogates": st.sampled_from(["\ud800", "a", "\udfff b"]),
    "bytes": st.sampled_from([b"", b"a", b"\xff"]),
    "dates": st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),
    "days": st.dates(),
    "zoned": st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2100, 1, 1)).map(
        lambda d: d.replace(tzinfo=dt.UTC)
    ),
    "durations": st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5)),
    "times": st.times(),
    "decimals": st.decimals(allow_nan=False, allow_infinity=False, places=2, max_value=10**6),
    "fractions": st.fractions(max_denominator=9),
    "complex": st.complex_numbers(max_magnitude=9),
    "lists": st.lists(st.sampled_from(["x", "y"]), max_size=3),
    "lists of integers": st.lists(st.integers(-3, 3), max_size=3),
    "tuples": st.tuples(st.integers(0, 2)),
    "sets": st.sets(st.integers(0, 2)).map(frozenset),
    "dicts": st.fixed_dictionaries({"k": st.integers(0, 2)}),
    "intervals": st.integers(0, 3).map(lambda k: pd.Interval(k, k + 1)),
    "periods": st.integers(1990, 1995).map(lambda year: pd.Period(str(year), "Y")),
    "types": st.just(int),
    "missing": st.none(),
}
MISSING = [None, float("nan"), pd.NA, pd.NaT]
DTYPES = ["object", "category", "string", "Int64", "UInt8", "boolean", "Float32", "str", "float64"]
DTYPES += ["float32", "float16", "int8", "uint64", "int64", "bool", "U", "longdouble", ">i4"]
DTYPES += [">f8", "complex128", "datetime64[s]", "datetime64[ns]", "timedelta64[ms]"]
DTYPES += ["int64[pyarrow]", "string[pyarrow]", "double[pyarrow]", "bool[pyarrow]"]


FOR_MODELS = ["small integers", "integers", "whole floats", "floats", "booleans"]
FOR_MODELS += ["lists of integers", "hashes"]
USUAL = [
    "integers",
    "small integers",
    "hashes",
    "floats",
    "whole floats",
    "booleans",
    "strings",
    "dates",
]
USUAL += ["durations", "decimals", "lists", "lists of integers", "zoned"]
KINDS = st.sampled_from(USUAL * 3 + sorted(CELLS))
STRINGS = st.sampled_from(["a", "b", "a b", "", "日本", "bias", "deep", "\n"])
NUMBERS_AND_PAIRS = st.integers(0, 3) | st.tuples(st.integers(0, 1), st.integers(0, 1))
NAMES = STRINGS | NUMBERS_AND_PAIRS | st.none()
RARELY = st.integers(0, 19).map(lambda number: number == 13)


@st.composite
def schemes(draw, for_models=False):
    """What tables have in common: names, kinds and types of the columns, and the container."""
    kind_of_name = NAMES if draw(RARELY) else draw(st.sampled_from([STRINGS, NUMBERS_AND_PAIRS]))
    names = draw(st.lists(kind_of_name, min_size=1, max_size=4, unique=not draw(RARELY)))
    names = [] if draw(RARELY) else names
    usual = st.sampled_from(FOR_MODELS) if for_models else KINDS
    kinds = [draw(KINDS if draw(RARELY) else usual) for _ in names]
    dtypes = [draw(st.lists(st.sampled_from(DTYPES), max_size=2)) for _ in names]
    return names, kinds, dtypes, draw(st.sampled_from(["pandas"] * 9 + sorted(CONTAINERS)))


@st.composite
def cells(draw, kind, n):
    """A list of `n` cells, mostly of one kind, some of them missing, seldom one of another."""
    values = draw(st.lists(CELLS[kind], min_size=n, max_size=n))
    for position in draw(st.sets(st.integers(0, max(n - 1, 0)), max_size=n // 3)):
        values[position] = draw(st.sampled_from(MISSING))
    if n and draw(RARELY):
        values[0] = draw(CELLS[draw(KINDS)])
    return values


def as_series(values, dtypes):
    """Cells as an array of the types that can hold them."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    series = pd.Series(array, dtype=object)
    for dtype in dtypes:
        with contextlib.suppress(Exception):  # pandas' own refusals are of every kind
            series = series.astype(dtype)
    return series


@st.composite
def tables(draw, scheme, least=0):
    """A table of a scheme, in its container if that takes it."""
    names, kinds, dtypes, container = scheme
    n = draw(st.integers(max(least, 1), 24)) if least or not draw(RARELY) else 0
    values = [draw(cells(kind, n)) for kind in kinds]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        parts = [as_series(part, dtype) for part, dtype in zip(values, dtypes, strict=True)]
        if draw(RARELY):
            parts = [reordered(part) for part in parts]
        frame = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(n))
        frame.columns = pd.Index(names, tupleize_cols=False)
        with contextlib.suppress(Exception, pl.exceptions.PanicException):  # of other libraries
            return CONTAINERS[container](frame)
    return frame


@st.composite
def pairs(draw, least=0):
    """A table to learn, of so many rows at least, and another: mostly one of the same scheme."""
    scheme = draw(schemes(least > 0))
    other = draw(schemes(least > 0)) if draw(RARELY) else scheme
    return draw(tables(scheme, least)), draw(tables(other))


def reordered(column):
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column
    return column.cat.set_categories(column.cat.categories[::-1])


def as_memmap(array):
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def with_shuffled_index(frame):
    return frame.set_axis(np.arange(len(frame))[::-1] // 2)


CONTAINERS = {
    "pandas": lambda frame: frame,
    "pandas, other index": with_shuffled_index,
    "array": lambda frame: frame.to_numpy(),
    "Fortran order": lambda frame: np.asfortranarray(frame.to_numpy()),
    "view": lambda frame: np.repeat(frame.to_numpy(), 2, axis=0)[::2],
    "backwards": lambda frame: frame.to_numpy()[::-1, ::-1],
    "read-only": lambda frame: read_only(frame.to_numpy()),
    "memory-mapped": lambda frame: as_memmap(frame.to_numpy(dtype=np.float64)),
    "lists": lambda frame: frame.to_numpy().tolist(),
    "one column": lambda frame: frame.iloc[:, 0],
    "polars": pl.from_pandas,
    "lazy polars": lambda frame: pl.from_pandas(frame).lazy(),
    "pyarrow": pa.Table.from_pandas,
    "sparse": lambda frame: scipy.sparse.csr_array(frame.to_numpy(dtype=np.float64)),
    "dict": lambda frame: frame.to_dict("list"),
    "masked": lambda frame: np.ma.masked_invalid(frame.to_numpy(dtype=np.float64)),
    "matrix of strings": lambda frame: frame.to_numpy().astype(str),
    "scalar": lambda frame: frame.to_numpy()[0, 0],
}


def attempt(call, *args, **kwargs):
    """The result, or None after a ValueError or TypeError that says something; all else is raised.

    Warnings are allowed if they are for users.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        try:
            return call(*args, **kwargs)
        except (TypeError, ValueError) as error:
            message = str(error)
    assert len(message) > 20, message
    return None


OUTCOMES = collections.Counter()


def assert_comes_back(model, predict):
    """What fits is pickled and saved, and the loaded models predict the same to the bit."""
    expected = predict(model)
    loaded = [attempt(pickle.loads, pickle.dumps(model))]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        try:
            save_model(model, path)
        except TypeError as error:  # of categories such as intervals
            assert "cannot be saved without code" in str(error)  # noqa: PT017
        else:
            loaded.append(attempt(load_model, path))
    for each in loaded:
        assert each is not None, "a model that fits is called damaged when it is loaded"
        pd.testing.assert_frame_equal(predict(each), expected, check_exact=True)


def encode(table, other):
    """Codes are whole numbers of their field's range, and known ones mean what was there."""
    encoder = OrdinalFieldEncoder()
    codes = attempt(encoder.fit_transform, table)
    OUTCOMES["encoder: table", "refused" if codes is None else "encoded"] += 1
    if codes is None:
        assert not hasattr(encoder, "field_dims_")
        return
    again = attempt(encoder.transform, table)
    assert_codes(encoder, codes)
    pd.testing.assert_frame_equal(pd.DataFrame(codes), pd.DataFrame(again))
    assert_comes_back(encoder, lambda each: pd.DataFrame(attempt(each.transform, table)))
    values = encoder.inverse_transform(codes)
    assert_codes_mean(encoder, codes, values)
    with_others = attempt(encoder.transform, other)
    OUTCOMES["encoder: another table", "refused" if with_others is None else "encoded"] += 1
    if with_others is not None:
        assert_codes(encoder, with_others)
        if isinstance(other, pd.DataFrame):
            assert_each_row_alone_is_the_same(encoder, other, with_others)
    # A column without values may turn out to hold lists.
    has_values = [kind != "empty" for kind in encoder.field_kinds_]
    if attempt(encoder.partial_fit, other) is not None:
        assert_codes(encoder, attempt(encoder.transform, other))
        frames = [pd.DataFrame(X) for X in (codes, attempt(encoder.transform, table))]
        before, after = (X.set_axis(range(X.shape[1]), axis=1) for X in frames)
        pd.testing.assert_frame_equal(before.loc[:, has_values], after.loc[:, has_values])


def assert_codes(encoder, codes):
    frame = pd.DataFrame(codes)
    assert frame.shape[1] == len(encoder.field_dims_)
    for (_, column), n_codes in zip(frame.items(), encoder.field_dims_, strict=True):
        flat = column.explode().dropna().astype("int64")
        assert ((flat >= 0) & (flat < n_codes)).all()


def assert_each_row_alone_is_the_same(encoder, frame, codes):
    for row in range(0, len(frame), 5):
        alone = attempt(encoder.transform, frame[row : row + 1])
        if alone is not None:  # objects may be of no known type alone
            expected = pd.DataFrame(codes)[row : row + 1].reset_index(drop=True)
            pd.testing.assert_frame_equal(pd.DataFrame(alone).reset_index(drop=True), expected)


def assert_codes_mean(encoder, codes, values):
    """Equal codes of known categories stand for one value, different codes for different ones."""
    for kind, (_, column), meaning in zip(
        encoder.field_kinds_, pd.DataFrame(codes).items(), values.T, strict=True
    ):
        if kind == "categories":
            pairs = {(code, repr(value)) for code, value in zip(column, meaning, strict=True)}
            assert len(pairs) == len({code for code, _ in pairs})
            known = [value for code, value in pairs if code >= 2]
            assert len(known) == len(set(known))


def predict(estimator, table, y, other):
    """Predictions are finite; probabilities are such."""
    model = estimator(max_epochs=1, embed_dim=2, mlp_dims=(3,), random_state=0)
    is_fitted = attempt(model.fit, table, y) is not None
    name = estimator.__name__
    OUTCOMES[f"{name}: table", "fitted" if is_fitted else "refused"] += 1
    if not is_fitted:
        assert not hasattr(model, "net_")
        return
    assert_comes_back(model, lambda each: pd.DataFrame(attempt(each.predict, table)))
    for rows in (table, other):
        result = attempt(model.predict, rows)
        if rows is other:
            OUTCOMES[f"{name}: another table", "refused" if result is None else "predicted"] += 1
        else:
            assert result is not None
        if result is None:
            continue
        if estimator is DeepFMRegressor:
            assert np.isfinite(result).all()
            continue
        assert set(result) <= set(model.classes_)
        proba = model.predict_proba(rows)
        assert ((proba >= 0) & (proba <= 1)).all(), proba
        np.testing.assert_allclose(proba.sum(axis=1), 1)


def targets(n):
    return st.lists(st.sampled_from(["no", "yes"]), min_size=n, max_size=n) | st.lists(
        st.integers(0, 2), min_size=n, max_size=n
    )


def amounts(n):
    extreme = st.sampled_from([1e200, -1e200, 5e-324, 0.0, 1e-200, 1e300, -1e300])
    usual = st.floats(-1e9, 1e9) | st.integers(-5, 5)
    return st.lists(usual | extreme, min_size=n, max_size=n) | st.lists(
        st.floats(), min_size=n, max_size=n
    )


def n_rows(table):
    try:
        return len(table)
    except TypeError:
        return 3


IS_SCRIPT = __name__ == "__main__"


def tries(n):
    """So many in a test; as a script, as many as the command says, or a tenth where n is small."""
    if IS_SCRIPT:
        n = int(sys.argv[1]) // (1 if n >= 400 else 10)
    return settings(
        max_examples=n,
        deadline=None,
        database=None,
        derandomize=not IS_SCRIPT,
        suppress_health_check=list(HealthCheck),
    )


@tries(400)
@given(pairs())
def test_encoder_with_any_tables(pair):
    encode(*pair)


@tries(100)
@given(st.data(), pairs(least=2))
def test_classifier_with_any_tables(data, pair):
    table, other = pair
    predict(DeepFMClassifier, table, data.draw(targets(n_rows(table))), other)


@tries(100)
@given(st.data(), pairs(least=2))
def test_regressor_with_any_tables(data, pair):
    table, other = pair
    predict(DeepFMRegressor, table, data.draw(amounts(n_rows(table))), other)


EXTREMES = [0.0, 1.0, 5e-324, 1e-200, 1e200, 1e308, 1.7e308]
WEIGHTS = st.floats(0, allow_infinity=False) | st.integers(0, 5) | st.sampled_from(EXTREMES)


@tries(60)
@given(st.data())
def test_any_weights(data):
    n = data.draw(st.integers(2, 20))
    X, y = np.arange(2 * n).reshape(n, 2) % 3, np.arange(n) % 2
    weight = data.draw(st.lists(WEIGHTS, min_size=n, max_size=n))
    if data.draw(RARELY):
        weight[0] = data.draw(st.floats())
    for estimator in (DeepFMClassifier, DeepFMRegressor):
        model = estimator(max_epochs=1, embed_dim=2, mlp_dims=(3,), random_state=0)
        if attempt(model.fit, X, y, sample_weight=weight) is not None:
            OUTCOMES["sample_weight", "fitted"] += 1
            assert np.isfinite(model.predict(X)).all()
        else:
            OUTCOMES["sample_weight", "refused"] += 1


def test_ten_thousand_columns():
    X = np.random.default_rng(0).integers(0, 5, (30, 10_000)).astype(str)
    codes = OrdinalFieldEncoder().fit_transform(X)
    assert codes.shape == X.shape
    model = DeepFMClassifier(max_epochs=1, embed_dim=1, mlp_dims=(2,)).fit(codes, [0, 1] * 15)
    assert np.isfinite(model.predict_proba(codes)).all()


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_") and hasattr(test, "hypothesis"):
            test()
    for (what, outcome), count in sorted(OUTCOMES.items()):
        print(f"{what:35}{outcome:12}{count:8}")
    print(f"{sum(OUTCOMES.values())} in all")


if IS_SCRIPT:
    main()
