"""List fields: each member of a list has a code of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sklearn_deepfm._encoder.field import EncoderField
from sklearn_deepfm._encoder.hashed import Hashed
from sklearn_deepfm._encoder.vocabulary import Vocabulary
from sklearn_deepfm._serialization.plain_values import Damaged, PlainData
from sklearn_deepfm._tables.columns import Column, ListColumn
from sklearn_deepfm._tables.lists import lists_of

_MEMBERS = {kind.field_kind: kind for kind in (Vocabulary, Hashed)}


@dataclass(frozen=True, eq=False)
class CategoryLists(EncoderField[ListColumn]):
    """A field of lists, whose members `of_members` encodes; with weights or without."""

    of_members: Vocabulary | Hashed

    field_kind, holds_lists = "lists", True

    @property
    def of_values(self) -> EncoderField:
        """The field of the members."""
        return self.of_members

    @property
    def description(self) -> str:
        """The kind of the members in words."""
        return f"lists of {self.of_members.description}"

    @property
    def kind(self) -> str | None:
        """The kind of the lists in words; None until a member has been seen."""
        return None if self.of_members.kind is None else f"lists of {self.of_members.kind}"

    @property
    def n_known(self) -> int:
        return self.of_members.n_known

    @property
    def categories(self) -> pa.Array:
        """The known members in the order of their codes."""
        return self.of_members.categories

    @property
    def representatives(self) -> pa.Array:
        """The value that each code stands for."""
        return self.of_members.representatives

    def after(
        self, column: ListColumn, min_count: float, max_categories: int | None
    ) -> CategoryLists:
        """The field after more lists."""
        members = self.of_members
        members = members.after(members.of_form(column.members), min_count, max_categories)
        return CategoryLists(members)

    def to_plain(self) -> dict[str, PlainData]:
        """The field of the members, with its kind."""
        members = self.of_members
        return {"of_members": {"field": members.field_kind, **members.to_plain()}}

    @classmethod
    def of_plain(cls, state: PlainData) -> CategoryLists:
        """The field from its plain data; raises Damaged if members are no categories."""
        members = dict(state["of_members"])
        kind = members.pop("field", None)
        if kind not in _MEMBERS:
            raise Damaged("lists have members that are no categories")
        return cls(_MEMBERS[kind].of_plain(members))

    def _in_form(self, column: Column | ListColumn) -> ListColumn:
        return column.as_lists(None)

    def decode(
        self, cell: PlainData, position: int, meaning: Callable[[PlainData], object]
    ) -> object:
        """The list of the values of its codes."""
        if not isinstance(cell, list | tuple | np.ndarray):
            raise ValueError(
                f"Column {position} of X must hold lists of codes, and holds {cell!r}."
            )
        return [meaning(m["code"] if isinstance(m, dict) else m) for m in cell]

    def encode(self, column: ListColumn) -> tuple[pa.Array, int]:
        """Lists of codes, or of codes with weights, and how many members fit never saw."""
        codes, n_unseen = self.of_members.encode(column.members)
        members = pa.array(codes.astype(np.int32, copy=False))
        if column.weights is not None:
            weights = pa.array(column.weights.astype(np.float32))
            members = pa.StructArray.from_arrays([members, weights], names=["code", "weight"])
        return lists_of(members, column.starts), n_unseen
