"""A callback of skorch that reports the epochs of a fit to scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from skorch import NeuralNet
from skorch.callbacks import Callback


class Task(Protocol):
    """A task of a fit, as scikit-learn's callbacks know it: its CallbackContext."""

    def subcontext(self, task_name: str) -> Task:
        """A task that is a part of this one."""
        ...

    def call_on_fit_task_begin(self, *, estimator: object, **of_fit: object) -> None:
        """Tell the callbacks that the task begins."""

    def call_on_fit_task_end(self, *, estimator: object, **of_fit: object) -> bool:
        """Tell the callbacks that the task ends; returns whether one of them asks to stop."""
        ...


class EpochTasks(Callback):
    """Report epochs to the callbacks of an estimator, and stop when one of them asks for it.

    Parameters
    ----------
    root : Task
        The task of the fit, as :func:`task_of_fit` gives it.
    estimator : estimator
        The estimator that the callbacks were set on; scikit-learn hands it to them.
    attributes : mapping
        Attributes of the copy of the estimator that is trained, by name.
    of_fit : dict
        "X" and "y" as passed to fit, and "metadata": further arguments for a scorer.
    """

    def __init__(
        self,
        root: Task,
        estimator: object,
        attributes: Mapping[str, object],
        of_fit: dict[str, object],
    ) -> None:
        self._root, self._estimator, self._attributes = root, estimator, attributes
        self._of_fit = of_fit
        self.stopped_ = False

    def on_train_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Begin the task of the fit."""
        self._root.call_on_fit_task_begin(estimator=self._estimator, **self._of_fit)

    def on_epoch_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Begin the task of an epoch."""
        self._task = self._root.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(estimator=self._estimator, **self._of_fit)

    def on_epoch_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """End the task of an epoch; if a callback asks for it, end training as skorch's own do."""
        if self._end(self._task, net):
            self.stopped_ = True
            raise KeyboardInterrupt

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """End the task of the fit."""
        self._end(self._root, net)

    def _end(self, task: Task, net: NeuralNet) -> bool:
        """End a task, and return whether a callback asks to stop."""
        return task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=partial(self._state, net),
            **self._of_fit,
        )

    def _state(self, net: NeuralNet) -> dict[str, object]:
        """Attributes of an estimator that predicts with the present weights."""
        net.prepare_to_predict()
        prefixes = ("_skl_", "_callback_", "_parent_callback_")
        attributes = self._attributes.items()
        return {name: value for name, value in attributes if not name.startswith(prefixes)}
