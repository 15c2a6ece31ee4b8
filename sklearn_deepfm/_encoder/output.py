"""Output of an encoder: a matrix of codes, or a data frame where cells hold lists or numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa

from sklearn_deepfm._tables.named_quantities import name_quantities
from sklearn_deepfm._tables.table import Table


class EncodedColumns:
    """Collects the encoded columns of a table and makes the output of them.

    Parameters
    ----------
    table : Table
        The table to encode; the output has the index of a pandas data frame.
    n_fields : int
    """

    def __init__(self, table: Table, n_fields: int) -> None:
        self._codes = np.empty((len(table), n_fields), dtype=np.int32)
        self._others: dict[int, np.ndarray | pd.arrays.ArrowExtensionArray] = {}
        self._index = table.index if isinstance(table, pd.DataFrame) else None

    def add(self, position: int, encoded: np.ndarray | pa.Array) -> None:
        """Take an encoded column: integer codes, float numbers or Arrow lists of codes."""
        if isinstance(encoded, pa.Array):
            self._others[position] = pd.arrays.ArrowExtensionArray(pa.chunked_array([encoded]))
        elif encoded.dtype.kind == "f":
            self._others[position] = encoded
        else:
            self._codes[:, position] = encoded

    def table(
        self, names: np.ndarray, quantities: Iterable[Hashable] = ()
    ) -> np.ndarray | pd.DataFrame:
        """All columns, as a matrix of codes or as a data frame with these names.

        The frame also says which columns are quantities by the user's word.
        """
        if not self._others:
            return self._codes
        columns = {
            name: self._others.get(position, self._codes[:, position])
            for position, name in enumerate(names)
        }
        return name_quantities(pd.DataFrame(columns, index=self._index), quantities)


def code_columns(X: Any, n_fields: int) -> list[list]:
    """The cells of each column of an encoder's output, as Python objects.

    Raises
    ------
    ValueError
        If X has not one column per field.
    """
    table = nw.from_native(X, eager_only=True, pass_through=True)
    table = table if isinstance(table, nw.DataFrame) else np.asarray(table)
    n_columns = table.shape[1] if len(table.shape) == 2 else 0
    if n_columns != n_fields:
        raise ValueError(
            f"X has {n_columns} columns of codes, and the encoder has {n_fields} fields. Give one "
            f"column for each field."
        )
    if isinstance(table, np.ndarray):
        return table.T.tolist()
    return [series.to_list() for series in table.iter_columns()]
