"""The kinds of targets by the names that they have in files."""

from __future__ import annotations

from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._targets.classification import CLASSIFICATION_TARGETS
from sklearn_deepfm._targets.regression import REGRESSION_TARGETS
from sklearn_deepfm._targets.target import Target

TARGETS: dict[str, type[Target]] = {
    target.kind: target for target in (*CLASSIFICATION_TARGETS, *REGRESSION_TARGETS)
}


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
