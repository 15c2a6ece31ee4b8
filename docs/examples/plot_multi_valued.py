"""
Several categories in one cell
==============================

The tags of an article, the items in a basket, the genres of a film: a cell may hold a list. It is
one field with one embedding, the mean of those of its members. Here readers like articles for a
single one of their tags, and the model has to find out which reader likes which tag.
"""

# %%
# Readers and articles
# --------------------

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

rng = np.random.default_rng(0)
tags = np.array(["art", "chess", "food", "music", "news", "sports", "travel", "weather"])
groups = np.array(["painters", "players", "cooks", "singers"])
likes = dict(zip(groups, ["art", "chess", "food", "music"], strict=True))

n = 8_000
reader = rng.choice(groups, n)
article = [rng.choice(tags, rng.integers(1, 5), replace=False) for _ in range(n)]
reads = np.array([likes[r] in a for r, a in zip(reader, article, strict=True)])
y = rng.random(n) < np.where(reads, 0.8, 0.1)

# %%
# Lists, and the same as strings
# ------------------------------
# A list per cell is a field as it is; strings are taken apart at a separator. A column of the
# whole string, one category for each combination of tags, is what one would do without lists.

joined = ["|".join(sorted(a)) for a in article]
X = pd.DataFrame({"reader": reader, "tags": joined})
train, test = train_test_split(np.arange(n), random_state=0)
scores = {}
for name, encoder in {
    "members of a list": OrdinalFieldEncoder(separators={"tags": "|"}),
    "one category per combination": OrdinalFieldEncoder(),
}.items():
    model = make_pipeline(encoder, DeepFMClassifier(random_state=0))
    model.fit(X.iloc[train], y[train])
    scores[name] = roc_auc_score(y[test], model.predict_proba(X.iloc[test])[:, 1])
    if name == "members of a list":
        by_list = model

# %%
# What it learned of single tags
# ------------------------------

grid = pd.DataFrame([(g, t) for g in groups for t in tags], columns=["reader", "tags"])
proba = by_list.predict_proba(grid)[:, 1].reshape(len(groups), len(tags))

figure, axes = plt.subplots(
    1, 2, figsize=(11, 3.4), layout="constrained", gridspec_kw={"width_ratios": [3, 2]}
)
image = axes[0].imshow(proba, cmap="Blues", vmin=0, vmax=1)
axes[0].set_xticks(range(len(tags)), tags, rotation=45, ha="right")
axes[0].set_yticks(range(len(groups)), groups)
figure.colorbar(image, ax=axes[0], label="probability of reading", shrink=0.8)
axes[1].barh(list(scores), list(scores.values()), color="#4c72b0")
axes[1].set(xlabel="AUC of the test rows", xlim=(0.5, 1))

# %%
# Each group of readers lights up at its own tag, although hardly any article had a single one. As
# one category per combination most of that is lost.
