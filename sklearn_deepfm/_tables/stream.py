"""Streams: data sets of Arrow that need not fit in memory and are read part by part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.base import BaseEstimator

from sklearn_deepfm._tables.arrow import joined
from sklearn_deepfm._tables.exact_numbers import without_decimals
from sklearn_deepfm._tables.files import Files, naming_the_column
from sklearn_deepfm._tables.pandas_index import index_columns, note_of_index

if TYPE_CHECKING:  # at runtime it is the user who imports this part of Arrow
    from pyarrow.dataset import Dataset

ROWS_OF_A_PART = 2**17

# Rows of a table of Arrow, or what an encoder makes of them.
Features: TypeAlias = pa.Table | np.ndarray | pd.DataFrame
# Names of columns: one column, a matrix of several, or none.
Names: TypeAlias = str | Sequence[str] | None
# Features of some rows, and further columns of the same rows.
Part: TypeAlias = tuple[Features, list]


class Stream:
    """The rows of a data set of Arrow in their order, as they are or encoded.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
        Files of Parquet, say.
    names : list of str
        The columns that are features.
    encode : callable, default=None
        Applied to each part of the rows, such as the `transform` of an encoder.
    notes : list of str, default=()
        What the user should know of columns that are left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        names: Sequence[str],
        encode: Callable[[pa.Table], Features] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.dataset = dataset
        self.names = list(names)
        self.encode = encode
        self.notes = list(notes)

    def __len__(self) -> int:
        with naming_the_column(self.dataset):
            n: int = self.dataset.count_rows()
        return n

    def parts(self, *others: Names) -> Iterator[Part]:
        """Iterate over parts of the rows: their features, and further columns.

        Parameters
        ----------
        *others : str, list of str or None
            For each further array a column, several columns, which make a matrix, or None.

        Yields
        ------
        X : pyarrow.Table, or what `encode` makes of it
        arrays : list of ndarray or None
            One for each of `others`.
        """
        wanted = [*self.names, *(name for other in others for name in as_list(other))]
        for table in self.tables(wanted):
            arrays = [None if other is None else _array(table, other) for other in others]
            yield self.features(table), arrays

    def features(self, table: pa.Table) -> Features:
        """The features of a part, encoded if the stream has an encoder."""
        X = table.select(self.names)
        return X if self.encode is None else self.encode(X)

    def tables(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Iterate over parts of the rows, each with the wanted columns."""
        batches = self.dataset.to_batches(
            columns=list(dict.fromkeys(wanted)),
            batch_size=ROWS_OF_A_PART,
            # By default Arrow reads far ahead, and holds whole row groups of several files.
            batch_readahead=2,
            fragment_readahead=1,
        )
        with naming_the_column(self.dataset):
            yield from _rebatched(batches)

    def column(self, other: Names) -> np.ndarray | None:
        """One of the further arrays of `parts`, of all rows; there must be one."""
        if other is None:
            return None
        # A stream without features: nothing but these columns is read from the files.
        return np.concatenate([array for _, (array,) in Stream(self.dataset, []).parts(other)])

    def whole(self, *others: Names) -> tuple[Features, list[np.ndarray | None]]:
        """All rows at once, in the form of `parts`; there must be one."""
        parts, arrays = zip(*self.parts(*others), strict=True)
        columns = [None if a[0] is None else np.concatenate(a) for a in zip(*arrays, strict=True)]
        return concat_parts(parts), columns

    def encoded(self, encode: Callable[[pa.Table], Features]) -> Stream:
        """A stream of the same rows, encoded."""
        return Stream(self.dataset, self.names, encode)


def take_rows(X: Features, rows: np.ndarray) -> Features:
    """Some rows of a part, given by position."""
    if isinstance(X, pa.Table):
        return X.take(pa.array(rows))
    return X[rows] if isinstance(X, np.ndarray) else X.iloc[rows]


def concat_parts(parts: Sequence[Features]) -> Features:
    """Join parts in their order."""
    if isinstance(parts[0], pa.Table):
        return pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pd.concat(parts, ignore_index=True)


def is_stream(X: object) -> bool:
    """Whether X is a data set of Arrow, or a Stream that encodes one."""
    # Not imported for this check: before the user imports it, there is no data set.
    arrow = sys.modules.get("pyarrow.dataset")
    return isinstance(X, Stream) or (arrow is not None and isinstance(X, arrow.Dataset))


def stream_to_fit(X: Dataset | Stream, *others: tuple[str, Names]) -> Stream:
    """A stream of the features of a data set: all columns except those that `others` name.

    An index that pandas has written as columns is no feature either.

    Parameters
    ----------
    X : pyarrow.dataset.Dataset or Stream
    *others : tuple of (str, value)
        Names of parameters, each with the columns it names: a name, a list of names, or None.

    Raises
    ------
    ValueError
        If a parameter names a column that does not exist or that an encoder took for a feature,
        if no column is left, if two columns have the same name, or if files hold different kinds
        of values in a column.
    """
    names = _names_in(X)
    taken = {name for parameter, value in others for name in named_columns(parameter, value, names)}
    if isinstance(X, Stream):
        _refuse_features(X, others)
        return X
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"X must have unique column names, but two are {twice!r}. Rename one.")
    index = [name for name in index_columns(X.schema) if name not in taken]
    features = [name for name in names if name not in taken and name not in index]
    if not features:
        left_out = [*sorted(taken), *index]
        raise ValueError(f"X must have columns besides {left_out}, which are no features.")
    files = Files(X)
    notes = [note_of_index(index)] if index else []
    if later := files.later_columns():
        notes.append(_note_of_later(later))
    # What is left out is not read, and may differ between the files.
    read = [
        name for parameter, value in others if parameter != "leave_out" for name in as_list(value)
    ]
    return Stream(files.unified([*features, *read]), features, notes=notes)


def _names_in(X: Dataset | Stream) -> list[str]:
    """Names of all columns of the data set, features or not."""
    return (X.dataset if isinstance(X, Stream) else X).schema.names


def _note_of_later(names: Sequence[str]) -> str:
    return (
        f"The columns {[*names]} of later files are left out: the data set has the columns of its "
        f"first file. To have them as features, missing in the files that lack them, give it a "
        f"schema that names them, pyarrow.dataset.dataset(files, schema=...)."
    )


def _refuse_features(stream: Stream, others: Sequence[tuple[str, Names]]) -> None:
    """Refuse a target or weights that were encoded as features: the model would see them."""
    for parameter, value in others:
        if told := [name for name in as_list(value) if name in stream.names]:
            raise ValueError(
                f"{parameter} names {told}, which the encoder took for features. Name them in its "
                f"fit too, as y or leave_out; behind a Pipeline, encoder__leave_out={told}."
            )


def stream_like_fitted(
    estimator: BaseEstimator, X: Dataset | Stream, *others: tuple[str, Names]
) -> Stream:
    """A stream of the columns that fit saw; further columns are ignored.

    A column that only some files have is missing in the others.

    Raises
    ------
    ValueError
        If the data set lacks columns that fit saw or that `others` name (as in `stream_to_fit`),
        if files hold different kinds of values in one, or if fit saw a table without names.
    """
    for parameter, value in others:
        named_columns(parameter, value, _names_in(X))
    if isinstance(X, Stream):
        return X
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        raise ValueError(
            f"{type(estimator).__name__} was fitted to a table without names of columns, which a "
            f"data set is read by. Fit it to a data frame or a data set, or predict a matrix."
        )
    taken = [name for _, value in others for name in as_list(value)]
    X = Files(X).unified([*names, *taken])
    if lacking := [name for name in names if name not in X.schema.names]:
        raise ValueError(
            f"The data set lacks the columns {lacking} that fit saw; its columns are "
            f"{X.schema.names}."
        )
    return Stream(X, names.tolist())


def stream_to_score(
    estimator: BaseEstimator, X: Dataset | Stream, y: Names, sample_weight: Names
) -> tuple[Stream, np.ndarray | None, np.ndarray | None]:
    """A stream as `stream_like_fitted` gives it, and the target and the weights of its rows.

    Raises
    ------
    ValueError
        If there is none, besides those of `stream_like_fitted`.
    """
    stream = stream_like_fitted(estimator, X, ("y", y), ("sample_weight", sample_weight))
    if not len(stream):
        raise ValueError("The data set has no row, and a score needs at least 1. Check its filter.")
    return stream, stream.column(y), stream.column(sample_weight)


def _rebatched(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join batches, which filters may leave small, into tables of ROWS_OF_A_PART rows or more."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= ROWS_OF_A_PART:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield pa.Table.from_batches(waiting)


def named_columns(parameter: str, value: Names, names: list[str]) -> list[str]:
    """The columns that a parameter names: a name, a list of names, or None.

    Raises
    ------
    ValueError
        If one of them is not in `names`.
    """
    wanted: list
    try:
        wanted = as_list(value)
    except TypeError:  # not iterable: refused below, with the message for wrong names
        wanted = [value]
    for name in wanted:
        if not isinstance(name, str) or name not in names:
            shown = f"{value!r}" if isinstance(value, str) else f"a {type(value).__name__}"
            raise ValueError(
                f"{parameter} must name a column of the data set, or a list of them, got {shown}. "
                f"The columns are {names}."
            )
    return wanted


def as_list(other: Names) -> list[str]:
    """One name, several names or None as a list of names."""
    if other is None:
        return []
    return [other] if isinstance(other, str) else list(other)


def _array(table: pa.Table, other: str | Sequence[str]) -> np.ndarray:
    if isinstance(other, str):
        return _values(other, table[other])
    return np.column_stack([_values(name, table[name]) for name in other])


def _values(name: str, column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        return without_decimals(name, joined(column)).to_numpy(zero_copy_only=False)
    return column.to_numpy()
