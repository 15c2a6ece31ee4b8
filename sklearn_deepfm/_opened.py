"""The estimator inside a pipeline or a search, and what reaches it."""

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._base import BaseDeepFM
from sklearn_deepfm._field_encoder import OrdinalFieldEncoder
from sklearn_deepfm._pretrained import embedding_frame


def opened(model, X):
    """A fitted estimator, its input, and the values behind that input.

    Parameters
    ----------
    model : BaseDeepFM, Pipeline or search
    X : data frame or array-like
        Input of the model.

    Returns
    -------
    estimator : BaseDeepFM
    X : data frame or array-like
        Input of the estimator.
    values : DataFrame of shape (n_samples, n_fields)
        What each field holds: the input of the encoder before the estimator, else that
        of the estimator; its columns are the names of the fields.

    Raises
    ------
    TypeError
        If there is no DeepFM at the end of the model.
    """
    estimator, steps = _taken_apart(model)
    values = X
    for step in steps:
        values, X = X, step.transform(X)
    names = getattr(estimator, "feature_names_in_", None)
    if steps and names is None:
        names = _names_out(steps, estimator)
    if steps and isinstance(steps[-1], OrdinalFieldEncoder):
        return estimator, X, _of_fields(steps[-1], values, names)
    return estimator, X, _as_frame(X, names)


def category_embeddings(model, field):
    """Learned embeddings of a field by category: behind an encoder by name, else by code.

    Parameters
    ----------
    model : BaseDeepFM, Pipeline or search
    field : str or int
        Name or position of a column of categories.

    Returns
    -------
    frame : DataFrame of shape (n_categories, n_members * embed_dim)
    """
    estimator, steps = _taken_apart(model)
    if not steps or not isinstance(steps[-1], OrdinalFieldEncoder):
        return estimator.embeddings(field)
    encoder = steps[-1]
    position, name = _position(encoder, field)
    frame = encoder.by_category(field, estimator.embeddings(position))
    return frame.rename_axis(index=name)


def category_weights(model, field):
    """Total weight of the training rows of each category, in the order of their embeddings.

    Parameters
    ----------
    model : BaseDeepFM, Pipeline or search
    field : str or int
        Name or position of a column of categories.

    Returns
    -------
    weights : ndarray of shape (n_categories,)
    """
    estimator, steps = _taken_apart(model)
    encoder = steps[-1] if steps and isinstance(steps[-1], OrdinalFieldEncoder) else None
    position = field if encoder is None else _position(encoder, field)[0]
    of_rows = np.concatenate([frequency for _, frequency in estimator._fields.frequencies])
    weights = embedding_frame(estimator._fields, position, of_rows[:, None])
    if encoder is not None:
        weights = encoder.by_category(field, weights)
    return weights.to_numpy()[:, 0]


def estimator_of(model):
    """The fitted estimator inside a pipeline or a search."""
    return _taken_apart(model)[0]


def _position(encoder, field):
    """Position and name of one of the encoder's fields."""
    names = list(encoder.get_feature_names_out())
    position = names.index(field) if field in names else field
    return position, names[position]


def _taken_apart(model):
    """The estimator at the end, and the transformers before it."""
    steps = []
    while not isinstance(model, BaseDeepFM):
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(model, Pipeline):
            steps += [step for _, step in model.steps[:-1] if step not in (None, "passthrough")]
            model = model.steps[-1][1]
        else:
            raise TypeError(
                f"model must be a fitted DeepFMClassifier or DeepFMRegressor, a Pipeline that "
                f"ends in one, or a search over these, got {type(model).__name__}."
            )
    check_is_fitted(model)
    return model, steps


def _names_out(steps, estimator):
    try:
        return Pipeline([(str(i), step) for i, step in enumerate(steps)]).get_feature_names_out()
    except (AttributeError, ValueError):  # a step that makes no names
        return np.arange(estimator.n_features_in_)


def _of_fields(encoder, values, names):
    """The columns that are fields, without those of weights."""
    frame = _as_frame(values, None)
    frame = frame.iloc[:, [role.position for role in encoder._roles]]
    return frame.set_axis(names, axis=1)


def _as_frame(X, names):
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X))
    return frame if names is None else frame.set_axis(names, axis=1)
