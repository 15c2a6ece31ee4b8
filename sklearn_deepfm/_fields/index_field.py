"""A column of codes, each of which has a row in the embedding table."""

import copy

import numpy as np
import pandas as pd

from sklearn_deepfm._common.integer_lookup import IntegerLookup
from sklearn_deepfm._fields.field import refuse_lists
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import (
    expect,
    expect_ascending,
    expect_finite,
    expect_numbering,
)

UNSEEN_ROW = 0
# Names that pandas' infer_dtype gives to the types of categories.
_KINDS = {"string": "strings", "integer": "numbers", "floating": "numbers", "boolean": "numbers"}


class IndexField(Plain):
    """A column of codes; each code that fit saw has a row.

    Local row 0 stands for every code that fit did not see. Seen codes get the rows
    1, 2, ... in ascending order, codes seen later (`grow`) the rows after them.
    Missing cells count as one more code.
    """

    kind, description = "codes", "codes"
    holds_lists, holds_codes, slope_row = False, True, None
    _saved = {
        "name": None,
        "codes": np.int64,
        "rows": np.int32,
        "missing_row": int,
        "frequency": np.float64,
        "categories": pd.Index,
    }
    _optional = ("categories",)

    def __init__(self, name):
        self.name = name
        self.codes = np.empty(0, dtype=np.int64)  # sorted
        self.rows = np.empty(0, dtype=np.int32)  # row of each of them
        self.missing_row = UNSEEN_ROW
        self.lookup = None  # look-up from code to row; None where codes lie too far apart
        self.frequency = np.zeros(1)  # total weight of each row
        self.categories = None  # values behind the codes of a categorical column

    @classmethod
    def suits(cls, column, is_index):
        """Whether its cells are codes."""
        return bool(is_index)

    @classmethod
    def new(cls, name, options):
        """A field that has seen nothing."""
        return cls(name)

    def of_form(self, column):
        """The column; an error if its cells are lists."""
        return refuse_lists(self.name, column)

    @property
    def n_rows(self):
        return len(self.frequency)

    @property
    def matrix_lookup(self):
        """The look-up, where the column is no categorical one."""
        return self.lookup if self.categories is None else None

    @property
    def code_names(self):
        """The codes that fit saw or, in a categorical column, their categories."""
        return self.codes if self.categories is None else self.categories[self.codes]

    def of_codes(self, values):
        """Values of the codes that fit saw, from values of the rows."""
        return values[self.rows]

    @property
    def average_cell(self):
        """Weights of the rows whose sum is the average cell of fit; None if it saw none."""
        total = self.frequency.sum()
        return self.frequency / total if total > 0 else None

    def grow(self, column, weight):
        """Add rows for the codes of `column` not seen before, and count all of them.

        Arrays are replaced, never changed: a shallow copy taken before stays valid.
        """
        self._count(column, weight)

    def _count(self, column, weight):
        """Grow by a column of one code per cell, such as the members of a list column."""
        values, missing, _ = self._codes_of(column, learn=True)
        codes = values if missing is None else values[~missing]
        if len(self.codes):
            codes = codes[self._rows_of(codes, None) == UNSEEN_ROW]
        new = np.unique(codes)
        # `frequency` grows last: until then `n_rows` of self is the old number, from which new
        # codes are numbered; a new row of missing cells comes after them.
        n_rows = self.n_rows + len(new)
        if self.missing_row == UNSEEN_ROW and missing is not None and missing.any():
            self.missing_row, n_rows = n_rows, n_rows + 1
        if len(new) or self.lookup is None:  # without any code, only a look-up can find rows
            self._add_codes(new)
        rows = self._rows_of(values, missing)
        counts = np.bincount(rows, weights=weight, minlength=n_rows).astype(np.float64)
        counts[: self.n_rows] += self.frequency
        self.frequency = counts

    def without_counts(self):
        """A copy with the same codes and rows, and all counts at zero."""
        new = copy.copy(self)
        new.frequency = np.zeros_like(self.frequency)
        return new

    def absorb(self, other):
        """Add the codes and counts of another field that has learned other rows.

        Returns
        -------
        rows : ndarray of shape (other.n_rows,), int32
            Row in this field for each row of the other one.
        """
        # A cell for each code, which weighs as much as all cells that the other has counted.
        cells, of_cells = other.distinct_cells()
        self._count(cells, other.frequency[of_cells])
        rows = np.zeros(other.n_rows, np.int32)
        rows[of_cells] = self.encode(cells)[0]
        return rows

    def distinct_cells(self):
        """A column with a cell for each code, and for missing if that has a row; their rows."""
        if self.missing_row == UNSEEN_ROW:
            return InputColumn(self.name, self.codes, None, self.categories), self.rows
        rows = np.append(self.rows, np.int32(self.missing_row))
        if self.categories is not None:
            return InputColumn(self.name, np.append(self.codes, -1), None, self.categories), rows
        missing = np.arange(len(rows)) == len(rows) - 1
        return InputColumn(self.name, np.append(self.codes, 0), missing), rows

    def _add_codes(self, new):
        codes = np.concatenate([self.codes, new])
        rows = np.concatenate([self.rows, self.n_rows + np.arange(len(new), dtype=np.int32)])
        order = np.argsort(codes)
        self.codes, self.rows = codes[order], rows[order]
        self._make_lookup()

    def _make_lookup(self):
        is_dense = IntegerLookup.suits(self.codes)
        self.lookup = IntegerLookup(self.codes, self.rows, UNSEEN_ROW) if is_dense else None

    def _check_loaded(self):
        expect_finite(self.frequency, "frequency", (self.n_rows,), least=0)
        expect(self.rows.shape == self.codes.shape, "codes")
        expect_ascending(self.codes, "codes")
        # `encode` does not check rows: a damaged file must not name any beyond the field's.
        others = [row for row in self._rows_of_no_code() if row != UNSEEN_ROW]
        rows = np.append(self.rows, np.array(others, np.int64))
        expect_numbering(rows, UNSEEN_ROW + 1, self.n_rows, "rows")
        if self.categories is not None:
            expect(self.categories.is_unique, "categories")
            is_inside = (0 <= self.codes) & (self.codes < len(self.categories))
            expect(is_inside.all(), "categories")
        self._make_lookup()

    def _rows_of_no_code(self):
        return [self.missing_row]

    def add_to(self, inputs, column, offset):
        """Give the network the row of each cell."""
        inputs.add_cells(self.encode(column)[0], offset)

    def encode(self, column):
        """Local row of each cell, and None, since codes have no value."""
        values, missing, is_no_code = self._codes_of(column, learn=False)
        rows = self._rows_of(values, missing)
        if is_no_code is not None:
            rows[is_no_code] = UNSEEN_ROW
        return rows, None

    def rows_of_index(self, index):
        """Local row of each code or, in a categorical column, of each category of an index."""
        if self.categories is not None:
            codes = self.categories.get_indexer(index)
        else:
            codes = index.to_numpy()
            if codes.dtype.kind not in "iu":
                raise ValueError(
                    f"Embeddings of column {self.name!r} must be given by code, a whole number, "
                    f"got the index {index[:3].tolist()}. OrdinalFieldEncoder.by_code makes codes "
                    f"of categories."
                )
        return self._rows_of(codes.astype(np.int64), None)

    def with_codes_of_fit(self, column):
        """A categorical column with categories numbered as in fit; -1: missing, -2: not in fit."""
        if self.categories is None:
            if column.is_all_missing:
                return InputColumn(self.name, np.full(len(column), np.nan))
            raise self._other_kind("integers", "categorical")
        _refuse_other_kind(self.name, self.categories, column.categories)
        position = self.categories.get_indexer(column.categories)
        # Missing cells hold -1, which reads the last entry.
        position = np.append(np.where(position < 0, -2, position), -1)
        return InputColumn(self.name, position[column.values], categories=self.categories)

    def _codes_of(self, column, learn):
        """Codes as int64, masks of missing cells and of cells that hold no code; None: none."""
        if learn and column.categories is not None:
            self._learn_categories(column)
        if column.categories is not None and column.categories is not self.categories:
            column = self.with_codes_of_fit(column)
        values, missing = column.values, column.missing
        if column.categories is not None:
            return values.astype(np.int64), values == -1, None
        if self.categories is not None:
            if column.is_all_missing:
                return np.zeros(len(column), np.int64), np.ones(len(column), bool), None
            raise self._other_kind("categorical", values.dtype)
        if values.dtype.kind == "f":
            return _whole_numbers(self.name, values, learn)
        # As int64 these would wrap around to codes below 0.
        is_no_code = values > np.iinfo(np.int64).max if values.dtype == np.uint64 else None
        if learn and is_no_code is not None and is_no_code.any():
            raise ValueError(
                f"Column {self.name!r} holds {values.max()}, beyond the largest code 2**63 - 1. "
                f"Encode the column with OrdinalFieldEncoder first."
            )
        return values.astype(np.int64, copy=False), missing, is_no_code

    def _learn_categories(self, column):
        if self.categories is None:
            if len(self.codes):
                raise self._other_kind("integers", "categorical")
            self.categories = column.categories[:0]  # none yet, of the same type
        _refuse_other_kind(self.name, self.categories, column.categories)
        is_new = self.categories.get_indexer(column.categories) < 0
        self.categories = self.categories.append(column.categories[is_new])

    def _other_kind(self, then, now):
        return ValueError(
            f"Column {self.name!r} was {then} in fit and is {now} now. Convert it to the type it "
            f"had, or encode the table with OrdinalFieldEncoder before it reaches the estimator."
        )

    def _rows_of(self, values, missing):
        if self.lookup is not None:
            rows = self.lookup(values)
        else:
            position = np.searchsorted(self.codes, values).clip(max=len(self.codes) - 1)
            rows = np.where(self.codes[position] == values, self.rows[position], UNSEEN_ROW)
        if missing is not None:
            rows[missing] = self.missing_row
        return rows


def _whole_numbers(name, values, learn):
    """Codes of floats, masks of missing cells (NaN) and of cells that hold no code.

    Fractions are no codes. Nor are numbers beyond 2**53, where a float may stand for several
    whole numbers.
    """
    missing = np.isnan(values)
    is_no_code = ~missing & ((values != np.trunc(values)) | (np.abs(values) > 2**53))
    if learn and is_no_code.any():
        raise ValueError(
            f"Column {name!r} holds codes, by its type in fit or by categorical_features, and now "
            f"{values[is_no_code][0]!r}, where whole numbers of at most 2**53 are required. "
            f"Encode the column with OrdinalFieldEncoder, or treat it as numeric."
        )
    return np.where(missing | is_no_code, 0, values).astype(np.int64), missing, is_no_code


def _refuse_other_kind(name, known, now):
    """Refuse strings after numbers, or the reverse: all would pass for unseen categories."""
    kinds = [_KINDS.get(pd.api.types.infer_dtype(values)) for values in (known, now)]
    if set(kinds) == {"numbers", "strings"}:
        raise ValueError(
            f"The categories of column {name!r} were {kinds[0]} in fit and are {kinds[1]} now. "
            f"Convert them to the type they had."
        )
