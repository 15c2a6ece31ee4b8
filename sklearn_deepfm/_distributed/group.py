"""Training of one model in several processes, each of which takes a part of every batch."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import sklearn
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sklearn_deepfm._common.fingerprint import describe, fingerprint
from sklearn_deepfm._distributed.joint_norm import normalise_alone, normalise_together
from sklearn_deepfm._distributed.joint_step import JointStep
from sklearn_deepfm._distributed.processes import Processes, join_processes
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Batch, Batches, Inputs, Samples, SampleSet, batch_rows
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep
from sklearn_deepfm._training.training_group import (
    ALONE,
    NetInTraining,
    Shared,
    Stopped,
    TrainingGroup,
    Value,
)

SHARDS = "shards"  # value of `distributed` with which each process has rows of its own
_MAY_DIFFER = {"checkpoint", "device", "verbose"}  # parameters that each process may set


class ProcessGroup(Processes, TrainingGroup):
    """The processes of one fit; their modules are equal, bit for bit, after every step.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None
        None: this process alone.
    has_shards : bool, default=False
        Whether each process has rows of its own; else all have the same rows.
    """

    def __init__(self, group: dist.ProcessGroup | None = None, has_shards: bool = False) -> None:
        super().__init__(group)
        self.has_shards = has_shards

    def of_shards(self, step: str, value: Value) -> list[Value]:
        """Values that cover all rows: one of each process if they have shards, else this one."""
        return self.exchange(step, value) if self.has_shards else [value]

    # Before, between and after epochs

    def begin(self, kind: str, params: Mapping[str, object], random: np.random.RandomState) -> None:
        """Compare parameters and versions, and give all the random state of the first process."""
        if self.size == 1:
            return
        compared = {name: describe(params[name]) for name in params if name not in _MAY_DIFFER}
        self.compare("parameters", {"the estimator": kind, **compared, **_versions()})
        # With random_state=None each process would draw seeds of its own.
        random.set_state(self.of_first("seed", random.get_state(legacy=True)))

    def begin_training(self, shared: Shared) -> None:
        """Compare rows, fields and weights, after which no process may refuse the fit any more."""
        if self.size == 1:
            return
        parts = {
            "training rows": None if self.has_shards else _fingerprints(shared.train),
            "validation rows": None if shared.valid is None else _fingerprints(shared.valid),
            "fields": shared.fields.to_plain(),
            "target": shared.target.to_plain(),
            "weights": None if shared.module is None else _sums_of(shared.module),
        }
        self.compare("rows", {name: fingerprint(part) for name, part in parts.items()})
        # From here on the others wait for sums of tensors, which cannot tell of a refusal.
        self.can_refuse = False

    def agree(self, net: NetInTraining, stops: bool) -> None:
        """End an epoch with the history and learning rate of the first process in all of them.

        Raises
        ------
        Stopped
            In all processes, if any of them stops.
        """
        row = {name: value for name, value in net.history[-1].items() if name != "batches"}
        rates = [group["lr"] for group in net.optimizer_.param_groups]
        given = self.exchange("epoch", (row, rates, stops))
        row, rates, _ = given[0]
        net.history[-1].update(row)
        for group, rate in zip(net.optimizer_.param_groups, rates, strict=True):
            group["lr"] = rate
        if any(stops for _, _, stops in given):
            raise Stopped

    def all_true(self, flag: bool, device: torch.device) -> bool:
        """Whether a flag is true in all processes."""
        if self.size == 1:
            return flag
        (n_true,) = self.add_up([torch.tensor([flag], dtype=torch.float32, device=device)])
        return int(n_true) == self.size

    def end_training(self, module: nn.Module) -> None:
        """Give all processes the weights of the first, should a callback have changed some."""
        if self.size == 1:
            return
        first, *others = self.exchange("weights", _sums_of(module))
        if any(other != first for other in others):
            self.take_over(list(module.state_dict().values()))

    def seen_anywhere(self, seen: Tensor) -> Tensor:
        """Mask of what any process has seen, from the mask of what this one has seen."""
        if not self.has_shards:
            return seen
        (n,) = self.add_up([seen.to(torch.int32)])
        return n > 0

    # In each step

    def step_of(
        self, module: DeepFM, criterion: nn.Module, optimizer: RowSparseAdam, precision: str
    ) -> TrainStep:
        """A step whose gradients are those of the parts of a batch in all processes."""
        # Shards may differ, and then so do the means and variances of their parts of a batch. A
        # single one is normalised as several are: their number is to change as little as it can.
        if self.has_shards:
            normalise_together(module, self.sum_over_batch)
        if self.size == 1:
            return super().step_of(module, criterion, optimizer, precision)
        return JointStep(module, criterion, optimizer, precision, self)

    def leave(self, module: DeepFM) -> None:
        """Let a module compute alone again."""
        normalise_alone(module)

    def sum_over_batch(self, sums: Tensor) -> Tensor:
        """Sums over all rows of a batch, from the sums over this process's part of it."""
        # Times 0, not zeros: backward sums over the processes too, and waits for all of them.
        return self.add_up_with_gradient(sums if self.takes_part else sums * 0)

    def part_of(self, batch: Batch) -> Batch:
        """Part of this process in a batch, with the number of rows of the whole as `n_rows`."""
        if self.size == 1:
            return batch
        n = len(batch[0]["index"])
        own = self._own(n)
        part = batch_rows(batch, own) if own.start < own.stop else _weightless(batch)
        return {**part[0], "n_rows": n}, part[1]

    def concatenated(self, tensor: Tensor, n: int) -> Tensor:
        """Results of all processes for their parts of `n` rows, in the order of ranks."""
        if self.size == 1:
            return tensor
        own = self._own(n)
        return torch.cat(self.gather(tensor[: own.stop - own.start]))

    def _own(self, n: int) -> slice:
        """Positions of this process's part of `n` rows."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def shares_of(self, batches: Batches[Samples] | Batches[DiskBuffer]) -> Shares:
        """Part of this process in each training batch."""
        return Shares(batches, self)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes."""
        if self.size == 1 or not tensors:
            return
        for tensor, total in zip(tensors, self.add_up(tensors), strict=True):
            tensor.copy_(total / self.size)

    def reseed(self, net: NetInTraining) -> None:
        """Seed dropout for the epoch that begins, differently in each process.

        The seed follows from the number of the epoch, so that a fit resumed from a checkpoint
        draws the same. With shards, so does the seed of the order of the rows.
        """
        if self.size == 1:
            return
        device, entropy = net.module_.table.device, [net.module__seed, len(net.history), self.rank]
        seed, of_order = np.random.SeedSequence(entropy).generate_state(2)
        generator = torch.Generator(device).manual_seed(int(seed))
        net.module_.set_random_state({str(device): generator.get_state().numpy()})
        if self.has_shards:
            net.order_.manual_seed(int(of_order))


