"""The estimator inside a pipeline or a search, and the transformers before it."""

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._estimators.base import BaseDeepFM
from sklearn_deepfm._fields.pretrained import embedding_frame
from sklearn_deepfm._model.components import has_part
from sklearn_deepfm._tables.pandas_index import index_of, without_index
from sklearn_deepfm._tables.table import read_table


class Unwrapped:
    """A fitted estimator, and the transformers before it.

    Parameters
    ----------
    model : BaseDeepFM, Pipeline or search

    Attributes
    ----------
    estimator : BaseDeepFM
    steps : list of transformer
    encoder : OrdinalFieldEncoder or None
        The last step, if it is one.
    """

    def __init__(self, model):
        self.estimator, self.steps = _unwrap(model)
        is_encoded = bool(self.steps) and isinstance(self.steps[-1], OrdinalFieldEncoder)
        self.encoder = self.steps[-1] if is_encoded else None

    def transform(self, X):
        """Input of the estimator, and the cells before they were encoded.

        Parameters
        ----------
        X : data frame or array-like
            Input of the model.

        Returns
        -------
        X : data frame or array-like
            Input of the estimator.
        values : DataFrame of shape (n_samples, n_fields)
            The cell of each field: input of the encoder if one stands directly before the
            estimator, else input of the estimator. Columns are named after the fields.
        """
        first, index = self.steps[0] if self.steps else self.estimator, index_of(X)
        values = X = without_index(X, getattr(first, "feature_names_in_", ()))
        for step in self.steps:
            values, X = X, step.transform(X)
        if self.encoder is None:
            frame = _as_frame(X)
        else:
            # A column of weights is no field of its own, so columns are chosen by their specs.
            positions = [spec.position for spec in self.encoder._column_specs]
            frame = _as_frame(values).iloc[:, positions]
        frame = frame.set_axis(self.field_names, axis=1)
        return X, frame if index is None else frame.set_axis(index)

    @property
    def field_names(self):
        """Names of the fields: names of the columns if there are any, else positions."""
        n_fields = self.estimator.n_features_in_
        if hasattr(self.estimator, "feature_names_in_"):
            return self.estimator.feature_names_in_.tolist()
        # An estimator behind a step sees a matrix without names: ask the steps for them.
        if self.encoder is not None and hasattr(self.encoder, "feature_names_in_"):
            return self.encoder.get_feature_names_out().tolist()
        if self.steps and self.encoder is None:
            steps = [(str(number), step) for number, step in enumerate(self.steps)]
            try:
                return Pipeline(steps).get_feature_names_out().tolist()
            except (AttributeError, ValueError):  # a step that makes no names
                return list(range(n_fields))
        return list(range(n_fields))

    def position(self, field):
        """Position of a field that is given by name or by position.

        Raises
        ------
        ValueError
            If there is no such field.
        """
        names = self.field_names
        if field in names:
            return names.index(field)
        if isinstance(field, int | np.integer) and 0 <= field < len(names):
            return int(field)
        raise ValueError(
            f"field must be one of {names}, or a position from 0 to {len(names) - 1}, got "
            f"{field!r}."
        )

    def embeddings(self, field):
        """Learned embeddings of a field: by category name behind an encoder, else by code.

        Returns
        -------
        frame : DataFrame of shape (n_categories, n_members * embed_dim)
        """
        position = self.position(field)
        if not has_part(self.estimator.module_.components, "embedding"):
            raise ValueError(
                f"components must have 'fm' or 'deep' for categories to have embeddings, and are "
                f"{self.estimator.module_.components}."
            )
        frame = self._by_category(position, self.estimator.embeddings(position))
        return frame.rename_axis(index=self.field_names[position])

    def category_weights(self, field):
        """Total weight of the training rows of each category, in the order of `embeddings`.

        Returns
        -------
        weights : ndarray of shape (n_categories,)
        """
        position, fields = self.position(field), self.estimator._fields
        of_rows = np.concatenate([frequency for _, frequency in fields.frequencies])
        # The same two functions as for embeddings, so that the order is the same.
        frame = embedding_frame(fields, position, of_rows[:, None])
        return self._by_category(position, frame).to_numpy()[:, 0]

    def _by_category(self, position, frame):
        """Replace codes in a frame's index by the encoder's categories, if there is one."""
        if self.encoder is None:
            return frame
        return self.encoder.by_category(self.encoder._column_specs[position].position, frame)


def _unwrap(model):
    """The estimator at the end, and the transformers before it."""
    steps = []
    while not isinstance(model, BaseDeepFM):
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(model, Pipeline):
            steps += _transformers(model.steps[:-1])
            model = model.steps[-1][1]
        else:
            raise TypeError(
                f"model must be a fitted DeepFMClassifier or DeepFMRegressor, a Pipeline that "
                f"ends in one, or a fitted search over these with refit, got "
                f"{type(model).__name__}."
            )
    check_is_fitted(model)
    return model, steps


def _transformers(steps):
    """The transformers of a pipeline's steps, and of pipelines among them."""
    found = []
    for _, step in steps:
        if isinstance(step, Pipeline):
            found += _transformers(step.steps)
        elif step not in (None, "passthrough"):
            found.append(step)
    return found


def _as_frame(X):
    """Rows as pandas has them, read as the encoder reads them."""
    table = read_table(X)
    if isinstance(table, nw.DataFrame):
        return table.to_pandas()
    # Rows that came as lists are objects: whole columns of numbers get their type back.
    return table if isinstance(table, pd.DataFrame) else pd.DataFrame(table).infer_objects()
