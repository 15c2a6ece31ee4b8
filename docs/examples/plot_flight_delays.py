"""
Flight delays: DeepFM beside gradient boosting
==============================================

Will a flight out of New York arrive more than 15 minutes late? What is known beforehand is mostly
categories, two of them with thousands of levels: the aircraft and the flight number.

Run as a script this takes about three minutes on two cores and writes ``flight_delays.png`` into
the current folder.
"""

# %%
# The data
# --------
# One row per flight of 2013. A random fifth is held out.

from time import perf_counter

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import RocCurveDisplay, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
print(X_train.nunique().to_string())

# %%
# Two models
# ----------
# DeepFM with the defaults of this library.

deepfm = Pipeline(
    [
        ("encoder", OrdinalFieldEncoder()),
        ("deepfm", DeepFMClassifier(verbose=1, random_state=0)),
    ]
)

# %%
# Gradient boosting takes native categories of up to 255 levels. The aircraft have more, so they
# enter by their rank in alphabetical order. It grows trees until a held-out tenth of the training
# rows gains no more.

strings = ["carrier", "origin", "dest", "tailnum"]
to_ranks = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
boosting = Pipeline(
    [
        (
            "encoder",
            make_column_transformer(
                (to_ranks, strings), remainder="passthrough", verbose_feature_names_out=False
            ).set_output(transform="pandas"),
        ),
        (
            "boosting",
            HistGradientBoostingClassifier(
                categorical_features=["carrier", "origin", "dest"],
                max_iter=1000,
                early_stopping=True,
                random_state=0,
            ),
        ),
    ]
)

# %%
# Fit and compare
# ---------------

models = {"DeepFM": deepfm, "gradient boosting": boosting}
proba, seconds = {}, {}
for name, model in models.items():
    start = perf_counter()
    model.fit(X_train, y_train)
    seconds[name] = perf_counter() - start
    proba[name] = model.predict_proba(X_test)[:, 1]

print(f"{'':18}{'test AUC':>10}{'log-loss':>10}{'fit, s':>8}")
for name, p in proba.items():
    auc, loss = roc_auc_score(y_test, p), log_loss(y_test, p)
    print(f"{name:18}{auc:10.4f}{loss:10.4f}{seconds[name]:8.0f}")

# %%
# Left: how well each model ranks flights, the higher the curve the better. Right: whether of the
# flights given 30 % just about 30 % were late; on the diagonal, probabilities can be taken at their
# word.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for name, p in proba.items():
    RocCurveDisplay.from_predictions(y_test, p, name=name, ax=left)
    CalibrationDisplay.from_predictions(
        y_test, p, name=name, n_bins=20, strategy="quantile", ax=right
    )
labels = [f"{name}: AUC {roc_auc_score(y_test, p):.4f}" for name, p in proba.items()]
left.legend(labels, loc="lower right")
left.set_title("Ranking")
right.set_title("Calibration")
figure.savefig("flight_delays.png", dpi=150)
print("Wrote flight_delays.png")
