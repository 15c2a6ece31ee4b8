"""
A search on a cluster
=====================

The fits of a search do not depend on each other, so they can run on many machines. scikit-learn
hands them to joblib, and joblib hands them to Dask when it is told to. Here the cluster is two
processes on this machine; one of many machines differs in nothing but the address.
"""

# %%
# The search
# ----------
# Encoder and classifier are searched together, and the data frame goes to the workers once. A
# process of a ``LocalCluster`` imports the file that starts it, hence the guard. With a cluster
# that is already there, ``Client("tcp://scheduler:8786")`` takes the place of both; its workers
# need the same packages, and no shared disk. The last fit, of what was found on all rows, would run
# here; ``refit=False`` leaves it out.

import joblib
import matplotlib.pyplot as plt
import pandas as pd
from distributed import Client, LocalCluster
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

if __name__ == "__main__":
    X, y = load_flights(return_X_y=True)
    X, _, y, _ = train_test_split(X, y, train_size=10_000, stratify=y, random_state=0)
    model = Pipeline(
        [("encoder", OrdinalFieldEncoder()), ("deepfm", DeepFMClassifier(random_state=0))]
    )
    grid = {
        "encoder__min_frequency": [1, 3],
        "deepfm__learning_rate": [1e-3, 3e-3],
        "deepfm__batch_size": [64, 256, 1024],
    }
    search = RandomizedSearchCV(
        model, grid, n_iter=8, scoring="neg_log_loss", cv=3, refit=False, random_state=0
    )

    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        client.get_task_stream()  # remember what runs where from now on
        with joblib.parallel_config("dask"):
            search.fit(X, y)
        tasks = client.get_task_stream()

    results = pd.DataFrame(search.cv_results_).sort_values("rank_test_score")
    names = [name for name in results if name.startswith("param_")]
    print(results[[*names, "mean_test_score"]].to_string(index=False))

    figure, ax = plt.subplots(figsize=(8, 2), layout="constrained")
    begin = min(times["start"] for task in tasks for times in task["startstops"])
    workers = sorted({task["worker"] for task in tasks})
    for task in tasks:
        times = next(t for t in task["startstops"] if t["action"] == "compute")
        seconds = times["stop"] - times["start"]
        place = workers.index(task["worker"])
        ax.barh(place, seconds, left=times["start"] - begin, edgecolor="white", color="C0")
    ax.set_yticks(range(len(workers)), [f"process {n + 1}" for n in range(len(workers))])
    ax.set(xlabel="seconds", title="What each process of the cluster fitted, and when")

# %%
# Each bar is what a process was given at once, one fit or a few short ones. Both are busy to the
# end, since whoever has finished gets the next.
