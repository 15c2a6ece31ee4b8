"""Check of an ONNX file: run it with onnxruntime, and compare its output with the model's."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import ArrayLike
from onnx import ModelProto
from sklearn.base import BaseEstimator

MOST_ROWS = 1000  # that are run through a file
# Allowed differences: of a probability, or of the range of predicted numbers; of each number.
TOLERANCE, RELATIVE = 1e-5, 1e-6


def last_method(model: BaseEstimator) -> str:
    """The name of the method whose result is the last output of a file."""
    for name in ("predict_proba", "predict", "transform"):
        if hasattr(model, name):
            return name
    raise TypeError(
        f"model must predict or transform, got {model!r}. A search does so if refit is True."
    )


def first_rows(X: Any) -> Any:
    """The first rows of a table, on which a file is checked."""
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    is_frame = isinstance(frame, nw.DataFrame)
    return frame.head(MOST_ROWS).to_native() if is_frame else X[:MOST_ROWS]


def check_file(
    onnx_model: ModelProto,
    feed: dict[str, np.ndarray],
    expected: ArrayLike,
    is_proba: bool,
    foreign: list[str],
) -> None:
    """Refuse a file whose output differs from its model's.

    Parameters
    ----------
    onnx_model : ModelProto
    feed : dict of ndarray
        The inputs of the file, for some rows.
    expected : array-like
        Output of the model for these rows.
    is_proba : bool
        Whether these are probabilities, as opposed to numbers of any size.
    foreign : list of str
        Names of the steps of other libraries.

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    ValueError
        If the file cannot be run, or differs for one of the rows.
    """
    found = _run(onnx_model, feed, foreign)
    expected = np.reshape(expected, found.shape)
    # The predictions of a regressor have a unit of their own, so their range is the measure.
    scale = 1.0 if is_proba else np.ptp(expected, axis=0)
    is_near = np.isclose(found, expected, rtol=RELATIVE, atol=TOLERANCE * scale)
    wrong = np.flatnonzero(~is_near.reshape(len(found), -1).all(axis=1))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"The ONNX file differs from the model in {len(wrong)} of {len(found)} rows: in row "
            f"{row} it gives {found[row].tolist()}, and the model {expected[row].tolist()}. "
            f"{remedy(foreign)}"
        )


def remedy(foreign: list[str]) -> str:
    """Advice for steps that skl2onnx does not convert exactly."""
    return (
        f"The steps {foreign} are converted by skl2onnx, and not all of its converters are exact "
        f"in float64: leave out the step that is to blame, or apply it in front of the file. "
        f"Columns of float32 differ too: make them float64 before the fit."
    )


def _run(onnx_model: ModelProto, feed: dict[str, np.ndarray], foreign: list[str]) -> np.ndarray:
    """Run a file, and return its last output: probabilities or numbers."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"A file with steps of other libraries, {foreign}, is tried out with onnxruntime, "
            f"which is not installed: pip install 'sklearn_deepfm[onnx]'."
        ) from error
    try:
        session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
        return np.asarray(session.run(None, feed)[-1])
    except Exception as error:  # onnxruntime has a class for each kind of failure
        raise ValueError(f"onnxruntime cannot run the file: {error}. {remedy(foreign)}") from error
