"""What a billion rows of a hundred million features cost: measured here, then multiplied.

    python docs/benchmarks/bench_scale.py [--rows 1e9] [--features 1e8] [--fields 40]
        [--json FILE]

First bytes and times of this library are measured on tables that fit here: of training with
batches of 4096 and 64 rows, of the encoder on integers, on strings of 12 characters and on a field
of strings that are all different, of encoding, of feeding batches from the temporary file, and of
predicting, each in a process of its own. An id is drawn as `size * u ** 3`. Then they are
multiplied: an estimate takes what was measured as proportional to rows, fields or features, a
bound takes the figures of a data sheet, at which nothing was run. "step, host" is the time of a
step that hardly computes: what Python, and the launch of kernels, take at least. --json FILE
keeps what was measured, or takes it from there.
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
import warnings

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
from sklearn_deepfm._fields.fields import FieldOffsets
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples

N_ROWS, N_FIELDS = 500_000, 20  # of what is measured
BATCH, SMALL_BATCH, GPU_BATCH = 4096, 64, 65_536
FEATURES = 1_000_000, 8_000_000  # of two fits, between which memory grows
CATEGORIES = 500_000, 4_000_000  # of two fits of the encoder
BATCHES = BATCH, GPU_BATCH
EMBED_DIM, MLP = 16, (128, 64)
PASSES = "counting", "counting of strings", "encoding", "feeding", "training", "predict"
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
    """Memory of a field of strings that are all different, read from Parquet part by part."""
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(0).permutation(n_categories)
        table = pa.table({"id": [f"user{i:08}" for i in ids]})
        pa.parquet.write_table(table, os.path.join(folder, "rows.parquet"))
        del table
        before = gib()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that each row has its own
            OrdinalFieldEncoder().fit(pa.dataset.dataset(folder))
    return {"GiB": gib() - before}


def strings(n_rows):
    """The encoder's pass over strings."""
    with tempfile.TemporaryDirectory() as folder:
        ids = draw(np.random.default_rng(0), n_rows, N_FIELDS, FEATURES[0])
        columns = {f"f{j}": [f"user{i:08}" for i in ids[:, j]] for j in range(N_FIELDS)}
        pa.parquet.write_table(pa.table(columns), os.path.join(folder, "rows.parquet"))
        start = time.perf_counter()
        OrdinalFieldEncoder().fit(pa.dataset.dataset(folder))
        return n_rows / (time.perf_counter() - start)


def feeding(n_rows):
    """Batches of a temporary file in random order, which nothing is done with."""
    index = torch.from_numpy(draw(np.random.default_rng(0), n_rows, N_FIELDS, FEATURES[0]))
    samples = Samples(index.to(torch.int32), y=torch.zeros(n_rows))
    layout = FieldOffsets(np.zeros(N_FIELDS, np.int32), np.zeros(0, np.int32))
    with DiskBuffer("cpu") as buffer:
        buffer.add(samples, layout)
        buffer.finish(layout)
        start = time.perf_counter()
        for _ in buffer.batches(GPU_BATCH, torch.Generator().manual_seed(0)):
            pass
        return n_rows / (time.perf_counter() - start)


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
        "counting of strings": run("strings", 500_000),
        "feeding": run("feeding", 2_000_000),
    }


def _slope(results, sizes):
    return (results[1]["GiB"] - results[0]["GiB"]) * 2**30 / (sizes[1] - sizes[0])


# What follows


def print_measured(got):
    print(f"\nmeasured, {N_FIELDS} fields, embed_dim {EMBED_DIM}, MLP {MLP}, batch {BATCH}")
    print(f"memory, a feature in training     {got['bytes of a feature']:10.0f} bytes")
    print(f"memory, a category in the encoder {got['bytes of a category']:10.0f} bytes")
    print(f"counting (integers)               {got['counting']:10,.0f} rows/s")
    print(f"counting (strings)                {got['counting of strings']:10,.0f} rows/s")
    print(f"encoding                          {got['encoding']:10,.0f} rows/s")
    few, many = got["training, few features"], got["training"]
    print(f"training, {FEATURES[0] / 1e6:.1f}M features           {few:10,.0f} rows/s")
    print(f"training, {got['features'] / 1e6:.1f}M features           {many:10,.0f} rows/s")
    print(f"feeding batches of {GPU_BATCH}          {got['feeding']:10,.0f} rows/s")
    print(f"predicting                        {got['predict']:10,.0f} rows/s")
    print(f"step, host                        {got['step, host'] * 1e3:10.1f} ms")


