"""The contract of a target: what an estimator makes of y, and what it predicts from logits."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class LabelledRows(Protocol):
    """Rows as a target sees them: y, encoded, and weights or None."""

    @property
    def y(self) -> np.ndarray: ...

    @property
    def weight(self) -> np.ndarray | None: ...


class Target(Protocol):
    """A kind of y; one is added by writing a class with these attributes and methods.

    Attributes
    ----------
    loss : str
        Name of the loss that the network is trained by.
    is_class : bool
        Whether each row has one of several classes, which a hold-out keeps in proportion.
    n_outputs : int
        Logits of each row.
    initial_bias : ndarray of shape (n_outputs,)
        Logits that the network starts from.
    base_loss : float
        Mean loss of a model that predicts these.
    """

    @property
    def loss(self) -> str: ...

    @property
    def is_class(self) -> bool: ...

    @property
    def n_outputs(self) -> int: ...

    @property
    def initial_bias(self) -> np.ndarray: ...

    @property
    def base_loss(self) -> float: ...

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Numbers for labels; those of rows that are not as in the first fit are refused."""
        ...

    def fit(self, rows: LabelledRows) -> None:
        """Learn from the training rows."""

    def see(self, rows: LabelledRows) -> None:
        """Take further rows into account, where training goes on with an earlier fit."""

    def to_network(self, y: np.ndarray) -> np.ndarray:
        """What the loss compares logits with."""
        ...

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """What `predict` returns for logits."""
        ...

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Inverse of `encode`."""
        ...

    def fixed_predictions(self, logits: np.ndarray, X: Any) -> Any:
        """A fitted estimator that predicts from these logits, for a scorer."""

    def to_plain(self) -> dict[str, Any]:
        """All of the above as plain data."""
        ...
