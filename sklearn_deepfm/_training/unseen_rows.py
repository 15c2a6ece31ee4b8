"""Rows of the table for codes that a model, or one of its members, has not seen."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._samples.samples import Samples, SampleSet


def unseen_rows_of_members(
    samples: SampleSet, n_features: int, everywhere: Callable[[Tensor], Tensor] = lambda seen: seen
) -> list[Tensor]:
    """For each member, the table rows of codes that occur only in samples it holds out.

    Parameters
    ----------
    samples : SampleSet
        The training rows. A member holds out those that have weight 0 for it.
    n_features : int
        Number of rows of the table.
    everywhere : callable, default=the identity
        From the mask of what this process has seen to that of what any process has seen.

    Returns
    -------
    unseen : list of Tensor
        Sorted positions for each member; an empty list if no member holds anything out.
    """
    seen: Tensor | None = None
    for chunk in samples.chunks():
        if chunk.weight is None or chunk.weight.ndim == 1:
            return []
        if seen is None:
            seen = chunk.index.new_zeros(chunk.weight.shape[1] + 1, n_features, dtype=torch.bool)
        _mark_seen(seen, chunk, (chunk.weight > 0).T)
    if seen is None:
        return []
    seen = everywhere(seen)
    return [(seen[-1] & ~of_member).nonzero().squeeze(1) for of_member in seen[:-1]]


def _mark_seen(seen: Tensor, samples: Samples, learns: Tensor) -> None:
    """Mark the table rows that each member learns, and in the last line those of all samples."""
    parts: list[tuple[Tensor, Tensor | None]] = [(column, None) for column in samples.index.T]
    if samples.bags is not None:
        n_bags = (len(samples.bags.starts) - 1) // len(samples)
        sample_of_code = samples.bags.bag_of_members().div(n_bags, rounding_mode="floor")
        parts.append((samples.bags.members, sample_of_code))
    for rows, sample in parts:
        rows = rows.long()
        seen[-1, rows] = True
        for member, mask in enumerate(learns):
            seen[member, rows[mask if sample is None else mask[sample]]] = True


@torch.no_grad()
def fill_unseen_rows(
    module: DeepFM, frequencies: Iterable[tuple[int, np.ndarray]], unseen: list[Tensor]
) -> None:
    """Set each field's row for unseen codes to the mean of its rows, weighted by frequency.

    A code that one of several members has not seen gets the mean over the codes that the
    member has seen, in that member's columns.

    Parameters
    ----------
    module : DeepFM
    frequencies : iterable of (int, ndarray)
        For each field, its first table row, which stands for unseen codes, and the weight
        of each of its table rows.
    unseen : list of Tensor
        As :func:`unseen_rows_of_members` gives them.
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
                # The member's mean is one of the rows that it has trained.
                rest = share.index_fill(0, local, 0)
                rows[0, columns] = rest @ rows[:, columns] / rest.sum()
                rows[local.unsqueeze(1), columns] = rows[0, columns]
