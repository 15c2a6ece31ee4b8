"""Tables of any library as one Arrow array per column, with the kind of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_deepfm._tables.arrow import as_arrow_type, is_list, kind_and_type, to_arrow
from sklearn_deepfm._tables.lists import flattened, split
from sklearn_deepfm._tables.stream import is_stream

# Frames of pandas are used directly: narwhals would take most of the time that a table of one row
# needs.
Table: TypeAlias = pd.DataFrame | nw.DataFrame | np.ndarray

# Up to this size a float64 holds each whole number exactly.
EXACT_FLOAT = 2**53


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `kind` describes the values in words, and is None when all are missing. `values` has one of few
    types, whatever library the table came from, and null for each missing value; a column of
    category dtype stays dictionary encoded.
    """

    name: Any
    kind: str | None
    values: pa.Array

    def is_encoded(self) -> bool:
        """Whether the values are dictionary encoded."""
        return pa.types.is_dictionary(self.values.type)

    def is_categorical(self) -> bool:
        """Whether the values are categories by their kind and type alone."""
        if self.is_encoded() or self.kind in ("strings", "booleans"):
            return True
        return self.kind == "numbers" and _are_whole(self.values)

    def as_categories(self) -> Column:
        """The same column, dictionary encoded, whole numbers as integers."""
        values = self.values
        if self.is_encoded():
            dictionary = _without_fractions(values.dictionary)
            # After a cast, entries of a dictionary may be equal, such as 0.0 and -0.0.
            if len(dictionary.unique()) == len(dictionary):
                return Column(self.name, self.kind, _dictionary(values.indices, dictionary))
            values = dictionary.take(values.indices)
        return Column(self.name, self.kind, _without_fractions(values).dictionary_encode())

    def as_quantities(self) -> Column:
        """The same column, not dictionary encoded."""
        values = self.values.dictionary_decode() if self.is_encoded() else self.values
        return Column(self.name, self.kind, values)


@dataclass(frozen=True)
class ListColumn:
    """A column of lists: the members of all cells, one cell after the other.

    A missing cell, for which `is_missing` is true, has one missing member. `starts` holds the
    position of the first member of each cell and, at the end, the number of members. `weights` are
    those of the members, None if there are none.
    """

    name: Any
    members: Column
    starts: np.ndarray
    is_missing: np.ndarray
    weights: np.ndarray | None = None

    @property
    def kind(self) -> str | None:
        """The kind of the members in words; None if all are missing."""
        return None if self.members.kind is None else f"lists of {self.members.kind}"

    @classmethod
    def of(cls, column: Column | ListColumn, separator: str | None) -> ListColumn:
        """Make a list column of strings, split at a separator, or of missing values.

        Raises
        ------
        ValueError
            If the column holds anything else.
        """
        if isinstance(column, ListColumn):
            return column
        if column.kind is None:
            n = len(column.values)
            return cls(column.name, column, np.arange(n + 1), np.ones(n, dtype=bool))
        if separator is None or column.kind != "strings":
            need = "lists" if separator is None else "strings to take apart, or lists,"
            raise ValueError(
                f"Column {column.name!r} must hold {need} by the parameters of the encoder, and "
                f"holds {column.kind}. Convert it, name what separates the parts in separators, "
                f"or leave it out of separators and member_weights."
            )
        values = column.as_quantities().values
        return cls._of_arrow(column.name, split(values, separator))

    @classmethod
    def _of_arrow(cls, name: Any, lists: pa.Array) -> ListColumn:
        members, starts = flattened(lists)
        is_missing = lists.is_null().to_numpy(zero_copy_only=False)
        return cls(name, _column_of_arrow(name, members), starts, is_missing)


def read_table(X: Any) -> Table:
    """Open a data frame, by narwhals unless it is pandas'; make anything else a 2-D array.

    Raises
    ------
    ValueError
        If X has no rows or no columns, is not two-dimensional, is complex, or names a column twice.
    TypeError
        If X is sparse.
    """
    refuse_other_containers(X)
    table = X
    if not isinstance(X, pd.DataFrame):
        table = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(table, (pd.DataFrame, nw.DataFrame)):
        # Lists become objects: NumPy would turn the 1 of [1, "a"] into a string.
        dtype = object if isinstance(X, (list, tuple)) else None
        return check_array(X, dtype=dtype, ensure_all_finite=False)
    if 0 in table.shape:
        n_rows, n_columns = table.shape
        raise ValueError(
            f"X has {n_rows} rows and {n_columns} columns, a minimum of 1 of each is required."
        )
    if isinstance(table, pd.DataFrame) and not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"X must have unique column names, but two are {twice!r}. Rename one.")
    return table


