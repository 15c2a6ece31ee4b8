"""The training step of one process among several, each of which has a part of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_deepfm._distributed.processes import Processes
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._model.touched_rows import DistinctRows, TouchedRows
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import TrainStep


class JointStep(TrainStep):
    """A step whose loss and gradients are summed over the processes before the update.

    Parameters
    ----------
    module, criterion, optimizer, precision
        As for TrainStep.
    processes : Processes
        Those that have the other parts of the batch.
    """

    def __init__(
        self,
        module: DeepFM,
        criterion: nn.Module,
        optimizer: RowSparseAdam,
        precision: str,
        processes: Processes,
    ) -> None:
        super().__init__(module, criterion, optimizer, precision)
        self._processes = processes
        self._distinct = DistinctRows()

    def release(self) -> None:
        """Let go of the average, of the other processes, and of an array as long as the table."""
        super().release()
        self._processes, self._distinct = Processes(), DistinctRows()

    def _backward(
        self, loss: Tensor, touched: TouchedRows | None
    ) -> tuple[Tensor, TouchedRows | None]:
        """Compute gradients, sum them, and check the loss: all processes stop at the same step."""
        loss.backward()
        parameters: list[Tensor] = [p for p in self.module.parameters() if p.grad is not None]
        if touched is not None:
            touched = self._join_touched(touched)
            parameters.append(touched.rows)
        own = [loss.detach(), *(p.grad for p in parameters if p.grad is not None)]
        loss, *grads = self._processes.add_up(own)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        self._check(loss)
        return loss, touched

    def _join_touched(self, touched: TouchedRows) -> TouchedRows:
        """The rows that all processes touched, with this one's gradients."""
        table = self.module.table.detach()
        # A process without rows has run one of weight 0, whose table rows do not count.
        n = len(touched.positions) if self._processes.takes_part else 0
        parts = self._processes.gather(touched.positions[:n])
        positions, slot = self._distinct.in_order(len(table), torch.cat(parts))
        own = slot.split([len(part) for part in parts])[self._processes.rank]
        rows = table.index_select(0, positions).requires_grad_()
        gradient = touched.rows.grad
        assert gradient is not None  # of the backward before
        rows.grad = torch.zeros_like(rows).index_add_(0, own, gradient[:n])
        return TouchedRows(positions, rows)