@contextlib.contextmanager
def process_group_of(distributed: bool | str, device: str) -> Iterator[TrainingGroup]:
    """The processes that fit an estimator together; ALONE unless `distributed` asks for others.

    However a process leaves this context, no other one goes on waiting for it.
    """
    has_shards = isinstance(distributed, str) and distributed == SHARDS
    is_asked = isinstance(distributed, bool | np.bool_) and distributed
    if not has_shards and not is_asked:  # the fit refuses any other value
        yield ALONE
        return
    group = ProcessGroup(join_processes(device, distributed), has_shards)
    try:
        yield group
        group.exchange("end", None)
    except Exception as error:
        group.refuse(error)
        raise
    finally:
        group.close()


class Shares:
    """Parts of this process in the training batches, of which all processes have equally many.

    Parameters
    ----------
    batches : Batches or DiskBatches
        In the same order in all processes; with shards, batches of its own in each.
    group : ProcessGroup
    """

    def __init__(
        self, batches: Batches[Samples] | Batches[DiskBuffer], group: ProcessGroup
    ) -> None:
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
            x, y = batch if self._group.takes_part else _weightless(self.samples.few(1))
            yield {**x, "n_rows": n}, y
        self._group.takes_part = True

    @property
    def has_two_rows_per_batch(self) -> bool:
        """Whether the rows that BatchNorm normalises together are at least two."""
        if self._group.has_shards:
            return bool(self.samples.n_rows_in_all >= 2 * len(self))
        return len(self.samples) >= 2 * len(self) * self._group.size

    def few(self, n: int) -> Inputs:
        """Inputs of up to `n` rows, of which each process takes its part."""
        batch: Batch = self.samples.few(n)
        return (batch if self._group.has_shards else self._group.part_of(batch))[0]


def _weightless(batch: Batch) -> Batch:
    """One row of a batch, with weight 0, since a module cannot run on none."""
    x, y = batch_rows(batch, slice(0, 1))
    weight = torch.zeros(1, dtype=torch.float32, device=x["index"].device)
    return {**x, "weight": weight}, y


def _sums_of(module: nn.Module) -> list[float]:
    """The sum of each of a module's tensors, to tell whether two modules are equal."""
    return [float(tensor.sum(dtype=torch.float64)) for tensor in module.state_dict().values()]


def _fingerprints(samples: SampleSet) -> list[str]:
    """Fingerprints of the chunks of some samples."""
    return [
        fingerprint({name: t.cpu().numpy() for name, t in chunk.named_tensors().items()})
        for chunk in samples.chunks()
    ]


def _versions() -> dict[str, str]:
    """Versions of what may give the same parameters another meaning."""
    return {
        "version of Python": platform.python_version(),
        "version of torch": torch.__version__,
        "version of NumPy": np.__version__,
        "version of scikit-learn": sklearn.__version__,
    }
