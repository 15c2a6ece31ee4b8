"""The training step recorded on buffers of fixed shape, and replayed for each batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._samples.samples import Inputs
from sklearn_deepfm._training.optimizer import RowSparseAdam
from sklearn_deepfm._training.step import GradHook, Numbers, TrainStep

Result: TypeAlias = tuple[Tensor, Tensor]  # loss and mean logits of a step

STEPS_BEFORE = 20  # the first record: a fit of few steps would not earn the time of one


class Capture(Protocol):
    """What records the work of a step on tensors, and does it again."""

    def __call__(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], object]]:
        """Do the work once, and record it.

        Parameters
        ----------
        work : callable
            Reads and writes tensors that exist already; what it does on the host is not recorded.

        Returns
        -------
        result : tuple of Tensor
            What `work` returns; each replay writes into these tensors.
        replay : callable
            Does the same operations again, on what their tensors then hold.
        """

    def around_steps(self) -> AbstractContextManager[object]:
        """Context in which the steps run that are not recorded, but may be later."""


class Record(NamedTuple):
    """A recorded step, with the tensors that it reads and writes."""

    inputs: list[Tensor]
    result: Result
    replay: Callable[[], object]


class CapturedStep(TrainStep):
    """A step that is recorded once for each kind, such as a shape of batch, and then replayed.

    A GPU works on a step for about a millisecond, and the host needs several to launch its
    some 200 operations one by one; a replay is one launch. What changes from step to step is
    copied into buffers first: the batch, and the numbers that the host computes.

    Parameters
    ----------
    module, criterion, optimizer, precision
        As for TrainStep.
    capture : Capture
    """

    def __init__(
        self,
        module: DeepFM,
        criterion: nn.Module,
        optimizer: RowSparseAdam,
        precision: str,
        capture: Capture,
    ) -> None:
        super().__init__(module, criterion, optimizer, precision)
        self._capture = capture
        self._records: dict[object, Record] = {}
        self._taken: set[object] = set()  # kinds of steps
        self._constants: object = None  # numbers that are fixed in the records

    def _take(
        self,
        x: Inputs,
        y: Tensor | None,
        on_grad: GradHook | None = None,
        numbers: Numbers | None = None,
    ) -> Result:
        """Replay the step for such a batch, or record it; eagerly where neither is possible."""
        # A callback has to see the gradients of each step, and bags have as many members as they
        # have.
        if on_grad is not None or y is None or "bags" in x:
            return super()._take(x, y, on_grad)
        self._forget_if_changed()
        numbers = self._next_numbers(self._by_rows)
        kind = self._kind(x, y, numbers)
        # The first step of a kind makes lasting tensors, such as the moments of a parameter that is
        # trained from now on: each replay of it would make them anew.
        if kind not in self._taken or self.n_steps < STEPS_BEFORE:
            self._taken.add(kind)
            with self._capture.around_steps():
                return super()._take(x, y, None, numbers)
        given = [*x.values(), y, torch.tensor(_flat(numbers), dtype=torch.float64)]
        if kind in self._records:
            record = self._records[kind]
            for buffer, tensor in zip(record.inputs, given, strict=True):
                buffer.copy_(tensor)
            record.replay()
        else:
            inputs = [tensor.to(self.module.table.device, copy=True) for tensor in given]
            record = self._records[kind] = self._record([*x], inputs, numbers)
        loss, y_pred = record.result
        return loss.clone(), y_pred.clone()  # the next replay writes over them

    def _forget_if_changed(self) -> None:
        """Drop the records if numbers that are fixed in them have changed, as penalties may."""
        constants = self.optimizer.constants()
        if constants != self._constants:
            self._forget()
            self._constants = constants

    def _forget(self) -> None:
        self._records.clear()
        self._taken.clear()

    def _record(self, names: list[str], inputs: list[Tensor], numbers: Numbers) -> Record:
        *of_batch, y, on_device = inputs
        x: Any = dict(zip(names, of_batch, strict=True))
        as_tensors = _like(numbers, on_device.unbind())
        take = super()._take
        result, replay = self._capture(lambda: take(x, y, None, as_tensors))
        return Record(inputs, result, replay)

    def _kind(self, x: Inputs, y: Tensor, numbers: Numbers) -> object:
        """What a record hangs on beside the contents of its buffers and `_constants`."""
        tensors: list[Tensor] = [*x.values(), y]  # type: ignore[list-item]
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        is_trained = tuple(parameter.requires_grad for parameter in self.module.parameters())
        updates_average = id(self.average) if numbers.average else None
        return tuple(x), shapes, is_trained, updates_average

    def release(self) -> None:
        """Let go of the average and of the records, with the memory they hold."""
        super().release()
        self._forget()


def _flat(numbers: Numbers) -> list[float]:
    return [float(n) for part in (*numbers.update, numbers.average) for n in part]


def _like(numbers: Numbers, tensors: Sequence[Tensor]) -> Numbers:
    """Tensors in the places of the numbers that `_flat` gives."""
    rest = iter(tensors)
    update = [[next(rest) for _ in part] for part in numbers.update]
    return Numbers(update, [next(rest) for _ in numbers.average])
