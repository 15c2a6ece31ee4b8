"""Which columns of a table are fields of categories and which of quantities."""

from __future__ import annotations

from typing import Any

from sklearn_deepfm._tables import Column


def selected_features(encoder: Any, names: list) -> dict[int, str]:
    """Which parameter of the encoder, if any, selects a column, by the column's position.

    Raises
    ------
    ValueError
        If there is no such column, or two parameters select it.
    """
    selected: dict[int, str] = {}
    for parameter in ("categorical_features", "numeric_features"):
        features = getattr(encoder, parameter)
        for feature in [] if features is None else features:
            position = _position(feature, parameter, names)
            if selected.setdefault(position, parameter) != parameter:
                raise ValueError(
                    f"Column {names[position]!r} is both in categorical_features and in "
                    "numeric_features. Leave it in one of them."
                )
    return selected


def _position(feature: str | int, parameter: str, names: list) -> int:
    position = names.index(feature) if feature in names and isinstance(feature, str) else feature
    if isinstance(position, str) or position >= len(names):
        raise ValueError(
            f"{parameter} holds {feature!r}, which is no column of X. Its columns are {names}: "
            f"give their names, or positions from 0 to {len(names) - 1}."
        )
    return int(position)


def as_field(column: Column, selected_by: str | None) -> Column:
    """The column as categories or as quantities: as it was selected, else as its values ask."""
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
