"""The list fields of samples as weighted bags of table rows, for torch's embedding_bag."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Bags(NamedTuple):
    """Bags of table rows, sample by sample: a sample has one bag for each list field.

    Attributes
    ----------
    members : Tensor of shape (n_members,), int32 or int64
        Table row of each member.
    starts : Tensor of shape (n_samples * n_bags + 1,), int64
        Where each bag begins, and where the last one ends.
    weights : Tensor of shape (n_members,)
        Factor of each member's table row.
    """

    members: Tensor
    starts: Tensor
    weights: Tensor

    def of_samples(self, samples: Tensor | slice, n_bags: int) -> "Bags":
        """Bags of the given samples, where each sample has `n_bags`."""
        starts = self.starts
        if isinstance(samples, slice):
            # Neighbouring samples have neighbouring members: views, no gather.
            starts = starts[samples.start * n_bags : samples.stop * n_bags + 1]
            part = slice(int(starts[0]), int(starts[-1]))
            return Bags(self.members[part], starts - starts[0], self.weights[part])
        bags = samples.unsqueeze(1) * n_bags + torch.arange(n_bags, device=samples.device)
        first = starts.index_select(0, bags.flatten())
        lengths = starts.index_select(0, bags.flatten() + 1) - first
        starts = F.pad(lengths.cumsum(0), (1, 0))
        shift = (first - starts[:-1]).repeat_interleave(lengths)
        position = shift + torch.arange(len(shift), device=samples.device)
        members, weights = (t.index_select(0, position) for t in (self.members, self.weights))
        return Bags(members, starts, weights)

    @classmethod
    def concatenate(cls, parts: list["Bags"]) -> "Bags":
        """The bags of several parts, one part after the other."""
        members, weights = (
            torch.cat(tensors) for tensors in zip(*[p[::2] for p in parts], strict=True)
        )
        lengths = torch.cat([part.starts.diff() for part in parts])
        return cls(members, F.pad(lengths.cumsum(0), (1, 0)), weights)

    def to(self, device: str, non_blocking: bool = False) -> "Bags":
        """The bags on a device."""
        return Bags(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))

    def pin_memory(self) -> "Bags":
        """The bags in pinned memory, from which a GPU can copy without blocking."""
        return Bags(*(tensor.pin_memory() for tensor in self))

    @property
    def nbytes(self) -> int:
        """Bytes of the three tensors."""
        return sum(tensor.nbytes for tensor in self)

    def bag_of_members(self) -> Tensor:
        """Number of the bag that each member is in."""
        number = torch.arange(len(self.starts) - 1, device=self.starts.device)
        # Without `output_size` a GPU would have to be waited for.
        return number.repeat_interleave(self.starts.diff(), output_size=len(self.members))

    def pooled(self, table: Tensor, n_samples: int) -> Tensor:
        """Weighted sum of the members' rows, of shape (n_samples, n_bags, width)."""
        sums = F.embedding_bag(
            self.members,
            table,
            self.starts.to(self.members.dtype),  # which must be that of the members
            mode="sum",
            per_sample_weights=self.weights.to(table.dtype),
            include_last_offset=True,
        )
        return sums.view(n_samples, -1, table.shape[1])
