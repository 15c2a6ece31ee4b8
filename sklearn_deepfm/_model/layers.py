"""The MLP and its layers: BatchNorm that takes a single row, Dropout with its own generator."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_WORDS = 2**15  # from here on NumPy's faster generator saves more than its seeding costs


def _linear(
    n_in: int, n_out: int, bias: bool, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Linear layer whose construction leaves torch's global generator alone."""
    made = {"device": device, "dtype": dtype}
    layer: nn.Module = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias, **made)
    return layer


class Randomness:
    """The generators of a module, one per device, all from one seed.

    Without a seed torch's global generators are used.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator | None:
        """The generator for a device; None without a seed."""
        if self.seed is None:
            return None
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def state(self) -> dict[str, Any]:
        """State of each generator, an array of bytes by name of device."""
        return {str(d): g.get_state().numpy() for d, g in self._generators.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the generators to a state of `state`, as far as this machine has the devices."""
        for name, array in state.items():
            # The state may come from a machine with other devices; those start from the seed.
            with contextlib.suppress(AssertionError, RuntimeError):
                generator = self.on(torch.device(name))
                if generator is not None:
                    generator.set_state(torch.tensor(array))


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm that normalises a batch of one row by the running statistics.

    Input and output: (batch, n_units). A single row has no variance, and torch raises an
    error for it. Batches are not counted: `num_batches_tracked` stays 0.

    Attributes
    ----------
    add_up : callable or None
        Where a batch is split over processes: maps sums over the rows of this process to sums
        over the whole batch, with gradient.
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
        """Normalise by the mean and variance over the rows of all processes."""
        # The mean of squares less the square of the mean cancels digits, which float64 has.
        x = input.double()
        sums = add_up(torch.stack([torch.ones_like(x).sum(0), x.sum(0), x.square().sum(0)]))
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


class Dropout(nn.Module):
    """Dropout with its own generator, which draws 16 random bits per unit.

    Input and output: any shape. torch draws a whole random number per unit on one
    thread, which is three times slower. 16 bits round the probability by at most 2**-17.
    """

    def __init__(self, p: float, randomness: Randomness) -> None:
        super().__init__()
        # Out of the 2**16 values of 16 bits. Never all: the scale of kept units must be finite.
        self._n_dropped = min(round(p * 2**16), 2**16 - 1)
        self._randomness = randomness

    def forward(self, input: Tensor) -> Tensor:
        """Zero units at random and scale up the others; in eval mode, change nothing."""
        if not self.training or self._n_dropped == 0:
            return input
        generator = self._randomness.on(input.device)
        words = _random_words(-(-input.numel() // 4), generator, input.device)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        # int16 is signed, so that the lowest value is -2**15. `out` has the dtype of the input,
        # which saves a pass that would convert booleans.
        keep = torch.ge(bits, self._n_dropped - 2**15, out=torch.empty_like(input))
        return input * keep.mul_(2**16 / (2**16 - self._n_dropped))


def _random_words(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Random words of 64 bits, int64 of shape (n,)."""
    on_host = device.type == "cpu"
    words = torch.empty(1 if on_host and n >= MANY_WORDS else n, dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)
    if len(words) == n:
        return words
    # A word of torch's generator seeds one of NumPy, which is about twice as fast.
    seeded = np.random.SFC64(int(words) % 2**64)
    return torch.from_numpy(seeded.random_raw(n).view(np.int64))


def mlp(
    dims: Sequence[int],
    n_outputs: int,
    dropout: float,
    batch_norm: bool,
    randomness: Randomness,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Sequential:
    """Hidden layers of widths `dims[1:]`, and an output layer of logits."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(dims):
        # Equation 4: a^(l+1) = sigma(W^(l) a^(l) + b^(l)), here with BatchNorm before sigma.
        layers.append(_linear(n_in, n_out, True, device, dtype))
        if batch_norm:
            layers.append(BatchNorm(n_out, device=device, dtype=dtype))
        layers += [nn.ReLU(inplace=True), Dropout(dropout, randomness)]
    # Paper: y_DNN = sigmoid(W a + b). No b here, since the module has a bias already, and
    # contributions should name only one; the sigmoid is taken of the whole sum.
    layers.append(_linear(dims[-1], n_outputs, False, device, dtype))
    return nn.Sequential(*layers)
