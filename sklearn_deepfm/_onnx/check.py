"""A file with steps of other libraries is run, and what it gives compared with the model."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
from onnx import ModelProto

MOST_ROWS = 1000
TOLERANCE, RELATIVE = 1e-5, 1e-6


def last_method(model: Any) -> str:
    """The name of the method whose result is the last output of a file."""
    for name in ("predict_proba", "predict", "transform"):
        if hasattr(model, name):
            return name
    raise TypeError(
        f"model must predict or transform, got {model!r}. A search does so if refit is True."
    )


def first_rows(X: Any) -> Any:
    """As many rows as are tried out."""
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    is_frame = isinstance(frame, nw.DataFrame)
    return frame.head(MOST_ROWS).to_native() if is_frame else X[:MOST_ROWS]


def check_file(
    onnx_model: ModelProto,
    feed: dict[str, np.ndarray],
    expected: Any,
    is_proba: bool,
    of_others: list[str],
) -> None:
    """Refuse a file that does not give what its model does.

    Parameters
    ----------
    onnx_model : ModelProto
    feed : dict of ndarray
        Some rows as the file takes them.
    expected : array-like
        What the model gives for them.
    is_proba : bool
        Whether these are probabilities, as opposed to numbers of any size.
    of_others : list of str
        Names of the steps of other libraries.

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    ValueError
        If the file cannot be run, or differs for one of the rows.
    """
    found = _run(onnx_model, feed, of_others)
    expected = np.reshape(expected, found.shape)
    scale = 1.0 if is_proba else np.ptp(expected, axis=0)
    is_near = np.isclose(found, expected, rtol=RELATIVE, atol=TOLERANCE * scale)
    wrong = np.flatnonzero(~is_near.reshape(len(found), -1).all(axis=1))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"The ONNX file differs from the model in {len(wrong)} of {len(found)} rows: in row "
            f"{row} it gives {found[row].tolist()}, and the model {expected[row].tolist()}. "
            f"{remedy(of_others)}"
        )


def remedy(of_others: list[str]) -> str:
    """What to do about steps that skl2onnx does not convert as they are."""
    return (
        f"The steps {of_others} are converted by skl2onnx, and not all of its converters are exact "
        f"in float64: leave out the step that is to blame, or apply it in front of the file. "
        f"Columns of float32 differ too: make them float64 before the fit."
    )


def _run(onnx_model: ModelProto, feed: dict[str, np.ndarray], of_others: list[str]) -> np.ndarray:
    """The last output: probabilities or numbers."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"A file with steps of other libraries, {of_others}, is tried out with onnxruntime, "
            f"which is not installed: pip install 'sklearn_deepfm[onnx]'."
        ) from error
    try:
        session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
        return np.asarray(session.run(None, feed)[-1])
    except Exception as error:  # each of its own class
        raise ValueError(
            f"onnxruntime cannot run the file: {error}. {remedy(of_others)}"
        ) from error
