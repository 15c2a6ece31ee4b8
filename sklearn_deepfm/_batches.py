"""Samples as tensors, and batches that are slices of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Batch = tuple[dict[str, Tensor], Tensor | None]


@dataclass(frozen=True)
class Samples:
    """A set of samples in tensors of equal length.

    Parameters
    ----------
    index : Tensor of shape (n_samples, n_fields)
    value : Tensor of shape (n_samples, n_numeric_fields) or None
    y : Tensor of shape (n_samples,) or None
    weight : Tensor of shape (n_samples,) or None
        Weights of mean 1; None where all are 1.
    device : str or None
        Where rows go when they are taken; None leaves them where the tensors are.
    """

    index: Tensor
    value: Tensor | None = None
    y: Tensor | None = None
    weight: Tensor | None = None
    device: str | None = None

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: str) -> "Samples":
        """The samples on a device; a GPU that has no room for them gets each batch anew."""
        tensors = (self.index, self.value, self.y, self.weight)
        n_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)
        if device.startswith("cuda") and n_bytes > _room(device):
            return replace(self, device=device)

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Samples(self.index.to(device), move(self.value), move(self.y), move(self.weight))

    def take(self, rows: Tensor | slice) -> Batch:
        """Inputs, with the weight among them if there is one, and targets."""
        named = {"index": self.index, "value": self.value, "weight": self.weight}
        x = {name: self._rows(tensor, rows) for name, tensor in named.items() if tensor is not None}
        return x, None if self.y is None else self._rows(self.y, rows)

    def _rows(self, tensor: Tensor, rows: Tensor | slice) -> Tensor:
        taken = tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
        if self.device is None:
            return taken
        return taken.pin_memory().to(self.device, non_blocking=True)


def _room(device: str) -> int:
    """Bytes of a GPU's memory that samples may take: half of what is free."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free // 2


class Batches:
    """Batches of nearly equal size, so that none is left with a single row.

    Parameters
    ----------
    samples : Samples
    batch_size : int
        Largest number of rows in a batch; sizes differ by at most 1.
    generator : torch.Generator or None
        Shuffles the rows anew at each pass; None keeps their order.
    """

    def __init__(
        self, samples: Samples, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._generator = generator

    def __len__(self) -> int:
        return -(-len(self._samples) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n, n_batches = len(self._samples), len(self)
        order = None
        if self._generator is not None:
            order = torch.randperm(n, generator=self._generator).to(self._samples.index.device)
        for i in range(n_batches):
            part = slice(i * n // n_batches, (i + 1) * n // n_batches)
            yield self._samples.take(part if order is None else order[part])
