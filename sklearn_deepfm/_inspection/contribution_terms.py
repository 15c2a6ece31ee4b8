"""Terms of a fitted DeepFM's logits for each row: of fields, of pairs, and of the deep rest."""

import numpy as np

from sklearn_deepfm._estimators.prediction import BATCH_SIZE, inputs_by_part
from sklearn_deepfm._fields.read_columns import read_cells
from sklearn_deepfm._inspection.component_terms import COMPONENT_TERMS, Average, Rows
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
        self._components = [COMPONENT_TERMS[name] for name in self._module.components]
        table = self._module.table.detach().cpu().double().numpy()
        # Means over the training rows, in the network's order of the fields, where lists are last.
        first, embedding = self._by_member(self._fields.average_cells(table)[self._fields.order])
        is_formula = terms == "formula"
        self._average = Average(
            self._module,
            # Terms as they stand, not as differences from the average row.
            0 * first if is_formula else first,
            0 * embedding if is_formula else embedding,
            place=np.argsort(self._fields.order),
            splits_deep=terms == "effects",
            is_formula=is_formula,
        )
        self.bias = self._bias()

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
        n_pairs = len(self._average.pairs[0])
        of_a_row = max(1, n_pairs * self._module.table.shape[1])
        batch_size = int(np.clip(MOST_PRODUCTS // of_a_row, 1, BATCH_SIZE))
        for part, inputs in inputs_by_part(self._fields, cells, device, batch_size):
            with own_modes(inference=True):
                terms = self._of_rows(inputs, part.stop - part.start)
            # A regressor's logits are those of a standardised y.
            yield tuple(term * self._target.scale for term in terms)

    def _of_rows(self, inputs, n_rows):
        """Terms of one part, in units of the logit; rows beyond `n_rows` are padding."""
        average = self._average
        of_first, of_embedding = self._module.member_terms(*inputs)
        first, embedding = (
            part[:n_rows].cpu().double().numpy() for part in (of_first, of_embedding)
        )
        rows = Rows(first - average.first, embedding - average.embedding, of_embedding)
        n_fields, n_pairs = len(average.place), len(average.pairs[0])
        fields, pairs, rest = (
            np.zeros((n_rows, *n, self._module.n_outputs)) for n in ((n_fields,), (n_pairs,), ())
        )
        for component in self._components:
            split = component.of_rows(average, rows)
            fields += split.fields
            pairs += split.pairs
            rest += split.rest
        return fields[:, average.place], pairs, rest

    def _bias(self):
        """Prediction for the average row: bias of the module, and the terms of that row."""
        module = self._module
        bias = module.bias.detach().cpu().double().numpy()
        bias = bias.reshape(module.n_members, module.n_outputs).mean(0)
        with own_modes(inference=True):
            for component in self._components:
                bias = bias + component.of_average(self._average)
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
