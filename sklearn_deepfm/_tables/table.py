"""Tables of any library as one Arrow array per column, with the kind of its values."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TypeAlias

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_deepfm._tables.arrow import (
    refuse_beyond_64_bits,
    to_arrow,
)
from sklearn_deepfm._tables.columns import Column, ListColumn, column_of_arrow
from sklearn_deepfm._tables.containers import advice_for, named
from sklearn_deepfm._tables.pandas_index import without_index
from sklearn_deepfm._tables.stream import is_stream

# Frames of pandas are used directly: narwhals would take most of the time that a table of one row
# needs.
Table: TypeAlias = pd.DataFrame | nw.DataFrame | np.ndarray


def read_table(X: object, known: Collection[str] = ()) -> Table:
    """Open a data frame, by narwhals unless it is pandas'; make anything else a 2-D array.

    `known` are the columns of a table of Arrow that are features even if they are pandas' index.

    Raises
    ------
    ValueError
        If X has no rows or no columns, is not two-dimensional, is complex, or names a column twice.
    TypeError
        If X is sparse.
    """
    refuse_other_containers(X)
    table = X = without_index(X, known)
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


def refuse_other_containers(X: object) -> None:
    """Refuse containers of columns that are neither a data frame nor a matrix.

    Raises
    ------
    TypeError
        If X is sparse, a path or several, a dict, records, a data set, or a reader or lazy frame,
        which has still to be read.
    """
    if is_stream(X):
        raise TypeError(
            "X must be a data frame or a matrix here, got a data set, which fit, transform and "
            "the predictions alone take. Give its parts, one by one."
        )
    if issparse(X):
        raise TypeError(
            f"X must be a data frame or a matrix of raw columns, got a sparse {type(X).__name__}. "
            f"Give the columns as they were before they became one-hot or counts: each is a field. "
            f"If they are no such codes, make a dense matrix by X.toarray()."
        )
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(
            f"X must be a data frame or a matrix, got the path {X!r}. Read it, for example by "
            f"pandas.read_parquet(path), or by pyarrow.dataset.dataset(path) where it does not fit "
            f"in memory."
        )
    if isinstance(X, list | tuple) and X and isinstance(X[0], str | bytes | os.PathLike):
        raise TypeError(
            f"X must be a data frame or a matrix, got a {type(X).__name__} whose first element is "
            f"{X[0]!r}. Read files, for example by pandas.read_parquet([*X]), or by "
            f"pyarrow.dataset.dataset(X) where they do not fit in memory; make the values of a "
            f"column a data frame, pandas.DataFrame({{'name': X}})."
        )
    refuse_masks("X", X)
    if advice := advice_for(X):
        raise TypeError(f"X must be a data frame or a matrix, got {named(X)}: {advice}.")


def refuse_masks(name: str, array: object) -> None:
    """Refuse a masked array of which a cell is masked: NumPy would give what is under the mask.

    Raises
    ------
    TypeError
        If a cell is masked; `name` is what the user calls the array.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError(
            f"{name} must have no masked cells, got a masked array with "
            f"{np.ma.count_masked(array)} of them. Drop their rows, or give them values by "
            f"{name}.filled(value); a missing cell of X is numpy.nan."
        )


def validate_names(estimator: BaseEstimator, table: Table, *, reset: bool) -> None:
    """Let scikit-learn learn the names and the number of columns, or compare them with fit's."""
    if not reset and has_columns_of_fit(estimator, table):
        return  # scikit-learn takes a fifth of a millisecond for this comparison
    native = nw.to_native(table, pass_through=True)
    if not isinstance(native, (np.ndarray, pd.DataFrame)):
        # An older scikit-learn finds no names in frames of a newer polars, but does in pandas'.
        native = pd.DataFrame(columns=column_names(table))
    validate_data(estimator, native, reset=reset, skip_check_array=True)
    validate_other_names(estimator, native, reset=reset)


def validate_other_names(estimator: BaseEstimator, table: Table, *, reset: bool) -> None:
    """Learn names of columns that are no strings, or compare them with fit's.

    scikit-learn looks at strings alone, and takes columns named by numbers in any order.

    Raises
    ------
    ValueError
        If they differ from those of fit.
    """
    names = _other_names(table)
    if reset and names is None:
        vars(estimator).pop("_other_names", None)
    elif reset:
        estimator._other_names = names
    of_fit = getattr(estimator, "_other_names", None)
    if names is None or of_fit is None or names == of_fit:
        return
    position = next(j for j, pair in enumerate(zip(names, of_fit, strict=True)) if len({*pair}) > 1)
    raise ValueError(
        f"X must have the columns of fit, in their order: column number {position} is "
        f"{names[position]}, where fit saw {of_fit[position]}. Reorder the columns."
    )


def _other_names(table: Table) -> list[str] | None:
    """The names of the columns of a data frame, as text, if they are no strings."""
    if not isinstance(table, pd.DataFrame) or all(isinstance(n, str) for n in table.columns):
        return None
    return [str(name) for name in table.columns]


def has_columns_of_fit(estimator: BaseEstimator, table: Table) -> bool:
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
        self.names = column_names(table)

    def __getitem__(self, position: int) -> Column | ListColumn:
        return column_of_arrow(self.names[position], self.arrow(position))

    def objects(self, position: int) -> np.ndarray | None:
        """The cells of a column of Python objects; None if the column has a type."""
        native = self._natives[position]
        if isinstance(native, nw.Series):
            return native.to_numpy() if native.dtype == nw.Object else None
        return np.asarray(native) if native.dtype == object else None

    def categories(self, position: int) -> tuple[np.ndarray, pd.Index] | None:
        """Codes and categories of a column of pandas' category dtype; None for any other."""
        native = self._natives[position]
        if not isinstance(native.dtype, pd.CategoricalDtype):
            return None
        return native.cat.codes.to_numpy(), native.cat.categories

    def arrow(self, position: int) -> pa.Array:
        """The values of a column, in whatever type they have.

        Raises
        ------
        TypeError
            If they are of several types, or sparse.
        ValueError
            If one is a whole number beyond 64 bits.
        """
        native = self._natives[position]
        if isinstance(native.dtype, pd.SparseDtype):
            raise TypeError(
                f"Column {self.names[position]!r} is sparse, of type {native.dtype}. Give the "
                f"column as it was before pandas.get_dummies or the like made several of it: it is "
                f"one field. If it is no such code, make the frame dense by X.sparse.to_dense()."
            )
        try:
            return to_arrow(native)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            objects = self.objects(position)
            if objects is not None:
                refuse_beyond_64_bits(self.names[position], objects)
            raise TypeError(
                f"Column {self.names[position]!r} holds {_describe_types(native)}. The cells of "
                "one column of the X argument must be all strings, or all numbers (or booleans, "
                f"or dates), and missing ones None or NaN: convert them. ({error})"
            ) from error


def _describe_types(native: pd.Series | nw.Series | np.ndarray) -> str:
    dtype = str(nw.to_native(native, pass_through=True).dtype)
    if dtype.lower() != "object":
        return dtype
    return ", ".join(sorted({type(value).__name__ for value in native}))
