"""The contract of an encoder's field, and the parameters of an encoder that it is learned by."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa

from sklearn_deepfm._common.code_steps import CATEGORIES, CodeSteps
from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import PlainData
from sklearn_deepfm._tables.columns import Column, ListColumn

MISSING_CODE, UNKNOWN_CODE, FIRST_KNOWN_CODE = 0, 1, 2

OfColumn = TypeVar("OfColumn", Column, ListColumn)


class EncoderParameters(Protocol):
    """The parameters of an OrdinalFieldEncoder, under their public names."""

    min_frequency: float
    max_categories: int | None
    n_bins: int | str | None
    hash_dims: int | Mapping[str | int, int] | None
    categorical_features: Iterable[str | int] | None
    numeric_features: Iterable[str | int] | None
    separators: Mapping[str | int, str] | None
    member_weights: Mapping[str | int, str | int] | None


class EncoderField(Plain, Generic[OfColumn]):
    """Base of fields: what fit learned of one column, by which its cells become codes.

    To add a kind, write a class that derives from this one in a file of its own, say in
    ``_encoder/field_types`` which columns get it, and enter it there into `FIELD_KINDS`; what it
    becomes in an ONNX file stands in ``_onnx/encoder``. An object never changes after it is made.
    `_saved` lists what files hold of it.

    Attributes
    ----------
    field_kind : str
        Name of the kind, in files and in `field_kinds_`.
    holds_lists : bool, default=False
        Whether cells are lists.
    has_vocabulary : bool, default=False
        Whether each known code stands for one of the `categories`, which `encode` finds by it.
    code_steps : CodeSteps
        The first known code, and the step to each further one.
    kind : str or None
        Kind of the values in words, as a column has it; None: fit saw no value.
    n_known : int
        Number of known codes, which stand for a category or bin.
    categories : pyarrow.Array
        What the known codes stand for, or the edges of bins.
    representatives : pyarrow.Array
        A value for each known code, which `inverse_transform` gives.
    """

    field_kind: str
    holds_lists = False
    has_vocabulary = False
    code_steps: CodeSteps = CATEGORIES
    categories: pa.Array
    representatives: pa.Array
    if TYPE_CHECKING:  # a property at runtime would be in the way of the fields of dataclasses

        @property
        def kind(self) -> str | None: ...

        @property
        def n_known(self) -> int: ...

    @property
    def of_values(self) -> EncoderField:
        """The field of single values: that of the members of lists, or this one."""
        return self

    @property
    def n_codes(self) -> int:
        """One more than its largest code, for `field_dims_`."""
        if not self.n_known:
            return FIRST_KNOWN_CODE
        return self.code_steps.first + self.code_steps.step * (self.n_known - 1) + 1

    @property
    def description(self) -> str:
        """The kind as `field_kinds_` names it."""
        return "empty" if self.kind is None else self.field_kind

    def encode(self, column: OfColumn) -> tuple[np.ndarray | pa.Array, int]:
        """The code of each value, and how many values fit never saw.

        Values that have no codes are given back as floats.
        """
        raise NotImplementedError(f"{type(self).__name__}.encode")

    def of_form(self, column: Column | ListColumn) -> OfColumn:
        """The column in the form the field was learned from.

        Raises
        ------
        ValueError
            If it holds another kind of values, or lists where there were none, or the reverse.
        """
        if None not in (self.kind, column.kind) and self.kind != column.kind:
            raise ValueError(
                f"Column {column.name!r} held {self.kind} when the encoder was fitted and holds "
                f"{column.kind} now. Convert it to {self.kind}, or fit the encoder again."
            )
        return self._in_form(column)

    def _in_form(self, column: Column | ListColumn) -> OfColumn:
        """A column of the kind of the field's values, as lists or as single values."""
        raise NotImplementedError(f"{type(self).__name__}._in_form")

    def after(self, column: OfColumn, min_count: float, max_categories: int | None) -> Self:
        """The field after more rows; by default they change nothing, but have to be encodable.

        Parameters
        ----------
        column : Column or ListColumn
            The rows.
        min_count : float
            The rows that a category needs to earn a code.
        max_categories : int or None
            How many categories may have one.
        """
        self.encode(column)  # only to raise for values that it cannot encode
        return self

    def decode(
        self, cell: PlainData, position: int, meaning: Callable[[PlainData], object]
    ) -> object:
        """What a cell of the encoder's output stands for.

        Parameters
        ----------
        cell : object
        position : int
            Of the field, for messages.
        meaning : callable
            Gives the value of a code, and refuses what is none.
        """
        return meaning(cell)

    def warn_if_nearly_unique(self, name: Hashable) -> None:
        """Warn of a column in which nearly every row has a category of its own."""


class CellField(EncoderField[Column]):
    """Base of fields of single values."""

    def _in_form(self, column: Column | ListColumn) -> Column:
        if column.holds_lists:
            raise ValueError(
                f"Column {column.name!r} held single values, or none, when the encoder was fitted "
                f"and holds lists now. Give one value per cell, or fit the encoder again."
            )
        return column.cells
