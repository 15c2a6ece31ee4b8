"""The exponential moving average of a module's weights over its training steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_deepfm._touched import Touched

N_AT_ONCE = 2**22  # elements exchanged at a time


class WeightAverage:
    """Weights averaged over the steps, the last ones most, without those before the first.

    After `t` steps the average of a weight is
    ``sum_s decay**(t - s) * w_s / sum_s decay**(t - s)`` over the steps s from 1 to t.
    Of a table whose steps touch some rows only, a row is brought up to date when it is
    touched, and all of them when the average is asked for.

    Parameters
    ----------
    parameters : sequence of Tensor
        The weights, the table first.
    decay : float
        In [0, 1).
    every : int
        Steps from one update to the next, which is what `t` counts: a few hundred in the
        span that matters are as good as all.
    by_rows : bool
        Whether the steps touch some rows of the table only; needs ``every=1``.
    """

    def __init__(
        self, parameters: Sequence[Tensor], decay: float, *, every: int = 1, by_rows: bool = False
    ) -> None:
        self._weights = [parameter.detach() for parameter in parameters]
        self._averages = [torch.zeros_like(weight) for weight in self._weights]
        self._decay = decay
        self._every, self._n_calls = every, 0
        self._step = 0
        table = self._weights[0]
        self._last_step: Tensor | None = None
        if by_rows:
            self._last_step = torch.zeros(len(table), dtype=torch.int32, device=table.device)
        self._is_swapped = False

    @torch.no_grad()
    def update(self, touched: Touched | None) -> None:
        """Take in the weights after a step; `touched` holds its rows as they were before."""
        self._n_calls += 1
        if self._n_calls % self._every and self._step:
            return
        self._step += 1
        share = 1 / self._total_weight(self._step)  # of the newest weights
        whole = slice(0 if self._last_step is None else 1, None)
        torch._foreach_lerp_(self._averages[whole], self._weights[whole], share)
        if self._last_step is None or touched is None:
            return
        rows, table = touched.positions, self._weights[0]
        before = touched.rows.detach()
        average = self._caught_up(before, rows, self._step - 1)
        average.lerp_(table.index_select(0, rows), share)
        self._averages[0].index_copy_(0, rows, average)
        self._last_step.index_fill_(0, rows, self._step)

    def restore(self) -> None:
        """Put the weights in training back into the module, if the averages are there."""
        if self._is_swapped:
            self._swap()

    @torch.no_grad()
    def apply(self) -> bool:
        """Put the averages into the module, the weights in training aside.

        Returns
        -------
        is_new : bool
            False if they are there already, or no step has been taken.
        """
        if self._is_swapped or not self._step:
            return False
        if self._last_step is not None:
            table = self._weights[0]
            for part in torch.arange(len(table), device=table.device).split(
                max(N_AT_ONCE // table.shape[1], 1)
            ):
                average = self._caught_up(table.index_select(0, part), part, self._step)
                self._averages[0].index_copy_(0, part, average)
            self._last_step.fill_(self._step)
        self._swap()
        return True

    def _total_weight(self, step: Any) -> Any:
        """The sum ``1 + decay + .. + decay**(step - 1)``."""
        return (1 - self._decay**step) / (1 - self._decay)

    def _caught_up(self, weights: Tensor, rows: Tensor, step: int) -> Tensor:
        """Averages of rows after `step` steps, the last ones of which have left them alone."""
        average = self._averages[0].index_select(0, rows)
        last = self._last_step.index_select(0, rows).double()  # type: ignore[union-attr]
        if step == 0:
            return average
        kept = self._decay ** (step - last) * self._total_weight(last) / self._total_weight(step)
        return torch.lerp(weights, average, kept.to(weights.dtype).unsqueeze(1))

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange weights and averages, part by part, without a third copy."""
        for weight, average in zip(self._weights, self._averages, strict=True):
            parts = weight.view(-1).split(N_AT_ONCE), average.view(-1).split(N_AT_ONCE)
            for one, other in zip(*parts, strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)
        self._is_swapped = not self._is_swapped
