"""Predictions for data sets larger than memory, written to a Parquet file."""

from collections.abc import Iterator

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
        The number of rows written, in the order of the data set.

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
        writer = None
        for part in _predicted(model, X, method, keep):
            if writer is None:  # the types of predictions are known from the first part on
                writer = pq.ParquetWriter(file, part.schema)
            writer.write_table(part)
            n_rows += len(part)
        if writer is None:
            raise ValueError("The data set has 0 rows: there is nothing to predict.")
        writer.close()
    return n_rows


def _predicted(model, X, method, keep) -> Iterator[pa.Table]:
    """Columns to keep and predictions, part by part."""
    stream = stream_like_fitted(model, X)
    for table in stream.tables([*stream.names, *keep]):
        predictions = getattr(model, method)(stream.features(table))
        names = _names(model, method, predictions)
        if twice := set(names) & set(keep):
            raise ValueError(f"keep must name no column of predictions, got {sorted(twice)}.")
        columns = [table[name] for name in keep]
        predictions = predictions.reshape(len(table), -1)
        columns += [pa.array(column) for column in predictions.T]
        yield pa.Table.from_arrays(columns, names=[*keep, *names])


def _names(model, method, predictions: np.ndarray) -> list[str]:
    """Names of the columns of predictions; they end in the class if each class has a column."""
    stem = {"predict_proba": "proba", "decision_function": "decision"}.get(method, "prediction")
    if predictions.ndim == 1:
        return [stem]
    endings = range(predictions.shape[1]) if method == "predict" else model.classes_
    return [f"{stem}_{ending}" for ending in endings]
