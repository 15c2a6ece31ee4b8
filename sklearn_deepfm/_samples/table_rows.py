"""Rows of a table in the form in which the caller has given it, for those that read X."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np


@dataclass(frozen=True)
class TableRows:
    """Some rows of a table, which are not taken out of it before they are read.

    Parameters
    ----------
    table : data frame or array-like
        X as the estimator got it.
    positions : ndarray of int, default=None
        Where its rows stand in the table; None: all of them, in their order.
    """

    table: Any
    positions: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> TableRows:
        """Some of these rows, given by position among them."""
        return TableRows(self.table, rows if self.positions is None else self.positions[rows])

    def read(self) -> Any:
        """A table of the same kind that holds these rows alone."""
        if self.positions is None:
            return self.table
        frame = nw.from_native(self.table, eager_only=True, pass_through=True)
        if isinstance(frame, nw.DataFrame):
            return nw.to_native(frame[self.positions])
        if hasattr(self.table, "shape"):
            return self.table[self.positions]
        return [self.table[position] for position in self.positions.tolist()]

    def copied(self) -> TableRows:
        """The same rows, without a hold on the rest of the table."""
        return TableRows(self.read())
