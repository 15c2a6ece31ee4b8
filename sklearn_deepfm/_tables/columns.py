"""Columns of a table: Arrow arrays of few types, with the kind of their values in words."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklearn_deepfm._tables.arrow import as_arrow_type, is_list, kind_and_type
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT, as_doubles, without_decimals
from sklearn_deepfm._tables.lists import flattened, split


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `kind` describes the values in words, and is None when all are missing. `values` has one of few
    types, whatever library the table came from, and null for each missing value; a column of
    category dtype stays dictionary encoded.
    """

    name: Hashable
    kind: str | None
    values: pa.Array

    holds_lists = False

    @property
    def cells(self) -> Column:
        """The column of all values: this one."""
        return self

    def with_cells(self, cells: Column) -> Column:
        """The column with other values."""
        return cells

    def as_lists(self, separator: str | None) -> ListColumn:
        """Make a list column of strings, split at a separator, or of missing values.

        Raises
        ------
        ValueError
            If the column holds anything else.
        """
        if self.kind is None:
            n = len(self.values)
            return ListColumn(self.name, self, np.arange(n + 1), np.ones(n, dtype=bool))
        if separator is None or self.kind != "strings":
            need = "lists" if separator is None else "strings to take apart, or lists,"
            raise ValueError(
                f"Column {self.name!r} must hold {need} by the parameters of the encoder, and "
                f"holds {self.kind}. Convert it, name what separates the parts in separators, "
                f"or leave it out of separators and member_weights."
            )
        return ListColumn.of_arrow(self.name, split(self.as_quantities().values, separator))

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

    name: Hashable
    members: Column
    starts: np.ndarray
    is_missing: np.ndarray
    weights: np.ndarray | None = None

    holds_lists = True

    @property
    def cells(self) -> Column:
        """The column of all values: the members of all lists."""
        return self.members

    def with_cells(self, cells: Column) -> ListColumn:
        """The column with other members."""
        return replace(self, members=cells)

    def as_lists(self, separator: str | None) -> ListColumn:
        """The column as it is."""
        return self

    @property
    def kind(self) -> str | None:
        """The kind of the members in words; None if all are missing."""
        return None if self.members.kind is None else f"lists of {self.members.kind}"

    @classmethod
    def of_arrow(cls, name: Hashable, lists: pa.Array) -> ListColumn:
        """Read Arrow lists."""
        members, starts = flattened(lists)
        is_missing = lists.is_null().to_numpy(zero_copy_only=False)
        return cls(name, _column_of_arrow(name, members), starts, is_missing)


def column_of_arrow(name: Hashable, values: pa.Array) -> Column | ListColumn:
    """A column of these values, cast to the type of their kind.

    Raises
    ------
    TypeError
        If no kind of column can hold them.
    """
    if is_list(values.type):
        return ListColumn.of_arrow(name, values)
    return _column_of_arrow(name, values)


def _column_of_arrow(name: Hashable, values: pa.Array) -> Column:
    values = without_decimals(name, values)
    kind, target = kind_and_type(name, values.type)
    values = as_arrow_type(name, values, target)
    return Column(name, None if values.null_count == len(values) else kind, values)


def _dictionary(indices: pa.Array, dictionary: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(indices, dictionary)


def _are_whole(values: pa.Array) -> bool:
    if not pa.types.is_floating(values.type):
        return True
    is_exact = pc.less(pc.abs(values), pa.scalar(float(EXACT_FLOAT), values.type))
    return pc.all(pc.and_(pc.equal(pc.floor(values), values), is_exact)).as_py()


def _without_fractions(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type) and _are_whole(values):
        return values.cast(pa.int64())
    return as_doubles(values)
