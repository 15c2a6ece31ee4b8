"""Transaction of a fit: train a copy of the estimator, and adopt it only if that succeeds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from sklearn_deepfm._training.out_of_memory import is_out_of_memory
from sklearn_deepfm._training.rollback import NetRollback


def working_copy(estimator: Any, goes_on: bool) -> Any:
    """A shallow copy to train; one that goes on shares the net, as memory may not hold two."""
    model = copy.copy(estimator)
    if goes_on:
        # partial_fit adds to the target's counts of classes.
        model._target = copy.copy(estimator._target)
    return model


@contextlib.contextmanager
def transaction(estimator: Any, model: Any, goes_on: bool) -> Iterator[NetRollback | None]:
    """Give an estimator the state of the model that is trained inside; on failure, leave it as is.

    Parameters
    ----------
    estimator, model : DeepFMClassifier or DeepFMRegressor
        The model is a copy of the estimator.
    goes_on : bool
        Whether both have the same net, which is trained further. If a callback raises an
        error after a training step, the estimator keeps what was learned up to there.

    Yields
    ------
    rollback : NetRollback or None
        Undo for a net that is trained further, else None.
    """
    rollback = NetRollback(model.net_) if goes_on else None
    try:
        yield rollback
    except BaseException as error:
        # Out of memory always rolls back: its message promises the model as it was.
        if rollback is not None and rollback.callback_failed and not is_out_of_memory(error):
            estimator.__dict__ = model.__dict__
        elif rollback is not None:
            rollback.restore()
        raise
    finally:
        if rollback is not None:
            rollback.close()
    # Replaced rather than updated: a table without column names removes those of an earlier fit.
    estimator.__dict__ = model.__dict__
