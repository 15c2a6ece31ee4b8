"""Pairs of columns, and how often each value occurs, as further columns."""

from itertools import combinations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class PairsAndCounts(TransformerMixin, BaseEstimator):
    """Add a column for each pair of columns, and the logarithm of the count of each value in fit.

    For a data frame of categories, in front of OrdinalFieldEncoder.
    """

    def fit(self, X, y=None):
        wide = self._with_pairs(X)
        self.counts_ = {name: wide[name].value_counts() for name in wide}
        return self

    def transform(self, X):
        wide = self._with_pairs(X)
        counts = {name: wide[name].map(count).astype(float) for name, count in self.counts_.items()}
        logs = {f"count of {name}": np.log1p(count.fillna(0)) for name, count in counts.items()}
        return wide.assign(**logs)

    def _with_pairs(self, X):
        text = X.astype(str)
        pairs = {f"{a} x {b}": text[a] + " " + text[b] for a, b in combinations(X, 2)}
        return X.assign(**pairs)
