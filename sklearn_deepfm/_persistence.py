"""save_model and load_model: a model in one file, from which loading runs no code."""

from __future__ import annotations

import os
from typing import Any

from sklearn.pipeline import Pipeline

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._estimators.classifier import DeepFMClassifier
from sklearn_deepfm._estimators.regressor import DeepFMRegressor
from sklearn_deepfm._serialization import archive
from sklearn_deepfm._serialization.plain_values import expect, saying_damaged

_CLASSES: dict[str, Any] = {
    cls.__name__: cls for cls in (DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder)
}


# Attributes that a file may set besides parameters.
_LEARNED = (
    "n_features_in_",
    "feature_names_in_",
    "_other_names",
    "_sklearn_output_config",
    "learned",
    "format",
)
_PIPELINE = {"transform_input", "memory", "verbose"}


def save_model(model: Any, path: Any) -> None:
    """Write a model to one file, from which :func:`load_model` makes it again.

    The file holds only numbers and strings: unlike a pickle, it has no code that loading
    it would run. It holds all that a pickle would: parameters, weights, history, and
    with `warm_start` or after `partial_fit` the state that training goes on with. It holds
    no row of the training data, but it holds the categories and the edges of bins.

    Parameters
    ----------
    model : DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder or Pipeline
        Fitted or not. The steps of a Pipeline must be of these classes.
    path : str or path-like
        The file. One that exists is replaced when the new one is complete: a write that
        fails leaves the old one. Of a symbolic link, the file to which it leads.

    Raises
    ------
    TypeError
        If `model` is of another class, or a parameter is an object that takes code to
        make again, such as a callback, a splitter or a random generator; or if `path` is
        neither a string nor path-like.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Reads it.
    to_onnx : For a file that predicts without this library.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn_deepfm import DeepFMClassifier, load_model, save_model
    >>> X, y = [[0, 1], [1, 0], [0, 0], [1, 1]] * 20, [0, 1, 0, 1] * 20
    >>> model = DeepFMClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.deepfm")
    ...     save_model(model, path)
    ...     loaded = load_model(path)
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    archive.write(path, _to_plain(model))


def load_model(path: Any) -> Any:
    """Read a model that :func:`save_model` has written.

    No code in the file is run, whoever wrote it. Whether the model in it is the one you
    mean only you can know: a file from somebody you do not trust may predict anything.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    model : DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder or Pipeline
        As it was saved. One that was trained on a device that this machine lacks is
        loaded on the CPU, with a warning.

    Raises
    ------
    ValueError
        If the file was written by a later version in a format that this one does not
        know, or by something else, or is cut short or damaged.
    TypeError
        If `path` is neither a string nor path-like.
    OSError
        If the file cannot be read.

    See Also
    --------
    save_model : Writes it.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn_deepfm import OrdinalFieldEncoder, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "encoder.deepfm")
    ...     save_model(OrdinalFieldEncoder().fit([["Oslo"], ["Rome"]]), path)
    ...     load_model(path).transform([["Rome"], ["Lima"]])
    array([[3],
           [1]], dtype=int32)
    """
    content = archive.read(path)
    with saying_damaged(repr(os.fspath(path))):
        return _of_plain(content)


def _to_plain(model: Any) -> dict[str, Any]:
    """A model as plain data; what would be lost is refused."""
    name = type(model).__name__
    if type(model) is _CLASSES.get(name):
        state = model.__getstate__()
        if strange := set(state) - {*model._get_param_names(), *_LEARNED}:
            raise TypeError(
                f"The {name} has the attributes {sorted(strange)}, which are none of its own and "
                f"would be lost. Delete them, or save it with skops or pickle."
            )
        return {"class": name, "state": state}
    if type(model) is not Pipeline:
        raise TypeError(
            f"model must be a DeepFMClassifier, a DeepFMRegressor, an OrdinalFieldEncoder, or a "
            f"Pipeline of these, got {name}. Save it with skops or pickle."
        )
    params = {name: value for name, value in vars(model).items() if name != "steps"}
    if model.memory is not None:
        raise TypeError(
            f"memory of the Pipeline must be None, got {model.memory!r}: a cache holds pickles, "
            f"which run code. Set it to None, or save the Pipeline with skops or pickle."
        )
    if strange := set(params) - _PIPELINE:
        raise TypeError(
            f"The Pipeline has the attributes {sorted(strange)}, which are none of its own and "
            f"would be lost. Delete them, or save it with skops or pickle."
        )
    steps = [[step_name, _step_to_plain(step)] for step_name, step in model.steps]
    return {"class": "Pipeline", "params": params, "steps": steps}


def _step_to_plain(step: Any) -> Any:
    return step if step in (None, "passthrough") else _to_plain(step)


def _of_plain(content: Any) -> Any:
    """The model that plain data was made of; entries that no model writes are refused."""
    expect(isinstance(content, dict), "content")
    if content.get("class") == "Pipeline":
        expect(set(content) == {"class", "params", "steps"}, "Pipeline")
        steps = [(name, _step_of_plain(step)) for name, step in content["steps"]]
        expect(set(content["params"]) <= _PIPELINE, "params")
        expect(content["params"].get("memory") is None, "memory")
        pipeline = Pipeline(steps)
        pipeline.__dict__.update(content["params"])
        return pipeline
    expect(content.get("class") in _CLASSES and set(content) == {"class", "state"}, "class")
    cls = _CLASSES[content["class"]]
    model = cls.__new__(cls)
    # An attribute of another name could take the place of a method.
    expect(set(content["state"]) <= {*cls._get_param_names(), *_LEARNED}, "state")
    model._load_state(content["state"])
    return model


def _step_of_plain(step: Any) -> Any:
    return step if step in (None, "passthrough") else _of_plain(step)
