"""Advice for containers of columns that are neither a data frame nor a matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

# By these methods readers and lazy frames give a table; the first that a class has counts.
_METHODS = (
    "toPandas",  # Spark, whose collect gives a list of rows
    "collect",
    "compute",
    "read_all",
    "to_table",
    "to_arrow_table",
    "read",
    "execute",
)
# An array may have methods of these names, and a file; what has columns has one of these.
_SIGNS_OF_COLUMNS = "columns", "schema", "dataset_schema", "physical_schema"


def advice_for(X: object) -> str | None:
    """What to do with a container of columns that is no table; None for anything else."""
    if isinstance(X, pd.DataFrame):
        return None
    if _holds_records(X):
        return "make it a data frame, pandas.DataFrame(X)"
    if isinstance(X, Mapping):
        return "make it a data frame"
    # The class is asked: a lazy frame would compute its columns.
    if any(hasattr(type(X), sign) for sign in _SIGNS_OF_COLUMNS):
        return next((f"{name}() it first" for name in _METHODS if hasattr(type(X), name)), None)
    return None


def named(X: object) -> str:
    """The class of a container, with its library where the class is called DataFrame too."""
    name, library = type(X).__name__, type(X).__module__.partition(".")[0]
    return f"a {name} of {library}" if name == "DataFrame" else f"a {name}"


def _holds_records(X: object) -> bool:
    """Whether each element is a row with names."""
    if isinstance(X, np.ndarray):
        return X.dtype.names is not None
    if not isinstance(X, (list, tuple)) or not X:
        return False
    return isinstance(X[0], (Mapping, pd.Series, np.void))
