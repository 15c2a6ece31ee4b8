"""
Are the probabilities right?
============================

A prediction of 30 % should come true in 30 of 100 cases. The reliability diagram compares predicted
probabilities with what happened, for DeepFM as it comes out of ``fit`` and for one that was trained
with class weights.
"""

# %%
# Two models
# ----------

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=60_000, test_size=40_000, random_state=0
)
figure, ax = plt.subplots(figsize=(5.5, 5), layout="constrained")
for name, class_weight in [("as it is", None), ("class_weight='balanced'", "balanced")]:
    classifier = DeepFMClassifier(class_weight=class_weight, random_state=0)
    model = make_pipeline(OrdinalFieldEncoder(), classifier).fit(X_train, y_train)
    proba = model.predict_proba(X_test)[:, 1]
    print(f"{name}: AUC {roc_auc_score(y_test, proba):.4f}, log-loss {log_loss(y_test, proba):.4f}")
    CalibrationDisplay.from_predictions(
        y_test, proba, n_bins=15, strategy="quantile", name=name, ax=ax
    )
ax.set(xlabel="predicted probability of delay", ylabel="share of delayed flights")
ax.legend(frameon=False)

# %%
# Without weights the curve follows the diagonal, and no further calibration is needed. Balanced
# weights leave the ranking much as it is and make every probability too large.