def refuse_other_containers(X: Any) -> None:
    """Refuse containers of columns that are neither a data frame nor a matrix.

    Raises
    ------
    TypeError
        If X is a dict, a data set, or a lazy frame, which has still to be computed.
    """
    if is_stream(X):
        raise TypeError(
            "X must be a data frame or a matrix here, got a data set, which fit, transform and "
            "the predictions alone take. Give its parts, one by one."
        )
    is_dict = isinstance(X, dict) and not issparse(X)  # SciPy's dok_matrix is a dict
    if is_dict or hasattr(X, "collect"):
        need = "collect() it first" if hasattr(X, "collect") else "make it a data frame"
        raise TypeError(f"X must be a data frame or a matrix, got a {type(X).__name__}: {need}.")


def validate_names(estimator: Any, table: Table, *, reset: bool) -> None:
    """Let scikit-learn learn the names and the number of columns, or compare them with fit's."""
    if not reset and has_columns_of_fit(estimator, table):
        return  # scikit-learn takes a fifth of a millisecond for this comparison
    native = nw.to_native(table, pass_through=True)
    if not isinstance(native, (np.ndarray, pd.DataFrame)):
        # An older scikit-learn finds no names in frames of a newer polars, but does in pandas'.
        native = pd.DataFrame(columns=column_names(table))
    validate_data(estimator, native, reset=reset, skip_check_array=True)


def has_columns_of_fit(estimator: Any, table: Table) -> bool:
    """Whether names and number of the columns are those that fit saw."""
    names = getattr(estimator, "feature_names_in_", None)
    if isinstance(table, np.ndarray):
        return names is None and table.shape[1] == getattr(estimator, "n_features_in_", None)
    return names is not None and column_names(table) == names.tolist()


def column_names(table: Table) -> list:
    """The names of the columns, or their positions when they have no names."""
    if isinstance(table, pd.DataFrame):
        return table.columns.tolist()
    return list(range(table.shape[1])) if isinstance(table, np.ndarray) else list(table.columns)


class Columns:
    """The columns of a table by position, each converted only when it is read, to save memory."""

    def __init__(self, table: Table) -> None:
        if isinstance(table, np.ndarray):
            self._natives: list = list(table.T)
        elif isinstance(table, pd.DataFrame):
            self._natives = [column for _, column in table.items()]
        else:
            self._natives = list(table.iter_columns())
        self._names = column_names(table)

    def __getitem__(self, position: int) -> Column | ListColumn:
        return column_of_arrow(self._names[position], self.arrow(position))

    def arrow(self, position: int) -> pa.Array:
        """The values of a column, in whatever type they have.

        Raises
        ------
        TypeError
            If they are of several types.
        """
        native = self._natives[position]
        try:
            return to_arrow(native)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise TypeError(
                f"Column {self._names[position]!r} holds {_describe_types(native)}. The cells of "
                "one column of the X argument must be all strings, or all numbers (or booleans, "
                f"or dates), and missing ones None or NaN: convert them. ({error})"
            ) from error


def column_of_arrow(name: Any, values: pa.Array) -> Column | ListColumn:
    """A column of these values, cast to the type of their kind.

    Raises
    ------
    TypeError
        If no kind of column can hold them.
    """
    if is_list(values.type):
        return ListColumn._of_arrow(name, values)
    return _column_of_arrow(name, values)


def _column_of_arrow(name: Any, values: pa.Array) -> Column:
    kind, target = kind_and_type(name, values.type)
    values = as_arrow_type(name, values, target)
    return Column(name, None if values.null_count == len(values) else kind, values)


def _describe_types(native: pd.Series | nw.Series | np.ndarray) -> str:
    dtype = str(nw.to_native(native, pass_through=True).dtype)
    if dtype.lower() != "object":
        return dtype
    return ", ".join(sorted({type(value).__name__ for value in native}))


def _dictionary(indices: pa.Array, dictionary: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(indices, dictionary)


def _are_whole(values: pa.Array) -> bool:
    if not pa.types.is_floating(values.type):
        return True
    whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), EXACT_FLOAT))
    return pc.all(whole).as_py()


def _without_fractions(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type) and _are_whole(values):
        return values.cast(pa.int64())
    return values
