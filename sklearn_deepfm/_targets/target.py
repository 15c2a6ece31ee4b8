"""The contract of a target: what an estimator makes of y, and of the logits of the network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_deepfm._serialization.plain_values import PlainData


class LabelledRows(Protocol):
    """Rows of data, of which a target reads y, as :meth:`Target.encode` gives it, and weights."""

    @property
    def y(self) -> np.ndarray:
        """Encoded y, of shape (n_samples,) or (n_samples, n_outputs)."""

    @property
    def weight(self) -> np.ndarray | None:
        """Weight of each row; None for 1."""

    def __len__(self) -> int: ...


class Target(Protocol):
    """What the network learns, and what its logits mean.

    To add one, write a class with these attributes and methods, enter it into
    `REGRESSION_TARGETS` or `CLASSIFICATION_TARGETS` in its file, and let an estimator make it
    (its `_target_class`). A classifier's is a :class:`ClassifierTarget`. What it becomes in an
    ONNX file stands in ``_onnx/targets``. It is made of y, checks y on every call of `encode`,
    and learns from encoded rows in `fit` and `see`.

    Attributes
    ----------
    kind : str
        Name of the kind, which stands in files.
    loss : str
        Name of the loss that the network is trained by, one of ``_training/losses``.
    is_class : bool
        Whether y holds one class per row, so that held out rows keep the shares of the classes.
    multi_label : bool
        Whether the outputs are labels of which a row may have any number.
    n_outputs : int
        Number of logits per row.
    mean, scale : float or ndarray
        Numbers in the unit of y are ``mean + scale * logits``; 0 and 1 where logits have a unit of
        their own.
    initial_bias : ndarray of shape (n_outputs,)
        Logits of the base rate, from which training starts.
    base_loss : float
        Mean loss of a model that predicts the base rate.
    """

    kind: str
    is_class: bool
    multi_label: bool
    initial_bias: np.ndarray

    @property
    def loss(self) -> str: ...

    @property
    def n_outputs(self) -> int: ...

    @property
    def mean(self) -> float | np.ndarray: ...

    @property
    def scale(self) -> float | np.ndarray: ...

    @property
    def base_loss(self) -> float: ...

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Y as rows hold it from here on; an error if it is not like that of the first fit."""

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Inverse of `encode`."""

    def fit(self, rows: LabelledRows) -> None:
        """Learn from the training rows of a first fit."""

    def see(self, rows: LabelledRows) -> None:
        """Take further rows of a stream into account."""

    def to_network(self, y: np.ndarray) -> np.ndarray:
        """Encoded y as the loss takes it."""

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """Predictions of logits of shape (n_samples, n_outputs), in the values of y."""

    def fixed_predictions(self, logits: np.ndarray, X: object) -> BaseEstimator:
        """An estimator of these logits for the one X that they belong to, which scorers take."""

    def to_plain(self) -> dict[str, PlainData]:
        """All that it has learned as plain data."""

    @classmethod
    def of_plain(cls, state: PlainData) -> Target:
        """The target of such data; raises Damaged for any other."""


class ClassifierTarget(Target, Protocol):
    """A target of classes or labels, which have probabilities.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, or the numbers of the columns of y.
    """

    classes: np.ndarray

    def factors(
        self, class_weight: object, rows: LabelledRows, adds_up: bool = False
    ) -> np.ndarray | None:
        """Factors by which `class_weight` multiplies the weights of rows; None for none."""

    def decision(self, logits: np.ndarray) -> np.ndarray:
        """What `decision_function` gives for logits."""

    def proba(self, logits: np.ndarray) -> np.ndarray:
        """What `predict_proba` gives for logits."""

    def log_proba(self, logits: np.ndarray) -> np.ndarray:
        """What `predict_log_proba` gives for logits."""
