"""Time OrdinalFieldEncoder beside scikit-learn, pandas and polars.

    python docs/benchmarks/bench_field_encoder.py [--rows N] [--repeats N]

Each repeat runs all contenders one after the other, so that a busy moment of the machine strikes
them alike; a ratio is the median of the ratios within the repeats.
"""

import argparse
import statistics
import time
import tracemalloc

import narwhals
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import sklearn
from setting import print_setting
from sklearn.preprocessing import OrdinalEncoder

from sklearn_deepfm import OrdinalFieldEncoder


def ours(frame):
    encoder = OrdinalFieldEncoder().fit(frame)
    return lambda new: encoder.transform(new)


def scikit_learn(frame):
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(frame)
    return lambda new: encoder.transform(new)


def pandas(frame):
    known = {name: pd.Index(pd.factorize(frame[name], sort=True)[1]) for name in frame}
    return lambda new: np.column_stack([known[name].get_indexer(new[name]) for name in new])


def polars(frame):
    known = {name: pl.Enum(frame[name].unique().sort()) for name in frame.columns}
    return lambda new: new.select(
        pl.col(name).cast(kind, strict=False).to_physical() for name, kind in known.items()
    ).to_numpy()


def tables(rng, n_rows):
    ids = rng.integers(0, 100_000, n_rows)
    strings = pd.DataFrame({"user": np.char.add("user_", ids.astype(str))})
    yield "1 column of strings, 100k categories", strings, True
    yield "the same, object dtype", strings.astype(object), False
    yield "the same, category dtype", strings.astype("category"), False
    yield "1 column of ints, 100k categories", pd.DataFrame({"user": ids}), False
    names = [f"c{j}" for j in range(20)]
    many = pd.DataFrame(rng.integers(0, 1000, (n_rows // 10, 20)), columns=names)
    yield "20 columns of ints, rows / 10, 1k categories", many, False
    yield "20 columns of strings, rows / 10, 1k categories", many.astype(str), True


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def compare(frame, with_polars, n_repeats):
    """Seconds of fit and of transform, one of each per repeat, by contender."""
    contenders = {"ours": (ours, frame), "OrdinalEncoder": (scikit_learn, frame)}
    contenders["pandas"] = (pandas, frame)
    if with_polars:
        contenders["polars"] = (polars, pl.from_pandas(frame))
    seconds = {name: [] for name in contenders}
    for _ in range(n_repeats):
        for name, (fit, data) in contenders.items():
            transform, fit_seconds = timed(fit, data)
            seconds[name].append((fit_seconds, timed(transform, data)[1]))
    return seconds


def print_comparison(title, frame, seconds):
    print(f"\n{title} ({len(frame):,} rows)")
    print(f"{'':16}{'fit':>9}{'transform':>11}{'both':>9}{'both / ours':>13}{'cells/s':>12}")
    ours_both = [sum(pair) for pair in seconds["ours"]]
    for name, pairs in seconds.items():
        fit, transform = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
        both = [sum(pair) for pair in pairs]
        ratio = statistics.median(b / o for b, o in zip(both, ours_both, strict=True))
        speed = f"{frame.size / transform / 1e3:.1f} M"
        median = statistics.median(both) * 1e3
        print(f"{name:16}{fit:9.0f}{transform:11.0f}{median:9.0f}{ratio:13.1f}{speed:>12}")


def print_one_row(rng, n_repeats):
    print(f"\ntransform of one row, ms: median, best of {n_repeats * 50}")
    for n_columns in (1, 20):
        numbers = rng.integers(0, 1000, (20_000, n_columns))
        frame = pd.DataFrame(numbers, columns=[f"c{j}" for j in range(n_columns)])
        for kind, data in {"ints": frame, "strings": frame.astype(str), "NumPy": numbers}.items():
            transform, row = ours(data), data[:1]
            times = [timed(transform, row)[1] * 1e3 for _ in range(n_repeats * 50)]
            label = f"{n_columns} column{'s' * (n_columns > 1)}, {kind}"
            print(f"{label:24}{statistics.median(times):9.2f}{min(times):9.2f}")


def print_memory(rng, n_rows):
    """What tracemalloc (NumPy) and the Arrow pool hold at most, beside the input."""
    print(f"\npeak memory of transform / size of its output ({n_rows:,} rows)")
    numbers = rng.integers(0, 1000, (n_rows, 20))
    frame = pd.DataFrame(numbers, columns=[f"c{j}" for j in range(20)])
    for kind, data in {"ints": frame, "strings": frame.astype(str), "NumPy": numbers}.items():
        transform = ours(data)
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        default = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        tracemalloc.start()
        output = transform(data)
        peak = tracemalloc.get_traced_memory()[1] + pool.max_memory()
        tracemalloc.stop()
        pa.set_memory_pool(default)
        print(f"{'20 columns, ' + kind:24}{peak / output.nbytes:9.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print_setting(sklearn, pd, pl, pa, narwhals, np)
    print(f"ms, medians of {options.repeats} paired runs; pandas and polars only look values up")
    for title, frame, with_polars in tables(rng, options.rows):
        print_comparison(title, frame, compare(frame, with_polars, options.repeats))
    print_one_row(rng, options.repeats)
    print_memory(rng, options.rows // 5)


if __name__ == "__main__":
    main()
