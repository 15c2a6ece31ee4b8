"""The registry of targets: names in files, and losses that training has."""

import numpy as np
import pytest

from sklearn_deepfm._serialization.plain_values import Damaged
from sklearn_deepfm._targets.target_kinds import TARGETS, target_of_plain
from sklearn_deepfm._training.losses import LOSSES


def test_names_of_kinds_stand_in_files_and_stay():
    assert [*TARGETS] == ["labels", "label sets", "amount"]


@pytest.mark.parametrize(
    ("kind", "y"),
    [
        ("labels", np.array([0, 1])),
        ("labels", np.array([0, 1, 2])),
        ("label sets", np.eye(2)),
        ("amount", np.ones(2)),
    ],
)
def test_loss_is_one_of_those_of_training(kind, y):
    assert TARGETS[kind](y).loss in LOSSES


def test_unknown_kind_is_damage():
    with pytest.raises(Damaged, match="'target' is"):
        target_of_plain({"kind": "colours"})
