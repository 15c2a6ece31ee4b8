"""Column specs of an encoder: which columns are fields, and how each of them is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
import pyarrow as pa

from sklearn_deepfm._encoder.field import EncoderParameters
from sklearn_deepfm._encoder.hashed import MOST_HASH_DIM
from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import expect
from sklearn_deepfm._tables.columns import Column, ListColumn
from sklearn_deepfm._tables.lists import checked_weights
from sklearn_deepfm._tables.table import Columns

_SELECTING = "categorical_features", "numeric_features"


@dataclass(frozen=True)
class ColumnSpec(Plain):
    """The position of a field's column, and the encoder's parameters for this column."""

    position: int
    selected_by: str | None = None
    separator: str | None = None
    weights: int | None = None  # position of the column with the weights of the members
    weights_separator: str | None = None
    hash_dim: int | None = None
    hash_is_asked: bool = False  # by a dict with this column, not by an int for all

    _saved = {
        "position": int,
        "selected_by": str,
        "separator": str,
        "weights": int,
        "weights_separator": str,
        "hash_dim": int,
        "hash_is_asked": bool,
    }
    _optional = ("selected_by", "separator", "weights", "weights_separator", "hash_dim")

    def _check_loaded(self) -> None:
        expect(self.selected_by in (None, *_SELECTING), "selected_by")
        expect(self.separator != "" and self.weights_separator != "", "separator")
        expect(self.hash_dim is None or 1 <= self.hash_dim <= MOST_HASH_DIM, "hash_dim")

    def read(self, columns: Columns) -> Column | ListColumn:
        """Read the column: split at the separator, with the weights of its members."""
        column = columns[self.position]
        if self.weights is None:
            return column if self.separator is None else column.as_lists(self.separator)
        lists = column.as_lists(self.separator)
        weights = columns[self.weights].as_lists(self.weights_separator)
        return replace(lists, weights=_weights(lists, weights))

    def as_field(self, column: Column | ListColumn) -> Column | ListColumn:
        """The column as fit takes it: dictionary encoded, unless it holds quantities."""
        prepared = self._as_members if column.holds_lists else self._as_cells
        return column.with_cells(prepared(column.cells))

    def _as_cells(self, column: Column) -> Column:
        column = _as_field(column, self.selected_by)
        # An int in hash_dims is for columns of categories alone, and lets quantities be binned.
        if self.hash_is_asked and column.kind is not None and not column.is_encoded():
            raise ValueError(
                f"Column {column.name!r} is in hash_dims but holds quantities, which are binned. "
                f"Name it in categorical_features too, or leave it out of hash_dims."
            )
        return column

    def _as_members(self, members: Column) -> Column:
        if members.kind is None:
            return members
        is_quantity = not members.is_categorical() and self.selected_by != "categorical_features"
        if is_quantity or self.selected_by == "numeric_features":
            raise ValueError(
                f"Column {members.name!r} holds lists of {members.kind}, which cannot be binned or "
                f"passed on as numbers. Name it in categorical_features if these are names of "
                f"things, or make columns of them."
            )
        return members.as_categories()


def column_specs_of(encoder: EncoderParameters, names: list) -> list[ColumnSpec]:
    """Specs of all fields of a table by the encoder's parameters, in the order of the columns.

    Raises
    ------
    ValueError
        If a parameter names a column that does not exist, or two contradict each other.
    """
    selected: dict[int, str] = {}
    for parameter in _SELECTING:
        features = getattr(encoder, parameter)
        for position in _column_positions(() if features is None else features, parameter, names):
            if selected.setdefault(position, parameter) != parameter:
                raise ValueError(
                    f"Column {names[position]!r} is both in categorical_features and in "
                    "numeric_features. Leave it in one of them."
                )
    separators = _by_position(encoder, "separators", names)
    weights = _by_position(encoder, "member_weights", names)
    weights = {
        position: _column_positions([name], "member_weights", names)[0]
        for position, name in weights.items()
    }
    hash_dims = _hash_dims(encoder, names, selected)
    taken = set(weights.values())
    if taken & set(weights) or len(taken) < len(weights) or len(taken) == len(names):
        raise ValueError(
            f"member_weights must map columns of lists to columns of their weights, each of which "
            f"serves one of them and is no column of lists itself, got {encoder.member_weights!r}."
        )
    return [
        ColumnSpec(
            position,
            selected.get(position),
            separators.get(position),
            weights.get(position),
            separators.get(weights.get(position, -1)),
            hash_dims.get(position),
            isinstance(encoder.hash_dims, dict) and position in hash_dims,
        )
        for position in range(len(names))
        if position not in taken
    ]


def _hash_dims(encoder: EncoderParameters, names: list, selected: dict[int, str]) -> dict[int, int]:
    if isinstance(encoder.hash_dims, Integral):
        return dict.fromkeys(range(len(names)), int(encoder.hash_dims))
    hash_dims = _by_position(encoder, "hash_dims", names)
    for position in hash_dims:
        if selected.get(position) == "numeric_features":
            raise ValueError(
                f"Column {names[position]!r} is both in hash_dims and in numeric_features. Leave "
                f"it in one of them."
            )
    return hash_dims


def _by_position(encoder: EncoderParameters, parameter: str, names: list) -> dict:
    """A parameter that is a dict by columns, with their positions as keys instead."""
    by_column = getattr(encoder, parameter) or {}
    positions = _column_positions(by_column, parameter, names)
    if len(set(positions)) < len(positions):
        raise ValueError(f"{parameter} names a column twice: {list(by_column)}. Leave one out.")
    return dict(zip(positions, by_column.values(), strict=True))


def _column_positions(features: Iterable, parameter: str, names: list) -> list[int]:
    return [_column_position(feature, parameter, names) for feature in features]


def _column_position(feature: str | int, parameter: str, names: list) -> int:
    # An int is a position, also in a frame whose columns are named by numbers.
    position = names.index(feature) if feature in names and isinstance(feature, str) else feature
    if not isinstance(position, Integral) or not 0 <= position < len(names):
        raise ValueError(
            f"{parameter} holds {feature!r}, which is no column of X. Its columns are {names}: "
            f"give their names, or positions from 0 to {len(names) - 1}."
        )
    return int(position)


def _as_field(column: Column, selected_by: str | None) -> Column:
    """The column as categories or quantities, by the parameter that names it or by its values."""
    if column.kind is None:
        return column
    if selected_by == "categorical_features":
        return column.as_categories()
    if selected_by == "numeric_features":
        if column.kind in ("strings", "booleans"):
            raise ValueError(
                f"Column {column.name!r} is in numeric_features but holds {column.kind}, which "
                "cannot be binned. Convert it to numbers, or take it out of numeric_features."
            )
        return column.as_quantities()
    return column.as_categories() if column.is_categorical() else column


def _weights(column: ListColumn, weights: ListColumn) -> np.ndarray:
    """The weight of each member; the one missing member of a missing cell has weight 1.

    Raises
    ------
    ValueError
        If weights are not numbers, or a list has more or fewer of them than members.
    """
    values = weights.members.values
    if weights.members.kind not in (None, "numbers", "strings"):
        raise ValueError(
            f"Column {weights.name!r} must hold lists of numbers, the weights of the members of "
            f"{column.name!r}, and holds {weights.kind}."
        )
    n_members, n_weights = np.diff(column.starts), np.diff(weights.starts)
    unequal = np.flatnonzero((n_members != n_weights) & ~column.is_missing)
    # A missing list of weights has one missing weight, and goes with an empty list of members.
    unequal = unequal[~(weights.is_missing[unequal] & (n_members[unequal] == 0))]
    if len(unequal):
        row = unequal[0]
        raise ValueError(
            f"Columns {column.name!r} and {weights.name!r} must hold lists of equal length, "
            f"members and their weights; in row {row} they hold {n_members[row]} and "
            f"{0 if weights.is_missing[row] else n_weights[row]}."
        )
    try:
        values = values.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"Column {weights.name!r} must hold numbers, the weights of the members of "
            f"{column.name!r}: {error}."
        ) from error
    # Weights beside a missing cell, and a missing one beside an empty list, belong to no member.
    is_used = np.repeat(~column.is_missing, n_weights) & (np.repeat(n_members, n_weights) > 0)
    result = np.ones(column.starts[-1])
    result[np.repeat(~column.is_missing, n_members)] = checked_weights(
        weights.name, values.filter(pa.array(is_used))
    )
    return result
