"""Terms of a fitted DeepFM's logits for each row: of fields, of pairs, and of the deep rest."""

from itertools import pairwise

import numpy as np
import torch

from sklearn_deepfm._estimators.prediction import BATCH_SIZE, inputs_by_part
from sklearn_deepfm._fields.read_columns import read_cells
from sklearn_deepfm._model.torch_modes import own_modes

TERMS = ("effects", "products", "formula")
MOST_PRODUCTS = 2**23  # coordinates of pairs of fields in memory at a time, 64 MiB of float64


class ContributionTerms:
    """The terms of a fitted estimator.

    Parameters
    ----------
    estimator : BaseDeepFM
    terms : {"effects", "products", "formula"}
        As for :func:`contributions`.

    Attributes
    ----------
    bias : ndarray of shape (n_outputs,)
    """

    def __init__(self, estimator, terms):
        self._estimator, self._module = estimator, estimator.module_
        self._target, self._fields = estimator._target, estimator._fields
        self._splits_deep = terms == "effects" and "deep" in self._module.components
        table = self._module.table.detach().cpu().double().numpy()
        # Means over the training rows, in the network's order of the fields, where lists are last.
        average = self._fields.average_cells(table)[self._fields.order]
        self._first, self._embedding = self._by_member(average)
        if terms == "formula":  # terms as they stand, not as differences from the average row
            self._first, self._embedding = 0 * self._first, 0 * self._embedding
        self._place = np.argsort(self._fields.order)  # of each column in the network's order
        self._pairs = np.triu_indices(len(average), 1)
        self.bias = self._bias(terms == "formula")

    @property
    def output_names(self):
        """Names of the outputs, in the order of the terms' last dimension."""
        if self._module.n_outputs == 1:
            return [None]
        names = getattr(self._target, "classes", np.arange(self._module.n_outputs))
        return names.tolist()

    def by_part(self, X):
        """Terms of the rows, one part after the other.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_columns)
            Input of the estimator.

        Yields
        ------
        fields : ndarray of shape (n_rows, n_fields, n_outputs)
        pairs : ndarray of shape (n_rows, n_pairs, n_outputs)
        deep : ndarray of shape (n_rows, n_outputs)
        """
        device, cells = self._estimator.net_.device, read_cells(self._estimator, X)
        # All pairs of a part are in memory at once, so parts get smaller with more fields.
        of_a_row = max(1, len(self._pairs[0]) * self._module.table.shape[1])
        batch_size = int(np.clip(MOST_PRODUCTS // of_a_row, 1, BATCH_SIZE))
        for part, inputs in inputs_by_part(self._fields, cells, device, batch_size):
            with own_modes(inference=True):
                terms = self._of_rows(inputs, part.stop - part.start)
            # A regressor's logits are those of a standardised y.
            yield tuple(term * self._target.scale for term in terms)

    def _of_rows(self, inputs, n_rows):
        """Terms of one part, in units of the logit; rows beyond `n_rows` are padding."""
        first, embedding = self._module.member_terms(*inputs)
        deep = self._deep(embedding)[:n_rows] - self._average_deep
        deep_fields, deep_pairs = self._effects_of_deep(embedding[:n_rows])
        first, embedding = (part[:n_rows].cpu().double().numpy() for part in (first, embedding))
        # With v = m + d, a product <v_i, v_j> of equation 2 is <m_i, m_j> + <d_i, m_j> +
        # <m_i, d_j> + <d_i, d_j>: the first belongs to the bias, the second to field i, the
        # third to field j, and the last to the pair.
        deviation = embedding - self._embedding  # (n_rows, n_fields, n_members, embed_dim)
        others = self._embedding.sum(0) - self._embedding  # sum of m_j over j other than i
        fields = self._mean_of_members(first - self._first) + self._products(deviation, others)
        fields, deviation = (fields + deep_fields)[:, self._place], deviation[:, self._place]
        pairs = self._products(*(deviation[:, positions] for positions in self._pairs)) + deep_pairs
        return fields, pairs, deep - deep_fields.sum(1) - deep_pairs.sum(1)

    def _bias(self, is_formula):
        """Prediction for the average row: bias of the module, and the terms of that row."""
        module = self._module
        bias = module.bias.detach().cpu().double().numpy()
        bias = bias.reshape(module.n_members, module.n_outputs).mean(0)
        bias = bias + self._mean_of_members(self._first).sum(0)
        of_pairs = self._products(*(self._embedding[positions] for positions in self._pairs))
        self._average = torch.from_numpy(self._embedding).to(module.table).unsqueeze(0)
        with own_modes(inference=True):
            self._average_deep = 0.0 if is_formula else self._deep(self._average)[0]
        bias = bias + of_pairs.sum(0) + self._average_deep
        return bias * self._target.scale + self._target.mean

    def _by_member(self, rows):
        """First-order weights and embeddings of rows of a table, (n_rows, n_members, n)."""
        module = self._module
        parts = np.split(rows, [module.n_first], axis=1)
        widths = [part.shape[1] // module.n_members for part in parts]
        return [
            part.reshape(len(rows), module.n_members, width)
            for part, width in zip(parts, widths, strict=True)
        ]

    def _mean_of_members(self, first):
        """(..., n_members, n_outputs) to (..., n_outputs); zeros if there is no first order."""
        if "linear" in self._module.components:
            return first.mean(-2)
        return np.zeros((*first.shape[:-2], self._module.n_outputs))

    def _products(self, one, other):
        """<v_i, v_j> (equation 2) of (..., n_members, embed_dim), the mean over members."""
        module = self._module
        if "fm" not in module.components:
            return np.zeros((*one.shape[:-2], module.n_outputs))
        products = one * other
        if module.n_outputs == 1:
            return products.sum(-1).mean(-1, keepdims=True)
        scale = module.fm_scale.detach().cpu().double().numpy()
        scale = scale.reshape(module.n_members, module.n_outputs, -1)
        return np.einsum("...md,mkd->...k", products, scale) / module.n_members

    def _deep(self, embedding):
        """Mean logits of the MLPs (equations 3 and 4), float64 of shape (n_rows, n_outputs)."""
        if "deep" not in self._module.components:
            return np.zeros((len(embedding), self._module.n_outputs))
        parts = zip(self._module.mlps, embedding.unbind(2), strict=True)
        logits = torch.stack([mlp(part.flatten(1)) for mlp, part in parts])
        return logits.cpu().double().numpy().mean(0)

    def _effects_of_deep(self, embedding):
        """Effects of single fields and of pairs on the MLPs' mean logits at the average row.

        Parameters
        ----------
        embedding : Tensor of shape (n_rows, n_fields, n_members, embed_dim)
            Fields in the network's order.

        Returns
        -------
        fields : ndarray of shape (n_rows, n_fields, n_outputs)
            In the network's order.
        pairs : ndarray of shape (n_rows, n_pairs, n_outputs)
            In the order of the columns.
        """
        n_rows, n_fields, n_members, _ = embedding.shape
        fields = np.zeros((n_rows, n_fields, self._module.n_outputs))
        pairs = np.zeros((n_rows, len(self._pairs[0]), self._module.n_outputs))
        if not self._splits_deep:
            return fields, pairs
        deviation = embedding - self._average
        for member, mlp in enumerate(self._module.mlps):
            average = self._average[:, :, member].flatten(1)
            alone, together = _effects(mlp, average, deviation[:, :, member], self._place)
            fields += alone / n_members
            pairs += together / n_members
        return fields, pairs


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
