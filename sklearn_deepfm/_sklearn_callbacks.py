"""The bridge to scikit-learn's callbacks, an interface of 1.9 that it calls experimental.

Nothing else in this package knows of it. With an older scikit-learn there are no such callbacks.
"""

import contextlib

from skorch.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's."""

else:

    @with_callbacks
    def _tear_down(estimator):
        """Do nothing but what follows any method with callbacks."""


@contextlib.contextmanager
def callbacks_of(estimator):
    """Tear down an estimator's callbacks in the end, whatever happens.

    Unlike a decorator it adds no frame to the stack, by which warnings find the user's line.
    """
    try:
        yield
    finally:
        if hasattr(estimator, "_callback_fit_ctx"):
            _tear_down(estimator)


class EpochTasks(Callback):
    """Tell the callbacks of an estimator of its epochs, and stop when one of them asks for it.

    Parameters
    ----------
    root : CallbackContext
        The task of the fit, as :func:`task_of_fit` gives it.
    estimator : estimator
        The one that the callbacks were set on.
    model : estimator
        The one that is being trained, which may be a copy of it.
    X, y : as passed to fit
    metadata : dict
        Further arguments of fit for a scorer, such as `sample_weight`.
    """

    def __init__(self, root, estimator, model, X, y, metadata):
        self._root, self._estimator, self._model = root, estimator, model
        self._of_fit = {"X": X, "y": y, "metadata": metadata}
        self.stopped_ = False

    def on_train_begin(self, net, *args, **kwargs):
        """Begin the task of the fit."""
        self._root.call_on_fit_task_begin(estimator=self._estimator, **self._of_fit)

    def on_epoch_begin(self, net, *args, **kwargs):
        """Begin the task of an epoch."""
        self._task = self._root.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(estimator=self._estimator, **self._of_fit)

    def on_epoch_end(self, net, *args, **kwargs):
        """End it; a callback that wants no more ends training as skorch's own do."""
        if self._end(self._task):
            self.stopped_ = True
            raise KeyboardInterrupt

    def on_train_end(self, net, *args, **kwargs):
        """End the task of the fit."""
        self._end(self._root)

    def _end(self, task):
        return task.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=self._state, **self._of_fit
        )

    def _state(self):
        """Attributes of an estimator that predicts with the weights of now."""
        self._model.net_.prepare_to_predict()
        of_callbacks = ("_skl_", "_callback_", "_parent_callback_")
        attributes = vars(self._model).items()
        return {name: value for name, value in attributes if not name.startswith(of_callbacks)}


def task_of_fit(estimator, n_epochs=0):
    """The task of a fit for the callbacks set on an estimator; None if none are."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    return estimator._init_callback_context(max_subtasks=n_epochs)


@contextlib.contextmanager
def one_task(estimator, X, y):
    """Tell the callbacks of an estimator of a fit that has no epochs."""
    with callbacks_of(estimator):
        task = task_of_fit(estimator)
        if task is not None:
            task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        yield
        if task is not None:
            task.call_on_fit_task_end(estimator=estimator, X=X, y=y)


def epoch_tasks(root, estimator, model, X, y, sample_weight):
    """Callbacks of the net that tell those of the estimator; none without a task."""
    if root is None:
        return []
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    return [("sklearn_callbacks", EpochTasks(root, estimator, model, X, y, metadata))]
