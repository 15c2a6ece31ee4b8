"""The contract of a field: what each kind of column learns, and gives to the network."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from sklearn_deepfm._common.integer_lookup import IntegerLookup
from sklearn_deepfm._fields.input_columns import InputColumn, InputListColumn
from sklearn_deepfm._fields.network_inputs import NetworkInputs
from sklearn_deepfm._serialization.plain_values import PlainData

AnyColumn: TypeAlias = InputColumn | InputListColumn


class FieldOptions(NamedTuple):
    """Parameters of an estimator that its fields are made by.

    Attributes
    ----------
    pooling : {"mean", "sum"}
        Whether a list is the mean or the sum of the table rows of its members.
    n_bins : int, "auto" or None
        Bins of a column of numbers.
    """

    pooling: str
    n_bins: int | str | None


class Field(Protocol):
    """A column of X that takes part in the network: a kind of it, and what fit saw in it.

    To add a kind, write a class with these attributes and methods in a file of its own, enter it
    into `KINDS` of ``_fields/fields``, and say in ``_onnx/fields`` what it becomes there. It owns
    `n_rows` rows of the embedding table, which it numbers from 0; its place in the table is
    :class:`Fields`' affair. Row 0 is for cells that fit knows nothing of. Rows may be added, and
    keep their numbers. Arrays are replaced and never changed in place, so that a shallow copy
    stays as it is when the field grows.

    Deriving from :class:`sklearn_deepfm._serialization.plain.Plain` gives `to_plain` and
    `of_plain`.

    Attributes
    ----------
    kind : str
        Name of the kind, which stands in files.
    description : str
        The kind in words, for the user.
    holds_lists : bool
        Whether a cell is a list: the network then gets members and weights in the place of a
        table row for each cell.
    holds_codes : bool
        Whether rows stand for codes. Such a field has `code_names`, the codes or categories,
        and ``of_codes(values)``, from values of its rows to those of its codes.
    """

    kind: str
    description: str
    holds_lists: bool
    holds_codes: bool

    @property
    def name(self) -> str | int:
        """Of the column."""

    @property
    def frequency(self) -> np.ndarray:
        """Total weight of the cells that have each row, of shape (n_rows,)."""

    @property
    def slope_row(self) -> int | None:
        """Row of the slope over the values that it gives beside rows; None: it gives no values."""

    @classmethod
    def suits(cls, column: AnyColumn, is_index: bool | str) -> bool:
        """Whether a new column is of this kind.

        Parameters
        ----------
        column : InputColumn or InputListColumn
        is_index : bool or "pooled"
            Whether it holds codes, by its type or by `categorical_features`; "pooled": codes,
            neighbours among which share rows.
        """

    @classmethod
    def new(cls, name: str | int, options: FieldOptions) -> Field:
        """A field that has seen nothing."""

    @property
    def n_rows(self) -> int:
        """Rows that it owns."""

    @property
    def average_cell(self) -> np.ndarray | None:
        """Weights of the rows whose sum is the average cell of fit; None if it saw none."""

    @property
    def matrix_lookup(self) -> IntegerLookup | None:
        """Look-up from code to row, and to value where there is a slope; None: `add_to` alone."""

    def of_form(self, column: AnyColumn) -> AnyColumn:
        """The column in the form that all other methods take; an error if it has another."""

    def grow(self, column: AnyColumn, weight: np.ndarray | None) -> None:
        """Learn from more cells, each of some weight: add rows, and count."""

    def absorb(self, other: Field) -> np.ndarray:
        """Learn all that another field of this kind has; the row here for each row of it."""

    def without_counts(self) -> Field:
        """A copy with the same rows, and all counts at zero."""

    def with_codes_of_fit(self, column: AnyColumn) -> AnyColumn:
        """A column of a categorical dtype, with its categories numbered as in fit."""

    def add_to(self, inputs: NetworkInputs, column: AnyColumn, offset: int) -> None:
        """Give the network what it needs of these cells.

        Parameters
        ----------
        inputs : NetworkInputs
            Takes rows of the table, with values if there is a slope, or lists of rows.
        column : InputColumn or InputListColumn
        offset : int
            The table row of the field's row 0.
        """

    def to_plain(self) -> dict[str, PlainData]:
        """All that it has learned as plain data."""

    @classmethod
    def of_plain(cls, state: PlainData) -> Field:
        """The field of such data; raises Damaged for any other."""


def refuse_lists(name: str | int, column: AnyColumn) -> AnyColumn:
    """The column; an error if its cells are lists."""
    if column.holds_lists:
        raise ValueError(
            f"Column {name!r} holds lists and held one value per cell in fit. Give one "
            f"value per cell, or fit again."
        )
    return column
