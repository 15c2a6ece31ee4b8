"""
A grid search, with one pass over the encoder
=============================================

Every parameter of encoder and classifier can be searched like those of any other estimator. Here
the strength of the penalty and the length of the embeddings are chosen together, by the log-loss of
three folds.
"""

# %%
# The search
# ----------
# The codes do not depend on the parameters that are searched, so the table is encoded once, outside
# of the search. Categories that a fold lacks are unknown in it, as they would be in a pipeline.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, _, y, _ = train_test_split(X, y, train_size=10_000, stratify=y, random_state=0)
codes = OrdinalFieldEncoder().fit_transform(X)

default = DeepFMClassifier(random_state=0).fit(codes, y).net_.embedding_l2
factors = [1 / 16, 1 / 4, 1, 4]
grid = {"embedding_l2": [factor * default for factor in factors], "embed_dim": [4, 16]}
search = GridSearchCV(
    DeepFMClassifier(random_state=0), grid, cv=3, scoring="neg_log_loss", n_jobs=2
)
search.fit(codes, y)

results = pd.DataFrame(search.cv_results_)
table = results.pivot(
    index="param_embed_dim", columns="param_embedding_l2", values="mean_test_score"
)
print((-table).round(4).to_string())

# %%
# What it found
# -------------

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for embed_dim, part in results.groupby("param_embed_dim"):
    error = part["std_test_score"] / np.sqrt(search.n_splits_)
    ax.errorbar(factors, -part["mean_test_score"], error, marker="o", capsize=3, label=embed_dim)
ax.axvline(1, color="grey", linewidth=1, linestyle=":")
ax.set_xscale("log", base=2)
ax.set(xlabel="embedding_l2, as a multiple of its default", ylabel="log-loss of three folds")
ax.legend(title="embed_dim", frameon=False)

# %%
# A much weaker penalty than the default overfits. For these ten thousand flights one four times as
# strong does better still, and the length of the embeddings matters less.
