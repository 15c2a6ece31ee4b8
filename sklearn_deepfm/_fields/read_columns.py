"""Reading of X: any table that scikit-learn may pass, as one array per column."""

from dataclasses import replace

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.utils.validation import validate_data

from sklearn_deepfm._common.code_steps import NAMES, WHOLE_NUMBERS, steps_of
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._tables.arrow import fill_nulls, is_list, kind_and_type
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT, as_doubles, without_decimals
from sklearn_deepfm._tables.named_quantities import named_quantities
from sklearn_deepfm._tables.objects import as_array, exact_number
from sklearn_deepfm._tables.pandas_index import note_of_index, pandas_index, without_index
from sklearn_deepfm._tables.table import (
    Columns,
    has_columns_of_fit,
    refuse_other_containers,
    validate_names,
    validate_other_names,
)


def read_columns(estimator, X, *, reset):
    """Columns of a data frame or matrix, checked as scikit-learn does.

    Parameters
    ----------
    estimator : estimator
        Gets `n_features_in_` and `feature_names_in_`, or is asked for them.
    X : data frame or array-like of shape (n_samples, n_fields)
    reset : bool
        Whether this is a fit, which learns names, or a later call, which compares.

    Returns
    -------
    columns : list of InputColumn or InputListColumn

    Raises
    ------
    ValueError
        If a column holds strings, dates, infinity or anything else that is neither
        a code nor a number, or the columns are not those of fit.
    """
    return _columns_of(estimator, _validated(estimator, X, reset=reset))


def read_cells(estimator, X):
    """Columns of X after fit; a matrix of integers that fit int64 stays whole, for one look-up."""
    table = _validated(estimator, X, reset=False)
    if isinstance(table, np.ndarray) and table.dtype.kind in "iu" and table.dtype != np.uint64:
        return table
    return _columns_of(estimator, table)


def _validated(estimator, X, *, reset):
    """X as a narwhals data frame or a matrix, checked as scikit-learn does."""
    # Checks that cannot fail here would only slow down the prediction of single rows.
    if _is_matrix(X) and not reset and has_columns_of_fit(estimator, X):
        return X
    refuse_other_containers(X)
    if reset and (index := pandas_index(X)):
        warn_user(note_of_index(index))
    X = without_index(X, () if reset else getattr(estimator, "feature_names_in_", ()))
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        X = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite=False)
        validate_other_names(estimator, X, reset=reset)
        return X
    if len(frame) == 0 or len(frame.columns) == 0:
        raise ValueError(
            f"Found a table with {len(frame)} sample(s) and {len(frame.columns)} feature(s), "
            f"while a minimum of 1 of each is required by {type(estimator).__name__}."
        )
    validate_names(estimator, frame, reset=reset)
    return frame


def _is_matrix(X):
    """Whether X is an array that passes scikit-learn's checks unchanged, columns aside."""
    return type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "biuf" and len(X) > 0


def _columns_of(estimator, table):
    name = type(estimator).__name__
    if isinstance(table, np.ndarray):
        return [_column_of_array(name, j, values) for j, values in enumerate(table.T)]
    native = nw.to_native(table)
    columns = Columns(native if isinstance(native, pd.DataFrame) else table)
    quantities = named_quantities(native)
    found = [_column(name, columns, j) for j in range(len(columns.names))]
    return [replace(c, is_quantity=True) if c.name in quantities else c for c in found]


def which_hold_codes(columns, categorical_features):
    """Decide which columns are index fields; list columns are, whatever the choice.

    Parameters
    ----------
    columns : list of InputColumn or InputListColumn
    categorical_features : "from_dtype", None, or array-like of bool, int or str
        As in HistGradientBoostingClassifier.

    Returns
    -------
    is_index : list of bool
    """
    if isinstance(categorical_features, str) and categorical_features == "from_dtype":
        _warn_of_codes_as_floats(columns)
        return [column.holds_codes for column in columns]
    if categorical_features is None:
        return [False] * len(columns)
    try:
        chosen = np.asarray(categorical_features)
    except ValueError:  # lists of unequal length
        chosen = np.empty((0, 0))
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "biuUOT"):
        raise _bad_choice(
            categorical_features, "'from_dtype', None, or a list of names or positions"
        )
    if chosen.size == 0:
        return [False] * len(columns)
    if chosen.dtype.kind == "b":
        if len(chosen) != len(columns):
            raise _bad_choice(categorical_features, f"a mask of {len(columns)} booleans")
        return chosen.tolist()
    if chosen.dtype.kind in "iu":
        if not (0 <= chosen.min() and chosen.max() < len(columns)):
            raise _bad_choice(categorical_features, f"positions in [0, {len(columns) - 1}]")
        return [j in chosen for j in range(len(columns))]
    names = [column.name for column in columns]
    if unknown := [name for name in chosen.tolist() if name not in names]:
        raise _bad_choice(categorical_features, f"names out of {names}; {unknown} are not")
    return [name in chosen.tolist() for name in names]


