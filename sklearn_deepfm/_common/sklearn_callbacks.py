"""Bridge to scikit-learn's callbacks, an experimental interface of its version 1.9.

No other file imports it. Before 1.9 there are no callbacks.
"""

import contextlib

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Empty stand-in for scikit-learn's class."""

else:

    @with_callbacks
    def _tear_down(estimator):
        """Do nothing; the decorator then tears the callbacks down, as after any method."""


@contextlib.contextmanager
def callbacks_of(estimator):
    """Tear down an estimator's callbacks at the end of the block, even after an error.

    Unlike a decorator on `fit` it adds no frame to the stack, in which warnings look for the
    user's line.
    """
    try:
        yield
    finally:
        if hasattr(estimator, "_callback_fit_ctx"):
            _tear_down(estimator)


def task_of_fit(estimator, n_epochs=0):
    """The task of a fit for an estimator's callbacks; None if it has none."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    return estimator._init_callback_context(max_subtasks=n_epochs)


@contextlib.contextmanager
def one_task(estimator, X, y):
    """Report a fit without epochs to an estimator's callbacks."""
    with callbacks_of(estimator):
        task = task_of_fit(estimator)
        if task is not None:
            task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        yield
        if task is not None:
            task.call_on_fit_task_end(estimator=estimator, X=X, y=y)
