"""Fit to a Parquet data set that does not fit in memory, beside a fit to a table that does.

    python docs/benchmarks/bench_streams.py [--rows 50000000] [--table-rows 5000000] [--folder DIR]
        [--quality flights frappe --seeds 3 --data DIR]

20 fields of integer ids, a label that hangs on pairs of them. Each fit is one epoch of a Pipeline
of the defaults, in a process of its own; a row of the table holds the same cells. "epoch" is the
time of training and validation, "fit" all of it: the encoder, encoding into the temporary file,
training. Memory is the peak of resident memory of the process. The data set is written first, in
files of a million rows, unless the folder has it already; give numbers of rows in millions.

Quality: test rows of the data sets of bench_models.py, defaults, fitted to the rows of training and
validation as a table and as a data set; means over seeds, which split flights anew.
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
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import sklearn
import skorch
import torch
from bench_models_data import SETS
from setting import print_setting
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, predict_to_parquet

ROWS_OF_A_FILE = 1_000_000
SIZES = np.geomspace(10, 100_000, 20).astype(int)  # categories of each field


def rows(number, n):
    """Some rows, by the number of their file: ids that are rare in the tail."""
    rng = np.random.default_rng(number)
    ids = [(size * rng.random(n) ** 3).astype(np.int64) for size in SIZES]
    logit = sum(np.sin(ids[j] * 12.9898 + ids[j + 5] * 78.233) for j in range(0, 15, 3)) - 1
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    return pa.table({**{f"f{j}": values for j, values in enumerate(ids)}, "label": label})


def write(folder, n_rows):
    for number in range(-(-n_rows // ROWS_OF_A_FILE)):
        path = folder / f"{number:05}.parquet"
        if not path.exists():
            n = min(ROWS_OF_A_FILE, n_rows - number * ROWS_OF_A_FILE)
            pq.write_table(rows(number, n), path, row_group_size=250_000)


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(kind, folder, n_rows):
    """Fit, predict rows that are in no file, and report as JSON."""
    files = sorted(folder.glob("*.parquet"))[: -(-n_rows // ROWS_OF_A_FILE)]
    dataset = pads.dataset([str(file) for file in files])
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=1, random_state=0))
    result = {}
    if kind == "table":
        table = dataset.to_table().to_pandas()
        start = time.perf_counter()
        model.fit(table.drop(columns="label"), table["label"])
    else:
        start = time.perf_counter()
        model.fit(dataset, "label")
    result["fit"] = time.perf_counter() - start
    result["epoch"] = model[-1].history_[0]["dur"]
    result["GiB"] = peak_gib()
    test = rows(10**6, 200_000)
    proba = model.predict_proba(test.drop_columns("label"))[:, 1]
    result["AUC"] = roc_auc_score(test["label"].to_numpy(), proba)
    if kind == "stream":
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            predict_to_parquet(model, dataset, os.path.join(out, "file"))
        result["predict"] = time.perf_counter() - start
        result["GiB in all"] = peak_gib()
    print(json.dumps(result))


def in_a_process(kind, folder, n_rows):
    command = [sys.executable, __file__, "--measure", kind, "--folder", folder]
    command += ["--rows", str(n_rows)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compare(folder, n_rows, n_table_rows):
    print(f"\n{'':8}{'rows':>12}{'fit, s':>9}{'epoch, s':>10}{'rows/s':>10}{'GiB':>7}{'AUC':>8}")
    lines = [("table", n_table_rows), ("stream", n_table_rows), ("stream", n_rows)]
    for kind, n in lines:
        got = in_a_process(kind, folder, n)
        print(
            f"{kind:8}{n:12}{got['fit']:9.0f}{got['epoch']:10.0f}{n / got['epoch']:10.0f}"
            f"{got['GiB']:7.2f}{got['AUC']:8.4f}",
            flush=True,
        )
    print(
        f"\npredict_to_parquet of {n} rows: {got['predict']:.0f} s, "
        f"{n / got['predict']:.0f} rows/s, peak memory in all {got['GiB in all']:.2f} GiB"
    )


def quality(name, seeds, data):
    """Test AUC and log-loss of the table and of the stream, seed by seed."""
    results = {"table": [], "stream": []}
    for seed in range(seeds):
        rows = SETS[name](data, seed)
        X, y = rows.all_for_training()
        X_test, y_test = rows.test
        for kind, found in results.items():
            model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=seed))
            if kind == "table":
                model.fit(X, y)
            else:
                table = pa.Table.from_pandas(X.assign(target=y), preserve_index=False)
                model.fit(pads.dataset(table), "target")
            proba = model.predict_proba(X_test)[:, 1]
            found.append([roc_auc_score(y_test, proba), log_loss(y_test, proba)])
    print(f"\n{name}, test rows, {seeds} seeds{'':8}AUC       sd  log-loss       sd   AUC by seed")
    for kind, found in results.items():
        (auc, loss), (auc_sd, loss_sd) = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        by_seed = "   " + " ".join(f"{value:.4f}" for value, _ in found)
        print(
            f"{kind:28}{auc:10.5f}{auc_sd:9.5f}{loss:10.5f}{loss_sd:9.5f}   {by_seed}", flush=True
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--table-rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--quality", nargs="*", choices=["flights", "frappe"], help="this alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("DEEPFM_DATA"))
    parser.add_argument("--measure", choices=["table", "stream"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.folder, options.rows)
        return
    print_setting(torch, sklearn, skorch, np, pa)
    for name in options.quality or ():
        quality(name, options.seeds, options.data and pathlib.Path(options.data))
    if options.quality:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        write(folder, options.rows)
        compare(folder, options.rows, options.table_rows)


if __name__ == "__main__":
    main()
