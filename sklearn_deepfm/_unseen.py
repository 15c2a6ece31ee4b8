"""Rows of the table for codes that a model, or one of its members, has not seen."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from sklearn_deepfm._batches import Samples
from sklearn_deepfm._module import DeepFM


def unseen_by_members(samples: Samples, n_features: int) -> list[Tensor]:
    """For each member, the rows of the table that only samples it holds out have.

    Parameters
    ----------
    samples : Samples
        The training rows. Members hold out those that weigh nothing for them.
    n_features : int
        Number of rows of the table.

    Returns
    -------
    unseen : list of Tensor
        Sorted positions for each member; an empty list if no member holds anything out.
    """
    if samples.weight is None or samples.weight.ndim == 1:
        return []
    row, sample = _occurrences(samples)
    occurs = torch.bincount(row, minlength=n_features) > 0
    unseen = []
    for weight in samples.weight.T:
        learned = torch.bincount(row[(weight > 0)[sample]], minlength=n_features) > 0
        unseen.append((occurs & ~learned).nonzero().squeeze(1))
    return unseen


def _occurrences(samples: Samples) -> tuple[Tensor, Tensor]:
    """Row of the table and sample of each cell and each member of a bag."""
    index, numbers = samples.index, torch.arange(len(samples), device=samples.index.device)
    row, sample = index.flatten().long(), numbers.repeat_interleave(index.shape[1])
    if samples.bags is None:
        return row, sample
    n_bags = (len(samples.bags.starts) - 1) // len(samples)
    of_bags = samples.bags.bag_of_members().div(n_bags, rounding_mode="floor")
    return torch.cat([row, samples.bags.members.long()]), torch.cat([sample, of_bags])


@torch.no_grad()
def fill_unseen(
    module: DeepFM, frequencies: Iterable[tuple[int, np.ndarray]], unseen: list[Tensor]
) -> None:
    """Set each field's row for unseen codes to the mean of its rows by frequency.

    A code that one of several members has not seen gets that member's mean as well.

    Parameters
    ----------
    module : DeepFM
    frequencies : iterable of (int, ndarray)
        For each field, its first row, which stands for unseen codes, and the weight of
        each of its rows.
    unseen : list of Tensor
        As :func:`unseen_by_members` gives them.
    """
    table: Tensor = module.table
    unseen = [positions.to(table.device) for positions in unseen]
    members = list(zip(module.columns_of_members(), unseen, strict=False))
    for start, frequency in frequencies:
        share = torch.as_tensor(frequency / max(frequency.sum(), 1e-300), dtype=table.dtype)
        if not share.any():
            continue
        share, stop = share.to(table.device), start + len(share)
        rows = table[start:stop]
        rows[0] = share @ rows
        for columns, positions in members:
            local = positions[(positions >= start) & (positions < stop)] - start
            if len(local):
                rest = share.index_fill(0, local, 0)
                rows[0, columns] = rest @ rows[:, columns] / rest.sum()
                rows[local.unsqueeze(1), columns] = rows[0, columns]
