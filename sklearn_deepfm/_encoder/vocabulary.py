"""Vocabulary of a field: its categories with their counts and codes."""

from __future__ import annotations

import contextlib
import datetime as dt
from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from operator import methodcaller
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklearn_deepfm._common.integer_lookup import IntegerLookup
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._encoder.field import FIRST_KNOWN_CODE, MISSING_CODE, UNKNOWN_CODE, CellField
from sklearn_deepfm._serialization.plain_values import (
    expect,
    expect_finite,
    expect_numbering,
)
from sklearn_deepfm._tables.arrow import fill_nulls, kind_and_type
from sklearn_deepfm._tables.columns import Column
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT, as_doubles

_NOT_FOUND = -1

# What a vocabulary's values are in Python.
Scalar: TypeAlias = str | bool | int | float | dt.datetime | dt.timedelta | dt.time

_AS_PYTHON = methodcaller("as_py")

# A binary search takes microseconds for each value, a hash table nanoseconds for each category
# while it is built: searching is faster for one or two values, and for fewer than one value per
# so many categories (measured).
_CATEGORIES_PER_SEARCHED_VALUE, _ALWAYS_SEARCHED_VALUES = 128, 2

# Warn of a column of at least so many rows if more than this share of them has a value of its own.
_MANY_ROWS_AT_FIT, _NEARLY_UNIQUE = 100, 0.9


class Counts(NamedTuple):
    """The distinct values of a column, and the number of cells of each."""

    name: Hashable
    kind: str | None
    values: pa.Array
    counts: np.ndarray

    @classmethod
    def of(cls, column: Column) -> Counts:
        """Count a dictionary-encoded column, or one of missing values alone."""
        if column.kind is None:
            return cls(column.name, None, pa.nulls(0), np.empty(0, np.int64))
        indices = column.values.indices.drop_null().to_numpy()
        counts = np.bincount(indices, minlength=len(column.values.dictionary))
        in_use = np.flatnonzero(counts)  # a slice has all categories of the whole
        values = column.values.dictionary.take(pa.array(in_use))
        return cls(column.name, column.kind, values, counts[in_use])

    @classmethod
    def total(cls, parts: list[Counts]) -> Counts:
        """Add up the counts of parts of a column."""
        # A part in which all floats are whole has integers.
        types = {part.values.type for part in parts}
        type_ = types.pop() if len(types) == 1 else pa.float64()
        try:
            values = pa.concat_arrays([part.values.cast(type_) for part in parts])
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"Column {parts[0].name!r} holds whole numbers beyond 2**53 in one part of the "
                f"rows and fractions in another, which no one type holds exactly. Make integers "
                f"of all."
            ) from error
        counts = pa.array(np.concatenate([part.counts for part in parts]))
        table = (
            pa.table({"value": values, "count": counts})
            .group_by("value")
            .aggregate([("count", "sum")])
        )
        total = table["count_sum"].to_numpy()
        return cls(parts[0].name, parts[0].kind, table["value"].combine_chunks(), total)


