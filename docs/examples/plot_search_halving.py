"""
A search that halves by epochs
==============================

Successive halving gives all candidates a few epochs, then the better ones more, and all epochs to
the best alone. What most searches spend on candidates that were behind from the start is saved.
"""

# %%
# The search
# ----------
# ``resource="max_epochs"`` says what there is more and more of. After each round a third goes on,
# from the start again, with three times the epochs.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, _, y, _ = train_test_split(X, y, train_size=10_000, stratify=y, random_state=0)
codes = OrdinalFieldEncoder().fit_transform(X)

grid = {
    "learning_rate": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    "mlp_dims": [(), (64,), (128, 64)],
}
search = HalvingGridSearchCV(
    DeepFMClassifier(random_state=0),
    grid,
    resource="max_epochs",
    min_resources=2,
    max_resources=18,
    factor=3,
    cv=3,
    scoring="neg_log_loss",
    random_state=0,
    n_jobs=2,
)
search.fit(codes, y)
for n_candidates, n_epochs in zip(search.n_candidates_, search.n_resources_, strict=True):
    print(f"{n_candidates:3} candidates with {n_epochs:2} epochs")
print(search.best_params_)

# %%
# Who went on
# -----------

results = pd.DataFrame(search.cv_results_)
results["name"] = results[[f"param_{name}" for name in grid]].astype(str).agg(" ".join, axis=1)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for _, part in results.groupby("name"):
    is_best = search.best_index_ in part.index
    style = {"color": "C1", "zorder": 3} if is_best else {"color": "C0", "alpha": 0.5}
    ax.plot(part["n_resources"], -part["mean_test_score"], "o-", **style)
ax.set_xscale("log")
ax.set_xticks(search.n_resources_, search.n_resources_)
ax.minorticks_off()
ax.set(xlabel="max_epochs", ylabel="log-loss of three folds")

# %%
# Each point is the score of a candidate with so many epochs, the winner's in orange: two thirds end
# in each round, and only two of eighteen are ever trained for eighteen epochs.
