"""The bridge to scikit-learn's callbacks, an interface of 1.9 that it calls experimental.

Nothing else in this package knows of it. With an older scikit-learn there are no such callbacks.
"""

import contextlib

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
