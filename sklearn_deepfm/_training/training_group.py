"""The processes that train one model, as training sees them: here one process, alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_deepfm._samples.samples import Batch, Batches, Samples


class Stopped(KeyboardInterrupt):
    """All processes end training after the same epoch; skorch takes it as the end in order."""


class TrainingGroup:
    """A group of one process, which has nobody to ask or to tell.

    `_distributed` derives the group of several processes from it. Training calls these methods
    at the same places in both cases and never asks how many processes there are to decide
    what a step does.

    Attributes
    ----------
    rank : int
        Number of this process; the first one, 0, prints and writes files.
    size : int
        Number of processes.
    has_shards : bool
        Whether each of them has rows of its own, as opposed to the same ones.
    """

    rank: int = 0
    size: int = 1
    has_shards: bool = False

    # Facts

    def of_first(self, step: str, value: Any) -> Any:
        """What the first process gives at a step."""
        return value

    def of_shards(self, step: str, value: Any) -> list[Any]:
        """What is known of all rows: a part of each process if they have shards, else one."""
        return [value]

    def compare(self, step: str, facts: dict[str, Any]) -> None:
        """Make sure that facts are the same in all processes."""

    # Before, between and after epochs

    def begin(self, estimator: Any, random: np.random.RandomState) -> None:
        """Compare parameters and versions, and let all draw as the first process does."""

    def begin_training(self, estimator: Any, train: Samples, valid: Samples | None) -> None:
        """Compare all that training begins with, the last step that a process may refuse."""
        estimator.net_.group = self

    def agree(self, net: Any, stops: bool) -> None:
        """End an epoch of a net with one history and learning rate, those of the first process."""

    def agrees(self, flag: bool, device: torch.device) -> bool:
        """Whether all processes say yes."""
        return flag

    def end_training(self, module: nn.Module) -> None:
        """End with the same weights in all processes."""

    def seen_in_shards(self, seen: Tensor) -> Tensor:
        """What any process has seen, of a mask of what this one has."""
        return seen

    def reseed(self, net: Any) -> None:
        """Let dropout draw other units in each process, for the epoch that begins."""

    # In each step

    def shares_of(self, batches: Batches) -> Any:
        """The part of each training batch that is this process's."""
        return batches

    def part_of(self, batch: Batch) -> Batch:
        """Rows of a batch that are this process's."""
        return batch

    def concatenated(self, tensor: Tensor, n: int) -> Tensor:
        """What all processes have made of their parts of `n` rows, in the order of ranks."""
        return tensor

    def merge(self, module: Any, loss: Tensor) -> Tensor:
        """Sum gradients over the processes, and their parts of a loss."""
        return loss

    def of_joint_batch(self, sums: Tensor) -> Tensor:
        """Sums over the rows of a batch, of the parts of all processes that have any."""
        return sums

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes."""


ALONE = TrainingGroup()