@dataclass(frozen=True, eq=False)
class Vocabulary(CellField):
    """The categories of a field, in sorted order, each with its count and its code.

    Categories too rare for a code of their own are kept with UNKNOWN_CODE, so that their
    counts add up over calls of `extended`. An object never changes after it is made.
    """

    kind: str | None
    values: pa.Array
    counts: np.ndarray
    codes: np.ndarray

    field_kind, has_vocabulary = "categories", True
    is_sparse = False  # whether further rows must be expected to have values of their own
    _saved = {"kind": str, "values": pa.Array, "counts": np.int64, "codes": np.int32}
    _optional = ("kind",)

    @classmethod
    def empty(cls, counts: Counts) -> Self:
        """A vocabulary without categories, for values of this kind and type."""
        values = counts.values.slice(0, 0)
        return cls(counts.kind, values, np.empty(0, np.int64), np.empty(0, np.int32))

    def extended(self, more: Counts, min_count: float, max_categories: int | None) -> Self:
        """Add to the counts; give codes to the categories that earn one now."""
        arrived = self._as_own_type(more.name, more.values)
        vocabulary = self._counted(arrived, more.counts)
        return vocabulary._with_new_codes(min_count, max_categories)

    def after(self, column: Column, min_count: float, max_categories: int | None) -> Self:
        """The vocabulary after more rows, of which all may be missing."""
        if column.kind is None:
            return self
        return self.extended(Counts.of(column.as_categories()), min_count, max_categories)

    def _as_own_type(self, name: object, values: pa.Array) -> pa.Array:
        own = _cast_where_exact(values, self.values.type)
        if own.null_count:
            first = values.filter(pc.is_null(own))[0].as_py()
            raise ValueError(
                f"Column {name!r} held {self.values.type} values when the encoder was fitted and "
                f"holds {first!r} now, which is none. Fit the encoder again on all the data, or "
                f"name the column in numeric_features."
            )
        return own

    def _counted(self, arrived: pa.Array, arrived_counts: np.ndarray) -> Self:
        positions = _positions_in(arrived, self.values)
        is_new = positions == len(self.values)
        counts = self.counts.copy()
        # Arrived values are distinct: `+=` would add to a repeated position only once.
        counts[positions[~is_new]] += arrived_counts[~is_new]
        new = arrived.filter(pa.array(is_new))
        values = pa.concat_arrays([self.values, new])
        order = pc.sort_indices(values)
        counts = np.concatenate([counts, arrived_counts[is_new]])
        codes = np.concatenate([self.codes, np.full(len(new), UNKNOWN_CODE, np.int32)])
        index = order.to_numpy()
        return replace(self, values=values.take(order), counts=counts[index], codes=codes[index])

    def _with_new_codes(self, min_count: float, max_categories: int | None) -> Self:
        earned = np.flatnonzero((self.codes == UNKNOWN_CODE) & (self.counts >= min_count))
        room = len(self.codes) if max_categories is None else max_categories - self.n_known
        if len(earned) > max(room, 0):
            # Stable: of equally frequent categories the smaller ones come first.
            most_frequent = np.argsort(-self.counts[earned], kind="stable")[: max(room, 0)]
            earned = np.sort(earned[most_frequent])
        codes = self.codes.copy()
        codes[earned] = FIRST_KNOWN_CODE + self.n_known + np.arange(len(earned))
        return replace(self, codes=codes)

    @property
    def n_known(self) -> int:
        return int(np.count_nonzero(self.codes >= FIRST_KNOWN_CODE))

    @property
    def categories(self) -> pa.Array:
        """The known values in the order of their codes."""
        known = np.flatnonzero(self.codes >= FIRST_KNOWN_CODE)
        return self.values.take(pa.array(known[np.argsort(self.codes[known])]))

    representatives = categories

    def encode(self, column: Column) -> tuple[np.ndarray, int]:
        """The code of each value, and how many values fit never saw."""
        values = column.values
        codes = self._codes_of(values)
        is_not_found = codes == _NOT_FOUND
        n_not_found = int(np.count_nonzero(is_not_found))
        if n_not_found:
            codes[is_not_found] = UNKNOWN_CODE
            if values.null_count:
                codes[values.is_null().to_numpy(False)] = MISSING_CODE
            self._place_unknown(column, codes, is_not_found)
        return codes, n_not_found - values.null_count

    def _place_unknown(self, column: Column, codes: np.ndarray, is_not_found: np.ndarray) -> None:
        """Give values that fit never saw other codes than UNKNOWN_CODE; by default none."""

    def _codes_of(self, values: pa.Array) -> np.ndarray:
        """The code of each value, _NOT_FOUND for missing ones and those that fit never saw."""
        if not len(self.values) or values.null_count == len(values):
            return np.full(len(values), _NOT_FOUND, np.int32)
        if pa.types.is_dictionary(values.type):
            # A slice of a category column still carries all categories of the whole.
            if len(values) < len(values.dictionary):
                return self._codes_of(values.dictionary_decode())
            # The last entry is for null, which gets the index after all others.
            codes = np.append(self._codes_of(values.dictionary), np.int32(_NOT_FOUND))
            return codes[fill_nulls(values.indices, len(values.dictionary))]
        values = _cast_where_exact(as_doubles(values), self.values.type)
        if self._lookup is None:
            return self._code_at[_positions_in(values, self.values)]
        codes = self._lookup(fill_nulls(values, 0))  # null has any number, corrected below
        if values.null_count:
            codes[values.is_null().to_numpy(False)] = _NOT_FOUND
        return codes

    @cached_property
    def _code_at(self) -> np.ndarray:
        """The code at each position of `values`, and at the end the one for values not found."""
        return np.append(self._own_codes, np.int32(_NOT_FOUND))

    @cached_property
    def _own_codes(self) -> np.ndarray:
        """The code of each of `values` by the steps of the field; UNKNOWN_CODE for rare ones."""
        codes = self.code_steps.code(self.codes - FIRST_KNOWN_CODE)
        return np.where(self.codes == UNKNOWN_CODE, UNKNOWN_CODE, codes).astype(np.int32)

    @cached_property
    def _lookup(self) -> IntegerLookup | None:
        """Integer lookup from values to codes; None unless the values are dense integers."""
        if not pa.types.is_int64(self.values.type):
            return None
        numbers = self.values.to_numpy()
        return (
            IntegerLookup(numbers, self._own_codes, _NOT_FOUND)
            if IntegerLookup.suits(numbers)
            else None
        )

    def warn_if_nearly_unique(self, name: Hashable) -> None:
        """Warn of a column in which nearly every row has a category of its own."""
        n_rows = self.counts.sum()
        if n_rows >= _MANY_ROWS_AT_FIT and self.n_known > _NEARLY_UNIQUE * n_rows:
            if_quantity = "; if it is a quantity, name it in numeric_features"
            warn_user(
                f"Column {name!r} has {self.n_known} categories in {n_rows} rows: nearly "
                f"every row has its own, which new rows will not share, so that their values will "
                f"be unknown. Drop the column, or set min_frequency=2 or more so that such values "
                f"share code 1, or hash_dims{if_quantity if self.kind == 'numbers' else ''}.",
            )

    def _check_loaded(self) -> None:
        expect_kind(self.kind, self.values.type)
        expect_finite(self.counts, "counts", (len(self.values),), least=1)
        expect(self.codes.shape == self.counts.shape, "codes")
        # Known codes have no gaps: `n_known` counts them, and `field_dims_` follows from that.
        known = self.codes[self.codes != UNKNOWN_CODE]
        expect_numbering(known, FIRST_KNOWN_CODE, FIRST_KNOWN_CODE + len(known), "codes")
        expect(self.values.null_count == 0, "values")
        if len(self.values) > 1:  # they are searched in their order
            ascends = pc.all(pc.less(self.values[:-1], self.values[1:]))
            expect(ascends.as_py(), "values")