def _bad_choice(choice, required):
    return ValueError(f"categorical_features must be {required}, got {choice!r}.")


def _column_of_array(estimator, position, values):
    kind = values.dtype.kind
    if kind == "f":
        _refuse_infinity(position, values)
    if kind in "biuf":
        return InputColumn(position, values.astype(np.int64) if kind == "b" else values)
    if kind in "mM":  # NumPy would cast dates and durations to numbers
        raise _bad_type(estimator, position, "datetimes" if kind == "M" else "durations")
    return _column_of_objects(estimator, position, values)


def _column(estimator, columns, position):
    """One column of a data frame, from the reader that the encoder has too."""
    name, objects = columns.names[position], columns.objects(position)
    if objects is not None and _holds_lists(objects):
        return _column_of_lists(estimator, columns, position)
    if objects is not None:
        return _column_of_objects(estimator, name, objects)
    categories = columns.categories(position)
    if categories is not None:  # of any type, also of one that Arrow does not have
        return _column_of_categories(name, *categories)
    return _column_of_arrow(estimator, name, columns.arrow(position))


def _column_of_arrow(estimator, name, values):
    types = pa.types
    if is_list(values.type):
        return _as_lists(estimator, name, values)
    if types.is_dictionary(values.type):
        codes = fill_nulls(values.indices, -1)
        return _column_of_categories(name, codes, pd.Index(values.dictionary.to_pandas()))
    if values.null_count == len(values):  # nothing but missing cells, of any type
        return InputColumn(name, np.full(len(values), np.nan))
    type_, values = values.type, without_decimals(name, values)
    if types.is_integer(values.type) or types.is_boolean(values.type):
        missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
        if types.is_boolean(values.type):
            values = values.cast(pa.int64())
        filled = values if missing is None else values.fill_null(0)
        return InputColumn(name, filled.to_numpy(), missing)
    if types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        _refuse_infinity(name, numbers)
        return InputColumn(name, numbers)
    raise _bad_type(estimator, name, _kind(name, type_))


def _kind(name, type_):
    try:
        return kind_and_type(name, type_)[0]
    except TypeError:  # none that an encoder takes
        return str(type_)


def _column_of_objects(estimator, name, values):
    """Python numbers: whole ones, decimals among them, as integers, any others as floats."""
    missing = pd.isna(values)
    numbers = as_array(name, [_number(estimator, name, value) for value in values[~missing]])
    _refuse_infinity(name, numbers)
    is_float = numbers.dtype.kind == "f"
    cells = np.full(len(values), np.nan if is_float else 0, dtype=numbers.dtype)
    cells[~missing] = numbers
    return InputColumn(name, cells, None if is_float or not missing.any() else missing)


def _number(estimator, name, value):
    """An int if the value is a whole number by its type, else a float."""
    try:
        if isinstance(value, str | bytes | list | tuple | np.ndarray):
            raise ValueError("float() would read the number in it")
        return exact_number(value)
    except OverflowError:
        return np.inf  # which the caller refuses, as it does infinity itself
    except (TypeError, ValueError):
        if isinstance(value, list | tuple | np.ndarray):
            raise ValueError(
                f"Column {name!r} holds lists in a matrix of objects. {estimator} takes them in a "
                f"data frame: call set_output(transform='pandas') on what is in front of it, such "
                f"as a ColumnTransformer or a FeatureUnion."
            ) from None
        if isinstance(value, str | bytes):
            kind = "strings" if isinstance(value, str) else "bytes"
            raise _bad_type(estimator, name, kind) from None
        # scikit-learn asks for a TypeError where a cell is not even a scalar.
        raise TypeError(
            f"Column {name!r} holds {value!r}; argument must be a string or a number where a "
            f"table is encoded, and {_needs_numbers(estimator)}"
        ) from None


