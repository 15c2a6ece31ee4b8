"""The MLP and its layers: BatchNorm that takes a single row, Dropout with its own generator."""

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_WORDS = 2**15  # from here on NumPy's faster generator saves more than its seeding costs


class Linear(nn.Linear):
    """Linear layer without initial weights: the module that holds it draws them.

    Its construction leaves torch's global generator alone. torch's own way to that, `skip_init`,
    imports a package for symbolic shapes, which takes half a second.
    """

    def reset_parameters(self) -> None:
        """Do nothing."""


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
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each unit over the batch; in eval mode, by the running statistics."""
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

    @property
    def drops(self) -> bool:
        """Whether any unit is dropped in training."""
        return self._n_dropped > 0

    @property
    def scale(self) -> float:
        """Factor of the units that training keeps."""
        return 2**16 / (2**16 - self._n_dropped)

    def forward(self, input: Tensor) -> Tensor:
        """Zero units at random and scale up the others; in eval mode, change nothing."""
        if not (self.training and self.drops):
            return input
        return input * self.factors_like(input)

    def factors_like(self, input: Tensor) -> Tensor:
        """Draw 0 or the scale for each unit of an input."""
        generator = self._randomness.on(input.device)
        words = _random_words(-(-input.numel() // 4), generator, input.device)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        # int16 is signed, so that the lowest value is -2**15. `out` has the dtype of the input,
        # which saves a pass that would convert booleans.
        keep = torch.ge(bits, self._n_dropped - 2**15, out=torch.empty_like(input))
        return keep.mul_(self.scale)


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
    made = {"device": device, "dtype": dtype}
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(dims):
        # Equation 4: a^(l+1) = sigma(W^(l) a^(l) + b^(l)), here with BatchNorm before sigma.
        layers.append(Linear(n_in, n_out, **made))
        if batch_norm:
            layers.append(BatchNorm(n_out, **made))
        layers += [nn.ReLU(inplace=True), Dropout(dropout, randomness)]
    # Paper: y_DNN = sigmoid(W a + b). No b here, since the module has a bias already, and
    # contributions should name only one; the sigmoid is taken of the whole sum.
    layers.append(Linear(dims[-1], n_outputs, bias=False, **made))
    return nn.Sequential(*layers)
