"""The exponential moving average of a module's weights over its training steps."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._model.layers import BatchNorm
from sklearn_deepfm._model.touched_rows import TouchedRows, rows_at_once, zeros
from sklearn_deepfm._training.weight_snapshot import to_numpy

UPDATES_IN_SPAN = 100  # of a dense average: more would take time and change little
LEAST_UPDATES_OF_EPOCH = 20  # of a dense average, however long its span
LONGEST_SPAN = 1e9  # steps, beyond which the decay would be rounded to 1


class WeightAverage:
    """Exponential moving average of weights over training steps, without the initial weights.

    After `t` steps the average of a weight is
    ``sum_s decay**(t - s) * w_s / sum_s decay**(t - s)`` over the steps s from 1 to t.
    With sparse updates, the average of a table row is brought up to date when the row is
    touched, and those of all rows when the averages are applied.

    Parameters
    ----------
    parameters : sequence of Tensor
        The weights, the table first.
    decay : float
        In [0, 1).
    every : int
        Steps from one update of the average to the next. Above 1, the `t` of the formula
        counts updates.
    by_rows : bool
        Whether steps touch only some rows of the table; needs ``every=1``.
    statistics : sequence of Tensor
        Further tensors that belong to the weights in training, and are restored with them.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        decay: float,
        *,
        every: int = 1,
        by_rows: bool = False,
        statistics: Sequence[Tensor] = (),
    ) -> None:
        self._weights = [parameter.detach() for parameter in parameters]
        self._averages = [zeros(weight, weight.shape) for weight in self._weights]
        self._decay = decay
        self._every, self._n_calls = every, 0
        self._step = 0
        self._last_step: Tensor | None = None
        if by_rows:
            table = self._weights[0]
            self._last_step = torch.zeros(len(table), dtype=torch.int32, device=table.device)
        self._is_applied = False
        self._statistics = list(statistics)
        self._aside: list[Tensor] = []

    @torch.no_grad()
    def update(self, touched: TouchedRows | None) -> None:
        """Add the weights after a step; `touched` holds the touched rows as they were before it."""
        self._n_calls += 1
        if self._n_calls % self._every and self._step:
            return
        self._step += 1
        share = 1 / self._total_weight(self._step)  # of the newest weights
        whole = slice(0 if self._last_step is None else 1, None)
        # Private, but one call for all weights; torch's own optimizers use these functions.
        torch._foreach_lerp_(self._averages[whole], self._weights[whole], share)
        if self._last_step is None or touched is None:
            return
        rows = touched.positions
        average = self._caught_up(touched.rows.detach(), rows, self._step - 1)
        average.lerp_(self._weights[0].index_select(0, rows), share)
        self._averages[0].index_copy_(0, rows, average)
        self._last_step.index_fill_(0, rows, self._step)

    @torch.no_grad()
    def apply(self) -> bool:
        """Put the averages into the module, and set the weights in training aside.

        Returns
        -------
        is_new : bool
            False if they are there already, or no step has been taken.
        """
        if self._is_applied or not self._step:
            return False
        if self._last_step is not None:
            for rows in self._touched_rows():
                weights = self._weights[0].index_select(0, rows)
                average = self._caught_up(weights, rows, self._step)
                self._averages[0].index_copy_(0, rows, average)
                self._last_step.index_fill_(0, rows, self._step)
        self._aside = [statistic.clone() for statistic in self._statistics]
        self._swap()
        return True

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights in training back into the module, if the averages are there."""
        if self._is_applied:
            self._swap()
            for statistic, kept in zip(self._statistics, self._aside, strict=True):
                statistic.copy_(kept)

    def to_plain(self) -> dict[str, Any]:
        """State of the average as numbers and arrays."""
        return {
            "averages": [to_numpy(average) for average in self._averages],
            "aside": [to_numpy(statistic) for statistic in self._aside],
            "last_step": to_numpy(self._last_step),
            "n_calls": self._n_calls,
            "step": self._step,
            "is_applied": self._is_applied,
        }

    def load_plain(self, state: dict[str, Any]) -> None:
        """Load what `to_plain` has returned for an average of the same module.

        Raises
        ------
        ValueError
            If the state is that of another module.
        """
        device = self._weights[0].device
        averages = [torch.tensor(array, device=device) for array in state["averages"]]
        aside = [torch.tensor(array, device=device) for array in state["aside"]]
        pairs = [*zip(averages, self._weights, strict=True)]
        pairs += [*zip(aside, self._statistics, strict=True)] if aside else []
        if self._last_step is not None:
            last_step = torch.tensor(state["last_step"], device=device)
            pairs.append((last_step, self._last_step))
            self._last_step = last_step
        if any(one.shape != other.shape or one.dtype != other.dtype for one, other in pairs):
            raise ValueError("the averaged weights are those of another network")
        n_calls, step, is_applied = (
            index(state["n_calls"]),
            index(state["step"]),
            state["is_applied"],
        )
        is_possible = 0 <= step <= n_calls and isinstance(is_applied, bool)
        # What is applied has set the statistics in training aside.
        is_possible &= not is_applied or (step > 0 and len(aside) == len(self._statistics))
        if self._last_step is not None:
            is_possible &= bool(((self._last_step >= 0) & (self._last_step <= step)).all())
        if not is_possible or not all(bool(torch.isfinite(t).all()) for t in averages + aside):
            raise ValueError("the averaged weights hold numbers that no training gives")
        self._averages, self._aside = averages, aside
        self._n_calls, self._step, self._is_applied = n_calls, step, is_applied

    def _total_weight(self, step: Any) -> Any:
        """The sum ``1 + decay + .. + decay**(step - 1)``."""
        return (1 - self._decay**step) / (1 - self._decay)

    def _caught_up(self, weights: Tensor, rows: Tensor, step: int) -> Tensor:
        """Averages of table rows after `step` steps, if each has not moved since its last one."""
        average = self._averages[0].index_select(0, rows)
        if step == 0:
            return average
        # In float64, as float32 would round the decay of a long span to 1.
        last = self._last_step.index_select(0, rows).double()  # type: ignore[union-attr]
        kept = self._decay ** (step - last) * self._total_weight(last) / self._total_weight(step)
        return torch.lerp(weights, average, kept.to(weights.dtype).unsqueeze(1))

    def _touched_rows(self) -> tuple[Tensor, ...]:
        """Positions, in parts, of the table rows that any step has touched; no others change."""
        rows = self._last_step.nonzero().squeeze(1)  # type: ignore[union-attr]
        return rows.split(rows_at_once(self._weights[0]))

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange weights and averages, the rows of a large table part by part."""
        pairs = list(zip(self._weights, self._averages, strict=True))
        if self._last_step is not None:
            weights, averages = pairs.pop(0)
            for rows in self._touched_rows():
                kept = weights.index_select(0, rows)
                weights.index_copy_(0, rows, averages.index_select(0, rows))
                averages.index_copy_(0, rows, kept)
        for weight, average in pairs:
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
        self._is_applied = not self._is_applied


