"""The group of processes that train one model, as training sees it: here a group of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence, Sized
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Batch, Batches, Inputs, Samples, SampleSet
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep

Value = TypeVar("Value")


class NetInTraining(Protocol):
    """The parts of a net that processes keep equal."""

    history: list[MutableMapping[str, Any]]
    module_: DeepFM
    module__seed: int
    optimizer_: torch.optim.Optimizer
    order_: torch.Generator


class Shared(NamedTuple):
    """What processes have to have in common when training begins.

    `module` is None for a net that is yet to be built.
    """

    fields: Fields
    target: Target
    module: DeepFM | None
    train: SampleSet
    valid: Samples | None


class EpochBatches(Iterable[Batch], Sized, Protocol):
    """Batches of one epoch, and some rows of them."""

    @property
    def samples(self) -> SampleSet:
        """The rows of all batches of this process."""
        ...

    @property
    def has_two_rows_per_batch(self) -> bool:
        """Whether each batch has two rows at least, so that hidden units have a variance."""
        ...

    def few(self, n: int) -> Inputs:
        """Inputs of up to `n` rows, spread over all."""
        ...


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

    def of_first(self, step: str, value: Value) -> Value:
        """The value that the first process gives at a step."""
        return value

    def of_shards(self, step: str, value: Value) -> list[Value]:
        """Values that cover all rows: one of each process if they have shards, else this one."""
        return [value]

    def compare(self, step: str, facts: Mapping[str, object]) -> None:
        """Make sure that facts are the same in all processes."""

    # Before, between and after epochs

    def begin(self, kind: str, params: Mapping[str, object], random: np.random.RandomState) -> None:
        """Compare parameters and versions, and give all the random state of the first process."""

    def begin_training(self, shared: Shared) -> None:
        """Compare rows, fields and weights, after which no process may refuse the fit any more."""

    def agree(self, net: NetInTraining, stops: bool) -> None:
        """End an epoch with the history and learning rate of the first process in all of them."""

    def all_true(self, flag: bool, device: torch.device) -> bool:
        """Whether a flag is true in all processes."""
        return flag

    def end_training(self, module: nn.Module) -> None:
        """End with the same weights in all processes."""

    def seen_anywhere(self, seen: Tensor) -> Tensor:
        """Mask of what any process has seen, from the mask of what this one has seen."""
        return seen

    def reseed(self, net: NetInTraining) -> None:
        """Seed dropout for the epoch that begins, differently in each process."""

    # In each step

    def shares_of(self, batches: Batches[Samples] | Batches[DiskBuffer]) -> EpochBatches:
        """Part of this process in each training batch."""
        return batches

    def part_of(self, batch: Batch) -> Batch:
        """Part of this process in a batch."""
        return batch

    def concatenated(self, tensor: Tensor, n: int) -> Tensor:
        """Results of all processes for their parts of `n` rows, in the order of ranks."""
        return tensor

    def step_of(
        self, module: DeepFM, criterion: nn.Module, optimizer: RowSparseAdam, precision: str
    ) -> TrainStep:
        """The step that trains a module."""
        return TrainStep(module, criterion, optimizer, precision)

    def leave(self, module: DeepFM) -> None:
        """Let a module compute alone again."""

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes."""


ALONE = TrainingGroup()
