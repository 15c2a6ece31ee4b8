"""
Which fields matter, and which pairs
====================================

The logit of a DeepFM is a sum, so that what each field and each pair of fields adds to a prediction
can be read off instead of estimated. Here a model learns which flights out of New York City are
late, and then tells what it learned: of all flights, of one of them, and of the airports.
"""

# %%
# A model, and flights that it has not seen
# -----------------------------------------

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    EmbeddingDisplay,
    FieldImportanceDisplay,
    InteractionDisplay,
    OrdinalFieldEncoder,
    WaterfallDisplay,
    importances,
    nearest_categories,
)
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=60_000, test_size=3_000, random_state=0
)
model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=0))
model.fit(X_train, y_train)

# %%
# All flights
# -----------
# The strength of a term is its mean size over these rows. What two fields do together is told apart
# from what each does by itself, and the title says how much is left to interactions of three and
# more.

found = importances(model, X_test)
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
FieldImportanceDisplay(found).plot(axes[0])
InteractionDisplay(found).plot(axes[1])

# %%
# One flight
# ----------
# From an average flight to the one that the model holds for most likely to be late.

latest = int(model.decision_function(X_test).argmax())
WaterfallDisplay.from_estimator(model, X_test, row=latest)

# %%
# Airports
# --------
# Airports whose flights are late at the same times lie close together. Those most like Los Angeles:

print(nearest_categories(model, "dest", "LAX", n_categories=5).round(2).to_string())

# %%

EmbeddingDisplay.from_estimator(model, "dest")

# %%
# The day of the year matters most, by itself and together with origin and scheduled departure: a
# storm delays the flights of some hours of a day from some airports. On the map the airports of
# Florida lie together, and so do those of the West.
