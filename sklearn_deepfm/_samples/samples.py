"""Samples: rows of data as tensors, and batches that are slices of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._samples.rows import Rows
from sklearn_deepfm._targets.target import Target

Inputs: TypeAlias = dict[str, Any]  # tensors and bags by name
Batch: TypeAlias = tuple[Inputs, Tensor | None]

Part = TypeVar("Part", Tensor, Bags)

_TENSORS = "index", "value", "y", "weight", "member"


class SampleSet(Protocol):
    """Samples in memory or on disk, as training reads them."""

    def __len__(self) -> int: ...

    @property
    def n_rows_in_all(self) -> int:
        """Number of rows of all processes together."""
        ...

    def few(self, n: int) -> Batch:
        """Inputs and targets of up to `n` rows, spread over all."""
        ...

    def chunks(self) -> Iterator[Samples]:
        """All samples in their order, chunk by chunk."""
        ...


S = TypeVar("S", bound=SampleSet)


@dataclass(frozen=True)
class Samples:
    """A set of samples in tensors of equal length.

    Parameters
    ----------
    index : Tensor of shape (n_samples, n_fields - n_bags)
    value : Tensor of shape (n_samples, n_numeric_fields) or None
    y : Tensor of shape (n_samples,) or (n_samples, n_outputs) or None
    weight : Tensor of shape (n_samples,) or (n_samples, n_members) or None
        Weights of mean 1, one per sample or one per member; None where all are 1.
    member : Tensor of shape (n_samples,), int64, or None
        The member that validates with each sample; None: all members together.
    bags : Bags or None
        The list fields.
    device : str or None
        Where rows go when they are taken; None leaves them where the tensors are.
    """

    index: Tensor
    value: Tensor | None = None
    y: Tensor | None = None
    weight: Tensor | None = None
    member: Tensor | None = None
    bags: Bags | None = None
    device: str | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_rows_in_all(self) -> int:
        """Number of rows over all processes, each of which has the same rows."""
        return len(self)

    def to(self, device: str) -> Samples:
        """The samples on a device; to a GPU without room for them each batch is sent when taken."""
        parts = {name: getattr(self, name) for name in (*_TENSORS, "bags")}
        parts = {name: part for name, part in parts.items() if part is not None}
        if device.startswith("cuda") and sum(p.nbytes for p in parts.values()) > _room(device):
            return replace(self, device=device)
        return Samples(**{name: part.to(device) for name, part in parts.items()})

    def named_tensors(self) -> dict[str, Tensor]:
        """The tensors by name, those of the bags as "bags.members" and so on."""
        parts = {name: getattr(self, name) for name in _TENSORS}
        if self.bags is not None:
            parts |= {f"bags.{name}": part for name, part in self.bags._asdict().items()}
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def of_named_tensors(cls, tensors: dict[str, Tensor]) -> Samples:
        """Samples from the tensors that `named_tensors` gives."""
        of_bags = {name: tensors.get(f"bags.{name}") for name in Bags._fields}
        bags = None if of_bags["starts"] is None else Bags(**of_bags)  # type: ignore[arg-type]
        return cls(**{name: tensors.get(name) for name in _TENSORS}, bags=bags)  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: list[Samples]) -> Samples:
        """Samples one after the other."""
        first = parts[0]
        tensors = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in _TENSORS
            if getattr(first, name) is not None
        }
        bags = None
        if first.bags is not None:
            bags = Bags.concatenate([part.bags for part in parts if part.bags is not None])
        return cls(**tensors, bags=bags, device=first.device)

    def rows(self, rows: Tensor | slice) -> Samples:
        """Some of the samples."""
        tensors = {
            name: _rows(tensor, rows)
            for name in _TENSORS
            if (tensor := getattr(self, name)) is not None
        }
        bags = None if self.bags is None else self.bags.of_samples(rows, self._n_bags)
        return Samples(**tensors, bags=bags, device=self.device)

    def few(self, n: int) -> Batch:
        """Inputs and targets of up to `n` rows, spread over all."""
        n = min(n, len(self))
        return self.take(torch.arange(n, device=self.index.device) * len(self) // n)

    def chunks(self) -> Iterator[Samples]:
        """All samples, at once."""
        return iter([self])

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Batches[Samples]:
        """Batches in their order, or in random order."""
        return Batches(self, batch_size, generator)

    @property
    def _n_bags(self) -> int:
        return 0 if self.bags is None else (len(self.bags.starts) - 1) // len(self)

    def take(self, rows: Tensor | slice) -> Batch:
        """Inputs, with the weight among them if there is one, and targets."""
        named = {name: getattr(self, name) for name in ("index", "value", "weight", "member")}
        x: Inputs = {
            name: self._sent(_rows(tensor, rows))
            for name, tensor in named.items()
            if tensor is not None
        }
        if self.bags is not None:
            x["bags"] = self._sent(self.bags.of_samples(rows, self._n_bags))
        return x, None if self.y is None else self._sent(_rows(self.y, rows))

    def _sent(self, part: Part) -> Part:
        """A part on its way to the device; pinned memory lets the copy run in the background."""
        return part if self.device is None else part.pin_memory().to(self.device, non_blocking=True)


def _rows(tensor: Tensor, rows: Tensor | slice) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)


def batch_rows(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch."""
    x, y = batch
    part = {}
    for name, of_all in x.items():
        if isinstance(of_all, Bags):
            part[name] = of_all.of_samples(rows, (len(of_all.starts) - 1) // len(x["index"]))
        else:
            part[name] = of_all[rows]
    return part, None if y is None else y[rows]


def _room(device: str) -> int:
    """Bytes of a GPU's memory that samples may take: half of what is free."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free // 2


class Batches(Generic[S]):
    """Batches of nearly equal size, so that none is left with a single row.

    Parameters
    ----------
    samples : Samples or DiskBuffer
    batch_size : int
        Largest number of rows in a batch; sizes differ by at most 1.
    generator : torch.Generator or None
        Shuffles the rows anew at each pass; None keeps their order.
    """

    def __init__(
        self, samples: S, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.samples = samples
        self._batch_size = batch_size
        self._generator = generator

    def __len__(self) -> int:
        return -(-len(self.samples) // self._batch_size)

    @property
    def has_two_rows_per_batch(self) -> bool:
        """Whether each batch has two rows at least, so that hidden units have a variance."""
        return bool(self.samples.n_rows_in_all >= 2 * len(self))

    def few(self, n: int) -> Inputs:
        """Inputs of up to `n` rows, spread over all."""
        return self.samples.few(n)[0]

    def sizes_in_all(self) -> list[int]:
        """Number of rows of each batch over all processes."""
        return [part.stop - part.start for part in self._parts()]

    def _parts(self) -> list[slice]:
        """Where each batch begins and ends."""
        n, n_batches = len(self.samples), len(self)
        return [slice(i * n // n_batches, (i + 1) * n // n_batches) for i in range(n_batches)]

    def __iter__(self: Batches[Samples]) -> Iterator[Batch]:
        order = None
        if self._generator is not None:
            # Drawn on the CPU, so that batches are the same on each device.
            order = torch.randperm(len(self.samples), generator=self._generator)
            order = order.to(self.samples.index.device)
        for part in self._parts():
            yield self.samples.take(part if order is None else order[part])


def samples_of(
    rows: Rows, fields: Fields, target: Target, n_members: int, *, validates: bool = False
) -> Samples:
    """Tensors of the rows, on the host.

    `rows.held_by` names the member that holds a row out: in training the row has weight 0
    for this member, in validation this member alone predicts it.
    """
    index, value, lists = fields.encode(rows.columns)
    weight, member = rows.weight, None
    if rows.held_by is not None and validates:
        member = torch.from_numpy(rows.held_by)
    elif rows.held_by is not None:
        learns = rows.held_by[:, np.newaxis] != np.arange(n_members)
        weight = learns if weight is None else weight[:, np.newaxis] * learns
    return Samples(
        torch.from_numpy(index),
        None if value is None else torch.from_numpy(value),
        torch.from_numpy(target.to_network(rows.y)),
        None if weight is None else torch.from_numpy(weight.astype(np.float64)),
        member,
        None if lists is None else bags_of_arrays(lists),
    )


def bags_of_arrays(arrays: Sequence[np.ndarray]) -> Bags:
    """Bags from the arrays that `Fields.encode` gives."""
    return Bags(*map(torch.from_numpy, arrays))


def with_mean_weight(samples: Samples) -> Samples:
    """Samples with weights of mean 1, for each member if it has its own, as float32."""
    if samples.weight is None:
        return samples
    weight = samples.weight / samples.weight.mean(0)
    return replace(samples, weight=weight.to(torch.float32))
