"""Sizes and times of a saved model in each format.

    pip install skops 'sklearn_deepfm[onnx]'
    python docs/benchmarks/bench_files.py

The model is a Pipeline of OrdinalFieldEncoder() and DeepFMClassifier() on flights after one epoch.
"warm start" holds what training goes on with: two moments for each weight. Seconds are the median
of three.
"""

import os
import pickle
import tempfile
import time

import joblib
import numpy as np
import onnxruntime
import skl2onnx
import sklearn
import skops
import skops.io
import skorch
import torch
from setting import print_setting
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    OrdinalFieldEncoder,
    load_model,
    save_model,
    to_onnx,
)
from sklearn_deepfm.datasets import load_flights


def dump_pickle(model, path):
    with open(path, "wb") as file:
        pickle.dump(model, file)


def load_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def load_skops(path):
    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def median_seconds(call):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main():
    torch.set_num_threads(1)
    print_setting(torch, sklearn, skorch, np, skops, skl2onnx, onnxruntime)
    X, y = load_flights(return_X_y=True)

    def dump_onnx(model, path):
        with open(path, "wb") as file:
            file.write(to_onnx(model, X[:1000]).SerializeToString())

    formats = {
        "save_model": (save_model, load_model),
        "pickle": (dump_pickle, load_pickle),
        "joblib": (joblib.dump, joblib.load),
        "skops": (skops.io.dump, load_skops),
        "ONNX": (dump_onnx, onnxruntime.InferenceSession),
    }
    for title, warm_start in (("fitted", False), ("warm start", True)):
        estimator = DeepFMClassifier(max_epochs=1, warm_start=warm_start, random_state=0)
        model = make_pipeline(OrdinalFieldEncoder(), estimator).fit(X, y)
        n_rows, width = model[1].module_.table.shape
        table = model[1].module_.table.nbytes / 2**20
        print(f"\n{title}: a table of {n_rows} rows of {width} numbers, {table:.2f} MiB")
        print(f"{'':12}{'MiB':>8}{'write, s':>10}{'read, s':>10}")
        for name, (write, read) in formats.items():
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model")
                writing = median_seconds(lambda w=write, p=path, m=model: w(m, p))
                reading = median_seconds(lambda r=read, p=path: r(p))
                size = os.path.getsize(path) / 2**20
            print(f"{name:12}{size:8.2f}{writing:10.3f}{reading:10.3f}")


if __name__ == "__main__":
    main()
