"""A callback of skorch that reports the epochs of a fit to scikit-learn's callbacks."""

from skorch.callbacks import Callback


class EpochTasks(Callback):
    """Report epochs to the callbacks of an estimator, and stop when one of them asks for it.

    Parameters
    ----------
    root : CallbackContext
        The task of the fit, as :func:`task_of_fit` gives it.
    estimator : estimator
        The estimator that the callbacks were set on.
    model : estimator
        The estimator that is trained, which may be a copy of the other.
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
        """End the task of an epoch; if a callback asks for it, end training as skorch's own do."""
        if self._end(self._task):
            self.stopped_ = True
            raise KeyboardInterrupt

    def on_train_end(self, net, *args, **kwargs):
        """End the task of the fit."""
        self._end(self._root)

    def _end(self, task):
        """End a task, and return whether a callback asks to stop."""
        return task.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=self._state, **self._of_fit
        )

    def _state(self):
        """Attributes of an estimator that predicts with the present weights."""
        self._model.net_.prepare_to_predict()
        prefixes = ("_skl_", "_callback_", "_parent_callback_")
        attributes = vars(self._model).items()
        return {name: value for name, value in attributes if not name.startswith(prefixes)}


def epoch_tasks(root, estimator, model, X, y, sample_weight):
    """Callbacks for the net that report to those of the estimator; none without a task."""
    if root is None:
        return []
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    return [("sklearn_callbacks", EpochTasks(root, estimator, model, X, y, metadata))]
