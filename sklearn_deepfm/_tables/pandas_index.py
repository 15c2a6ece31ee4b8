"""The index of a pandas data frame, where Arrow holds it as columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

# The name that pandas gives to a level of an index without one.
_LEVEL = re.compile(r"__index_level_\d+__")


def index_columns(schema: pa.Schema) -> list[str]:
    """The columns that pandas wrote as the index of a data frame, by its metadata or their name."""
    # An index that is a range is written as its ends, and is no column.
    of_pandas = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name in of_pandas or _LEVEL.fullmatch(name)]


def pandas_index(X: object) -> list[str]:
    """The columns of a table or batch of Arrow that are the index of pandas; none of others."""
    return index_columns(X.schema) if isinstance(X, (pa.Table, pa.RecordBatch)) else []


def without_index(X: object, known: Collection[str] = ()) -> Any:
    """A table or batch of Arrow as a table without the index of pandas; anything else as it is.

    Parameters
    ----------
    X : Any
    known : collection of str
        Columns that stay: those that fit saw.
    """
    if isinstance(X, pa.RecordBatch):
        X = pa.Table.from_batches([X])
    if not isinstance(X, pa.Table):
        return X
    index = {*index_columns(X.schema)} - {*known}
    kept = [position for position, name in enumerate(X.schema.names) if name not in index]
    # Without the metadata, or columns that stay would be an index again in what pandas makes of it.
    return X.select(kept).replace_schema_metadata(None)


def index_of(X: object) -> pd.Index | None:
    """The index that pandas makes of a table or batch of Arrow; None of anything else."""
    if not isinstance(X, (pa.Table, pa.RecordBatch)):
        return None
    return X.select(index_columns(X.schema)).to_pandas().index


def note_of_index(names: Sequence[str]) -> str:
    """What is said where an index is left out of the features."""
    return (
        f"The columns {[*names]} are left out: pandas wrote them as the index of a data frame, "
        f"which is no feature. If one is, make it a column by reset_index() before writing."
    )
