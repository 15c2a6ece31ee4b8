"""Divergence of training: the exception for it, and messages for the user."""

import math
from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from skorch import NeuralNet

from sklearn_deepfm._training.best_epoch import Epoch, best_epoch


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


def read_losses(
    batches: Sequence[MutableMapping[str, Any]], name: str, n_steps: int | None
) -> None:
    """Read the losses that are on a device into the records of their batches, all at once.

    Parameters
    ----------
    batches : sequence of dict
        The records of an epoch's batches.
    name : str
        Name of the loss in them.
    n_steps : int or None
        Steps that the fit has taken by now, one for each batch; None for validation.

    Raises
    ------
    Diverged
        If the loss of a step is not finite.
    """
    on_device = [batch for batch in batches if torch.is_tensor(batch[name])]
    if not on_device:
        return
    losses = torch.stack([batch[name] for batch in on_device]).tolist()
    for batch, loss in zip(on_device, losses, strict=True):
        batch[name] = loss
    not_finite = [n for n, loss in enumerate(losses) if not math.isfinite(loss)]
    if n_steps is not None and not_finite:
        raise Diverged(losses[not_finite[0]], n_steps - len(losses) + not_finite[0])


def divergence_message(net: NeuralNet, error: Diverged) -> str:
    """Message that says in which epoch training diverged, and what to do about it.

    Parameters
    ----------
    net : DeepFMNet
    error : Diverged
    """
    where = (
        f"The training loss became {error.loss} in epoch {len(net.history)}, "
        f"with learning_rate={net.lr:g}"
    )
    if error.n_steps == 0:  # no step, so that the learning rate cannot be the cause
        return (
            f"{where}, before a step was taken: a number that comes in is extreme. Look at y, "
            f"sample_weight, and the embeddings given as pretrained or learned before."
        )
    cause = "steps that are too large"
    if net.precision == "bfloat16":
        cause += ", or precision='bfloat16'"
    return f"{where}: the likely cause is {cause}. Lower learning_rate, to {net.lr / 10:g} say."


def epoch_of_weights_left(history: Sequence[Epoch], n_before: int) -> str:
    """Name of the epoch whose weights the model keeps after training has diverged.

    Parameters
    ----------
    history : list of dict
        One for each epoch, without the one that diverged.
    n_before : int
        Number of epochs of earlier fits, less than ``len(history)``.
    """
    if "valid_score_best" not in history[-1]:  # no score says which one is best
        return f"epoch {len(history)}, the last one before"
    best = best_epoch(history) or 0
    if best <= n_before:
        return "a linear model, which no epoch has beaten"
    return f"epoch {best}, the best one before"
