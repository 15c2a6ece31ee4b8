"""
When to stop
============

Models of many categories overfit within a few epochs. A fit holds out a tenth of its rows, stops
when their loss has not improved for five epochs, and keeps the weights of the best one. This
example shows what happens with and without the default penalty on the embeddings.
"""

# %%
# Two fits
# --------
# ``patience`` is set so high that both run to the end; what counts is where the least loss is.

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, LossCurveDisplay, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, _, y, _ = train_test_split(X, y, train_size=20_000, stratify=y, random_state=0)


def fit(**params):
    classifier = DeepFMClassifier(max_epochs=15, n_iter_no_change=15, random_state=0, **params)
    return make_pipeline(OrdinalFieldEncoder(), classifier).fit(X, y)


figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, params in zip(axes, [{"embedding_l2": 0.0}, {}], strict=True):
    LossCurveDisplay.from_estimator(fit(**params), ax=ax)
axes[0].set_title("no penalty")
axes[1].set_title("default penalty")

# %%
# Without a penalty the model knows its training rows by heart after a few epochs and gets worse on
# all others; with it the least validation loss is lower and comes later.
