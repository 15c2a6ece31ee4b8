"""Samples in a temporary file are the same as in memory, in batches and one by one."""

import errno
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_deepfm._fields.fields import FieldOffsets
from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._samples import disk_buffer
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples

N = 1_000
NOWHERE = FieldOffsets(np.zeros(3, np.int32), np.zeros(2, np.int32))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(disk_buffer, "ROWS_OF_A_CHUNK", 16)
    monkeypatch.setattr(disk_buffer, "ROWS_OF_A_BLOCK", 160)
    monkeypatch.setattr(disk_buffer, "FEW_ROWS", 64)
    monkeypatch.setattr(disk_buffer, "FEW_CHUNKS", 8)


def samples(seed=0, n=N):
    """Samples of everything there is; y is their number."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 4, (2 * n,), generator=random)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    n_members = int(starts[-1])
    return Samples(
        torch.randint(0, 50, (n, 3), generator=random, dtype=torch.int32),
        torch.rand(n, 2, generator=random),
        torch.arange(n, dtype=torch.float32),
        torch.rand(n, generator=random, dtype=torch.float64),
        torch.arange(n) % 3,
        Bags(
            torch.randint(0, 9, (n_members,), generator=random, dtype=torch.int32),
            starts,
            torch.rand(n_members, generator=random),
        ),
    )


def spooled(all_samples, part=70):
    buffer = DiskBuffer("cpu")
    for start in range(0, len(all_samples), part):
        rows = slice(start, min(start + part, len(all_samples)))
        buffer.add(all_samples.rows(rows), NOWHERE)
    buffer.finish(NOWHERE)
    return buffer


def with_mean_weight(all_samples):
    weight = all_samples.weight / all_samples.weight.mean()
    tensors = {**all_samples.named_tensors(), "weight": weight.float()}
    return Samples.of_named_tensors(tensors)


def assert_same(part, expected):
    tensors, others = part.named_tensors(), expected.named_tensors()
    assert list(tensors) == list(others)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-6, atol=0)
        assert tensor.dtype == others[name].dtype


def in_order_of(batches, expected):
    """All samples of some batches, put in the order of their numbers."""
    parts = [Samples(**x, y=y) for x, y in batches]
    joined = Samples.concatenate(parts)
    assert_same(joined.rows(joined.y.argsort()), expected)
    return parts, joined.y


def test_samples_come_back_as_they_were():
    expected = samples()
    with spooled(expected) as buffer:
        assert len(buffer) == N
        assert_same(Samples.concatenate(list(buffer.chunks())), with_mean_weight(expected))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 300, N, 5 * N])
def test_each_epoch_holds_each_sample_once_in_an_order_of_its_own(batch_size):
    expected = samples()
    generator = torch.Generator().manual_seed(0)
    with spooled(expected) as buffer:
        batches = buffer.batches(batch_size, generator)
        parts, order = in_order_of(batches, with_mean_weight(expected))
        assert len(parts) == len(batches) == -(-N // batch_size)
        sizes = [len(part) for part in parts]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        _, next_order = in_order_of(batches, with_mean_weight(expected))
        assert (order != next_order).any()
        again = buffer.batches(batch_size, torch.Generator().manual_seed(0))
        assert torch.equal(in_order_of(again, with_mean_weight(expected))[1], order)


def test_order_is_as_good_as_random():
    """Neighbours in the file are not neighbours in an epoch, and stand anywhere in it."""
    with spooled(samples()) as buffer:
        batches = buffer.batches(50, torch.Generator().manual_seed(0))
        order = torch.cat([y for _, y in batches])
    assert ((order[1:] - order[:-1]).abs() <= 16).float().mean() < 0.2
    place = order.argsort().float()
    assert abs(torch.corrcoef(torch.stack([place, torch.arange(N)]))[0, 1]) < 0.1


def test_rows_of_the_table_are_moved_to_where_fields_begin_in_the_end():
    part = samples(n=20)
    begin = [FieldOffsets(np.array([0, 5, 9], np.int32), np.array([20, 30], np.int32))]
    begin.append(FieldOffsets(np.array([0, 7, 12], np.int32), np.array([25, 36], np.int32)))
    with DiskBuffer("cpu") as buffer:
        for layout in begin:
            buffer.add(part, layout)
        buffer.finish(begin[1])
        whole = Samples.concatenate(list(buffer.chunks()))
    first, second = whole.rows(slice(0, 20)), whole.rows(slice(20, 40))
    assert_same(second, with_mean_weight(part))
    shifted = part.index + torch.tensor([0, 2, 3], dtype=torch.int32)
    assert torch.equal(first.index, shifted)
    of_bags = part.bags.bag_of_members() % 2
    assert torch.equal(first.bags.members, part.bags.members + torch.tensor([5, 6])[of_bags])


def test_weights_of_members_have_mean_one_each():
    part = samples()
    weight = torch.rand(N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tensors = {**part.named_tensors(), "weight": weight}
    with spooled(Samples.of_named_tensors(tensors)) as buffer:
        got = Samples.concatenate(list(buffer.chunks())).weight
    torch.testing.assert_close(got, (weight / weight.mean(0)).float())


def test_few_rows_are_spread_over_all():
    with spooled(samples()) as buffer:
        _, y = buffer.few(10_000)
        assert 50 <= len(y) <= 64
        assert y.min() < 100
        assert y.max() > 850
        x, y = buffer.few(5)
        assert len(y) == len(x["index"]) == 5


def test_full_disk_is_an_error_that_names_the_folder(monkeypatch):
    class Full:
        def tell(self):
            return 0

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(disk_buffer.tempfile, "TemporaryFile", Full)
    with (
        pytest.raises(OSError, match=r"temporary folder .* has no room .*Set TMPDIR") as caught,
        DiskBuffer("cpu") as buffer,
    ):
        buffer.add(samples(), NOWHERE)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("n", [1, N], ids=["at the end", "while rows are added"])
def test_disk_that_is_full_when_rows_leave_memory_is_told_too(monkeypatch, n):
    """A few rows wait in memory until the last are added, and closing tries to write them."""

    def fill():
        with DiskBuffer("cpu") as buffer:
            buffer.add(samples(n=n), NOWHERE)
            buffer.finish(NOWHERE)

    full = partial(Path("/dev/full").open, "w+b")
    monkeypatch.setattr(disk_buffer.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match=r"temporary folder .* has no room .*Set TMPDIR") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("left", [0, 100, 0.5, -1], ids=["nothing", "a bit", "half", "all but one"])
def test_file_that_was_cut_is_an_error(left):
    with spooled(samples()) as buffer:
        size = buffer._file.seek(0, 2)
        buffer._file.truncate(int(left * size) if isinstance(left, float) else left % size)
        with pytest.raises(OSError, match=r"rows must hold what was written, .*\d+ of \d+ bytes"):
            list(buffer.batches(64))