def _column_of_categories(name, codes, categories):
    """A column of positions in the sorted list of the categories that occur.

    The position of a category then depends on the values alone, not on the order of the
    rows, nor on the library that holds the table.
    """
    if categories.dtype == np.float32:
        categories = pd.Index(as_doubles(pa.array(categories)))
    occurs = np.zeros(len(categories) + 1, dtype=bool)
    occurs[codes] = True  # missing cells have code -1, the last entry
    occurs[-1] = False
    position = np.full(len(occurs), -1, dtype=np.int32)
    position[occurs], categories = _sorted_positions(categories[occurs[:-1]])
    return InputColumn(name, position[codes], categories=categories)


def _holds_lists(cells):
    kinds = list | tuple | set | frozenset | np.ndarray
    first = next((cell for cell in cells if isinstance(cell, kinds)), None)
    return first is not None and (isinstance(first, set | frozenset) or np.ndim(first) == 1)


def _column_of_lists(estimator, columns, position):
    """Lists of codes, or of structs of a code and a weight, as Python objects."""
    name = columns.names[position]
    try:
        return _as_lists(estimator, name, columns.arrow(position))
    except TypeError:
        raise _bad_lists(estimator, name, "objects, not all of which are lists") from None


def _as_lists(estimator, name, lists):
    column = InputListColumn.from_arrow(name, lists)
    if column is None:
        raise _bad_lists(estimator, name, str(lists.type))
    return column


def _bad_lists(estimator, name, kind):
    return ValueError(
        f"Column {name!r} holds {kind}; {estimator} takes lists of codes, that is of integers, or "
        f"of structs of an integer code and a weight. Put an OrdinalFieldEncoder in "
        f"front, which makes them of lists of anything."
    )


def _sorted_positions(categories):
    try:
        return pd.factorize(categories, sort=True)
    except TypeError:  # of types that have no order
        return pd.factorize(categories)


def _bad_type(estimator, name, kind):
    return ValueError(f"Column {name!r} holds {kind}; {_needs_numbers(estimator)}")


def _needs_numbers(estimator):
    return (
        f"{estimator} takes codes (integers, booleans, categories) and numbers only. Put an "
        f"OrdinalFieldEncoder in front, make_pipeline(OrdinalFieldEncoder(), {estimator}()), "
        f"or convert the column."
    )


def _refuse_infinity(name, values):
    if np.isinf(values).any():
        raise ValueError(
            f"Column {name!r} contains infinity or a value too large for float64. "
            f"Replace it by NaN (missing) or a finite number."
        )


def _warn_of_codes_as_floats(columns):
    """Warn of columns of floats that look like codes or ids: they would be treated as numbers."""
    for column in columns:
        if column.holds_codes or column.is_quantity or len(column) < 100:
            continue
        levels = np.unique(column.values[~np.isnan(column.values)])
        if len(levels) < 32 or (levels != np.trunc(levels)).any():
            continue
        if EXACT_FLOAT <= np.abs(levels).max() < 2.0**64:
            warn_user(
                f"Column {column.name!r} holds whole numbers as floats, of up to "
                f"{np.abs(levels).max():.4g}: beyond 2**53 a float does not tell neighbouring ones "
                f"apart. It is treated as a number; if these are ids, read them as integers, as "
                f"pandas.read_csv(..., dtype={{{column.name!r}: 'Int64'}}) does with missing "
                f"values too."
            )
        elif _lie_dense(levels):
            warn_user(
                f"Column {column.name!r} is of type {column.values.dtype} and holds "
                f"{len(levels)} whole numbers: it is treated as a number. If these are codes "
                f"that became floats on their way (a ColumnTransformer makes one float matrix "
                f"of its parts), name the column in categorical_features, or convert it to an "
                f"integer type; if they are numbers, name the columns that hold codes in "
                f"categorical_features (None: there are none).",
            )


def _lie_dense(levels):
    """Whether whole numbers are codes by their steps; amounts lie further apart."""
    if levels[0] < 0 or levels[-1] >= 2**31:
        return False
    steps = steps_of(levels.astype(np.int64))
    step = steps.step if steps in (WHOLE_NUMBERS, NAMES) else 1
    return levels[-1] < 2 * step * len(levels)
