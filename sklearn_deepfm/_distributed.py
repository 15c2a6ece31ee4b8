"""Processes that train one model together: torchrun starts them, torch.distributed joins them."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import sklearn
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sklearn_deepfm._batches import Batch, Samples, rows_of
from sklearn_deepfm._fingerprint import described, fingerprint
from sklearn_deepfm._touched import DistinctRows, Touched

TIMEOUT = timedelta(minutes=10)  # for which processes wait for each other
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_OF_TORCHRUN = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
_OF_A_PROCESS = {"checkpoint", "device", "verbose"}  # parameters that may differ
_REFUSED = "refused"  # the step of a process that an error has ended


class Stopped(KeyboardInterrupt):
    """All processes end training after the same epoch; skorch takes it as the end in order."""


class Group:
    """The processes of a fit, and what they tell each other.

    All of them call the same methods in the same order, and wait for each other in each.

    Parameters
    ----------
    processes : ProcessGroup or None
        None: this process, which is alone.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Number of processes.
    """

    def __init__(self, processes: Any = None) -> None:
        self._processes = processes
        self.rank = 0 if processes is None else dist.get_rank(processes)
        self.size = 1 if processes is None else dist.get_world_size(processes)
        self._answers = self.size > 1  # while the others would wait for an answer
        self._distinct = DistinctRows()

    # Before and between epochs

    def exchange(self, step: str, value: Any = None) -> list[Any]:
        """What each process gives at a step, in the order of ranks.

        Raises
        ------
        RuntimeError
            If an error has ended the fit of a process, or processes are at different steps.
        """
        if self.size == 1:
            return [value]
        answers: list[Any] = [None] * self.size
        with self._explained():
            dist.all_gather_object(answers, (step, value), group=self._processes)
        for rank, (at, said) in enumerate(answers):
            if at == step:
                continue
            self._answers = False
            if at == _REFUSED:
                raise RuntimeError(
                    f"The fit ends in all {self.size} processes, since process {rank} has refused "
                    f"it: {said}"
                )
            raise RuntimeError(
                f"Process {rank} is at the step {at!r} of a fit and process {self.rank} at "
                f"{step!r}: with distributed=True all processes make the same calls."
            )
        return [said for _, said in answers]

    def of_first(self, step: str, value: Any) -> Any:
        """What the first process gives at a step."""
        self.exchange(step)
        given = [value]
        if self.size > 1:
            with self._explained():
                dist.broadcast_object_list(given, 0, group=self._processes)
        return given[0]

    def compare(self, step: str, facts: dict[str, Any]) -> None:
        """Make sure that facts are the same in all processes.

        Raises
        ------
        ValueError
            If they are not, in all processes.
        """
        first, *others = self.exchange(step, facts)
        for rank, other in enumerate(others, start=1):
            for name in (*first, *other):
                here, there = first.get(name), other.get(name)
                if here != there:
                    raise ValueError(
                        f"{name} must be the same in all processes with distributed=True, got "
                        f"{here} in process 0 and {there} in process {rank}. Give all of them the "
                        f"same rows and parameters, and run them with the same versions."
                    )

    def begin(self, estimator: Any, random: np.random.RandomState) -> None:
        """Compare parameters and versions, and let all draw as the first process does."""
        if self.size == 1:
            return
        params = estimator.get_params(deep=False)
        compared = {name: described(params[name]) for name in params if name not in _OF_A_PROCESS}
        self.compare("parameters", {**compared, **_versions()})
        random.set_state(self.of_first("seed", random.get_state(legacy=True)))

    def begin_training(self, estimator: Any, train: Samples, valid: Samples | None) -> None:
        """Compare all that training begins with, the last step that a process may refuse."""
        net = estimator.net_
        net.group = self
        if self.size == 1:
            return
        parts = {
            "training rows": _arrays(train),
            "validation rows": None if valid is None else _arrays(valid),
            "fields": estimator._fields.to_plain(),
            "target": estimator._target.to_plain(),
            "weights": sums_of(net.module_) if net.initialized_ else None,
        }
        self.compare("rows", {name: fingerprint(part) for name, part in parts.items()})
        self._answers = False

    def agree(self, net: Any, stops: bool) -> None:
        """End an epoch of a net with one history and learning rate, those of the first process.

        Raises
        ------
        Stopped
            If any of them stops.
        """
        row = {name: value for name, value in net.history[-1].items() if name != "batches"}
        rates = [group["lr"] for group in net.optimizer_.param_groups]
        answers = self.exchange("epoch", (row, rates, stops))
        row, rates, _ = answers[0]
        net.history[-1].update(row)
        for group, rate in zip(net.optimizer_.param_groups, rates, strict=True):
            group["lr"] = rate
        if any(stops for _, _, stops in answers):
            raise Stopped

    def end_training(self, module: nn.Module) -> None:
        """End with the same weights, those of the first process where they differ."""
        if self.size == 1:
            return
        first, *others = self.exchange("weights", sums_of(module))
        if all(other == first for other in others):
            return
        for tensor in module.state_dict().values():
            with self._explained():
                dist.broadcast(tensor, 0, group=self._processes)

    # In each step

    def merge(self, module: Any, loss: Tensor) -> Tensor:
        """Sum gradients over the processes, and their parts of a loss.

        Of a row-sparse table, `module.touched` becomes the rows that any of them has touched.

        Returns
        -------
        loss : Tensor of shape ()
        """
        parameters = [p for p in module.parameters() if p.grad is not None]
        if module.touched is not None:
            self._join_touched(module)
            parameters.append(module.touched.rows)
        grads = [p.grad for p in parameters]
        bucket = torch.cat([loss.detach().view(1), *(grad.flatten() for grad in grads)])
        with self._explained():
            dist.all_reduce(bucket, group=self._processes)
        loss, *parts = bucket.split([1, *(grad.numel() for grad in grads)])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return loss[0]

    def _join_touched(self, module: Any) -> None:
        table, touched = module.table.detach(), module.touched
        parts = self._gather(touched.positions)
        positions, slot = self._distinct.in_order(len(table), torch.cat(parts))
        own = slot.split([len(part) for part in parts])[self.rank]
        rows = table.index_select(0, positions).requires_grad_()
        rows.grad = torch.zeros_like(table[:1]).expand_as(rows).index_add(0, own, touched.rows.grad)
        module.touched = Touched(positions, rows)

    def part_of(self, batch: Batch) -> Batch:
        """Rows of a batch that are this process's, and how many there are in all, `n_rows`."""
        if self.size == 1:
            return batch
        n = len(batch[0]["index"])
        rows = slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)
        x, y = rows_of(batch, rows)
        return {**x, "n_rows": n}, y

    def concatenated(self, tensor: Tensor) -> Tensor:
        """The parts of all processes, in the order of ranks."""
        return tensor if self.size == 1 else torch.cat(self._gather(tensor))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes."""
        if self.size == 1 or not tensors:
            return
        bucket = torch.cat([tensor.flatten() for tensor in tensors])
        with self._explained():
            dist.all_reduce(bucket, group=self._processes)
        parts = bucket.div_(self.size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def reseed(self, net: Any) -> None:
        """Let dropout draw other units in each process, for the epoch that begins.

        Its number says which, so that a fit that goes on from a checkpoint draws the same.
        """
        if self.size == 1:
            return
        device, entropy = net.module_.table.device, [net.module__seed, len(net.history), self.rank]
        (seed,) = np.random.SeedSequence(entropy).generate_state(1)
        generator = torch.Generator(device).manual_seed(int(seed))
        net.module_.set_random_state({str(device): generator.get_state().numpy()})

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all processes, whose lengths may differ."""
        lengths = torch.cat(self._all_gather(torch.tensor([len(tensor)], device=tensor.device)))
        longest = tensor.new_zeros(int(lengths.max()), *tensor.shape[1:])
        longest[: len(tensor)] = tensor
        parts = self._all_gather(longest)
        return [part[:n] for part, n in zip(parts, lengths.tolist(), strict=True)]

    def _all_gather(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._explained():
            dist.all_gather(parts, tensor, group=self._processes)
        return parts

    # When something goes wrong

    def refuse(self, error: Exception) -> None:
        """Tell the others, who wait for this process, what has ended its fit."""
        if self._answers:
            with contextlib.suppress(RuntimeError):
                self.exchange(_REFUSED, f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Leave; the others notice, should they still wait for this process."""
        if self._processes is not None:
            dist.destroy_process_group(self._processes)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._answers = False
            raise RuntimeError(
                f"Process {self.rank} of {self.size} ends its fit, since another process has: it "
                f"was killed, interrupted, stopped by an error that it has told of, or did not "
                f"answer for {TIMEOUT}. What torch.distributed says: {str(error).splitlines()[0]}"
            ) from error


ALONE = Group()


@contextlib.contextmanager
def group_of(estimator: Any) -> Iterator[Group]:
    """The processes that fit an estimator together; this one alone unless it is `distributed`.

    However a process leaves, none of the others goes on waiting for it.

    Raises
    ------
    ValueError
        If torchrun has not started this process.
    RuntimeError
        If the others cannot be reached, or one of them fails.
    """
    if not isinstance(estimator.distributed, bool | np.bool_) or not estimator.distributed:
        yield ALONE
        return
    group = _joined(estimator.device)
    try:
        yield group
        group.exchange("end")
    except Exception as error:
        group.refuse(error)
        raise
    finally:
        group.close()


class Shares:
    """The part of each batch that is a process's; all have equally many of them.

    Parameters
    ----------
    batches : Batches or SpooledBatches
        In the same order in all processes.
    group : Group
    """

    def __init__(self, batches: Any, group: Group) -> None:
        self.samples = batches.samples
        self._batches, self._group = batches, group

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return map(self._group.part_of, self._batches)


def sums_of(module: nn.Module) -> list[float]:
    """A number for each of a module's tensors, to tell whether two have the same."""
    return [float(tensor.sum(dtype=torch.float64)) for tensor in module.state_dict().values()]


def _joined(device: Any) -> Group:
    """A group of its own for each fit, so that it can be left without the user's."""
    missing = [name for name in _OF_TORCHRUN if name not in os.environ]
    if not dist.is_available() or (missing and not dist.is_initialized()):
        raise ValueError(
            f"distributed=True needs a process that torchrun has started, which sets "
            f"{', '.join(missing)}. Run `torchrun --nproc-per-node 2 program.py`, or set "
            f"distributed=False."
        )
    backend = _backend(device)
    try:
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=TIMEOUT)
        return Group(dist.new_group(backend=backend, timeout=TIMEOUT))
    except RuntimeError as error:
        raise RuntimeError(
            f"Not all processes have called fit within {TIMEOUT}, or they cannot reach each "
            f"other. What torch.distributed says: {str(error).splitlines()[0]}"
        ) from error


def _backend(device: Any) -> str:
    """What moves tensors on a device; each process of a machine gets a GPU of its own."""
    kind, _, number = str(device).partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not number:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if kind not in _BACKENDS:
        raise ValueError(
            f"device must be 'cpu' or 'cuda' with distributed=True, which has no way to move "
            f"tensors of others, got {device!r}."
        )
    return _BACKENDS[kind]


def _arrays(samples: Samples) -> list[dict[str, np.ndarray]]:
    return [
        {name: tensor.cpu().numpy() for name, tensor in chunk.named_tensors().items()}
        for chunk in samples.chunks()
    ]


def _versions() -> dict[str, str]:
    """Of what may make the same parameters mean another thing."""
    return {
        "version of Python": platform.python_version(),
        "version of torch": torch.__version__,
        "version of NumPy": np.__version__,
        "version of scikit-learn": sklearn.__version__,
    }