def make_weight_average(module: DeepFM, epochs: float, n_batches: int) -> WeightAverage:
    """Average of a module's weights, in which a step so many `epochs` back counts 1/e."""
    span = min(epochs * n_batches, LONGEST_SPAN)
    every = 1
    if not module.sparse:
        every = max(int(min(span / UPDATES_IN_SPAN, n_batches / LEAST_UPDATES_OF_EPOCH)), 1)
    return WeightAverage(
        [module.table, *(p for p in module.parameters() if p is not module.table)],
        math.exp(-every / span),
        every=every,
        by_rows=module.sparse,
        statistics=statistics_of(module),
    )


def statistics_of(module: nn.Module) -> list[Tensor]:
    """Running means and variances of a module's BatchNorm layers, which follow the weights."""
    buffers = [buffer for layer in _norms(module) for buffer in layer.buffers()]
    # Without the integer that counts batches.
    return [buffer for buffer in buffers if buffer.is_floating_point()]


def has_statistics(module: nn.Module) -> bool:
    """Whether a module has BatchNorm layers, with statistics that follow the weights."""
    return bool(_norms(module))


def _norms(module: nn.Module) -> list[BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm)]


def normalise_together(module: nn.Module, add_up: Callable[[Tensor], Tensor] | None) -> None:
    """Let BatchNorm sum over processes by `add_up`; None: over this process's batch alone."""
    for layer in _norms(module):
        layer.add_up = add_up


@contextlib.contextmanager
def statistics_of_one_batch(module: nn.Module) -> Iterator[None]:
    """Set BatchNorm's statistics to those of the one batch that runs in this context.

    The statistics gathered in training belong to other weights than the averaged ones.
    Dropout is on, as in training.
    """
    norms = _norms(module)
    momenta = [layer.momentum for layer in norms]
    training = module.training
    module.train()
    for layer in norms:
        layer.momentum = 1.0  # the batch replaces the statistics
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
