"""Time fit and predict of DeepFM here and in other libraries, and the memory of fit.

    pip install sklearn_deepfm deepctr-torch==0.3.0 torchfm==0.7.0 torch-rechub==0.9.0 \\
        pytorch-widedeep==1.7.0 fuxictr==2.3.10 matplotlib "numpy<2" "pyarrow<21"
    python docs/benchmarks/bench_speed.py [--features 100k 1M] [--fields 39] [--mlp 400-400-400]
        [--batch 4096] [--contenders ours torchfm] [--seconds 6] [--repeats 1] [--json FILE]

Each contender runs in a process of its own, with its own loop, on the same rows, network, batch
size, learning rate and number of threads. Fields are of equal size; a code of rank r has a
probability of about r ** -1.47. Tables are built and optimizers warm before the clock starts; one
epoch is timed with all that the library does for it.

fit: rows per second of that epoch. ms/step: the slope from a short epoch to that one, without
what each fit costs once. memory: what the process adds to its imports and rows until the end of
fit, and its peak; with CUDA what torch allocates. AUC: of new rows, to show that all learn. floor:
the MLP's matrix products, forward and backward, and a copy of each row of the table that a batch
touches and of its two moments, there and back.

--json FILE adds the figures to a file of JSON lines; --figure FILE.png draws what that file holds
by then, with --repeats 0 without a run.
"""

import argparse
import contextlib
import gc
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import distributions
from types import SimpleNamespace

import bench_speed_peers
import numpy as np
import torch
from setting import print_setting
from sklearn.metrics import roc_auc_score

PEERS = ["deepctr-torch", "torchfm", "torch-rechub", "pytorch-widedeep", "fuxictr", "skorch"]
CONTENDERS = ["ours", *PEERS, "floor"]
OPTIONS = ("seconds", "timeout", "memory_limit", "device", "precision")
MAX_ROWS, MIN_STEPS, MAX_SECONDS_PER_STEP = 2_000_000, 10, 20
OUT_OF_MEMORY = ("out of memory", "allocate memory", "MemoryError", "bad_alloc")


# In the process of a contender


def peak_memory(task):
    if task["device"] != "cpu":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def timed(task, function, *args):
    gc.collect()
    start = time.perf_counter()
    result = function(*args)
    if task["device"] != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def time_epochs(task, function, with_y):
    """Seconds of an epoch by its number of steps: ever longer ones, until one is long enough.

    The last takes about task["seconds"], so far as the bounds on rows and steps allow.
    """
    seconds, n_steps, longest = {}, 1, MAX_ROWS // task["batch"]
    while True:
        X, y = bench_speed_peers.make_rows(task, n_steps * task["batch"], seed=n_steps)
        spent, result = timed(task, function, *((X, y) if with_y else (X,)))
        seconds[n_steps] = spent
        if spent / n_steps > MAX_SECONDS_PER_STEP:
            sys.exit(f"too slow: {spent / n_steps:.0f} s per step")
        if n_steps == longest:
            return seconds, X, y, result
        if n_steps > 1 and (spent > task["seconds"] / 5 or 4 * n_steps >= longest):
            wanted = int(n_steps * task["seconds"] / spent)
            longest = n_steps = min(max(wanted, 3 * n_steps, MIN_STEPS), longest)
        else:
            n_steps *= 4


def measure(task):
    contender = getattr(bench_speed_peers, task["contender"].replace("-", "_"))
    contender({**task, "features": 2 * task["fields"]})  # has the library imported
    before = peak_memory(task)
    module, fit, predict = contender(task)
    seconds, X, y, _ = time_epochs(task, fit, with_y=True)
    peak = peak_memory(task)
    rows = X.nbytes + y.nbytes if task["device"] == "cpu" else 0
    short, long = sorted(seconds)[-2:]
    result = {
        "parameters": sum(p.numel() for p in module.parameters()),
        "steps": long,
        "fit": long * task["batch"] / seconds[long],
        "step": (seconds[long] - seconds[short]) / (long - short),
        "peak": peak,
        "memory": peak - before - rows,
    }
    seconds, X, y, proba = time_epochs(task, predict, with_y=False)
    long = max(seconds)
    auc = roc_auc_score(y, np.ravel(proba))
    return {**result, "predict": long * task["batch"] / seconds[long], "auc": auc}


