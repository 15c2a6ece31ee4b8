"""What an estimator makes of its columns: kinds of fields, and codes as rows of one table."""

import copy
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from sklearn_deepfm._common.integer_lookup import IntegerLookups
from sklearn_deepfm._fields.index_field import IndexField
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._fields.list_field import ListField, as_lists, interleave_lists
from sklearn_deepfm._fields.numeric_field import SLOPE_ROW, NumericField
from sklearn_deepfm._serialization.plain_values import expect

MOST_ROWS = 2**31 - 1


class FieldOffsets(NamedTuple):
    """Where fields begin in the table: those of one code per cell, and the multi-valued ones."""

    cells: np.ndarray
    lists: np.ndarray


class Fields:
    """The fields of a table, laid out one after the other as rows of one embedding table.

    Parameters
    ----------
    columns : list of InputColumn or InputListColumn
        The training rows.
    is_index : list of bool
        Whether a column holds codes, as opposed to numbers.
    weight : ndarray of shape (n_samples,) or None
        Weight of each row in statistics and frequencies.
    pooling : {"mean", "sum"}, default="mean"
        What a list makes of the table rows of its members.
    n_bins : int, "auto" or None, default="auto"
        Bins of a column of numbers.
    """

    def __init__(self, columns, is_index, weight, pooling="mean", n_bins="auto"):
        self._fields = [
            _new_field(column, flag, pooling, n_bins)
            for column, flag in zip(columns, is_index, strict=True)
        ]
        self._grow(columns, weight)

    def __getstate__(self):
        """The fields alone: a copy may change them, and works out afresh what follows from them."""
        return {"_fields": self._fields}

    def to_plain(self):
        """A state for each field, with its kind."""
        kinds = {cls: kind for kind, cls in _KINDS.items()}
        return [{"field": kinds[type(field)], **field.to_plain()} for field in self._fields]

    @classmethod
    def of_plain(cls, states):
        """The fields of these states.

        Raises
        ------
        Damaged
            If they are not what `to_plain` gives.
        """
        expect(isinstance(states, list) and states, "fields")
        new = cls.__new__(cls)
        new._fields = [_field_of_plain(state) for state in states]
        return new

    def __getitem__(self, position):
        return self._fields[position]

    def __iter__(self):
        return iter(self._fields)

    def __len__(self):
        return len(self._fields)

    def position(self, name, parameter):
        """Position of a column by its name, or by its position.

        Raises
        ------
        ValueError
            If there is none; `parameter` is what named it.
        """
        names = [field.name for field in self._fields]
        if name in names:
            return names.index(name)
        if isinstance(name, Integral) and 0 <= int(name) < len(names):
            return int(name)
        raise ValueError(
            f"{parameter} names the column {name!r}, which is none of {names}. Give a name, or a "
            f"position from 0 to {len(names) - 1}."
        )

    @property
    def dims(self):
        """Rows of each field, an int64 array of shape (n_fields,)."""
        return np.array([field.n_rows for field in self._fields], dtype=np.int64)

    @cached_property
    def offsets(self):
        """First row of each field, an int64 array of shape (n_fields,)."""
        return np.cumsum(self.dims) - self.dims

    @property
    def offsets_by_kind(self):
        """First rows of the fields of one code per cell, and of the multi-valued ones."""
        offsets = self.offsets.astype(np.int32)
        return FieldOffsets(offsets[~self._is_list], offsets[self._is_list])

    @cached_property
    def maps(self):
        """From a matrix of codes to rows of the table at once; None unless all fields allow."""
        maps = [
            field.map
            for field in self._fields
            if type(field) is IndexField and field.map and field.categories is None
        ]
        return IntegerLookups(maps, self.offsets) if len(maps) == len(self._fields) else None

    @cached_property
    def _is_list(self):
        """Whether each field holds lists."""
        return np.array([isinstance(field, ListField) for field in self._fields])

    @property
    def slopes(self):
        """Row of the slope of each numeric field, by its position among the fields of one code."""
        cells = np.flatnonzero(~self._is_list)
        return {
            position: int(self.offsets[j]) + SLOPE_ROW
            for position, j in enumerate(cells)
            if isinstance(self._fields[j], NumericField)
        }

    @property
    def frequencies(self):
        """For each field, its first row and the total weight of each of its rows."""
        return [
            (int(offset), field.frequency)
            for offset, field in zip(self.offsets, self._fields, strict=True)
        ]

    @property
    def order(self):
        """Position of each field of the network, where lists come last, among the columns."""
        return np.argsort(self._is_list, kind="stable")

    def average_cells(self, table):
        """Average of the cells that fit saw of each field.

        Parameters
        ----------
        table : ndarray of shape (n_features, width)

        Returns
        -------
        rows : ndarray of shape (n_fields, width)
        """
        averages = []
        for field, offset in zip(self._fields, self.offsets, strict=True):
            weights, rows = field.average_cell, table[offset : offset + field.n_rows]
            averages.append(rows[0] if weights is None else weights @ rows)
        return np.array(averages)

    def _grow(self, columns, weight):
        for field, column in zip(self._fields, columns, strict=True):
            field.grow(_of_form(field, column), weight)
        self._check_size()

    def _check_size(self):
        """Rows of the table are numbered by 32 bits, which would wrap around."""
        if (n_rows := self.dims.sum()) > MOST_ROWS:
            name, most = max(((f.name, f.n_rows) for f in self._fields), key=lambda pair: pair[1])
            raise ValueError(
                f"The fields need {n_rows} rows of the table, and at most {MOST_ROWS} can be "
                f"numbered; most of them, {most}, are of column {name!r}. Set min_frequency or "
                f"hash_dims of the encoder, or drop the column."
            )

    def grown(self, columns, weight):
        """Fields with rows added for what these columns hold and no earlier ones held.

        Returns
        -------
        fields : Fields
            A new object; this one stays as it is.
        source : ndarray of shape (n_features,)
            Row of the table so far with which each row of the new one starts: the row
            itself, or the first one of its field. Empty if no row was added.
        is_new : ndarray of bool of shape (n_features,)
            Empty if no row was added.
        """
        new = copy.copy(self)
        new._fields = [copy.copy(field) for field in self._fields]
        new._grow(columns, weight)
        if (new.dims == self.dims).all():
            return new, np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
        n_rows = self.dims.sum()
        kept = np.repeat(new.offsets - self.offsets, self.dims) + np.arange(n_rows)
        source, is_new = np.repeat(self.offsets, new.dims), np.ones(new.dims.sum(), dtype=bool)
        source[kept], is_new[kept] = np.arange(n_rows), False
        return new, source, is_new

    def absorbing(self, others):
        """Fields of all rows that these and others, grown from the same ones, have seen.

        Parameters
        ----------
        others : list of Fields

        Returns
        -------
        fields : Fields
            A new object; these stay as they are.

        Raises
        ------
        ValueError
            If they are not grown from the same ones.
        """
        new = copy.copy(self)
        new._fields = [copy.copy(field) for field in self._fields]
        for other in others:
            for field, of_other in zip(new, other, strict=True):
                field.absorb(of_other)
        new._check_size()
        return new

    def rows_in(self, others):
        """Row of other fields, which have absorbed these, for each row of these."""
        parts = [
            copy.copy(other).absorb(field) + offset
            for field, other, offset in zip(self, others, others.offsets, strict=True)
        ]
        return np.concatenate(parts).astype(np.int32)

    def without_counts(self):
        """The same rows of the table, as if no row of the data had been counted."""
        new = copy.copy(self)
        new._fields = [field.without_counts() for field in self._fields]
        return new

    def with_own_codes(self, columns):
        """Columns whose categories are numbered as in fit, to be encoded part by part."""
        return [
            field.with_own_codes(column)
            if column.categories is not None and isinstance(field, IndexField)
            else column
            for field, column in zip(self._fields, columns, strict=True)
        ]

    def encode(self, cells):
        """Turn cells into what the network takes.

        Parameters
        ----------
        cells : list of InputColumn or InputListColumn, or ndarray of shape (n_samples, n_fields)
            A matrix holds integers that fit int64.

        Returns
        -------
        index : ndarray of shape (n_samples, n_fields - n_lists), int32
            Row of the table for each cell of one code.
        value : ndarray of shape (n_samples, n_numeric_fields), float32, or None
            Normal scores of the numeric fields; None if there is none.
        lists : tuple of ndarray (members, starts, weights), or None
            The members of the list fields, as :class:`Bags` has them; None if there
            is none.
        """
        columns = cells
        if isinstance(cells, np.ndarray):
            if self.maps is not None:
                return self.maps(cells), None, None
            columns = [InputColumn(j, values) for j, values in enumerate(cells.T)]
        index = np.empty((len(columns[0]), np.count_nonzero(~self._is_list)), dtype=np.int32)
        cells_of_index = iter(index.T)
        values, lists = [], []
        for field, column, offset in zip(self._fields, columns, self.offsets, strict=True):
            column = _of_form(field, column)
            if isinstance(field, ListField):
                members, starts, weights = field.encode_lists(column)
                lists.append((members + np.int32(offset), starts, weights))
                continue
            rows, value = field.encode(column)
            np.add(rows, offset, out=next(cells_of_index), casting="unsafe")
            if value is not None:
                values.append(value)
        return (
            index,
            np.column_stack(values) if values else None,
            interleave_lists(lists) if lists else None,
        )


_KINDS: dict[str, Any] = {"codes": IndexField, "numbers": NumericField, "bags": ListField}


def _field_of_plain(state):
    expect(isinstance(state, dict) and state.get("field") in _KINDS, "field")
    state = dict(state)
    return _KINDS[state.pop("field")].of_plain(state)


def _new_field(column, is_index, pooling, n_bins):
    if isinstance(column, InputListColumn):
        return ListField(column.name, pooling)
    return IndexField(column.name) if is_index else NumericField(column.name, n_bins)


def _of_form(field, column):
    """The column, as lists if the field is one of lists; lists for another field are an error."""
    if isinstance(field, ListField):
        return as_lists(field.name, column)
    if isinstance(column, InputListColumn):
        raise ValueError(
            f"Column {field.name!r} holds lists and held one value per cell in fit. Give one "
            f"value per cell, or fit again."
        )
    return column
