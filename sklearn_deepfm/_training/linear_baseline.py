"""Linear baselines of a small table: the models that training has to beat."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training.weight_snapshot import to_numpy

# Rows above which there is no baseline. Training then has so many steps in an epoch that it finds
# the first-order weights, and its validation rows tell what is noise.
MOST_ROWS = 2**14
# Times the penalty that scikit-learn has by default, (1/2) * ||w||^2 beside the sum of the losses.
# Codes of few rows that tell nothing need more.
STRENGTHS = 1.0, 10.0, 100.0


class FirstOrder(NamedTuple):
    """First-order weights of table rows, and the bias that belongs to them.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        The table rows, in ascending order; all others have weights of 0.
    weights : ndarray of shape (n, n_members * n_outputs), float32
    bias : ndarray of shape (n_members * n_outputs,), float32
    """

    rows: np.ndarray
    weights: np.ndarray
    bias: np.ndarray


def linear_baselines(
    samples: Samples | DiskBuffer, slopes: dict[int, int], target: Any, n_members: int
) -> list[FirstOrder]:
    """Fit LogisticRegression, or Ridge, to the training rows, by penalties of several strengths.

    Parameters
    ----------
    samples : Samples or DiskBuffer
        The training rows.
    slopes : dict of int to int
        Position of each numeric field in the index matrix, and the table row of its slope.
    target : target
    n_members : int
        Each member learns from its own rows.

    Returns
    -------
    baselines : list of FirstOrder
        Empty for more than 16,384 rows, or rows that lack one of several classes.
    """
    if samples.n_rows_in_all > MOST_ROWS:
        return []
    x, y = samples.few(MOST_ROWS)
    rows, design = _design(x, slopes)
    y = to_numpy(y)
    weight = np.ones((len(y), 1)) if "weight" not in x else to_numpy(x["weight"])
    weight = np.broadcast_to(weight.reshape(len(y), -1), (len(y), n_members))
    if target.loss == "log_loss" and not all(
        _has_all(y[of_member > 0], target.n_outputs) for of_member in weight.T
    ):
        return []
    baselines = []
    for strength in STRENGTHS:
        parts = [_fit(design, y, of_member, target, strength) for of_member in weight.T]
        weights, bias = (
            np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)
        )
        baselines.append(FirstOrder(rows, weights.T.copy(), bias))
    return baselines


def _design(x: dict[str, Any], slopes: dict[int, int]) -> tuple[np.ndarray, sparse.csr_array]:
    """Table rows that the samples have, and the factor of each of them in each sample."""
    index = to_numpy(x["index"])
    n_rows, n_columns = index.shape
    sample = [np.repeat(np.arange(n_rows), n_columns)]
    table_row, factor = [index.ravel()], [np.ones(index.size)]
    if slopes:
        value = to_numpy(x["value"])
        sample.append(np.repeat(np.arange(n_rows), len(slopes)))
        table_row.append(np.tile([*slopes.values()], n_rows))
        factor.append(value.ravel())
    if "bags" in x:
        members, starts, weights = map(to_numpy, x["bags"])
        n_bags = (len(starts) - 1) // n_rows
        sample.append(np.repeat(np.arange(n_rows * n_bags) // n_bags, np.diff(starts)))
        table_row.append(members)
        factor.append(weights)
    rows, column = np.unique(np.concatenate(table_row), return_inverse=True)
    cells = np.concatenate(factor).astype(np.float64), (np.concatenate(sample), column)
    return rows.astype(np.int64), sparse.csr_array(cells, shape=(n_rows, len(rows)))


def _fit(
    design: sparse.csr_array, y: np.ndarray, weight: np.ndarray, target: Any, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of shape (n_outputs, n) and bias of shape (n_outputs,) of one member's model."""
    learns = weight > 0
    design, y, weight = design[learns], y[learns], weight[learns] / weight[learns].mean()
    if target.loss == "squared_error":
        ridge = Ridge(alpha=strength).fit(design, y, weight)
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    if target.loss == "log_loss":
        return _logistic(design, y, weight, strength)
    labels = y.reshape(len(y), -1).T
    bias, weights = np.array(target.initial_bias), np.zeros((len(labels), design.shape[1]))
    for label, is_one in enumerate(labels):
        if _has_all(is_one, 2):
            weights[[label]], bias[[label]] = _logistic(design, is_one, weight, strength)
    return weights, bias


def _has_all(y: np.ndarray, n_classes: int) -> bool:
    return len(np.unique(y)) == n_classes


def _logistic(
    design: sparse.csr_array, y: np.ndarray, weight: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    model = LogisticRegression(C=1 / strength)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is near enough
        model.fit(design, y, weight)
    return model.coef_, model.intercept_
