"""The kinds of targets by the names that they have in files."""

from __future__ import annotations

from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._targets.classification import ClassTarget, MultiLabelTarget
from sklearn_deepfm._targets.regression import RegressionTarget
from sklearn_deepfm._targets.target import ClassifierTarget, Target

_OF_CLASSIFIERS: tuple[type[ClassifierTarget], ...] = (ClassTarget, MultiLabelTarget)
_OF_REGRESSORS: tuple[type[Target], ...] = (RegressionTarget,)
TARGETS = {target.kind: target for target in (*_OF_CLASSIFIERS, *_OF_REGRESSORS)}


def target_to_plain(target: Target) -> dict[str, PlainData]:
    """The state of a target, with its kind."""
    return {"kind": target.kind, **target.to_plain()}


def target_of_plain(state: PlainData) -> Target:
    """Restore a target from its state.

    Raises
    ------
    Damaged
        If the state is none that `target_to_plain` gives.
    """
    state = dict(state)
    kind = state.pop("kind", None)
    expect(kind in TARGETS, "target")
    return TARGETS[kind].of_plain(state)
