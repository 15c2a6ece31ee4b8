"""The net of each kind of target, with the methods that skorch's scorers ask for."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from sklearn_deepfm._net import DeepFMNet


class DeepFMClassifierNet(ClassifierMixin, DeepFMNet):
    """Net for classes, numbered from 0, or labels."""

    @property
    def classes_(self) -> np.ndarray:
        return np.arange(max(2, self.module_.n_outputs))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class or label, of shape (n_samples, n_classes)."""
        proba: np.ndarray = self.module_.to_proba(self.forward(X)).detach().numpy()
        return np.column_stack([1 - proba, proba]) if proba.shape[1] == 1 else proba

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class, of shape (n_samples,), or whether a row has each label."""
        proba = self.predict_proba(X)
        label: np.ndarray = proba > 0.5 if self.module_.multi_label else proba.argmax(1)
        return label.astype(np.int64)


class DeepFMRegressorNet(RegressorMixin, DeepFMNet):
    """Net for a target of mean 0 and variance 1."""

    def predict(self, X: Any) -> np.ndarray:
        """Standardised target, of shape (n_samples,) or (n_samples, n_outputs)."""
        output: np.ndarray = self.forward(X).detach().numpy()
        return output[:, 0] if output.shape[1] == 1 else output
