"""Time of the import, beside the imports of what it stands on.

    python docs/benchmarks/bench_import.py [--pairs 15]

Each import is a process of its own, timed from start to end, the two in turns; the first pair is
not counted.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import sklearn
import skorch
import torch
from setting import print_setting

OWN, OTHERS = "import sklearn_deepfm", "import torch, sklearn, skorch, pandas"


def seconds(program):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    print_setting(torch, sklearn, skorch, np)
    pairs = np.array([[seconds(OWN), seconds(OTHERS)] for _ in range(options.pairs + 1)])[1:]
    print(f"\n{'':40}{'median, s':>10}")
    for program, median in zip((OWN, OTHERS), np.median(pairs, axis=0), strict=True):
        print(f"{program:40}{median:10.2f}")
    lower, median, upper = np.quantile(pairs[:, 0] / pairs[:, 1], [0.25, 0.5, 0.75])
    print(f"{'ratio of a pair':40}{median:10.3f} (quartiles {lower:.3f} and {upper:.3f})")


if __name__ == "__main__":
    main()
