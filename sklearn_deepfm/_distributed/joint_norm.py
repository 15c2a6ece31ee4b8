"""BatchNorm over the rows that all processes have in a batch."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from sklearn_deepfm._model.layers import BatchNorm

Layer = TypeVar("Layer", bound=nn.Module)


class JointBatchNorm(BatchNorm):
    """BatchNorm by the mean and variance over the rows of all processes.

    Input and output: (batch, n_units), where the batch is this process's part.

    Parameters
    ----------
    layer : BatchNorm
        For which it stands: they share weights and running statistics.
    add_up : callable
        Maps sums over the rows of this process to sums over the whole batch, with gradient.
    """

    def __init__(self, layer: BatchNorm, add_up: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self._add_up = add_up
        self._alone = (layer,)  # in a tuple, or it would become a part of this module

    @property
    def alone(self) -> BatchNorm:
        """The layer for which this one stands."""
        return self._alone[0]

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each unit over the joint batch; in eval mode, by the running statistics."""
        if not self.training:
            return super().forward(input)
        # The mean of squares less the square of the mean cancels digits, which float64 has.
        x = input.double()
        sums = self._add_up(torch.stack([torch.ones_like(x).sum(0), x.sum(0), x.square().sum(0)]))
        n = sums[0]
        mean = sums[1] / n
        variance = (sums[2] / n - mean.square()).clamp(min=0)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                # As in torch: biased to normalise a batch, unbiased in the running statistics.
                unbiased = variance * n / (n - 1).clamp(min=1)
                self.running_mean.lerp_(mean.to(self.running_mean), self.momentum or 0.0)
                self.running_var.lerp_(unbiased.to(self.running_var), self.momentum or 0.0)
        normal = ((x - mean) * (variance + self.eps).rsqrt()).to(input.dtype)
        return normal * self.weight + self.bias


def normalise_together(module: nn.Module, add_up: Callable[[Tensor], Tensor]) -> None:
    """Put a JointBatchNorm in the place of each BatchNorm of a module."""
    _replace(module, BatchNorm, lambda layer: JointBatchNorm(layer, add_up))


def normalise_alone(module: nn.Module) -> None:
    """Put the layers back for which a JointBatchNorm stands."""
    _replace(module, JointBatchNorm, lambda layer: layer.alone.train(layer.training))


def _replace(module: nn.Module, kind: type[Layer], other: Callable[[Layer], nn.Module]) -> None:
    for parent in [*module.modules()]:
        for name, layer in [*parent.named_children()]:
            if type(layer) is kind:
                setattr(parent, name, other(layer))
