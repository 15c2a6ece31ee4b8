"""
A search that gives up bad fits early
=====================================

Optuna draws parameters where earlier ones did well, and gives a fit up while it runs when it does
worse than others did after as many epochs.
"""

# %%
# The search
# ----------
# ``SkorchPruningCallback`` tells Optuna of the validation score after each epoch. The rows are held
# out once, so that all fits are judged by the same ones. What is tried is encoded once too.

import matplotlib.pyplot as plt
import optuna
from optuna_integration import SkorchPruningCallback
from sklearn.model_selection import train_test_split

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, X_val, y, y_val = train_test_split(
    X, y, train_size=10_000, test_size=5_000, stratify=y, random_state=0
)
encoder = OrdinalFieldEncoder().fit(X)
codes, codes_val = encoder.transform(X), encoder.transform(X_val)


def objective(trial):
    model = DeepFMClassifier(
        learning_rate=trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        embedding_l2=trial.suggest_float("embedding_l2", 1e-3, 1.0, log=True),
        embed_dim=trial.suggest_categorical("embed_dim", [4, 8, 16]),
        max_epochs=12,
        callbacks=[SkorchPruningCallback(trial, "valid_score")],
        random_state=0,
    )
    model.fit(codes, y, X_val=codes_val, y_val=y_val)
    return max(model.validation_scores_)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
)
study.optimize(objective, n_trials=24)
print(f"validation loss {-study.best_value:.4f} with {study.best_params}")

# %%
# What was given up
# -----------------

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for trial in study.trials:
    epochs = [step + 1 for step in trial.intermediate_values]
    losses = [-score for score in trial.intermediate_values.values()]
    is_pruned = trial.state == optuna.trial.TrialState.PRUNED
    ax.plot(epochs, losses, color="C3" if is_pruned else "C0", alpha=0.6)
    if is_pruned:
        ax.plot(epochs[-1], losses[-1], "x", color="C3")
ax.plot([], [], color="C0", label="to its end")
ax.plot([], [], "x-", color="C3", label="given up")
ax.set(xlabel="epoch", ylabel="validation loss")
ax.legend(frameon=False)

n_epochs = sum(len(trial.intermediate_values) for trial in study.trials)
print(f"{n_epochs} epochs for {len(study.trials)} fits")

# %%
# Crosses are fits that were given up, most of them after two epochs, when half of those before had
# done better by then; the others go on until they stop by themselves. The first losses can mislead:
# ``n_warmup_steps`` is the number of epochs after which nothing is given up yet.
