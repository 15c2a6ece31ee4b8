"""Fields of quantities: bins cut at quantiles, or numbers that are passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from sklearn_deepfm._common.code_steps import QUANTITIES
from sklearn_deepfm._common.quantiles import inner_edges, positions_among
from sklearn_deepfm._encoder.field import MISSING_CODE, CellField
from sklearn_deepfm._encoder.vocabulary import expect_kind
from sklearn_deepfm._serialization.plain_values import PlainData, expect, expect_ascending
from sklearn_deepfm._tables.columns import Column

FINE_BINS = 1024  # whose middle ranks tell all that a model can learn of an order


@dataclass(frozen=True, eq=False)
class Bins(CellField):
    """A field of quantities in n bins with n + 1 edges; each bin holds its left edge.

    Files of earlier versions hold this one, whose codes are those of categories.
    """

    kind: str | None
    type: pa.DataType
    edges: np.ndarray

    field_kind = "bins"
    _saved = {"kind": str, "type": pa.DataType, "edges": np.float64}

    def _check_loaded(self) -> None:
        expect_kind(self.kind, self.type)
        expect(len(self.edges) > 1 and np.isfinite(self.edges).all(), "edges")
        expect_ascending(self.edges, "edges", strictly=False)
        if pa.types.is_temporal(self.type):
            expect(np.abs(self.edges).max() < 2.0**63, "edges")  # microseconds, of int64

    @classmethod
    def learn(cls, column: Column, n_bins: int) -> Self:
        """Learn at most `n_bins` bins of about equally many rows."""
        values = as_floats(column)
        distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        inner = inner_edges(distinct, counts, n_bins)
        edges = np.concatenate([distinct[:1], inner, distinct[-1:]])
        type_ = column.values.type
        return cls(column.kind, pa.float64() if pa.types.is_floating(type_) else type_, edges)

    @property
    def n_known(self) -> int:
        return len(self.edges) - 1

    @property
    def categories(self) -> pa.Array:
        """The edges of the bins, in the type of the column."""
        return self._in_own_type(self.edges)

    @property
    def representatives(self) -> pa.Array:
        """The middle of each bin."""
        left, right = self.edges[:-1], self.edges[1:]
        middle = left / 2 + right / 2
        # Between neighbouring floats there is no middle; the left edge is in the bin.
        return self._in_own_type(np.where((left < middle) & (middle < right), middle, left))

    def _in_own_type(self, numbers: np.ndarray) -> pa.Array:
        if not pa.types.is_temporal(self.type):
            return pa.array(numbers)
        return pa.array(np.floor(numbers).astype(np.int64)).cast(self.type)

    def encode(self, column: Column) -> tuple[np.ndarray, int]:
        """The code of each value; no value is ever unseen."""
        values = as_floats(column)
        # Only the inner edges: values beyond the range of fit go to the first or the last bin.
        codes = self.code_steps.code(positions_among(self.edges[1:-1], values))
        if column.values.null_count:
            codes[np.isnan(values)] = MISSING_CODE
        return codes, 0


class QuantityBins(Bins):
    """Bins whose codes say that neighbours belong together."""

    field_kind, description = "quantity bins", "bins"
    code_steps = QUANTITIES


def as_floats(column: Column) -> np.ndarray:
    """The values as float64 or float32, dates as microseconds, NaN where missing."""
    values = column.as_quantities().values
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int64())
    if not pa.types.is_floating(values.type):
        # With `safe=False` whole numbers beyond 2**53 are rounded instead of refused.
        values = values.cast(pa.float64(), safe=False)
    floats = values.to_numpy(zero_copy_only=False)
    if np.isinf(floats).any():
        raise ValueError(
            f"Column {column.name!r} holds infinity, and quantities must be finite. Replace it by "
            f"NaN (missing) or by a large number, or name the column in categorical_features."
        )
    return floats


@dataclass(frozen=True, eq=False)
class Numbers(CellField):
    """A field of quantities that are passed on as numbers, without codes."""

    kind: str | None

    field_kind, n_codes = "numbers", 0
    _saved = {"kind": str}
    categories = representatives = pa.nulls(0)

    def decode(
        self, cell: PlainData, position: int, meaning: Callable[[PlainData], object]
    ) -> object:
        """The number as it is."""
        return cell

    @classmethod
    def learn(cls, column: Column) -> Numbers:
        """Learn the kind of the numbers, and refuse infinity."""
        as_floats(column)
        return cls(column.kind)

    def encode(self, column: Column) -> tuple[np.ndarray, int]:
        """Each value as float64 or float32, dates as microseconds, NaN where missing."""
        return as_floats(column), 0
