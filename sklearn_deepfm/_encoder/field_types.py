"""Kinds of fields of an encoder: which column gets which kind, and how it learns and is saved."""

from __future__ import annotations

from numbers import Integral

import pyarrow as pa

from sklearn_deepfm._encoder.binning import FINE_BINS, Bins, Numbers, QuantityBins
from sklearn_deepfm._encoder.category_lists import CategoryLists
from sklearn_deepfm._encoder.column_specs import ColumnSpec
from sklearn_deepfm._encoder.field import EncoderField, EncoderParameters
from sklearn_deepfm._encoder.hashed import Hashed, HashedNames
from sklearn_deepfm._encoder.vocabulary import (
    NOTHING_KNOWN,
    Counts,
    Vocabulary,
)
from sklearn_deepfm._encoder.whole_numbers import Names, WholeNumbers
from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._tables.columns import Column, ListColumn


def learn_field(
    encoder: EncoderParameters, column: Column | ListColumn, spec: ColumnSpec, n_rows: int
) -> EncoderField:
    """Learn the field of a column.

    Parameters
    ----------
    encoder : OrdinalFieldEncoder
        Gives the parameters.
    column : Column or ListColumn
        As `spec.as_field` gives it.
    spec : ColumnSpec
    n_rows : int
        Number of rows seen so far.
    """
    cells = column.cells
    if column.holds_lists:
        return CategoryLists(learn_members(encoder, Counts.of(cells), spec, n_rows))
    if cells.kind is None or cells.is_encoded():
        return learn_categories(encoder, Counts.of(cells), spec, n_rows)
    if encoder.n_bins is None:
        return Numbers.learn(cells)
    n_bins = FINE_BINS if isinstance(encoder.n_bins, str) else encoder.n_bins
    return QuantityBins.learn(cells, n_bins)


def extend_field(
    encoder: EncoderParameters,
    field: EncoderField,
    spec: ColumnSpec,
    column: Column | ListColumn,
    n_rows: int,
) -> EncoderField:
    """The field after more rows; the given one stays unchanged, in case a later column raises."""
    if field.kind is None:  # no value so far: the first ones decide
        column = column.as_lists(None) if field.holds_lists else column
        return learn_field(encoder, spec.as_field(column), spec, n_rows)
    return field.after(field.of_form(column), *_limits(encoder, n_rows))


def learn_categories(
    encoder: EncoderParameters, counts: Counts, spec: ColumnSpec, n_rows: int
) -> Vocabulary | Hashed:
    """Learn a field of categories, one in each cell, from their counts."""
    if spec.hash_dim is not None:
        return HashedNames(counts.kind, spec.hash_dim)
    if spec.selected_by == "categorical_features" and counts.kind is not None:
        return Names.empty(counts).extended(counts, *_limits(encoder, n_rows))
    if counts.kind == "numbers" and pa.types.is_integer(counts.values.type):
        numbers = WholeNumbers.empty(counts).extended(counts, *_limits(encoder, n_rows))
        return numbers.with_order()
    return learn_members(encoder, counts, spec, n_rows)


def learn_members(
    encoder: EncoderParameters, counts: Counts, spec: ColumnSpec, n_rows: int
) -> Vocabulary | Hashed:
    """Learn the categories in the cells of a list column from their counts."""
    if spec.hash_dim is not None:
        return Hashed(counts.kind, spec.hash_dim)
    if counts.kind is None:
        return NOTHING_KNOWN
    return Vocabulary.empty(counts).extended(counts, *_limits(encoder, n_rows))


def _limits(encoder: EncoderParameters, n_rows: int) -> tuple[float, int | None]:
    """The rows a category needs to earn a code, and how many categories may have one."""
    is_share = not isinstance(encoder.min_frequency, Integral)
    return encoder.min_frequency * (n_rows if is_share else 1), encoder.max_categories


# The names stand in saved states: to rename one is to raise the number of the format.
FIELD_KINDS: dict[str, type[EncoderField]] = {
    kind.field_kind: kind
    for kind in (
        Vocabulary,
        Names,
        WholeNumbers,
        Hashed,
        HashedNames,
        Bins,
        QuantityBins,
        Numbers,
        CategoryLists,
    )
}


def field_to_plain(field: EncoderField) -> dict[str, PlainData]:
    """The state of a field, with its kind."""
    return {"field": field.field_kind, **field.to_plain()}


def field_of_plain(state: PlainData) -> EncoderField:
    """Restore a field from its state.

    Raises
    ------
    Damaged
        If the state is none that `field_to_plain` gives.
    """
    expect(isinstance(state, dict), "fields")
    state = dict(state)
    kind = state.pop("field", None)
    expect(kind in FIELD_KINDS, "field")
    return FIELD_KINDS[kind].of_plain(state)
