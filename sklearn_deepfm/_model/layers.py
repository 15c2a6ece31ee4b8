"""The MLP and its layers, which draw from a generator of their own or mend a stock layer."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_WORDS = 2**15  # from here on a second generator saves more than its seeding costs


def _linear(n_in: int, n_out: int, bias: bool = True) -> nn.Module:
    """Linear layer whose construction leaves torch's global generator alone."""
    layer: nn.Module = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    return layer


class Randomness:
    """The generators of a module, one per device, all from one seed.

    Without a seed torch's global generators are used.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator | None:
        if self.seed is None:
            return None
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def state(self) -> dict[str, Any]:
        return {str(d): g.get_state().numpy() for d, g in self._generators.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        for name, array in state.items():
            with contextlib.suppress(AssertionError, RuntimeError):
                generator = self.on(torch.device(name))
                if generator is not None:
                    generator.set_state(torch.from_numpy(array))


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm that takes its running statistics for a batch of one row.

    Input and output: (batch, n_units). One row has no variance; torch raises there. Batches
    are not counted: `num_batches_tracked` stays 0.

    Attributes
    ----------
    add_up : callable or None
        Where a batch is split over processes: from sums over this one's part to sums over the
        whole, with gradient.
    """

    add_up: Callable[[Tensor], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each unit over the batch; in eval mode, by the running statistics."""
        if self.training and self.add_up is not None:
            return self._over_processes(input, self.add_up)
        is_training = self.training and len(input) > 1
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            is_training,
            self.momentum or 0.0,
            self.eps,
        )

    def _over_processes(self, input: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        x = input.double()
        sums = add_up(torch.stack([torch.ones_like(x).sum(0), x.sum(0), x.square().sum(0)]))
        n = sums[0]
        mean = sums[1] / n
        variance = (sums[2] / n - mean.square()).clamp(min=0)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                unbiased = variance * n / (n - 1).clamp(min=1)
                self.running_mean.lerp_(mean.to(self.running_mean), self.momentum or 0.0)
                self.running_var.lerp_(unbiased.to(self.running_var), self.momentum or 0.0)
        normal = ((x - mean) * (variance + self.eps).rsqrt()).to(input.dtype)
        return normal * self.weight + self.bias


class Dropout(nn.Module):
    """Dropout with its own generator, from 16 random bits a unit.

    Input and output: any shape. torch draws a whole random number per unit on one
    thread, three times slower; 16 bits round the probability by at most 2**-17.
    """

    def __init__(self, p: float, randomness: Randomness) -> None:
        super().__init__()
        self._n_dropped = min(round(p * 2**16), 2**16 - 1)  # out of 2**16 values of 16 bits
        self._randomness = randomness

    def forward(self, input: Tensor) -> Tensor:
        """Zero units at random and scale up the others; in eval mode, change nothing."""
        if not self.training or self._n_dropped == 0:
            return input
        generator = self._randomness.on(input.device)
        words = _random_words(-(-input.numel() // 4), generator, input.device)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        keep = torch.ge(bits, self._n_dropped - 2**15, out=torch.empty_like(input))
        return input * keep.mul_(2**16 / (2**16 - self._n_dropped))


def _random_words(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Words of 64 random bits, int64 of shape (n,)."""
    on_host = device.type == "cpu"
    words = torch.empty(1 if on_host and n >= MANY_WORDS else n, dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)
    if len(words) == n:
        return words
    # A word of torch's generator seeds one of NumPy, about twice as fast.
    seeded = np.random.SFC64(int(words) % 2**64)
    return torch.from_numpy(seeded.random_raw(n).view(np.int64))


def mlp(
    dims: Sequence[int],
    n_outputs: int,
    dropout: float,
    batch_norm: bool,
    randomness: Randomness,
) -> nn.Sequential:
    """Hidden layers of widths `dims[1:]`, and a layer of logits."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(dims):
        layers.append(_linear(n_in, n_out))
        if batch_norm:
            layers.append(BatchNorm(n_out))
        layers += [nn.ReLU(inplace=True), Dropout(dropout, randomness)]
    # No bias: the module has one already, and contributions should name only one.
    layers.append(_linear(dims[-1], n_outputs, bias=False))
    return nn.Sequential(*layers)
