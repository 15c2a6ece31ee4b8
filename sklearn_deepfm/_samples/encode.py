"""Rows of data as the tensors that a network is trained on."""

from dataclasses import replace

import numpy as np
import torch

from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._samples.samples import Samples


def to_samples(rows, fields, target, net, *, validates=False):
    """Tensors of the rows; weights get the mean 1, so that their scale has no effect."""
    samples = samples_of(rows, fields, target, net.module__n_members, validates=validates)
    return with_mean_weight(samples).to(net.device)


def samples_of(rows, fields, target, n_members, *, validates=False):
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


def bags_of_arrays(arrays):
    """Bags from the arrays that `Fields.encode` gives."""
    return Bags(*map(torch.from_numpy, arrays))


def with_mean_weight(samples):
    """Samples with weights of mean 1, for each member if it has its own, as float32."""
    if samples.weight is None:
        return samples
    weight = samples.weight / samples.weight.mean(0)
    return replace(samples, weight=weight.to(torch.float32))
