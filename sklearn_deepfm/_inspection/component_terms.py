"""How the logits of each component split into effects of fields, of pairs, and a rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sklearn_deepfm._model.components import Network


@dataclass(frozen=True)
class Average:
    """The average row of the training data, from which the effects of fields are counted.

    Parameters
    ----------
    network : Network
    first : ndarray of shape (n_fields, n_members, n_outputs)
        First-order weights of each field, in the network's order; 0 where terms are to stand as
        they do in the formula. Empty in the last dimension if the network has none.
    embedding : ndarray of shape (n_fields, n_members, embed_dim)
        Likewise its embeddings.
    place : ndarray of shape (n_fields,)
        Position of each column of the data in the network's order of the fields.
    splits_deep : bool
        Whether the MLP is split into effects.
    is_formula : bool
        Whether terms stand as in the formula.
    """

    network: Network
    first: np.ndarray
    embedding: np.ndarray
    place: np.ndarray
    splits_deep: bool
    is_formula: bool

    @cached_property
    def pairs(self) -> tuple[np.ndarray, ...]:
        """Positions of the first and of the second column of each pair of columns."""
        return np.triu_indices(len(self.place), 1)

    @cached_property
    def tensor(self) -> Tensor:
        """The embeddings as the network computes with them, (1, n_fields, n_members, embed_dim)."""
        return torch.from_numpy(self.embedding).to(self.network.table).unsqueeze(0)


class Rows(NamedTuple):
    """Some rows, by their differences from the average one; fields in the network's order.

    Attributes
    ----------
    first : ndarray of shape (n_rows, n_fields, n_members, n_outputs)
    deviation : ndarray of shape (n_rows, n_fields, n_members, embed_dim)
        Of the embeddings.
    embedding : Tensor of shape (n_padded, n_fields, n_members, embed_dim)
        The embeddings themselves; rows beyond `n_rows` are padding.
    """

    first: np.ndarray
    deviation: np.ndarray
    embedding: Tensor


class Split(NamedTuple):
    """Terms of a component for some rows; their sum is its logit less that of the average row.

    Attributes
    ----------
    fields : ndarray of shape (n_rows, n_fields, n_outputs), or 0.0
        In the network's order of the fields.
    pairs : ndarray of shape (n_rows, n_pairs, n_outputs), or 0.0
        In the order of `Average.pairs`.
    rest : ndarray of shape (n_rows, n_outputs), or 0.0
        What belongs to neither.
    """

    fields: np.ndarray | float = 0.0
    pairs: np.ndarray | float = 0.0
    rest: np.ndarray | float = 0.0


class ComponentTerms(Protocol):
    """How a component of ``_model/components`` splits; the mean over members of all it gives."""

    def of_average(self, average: Average) -> np.ndarray | float:
        """Logits of the average row, of shape (n_outputs,)."""

    def of_rows(self, average: Average, rows: Rows) -> Split:
        """Terms of some rows."""


class _FirstOrder:
    """Each field adds its first-order weight."""

    def of_average(self, average: Average) -> np.ndarray:
        return average.first.mean(-2).sum(0)

    def of_rows(self, average: Average, rows: Rows) -> Split:
        return Split(fields=rows.first.mean(-2))


class _SecondOrder:
    """Products <v_i, v_j> of equation 2.

    With v = m + d, a product is <m_i, m_j> + <d_i, m_j> + <m_i, d_j> + <d_i, d_j>: the first
    belongs to the average row, the second to field i, the third to field j, and the last to the
    pair.
    """

    def of_average(self, average: Average) -> np.ndarray:
        one, other = (average.embedding[positions] for positions in average.pairs)
        return _products(average.network, one, other).sum(0)

    def of_rows(self, average: Average, rows: Rows) -> Split:
        others = average.embedding.sum(0) - average.embedding  # sum of m_j over j other than i
        fields = _products(average.network, rows.deviation, others)
        by_column = rows.deviation[:, average.place]
        one, other = (by_column[:, positions] for positions in average.pairs)
        return Split(fields=fields, pairs=_products(average.network, one, other))


def _products(network: Network, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """<v_i, v_j> of (..., n_members, embed_dim), the mean over members: (..., n_outputs)."""
    products = one * other
    if network.n_outputs == 1:
        return products.sum(-1).mean(-1, keepdims=True)
    scale = network.fm_scale.detach().cpu().double().numpy()
    scale = scale.reshape(network.n_members, network.n_outputs, -1)
    return np.einsum("...md,mkd->...k", products, scale) / network.n_members


class _Deep:
    """The MLPs: effects of single fields and of pairs at the average row, and what remains."""

    def of_average(self, average: Average) -> np.ndarray | float:
        return 0.0 if average.is_formula else self._logits(average.network, average.tensor)[0]

    def of_rows(self, average: Average, rows: Rows) -> Split:
        n_rows, network = len(rows.deviation), average.network
        rest = self._logits(network, rows.embedding)[:n_rows] - self.of_average(average)
        if not average.splits_deep:
            return Split(rest=rest)
        deviation = rows.embedding[:n_rows] - average.tensor
        fields = np.zeros((n_rows, len(average.place), network.n_outputs))
        pairs = np.zeros((n_rows, len(average.pairs[0]), network.n_outputs))
        for member, mlp in enumerate(network.mlps):
            at = average.tensor[:, :, member].flatten(1)
            alone, together = _effects(mlp, at, deviation[:, :, member], average.place)
            fields += alone / network.n_members
            pairs += together / network.n_members
        return Split(fields, pairs, rest - fields.sum(1) - pairs.sum(1))

    def _logits(self, network: Network, embedding: Tensor) -> np.ndarray:
        """Mean logits of the MLPs (equations 3 and 4), float64 of shape (n_rows, n_outputs)."""
        parts = zip(network.mlps, embedding.unbind(2), strict=True)
        logits = torch.stack([mlp(part.flatten(1)) for mlp, part in parts])
        return logits.cpu().double().numpy().mean(0)


def _effects(mlp, average, deviation, place):
    """Effects of single fields and of pairs on an MLP's output at the average row.

    Parameters
    ----------
    mlp : Sequential
        Starts with a linear layer, to which each field adds a term of its own.
    average : Tensor of shape (1, n_fields * embed_dim)
    deviation : Tensor of shape (n_rows, n_fields, embed_dim)
        Difference of each field's embedding from the average one.
    place : ndarray of shape (n_fields,)
        Position of each column in the network's order of the fields.

    Returns
    -------
    fields : ndarray of shape (n_rows, n_fields, n_outputs)
    pairs : ndarray of shape (n_rows, n_pairs, n_outputs)
        Pairs of columns.
    """
    n_fields, embed_dim = deviation.shape[1:]
    weight = mlp[0].weight.view(-1, n_fields, embed_dim)
    # The first layer is linear: what a field adds to its units is computed once for all pairs.
    steps = torch.einsum("nfd,hfd->nfh", deviation, weight)
    start = mlp[0](average)  # (1, n_units)

    def rest(units):
        """Output of the layers behind the first one."""
        out = mlp[1:](units.flatten(0, 1)) if len(mlp) > 1 else units.flatten(0, 1)
        return out.view(*units.shape[:2], -1).cpu().double().numpy()

    at_average = rest(start.clone().unsqueeze(0))  # (1, 1, n_outputs)
    alone = rest(start + steps) - at_average
    steps, alone_by_column = steps[:, place], alone[:, place]
    pairs = [
        rest(start + steps[:, j : j + 1] + steps[:, j + 1 :])
        - at_average
        - alone_by_column[:, j : j + 1]
        - alone_by_column[:, j + 1 :]
        for j, _ in pairwise(range(n_fields))
    ]
    nothing = np.zeros((len(deviation), 0, alone.shape[2]))  # a single field has no pairs
    return alone, np.concatenate([nothing, *pairs], axis=1)


# By the names of `COMPONENTS`.
COMPONENT_TERMS: dict[str, ComponentTerms] = {
    "linear": _FirstOrder(),
    "fm": _SecondOrder(),
    "deep": _Deep(),
}
