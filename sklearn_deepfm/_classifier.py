"""The classifier: a DeepFM behind scikit-learn's interface."""

import functools

import numpy as np
import torch
from sklearn.base import ClassifierMixin

from sklearn_deepfm._base import RULES, BaseDeepFM
from sklearn_deepfm._net import DeepFMClassifierNet
from sklearn_deepfm._parameters import instance, one_of
from sklearn_deepfm._rows import Rows
from sklearn_deepfm._targets import Labels


class DeepFMClassifier(ClassifierMixin, BaseDeepFM):
    """TODO"""

    _rules = {**RULES, "class_weight": one_of(None, "balanced") | instance(dict, "a dict")}
    _net_class = DeepFMClassifierNet
    _target_class = Labels

    def __init__(
        self,
        *,
        embed_dim=16,
        mlp_dims=(128, 64),
        dropout=0.2,
        batch_norm=True,
        components=("linear", "fm", "deep"),
        learning_rate=1e-3,
        embedding_l2=1e-2,
        weight_decay=0.0,
        max_epochs=50,
        batch_size="auto",
        early_stopping="auto",
        scoring="loss",
        validation_fraction=0.1,
        n_iter_no_change=2,
        tol=1e-6,
        lr_schedule="plateau",
        class_weight=None,
        categorical_features="from_dtype",
        sparse_updates="auto",
        precision="float32",
        device="cpu",
        callbacks=None,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.embed_dim = embed_dim
        self.mlp_dims = mlp_dims
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.components = components
        self.learning_rate = learning_rate
        self.embedding_l2 = embedding_l2
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.lr_schedule = lr_schedule
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.sparse_updates = sparse_updates
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @property
    def classes_(self):
        return self._target.classes

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        if classes is None and not hasattr(self, "net_"):
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels that "
                "any later call may bring, got None."
            )
        return self._partial_fit(X, y, sample_weight, lambda y: Labels(np.asarray(classes)))

    def predict(self, X):
        logits = self._logits(X)
        return self._target.predict(logits)

    def predict_proba(self, X):
        logits = self._logits(X)
        return self._target.proba(logits)

    def predict_log_proba(self, X):
        logits = self._logits(X)
        return self._target.log_proba(logits)

    def decision_function(self, X):
        logits = self._logits(X)
        return self._target.decision(logits)

    def _criterion(self):
        loss = torch.nn.BCEWithLogitsLoss if self._target.n_outputs == 1 else torch.nn.CrossEntropyLoss
        return loss

    def _weigh(self, rows):
        """Multiply weights by those of the classes."""
        if self.class_weight is None:
            return rows
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        n_classes = len(self.classes_)
        if self.class_weight == "balanced":
            total = np.bincount(rows.y, weights=weight, minlength=n_classes)
            factor = weight.sum() / (n_classes * np.maximum(total, 1e-300))
        else:
            factor = np.array([self.class_weight.get(label, 1) for label in self.classes_.tolist()])
        return Rows(rows.columns, rows.y, weight * factor[rows.y])
