"""Fitted objects as plain data, which any format can hold: scalars, strings, lists, arrays."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from sklearn_deepfm._serialization.plain_values import (
    Damaged,
    arrow_of_plain,
    arrow_to_plain,
    arrow_type,
    expect,
    index_of_plain,
    index_to_plain,
    scalars_of_plain,
    scalars_to_plain,
)

FORMAT = 1  # the rules for raising it are in docs/user_guide/saving.rst

_Self = TypeVar("_Self", bound="Plain")


class LaterFormat(ValueError):
    """What is loaded was saved by a later version."""


class Plain:
    """An object whose state is that of a few attributes.

    A subclass says in `_saved` which these are and of what type: of NumPy's for an array
    of one dimension, ndarray for one of any scalars, None for what is plain already.
    None is a value of each type.
    """

    _saved: dict[str, Any] = {}

    def to_plain(self) -> dict[str, Any]:
        """The attributes by name, without underscores."""
        return {
            name.strip("_"): to_plain(getattr(self, name), kind)
            for name, kind in self._saved.items()
        }

    @classmethod
    def of_plain(cls: type[_Self], state: Any) -> _Self:
        """An object with these attributes.

        Raises
        ------
        Damaged
            If they are not of their types.
        """
        if not isinstance(state, dict) or set(state) != {n.strip("_") for n in cls._saved}:
            raise Damaged(f"{cls.__name__} must have the entries {[*cls._saved]}")
        new = cls.__new__(cls)
        for name, kind in cls._saved.items():
            # A dataclass that is frozen lets nobody set what it has.
            object.__setattr__(new, name, of_plain(state[name.strip("_")], kind, name))
        new._check_loaded()
        return new

    def _check_loaded(self) -> None:
        """Make what follows from the attributes; raise Damaged if they contradict each other."""


def wrap_state(attributes: dict[str, Any], learned: dict[str, Any] | None) -> dict[str, Any]:
    """The state of an estimator: attributes, what was learned as plain data, and the format."""
    return {**attributes, **({} if learned is None else {"learned": learned}), "format": FORMAT}


def unwrap_state(estimator: Any, state: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Attributes, and what was learned, None if nothing.

    Raises
    ------
    ValueError
        If the state is of a later format, or none of this library's.
    """
    number = state.get("format") if isinstance(state, dict) else None
    if not isinstance(number, int) or number < 1:
        raise Damaged(f"This is no {type(estimator).__name__} that sklearn_deepfm has saved.")
    if number > FORMAT:
        raise LaterFormat(
            f"This {type(estimator).__name__} was saved in format {number}, by a later version of "
            f"sklearn_deepfm than this one, which reads formats up to {FORMAT}. Upgrade it."
        )
    attributes = {name: v for name, v in state.items() if name not in ("format", "learned")}
    for name in attributes:
        # Nothing may take the place of a method.
        expect(isinstance(name, str) and not hasattr(type(estimator), name), name)
    # A parameter that came after the file was written has its default.
    return {**type(estimator)().get_params(deep=False), **attributes}, state.get("learned")


def check_names(attributes: dict[str, Any], n_features: int) -> None:
    """Compare what is said of the columns with their number.

    Raises
    ------
    Damaged
        If they contradict each other.
    """
    n_features_in = attributes.get("n_features_in_")
    expect(type(n_features_in) is int and n_features_in == n_features, "n_features_in_")
    names = attributes.get("feature_names_in_")
    if names is not None:
        expect(isinstance(names, np.ndarray) and names.shape == (n_features,), "feature_names_in_")
        expect(all(isinstance(name, str) for name in names), "feature_names_in_")


def to_plain(value: Any, kind: Any) -> Any:
    """A value of some kind as plain data."""
    if value is None:
        return None
    if kind is pa.Array:
        return arrow_to_plain(value)
    if kind is pa.DataType:
        return str(value)
    if kind is pd.Index:
        return index_to_plain(value)
    if kind is np.ndarray:
        return scalars_to_plain(value)
    if isinstance(kind, type) and issubclass(kind, np.generic):
        return np.asarray(value, dtype=kind, order="C")
    if kind in (int, float, bool, str):
        return kind(value)
    return value


def of_plain(value: Any, kind: Any, name: str) -> Any:
    """The value that plain data was made of."""
    if value is None:
        return None
    if kind is pa.Array:
        return arrow_of_plain(value, name)
    if kind is pa.DataType:
        return arrow_type(value, name)
    if kind is pd.Index:
        return index_of_plain(value, name)
    if kind is np.ndarray:
        return scalars_of_plain(value, name)
    if isinstance(kind, type) and issubclass(kind, np.generic):
        expect(isinstance(value, np.ndarray) and value.dtype == kind and value.ndim <= 1, name)
        return value
    if isinstance(kind, type):
        is_bool = isinstance(value, bool)
        expect(isinstance(value, kind) and is_bool == (kind is bool), name)
    return value
