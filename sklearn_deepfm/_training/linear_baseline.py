"""Linear baselines of a small table: the models that training has to beat."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.linear_model import Ridge

from sklearn_deepfm._samples.samples import Inputs, SampleSet
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.weight_snapshot import to_numpy

# Rows above which there is no baseline. Training then has so many steps in an epoch that it finds
# the first-order weights, and its validation rows tell what is noise.
MOST_ROWS = 2**14
MOST_WEIGHTS = 2**18  # of the linear models of all members, which bounds time and memory
MOST_ITERATIONS = 100
# Times the penalty that LogisticRegression and Ridge have by default. Codes of few rows that tell
# nothing need more.
STRENGTHS = 1.0, 10.0, 100.0
# Variance that the prior expects of a bin around the line of its number, where a slope has 1. With
# 1, the bins of small tables learn noise: R2 .36 on diabetes, .46 with this or a third of it.
VARIANCE_OF_BINS = 1 / 32


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
    samples: SampleSet, slopes: dict[int, int], target: Target, n_members: int
) -> list[FirstOrder]:
    """Fit logistic or ridge regression to the training rows, by penalties of several strengths.

    Weights have the mean 1 and numbers to predict the variance 1, as in training.

    Parameters
    ----------
    samples : SampleSet
        The training rows.
    slopes : dict of int to int
        Position of each numeric field in the index matrix, and the table row of its slope.
    target : Target
    n_members : int
        Each member learns from its own rows.

    Returns
    -------
    baselines : list of FirstOrder
        Empty for more than 16,384 rows or 262,144 weights, for rows that lack one of several
        classes, and for a loss that no linear model here is fitted by.
    """
    if samples.n_rows_in_all > MOST_ROWS or target.loss not in _MODELS:
        return []
    x, y = samples.few(MOST_ROWS)
    rows, scale, design = _design(x, slopes)
    if len(rows) * target.n_outputs * n_members > MOST_WEIGHTS:
        return []
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
        baselines.append(FirstOrder(rows, (weights * scale.astype(np.float32)).T.copy(), bias))
    return baselines


def _design(x: Inputs, slopes: dict[int, int]) -> tuple[np.ndarray, np.ndarray, sparse.csr_array]:
    """What the linear models see.

    Returns
    -------
    rows : ndarray of shape (n,), int64
        The table rows that the samples have.
    scale : ndarray of shape (n,)
        Standard deviation that the prior expects of the weight of each.
    design : csr_array of shape (n_samples, n)
        The factor of each weight in each sample, times its scale.
    """
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
    is_bin = np.isin(rows, index[:, [*slopes]])
    scale = np.where(is_bin, np.sqrt(VARIANCE_OF_BINS), 1.0)
    cells = np.concatenate(factor) * scale[column], (np.concatenate(sample), column)
    return rows.astype(np.int64), scale, sparse.csr_array(cells, shape=(n_rows, len(rows)))


def _fit(
    design: sparse.csr_array, y: np.ndarray, weight: np.ndarray, target: Target, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of shape (n_outputs, n) and bias of shape (n_outputs,) of one member's model."""
    learns = weight > 0
    design, y, weight = design[learns], y[learns], weight[learns] / weight[learns].mean()
    return _MODELS[target.loss](design, y, weight, target, strength)


def _ridge(
    design: sparse.csr_array, y: np.ndarray, weight: np.ndarray, target: Target, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    ridge = Ridge(alpha=strength).fit(design, y, weight)
    return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)


def _logistic(
    design: sparse.csr_array, y: np.ndarray, weight: np.ndarray, target: Target, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    is_softmax = target.loss == "log_loss"
    start = np.zeros((design.shape[1] + 1, target.n_outputs))
    start[-1] = target.initial_bias
    y = np.eye(target.n_outputs)[y] if is_softmax else y.reshape(len(y), -1)
    found = minimize(
        _logistic_loss,
        start.ravel(),
        (design, y, weight, is_softmax, strength),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": MOST_ITERATIONS, "gtol": 1e-3},
    )
    weights: np.ndarray = found.x.reshape(start.shape)
    return weights[:-1].T, weights[-1]


# By the names of losses.
_MODELS = {"squared_error": _ridge, "log_loss": _logistic, "binary_log_loss": _logistic}


def _logistic_loss(
    flat: np.ndarray,
    design: sparse.csr_array,
    y: np.ndarray,
    weight: np.ndarray,
    is_softmax: bool,
    strength: float,
) -> tuple[float, np.ndarray]:
    """Sum of the losses of all rows and outputs with the penalty of LogisticRegression.

    scikit-learn's class would do, but warns where it is not quite at the optimum, which does not
    matter here and cannot be silenced in one thread alone.
    """
    weights = flat.reshape(-1, y.shape[1])
    logits = design @ weights[:-1] + weights[-1]
    if is_softmax:
        log_proba = log_softmax(logits, axis=1)
        losses, proba = -(y * log_proba).sum(axis=1), np.exp(log_proba)
    else:
        losses = (np.logaddexp(0, logits) - y * logits).sum(axis=1)
        proba = expit(logits)
    error = (proba - y) * weight[:, np.newaxis]
    gradient = np.vstack([design.T @ error + strength * weights[:-1], error.sum(axis=0)])
    loss = weight @ losses + strength / 2 * np.square(weights[:-1]).sum()
    return loss, gradient.ravel()


def _has_all(y: np.ndarray, n_classes: int) -> bool:
    return len(np.unique(y)) == n_classes
