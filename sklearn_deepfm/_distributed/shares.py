"""Shares: the part of each training batch that is one process's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from sklearn_deepfm._samples.samples import Batch, batch_rows

if TYPE_CHECKING:
    from sklearn_deepfm._distributed.group import ProcessGroup


class Shares:
    """The part of each batch that is a process's; all have equally many of them.

    Parameters
    ----------
    batches : Batches or DiskBatches
        In the same order in all processes; of shards their own.
    group : ProcessGroup
    """

    def __init__(self, batches: Any, group: ProcessGroup) -> None:
        self.samples = batches.samples
        self._batches, self._group = batches, group

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        if not self._group.has_shards:
            yield from map(self._group.part_of, self._batches)
            return
        sizes = self._batches.sizes_in_all()
        for batch, n in zip(self._batches, sizes, strict=True):
            self._group.takes_part = len(batch[0]["index"]) > 0
            x, y = batch if self._group.takes_part else weightless(self.samples.few(1))
            yield {**x, "n_rows": n}, y
        self._group.takes_part = True

    @property
    def have_pairs(self) -> bool:
        """Whether what is normalised together has two rows at least."""
        if self._group.has_shards:
            return bool(self.samples.n_in_all >= 2 * len(self))
        return len(self.samples) >= 2 * len(self) * self._group.size

    def few(self, n: int) -> dict[str, Any]:
        """Inputs of up to `n` rows, of which each process takes its part."""
        batch: Batch = self.samples.few(n)
        return (batch if self._group.has_shards else self._group.part_of(batch))[0]


def weightless(batch: Batch) -> Batch:
    """A row of a batch that weighs nothing: the module wants one."""
    x, y = batch_rows(batch, slice(0, 1))
    return {**x, "weight": torch.zeros(1, device=x["index"].device)}, y
