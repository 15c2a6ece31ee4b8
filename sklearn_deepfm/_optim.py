"""Adam that updates only those rows of the embedding table that a batch touches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TouchedRows = Callable[[], tuple[Tensor, Tensor] | None]


class RowSparseAdam(torch.optim.Adam):
    """Adam, with L2 and moments caught up for the steps a row was not touched.

    A row last touched `g` steps ago takes Adam's step with the gradient
    ``grad + g * weight_decay * row`` after its first moment has decayed by
    ``beta1 ** g`` and its second by ``beta2 ** g``. This is not dense Adam: there an
    untouched row goes on moving along its momentum, here it waits. All other
    parameters are updated as :class:`torch.optim.Adam` does.

    Parameters
    ----------
    params : iterable of dict
        Parameter groups. The one with ``rows=True`` holds the table alone.
    touched : callable
        Returns the distinct rows of the last batch: their positions, and a tensor of
        their values with its gradient. None: no row.
    **kwargs
        As for :class:`torch.optim.Adam`.
    """

    def __init__(self, params: list[dict], *, touched: TouchedRows, **kwargs: Any) -> None:
        super().__init__(params, **kwargs)
        self._touched = touched

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Evaluate `closure`, then update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("rows") and (touched := self._touched()) is not None:
                self._step_rows(group, *touched)
        super().step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, without torch's conversion of the integer `last_step` to floats."""
        super().load_state_dict(state_dict)
        for position, saved in state_dict["state"].items():
            if "last_step" in saved:
                table = self.param_groups[0]["params"][position]
                self.state[table]["last_step"] = saved["last_step"].to(table.device)

    def _step_rows(self, group: dict, positions: Tensor, rows: Tensor) -> None:
        (table,) = group["params"]
        state = self.state[table]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["last_step"] = torch.zeros(len(table), dtype=torch.int32, device=table.device)
            state["exp_avg"] = torch.zeros_like(table)
            state["exp_avg_sq"] = torch.zeros_like(table)
        state["step"] += 1
        step = int(state["step"])
        gap = (step - state["last_step"][positions]).to(table.dtype).unsqueeze(1)
        state["last_step"][positions] = step

        beta1, beta2 = group["betas"]
        grad = rows.grad + group["weight_decay"] * gap * rows  # type: ignore[operator]
        mean = state["exp_avg"][positions] * beta1**gap + (1 - beta1) * grad
        square = state["exp_avg_sq"][positions] * beta2**gap + (1 - beta2) * grad.square()
        state["exp_avg"][positions] = mean
        state["exp_avg_sq"][positions] = square

        mean_hat, square_hat = mean / (1 - beta1**step), square / (1 - beta2**step)
        table[positions] = rows - group["lr"] * mean_hat / (square_hat.sqrt() + group["eps"])


def resize_rows(
    optimizer: torch.optim.Optimizer, old: Tensor, new: Tensor, source: Tensor, is_new: Tensor
) -> None:
    """Carry the optimizer's state of a table over to one with more rows.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups already hold `new` in the place of `old`.
    old, new : Parameter
        The table before and after it grew.
    source : Tensor of shape (len(new),)
        Row of `old` for each row of `new`.
    is_new : Tensor of bool of shape (len(new),)
        Rows whose state starts afresh.
    """
    state = optimizer.state.pop(old, {})
    for name, tensor in state.items():
        if torch.is_tensor(tensor) and tensor.ndim:
            state[name] = tensor[source]
            # A new row has missed no step yet.
            state[name][is_new] = int(state["step"]) if name == "last_step" else 0
    optimizer.state[new] = state
