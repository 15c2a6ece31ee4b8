"""Fields of hashed categories: no vocabulary, and a fixed number of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from sklearn_deepfm._common.code_steps import NAMES
from sklearn_deepfm._encoder.field import MISSING_CODE, CellField
from sklearn_deepfm._serialization.plain_values import expect
from sklearn_deepfm._tables.arrow import fill_nulls
from sklearn_deepfm._tables.columns import Column
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT

MOST_HASH_DIM = 2**30  # codes must fit int32


@dataclass(frozen=True, eq=False)
class Hashed(CellField):
    """A field of categories that share `n_known` codes; the hash of a category gives its code.

    The hash is that of :func:`pandas.util.hash_array`, the same in every process and on
    every platform. Nothing but the kind of the values is learned.
    """

    kind: str | None
    n_known: int

    field_kind = description = "hashed"
    _saved = {"kind": str, "n_known": int}
    _optional = ("kind",)

    categories = pa.nulls(0)

    def _check_loaded(self) -> None:
        expect(1 <= self.n_known <= MOST_HASH_DIM, "n_known")

    @property
    def representatives(self) -> pa.Array:
        """Null for each code: a hash does not tell its categories."""
        return pa.nulls(self.n_known)

    def encode(self, column: Column) -> tuple[np.ndarray, int]:
        """The code of each value of a dictionary encoded column; no value is ever unseen."""
        if column.kind is None:
            return np.full(len(column.values), MISSING_CODE, np.int32), 0
        values = column.as_categories().values
        if len(values) < len(values.dictionary):  # a slice carries the categories of the whole
            values = values.dictionary_decode().dictionary_encode()
        hashes = _hashes(values.dictionary) % np.uint64(self.n_known)
        codes = np.append(self.code_steps.code(hashes.astype(np.int32)), np.int32(MISSING_CODE))
        return codes[fill_nulls(values.indices, len(values.dictionary))], 0


class HashedNames(Hashed):
    """Hashed categories whose codes say that their order means nothing.

    Lists, whose members have no order either, and files of earlier versions hold the base.
    """

    field_kind = "hashed names"
    code_steps = NAMES


def _hashes(values: pa.Array) -> np.ndarray:
    """The hash of each value, uint64; 3.0 and 3 are one category and have one hash."""
    if pa.types.is_floating(values.type):
        floats = values.to_numpy(zero_copy_only=False)
        is_whole = (floats == np.floor(floats)) & (np.abs(floats) < EXACT_FLOAT)
        whole = np.where(is_whole, floats, 0).astype(np.int64)
        return np.where(is_whole, _hash(whole), _hash(floats))
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int64())
    is_string = pa.types.is_large_string(values.type)
    array = values.to_numpy(zero_copy_only=False)
    return _hash(array.astype(object) if is_string else array)


def _hash(values: np.ndarray) -> np.ndarray:
    return pd.util.hash_array(values, categorize=False)
