"""Batches: every row once in each pass, with all that belongs to it."""

from dataclasses import replace
from itertools import chain

import pytest
import torch

from sklearn_deepfm._samples.samples import Batches, Samples


def samples_of(n_rows):
    """Samples in which everything about a row follows from its number."""
    number = torch.arange(n_rows)
    return Samples(
        torch.stack([number, number + 1], dim=1).int(),
        number[:, None] / 2,
        number % 3,
        number * 2.0,
    )


def one_pass(batches):
    """Numbers of the rows of each batch of one pass."""
    return [x["index"][:, 0].tolist() for x, _ in batches]


SIZES = [(1, 1), (1, 32), (31, 32), (32, 32), (33, 32), (65, 32), (97, 32), (1000, 7), (5, 1)]


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(("n_rows", "batch_size"), SIZES)
def test_every_row_is_in_one_batch_of_nearly_equal_size(n_rows, batch_size, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = Batches(samples_of(n_rows), batch_size, generator)
    parts = one_pass(batches)
    sizes = [len(part) for part in parts]
    assert len(parts) == len(batches) == -(-n_rows // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert sorted(chain(*parts)) == list(range(n_rows))


def test_order_is_kept_without_a_generator():
    batches = Batches(samples_of(50), 8)
    assert [*chain(*one_pass(batches))] == [*chain(*one_pass(batches))] == list(range(50))


def test_each_pass_shuffles_anew_and_a_seed_repeats_all_of_them():
    def passes(seed):
        batches = Batches(samples_of(50), 8, torch.Generator().manual_seed(seed))
        return [one_pass(batches) for _ in range(3)]

    first, second, third = passes(0)
    assert passes(0) == [first, second, third]
    assert passes(1) != [first, second, third]
    assert len({str(order) for order in (first, second, third)}) == 3
    assert first != one_pass(Batches(samples_of(50), 8))


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_value_target_and_weight_travel_with_their_row(generator):
    for x, y in Batches(samples_of(40), 7, generator):
        number = x["index"][:, 0]
        assert torch.equal(x["index"][:, 1], number + 1)
        assert torch.equal(x["value"], number[:, None] / 2)
        assert torch.equal(x["weight"], number * 2.0)
        assert torch.equal(y, number.long() % 3)


def test_batch_names_only_what_the_samples_have():
    ((x, y),) = Batches(Samples(torch.zeros(3, 2, dtype=torch.int32)), 8)
    assert list(x) == ["index"]
    assert y is None


def test_move_to_a_device_takes_everything_along():
    moved = samples_of(3).to("meta")
    tensors = (moved.index, moved.value, moved.y, moved.weight)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert Samples(torch.zeros(3, 2)).to("meta").value is None


def test_rows_that_find_no_room_on_a_gpu_stay_on_the_host(monkeypatch):
    samples = samples_of(10)
    n_bytes = 10 * (2 * 4 + 4 + 8 + 4)
    monkeypatch.setattr("sklearn_deepfm._samples.samples._room", lambda device: n_bytes - 1)
    there = samples.to("cuda")
    assert there.device == "cuda"
    assert there.index is samples.index
    assert samples.to("cpu").device is None


def test_batches_of_rows_on_the_host_are_sent_from_pinned_memory(monkeypatch):
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(
        torch.Tensor,
        "to",
        lambda tensor, device, non_blocking: sent.append((device, non_blocking)) or tensor,
    )
    samples = replace(samples_of(10), device="cuda:1")
    x, y = samples.take(torch.tensor([7, 2]))
    assert x["index"][:, 0].tolist() == [7, 2]
    assert y.tolist() == [1, 2]
    assert sent == [("cuda:1", True)] * 4
