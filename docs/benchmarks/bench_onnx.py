"""Prediction by an ONNX file beside `predict_proba` of the Pipeline it was made from.

    pip install 'sklearn_deepfm[onnx]' onnxruntime
    python docs/benchmarks/bench_onnx.py

The model is OrdinalFieldEncoder() and DeepFMClassifier() on flights, all columns but those with the
words "as numbers" as categories. Both sides start from the same cells: a data frame of the rows for
the Pipeline, tensors for onnxruntime. Median of the calls, on one thread; "equal to" is the largest
difference between two probabilities over all rows.
"""

import time

import numpy as np
import onnx
import onnxruntime
import sklearn
import skorch
import torch
from setting import print_setting
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, to_onnx
from sklearn_deepfm.datasets import load_flights

NUMBERS = ["sched_dep_minute", "sched_arr_minute", "distance"]


def session_of(model, X):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(to_onnx(model, X).SerializeToString(), options)


def feed_of(session, X):
    types = {"tensor(int64)": np.int64, "tensor(double)": np.float64}
    feed = {}
    for entry in session.get_inputs():
        cells = X[entry.name]
        if entry.type == "tensor(string)":
            cells = cells.astype(object).where(cells.notna(), "<NA>")
        feed[entry.name] = cells.to_numpy(types.get(entry.type, object))[:, np.newaxis]
    return feed


def median_seconds(call, seconds=2.0):
    call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main():
    torch.set_num_threads(1)
    print_setting(torch, sklearn, skorch, np, onnx, onnxruntime)
    X, y = load_flights(return_X_y=True)
    print(f"{'':12}{'rows':>8}{'Pipeline, ms':>14}{'ONNX, ms':>10}{'ratio':>7}{'ONNX rows/s':>13}")
    for name, numeric in (("categories", None), ("as numbers", NUMBERS)):
        encoder = OrdinalFieldEncoder(numeric_features=numeric)
        model = make_pipeline(encoder, DeepFMClassifier(max_epochs=2, random_state=0)).fit(X, y)
        session = session_of(model, X)
        feed = feed_of(session, X)
        proba = session.run(["probabilities"], feed)[0]
        for n in (1, 100, 10_000, 100_000):
            part, tensors = X[:n], {key: tensor[:n] for key, tensor in feed.items()}
            ours = median_seconds(lambda part=part, model=model: model.predict_proba(part))
            onnx_s = median_seconds(lambda t=tensors, s=session: s.run(["probabilities"], t))
            print(
                f"{name:12}{n:8}{1e3 * ours:14.3f}{1e3 * onnx_s:10.3f}{ours / onnx_s:7.1f}"
                f"{n / onnx_s:13.0f}"
            )
        print(f"{name:12}equal to {np.abs(proba - model.predict_proba(X)).max():.1e}")


if __name__ == "__main__":
    main()
