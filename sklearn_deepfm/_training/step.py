"""One step of training: forward, loss, backward, update of the weights, update of their average."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._model.touched_rows import TouchedRows
from sklearn_deepfm._samples.samples import Batch, Inputs
from sklearn_deepfm._training.divergence import Diverged
from sklearn_deepfm._training.losses import losses_of_rows, mean_loss
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.table_rules import Number
from sklearn_deepfm._training.weight_average import WeightAverage

GradHook: TypeAlias = Callable[[TouchedRows | None], None]

INPUTS = "index", "value", "bags"  # of the module, among what a batch holds


class Numbers(NamedTuple):
    """What changes from step to step beside the batch and the state.

    Attributes
    ----------
    update : sequence of sequence of float or Tensor of shape ()
        Of each group of the optimizer.
    average : sequence of float or Tensor of shape ()
        Of the average of the weights; empty where this step does not update it.
    """

    update: Sequence[Sequence[Number]]
    average: Sequence[Number]


class TrainStep:
    """A step on a batch; calls of it are all that changes weights in training.

    Training minimises the sum of the members' losses.

    Parameters
    ----------
    module : DeepFM
    criterion : Module
        From logits and targets to the loss of each row.
    optimizer : RowSparseAdam
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the matrix products.

    Attributes
    ----------
    average : WeightAverage or None
        Average of the weights, which each step updates.
    n_steps : int
        Number of steps taken.
    """

    def __init__(
        self,
        module: DeepFM,
        criterion: nn.Module,
        optimizer: RowSparseAdam,
        precision: str = "float32",
    ) -> None:
        self.module, self.criterion, self.optimizer = module, criterion, optimizer
        self.precision = precision
        self.average: WeightAverage | None = None
        self.n_steps = 0

    def __call__(self, batch: Batch, on_grad: GradHook | None = None) -> dict[str, Tensor]:
        """Take a step.

        Parameters
        ----------
        batch : tuple of (dict, Tensor)
            Inputs and weights, and targets.
        on_grad : callable, default=None
            Called between backward and update with the touched rows, which hold the gradient
            of the table where only those rows are updated.

        Returns
        -------
        step : dict
            "loss", the mean over rows and members, and "y_pred", the members' mean logits.

        Raises
        ------
        Diverged
            Before the update, if the loss can be read at once and is not finite.
        """
        x, y = batch
        if not self.module.training:  # to set the mode of every layer in every step takes time
            self.module.train()
        loss, y_pred = self._take(x, y, on_grad)
        self.n_steps += 1
        return {"loss": loss, "y_pred": y_pred}

    def _take(
        self,
        x: Inputs,
        y: Tensor | None,
        on_grad: GradHook | None = None,
        numbers: Numbers | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Do what changes tensors in a step, and return the mean loss and the mean logits."""
        self.optimizer.zero_grad()
        logits, touched = self._forward(x)
        loss, touched = self._backward(self._loss(logits, y, x), touched)
        if on_grad is not None:
            on_grad(touched)
        # By the rows of this step: what has been told its gradients may have frozen the table.
        numbers = self._next_numbers(touched is not None) if numbers is None else numbers
        self.optimizer.step(touched=touched, numbers=numbers.update)
        if self.average is not None:
            self.average.update(touched, numbers.average)
        return loss.detach() / logits.shape[1], logits.detach().mean(1)

    def release(self) -> None:
        """Let go of the average, at the end of training."""
        self.average = None

    @property
    def _by_rows(self) -> bool:
        """Whether a step updates the table by the rows that its batch touches."""
        # Callbacks may freeze the table, which then must not step.
        return self.module.sparse and self.module.table.requires_grad

    def _next_numbers(self, by_rows: bool) -> Numbers:
        average = [] if self.average is None else self.average.next_numbers()
        return Numbers(self.optimizer.next_numbers(by_rows), average)

    def _forward(self, x: Inputs) -> tuple[Tensor, TouchedRows | None]:
        """Logits of each member, and the touched rows if only those get a gradient."""
        module, touched = self.module, None
        inputs = {name: x[name] for name in INPUTS if name in x}
        with autocast(x["index"].device.type, self.precision):
            if self._by_rows:
                touched, lookup = module.touch(inputs["index"], inputs.get("bags"))
                logits = module.logits_of(lookup, inputs.get("value"))
            else:
                logits = module.member_logits(**inputs)
        return logits.float(), touched

    def _loss(self, logits: Tensor, y: Tensor | None, x: Inputs) -> Tensor:
        return mean_loss(losses_of_rows(self.criterion, logits, y, x), x)

    def _backward(
        self, loss: Tensor, touched: TouchedRows | None
    ) -> tuple[Tensor, TouchedRows | None]:
        """Compute gradients, after a look at the loss."""
        self._check(loss)
        loss.backward()
        return loss, touched

    def _check(self, loss: Tensor) -> None:
        if is_at_hand(loss) and not math.isfinite(loss.item()):
            raise Diverged(loss.item(), self.n_steps)


def autocast(device: str, precision: str) -> torch.autocast:
    """Context in which matrix products have a precision, on the kind of device."""
    # Inside another autocast the cache would outlive the step, with the weights before it.
    is_low = precision == "bfloat16"
    return torch.autocast(device, torch.bfloat16, enabled=is_low, cache_enabled=False)


def is_at_hand(loss: Tensor) -> bool:
    """Whether a loss can be read without waiting for a device."""
    return loss.device.type == "cpu"
