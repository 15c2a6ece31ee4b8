"""What an estimator makes of its columns: kinds of fields, and codes as rows of one table."""

import copy

import numpy as np
import pandas as pd

FALLBACK_ROW = 0
_KINDS = {"string": "strings", "integer": "numbers", "floating": "numbers", "boolean": "numbers"}


class IndexField:
    """A column of codes; each code that fit saw has a row.

    Local row 0 stands for every code that fit did not see. Seen codes get the rows
    1, 2, ... in ascending order, codes seen later (`grow`) the rows after them.
    Missing cells count as one more code.
    """

    def __init__(self, name):
        self.name = name
        self.codes = np.empty(0, dtype=np.int64)  # sorted
        self.rows = np.empty(0, dtype=np.int32)  # row of each of them
        self.missing_row = FALLBACK_ROW
        self.frequency = np.zeros(1)  # total weight of each row
        self.categories = None  # values behind the codes of a categorical column

    @property
    def n_rows(self):
        return len(self.frequency)

    def grow(self, column, weight):
        """Add rows for the codes of `column` not seen before, and count all of them.

        Arrays are replaced, never changed: a shallow copy taken before stays valid.
        """
        values, missing, _ = self._codes_of(column, learn=True)
        known = values if missing is None else values[~missing]
        new = np.setdiff1d(known, self.codes)
        codes = np.concatenate([self.codes, new])
        rows = np.concatenate([self.rows, self.n_rows + np.arange(len(new), dtype=np.int32)])
        n_rows = self.n_rows + len(new)
        if self.missing_row == FALLBACK_ROW and missing is not None and missing.any():
            self.missing_row, n_rows = n_rows, n_rows + 1
        order = np.argsort(codes)
        self.codes, self.rows = codes[order], rows[order]
        self._build_lookup()
        rows = self._rows_of(values, missing)
        counts = np.bincount(rows, weights=weight, minlength=n_rows).astype(np.float64)
        counts[: self.n_rows] += self.frequency
        self.frequency = counts

    def encode(self, column):
        """Local row of each cell, and no value."""
        values, missing, strange = self._codes_of(column, learn=False)
        rows = self._rows_of(values, missing)
        if strange is not None:
            rows[strange] = FALLBACK_ROW
        return rows, None

    def _codes_of(self, column, learn):
        """Codes as int64, which cells are missing, and which hold what no code can be."""
        values, missing = column.values, column.missing
        if column.categories is not None:
            return self._codes_of_categories(column, learn)
        if self.categories is not None:
            raise ValueError(
                f"Column {self.name!r} was categorical in fit and is {values.dtype} now. "
                f"Convert it to the categorical type, or encode the table with "
                f"OrdinalFieldEncoder before it reaches the estimator."
            )
        if values.dtype.kind == "f":
            return _whole_numbers(self.name, values, learn)
        strange = values > np.iinfo(np.int64).max if values.dtype == np.uint64 else None
        if learn and strange is not None and strange.any():
            raise ValueError(
                f"Column {self.name!r} holds {values.max()}, beyond the largest code 2**63 - 1. "
                f"Encode the column with OrdinalFieldEncoder first."
            )
        return values.astype(np.int64, copy=False), missing, strange

    def _codes_of_categories(self, column, learn):
        """Codes by the order in which fit saw the categories, whatever their order now."""
        if self.categories is None:
            if not learn or len(self.codes):
                raise ValueError(
                    f"Column {self.name!r} is categorical and was a column of integers in fit. "
                    f"Convert it to the type it had, or encode the table with "
                    f"OrdinalFieldEncoder before it reaches the estimator."
                )
            self.categories = column.categories[:0]
        _refuse_other_kind(self.name, self.categories, column.categories)
        position = self.categories.get_indexer(column.categories)
        if learn:
            self.categories = self.categories.append(column.categories[position < 0])
            position = self.categories.get_indexer(column.categories)
        position = np.append(position, -1)  # for missing cells, which are -1
        return position[column.values].astype(np.int64), column.values < 0, None

    def _build_lookup(self):
        """Prepare a look-up that is direct where the codes are dense enough."""
        self._first = int(self.codes[0]) if len(self.codes) else 0
        span = int(self.codes[-1]) - self._first + 1 if len(self.codes) else 0
        self._direct = None
        fits_int64 = abs(self._first) + span < 2**63
        if span <= 4 * len(self.codes) + 1024 and fits_int64:
            self._direct = np.full(span + 2, FALLBACK_ROW, dtype=np.int32)
            self._direct[self.codes - self._first + 1] = self.rows

    def _rows_of(self, values, missing):
        if self._direct is not None:
            # The first and the last entry catch whatever lies outside of the codes.
            last = self._first + len(self._direct) - 2
            rows = self._direct[np.clip(values, self._first - 1, last) - (self._first - 1)]
        else:
            position = np.searchsorted(self.codes, values).clip(max=len(self.codes) - 1)
            rows = np.where(self.codes[position] == values, self.rows[position], FALLBACK_ROW)
        if missing is not None:
            rows[missing] = self.missing_row
        return rows


