"""Optimizer that updates only those rows of the embedding table that a batch touches."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_deepfm._model.touched_rows import TouchedRows, fill_, rows_at_once, zeros
from sklearn_deepfm._serialization.plain_values import PlainData
from sklearn_deepfm._training.table_rules import TABLE_RULES, Group, Number, RowStep


class RowSparseAdam(torch.optim.Adam):
    """Adam for the weights of the MLP, and a rule by table rows for the embedding table.

    A table row last touched `g` steps ago takes its step with the gradient
    ``grad + g * weight_decay * row``, and so catches up on the L2 of the steps that it
    missed. The rule "adam" first lets it move along its momentum for the ``g - 1`` steps
    missed, as dense Adam does, that is by ``beta1 + .. + beta1 ** (g - 1)`` times
    ``lr * mean / (sqrt(square) + eps)``, and then lets its first moment decay by
    ``beta1 ** g`` and its second by ``beta2 ** g``. This is not quite dense Adam, since
    the batch that touches a row sees it before it moves. The rule "adagrad" divides by
    the root of the sum of the row's mean squared gradients [1]_, one number for each
    row where Adam keeps two for each weight; its learning rate is 50 times as high.

    Parameters
    ----------
    params : iterable of dict
        Parameter groups. The one with ``rows``, the name of one of `TABLE_RULES`, holds the
        table alone; all others are updated as by :class:`torch.optim.Adam`. The table's
        group may have ``first_decay``, the penalty of its first `n_first` columns;
        ``frozen``, a mask of table rows of which only these columns are updated; and
        ``n_members`` with ``member``, the member of each column, for which Adagrad keeps
        sums of their own.
    **kwargs
        ``lr``, ``betas``, ``eps`` and ``weight_decay`` as for :class:`torch.optim.Adam`, whose
        further options have no effect here.

    References
    ----------
    .. [1] M. Naumov et al., "Deep Learning Recommendation Model for Personalization
       and Recommendation Systems", 2019. https://arxiv.org/abs/1906.00091
    """

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], Tensor] | None = None,
        *,
        touched: TouchedRows | None = None,
        numbers: Sequence[Sequence[Number]] | None = None,
    ) -> Tensor | None:
        """Evaluate `closure`, then update all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, default=None
            Computes the gradients, and returns the loss.
        touched : TouchedRows, default=None
            Table rows of the batch, with their gradient, for the group with ``rows``.
        numbers : sequence of sequence of float or Tensor of shape (), default=None
            Those of :meth:`next_numbers`; None calls it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        numbers = self.next_numbers(touched is not None) if numbers is None else numbers
        for group, (lr, *of_rows) in zip(self.param_groups, numbers, strict=True):
            if group.get("rows") and touched is not None:
                self._step_rows(group, touched, of_rows)
                continue
            _add_first_decay(group)
            # Adam would move frozen rows too: they are put back after its step.
            before = None if group.get("frozen") is None else group["params"][0].clone()
            self._step_whole(group, lr)
            if before is not None:
                (table,) = group["params"]
                table.copy_(_unless_frozen(group, slice(None), before, table))
        return loss

    def next_numbers(self, by_rows: bool) -> list[list[float]]:
        """Begin a step, and give the numbers that change from one to the next.

        Parameters
        ----------
        by_rows : bool
            Whether the step updates the table by the rows that its batch touches.

        Returns
        -------
        numbers : list of list of float
            Of each group the learning rate; of the table by rows, then its step and the numbers
            of its rule.
        """
        numbers = []
        for group in self.param_groups:
            numbers.append([group["lr"]])
            if group.get("rows") and by_rows:
                (table,) = group["params"]
                step = self._begin_rows(group, table)["step"].add_(1)
                numbers[-1] += [float(step), *TABLE_RULES[group["rows"]].numbers(int(step), group)]
        return numbers

    def constants(self) -> tuple[tuple[float, ...], ...]:
        """Numbers of each group that a user may change, but that no step changes."""
        names = "weight_decay", "first_decay", "eps"
        return tuple(
            (*(group.get(name, 0.0) for name in names), *group["betas"])
            for group in self.param_groups
        )

    # As in torch, but for the decorator, which imports a compiler at the first call, for a second.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients; with `set_to_none=False`, set them to 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad = torch.zeros_like(parameter.grad)

    def load_state_dict(self, state_dict: PlainData) -> None:
        """Load a state, with `step` and `last_step` of the types that a step needs.

        Raises
        ------
        ValueError
            If shapes or types are not those of these parameters: steps would read and write
            beyond the arrays; or if numbers are not finite, or negative where none can be.
        """
        parameters = [(p, group) for group in self.param_groups for p in group["params"]]
        for position, saved in state_dict["state"].items():
            expected = _layout_of_state(*parameters[position])
            if {name: _layout(value) for name, value in saved.items()} != expected:
                raise ValueError(
                    f"the optimizer's state of parameter {position} is of another shape or type"
                )
            signed = TABLE_RULES[parameters[position][1].get("rows") or "adam"].signed
            if not all(
                _is_possible(value, saved["step"], name == "last_step", name in signed)
                for name, value in saved.items()
            ):
                raise ValueError(
                    f"the optimizer's state of parameter {position} holds numbers that no training "
                    f"gives"
                )
        super().load_state_dict(state_dict)
        for position, saved in state_dict["state"].items():
            if "last_step" in saved:
                table = self.param_groups[0]["params"][position]
                # torch has converted it to the floating type of the table.
                self.state[table]["last_step"] = saved["last_step"].to(table.device)
                # torch has moved it to the device, and each step would wait to read it there.
                self.state[table]["step"] = saved["step"].cpu()

    def _step_whole(self, group: Group, lr: Number) -> None:
        """Adam's step for all parameters of a group that have a gradient.

        It is torch's fused step, without what that does around it in each of them.
        """
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        for parameter in params:
            if not self.state[parameter]:
                # On the device, where a fused step reads it.
                step = torch.zeros((), dtype=torch.float32, device=parameter.device)
                mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self.state[parameter].update(step=step, exp_avg=mean, exp_avg_sq=square)
        states = [self.state[parameter] for parameter in params]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        if isinstance(lr, Tensor) and lr.device.type != "cpu":
            lr = lr.float()  # the fused step reads no other type on a device
        # Private, as is _foreach_add_, but there is no other way to them in one call.
        torch._fused_adam_(
            params,
            [p.grad for p in params],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _begin_rows(self, group: Group, table: Tensor) -> dict[str, Tensor]:
        """The state of a table that is updated by rows."""
        state: dict[str, Tensor] = self.state[table]
        if not state:
            widths = _widths(table, group)
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["last_step"] = torch.zeros(len(table), dtype=torch.int32, device=table.device)
            state.update({name: zeros(table, (len(table), n)) for name, n in widths.items()})
        return state

    def _step_rows(self, group: Group, touched: TouchedRows, numbers: Sequence[Number]) -> None:
        """Update the touched rows of the table, and their state, by the rule of the group."""
        positions, rows = touched.positions, touched.rows
        if rows.grad is None:  # torch's optimizers leave out such parameters too
            return
        # Slots of the same position read its row before any of them writes it.
        n = max(len(positions), 1) if touched.source is not None else rows_at_once(rows)
        for first in range(0, len(positions), n):
            part = slice(first, first + n)
            some = TouchedRows(positions[part], rows.detach()[part], touched.source)
            self._update(group, some, rows.grad[part], numbers)
        rows.grad = None

    def _update(
        self, group: Group, touched: TouchedRows, grad: Tensor, numbers: Sequence[Number]
    ) -> None:
        """Update some of the touched rows, with their state."""
        (table,), (step, *of_rule) = group["params"], numbers
        positions, rows = touched.positions, touched.rows
        rule, state = TABLE_RULES[group["rows"]], self.state[table]
        widths = _widths(table, group)
        gap = (step - state["last_step"].index_select(0, positions)).to(rows.dtype).unsqueeze(1)
        penalty = group["weight_decay"] * rows
        if "first_decay" in group:
            first = slice(group["n_first"])
            penalty[:, first] = group["first_decay"] * rows[:, first]
        moments = [state[name].index_select(0, positions) for name in widths]
        new = rule.update(RowStep(rows, grad, penalty, gap, of_rule, group), *moments)
        new = _unless_frozen(group, positions, rows, new)

        fill_(state["last_step"], positions, step)
        stored = [*(state[name] for name in widths), table]
        for tensor, values in zip(stored, [*moments, new], strict=True):
            # Slots of the same position must all write the values of one of them.
            if touched.source is not None:
                values = values.index_select(0, touched.source)
            tensor.index_copy_(0, positions, values)


def _widths(table: Tensor, group: Group) -> dict[str, int]:
    """Numbers that each entry of the state has for a row of the table, by the group's rule."""
    rule = TABLE_RULES[group["rows"]]
    return rule.state_widths(table.shape[1], group.get("n_members", 1))


def _layout_of_state(parameter: Tensor, group: Group) -> dict[str, Any]:
    """Shape and type of each entry of the state of a parameter."""
    state: dict[str, Any] = {"step": ((), torch.float32)}
    if not group.get("rows"):
        of_moments = tuple(parameter.shape), parameter.dtype
        return {**state, "exp_avg": of_moments, "exp_avg_sq": of_moments}
    n_rows, widths = len(parameter), _widths(parameter, group)
    state["last_step"] = ((n_rows,), torch.int32)
    return state | {name: ((n_rows, n), parameter.dtype) for name, n in widths.items()}


def _layout(value: Any) -> Any:
    """Shape and type of one entry."""
    return (tuple(value.shape), value.dtype) if torch.is_tensor(value) else type(value)


def _is_possible(value: Tensor, step: Tensor, is_last_step: bool, is_signed: bool) -> bool:
    """Whether training could have given the numbers of an entry of the state."""
    if is_last_step:
        return bool(((value >= 0) & (value <= step)).all())
    is_possible = torch.isfinite(value)
    if not is_signed:
        is_possible &= value >= 0
    return bool(is_possible.all())


def _add_first_decay(group: Group) -> None:
    """Add to the gradient the part of the first columns' penalty that `weight_decay` lacks."""
    table = group["params"][0]
    more = group.get("first_decay", group["weight_decay"]) - group["weight_decay"]
    if more and group["n_first"] and table.grad is not None:
        first = slice(group["n_first"])
        table.grad[:, first].add_(table[:, first], alpha=more)


def _unless_frozen(group: Group, positions: Tensor | slice, before: Tensor, new: Tensor) -> Tensor:
    """The new rows, in which frozen ones have the embeddings from before the step."""
    if group.get("frozen") is None:
        return new
    is_embedding = torch.arange(new.shape[1], device=new.device) >= group["n_first"]
    return torch.where(group["frozen"][positions].unsqueeze(1) & is_embedding, before, new)


def resize_rows(
    optimizer: torch.optim.Optimizer, old: Tensor, new: Tensor, source: Tensor, is_new: Tensor
) -> None:
    """Transfer the optimizer's state of a table to one with more rows.

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
