"""Kinds of fields of an encoder: which column gets which kind, and how it learns and is saved."""

from __future__ import annotations

from numbers import Integral
from typing import Any, TypeAlias

from sklearn_deepfm._encoder.binning import Bins, Numbers
from sklearn_deepfm._encoder.category_lists import CategoryLists
from sklearn_deepfm._encoder.column_specs import ColumnSpec
from sklearn_deepfm._encoder.hashed import Hashed
from sklearn_deepfm._encoder.vocabulary import NOTHING_KNOWN, Counts, Vocabulary
from sklearn_deepfm._serialization.plain_values import Damaged, expect
from sklearn_deepfm._tables.table import Column, ListColumn

Field: TypeAlias = Vocabulary | Hashed | Bins | Numbers | CategoryLists


def learn_field(encoder: Any, column: Any, spec: ColumnSpec, n_rows: int) -> Field:
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
    if isinstance(column, ListColumn):
        return CategoryLists(learn_categories(encoder, Counts.of(column.members), spec, n_rows))
    if column.kind is None or column.is_encoded():
        return learn_categories(encoder, Counts.of(column), spec, n_rows)
    if encoder.n_bins is None:
        return Numbers.learn(column)
    return Bins.learn(column, None if encoder.n_bins == "auto" else encoder.n_bins)


def extend_field(encoder: Any, field: Any, spec: ColumnSpec, column: Any, n_rows: int) -> Any:
    """The field after more rows; the given one stays unchanged, in case a later column raises."""
    if isinstance(field, CategoryLists):
        column = as_fitted_kind(field, column)
        members = extend_field(encoder, field.of_members, spec, column.members, n_rows)
        return CategoryLists(members)
    if field.kind is None:  # no value so far: the first ones decide
        return learn_field(encoder, spec.as_field(column), spec, n_rows)
    column = as_fitted_kind(field, column)
    if not isinstance(field, Vocabulary) or column.kind is None:
        field.encode(column)  # only to raise for values that it cannot encode
        return field
    return field.extended(Counts.of(column.as_categories()), *_limits(encoder, n_rows))


def learn_categories(
    encoder: Any, counts: Counts, spec: ColumnSpec, n_rows: int
) -> Vocabulary | Hashed:
    """Learn a field of categories from their counts."""
    if spec.hash_dim is not None:
        return Hashed(counts.kind, spec.hash_dim)
    if counts.kind is None:
        return NOTHING_KNOWN
    return Vocabulary.empty(counts).extended(counts, *_limits(encoder, n_rows))


def _limits(encoder: Any, n_rows: int) -> tuple[float, int | None]:
    """The rows a category needs to earn a code, and how many categories may have one."""
    is_share = not isinstance(encoder.min_frequency, Integral)
    return encoder.min_frequency * (n_rows if is_share else 1), encoder.max_categories


def as_fitted_kind(field: Field, column: Column | ListColumn) -> Any:
    """The column in the form the field was learned from.

    Raises
    ------
    ValueError
        If it holds another kind of values, or lists where there were none, or the reverse.
    """
    if None not in (field.kind, column.kind) and field.kind != column.kind:
        raise ValueError(
            f"Column {column.name!r} held {field.kind} when the encoder was fitted and holds "
            f"{column.kind} now. Convert it to {field.kind}, or fit the encoder again."
        )
    if isinstance(field, CategoryLists):
        return ListColumn.of(column, None)
    if isinstance(column, ListColumn):
        raise ValueError(
            f"Column {column.name!r} held single values, or none, when the encoder was fitted and "
            f"holds lists now. Give one value per cell, or fit the encoder again."
        )
    return column


# The names stand in saved states: to rename one is to raise the number of the format.
_KINDS: dict[str, Any] = {
    "categories": Vocabulary,
    "hashed": Hashed,
    "bins": Bins,
    "numbers": Numbers,
}


def field_to_plain(field: Field) -> dict[str, Any]:
    """The state of a field, with its kind."""
    if isinstance(field, CategoryLists):
        return {"field": "lists", "of_members": field_to_plain(field.of_members)}
    kinds = {cls: kind for kind, cls in _KINDS.items()}
    return {"field": kinds[type(field)], **field.to_plain()}


def field_of_plain(state: Any) -> Field:
    """Restore a field from its state.

    Raises
    ------
    Damaged
        If the state is none that `field_to_plain` gives.
    """
    expect(isinstance(state, dict), "fields")
    state = dict(state)
    kind = state.pop("field", None)
    if kind == "lists":
        members = field_of_plain(state.get("of_members"))
        if not isinstance(members, Vocabulary | Hashed):
            raise Damaged("lists have members that are no categories")
        return CategoryLists(members)
    expect(kind in _KINDS, "field")
    field: Field = _KINDS[kind].of_plain(state)
    return field


def kind_name(field: Field) -> str:
    """The kind of a field as `field_kinds_` names it."""
    if isinstance(field, CategoryLists):
        return f"lists of {kind_name(field.of_members)}"
    if isinstance(field, Hashed):
        return "hashed"
    if field.kind is None:
        return "empty"
    return {Bins: "bins", Numbers: "numbers"}.get(type(field), "categories")
