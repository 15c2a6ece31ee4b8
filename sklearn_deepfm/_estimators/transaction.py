"""Transaction of a fit: train a copy of the estimator, and adopt it only if that succeeds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Protocol, TypeVar

from sklearn_deepfm._estimators.state import LEARNED
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.out_of_memory import is_out_of_memory
from sklearn_deepfm._training.rollback import NetRollback


class Fitted(Protocol):
    """The attributes of an estimator that a transaction cares for."""

    net_: DeepFMNet
    _target: Target


Estimator = TypeVar("Estimator", bound=Fitted)


def working_copy(estimator: Estimator, goes_on: bool) -> Estimator:
    """A shallow copy to train; one that goes on shares the net, as memory may not hold two."""
    model = copy.copy(estimator)
    if goes_on:
        # partial_fit adds to the target's counts of classes.
        model._target = copy.copy(estimator._target)
        return model
    for name in LEARNED:
        vars(model).pop(name, None)
    return model


@contextlib.contextmanager
def transaction(
    estimator: Estimator, model: Estimator, goes_on: bool
) -> Iterator[NetRollback | None]:
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
