"""
One row at a time
=================

A model behind a service gets one row per request and has a few milliseconds to answer. This example
measures how long a fitted pipeline takes for requests of one row and of more, and whether the
answer for a row depends on the rows that come with it.
"""

# %%
# A fitted pipeline, stored and loaded
# ------------------------------------

import pickle
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X_train, X, y_train, _ = train_test_split(X, y, train_size=50_000, random_state=0)
model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=3, random_state=0))
model.fit(X_train, y_train)
stored = pickle.dumps(model)
served = pickle.loads(stored)
print(f"{len(stored) / 2**20:.1f} MiB")

# %%
# Time per request
# ----------------

sizes = [1, 4, 16, 64, 256, 1024, 4096, 16384]
seconds = {}
for size in sizes:
    times = []
    for start in np.linspace(0, len(X) - size, 30).astype(int):
        rows = X[start : start + size]
        begin = time.perf_counter()
        served.predict_proba(rows)
        times.append(time.perf_counter() - begin)
    seconds[size] = np.percentile(times, [50, 95])

together = served.predict_proba(X[:256])
alone = np.concatenate([served.predict_proba(X[i : i + 1]) for i in range(256)])
print(f"largest difference of a row alone: {abs(together - alone).max():.1g}")

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for values, label in zip(np.array(list(seconds.values())).T, ["median", "95 of 100"], strict=True):
    ax.loglog(sizes, 1e3 * values, "o-", ms=4, label=label)
ax.set(xlabel="rows of a request", ylabel="milliseconds")
ax.legend(frameon=False)

# %%
# A request costs a few milliseconds up to a hundred rows, most of them for opening the table; from
# there on time grows with the rows. A row gets the same answer whatever comes with it.
