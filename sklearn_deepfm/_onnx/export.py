"""to_onnx and register_onnx_converters, the public functions of the ONNX export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto


def to_onnx(model: Any, X: Any, *, missing_string: str = "<NA>") -> ModelProto:
    """One ONNX model of a fitted estimator, encoder or whole Pipeline.

    The file holds everything from the cells of a table to labels and probabilities:
    the encoder's categories and bins, codes of missing and unknown ones, and the
    network. To run it takes onnxruntime, and neither torch nor scikit-learn.

    Parameters
    ----------
    model : DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder or Pipeline
        A fitted model. Further steps of a Pipeline or a ColumnTransformer get one matrix
        of float64 and are converted by skl2onnx; of a search, the best model is taken.
    X : {array-like, dataframe} of shape (n_samples, n_features)
        Some rows such as `model` was fitted on; they give the inputs their names and
        types, and are not in the file. Whole numbers become int64 inputs if none is
        missing in these rows, else float64. Where steps of other libraries are in the
        model, the first 1,000 rows are run through the file, and compared.
    missing_string : str, default="<NA>"
        What is sent in place of a missing string: an ONNX tensor of strings has no
        null. "" is a category like others.

    Returns
    -------
    onnx_model : onnx.ModelProto
        Its inputs are a tensor of shape (n, 1) for each column of a data frame, under
        the column's name, or "X" of shape (n, n_features) for a matrix. Strings are
        strings; fractions, and whole numbers among which some are missing, are float64
        with NaN; dates and durations int64 microseconds with NaT as NumPy has it, the
        smallest int64. Lists are matrices as wide as the longest list, filled up with
        "" or with the smallest int64, and hold the smallest int64 plus 1 for a missing
        number; their weights, where they have any, are a further float64 input of the
        same shape.

        Columns without a name are "x0", "x1" and so on, by their positions.

        The outputs are "label" and "probabilities" (n, n_classes) for a classifier,
        "variable" (n, n_outputs) for a regressor, codes for an encoder. They equal
        `predict` and `predict_proba` up to rounding in float32. An output gets an
        underscore behind its name if a column has that name.

        The metadata "missing_string" and "columns" say what types do not tell.

    Raises
    ------
    ImportError
        If skl2onnx is not installed, or onnxruntime, to compare by, is not.
    TypeError
        If a column of X holds what no input of an ONNX file can, or `missing_string` is
        no string.
    ValueError
        If a column is hashed, has integers beyond int64 for categories or lists of
        fractions, for which ONNX has no operator, if `missing_string` is a category, if
        `model` refuses X, if a step of another library is not converted exactly, or
        stands around the model, or if the table of embeddings is larger than the 2 GiB
        that a file can hold.

    See Also
    --------
    register_onnx_converters : For `skl2onnx.to_onnx` on models with these steps inside.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, to_onnx
    >>> X = pd.DataFrame({"city": ["Oslo", "Rome", None] * 20, "hour": [7, 12, 19] * 20})
    >>> model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=2))
    >>> onnx_model = to_onnx(model.fit(X, [0, 1, 1] * 20), X)
    >>> [tensor.name for tensor in onnx_model.graph.input]
    ['city', 'hour']
    >>> [tensor.name for tensor in onnx_model.graph.output]
    ['label', 'probabilities']
    """
    _check_installed()
    # Imported here, since skl2onnx is an extra that all others do without.
    from sklearn_deepfm._onnx.conversion import export

    return export(model, X, missing_string)


def register_onnx_converters() -> None:
    """Tell skl2onnx of the estimators and the encoder.

    After it `skl2onnx.to_onnx` and `skl2onnx.convert_sklearn` convert models that hold
    them, in their own way: they take the types of the inputs, and the options "zipmap"
    and "missing_string". Calling it again changes nothing.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    to_onnx : Does all of it in one call.

    Examples
    --------
    >>> from sklearn_deepfm import register_onnx_converters
    >>> register_onnx_converters()
    """
    _check_installed()
    from sklearn_deepfm._onnx.converters import register

    register()


def _check_installed() -> None:
    try:
        import skl2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "An ONNX file is made with skl2onnx, which is not installed: "
            "pip install 'sklearn_deepfm[onnx]'."
        ) from error