def touched(n_features, n_fields, batch):
    """Distinct rows of the table that a batch touches."""
    codes = draw(np.random.default_rng(1), batch, n_fields, n_features)
    return sum(len(np.unique(column)) for column in codes.T)


def print_memory(got, n_rows, n_features, n_fields):
    row = FLOAT * (EMBED_DIM + 1)
    sizes = {
        "weights alone, the file of a model": n_features * row,
        "table in training": n_features * got["bytes of a feature"],
        "vocabulary of the encoder": n_features * got["bytes of a category"],
        "rows to validate with, at most": 2**20 * FLOAT * n_fields,
        "encoded rows, temporary file": n_rows * FLOAT * (n_fields + 1),
        "a checkpoint, file": 4 * n_features * row,
    }
    for name, size in sizes.items():
        print(f"{name:40}{size / 2**30:8.1f} GiB")


def print_passes(hours):
    print(f"\n{'hours of a pass over the rows':40}{'1 process':>10}{'8 shards':>10}")
    names = {
        "counting": "the encoder counts integers",
        "counting of strings": "the encoder counts strings",
        "encoding": "encoding into the temporary file",
        "feeding": "feeding batches from it",
        "predict": "predicting",
    }
    for name, what in names.items():
        # The encoder is fitted to all rows by one process.
        shards = "" if "counting" in name else f"{hours[name] / 8:.2f}"
        print(f"{what:40}{hours[name]:10.2f}{shards:>10}")


def print_epochs(got, hours, n_rows, n_features, n_fields):
    """Hours of an epoch: no less than the steps, what is sent in them, or feeding takes."""
    row, table = FLOAT * (EMBED_DIM + 1), n_features * got["bytes of a feature"] / 2**30
    mlp = sum(a * b for a, b in zip((n_fields * EMBED_DIM, *MLP), (*MLP, 1), strict=True))
    n_touched = touched(n_features, n_fields, GPU_BATCH)
    # A step reads and writes the touched rows, their average and both moments.
    compute = max(8 * n_touched * row / GPU["bandwidth"], 6 * mlp * GPU_BATCH / GPU["flops"])
    step = got["step, host"] + compute
    sent = {
        batch: _sent(8, touched(n_features, n_fields, 8 * batch), mlp, row) for batch in BATCHES
    }
    n_steps = {batch: n_rows / (8 * batch) for batch in BATCHES}
    on_cpus = hours["training"] / 8 + n_steps[BATCH] * sent[BATCH] / ETHERNET / 3600
    on_gpus = n_steps[GPU_BATCH] * (step + sent[GPU_BATCH] / NVLINK) / 3600
    lines = {
        "1 CPU machine like this, estimate": (0, hours["training"]),
        "8 of them, 25 Gbit/s, bound": (n_steps[BATCH] * sent[BATCH], on_cpus),
        "1 GPU, bound": (0, max(n_rows / GPU_BATCH * step / 3600, hours["feeding"])),
        "8 GPUs, NVLink, bound": (
            n_steps[GPU_BATCH] * sent[GPU_BATCH],
            max(on_gpus, hours["feeding"] / 8),
        ),
    }
    print(f"\nrows that a batch of {BATCH} touches{touched(n_features, n_fields, BATCH):16,}")
    print(f"rows that a batch of {GPU_BATCH} touches{n_touched:15,}")
    print(f"\n{'one epoch':36}{'GiB each':>9}{'GB sent each':>14}{'hours':>7}")
    for name, (n_bytes, of_epoch) in lines.items():
        print(f"{name:36}{table:9.0f}{n_bytes / 1e9:14,.0f}{of_epoch:7.2f}")


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
        kinds = [training, encoder, strings, stream, feeding]
        print(json.dumps({kind.__name__: kind for kind in kinds}[kind](*arguments)))
        return
    print_setting(torch, sklearn, skorch, np, pa)
    if options.json and options.json.exists():
        got = json.loads(options.json.read_text())
    else:
        got = measure()
    if options.json:
        options.json.write_text(json.dumps(got))
    print_measured(got)
    sizes = options.rows, int(options.features), options.fields
    print("\n{:.3g} rows, {:.3g} features, {} fields".format(*sizes))
    of_fields = N_FIELDS / options.fields  # times are in proportion to fields
    hours = {name: options.rows / (got[name] * of_fields) / 3600 for name in PASSES}
    print_memory(got, *sizes)
    print_passes(hours)
    print_epochs(got, hours, *sizes)


if __name__ == "__main__":
    main()
