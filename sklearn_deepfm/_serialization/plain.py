"""The state of fitted objects as plain data: scalars, strings, lists and arrays."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from sklearn_deepfm._serialization.plain_values import (
    Damaged,
    LaterFormat,
    PlainData,
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


class Plain:
    """Base of objects that are saved as a few of their attributes.

    A subclass lists these attributes in `_saved`, each with its kind: a scalar type of NumPy for an
    array of one dimension, ndarray for an array of any scalars, another type for a value of it,
    None for plain data. Attributes in `_optional` may be None.
    """

    _saved: dict[str, type | None] = {}
    _optional: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, PlainData]:
        """The attributes by name, without underscores."""
        return {
            name.strip("_"): to_plain(getattr(self, name), kind)
            for name, kind in self._saved.items()
        }

    @classmethod
    def of_plain(cls: type[_Self], state: PlainData) -> _Self:
        """An object with the attributes of a state.

        Raises
        ------
        Damaged
            If some are missing, or are not of their kinds.
        """
        if not isinstance(state, dict) or set(state) != {n.strip("_") for n in cls._saved}:
            raise Damaged(f"{cls.__name__} must have the entries {[*cls._saved]}")
        new = cls.__new__(cls)
        for name, kind in cls._saved.items():
            value = of_plain(state[name.strip("_")], kind, name)
            expect(value is not None or kind is None or name in cls._optional, name)
            # Plain assignment fails for frozen dataclasses.
            object.__setattr__(new, name, value)
        new._check_loaded()
        return new

    def _check_loaded(self) -> None:
        """Compute what follows from the attributes; raise Damaged if they contradict each other."""


def wrap_state(
    attributes: dict[str, PlainData], learned: dict[str, PlainData] | None
) -> dict[str, PlainData]:
    """The state of an estimator: attributes, learned plain data, and the number of the format."""
    return {**attributes, **({} if learned is None else {"learned": learned}), "format": FORMAT}


def unwrap_state(
    estimator: object, state: PlainData
) -> tuple[dict[str, PlainData], dict[str, PlainData] | None]:
    """Split a state into attributes and learned plain data, which is None before fit.

    Raises
    ------
    ValueError
        If the state is of a later format, or was not saved by this library.
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
        # A file must not replace a method or a property.
        expect(isinstance(name, str) and not hasattr(type(estimator), name), name)
    # Parameters that were added since the file was written get their defaults.
    return {**vars(type(estimator)()), **attributes}, state.get("learned")


def check_names(attributes: dict[str, PlainData], n_features: int) -> None:
    """Check the number and the names of columns among the attributes.

    Raises
    ------
    Damaged
        If they contradict `n_features`, the number of columns in the learned state.
    """
    n_features_in = attributes.get("n_features_in_")
    expect(type(n_features_in) is int and n_features_in == n_features, "n_features_in_")
    names = attributes.get("feature_names_in_")
    if names is not None:
        expect(isinstance(names, np.ndarray) and names.shape == (n_features,), "feature_names_in_")
        expect(all(isinstance(name, str) for name in names), "feature_names_in_")
    others = attributes.get("_other_names", [""] * n_features)
    expect(isinstance(others, list) and len(others) == n_features, "_other_names")
    expect(all(isinstance(name, str) for name in others), "_other_names")


def to_plain(value: PlainData, kind: type | None) -> PlainData:
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


def of_plain(value: PlainData, kind: type | None, name: str) -> PlainData:
    """Inverse of `to_plain`; raises Damaged, naming the entry, if the value is not of its kind."""
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
        # A bool is an int to isinstance.
        is_bool = isinstance(value, bool)
        expect(isinstance(value, kind) and is_bool == (kind is bool), name)
    return value
