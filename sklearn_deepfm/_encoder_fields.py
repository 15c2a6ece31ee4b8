"""From columns to the fields of an encoder: which kind of field learns which kind of column."""

from __future__ import annotations

from numbers import Integral
from typing import Any, TypeAlias

from sklearn_deepfm._baskets import Baskets
from sklearn_deepfm._hashed import Hashed
from sklearn_deepfm._plain_values import Damaged, expect
from sklearn_deepfm._quantities import Bins, Numbers
from sklearn_deepfm._roles import Role
from sklearn_deepfm._tables import Column, ListColumn
from sklearn_deepfm._vocabulary import NOTHING_KNOWN, Counts, Vocabulary

Field: TypeAlias = Vocabulary | Hashed | Bins | Numbers | Baskets


def learned(encoder: Any, column: Any, role: Role, n_rows: int) -> Field:
    """What fit learns of a column.

    Parameters
    ----------
    encoder : OrdinalFieldEncoder
        Gives the parameters.
    column : Column or ListColumn
        As `role.as_field` gives it.
    role : Role
    n_rows : int
        Number of rows so far.
    """
    if isinstance(column, ListColumn):
        return Baskets(learned_categories(encoder, Counts.of(column.members), role, n_rows))
    if column.kind is None or column.is_encoded():
        return learned_categories(encoder, Counts.of(column), role, n_rows)
    if encoder.n_bins is None:
        return Numbers(column.kind)
    return Bins.learned(column, None if encoder.n_bins == "auto" else encoder.n_bins)


def learned_more(encoder: Any, field: Any, role: Role, column: Any, n_rows: int) -> Any:
    """What a field is after another call of `partial_fit`; the field itself stays as it is."""
    if isinstance(field, Baskets):
        column = like_fitted(field, column)
        members = learned_more(encoder, field.of_members, role, column.members, n_rows)
        return Baskets(members)
    if field.kind is None:
        return learned(encoder, role.as_field(column), role, n_rows)
    column = like_fitted(field, column)
    if not isinstance(field, Vocabulary) or column.kind is None:
        field.encode(column)  # which refuses what it cannot
        return field
    return field.extended(Counts.of(column.as_categories()), *_limits(encoder, n_rows))


def learned_categories(
    encoder: Any, counts: Counts, role: Role, n_rows: int
) -> Vocabulary | Hashed:
    """What fit learns of categories, by their counts."""
    if role.hash_dim is not None:
        return Hashed(counts.kind, role.hash_dim)
    if counts.kind is None:
        return NOTHING_KNOWN
    return Vocabulary.empty(counts).extended(counts, *_limits(encoder, n_rows))


def _limits(encoder: Any, n_rows: int) -> tuple[float, int | None]:
    """The rows a category needs to earn a code, and how many categories may have one."""
    is_share = not isinstance(encoder.min_frequency, Integral)
    return encoder.min_frequency * (n_rows if is_share else 1), encoder.max_categories


def like_fitted(field: Field, column: Column | ListColumn) -> Any:
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
    if isinstance(field, Baskets):
        return ListColumn.of(column, None)
    if isinstance(column, ListColumn):
        raise ValueError(
            f"Column {column.name!r} held single values, or none, when the encoder was fitted and "
            f"holds lists now. Give one value per cell, or fit the encoder again."
        )
    return column


_KINDS: dict[str, Any] = {
    "categories": Vocabulary,
    "hashed": Hashed,
    "bins": Bins,
    "numbers": Numbers,
}


def field_to_plain(field: Field) -> dict[str, Any]:
    """The state of a field, with its kind."""
    if isinstance(field, Baskets):
        return {"field": "lists", "of_members": field_to_plain(field.of_members)}
    kinds = {cls: kind for kind, cls in _KINDS.items()}
    return {"field": kinds[type(field)], **field.to_plain()}


def field_of_plain(state: Any) -> Field:
    """The field of a state.

    Raises
    ------
    Damaged
        If it is not what `field_to_plain` gives.
    """
    expect(isinstance(state, dict), "fields")
    state = dict(state)
    kind = state.pop("field", None)
    if kind == "lists":
        members = field_of_plain(state.get("of_members"))
        if not isinstance(members, Vocabulary | Hashed):
            raise Damaged("lists have members that are no categories")
        return Baskets(members)
    expect(kind in _KINDS, "field")
    field: Field = _KINDS[kind].of_plain(state)
    return field


def name_of_kind(field: Field) -> str:
    """The kind of a field as `field_kinds_` names it."""
    if isinstance(field, Baskets):
        return f"lists of {name_of_kind(field.of_members)}"
    if isinstance(field, Hashed):
        return "hashed"
    if field.kind is None:
        return "empty"
    return {Bins: "bins", Numbers: "numbers"}.get(type(field), "categories")
