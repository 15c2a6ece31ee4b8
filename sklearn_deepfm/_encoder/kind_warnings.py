"""Warnings of columns that are probably not what their type, or fit, makes of them."""

from __future__ import annotations

import re
from collections.abc import Hashable

import numpy as np
import pyarrow as pa

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._encoder.binning import Bins
from sklearn_deepfm._encoder.column_specs import ColumnSpec
from sklearn_deepfm._encoder.field import EncoderField
from sklearn_deepfm._encoder.vocabulary import Vocabulary
from sklearn_deepfm._tables.columns import Column
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT

# Days and months as numbers or words, years of two or four digits, times of the day.
_DAY, _YEAR, _SEP = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:(?:18|19|20|21)\d\d)", "[-/.]"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[,.]? )?"
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?: ?[ap]\.?m\.?)?"
_DATES = (
    rf"{_YEAR}{_SEP}{_DAY}{_SEP}{_DAY}",
    rf"{_DAY}{_SEP}{_DAY}{_SEP}(?:{_YEAR}|\d\d)",
    rf"{_DAY}[-/ .]+{_MONTH}[-/ .,]+{_YEAR}",
    rf"{_MONTH}[-/ .]+{_DAY}[, ]+{_YEAR}",
    rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
    rf"{_YEAR}[-/](?:0[1-9]|1[0-2])",
)
_DATE = re.compile(
    rf"{_WEEKDAY}(?:{'|'.join(_DATES)})(?:[T ,]+\d.*)?|{_TIME}", re.IGNORECASE | re.ASCII
)
# At transform: of at least so many rows and new values (or as many as the field has, if fewer), if
# more than this share of the rows and of the distinct values is new since fit.
_MANY_AT_TRANSFORM, _MOSTLY_UNKNOWN = 20, 0.5
# Of at least so many values; of strings so many are looked at.
_FEWEST_VALUES, _LOOKED_AT, _MOST_OTHERS, _FEW = 20, 100, 0.05, 0.01


def warn_of_kind(name: Hashable, field: EncoderField, spec: ColumnSpec) -> None:
    """Warn of whole numbers as floats and of dates as strings, unless the user names the kind."""
    if spec.selected_by is not None or spec.hash_dim is not None or field.holds_lists:
        return
    if isinstance(field, Bins):
        _warn_of_floats(name, field)
    elif isinstance(field, Vocabulary) and field.kind == "strings":
        _warn_of_dates_as_strings(name, field)


def _warn_of_floats(name: Hashable, field: Bins) -> None:
    """Warn of whole numbers that are quantities only because of their size, or of odd ones."""
    if field.kind != "numbers" or not pa.types.is_floating(field.type):
        return
    edges = field.edges[:-1]  # the last edge is the end of the last bin
    is_whole, largest = edges == np.floor(edges), np.abs(edges).max()
    fractions = edges[~is_whole]
    if not len(fractions) and EXACT_FLOAT <= largest < 2.0**64:
        warn_user(
            f"Column {name!r} holds whole numbers as floats, of up to {largest:.4g}: beyond 2**53 "
            f"a float does not tell neighbouring ones apart, so that the column is taken for a "
            f"quantity. If these are ids, read them as integers or strings, as "
            f"pandas.read_csv(..., dtype={{{name!r}: 'Int64'}}) does with missing values too; if "
            f"it is a quantity, name it in numeric_features."
        )
    elif len(edges) >= _FEWEST_VALUES and 0 < len(fractions) <= max(_FEW * len(edges), 1):
        warn_user(
            f"Column {name!r} holds whole numbers but for a few fractions, such as "
            f"{float(fractions[0])!r}, by which it is taken for a quantity. If these are mistakes, "
            f"mend them, or name the column in categorical_features; if it is a quantity, name it "
            f"in numeric_features."
        )


def _warn_of_dates_as_strings(name: Hashable, field: Vocabulary) -> None:
    if len(field.values) < _FEWEST_VALUES:
        return
    step = -(-len(field.values) // _LOOKED_AT)
    some = field.values[::step].to_pylist()
    others = [value for value in some if not _DATE.fullmatch(value)]
    if len(others) <= _MOST_OTHERS * len(some):
        first = next(value for value in some if _DATE.fullmatch(value))
        warn_user(
            f"Column {name!r} holds {len(field.values)} strings that look like dates or times, "
            f"such as {first!r}, and each is a category of its own. Make dates of them, as "
            f"pandas.to_datetime does, so that neighbours share what is learned; or name the "
            f"column in categorical_features."
        )


def warn_if_mostly_unknown(field: Vocabulary, column: Column, n_unseen: int) -> None:
    """Warn of a column in which most values are new since fit, in most rows.

    Values count once each: one new user in all rows of a request is one new value.
    """
    n_rows = len(column.values) - column.values.null_count
    if n_rows < _MANY_AT_TRANSFORM or n_unseen <= _MOSTLY_UNKNOWN * n_rows or field.is_sparse:
        return
    values = column.as_quantities().values.unique().drop_null()
    n_new = field.encode(Column(column.name, column.kind, values))[1]
    # A field of few categories is written in another way if so many values are new.
    enough = min(_MANY_AT_TRANSFORM, len(field.values))
    if n_new >= enough and n_new > _MOSTLY_UNKNOWN * len(values):
        warn_user(
            f"Column {column.name!r}: fit never saw {n_new} of the {len(values)} distinct values, "
            f"which are encoded as unknown, {n_unseen / n_rows:.0%} of all. Check that the column "
            f"is the one the encoder was fitted on, written in the same way, or fit again on newer "
            f"data.",
            topic=("mostly unknown", column.name),
        )
