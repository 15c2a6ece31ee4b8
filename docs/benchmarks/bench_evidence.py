"""How often whole numbers are taken for quantities, by what they are.

    python docs/benchmarks/bench_evidence.py [--rows 300 1000 ...] [--tables 20]

Tables of three columns of whole numbers of one kind and a column of six strings. Each line gives
the share of these columns that the rule of the estimators pools, in percent. The first group are
names: pooled they lose what they say. The second are quantities: not pooled they lose what their
neighbours say. The last ones are neither or both, and either choice is fair.

ids             40 names, each with an effect of its own
many ids        one name for 10 rows
zipf ids        names of which few fill most rows
noise           one name for 10 rows, and y is noise
pairs of ids    one name for 30 rows; y is the product of hidden vectors of two columns
smooth          a curve over 1,000 values
weak            the same, a fifth as strong
steps           the curve in eight steps
counts          most are 0, 1 or 2, few are large; a curve over their logarithm
together        the product of two curves, no effect of one column alone
spikes          the curve, and effects of single values
signed up       one name for 10 rows; half of the effect is a trend over their numbers
"""

import argparse

import numpy as np
import pandas as pd
import sklearn
import torch
from setting import print_setting

from sklearn_deepfm import OrdinalFieldEncoder
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.outcomes import outcomes_of
from sklearn_deepfm._fields.pooling import with_pooled

KINDS = (
    ("ids", "many ids", "zipf ids", "noise", "pairs of ids"),
    ("smooth", "weak", "steps", "counts", "together"),
    ("spikes", "signed up"),
)


def curve(x, top):
    """A curve over numbers up to `top`."""
    return 2 * np.sin(4 * x / top) - 2 * x / top


def names(n_ids, n, rng):
    """Rows of names in random order."""
    return rng.permutation(n_ids)[rng.integers(n_ids, size=n)]


def column(kind, n, rng):
    """Whole numbers of a kind, and their effect on the logit of y."""
    if kind in ("smooth", "weak", "steps", "together", "spikes"):
        x = rng.integers(1000, size=n)
        if kind == "weak":
            return x, curve(x, 1000) / 5
        if kind == "spikes":
            own = np.where(np.arange(1000) % 20 == 0, 2 * rng.normal(size=1000), 0)
            return x, curve(x, 1000) / 2 + own[x]
        return x, curve(x // 125 if kind == "steps" else x, 8 if kind == "steps" else 1000)
    if kind == "counts":
        x = np.exp(rng.normal(0, 1.7, n)).astype(int)
        return x, 0.7 * np.log1p(x)
    if kind == "zipf ids":
        x = np.minimum(rng.zipf(1.3, n), max(n // 10, 40)) - 1
        order = rng.permutation(max(n // 10, 40))
        return order[x], rng.normal(size=len(order))[x]
    if kind == "pairs of ids":
        x = names(max(n // 30, 20), n, rng)
        return x, rng.normal(size=x.max() + 1)[x]
    n_ids = 40 if kind == "ids" else max(n // 10, 40)
    x = names(n_ids, n, rng)
    effect = rng.normal(size=n_ids)
    if kind == "noise":
        effect = 0 * effect
    if kind == "signed up":
        effect = (effect + 3.4 * np.arange(n_ids) / n_ids) / 1.4
    return 1000 + x, effect[x]


def share_pooled(kind, n, seed, is_class):
    """The share of pooled columns in one table."""
    rng = np.random.default_rng(seed)
    found = [column(kind, n, rng) for _ in range(3)]
    X = pd.DataFrame({f"x{j}": x for j, (x, _) in enumerate(found)})
    X["s"] = rng.choice([*"uvwxyz"], n)
    effects = [effect - effect.mean() for _, effect in found]
    n_asked = 3
    if kind in ("together", "pairs of ids"):
        effects, n_asked = [2 * effects[0] * effects[1]], 2
    logit = np.sum(effects, axis=0) + X["s"].map(
        dict(zip("uvwxyz", rng.normal(size=6) / 2, strict=True))
    )
    y = (logit - logit.mean() + rng.logistic(size=n)).to_numpy()
    y = (y > 0).astype(int) if is_class else y
    codes = OrdinalFieldEncoder().fit_transform(X)
    columns = [InputColumn(*pair) for pair in zip(X.columns, np.asarray(codes).T, strict=True)]
    outcomes = outcomes_of(y, None, is_class=is_class)
    kinds = with_pooled(columns, [True] * len(columns), outcomes, set())
    return np.mean([kind == "pooled" for kind in kinds[:n_asked]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[300, 1000, 3000, 10_000, 100_000])
    parser.add_argument("--tables", type=int, default=20)
    options = parser.parse_args()
    print_setting(torch, sklearn, np)
    for is_class in (True, False):
        print(f"\n{'classes' if is_class else 'numbers':14}", *(f"{n:>8,}" for n in options.rows))
        for group in KINDS:
            for kind in group:
                shares = [
                    100
                    * np.mean([share_pooled(kind, n, s, is_class) for s in range(options.tables)])
                    for n in options.rows
                ]
                print(f"{kind:14}", *(f"{share:8.0f}" for share in shares), flush=True)
            print()


if __name__ == "__main__":
    main()
