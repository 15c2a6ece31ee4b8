"""
A stream of flights: predict, then learn
========================================

New categories turn up every day: an airline leases an aircraft, a route opens. Here the months of
2013 arrive one after the other. For each month a model first predicts which flights will be late,
and only then learns from that month, by ``partial_fit`` of the encoder and of the classifier. So
each flight is judged by a model that has not seen it, which is called progressive validation.
"""

# %%
# Three ways to go along
# ----------------------
# An exact vocabulary grows by the tail numbers of each month, and the classifier's table with it.
# Hashing gives each category one of a fixed number of codes, which bounds the table, and some
# categories share one. The third model learns January and nothing else.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
months = X["month"].to_numpy()
X = X.drop(columns=["month", "day_of_year"])  # new in every month, so they cannot help


def progressive(encoder, learns):
    """Scores of each month's flights by what was learned of the months before."""
    model = DeepFMClassifier(random_state=0)
    scores = []
    for month in range(1, 13):
        X_month, y_month = X[months == month], y[months == month]
        if month > 1:
            proba = model.predict_proba(encoder.transform(X_month))[:, 1]
            scores.append(
                {
                    "month": month,
                    "AUC": roc_auc_score(y_month, proba),
                    "log-loss": log_loss(y_month, proba),
                    "rows of the table": len(model.module_.table),
                }
            )
        if month == 1 or learns:
            encoder.partial_fit(X_month)
            codes = encoder.transform(X_month)
            for _ in range(2):
                model.partial_fit(codes, y_month, classes=[0, 1])
    return pd.DataFrame(scores).set_index("month")


results = {
    "exact vocabulary": progressive(OrdinalFieldEncoder(), learns=True),
    "hashed to 1,000 codes a field": progressive(OrdinalFieldEncoder(hash_dims=1000), learns=True),
    "January alone": progressive(OrdinalFieldEncoder(), learns=False),
}
print(pd.DataFrame({name: scores["AUC"] for name, scores in results.items()}).round(3).to_string())

# %%
# What it brings
# --------------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, scores in results.items():
    axes[0].plot(scores["AUC"], "o-", ms=3, label=name)
    axes[1].plot(scores["rows of the table"], "o-", ms=3)
axes[0].set(xlabel="month of 2013", ylabel="AUC of the month's flights")
axes[1].set(xlabel="month of 2013", ylabel="rows of the embedding table", ylim=(0, None))
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)

# %%
# The models that go on learning rank the flights of nearly every later month better than the one
# that stopped in January; an exact vocabulary pays with a table that grows, hashing with
# collisions, which cost little here.
