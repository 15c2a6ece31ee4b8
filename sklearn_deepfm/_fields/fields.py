"""The fields of a table: a kind for each column, and codes as rows of one embedding table."""

import copy
from functools import cached_property
from numbers import Integral
from typing import NamedTuple

import numpy as np

from sklearn_deepfm._common.integer_lookup import IntegerLookups
from sklearn_deepfm._fields.field import Field, FieldOptions
from sklearn_deepfm._fields.index_field import IndexField
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.list_field import ListField
from sklearn_deepfm._fields.network_inputs import NetworkInputs
from sklearn_deepfm._fields.numeric_field import NumericField
from sklearn_deepfm._fields.pooled_field import PooledField
from sklearn_deepfm._serialization.plain_values import expect

MOST_ROWS = 2**31 - 1  # of the table: an index has 32 bits
# The kinds of fields. A column gets the first that suits it.
KINDS: tuple[type[Field], ...] = (ListField, PooledField, IndexField, NumericField)


class FieldOffsets(NamedTuple):
    """First table row of each field: of those with one code per cell, and of list fields."""

    cells: np.ndarray
    lists: np.ndarray


class Fields:
    """The fields of a table, laid out one after the other as rows of one embedding table.

    Parameters
    ----------
    columns : list of InputColumn or InputListColumn
        The training rows.
    is_index : list of bool or "pooled"
        Whether a column holds codes, as opposed to numbers; "pooled": codes, neighbours among
        which share rows.
    weight : ndarray of shape (n_samples,) or None
        Weight of each row in statistics and frequencies.
    pooling : {"mean", "sum"}, default="mean"
        Whether a list is the mean or the sum of the table rows of its members.
    n_bins : int, "auto" or None, default="auto"
        Bins of a column of numbers.
    """

    def __init__(self, columns, is_index, weight, pooling="mean", n_bins="auto"):
        options = FieldOptions(pooling, n_bins)
        self._fields = [
            next(kind for kind in KINDS if kind.suits(column, flag)).new(column.name, options)
            for column, flag in zip(columns, is_index, strict=True)
        ]
        self._grow(columns, weight)

    def __getstate__(self):
        """The fields without cached offsets and look-ups, which may differ once a copy grows."""
        return {"_fields": self._fields}

    def to_plain(self):
        """Plain data of each field, with its kind."""
        return [{"field": field.kind, **field.to_plain()} for field in self._fields]

    @classmethod
    def of_plain(cls, states):
        """The fields from their plain data.

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
        """Position of a column, given its name or its position.

        Raises
        ------
        ValueError
            If there is no such column. The message names `parameter`.
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
        """First rows of the fields with one code per cell, and of the list fields."""
        offsets = self.offsets.astype(np.int32)
        return FieldOffsets(offsets[~self._is_list], offsets[self._is_list])

    @cached_property
    def lookups(self):
        """Look-up of a whole matrix of codes at once; None unless each field has a look-up."""
        found = (field.matrix_lookup for field in self._fields)
        lookups = [lookup for lookup in found if lookup is not None]
        return IntegerLookups(lookups, self.offsets) if len(lookups) == len(self._fields) else None

    @cached_property
    def _is_list(self):
        """Whether each field holds lists."""
        return np.array([field.holds_lists for field in self._fields])

    @property
    def slopes(self):
        """Table row of the slope of each numeric field, by its position in the index matrix."""
        cells = np.flatnonzero(~self._is_list)
        return {
            position: int(self.offsets[j]) + slope_row
            for position, j in enumerate(cells)
            if (slope_row := self._fields[j].slope_row) is not None
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
        """Column of each field of the network, in which list fields come last."""
        return np.argsort(self._is_list, kind="stable")

    def average_cells(self, table):
        """Average of the cells of each field that fit saw.

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
            # A field of which fit saw nothing has the row of unseen codes alone.
            averages.append(rows[0] if weights is None else weights @ rows)
        return np.array(averages)

    def _grow(self, columns, weight):
        for field, column in zip(self._fields, columns, strict=True):
            field.grow(field.of_form(column), weight)
        self._check_size()

    def _check_size(self):
        """Refuse more table rows than 32 bits can number: the numbers would wrap around."""
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
            For each row of the new table the row of this one that it starts from: the same
            row, or for a new row the first one of its field. Empty if no row was added.
        is_new : ndarray of bool of shape (n_features,)
            Which rows of the new table were added. Empty if none was.
        """
        new = copy.copy(self)
        new._fields = [copy.copy(field) for field in self._fields]
        new._grow(columns, weight)
        if (new.dims == self.dims).all():
            return new, np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
        n_rows = self.dims.sum()
        kept = np.repeat(new.offsets - self.offsets, self.dims) + np.arange(n_rows)
        # The first row of a field stands for unseen codes, which the new ones were so far.
        source, is_new = np.repeat(self.offsets, new.dims), np.ones(new.dims.sum(), dtype=bool)
        source[kept], is_new[kept] = np.arange(n_rows), False
        return new, source, is_new

    def absorbing(self, others):
        """Union of these fields and others that have grown from the same ones, counts added up.

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
        """Row in other fields, which have absorbed these, for each table row of these."""
        # `absorb` returns the rows, and counts again what it absorbs: hence the copy.
        parts = [
            copy.copy(other).absorb(field) + offset
            for field, other, offset in zip(self, others, others.offsets, strict=True)
        ]
        return np.concatenate(parts).astype(np.int32)

    def without_counts(self):
        """A copy with the same table rows and all counts at zero."""
        new = copy.copy(self)
        new._fields = [field.without_counts() for field in self._fields]
        return new

    def with_codes_of_fit(self, columns):
        """Columns with categories numbered as in fit, so that parts need not be numbered again."""
        return [
            column if column.categories is None else field.with_codes_of_fit(column)
            for field, column in zip(self._fields, columns, strict=True)
        ]

    def encode(self, cells):
        """Encode cells as inputs of the network.

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
            if self.lookups is not None:
                return *self.lookups.with_values_of(cells), None
            columns = [InputColumn(j, values) for j, values in enumerate(cells.T)]
        inputs = NetworkInputs(len(columns[0]), int(np.count_nonzero(~self._is_list)))
        for field, column, offset in zip(self._fields, columns, self.offsets, strict=True):
            field.add_to(inputs, field.of_form(column), offset)
        return inputs.joined()


def _field_of_plain(state):
    kinds = {kind.kind: kind for kind in KINDS}
    expect(isinstance(state, dict) and state.get("field") in kinds, "field")
    state = dict(state)
    return kinds[state.pop("field")].of_plain(state)
