"""When the loss is no number any more: what to tell the user."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Diverged(ArithmeticError):
    """The loss of a training batch is not finite.

    Attributes
    ----------
    loss : float
    n_steps : int
        Steps of the fit that had been taken when the loss was computed.
    """

    def __init__(self, loss: float, n_steps: int) -> None:
        super().__init__(loss, n_steps)
        self.loss, self.n_steps = loss, n_steps


def divergence_message(net: Any, error: Diverged) -> str:
    """Where training diverged, and what to do about it.

    Parameters
    ----------
    net : DeepFMNet
    error : Diverged
    """
    where = (
        f"The training loss became {error.loss} in epoch {len(net.history)}, "
        f"with learning_rate={net.lr:g}"
    )
    if error.n_steps == 0:
        return (
            f"{where}, before a step was taken: a number that comes in is extreme. Look at y, "
            f"sample_weight, and the embeddings given as pretrained or learned before."
        )
    cause = "steps that are too large"
    if net.precision == "bfloat16":
        cause += ", or precision='bfloat16'"
    return f"{where}: the likely cause is {cause}. Lower learning_rate, to {net.lr / 10:g} say."


def epoch_of_weights_left(history: Sequence[dict[str, Any]], n_before: int) -> str:
    """Which epoch's weights are left where training diverges.

    Parameters
    ----------
    history : list of dict
        One for each epoch, the one that diverged not among them.
    n_before : int
        Number of the epochs of earlier fits; fewer than there are.
    """
    scores = np.array([epoch.get("valid_score", np.nan) for epoch in history[n_before:]])
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if scores.max() == -np.inf:  # none of them says anything
        return f"epoch {len(history)}, the last one before"
    return f"epoch {n_before + int(scores.argmax()) + 1}, the best one before"