class NumericField:
    """A column of numbers x, standardised; its cells are ``u + x * v``.

    Local row 0 is the offset u, row 1 the slope v, row 2 stands for NaN if fit saw
    any. An unseen NaN is the offset alone, as if it were the mean. Values outside of
    the range that fit saw count as its ends: products of outliers have no bound.
    """

    def __init__(self, name):
        self.name = name
        self.mean = self.scale = None
        self.low, self.high = np.inf, -np.inf
        self.missing_row = FALLBACK_ROW
        self.frequency = np.zeros(2)

    @property
    def n_rows(self):
        return len(self.frequency)

    def grow(self, column, weight):
        """Learn the scale at the first call, the range and missing cells at each."""
        x = _numbers(self.name, column)
        missing = np.isnan(x)
        seen = x[~missing]
        if len(seen):
            self.low, self.high = min(self.low, seen.min()), max(self.high, seen.max())
            if self.mean is None:
                self._learn_scale(seen, None if weight is None else weight[~missing])
        if self.missing_row == FALLBACK_ROW and missing.any():
            self.missing_row = self.n_rows
            self.frequency = np.append(self.frequency, 0.0)

    def _learn_scale(self, seen, weight):
        self.mean = np.average(seen, weights=weight)
        self.scale = np.sqrt(np.average(np.square(seen - self.mean), weights=weight))
        if not self.scale > 1e-12 * abs(self.mean):  # constant up to rounding
            self.scale = 1.0

    def encode(self, column):
        """Local row of each cell, and its standardised value (0 where missing)."""
        x = _numbers(self.name, column)
        missing = np.isnan(x)
        rows = np.where(missing, np.int32(self.missing_row), np.int32(FALLBACK_ROW))
        if self.mean is None:  # fit saw nothing but missing cells
            return rows, np.zeros(len(x), dtype=np.float32)
        x = (np.clip(x, self.low, self.high) - self.mean) / self.scale
        return rows, np.where(missing, 0, x).astype(np.float32)


