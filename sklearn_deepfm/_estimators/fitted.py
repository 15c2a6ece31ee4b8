"""Fitted attributes that follow from net and fields, and the logits of a fitted estimator."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._estimators.prediction import predict_logits
from sklearn_deepfm._fields.pretrained import embedding_frame
from sklearn_deepfm._fields.read_columns import read_cells
from sklearn_deepfm._tables.stream import is_stream, stream_like_fitted
from sklearn_deepfm._training.best_epoch import best_epoch, without_batches


class Fitted:
    """Attributes and predictions that follow from `_fields` and `net_`, which fit sets."""

    net_: Any
    _fields: Any

    @property
    def module_(self):
        """The trained network, in eval mode."""
        return self.net_.module_

    @property
    def field_dims_(self):
        """Table rows of each field."""
        return self._fields.dims

    @property
    def history_(self):
        """A dict for each epoch."""
        return without_batches(self.net_.history)

    @property
    def n_iter_(self):
        """Number of epochs run."""
        return len(self.net_.history)

    @property
    def best_epoch_(self):
        """Number of the epoch whose weights the model has; None without validation rows."""
        return best_epoch(self.history_)

    @property
    def loss_curve_(self):
        """Mean training loss of each epoch."""
        return [epoch["train_loss"] for epoch in self.history_]

    @property
    def validation_scores_(self):
        """Score of the validation rows after each epoch that had any."""
        scores = [epoch["valid_score"] for epoch in self.history_ if "valid_score" in epoch]
        return scores or None

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def embeddings(self, field):
        """Learned embeddings of a column of codes.

        Parameters
        ----------
        field : str or int
            Name or position of the column.

        Returns
        -------
        frame : DataFrame of shape (n_codes, n_members * embed_dim)
            A row for each code that fit saw, by code, or by category in a column of
            category dtype. Those of several members stand side by side, divided by the
            root of their number, so that products of rows are the mean of the members'.
            `OrdinalFieldEncoder.by_category` puts the categories in the
            place of codes.
        """
        check_is_fitted(self)
        table = self.module_.table.detach().cpu().numpy()
        frame = embedding_frame(self._fields, field, table[:, self.module_.n_first :])
        return frame / np.float32(np.sqrt(self.module_.n_members))

    def _logits(self, X):
        """Logits, float64 of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        if is_stream(X):
            parts = stream_like_fitted(self, X).parts()
            logits = [self._logits(part) for part, _ in parts]
            # No rows have no logits.
            return np.concatenate(logits or [np.empty((0, self.module_.n_outputs))])
        net, fields = self.net_, self._fields
        return predict_logits(net.module_, fields, read_cells(self, X), net.device)
