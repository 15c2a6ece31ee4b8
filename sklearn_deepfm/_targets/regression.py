"""Targets of regression: y standardised for the network, and predictions from its logits."""

import numpy as np
from sklearn.utils.validation import check_array

from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import expect, expect_finite
from sklearn_deepfm._targets.fixed_predictions import FixedRegressor
from sklearn_deepfm._targets.target import Target

LARGEST_TARGET, SMALLEST_TARGET = 1e300, 1e-300  # float64 ends at 1.8e308 and 2.2e-308
LARGEST_SCORE = 1e6  # in standard deviations; of n rows of equal weight none exceeds sqrt(n)


class RegressionTarget(Plain):
    """Target of one number, or several, each of which is standardised.

    The deviation of an output that is constant counts as 0: the network learns nothing for it,
    and the constant is predicted.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    """

    kind, is_class, multi_label = "amount", False, False
    loss = "squared_error"
    _saved = {
        "_shape": None,
        "n_outputs": int,
        "mean": np.float64,
        "scale": np.float64,
        "initial_bias": np.float64,
        "base_loss": float,
    }

    def __init__(self, y):
        self._shape = y.shape[1:]
        self.n_outputs = y.shape[1] if y.ndim == 2 else 1
        self.mean, self.scale = np.zeros(self._shape), np.ones(self._shape)
        self.initial_bias = np.zeros(self.n_outputs)
        self.base_loss = float(self.n_outputs)  # sum of the variances of standardised targets

    def _check_loaded(self):
        expect(self.n_outputs > 0 and self._shape in ((), (self.n_outputs,)), "shape")
        expect_finite(self.mean, "mean", self._shape)
        expect_finite(self.scale, "scale", self._shape, least=0)
        expect_finite(self.initial_bias, "initial_bias", (self.n_outputs,))
        expect_finite(self.base_loss, "base_loss", (), least=0)

    def encode(self, y):
        """Convert y to float64; other columns than in fit, and what is no number, are errors."""
        if y.dtype.kind not in "biufO":
            raise ValueError(
                f"y must hold numbers, got {y.flat[0]!r}, of type {y.dtype}. Convert it."
            )
        if y.shape[1:] != self._shape:
            raise ValueError(
                f"y must have {self.n_outputs} column(s), as in the first fit, got the shape "
                f"{y.shape}."
            )
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if np.abs(y).max() > LARGEST_TARGET:
            raise ValueError(
                f"y must hold numbers of at most {LARGEST_TARGET:g} in size, got "
                f"{y.flat[np.abs(y).argmax()]:g}. Drop the row, or take logarithms."
            )
        return y

    def fit(self, rows):
        """Learn the mean and standard deviation of the training rows."""
        self.mean, self.scale = _mean_and_deviation(rows.y, rows.weight)

    def see(self, rows):
        """Standardise by further rows what was constant so far; all else stays as it is."""
        was_constant = self.scale == 0
        if not np.any(was_constant):
            return
        # The constant counts as one row more: these may have another constant.
        y = np.concatenate([rows.y, np.broadcast_to(self.mean, (1, *self._shape))])
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        mean, scale = _mean_and_deviation(y, np.append(weight, weight.mean()))
        self.mean = np.where(was_constant, mean, self.mean)
        self.scale = np.where(was_constant, scale, self.scale)

    def to_network(self, y):
        scores = np.zeros(np.shape(y))
        np.divide(y - self.mean, self.scale, out=scores, where=self.scale > 0)
        return scores.astype(np.float32)

    def predict(self, logits):
        return logits.reshape(len(logits), *self._shape) * self.scale + self.mean

    def decode(self, y):
        return y

    def fixed_predictions(self, logits, X):
        return FixedRegressor(self, logits, X)


# The kinds that a file may name.
REGRESSION_TARGETS: tuple[type[Target], ...] = (RegressionTarget,)


def few_rows_like(y, weight):
    """Four rows and their weights, with the mean, the deviation and the extremes of many.

    Of such rows of several parts, joined, :class:`RegressionTarget` learns what it would learn of
    the parts.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
    weight : ndarray of shape (n_samples,) or None
        Positive weights; None for 1.

    Returns
    -------
    y : ndarray of shape (4,) or (4, n_outputs)
    weight : ndarray of shape (4,)
        0 for the extremes.
    """
    unit = _unit(y)
    mean, deviation = _moments(y / unit, weight)
    total = len(y) if weight is None else weight.sum()
    middle = (mean - deviation) * unit, (mean + deviation) * unit
    return np.stack([*middle, y.min(axis=0), y.max(axis=0)]), np.array([total, total, 0, 0]) / 2


def _mean_and_deviation(y, weight):
    """Mean and standard deviation of each output; 0 for one that is constant up to rounding."""
    unit = _unit(y)
    y = y / unit
    mean, scale = _moments(y, weight)
    # Weights can make the deviation so small that scores overflow float32.
    scale = np.maximum(scale, np.abs(y - mean).max(axis=0) / LARGEST_SCORE)
    scale = np.where(scale > 1e-12 * np.abs(mean), scale, 0.0)
    return mean * unit, scale * unit


def _unit(y):
    """Unit of each output in which squares neither overflow nor vanish, whatever the size of y."""
    largest = np.abs(y).max(axis=0)
    return np.where(largest > SMALLEST_TARGET, largest, 1.0)


def _moments(y, weight):
    mean = np.average(y, axis=0, weights=weight)
    return mean, np.sqrt(np.average(np.square(y - mean), axis=0, weights=weight))
