"""Rules by which the touched rows of the embedding table are updated, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

ADAGRAD_RATE = 50  # times Adam's learning rate, since Adagrad's steps shrink as it goes on
LONGEST_MEMORY = 200  # steps after which less than 1e-9 of a first moment is left

Group: TypeAlias = dict[str, Any]  # a parameter group of an optimizer of torch
# That changes from step to step. The host computes it; a step recorded for a device reads it there.
Number: TypeAlias = float | Tensor


class RowStep(NamedTuple):
    """What a rule knows of a step for the touched rows, or for a part of them.

    Attributes
    ----------
    rows : Tensor of shape (n_slots, width)
        The table rows before the step, which stay as they are.
    grad : Tensor of shape (n_slots, width)
        Their gradient, without the penalty.
    penalty : Tensor of shape (n_slots, width)
        Gradient of the L2 penalty of one step.
    gap : Tensor of shape (n_slots, 1)
        Number of steps since a row was last touched; 1: in the step before.
    numbers : sequence of float or Tensor of shape ()
        Those of the rule's `numbers`.
    group : dict
        Options of the table's parameter group: ``betas``, ``eps`` and, where there are
        several members, ``member``, the member of each column.
    """

    rows: Tensor
    grad: Tensor
    penalty: Tensor
    gap: Tensor
    numbers: Sequence[Number]
    group: Group


class TableRule(Protocol):
    """A rule for the rows of the table that a batch touches.

    To add one, write a class with these attributes and methods, and enter it into `TABLE_RULES`:
    parameter checks, the optimizer, the checks of loaded states and the estimates of memory read
    the rule from there. A rule holds no state of its own: what it remembers of each table row
    stands in the optimizer's state, grows with the table, and is saved with it.

    Attributes
    ----------
    needs_sparse : bool
        Whether it is for the rows of a batch alone. A rule for which that is false leaves steps
        on the whole table to :class:`torch.optim.Adam`.
    numbers_per_weight : int
        Size of the state in copies of the table, for estimates of memory; 0 for less than one.
    keeps : str
        The same in words, for messages.
    signed : frozenset of str
        Entries of the state that may be negative.
    """

    needs_sparse: bool
    numbers_per_weight: int
    keeps: str
    signed: frozenset[str]

    def state_widths(self, width: int, n_members: int) -> dict[str, int]:
        """Numbers that each entry of the state has for a table row; all begin as 0.

        Parameters
        ----------
        width : int
            Length of a table row.
        n_members : int
        """

    def numbers(self, step: int, group: Group) -> list[float]:
        """Numbers of a step that hang on its number or the learning rate, for `update`.

        Parameters
        ----------
        step : int
            Number of the step, from 1.
        group : dict
            Options of the table's parameter group, ``lr`` among them.
        """

    def update(self, of: RowStep, *state: Tensor) -> Tensor:
        """Update the state in place, and return the new rows.

        Parameters
        ----------
        of : RowStep
        *state : Tensor of shape (n_slots, n)
            The entries of `state_widths` for the touched rows, in their order.

        Returns
        -------
        rows : Tensor of shape (n_slots, width)
        """


class AdamByRows:
    """Adam, whose moments catch up on the steps that a row has missed."""

    needs_sparse = False
    numbers_per_weight, keeps = 2, "two per weight"
    signed = frozenset({"exp_avg"})

    def state_widths(self, width: int, n_members: int) -> dict[str, int]:
        """Numbers of the first and of the second moment of a row."""
        return {"exp_avg": width, "exp_avg_sq": width}

    def numbers(self, step: int, group: Group) -> list[float]:
        """Corrections of the bias of both moments and rates, for the steps missed and this one."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        # Bias is corrected as in the step before; 1 at least, or this divides by 0.
        before = max(step - 1, 1)
        return [
            (1 - beta2**before) ** -0.5,
            lr / ((1 - beta1) * (1 - beta1**before)),
            (1 - beta2**step) ** -0.5,
            lr / (1 - beta1**step),
        ]

    def update(self, of: RowStep, *state: Tensor) -> Tensor:
        """Update the moments in place, and return the new rows."""
        (exp_avg, exp_avg_sq), gap = state, of.gap
        eps, (beta1, beta2) = of.group["eps"], of.group["betas"]
        correction_before, rate_before, correction, rate = of.numbers
        grad = torch.addcmul(of.grad, gap, of.penalty)
        decay = beta1 ** gap.clamp(max=LONGEST_MEMORY)
        # The steps missed, in closed form: the momentum of each is beta1 times that of the one
        # before.
        scale = exp_avg_sq.sqrt().mul_(correction_before).add_(eps)
        missed = (beta1 - decay) * rate_before
        new = torch.addcdiv(of.rows, missed * exp_avg, scale, value=-1)

        exp_avg.mul_(decay).add_(grad, alpha=1 - beta1)
        exp_avg_sq.mul_(beta2**gap).addcmul_(grad, grad, value=1 - beta2)
        scale = torch.sqrt(exp_avg_sq, out=scale).mul_(correction).add_(eps)
        return new.addcdiv_(torch.mul(exp_avg, rate, out=grad), scale, value=-1)


class AdagradByRows:
    """Adagrad with one number for each row: the sum of its mean squared gradients."""

    needs_sparse = True
    numbers_per_weight, keeps = 0, "a number per code"
    signed: frozenset[str] = frozenset()

    def state_widths(self, width: int, n_members: int) -> dict[str, int]:
        """One number of each member."""
        return {"sum": n_members}

    def numbers(self, step: int, group: Group) -> list[float]:
        """The rate."""
        return [ADAGRAD_RATE * group["lr"]]

    def update(self, of: RowStep, *state: Tensor) -> Tensor:
        """Update the sums of mean squared gradients in place, and return the new rows."""
        (total,), member = state, of.group.get("member")
        # Each step missed adds a square of its own. The square of their sum would be so large
        # that the row would hardly move any more.
        squares = torch.addcmul(of.grad.square(), of.gap, of.penalty.square())
        if member is None:
            total.add_(squares.mean(1, keepdim=True))
        else:
            # A mean over the columns of each member.
            total.index_add_(1, member, squares, alpha=total.shape[1] / len(member))
        scale = total.sqrt().add_(of.group["eps"])
        scale = scale if member is None else scale.index_select(1, member)
        caught_up = torch.addcmul(of.grad, of.gap, of.penalty)
        return torch.addcdiv(of.rows, caught_up.mul_(of.numbers[0]), scale, value=-1)


# By the values of `table_optimizer`, which stand in files.
TABLE_RULES: dict[str, TableRule] = {"adam": AdamByRows(), "adagrad": AdagradByRows()}
