"""List fields: each member of a list has a code of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sklearn_deepfm._encoder.hashed import Hashed
from sklearn_deepfm._encoder.vocabulary import Vocabulary
from sklearn_deepfm._tables.lists import lists_of
from sklearn_deepfm._tables.table import ListColumn


@dataclass(frozen=True, eq=False)
class CategoryLists:
    """A field of lists, whose members `of_members` encodes; with weights or without."""

    of_members: Vocabulary | Hashed

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

    def encode(self, column: ListColumn) -> tuple[pa.Array, int]:
        """Lists of codes, or of codes with weights, and how many members fit never saw."""
        codes, n_unseen = self.of_members.encode(column.members)
        members = pa.array(codes.astype(np.int32, copy=False))
        if column.weights is not None:
            weights = pa.array(column.weights.astype(np.float32))
            members = pa.StructArray.from_arrays([members, weights], names=["code", "weight"])
        return lists_of(members, column.starts), n_unseen
