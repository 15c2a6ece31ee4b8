"""The group of processes that train one model, as training sees it: here a group of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_deepfm._model.touched_rows import TouchedRows
from sklearn_deepfm._samples.samples import Batch, Batches, Samples


class Stopped(KeyboardInterrupt):
    """Raised in all processes after the same epoch; skorch takes it as a regular end."""


class TrainingGroup:
    """A group of one process, whose methods have nothing to exchange.

    `_distributed` derives the group of several processes from it. Training calls the same
    methods at the same places in both cases.

    Attributes
    ----------
    rank : int
        Number of this process; the first one, 0, prints and writes files.
    size : int
        Number of processes.
    has_shards : bool
        Whether each process has rows of its own; else all have the same rows.
    """

    rank: int = 0
    size: int = 1
    has_shards: bool = False

    # Facts

    def of_first(self, step: str, value: Any) -> Any:
        """The value that the first process gives at a step."""
        return value

    def of_shards(self, step: str, value: Any) -> list[Any]:
        """Values that cover all rows: one of each process if they have shards, else this one."""
        return [value]

    def compare(self, step: str, facts: dict[str, Any]) -> None:
        """Make sure that facts are the same in all processes."""

    # Before, between and after epochs

    def begin(self, estimator: Any, random: np.random.RandomState) -> None:
        """Compare parameters and versions, and give all the random state of the first process."""

    def begin_training(self, estimator: Any, train: Samples, valid: Samples | None) -> None:
        """Compare rows, fields and weights, after which no process may refuse the fit any more."""
        estimator.net_.group = self

    def agree(self, net: Any, stops: bool) -> None:
        """End an epoch with the history and learning rate of the first process in all of them."""

    def all_true(self, flag: bool, device: torch.device) -> bool:
        """Whether a flag is true in all processes."""
        return flag

    def end_training(self, module: nn.Module) -> None:
        """End with the same weights in all processes."""

    def seen_anywhere(self, seen: Tensor) -> Tensor:
        """Mask of what any process has seen, from the mask of what this one has seen."""
        return seen

    def reseed(self, net: Any) -> None:
        """Seed dropout for the epoch that begins, differently in each process."""

    # In each step

    def shares_of(self, batches: Batches) -> Any:
        """Part of this process in each training batch."""
        return batches

    def part_of(self, batch: Batch) -> Batch:
        """Part of this process in a batch."""
        return batch

    def concatenated(self, tensor: Tensor, n: int) -> Tensor:
        """Results of all processes for their parts of `n` rows, in the order of ranks."""
        return tensor

    def merge(
        self, module: Any, loss: Tensor, touched: TouchedRows | None
    ) -> tuple[Tensor, TouchedRows | None]:
        """Sum the gradients, and the parts of a loss, over the processes."""
        return loss, touched

    def sum_over_batch(self, sums: Tensor) -> Tensor:
        """Sums over all rows of a batch, from the sums over this process's part of it."""
        return sums

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes."""


ALONE = TrainingGroup()