def floor(task):
    """Seconds that a step of the network takes at least, for its products and its rows."""
    n, dims = task["batch"], (task["fields"] * task["embed_dim"], *task["mlp"], 1)
    kind = {"device": task["device"], "dtype": getattr(torch, task["precision"])}
    layers = []
    for i, o in itertools.pairwise(dims):
        x, w, dy = (torch.randn(shape, **kind) for shape in ((n, i), (i, o), (n, o)))
        layers += [(x, w, torch.empty_like(dy)), (dy, w.T, torch.empty_like(x))]
        layers += [(x.T, dy, torch.empty_like(w))]
    tables = torch.zeros(3, task["features"], task["embed_dim"] + 1, device=task["device"])
    X, _ = bench_speed_peers.make_rows(task, 8 * n, seed=0)
    codes = bench_speed_peers.global_codes(task, X)
    touched = [torch.from_numpy(np.unique(part)).to(task["device"]) for part in np.split(codes, 8)]
    batches = itertools.cycle(touched)

    def products():
        for left, right, product in layers:
            torch.mm(left, right, out=product)

    def copies():
        rows = next(batches)
        for table in tables:
            table.index_copy_(0, rows, table.index_select(0, rows))

    result = {function.__name__: per_call(task, function) for function in (products, copies)}
    step = sum(result.values())
    return {**result, "step": step, "fit": n / step, "touched": statistics.mean(map(len, touched))}


def per_call(task, function):
    """Best of five: what the machine can do."""

    def repeat(n_calls):
        for _ in range(n_calls):
            function()

    repeat(3)
    n_calls = max(3, int(task["seconds"] / 10 / (timed(task, repeat, 3)[0] / 3)))
    return min(timed(task, repeat, n_calls)[0] for _ in range(5)) / n_calls


def run_task(task):
    if task["device"] == "cpu":
        resource.setrlimit(resource.RLIMIT_DATA, (int(task["memory_limit"] * 2**30),) * 2)
    with contextlib.redirect_stdout(sys.stderr):
        result = floor(task) if task["contender"] == "floor" else measure(task)
    print(json.dumps(result))


# In the process that starts them


