"""What a billion rows of a hundred million features cost: measured here, then multiplied.

    python docs/benchmarks/bench_scale.py [--rows 1e9] [--features 1e8] [--fields 40]
        [--json FILE]

First bytes and times of this library are measured on tables that fit here: of training with
batches of 4096 and 64 rows, of the encoder on strings of 12 characters, of encoding and of
predicting, each in a process of its own. An id is drawn as `size * u ** 3`. Then they are
multiplied: an estimate takes what was measured as proportional to rows or to features, a bound
takes the figures of a data sheet, at which nothing was run. "step, host" is the time of a step
that hardly computes: what Python, and the launch of kernels, take at least. --json FILE keeps
what was measured, or takes it from there.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import sklearn
import skorch
import torch
from setting import print_setting

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

N_ROWS, N_FIELDS = 500_000, 20  # of what is measured
BATCH, SMALL_BATCH, GPU_BATCH = 4096, 64, 65_536
FEATURES = 1_000_000, 8_000_000  # of two fits, between which memory grows
CATEGORIES = 500_000, 4_000_000  # of two fits of the encoder
EMBED_DIM, MLP = 16, (128, 64)
FLOAT = 4  # bytes

# GiB of memory, bytes a second of it and of the network, operations a second: of data sheets.
GPU = {"memory": 80, "bandwidth": 3.35e12, "flops": 67e12}
NVLINK, ETHERNET = 450e9, 25e9 / 8


def draw(rng, n_rows, n_fields, n_features):
    return (n_features // n_fields * rng.random((n_rows, n_fields)) ** 3).astype(np.int64)


def gib():
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# What is measured, each in a process of its own


def training(n_features, batch_size):
    n_rows = N_ROWS if batch_size > SMALL_BATCH else 20_000
    rng = np.random.default_rng(0)
    X = draw(rng, n_rows, N_FIELDS, n_features)
    y = (rng.random(n_rows) < 0.3).astype(np.int8)
    before = gib()
    model = DeepFMClassifier(
        max_epochs=3,
        batch_size=batch_size,
        embed_dim=EMBED_DIM,
        mlp_dims=MLP,
        early_stopping=False,
        sparse_updates=True,
        random_state=0,
    ).fit(X, y)
    result = {"GiB": gib() - before, "features": int(model._fields.dims.sum())}
    seconds = min(epoch["dur"] for epoch in model.history_[1:])
    n_steps = -(-n_rows // batch_size)
    start = time.perf_counter()
    model.predict_proba(X)
    predict = n_rows / (time.perf_counter() - start)
    return {**result, "rows/s": n_rows / seconds, "step": seconds / n_steps, "predict": predict}


def encoder(n_categories):
    """A field of strings, read from Parquet part by part."""
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(0).permutation(n_categories)
        table = pa.table({"id": [f"user{i:08}" for i in ids], "y": ids % 2})
        pa.parquet.write_table(table, os.path.join(folder, "rows.parquet"))
        del table
        before, start = gib(), time.perf_counter()
        encoder = OrdinalFieldEncoder()
        encoder.fit(pa.dataset.dataset(folder).filter(pa.dataset.field("y") >= 0), "y")
        seconds = time.perf_counter() - start
    return {"GiB": gib() - before, "cells/s": n_categories / seconds}


def stream(n_rows):
    """The passes over a data set before the first epoch: of the encoder, and of encoding."""
    with tempfile.TemporaryDirectory() as folder:
        ids = draw(np.random.default_rng(0), n_rows, N_FIELDS, FEATURES[0])
        frame = pd.DataFrame(ids, columns=[f"f{j}" for j in range(N_FIELDS)])
        frame["y"] = np.arange(n_rows) % 2
        pa.parquet.write_table(pa.Table.from_pandas(frame), os.path.join(folder, "rows.parquet"))
        dataset = pa.dataset.dataset(folder)
        start = time.perf_counter()
        encoder = OrdinalFieldEncoder().fit(dataset, "y")
        counting = time.perf_counter() - start
        model = DeepFMClassifier(max_epochs=1, early_stopping=False, random_state=0)
        start = time.perf_counter()
        model.fit(encoder.transform(dataset), "y")
        encoding = time.perf_counter() - start - model.history_[0]["dur"]
    return {"counting": n_rows / counting, "encoding": n_rows / encoding}


def measure():
    def run(kind, *arguments):
        command = [sys.executable, __file__, "--measure", json.dumps([kind, *arguments])]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(output.splitlines()[-1])

    fits = [run("training", features, BATCH) for features in FEATURES]
    small = run("training", FEATURES[0], SMALL_BATCH)
    encoders = [run("encoder", n) for n in CATEGORIES]
    passes = run("stream", 1_000_000)
    return {
        "bytes of a feature": _slope(fits, [fit["features"] for fit in fits]),
        "bytes of a category": _slope(encoders, CATEGORIES),
        "features": fits[1]["features"],
        "training": fits[1]["rows/s"],
        "training, few features": fits[0]["rows/s"],
        "step, host": small["step"],
        "predict": fits[1]["predict"],
        "counting": passes["counting"],
        "encoding": passes["encoding"],
        "counting of strings": encoders[1]["cells/s"],
    }


def _slope(results, sizes):
    return (results[1]["GiB"] - results[0]["GiB"]) * 2**30 / (sizes[1] - sizes[0])


# What follows


def print_measured(got):
    print(f"\nmeasured, {N_FIELDS} fields, embed_dim {EMBED_DIM}, MLP {MLP}, batch {BATCH}")
    print(f"memory, a feature in training     {got['bytes of a feature']:10.0f} bytes")
    print(f"memory, a category in the encoder {got['bytes of a category']:10.0f} bytes")
    print(f"counting (integers)               {got['counting']:10,.0f} rows/s")
    print(f"counting (strings, one field)     {got['counting of strings']:10,.0f} cells/s")
    print(f"encoding                          {got['encoding']:10,.0f} rows/s")
    few, many = got["training, few features"], got["training"]
    print(f"training, {FEATURES[0] / 1e6:.1f}M features           {few:10,.0f} rows/s")
    print(f"training, {got['features'] / 1e6:.1f}M features           {many:10,.0f} rows/s")
    print(f"predicting                        {got['predict']:10,.0f} rows/s")
    print(f"step, host                        {got['step, host'] * 1e3:10.1f} ms")


def touched(n_features, n_fields, batch):
    """Distinct rows of the table that a batch touches."""
    codes = draw(np.random.default_rng(1), batch, n_fields, n_features)
    return sum(len(np.unique(column)) for column in codes.T)


def print_plan(got, n_rows, n_features, n_fields):
    of_fields = N_FIELDS / n_fields  # times are in proportion to fields
    row = FLOAT * (EMBED_DIM + 1)
    table = got["bytes of a feature"] * n_features / 2**30
    vocabulary = got["bytes of a category"] * n_features / 2**30
    spool = n_rows * FLOAT * (n_fields + 1) / 2**30
    rates = {name: got[name] * of_fields for name in ("counting", "encoding", "training")}
    hours = {name: n_rows / rate / 3600 for name, rate in rates.items()}
    strings = n_rows * n_fields / got["counting of strings"] / 3600
    print(f"\n{n_rows:.3g} rows, {n_features:.3g} features, {n_fields} fields")
    print(f"weights alone, the file of a model  {n_features * row / 2**30:8.1f} GiB")
    print(f"table in training                   {table:8.1f} GiB")
    print(f"vocabulary of the encoder           {vocabulary:8.1f} GiB")
    print(f"encoded rows, temporary file        {spool:8.1f} GiB")
    print(f"rows to validate with, at most      {2**20 * FLOAT * n_fields / 2**30:8.1f} GiB")
    checkpoint = 4 * n_features * row / 2**30
    print(f"a checkpoint                        {checkpoint:8.1f} GiB")

    mlp = sum(a * b for a, b in zip((n_fields * EMBED_DIM, *MLP), (*MLP, 1), strict=True))
    n_touched = touched(n_features, n_fields, GPU_BATCH)
    n_small = touched(n_features, n_fields, BATCH)
    # A step reads and writes the touched rows, their average and both moments.
    compute = max(8 * n_touched * row / GPU["bandwidth"], 6 * mlp * GPU_BATCH / GPU["flops"])
    step = got["step, host"] + compute
    gpu = n_rows / GPU_BATCH * step / 3600
    print(
        f"\nrows of the table in a batch   {n_small:10,} of {BATCH}, {n_touched:,} of {GPU_BATCH}"
    )
    print(f"\n{'':34}{'GiB each':>10}{'GB sent, epoch':>16}{'hours, epoch':>14}")
    line = "{:34}{:10.0f}{:16,.0f}{:14.1f}"
    print(line.format("1 CPU machine like this, estimate", table, 0, hours["training"]))
    # All processes hear of the rows that any has touched, in two directions of a ring.
    n_steps, sent = (
        n_rows / (8 * BATCH),
        _sent(8, touched(n_features, n_fields, 8 * BATCH), mlp, row),
    )
    network = n_steps * sent / ETHERNET / 3600
    print(
        line.format(
            "8 such machines, 25 Gbit/s, bound",
            table,
            n_steps * sent / 1e9,
            hours["training"] / 8 + network,
        )
    )
    print(line.format("1 GPU, bound", table, 0, gpu))
    n_steps = n_rows / (8 * GPU_BATCH)
    sent = _sent(8, touched(n_features, n_fields, 8 * GPU_BATCH), mlp, row)
    eight = n_steps * (step + sent / NVLINK) / 3600
    print(line.format("8 GPUs of one machine, bound", table, n_steps * sent / 1e9, eight))
    print(
        f"\nbefore the first epoch: counting {hours['counting']:.1f} hours "
        f"(strings {strings:.1f}), encoding {hours['encoding']:.1f} hours; 8 processes with "
        f"shards {hours['encoding'] / 8:.1f}"
    )
    print(f"predicting all rows: {n_rows / got['predict'] / of_fields / 3600:.1f} hours")


def _sent(n, n_touched, n_dense, row):
    """Bytes that each of n processes sends in a step: sums in a ring, and positions to all."""
    return 2 * (n - 1) / n * (n_touched * row + n_dense * FLOAT) + (n - 1) / n * n_touched * 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--features", type=float, default=1e8)
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, *arguments = options.measure
        kinds = {"training": training, "encoder": encoder, "stream": stream}
        print(json.dumps(kinds[kind](*arguments)))
        return
    print_setting(torch, sklearn, skorch, np, pa)
    if options.json and options.json.exists():
        got = json.loads(options.json.read_text())
    else:
        got = measure()
    if options.json:
        options.json.write_text(json.dumps(got))
    print_measured(got)
    print_plan(got, options.rows, int(options.features), options.fields)


if __name__ == "__main__":
    main()