def expect_kind(kind: str | None, type_: pa.DataType) -> None:
    """Raise Damaged unless values of this kind are kept in this type."""
    expect((kind or "") == kind_and_type("values", type_)[0], "kind")


NOTHING_KNOWN = Vocabulary(None, pa.nulls(0), np.empty(0, np.int64), np.empty(0, np.int32))


def _cast_where_exact(values: pa.Array, type_: pa.DataType) -> pa.Array:
    """Cast numbers to another type, with null for those that it cannot hold exactly."""
    if values.type == type_:
        return values
    if not _may_be_rounded(values):
        with contextlib.suppress(pa.ArrowInvalid):  # raised if a single one does not fit
            return values.cast(type_)
    lows, highs = zip(_range(type_), _range(values.type), strict=True)
    low, high = pa.scalar(max(lows), values.type), pa.scalar(min(highs), values.type)
    exact = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
    if pa.types.is_floating(values.type):
        exact = pc.and_(exact, pc.equal(pc.floor(values), values))
    return pc.if_else(exact, values, None).cast(type_)


def _may_be_rounded(values: pa.Array) -> bool:
    """Whether a float among them is so large that it may stand for several whole numbers."""
    if not pa.types.is_floating(values.type):
        return False
    ends = pc.min_max(values).as_py()
    return any(end is not None and abs(end) > EXACT_FLOAT for end in ends.values())


def _range(type_: pa.DataType) -> tuple[int, int]:
    """The least and the greatest whole number of the range that a type holds exactly."""
    if pa.types.is_floating(type_):
        return -EXACT_FLOAT, EXACT_FLOAT
    bounds = np.iinfo(type_.to_pandas_dtype())
    return int(bounds.min), int(bounds.max)


def _positions_in(values: pa.Array, ascending: pa.Array) -> np.ndarray:
    """Position of each value in `ascending`; `len(ascending)` for null and values not there."""
    if (len(values) - _ALWAYS_SEARCHED_VALUES) * _CATEGORIES_PER_SEARCHED_VALUE > len(ascending):
        return fill_nulls(pc.index_in(values, value_set=ascending), len(ascending))
    return np.array([_search(ascending, value) for value in values.to_pylist()], np.int64)


def _search(ascending: pa.Array, value: Scalar | None) -> int:
    if value is None:
        return len(ascending)
    position = bisect_left(ascending, value, key=_AS_PYTHON)
    if position < len(ascending) and ascending[position].as_py() == value:
        return position
    return len(ascending)
