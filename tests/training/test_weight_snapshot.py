"""Copies of weights, in memory or on disk."""

import io

import pytest
import torch

from sklearn_deepfm._training import weight_snapshot
from sklearn_deepfm._training.weight_snapshot import WeightSnapshot


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "table": torch.randn(1000, 7, generator=generator),
        "bias": torch.randn(3, generator=generator),
        "count": torch.tensor(5),
    }


@pytest.fixture
def on_disk(monkeypatch):
    """Send tensors of more than a hundred bytes to disk, a few elements at a time."""
    monkeypatch.setattr(weight_snapshot, "LARGE", 100)
    monkeypatch.setattr(weight_snapshot, "N_AT_ONCE", 64)


def changed_and_restored(state):
    copy = WeightSnapshot(state)
    before = {name: tensor.clone() for name, tensor in state.items()}
    for tensor in state.values():
        tensor.zero_()
    copy.restore(state)
    copy.close()
    return before


def test_restores_what_was_copied(state):
    before = changed_and_restored(state)
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_large_tensors_come_back_from_disk(state, on_disk):
    copy = WeightSnapshot(state)
    kinds = {name: torch.is_tensor(held) for name, held in copy._copies.items()}
    assert kinds == {"table": False, "bias": True, "count": True}
    copy.close()
    before = changed_and_restored(state)
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_a_copy_can_be_restored_twice(state, on_disk):
    copy, before = WeightSnapshot(state), state["table"].clone()
    for _ in range(2):
        state["table"].zero_()
        copy.restore(state)
        assert torch.equal(state["table"], before)
    copy.close()


class Full(io.BytesIO):
    def write(self, data):
        raise OSError(28, "No space left on device")


def no_folder():
    raise FileNotFoundError("No usable temporary directory found")


@pytest.mark.parametrize("broken", [Full, no_folder])
def test_without_room_on_disk_the_copy_is_in_memory(broken, state, on_disk, monkeypatch):
    monkeypatch.setattr(weight_snapshot.tempfile, "TemporaryFile", broken)
    before = changed_and_restored(state)
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_best_weights_of_a_large_table_come_back_from_disk(monkeypatch, classifier, visits, codes):
    y = visits[1]
    params = {"embedding_l2": 0, "max_epochs": 12, "early_stopping": False}
    classifier.set_params(**params)
    validation = {"X_val": codes[900:], "y_val": y[900:]}
    in_memory = classifier.fit(codes[:900], y[:900], **validation)
    expected, scores = in_memory.predict_proba(codes), in_memory.validation_scores_
    assert scores.index(max(scores)) < len(scores) - 1  # there is something to restore
    monkeypatch.setattr(weight_snapshot, "LARGE", 100)
    again = classifier.fit(codes[:900], y[:900], **validation)
    assert (again.predict_proba(codes) == expected).all()
