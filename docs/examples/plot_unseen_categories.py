"""
Categories that the model has never seen
========================================

New aircraft, new routes, new users: at prediction there are categories that were in no training
row. They are predicted as an average category of their field would be. Here a tenth of all aircraft
is kept away from training.
"""

# %%
# Keep aircraft away
# ------------------

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    X, y, train_size=60_000, test_size=40_000, stratify=y, random_state=0
)
aircraft = np.sort(X["tailnum"].dropna().unique())
held = np.random.default_rng(0).choice(aircraft, len(aircraft) // 10, replace=False)
known = ~X["tailnum"].isin(held)

model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=0))
model.fit(X[known], y[known])

# %%
# Predictions for flights of known and of new aircraft
# ----------------------------------------------------

proba = model.predict_proba(X_test)[:, 1]
is_new = X_test["tailnum"].isin(held).to_numpy()
scores = {
    name: {
        "flights": mask.sum(),
        "AUC": roc_auc_score(y_test[mask], proba[mask]),
        "log-loss": log_loss(y_test[mask], proba[mask]),
        "mean prediction": proba[mask].mean(),
        "share late": y_test[mask].mean(),
    }
    for name, mask in [("known aircraft", ~is_new), ("new aircraft", is_new)]
}
print(pd.DataFrame(scores).T.round(4).to_string())

# %%
# One flight, flown by every aircraft
# -----------------------------------
# The same flight with each known tail number in turn, and with one that is unknown.

flight = X_test.iloc[[0]]
by_aircraft = pd.concat([flight] * len(aircraft), ignore_index=True).assign(tailnum=aircraft)
by_aircraft = by_aircraft[~by_aircraft["tailnum"].isin(held)]
unknown = model.predict_proba(flight.assign(tailnum="N0NEW"))[0, 1]

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.hist(model.predict_proba(by_aircraft)[:, 1], bins=40, color="#a1b8d9", label="known aircraft")
ax.axvline(unknown, color="#c44e52", label="unknown aircraft")
ax.set(xlabel="predicted probability of delay", ylabel="aircraft")
ax.legend(frameon=False)

# %%
# The prediction for an unknown aircraft lies in the middle of those for the known ones, and flights
# of new aircraft are predicted about as well as others.
