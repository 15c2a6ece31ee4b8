"""The regressor: a DeepFM behind scikit-learn's interface."""

import torch
from sklearn.base import RegressorMixin

from sklearn_deepfm._base import RULES, BaseDeepFM
from sklearn_deepfm._net import DeepFMRegressorNet
from sklearn_deepfm._targets import Amount


class DeepFMRegressor(RegressorMixin, BaseDeepFM):
    """TODO"""

    _rules = RULES
    _net_class = DeepFMRegressorNet
    _target_class = Amount

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
        self.categorical_features = categorical_features
        self.sparse_updates = sparse_updates
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def partial_fit(self, X, y, sample_weight=None):
        return self._partial_fit(X, y, sample_weight, Amount)

    def predict(self, X):
        logits = self._logits(X)
        return self._target.predict(logits)

    def _criterion(self):
        return torch.nn.MSELoss
