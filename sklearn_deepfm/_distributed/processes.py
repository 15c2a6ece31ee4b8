"""Messages between the processes of torchrun, by the collectives of torch.distributed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

TIMEOUT = "SKLEARN_DEEPFM_TIMEOUT"  # environment variable: seconds to wait for each other
_DEFAULT_TIMEOUT, _MOST_SECONDS = "600", 10**7
# gloo beside NCCL: torch exchanges objects on the CPU then.
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_OF_TORCHRUN = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
_REFUSED = "refused"  # the step of a process that an error has ended


class Processes:
    """A group of processes, which call the same methods in the same order, each waiting for all.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None
        None: this process alone.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Number of processes.
    can_refuse : bool
        Whether the others wait for a message of this one, which may be that it refuses.
    takes_part : bool
        Whether this process has a row of the current batch.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.size = 1 if group is None else dist.get_world_size(group)
        self.can_refuse = self.size > 1
        self.takes_part = True

    # Objects

    def exchange(self, step: str, value: Value) -> list[Value]:
        """The values that the processes give at a step, in the order of ranks.

        Raises
        ------
        RuntimeError
            If a process has refused to go on, or is at another step.
        """
        if self.size == 1:
            return [value]
        given: list[tuple[str, Value]] = [(step, value)] * self.size
        with self._explained():
            dist.all_gather_object(given, (step, value), group=self._group)
        for rank, (at, said) in enumerate(given):
            if at == step:
                continue
            self.can_refuse = False
            if at == _REFUSED:
                raise RuntimeError(
                    f"The fit ends in all {self.size} processes, since process {rank} has refused "
                    f"it: {said}"
                )
            raise RuntimeError(
                f"Process {rank} is at the step {at!r} of a fit and process {self.rank} at "
                f"{step!r}: in a distributed fit all processes make the same calls."
            )
        return [said for _, said in given]

    def of_first(self, step: str, value: Value) -> Value:
        """The value that the first process gives at a step."""
        self.exchange(step, None)  # raises if another process refuses or is at another step
        given = [value]
        if self.size > 1:
            with self._explained():
                dist.broadcast_object_list(given, 0, group=self._group)
        return given[0]

    def compare(self, step: str, facts: Mapping[str, object]) -> None:
        """Make sure that facts are the same in all processes.

        Raises
        ------
        ValueError
            In all processes, if they differ.
        """
        first, *others = self.exchange(step, facts)
        for rank, other in enumerate(others, start=1):
            # Two versions, or two classes, may have facts that the other one lacks.
            for name in {**first, **other}:
                one, another = (facts.get(name, "none") for facts in (first, other))
                if one != another:
                    raise ValueError(
                        f"{name} must be the same in all processes of a distributed fit, got "
                        f"{one} in process 0 and {another} in process {rank}. Give all "
                        f"of them the same, and run the same versions; training rows, and nothing "
                        f"else, may be others with distributed='shards'."
                    )

    # Tensors

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums of tensors over the processes, bit for bit the same in all."""
        # One message for all tensors, since the processes wait for each other in each.
        bucket = torch.cat([tensor.flatten() for tensor in tensors])
        with self._explained():
            dist.all_reduce(bucket, group=self._group)
        parts = bucket.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def add_up_with_gradient(self, tensor: Tensor) -> Tensor:
        """Sum of a tensor over the processes, with gradient; their losses are added up too."""
        total: Tensor = _Sum.apply(tensor, self)  # type: ignore[no-untyped-call]
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all processes, whose lengths may differ."""
        lengths = torch.cat(self._all_gather(torch.tensor([len(tensor)], device=tensor.device)))
        # Padded, as all_gather takes tensors of one shape.
        longest = tensor.new_zeros(int(lengths.max()), *tensor.shape[1:])
        longest[: len(tensor)] = tensor
        parts = self._all_gather(longest)
        return [part[:n] for part, n in zip(parts, lengths.tolist(), strict=True)]

    def _all_gather(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._explained():
            dist.all_gather(parts, tensor, group=self._group)
        return parts

    def take_over(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        with self._explained():
            for tensor in tensors:
                dist.broadcast(tensor, 0, group=self._group)

    # When something goes wrong

    def refuse(self, error: Exception) -> None:
        """Tell the others, who wait for this process, what has ended its fit."""
        if self.can_refuse:
            # Where the others are at another step, this raises here too.
            with contextlib.suppress(RuntimeError):
                self.exchange(_REFUSED, f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Leave the group; processes that still wait for this one get an error."""
        if self._group is not None:
            dist.destroy_process_group(self._group)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of torch.distributed into one that says what another process did."""
        try:
            yield
        except RuntimeError as error:
            self.can_refuse = False
            is_late = "timed out" in str(error).lower()
            raise RuntimeError(
                f"Process {self.rank} of {self.size} ends its fit, since another one "
                f"{f'has not answered for {timeout()}' if is_late else 'has ended'}: look at what "
                f"that one said before; if nothing, it was killed, or hangs. torch.distributed "
                f"says: {str(error).splitlines()[0]}"
            ) from error


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient of each part is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, processes: Processes) -> Tensor:  # type: ignore[override]
        context.processes = processes
        return processes.add_up([tensor])[0]

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return context.processes.add_up([grad])[0], None


def timeout() -> timedelta:
    """How long processes wait for each other.

    Raises
    ------
    ValueError
        If the environment variable for it is no number of seconds within the limits.
    """
    said = os.environ.get(TIMEOUT, _DEFAULT_TIMEOUT)
    try:
        seconds = float(said)
        if not 1 <= seconds <= _MOST_SECONDS:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"The environment variable {TIMEOUT} must be a number of seconds from 1 to "
            f"{_MOST_SECONDS}, for which processes wait for each other, got {said!r}."
        ) from None
    return timedelta(seconds=seconds)


def join_processes(device: str, asked: bool | str = True) -> dist.ProcessGroup:
    """Make a group of the processes of torchrun, which they can leave and stay in all others.

    Parameters
    ----------
    device : str
        Device of the tensors, as the parameter `device` names it.
    asked : True or "shards"
        The value of the parameter `distributed`.

    Raises
    ------
    ValueError
        If torchrun has not started this process, or no backend serves the device.
    RuntimeError
        If the other processes do not join within the timeout.
    """
    missing = [name for name in _OF_TORCHRUN if name not in os.environ]
    if missing and not dist.is_initialized():
        raise ValueError(
            f"distributed={asked!r} needs a process that torchrun has started, which sets "
            f"{', '.join(missing)}. Run `torchrun --nproc-per-node 2 program.py`, or set "
            f"distributed=False."
        )
    backend = _backend(device)
    try:
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=timeout())
        group: dist.ProcessGroup = dist.new_group(backend=backend, timeout=timeout())
        return group
    except RuntimeError as error:
        raise RuntimeError(
            f"Not all processes have called fit within {timeout()}, or they cannot reach each "
            f"other. torch.distributed says: {str(error).splitlines()[0]}"
        ) from error


def _backend(device: str) -> str:
    """Name of the backend for a device; each process of a machine gets a GPU of its own."""
    kind, _, number = str(device).partition(":")
    if kind == "auto" and not torch.backends.mps.is_available():
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in _BACKENDS:
        raise ValueError(
            f"device must be 'cpu' or 'cuda' with distributed=True, since torch.distributed moves "
            f"no tensors of others, got {device!r}."
        )
    if kind == "cuda" and not number:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return _BACKENDS[kind]
