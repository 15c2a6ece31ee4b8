"""The rows that a batch touches: each cell finds its own, and each row stands once."""

import pickle

import numpy as np
import pytest
import torch

from sklearn_deepfm._model.touched_rows import DistinctRows


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("seed", range(3))
def test_each_cell_finds_the_row_it_wants(place, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    table = torch.tensor(rng.normal(size=(50, 3))).float()
    finder = DistinctRows()
    if place == "device":  # the code of a GPU, which runs anywhere
        monkeypatch.setattr(finder, "_on_host", finder._on_device)
    for n_cells in (40, 200, 1):  # the scratch array holds what the last batch left there
        wanted = torch.from_numpy(rng.integers(0, 50, n_cells))
        touched, slot = finder.touch(table, wanted)
        torch.testing.assert_close(touched.rows[slot.long()], table[wanted])
        assert (touched.positions[slot.long()] == wanted).all()
        assert touched.rows.requires_grad
        used = touched.positions[slot.long().unique()]
        assert len(used.unique()) == len(used)  # cells of one row share a slot
        if place == "host":
            assert touched.positions.tolist() == sorted(set(wanted.tolist()))


def test_slots_of_one_position_name_the_same_source():
    wanted = torch.tensor([4, 2, 4, 4, 2, 7])
    positions, slot, source = DistinctRows()._on_device(10, wanted)
    assert torch.equal(positions, wanted)
    assert torch.equal(slot, source)
    assert len(set(source[wanted == 4].tolist())) == 1
    assert (positions[source] == positions).all()


@pytest.mark.parametrize("place", ["host", "device"])
def test_positions_in_order_and_where_each_of_the_wanted_is(place, monkeypatch):
    monkeypatch.setattr(
        "sklearn_deepfm._model.touched_rows._is_on_host", lambda tensor: place == "host"
    )
    wanted = torch.tensor([4, 2, 4, 4, 2, 7])
    finder = DistinctRows()
    for _ in range(2):
        positions, slot = finder.in_order(10, wanted)
        assert positions.tolist() == [2, 4, 7]
        assert torch.equal(positions[slot.long()], wanted)


def test_scratch_is_not_copied():
    finder = DistinctRows()
    finder.touch(torch.zeros(100_000, 1), torch.tensor([3, 5]))
    assert len(pickle.dumps(finder)) < 1000
