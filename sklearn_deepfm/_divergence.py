"""When the loss is no number any more: weights to go back to, and what to tell the user."""

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from sklearn_deepfm._batches import Samples
from sklearn_deepfm._weights_copy import WeightsCopy


class Diverged(ArithmeticError):
    """The loss of a training batch is not finite.

    Attributes
    ----------
    loss : float
    """

    def __init__(self, loss: float) -> None:
        super().__init__(loss)
        self.loss = loss


class WeightsBefore(Callback):
    """Keep the weights from before training, and put them back if it diverges at once.

    Parameters
    ----------
    each_epoch : bool
        Whether to keep those from before each epoch, to go back to wherever it diverges.
    samples : Samples or None
        The training rows, where they may hold few rows of the table: no others are kept
        of a table of which training updates these alone.
    """

    def __init__(self, each_epoch: bool, samples: Samples | None = None) -> None:
        self.each_epoch = each_epoch
        self.samples = samples

    def on_train_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        self._n_epochs = len(net.history)
        self._copy: WeightsCopy | None = None
        self._rows: Tensor | None = None
        if self.samples is not None and net.module_.sparse:
            self._rows = net.module_.rows_of(self.samples.index, self.samples.bags)
        self.samples = None

    def on_epoch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        if self._copy is None or self.each_epoch:
            self._drop()
            self._copy = WeightsCopy(self._state(net))

    def on_train_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        is_first = len(net.history) == self._n_epochs
        if net.diverged_ is not None and (self.each_epoch or is_first) and self._copy is not None:
            state = self._state(net)
            self._copy.restore(state)
            if self._rows is not None:
                with torch.no_grad():
                    net.module_.table.index_copy_(0, self._rows, state["table"])
                net.refresh_unseen()
        self._drop()

    def _state(self, net: NeuralNet) -> dict[str, Tensor]:
        state: dict[str, Tensor] = net.module_.state_dict()
        return state if self._rows is None else {**state, "table": state["table"][self._rows]}

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self._copy = None


def advice(net: Any, loss: float, n_steps: int) -> str:
    """Where training diverged, and what to do about it.

    Parameters
    ----------
    net : DeepFMNet
    loss : float
    n_steps : int
        Steps of this fit before it did.
    """
    where = (
        f"The training loss became {loss} in epoch {len(net.history)}, "
        f"with learning_rate={net.lr:g}"
    )
    if n_steps == 0:
        return (
            f"{where}, before a step was taken: a number that comes in is extreme. Look at y, "
            f"sample_weight, and the embeddings given as pretrained or learned before."
        )
    cause = "steps that are too large"
    if net.precision == "bfloat16":
        cause += ", or precision='bfloat16'"
    return f"{where}: the likely cause is {cause}. Lower learning_rate, to {net.lr / 10:g} say."
