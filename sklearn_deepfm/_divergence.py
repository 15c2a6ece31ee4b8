"""When the loss is no number any more: what to tell the user."""

from typing import Any


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


def advice(net: Any, error: Diverged) -> str:
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