class Fields:
    """The fields of a table, laid out one after the other as rows of one embedding table.

    Parameters
    ----------
    columns : list of Column
        The training rows.
    is_index : list of bool
        Whether a column holds codes, as opposed to numbers.
    weight : ndarray of shape (n_samples,) or None
        Weight of each row in statistics and frequencies.
    """

    def __init__(self, columns, is_index, weight):
        kinds = [IndexField if flag else NumericField for flag in is_index]
        self._fields = [kind(column.name) for kind, column in zip(kinds, columns, strict=True)]
        for field, column in zip(self._fields, columns, strict=True):
            field.grow(column, weight)

    @property
    def dims(self):
        """Rows of each field, an int64 array of shape (n_fields,)."""
        return np.array([field.n_rows for field in self._fields], dtype=np.int64)

    @property
    def offsets(self):
        """First row of each field, an int64 array of shape (n_fields,)."""
        return np.cumsum(self.dims) - self.dims

    @property
    def slopes(self):
        """Row of the slope of each numeric field, by the field's position."""
        return {
            position: int(self.offsets[position]) + 1
            for position, field in enumerate(self._fields)
            if isinstance(field, NumericField)
        }

    @property
    def frequencies(self):
        """For each index field, its first row and the total weight of each of its rows."""
        return [
            (int(offset), field.frequency)
            for offset, field in zip(self.offsets, self._fields, strict=True)
            if isinstance(field, IndexField)
        ]

    def grown(self, columns, weight):
        """Fields with rows added for what these columns hold and no earlier ones held.

        Returns
        -------
        fields : Fields
            A new object; this one stays as it is.
        source : ndarray of shape (n_features,)
            Row of the table so far with which each row of the new one starts: the row
            itself, or the first one of its field.
        is_new : ndarray of bool of shape (n_features,)
        """
        new = copy.copy(self)
        new._fields = [copy.copy(field) for field in self._fields]
        for field, column in zip(new._fields, columns, strict=True):
            field.grow(column, weight)
        n_rows = self.dims.sum()
        kept = np.repeat(new.offsets - self.offsets, self.dims) + np.arange(n_rows)
        source, is_new = np.repeat(self.offsets, new.dims), np.ones(new.dims.sum(), dtype=bool)
        source[kept], is_new[kept] = np.arange(n_rows), False
        return new, source, is_new

    def encode(self, columns):
        """Turn columns into what the network takes.

        Returns
        -------
        index : ndarray of shape (n_samples, n_fields), int32
            Row of the table for each cell.
        value : ndarray of shape (n_samples, n_numeric_fields), float32, or None
            Standardised values of the numeric fields; None if there is none.
        """
        index = np.empty((len(columns[0]), len(columns)), dtype=np.int32)
        values = []
        for position, (field, column) in enumerate(zip(self._fields, columns, strict=True)):
            rows, value = field.encode(column)
            np.add(rows, self.offsets[position], out=index[:, position], casting="unsafe")
            if value is not None:
                values.append(value)
        return index, np.column_stack(values) if values else None


def _refuse_other_kind(name, known, now):
    """Numbers as strings, or the reverse, would all pass for unseen categories."""
    kinds = [_KINDS.get(pd.api.types.infer_dtype(values)) for values in (known, now)]
    if set(kinds) == {"numbers", "strings"}:
        raise ValueError(
            f"The categories of column {name!r} were {kinds[0]} in fit and are {kinds[1]} now. "
            f"Convert them to the type they had."
        )


def _whole_numbers(name, values, learn):
    """Floats as codes: NaN is missing, a fraction cannot have been seen in fit.

    The third array says where fractions are, and values that no code equals exactly.
    """
    missing = np.isnan(values)
    fraction = ~missing & ((values != np.trunc(values)) | (np.abs(values) > 2**53))
    if learn and fraction.any():
        raise ValueError(
            f"Column {name!r} is named in categorical_features and holds "
            f"{values[fraction][0]!r}, where whole numbers of at most 2**53 are required. "
            f"Encode the column with OrdinalFieldEncoder, or treat it as numeric."
        )
    return np.where(missing | fraction, 0, values).astype(np.int64), missing, fraction


def _numbers(name, column):
    """Cells as float64 with NaN where missing; infinity is refused."""
    if column.categories is not None:
        raise ValueError(
            f"Column {name!r} is categorical where numbers are required: it was numeric in fit, "
            f"or categorical_features leaves it out. Convert it to numbers, or name it in "
            f"categorical_features and fit again."
        )
    x = column.values.astype(np.float64)
    if column.missing is not None:
        x[column.missing] = np.nan
    return x
