"""Predictions for data sets larger than memory, written to a Parquet file."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_deepfm._serialization.archive import replacing
from sklearn_deepfm._tables.stream import is_stream, named_columns, stream_like_fitted


def predict_to_parquet(model, X, path, *, method=None, keep=()):
    """Write the predictions of a model for a data set to a file, part by part.

    The file appears when it is complete, in the place of one that was there.

    Parameters
    ----------
    model : estimator
        A fitted Pipeline of an OrdinalFieldEncoder and an estimator, or an estimator alone.

    X : pyarrow.dataset.Dataset
        Its columns are found by their names; there may be others.

    path : str or path-like
        The file of Parquet to be written.

    method : {"predict_proba", "predict", "decision_function"}, default=None
        What to write; None: probabilities where the model gives them, else `predict`.

    keep : list of str, default=()
        Columns of the data set to write beside the predictions, such as keys.

    Returns
    -------
    n_rows : int
        The number of rows written, in the order of the data set. For none, such as those of a
        filter that no row passes, the file has the columns and no rows.

    Raises
    ------
    ValueError
        If the data set lacks columns, or the names of columns kept are those of predictions.
    TypeError
        If X is no data set.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow.dataset, pyarrow.parquet
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, predict_to_parquet
    >>> table = pyarrow.table({"key": [1, 2, 3, 4], "city": ["Oslo", "Rome", "Oslo", "Rome"]})
    >>> X = pyarrow.dataset.dataset(table)
    >>> model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=0))
    >>> model = model.fit(table.select(["city"]), ["no", "yes", "no", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/predictions.parquet"
    ...     predict_to_parquet(model, X, path, keep=["key"])
    ...     pyarrow.parquet.read_schema(path).names
    4
    ['key', 'proba_no', 'proba_yes']
    """
    if not is_stream(X) or not hasattr(X, "schema"):
        raise TypeError(f"X must be a pyarrow.dataset.Dataset, got a {type(X).__name__}.")
    if method is None:
        method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    keep = named_columns("keep", list(keep), X.schema.names)
    n_rows = 0
    with replacing(path, None) as file:
        parts = _predicted(model, X, method, keep)
        first = next(parts)  # which has the types of predictions
        with pq.ParquetWriter(file, first.schema) as writer:
            for part in chain([first], parts):
                writer.write_table(part)
                n_rows += len(part)
    return n_rows


def _predicted(model, X, method, keep) -> Iterator[pa.Table]:
    """Columns to keep and predictions, part by part; one part without rows if there are none."""
    stream, is_empty = stream_like_fitted(model, X), True
    for table in stream.tables([*stream.names, *keep]):
        is_empty = False
        yield _with_predictions(model, method, stream.features(table), table.select(keep))
    if is_empty:
        yield _with_predictions(model, method, X, stream.dataset.schema.empty_table().select(keep))


def _with_predictions(model, method, X, kept: pa.Table) -> pa.Table:
    predictions = getattr(model, method)(X)
    names = _names(model, method, predictions)
    if twice := set(names) & set(kept.schema.names):
        raise ValueError(f"keep must name no column of predictions, got {sorted(twice)}.")
    # Labels that are objects have no type where there are none of them.
    is_label = method == "predict" and predictions.dtype == object
    type_ = pa.array(model.classes_).type if is_label else None
    columns = [pa.array(column, type_) for column in predictions.reshape(-1, len(names)).T]
    return pa.Table.from_arrays([*kept.columns, *columns], names=[*kept.schema.names, *names])


def _names(model, method, predictions: np.ndarray) -> list[str]:
    """Names of the columns of predictions; they end in the class if each class has a column."""
    stem = {"predict_proba": "proba", "decision_function": "decision"}.get(method, "prediction")
    if predictions.ndim == 1:
        return [stem]
    endings = range(predictions.shape[1]) if method == "predict" else model.classes_
    return [f"{stem}_{ending}" for ending in endings]