def run(task):
    """Figures of one contender, or {"error": why there are none}."""
    copies = 3 if task["contender"] in ("ours", "floor") else 4  # table, two moments, gradient
    needed = copies * task["features"] * (task["embed_dim"] + 1) * 4 / 2**30
    if needed > task["memory_limit"]:
        return {"error": f"out of memory: its table takes {needed:.1f} GiB"}
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=task["timeout"])
    except subprocess.TimeoutExpired:
        return {"error": f"too slow: more than {task['timeout']:.0f} s in all"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode == -9 or any(sign in done.stderr for sign in OUT_OF_MEMORY):
        return {"error": "out of memory"}
    return {"error": done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"}


def median(records):
    if errors := [record for record in records if "error" in record]:
        return errors[0]
    return {key: statistics.median(record[key] for record in records) for key in records[0]}


def print_table(results):
    heads = ("fit, rows/s", "ours / it", "ms/step", "predict, rows/s", "ours / it", "memory, GiB")
    print(" " * 16 + "".join(f"{head:>{len(head) + 3}}" for head in (*heads, "peak", "AUC")))
    best = dict.fromkeys(("fit", "predict", "step"), np.nan) | results.get("ours", {})
    for name, r in results.items():
        if "error" in r:
            print(f"{name:16}   {r['error'][:100]}")
            continue
        print(f"{name:16}{r['fit']:14,.0f}{best['fit'] / r['fit']:12.2f}", end="")
        print(f"{r['step'] * 1e3:10.1f}", end="")
        if name == "floor":
            print(f"   products {r['products'] * 1e3:.1f} ms, {r['touched']:,.0f} rows", end=" ")
            print(f"{r['copies'] * 1e3:.1f} ms; ours' step / floor {best['step'] / r['step']:.2f}")
        else:
            print(f"{r['predict']:18,.0f}{best['predict'] / r['predict']:12.2f}", end="")
            print(f"{r['memory'] / 2**30:14.2f}{r['peak'] / 2**30:7.2f}{r['auc']:6.3f}")
    peers = [r for name, r in results.items() if name not in ("ours", "floor") and "fit" in r]
    for key in ("fit", "predict") if peers and "ours" in results else ():
        print(
            f"{key}: ours / fastest peer {best[key] / max(r[key] for r in peers):.2f}", flush=True
        )


def draw(records, path):
    """Microseconds per row of fit by number of features, a panel for each setting with several."""
    import matplotlib.pyplot as plt

    costs = {}
    for r in (r for r in records if "fit" in r):
        name = r["contender"] + ", bfloat16" * (r["precision"] == "bfloat16")
        panel = f"{r['fields']} fields, batch {r['batch']}\nMLP {'-'.join(map(str, r['mlp']))}"
        line = costs.setdefault(panel, {}).setdefault(name, {})
        line.setdefault(r["features"], []).append(1e6 / r["fit"])
    costs = {k: lines for k, lines in costs.items() if max(map(len, lines.values())) > 1}
    size = (2.5 + 3.6 * len(costs), 4)
    figure, axes = plt.subplots(
        1, len(costs), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    names = sorted({name for lines in costs.values() for name in lines})
    for ax, (panel, lines) in zip(axes[0], sorted(costs.items()), strict=True):
        for name in filter(lines.get, names):
            contender, style = name.split(",")[0], {"marker": "o", "ms": 3, "label": name}
            style |= {"color": f"C{CONTENDERS.index(contender)}"}
            if contender not in PEERS:
                style |= {"color": "gray" if "," in name else "black", "lw": 2}
            points = sorted((x, statistics.median(y)) for x, y in lines[name].items())
            ax.loglog(*zip(*points, strict=True), "--" if contender == "floor" else "-", **style)
        ax.set(title=panel, xlabel="features")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("fit, microseconds per row")
    labelled = [ax.get_legend_handles_labels() for ax in axes[0]]
    handles = {label: handle for pair in labelled for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles, loc="outside right", frameon=False)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def number(text):
    return int(float(text.rstrip("kM")) * {"k": 1e3, "M": 1e6}.get(text[-1], 1))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    lists = {"type": number, "nargs": "+"}
    parser.add_argument("--features", default=[10**5, 10**6, 10**7, 5 * 10**7], **lists)
    parser.add_argument("--fields", default=[10, 39], **lists)
    parser.add_argument("--mlp", default=["128-64", "400-400-400"], nargs="+")
    parser.add_argument("--batch", default=[256, 4096], **lists)
    parser.add_argument("--contenders", default=CONTENDERS, choices=CONTENDERS, nargs="+")
    for name, default in {"seconds": 6, "timeout": 600, "memory-limit": 16}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--json")
    parser.add_argument("--figure")
    options = parser.parse_args()
    if options.figure and not options.json:
        parser.error("--figure draws the figures that --json names a file of")
    return options


def compare(options, setting):
    """Run all contenders on one setting, and again for each repeat; print, keep the figures."""
    print("\n" + ", ".join(f"{name} {value}" for name, value in setting.items()), flush=True)
    results = {name: [] for name in options.contenders}
    for _, name in itertools.product(range(options.repeats), options.contenders):
        task = {"contender": name, **setting, "embed_dim": 16, "dropout": 0.2}
        task |= {key: getattr(options, key) for key in OPTIONS}
        if name not in ("ours", "floor"):
            task["precision"] = "float32"
        results[name].append(run(task))
        if options.json:
            with open(options.json, "a") as file:
                print(json.dumps({**task, **results[name][-1]}), file=file)
    print_table({name: median(rounds) for name, rounds in results.items()})


def main():
    if sys.argv[1:2] == ["--task"]:
        run_task(json.loads(sys.argv[2]))
        return
    options = parse()
    if options.repeats:
        packages = ["sklearn-deepfm", *(name for name in PEERS if name in options.contenders)]
        installed = {d.name.replace("_", "-"): d.version for d in distributions()}
        known = [SimpleNamespace(__name__=p, __version__=installed.get(p)) for p in packages]
        print_setting(torch, np, *known)
        mlps = [[int(width) for width in mlp.split("-")] for mlp in options.mlp]
        for grid in itertools.product(options.features, options.fields, mlps, options.batch):
            compare(options, dict(zip(("features", "fields", "mlp", "batch"), grid, strict=True)))
    if options.figure:
        with open(options.json) as file:
            draw([json.loads(line) for line in file], options.figure)


if __name__ == "__main__":
    main()
