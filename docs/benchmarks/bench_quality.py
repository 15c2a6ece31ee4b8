"""What speed costs in quality: row-sparse updates, row-wise Adagrad and bfloat16.

    python docs/benchmarks/bench_quality.py --data DIR [--sets flights frappe]
        [--ways dense sparse adagrad bfloat16] [--seeds N]

Each way is fitted with the same seeds on the same rows. flights: random 80/20 split, defaults.
Frappe: the published split and settings of bench_frappe.py. Test rows are predicted once, after
each fit. A difference is the mean of the differences to dense float32 Adam within the seeds.

bfloat16 emulated: where the CPU has no products of bfloat16, inputs, weights, results and gradients
of the MLP's layers are rounded to it around float32 products, which is what such products compute.
"""

import argparse
import contextlib
import os
import pathlib
import time

import numpy as np
import pandas as pd
import sklearn
import skorch
import torch
from bench_frappe import fit as fit_frappe
from bench_frappe import read as read_frappe
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

WAYS = {
    "dense": {"sparse_updates": False},
    "sparse": {"sparse_updates": True},
    "adagrad": {"table_optimizer": "adagrad"},
    "bfloat16": {"sparse_updates": False, "precision": "bfloat16"},
}


class RoundedLinear(torch.autograd.Function):
    """A linear layer of bfloat16, in float32 arithmetic."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        x, weight = rounded(x), rounded(weight)
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return rounded(_linear(x, weight, None if bias is None else rounded(bias)))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = rounded(grad)
        bias_grad = rounded(grad.sum(0)) if ctx.has_bias else None
        return rounded(grad @ weight), rounded(grad.T @ x), bias_grad


def rounded(tensor):
    return tensor.bfloat16().to(tensor.dtype)


_linear, _batch_norm = F.linear, F.batch_norm


@contextlib.contextmanager
def emulated():
    """Round while training as autocast does; the rest is float32."""

    def linear(x, weight, bias=None):
        return (
            RoundedLinear.apply(x, weight, bias)
            if torch.is_grad_enabled()
            else _linear(x, weight, bias)
        )

    def batch_norm(*args, **kwargs):
        result = _batch_norm(*args, **kwargs)
        return result + (rounded(result) - result).detach() if torch.is_grad_enabled() else result

    F.linear, F.batch_norm = linear, batch_norm
    try:
        yield
    finally:
        F.linear, F.batch_norm = _linear, _batch_norm


def flights(folder):
    X, y = load_flights(return_X_y=True)

    def fit(seed, params):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.2, random_state=seed, stratify=y
        )
        encoder = OrdinalFieldEncoder().fit(X_train)
        model = DeepFMClassifier(random_state=seed, **params)
        model.fit(encoder.transform(X_train), y_train)
        return model, encoder.transform(X_test), y_test

    return fit


def frappe(folder):
    (X_train, y_train), (X_valid, y_valid), (X_test, y_test) = read_frappe(folder / "frappe")
    encoder = OrdinalFieldEncoder().fit(X_train)
    train, valid = (encoder.transform(X_train), y_train), (encoder.transform(X_valid), y_valid)
    test = encoder.transform(X_test)

    def fit(seed, params):
        return fit_frappe(train, valid, seed, **params), test, y_test

    return fit


def run(fit, way, seed):
    params, context = dict(WAYS[way]), contextlib.nullcontext()
    if way == "bfloat16" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        params, context = WAYS["dense"], emulated()
    start = time.perf_counter()
    with context:
        model, X_test, y_test = fit(seed, params)
    seconds = time.perf_counter() - start
    proba = model.predict_proba(X_test)[:, 1]
    return roc_auc_score(y_test, proba), log_loss(y_test, proba), model.n_iter_, seconds


def print_table(name, results):
    table = pd.DataFrame(results, columns=["way", "seed", "AUC", "log-loss", "epochs", "fit, s"])
    print(f"\n{name}, test rows")
    print(
        f"{'':10}{'seeds':>6}{'AUC':>9}{'sd':>8}{'log-loss':>10}{'sd':>8}{'epochs':>8}{'fit, s':>8}"
        f"{'AUC - dense':>13}{'log-loss - dense':>18}"
    )
    base = table[table["way"] == "dense"].set_index("seed")
    for way, part in table.groupby("way", sort=False):
        part = part.set_index("seed")
        gap = part[["AUC", "log-loss"]] - base[["AUC", "log-loss"]]
        mean, sd = part.mean(numeric_only=True), part.std(numeric_only=True)
        print(
            f"{way:10}{len(part):6}{mean['AUC']:9.5f}{sd['AUC']:8.5f}{mean['log-loss']:10.5f}"
            f"{sd['log-loss']:8.5f}{mean['epochs']:8.1f}{mean['fit, s']:8.0f}"
            f"{gap['AUC'].mean():+13.5f}{gap['log-loss'].mean():+18.5f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--sets", nargs="+", default=["flights", "frappe"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, help="instead of 3, and 5 for dense and sparse frappe")
    options = parser.parse_args()
    if options.data is None and "frappe" in options.sets:
        parser.error("--data, or DEEPFM_DATA, must name the folder that holds frappe/")
    print_setting(torch, sklearn, skorch, np)
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        print("bfloat16  emulated")
    ways = ["dense", *(way for way in options.ways if way != "dense")]  # what others are held to
    for name in options.sets:
        fit = globals()[name](pathlib.Path(options.data or "."))
        most = 5 if name == "frappe" else 3
        plan = [
            (way, seed)
            for seed in range(options.seeds or most)
            for way in ways
            if options.seeds or seed < 3 or way in ("dense", "sparse")
        ]
        print_table(name, [(way, seed, *run(fit, way, seed)) for way, seed in plan])


if __name__ == "__main__":
    main()
