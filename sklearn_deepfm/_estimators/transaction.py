"""Calls train a copy of an estimator, adopted at their end: one that fails changes nothing."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from sklearn_deepfm._training.out_of_memory import is_out_of_memory
from sklearn_deepfm._training.rollback import NetRollback


def working_copy(estimator: Any, goes_on: bool) -> Any:
    """A copy of an estimator; one that goes on has the same net, which may be too large for two."""
    model = copy.copy(estimator)
    if goes_on:
        model._target = copy.copy(estimator._target)
    return model


@contextlib.contextmanager
def transaction(estimator: Any, model: Any, goes_on: bool) -> Iterator[NetRollback | None]:
    """Let an estimator become the model that is trained in here; if that fails, stay what it was.

    Parameters
    ----------
    estimator, model : DeepFMClassifier or DeepFMRegressor
        The model is a copy of the estimator.
    goes_on : bool
        Whether both have the same net, which is trained further. What a callback raises
        after a step of it is no failure of the model, which keeps what it has learned.

    Yields
    ------
    rollback : NetRollback or None
        Of a net that is trained further.
    """
    rollback = NetRollback(model.net_) if goes_on else None
    try:
        yield rollback
    except BaseException as error:
        if rollback is not None and rollback.is_broken_off and not is_out_of_memory(error):
            estimator.__dict__ = model.__dict__
        elif rollback is not None:
            rollback.put_back()
        raise
    finally:
        if rollback is not None:
            rollback.close()
    estimator.__dict__ = model.__dict__  # which may also have lost the names of an earlier fit
