"""Results of inspecting a fitted model: contributions to predictions, and importances."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Contributions:
    """Contributions of bias, fields, pairs and deep part to the prediction of each row.

    :func:`contributions` makes them. With several outputs (classes, labels or numbers)
    every array has one more dimension, the last one, of length `n_outputs`.

    Parameters
    ----------
    bias : float or ndarray of shape (n_outputs,)
        The same for all rows: the prediction for an average row, unless the terms are
        those of the formula.
    fields : ndarray of shape (n_samples, n_fields)
        What each field adds by itself.
    pairs : ndarray of shape (n_samples, n_fields * (n_fields - 1) // 2)
        What each pair of fields adds, in the order of `pair_names`.
    deep : ndarray of shape (n_samples,)
        What is left to the MLP.
    values : DataFrame of shape (n_samples, n_fields)
        What each field holds: the values that the encoder of a Pipeline was given, or
        the codes that an estimator was.
    output_names : list
        Classes, or numbers of labels or outputs; a single None where there is one
        output.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, contributions
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> found = contributions(DeepFMClassifier(max_epochs=3).fit(X, y), X)
    >>> found.pair_names
    [(0, 1)]
    >>> found.fields.shape, len(found)
    ((240, 2), 240)
    """

    bias: float | np.ndarray
    fields: np.ndarray
    pairs: np.ndarray
    deep: np.ndarray
    values: pd.DataFrame
    output_names: list

    def __len__(self):
        return len(self.deep)

    @property
    def field_names(self):
        """Names of the fields, in the order of `fields`."""
        return self.values.columns.tolist()

    @property
    def pair_names(self):
        """Names of the two fields of each pair, in the order of `pairs`."""
        return list(combinations(self.field_names, 2))

    @property
    def total(self):
        """The sum of all: the logits of a classifier, the prediction of a regressor."""
        return self.bias + self.fields.sum(1) + self.pairs.sum(1) + self.deep

    def to_frame(self, output=None):
        """A row for each sample and a column for each term.

        Parameters
        ----------
        output : label, default=None
            One of `output_names`, where there are several.

        Returns
        -------
        frame : DataFrame of shape (n_samples, n_terms)
            Columns "bias", the names of the fields, those of the pairs as
            "first x second", and "deep"; with the index of X.

        Raises
        ------
        ValueError
            If there are several outputs and none of them is named.
        """
        one = self.of_output(output)
        names = [str(name) for name in one.field_names]
        names += [f"{first} x {second}" for first, second in one.pair_names]
        bias = np.full(len(one), one.bias)
        terms = np.column_stack([bias, one.fields, one.pairs, one.deep])
        return pd.DataFrame(terms, self.values.index, ["bias", *names, "deep"])

    def of_output(self, output=None):
        """The contributions to one of several outputs.

        Parameters
        ----------
        output : label, default=None
            One of `output_names`. With a single output there is no need to name it.

        Returns
        -------
        contributions : Contributions
            With a single output.

        Raises
        ------
        ValueError
            If there is no such output, or none is named where there are several.
        """
        if self.output_names == [None]:
            if output is not None:
                raise ValueError(f"output must be None for a model of one output, got {output!r}.")
            return self
        if output not in self.output_names:
            raise ValueError(f"output must be one of {self.output_names}, got {output!r}.")
        k = self.output_names.index(output)
        return Contributions(
            float(np.atleast_1d(self.bias)[k]),
            self.fields[..., k],
            self.pairs[..., k],
            self.deep[..., k],
            self.values,
            [None],
        )


@dataclass(frozen=True)
class Importances:
    """How much fields and pairs of them move predictions, over the rows of a data set.

    :func:`importances` makes them. Strengths are means over the rows, and over the
    outputs if there are several, of the size of a contribution, in units of the logit (of
    y for a regressor).

    Parameters
    ----------
    fields : DataFrame of shape (n_fields, 4)
        For each field the "strength" of what it adds by itself and the standard "error" of that
        mean; "in_pairs" is half the strength of all pairs with it, "total" the sum of
        both. The strongest come first.
    pairs : DataFrame of shape (n_pairs, 2)
        For each pair of names "strength" and "error". The strongest come first.
    shares : Series
        Share of "fields", "pairs" and "deep" in what moves predictions: the standard
        deviation of each part's sum over the rows, divided by the sum of the three.
    n_samples : int
        Number of rows.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, importances
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> found = importances(DeepFMClassifier(max_epochs=3).fit(X, y), X)
    >>> found.matrix().shape
    (2, 2)
    """

    fields: pd.DataFrame
    pairs: pd.DataFrame
    shares: pd.Series
    n_samples: int

    def matrix(self):
        """Strengths of the pairs as a symmetric matrix, 0 on its diagonal.

        Returns
        -------
        matrix : DataFrame of shape (n_fields, n_fields)
            Fields in the order of `fields`.
        """
        names = self.fields.index
        place = {name: position for position, name in enumerate(names)}
        matrix = np.zeros((len(names), len(names)))
        for (first, second), strength in zip(self.pairs.index, self.pairs["strength"], strict=True):
            i, j = place[first], place[second]
            matrix[i, j] = matrix[j, i] = strength
        return pd.DataFrame(matrix, names, names)
