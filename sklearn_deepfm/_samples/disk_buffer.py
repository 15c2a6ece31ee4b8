"""Disk buffer: samples in a temporary file, and batches of them in random order."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sklearn_deepfm._fields.fields import FieldOffsets
from sklearn_deepfm._samples.samples import Batch, Batches, Samples

ROWS_OF_A_CHUNK = 2**12  # neighbours in the file, read at once
ROWS_OF_A_BLOCK = 2**20  # in memory at a time, shuffled among each other
FEW_ROWS, FEW_CHUNKS = 2**13, 2**6  # a sample that stays in memory, and chunks to take it from


Total: TypeAlias = tuple[int, Tensor | float]  # number of rows, and sum of their weights


class _Chunk(NamedTuple):
    """A place in the file, type and shape of each tensor, and the table's layout at writing."""

    start: int
    tensors: dict[str, tuple[np.dtype, tuple[int, ...]]]
    offsets: FieldOffsets


class DiskBuffer:
    """Samples in a file without a name, which vanishes with the process.

    Rows are written in chunks of neighbours. An epoch reads the chunks in random order, a
    block of them at a time, and gives the rows of a block in random order, so that
    neighbours end up in different batches.

    Parameters
    ----------
    device : str
        Where batches go.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed by __exit__
        self._chunks: list[_Chunk] = []
        self._n_rows = 0
        self._weight: Tensor | float = (
            0.0  # sum over the rows, per member if members have their own
        )
        self._mean_weight: Tensor | float = 1.0
        # Row in the table that processes share, for each row of this process's table.
        self._rows: Tensor | None = None
        self.rows_of_processes: list[int] = []

    def __enter__(self) -> DiskBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing writes what is left, and may fail after an error that has said more.
        with contextlib.suppress(OSError):
            self._file.close()

    def __len__(self) -> int:
        return self._n_rows

    def add(self, samples: Samples, offsets: FieldOffsets) -> None:
        """Write samples to the end of the file.

        Raises
        ------
        OSError
            If there is no room for them.
        """
        for start in range(0, len(samples), ROWS_OF_A_CHUNK):
            part = samples.rows(slice(start, min(start + ROWS_OF_A_CHUNK, len(samples))))
            arrays = {name: tensor.numpy() for name, tensor in part.named_tensors().items()}
            # The table may grow later: the layout tells how far to move the rows then.
            self._chunks.append(_Chunk(self._file.tell(), _shapes(arrays), offsets))
            with self._naming_the_folder():
                for array in arrays.values():
                    self._file.write(np.ascontiguousarray(array).data)
        self._n_rows += len(samples)
        if samples.weight is not None:
            self._weight = self._weight + samples.weight.sum(0, dtype=torch.float64)

    @contextlib.contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        """Where writing fails, say in which folder."""
        try:
            yield
        except OSError as error:
            message = (
                f"The temporary folder {tempfile.gettempdir()!r} has no room for the encoded "
                f"rows, of which {self._n_rows} are written. Set TMPDIR to a folder that has"
            )
            raise OSError(error.errno, message) from error

    def _cut_short(self, chunk: _Chunk, name: str, wanted: int, n_read: int) -> str:
        return (
            f"The temporary file of the encoded rows must hold what was written, and ends early: "
            f"{n_read} of {wanted} bytes of {name!r} are left in the chunk at byte {chunk.start}. "
            f"Something has cut the file in the folder {tempfile.gettempdir()!r}. Fit again, or "
            f"set TMPDIR to a folder that nothing else cleans up"
        )

    @property
    def total(self) -> Total:
        """Number of rows added, and the sum of their weights."""
        return self._n_rows, self._weight

    def finish(
        self,
        offsets: FieldOffsets,
        totals: list[Total] | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Set the final layout of the table, after all samples have been added.

        Parameters
        ----------
        offsets : FieldOffsets
        totals : list of tuple, default=None
            `total` of the disk buffer of each process; None if there is only this process.
        rows : ndarray of shape (n_rows_of_the_layout,), int32, default=None
            Row in the table that all processes share, for each row of this process's table;
            None if both are the same.

        Raises
        ------
        OSError
            If there is no room for what is still to be written.
        """
        self._offsets = offsets
        self._rows = None if rows is None else torch.from_numpy(rows)
        numbers, weights = zip(*(totals or [self.total]), strict=True)
        self.rows_of_processes = list(numbers)
        self._mean_weight = sum(weights) / sum(numbers)
        with self._naming_the_folder():
            self._file.flush()
        every = -(-len(self._chunks) // FEW_CHUNKS)
        chunks = self._chunks[::every]
        n = FEW_ROWS // len(chunks)
        parts = [self._read(chunk) for chunk in chunks]
        self._few = Samples.concatenate([part.rows(_spread(n, len(part))) for part in parts])

    @property
    def n_rows_in_all(self) -> int:
        """Number of rows of all processes together."""
        return sum(self.rows_of_processes)

    def few(self, n: int) -> Batch:
        """Inputs and targets of up to `n` rows, at most 8,192, spread over all."""
        few = self._few.to(self._device)
        return few.take(_spread(n, len(few)).to(self._device))

    def chunks(self) -> Iterator[Samples]:
        """All samples in their order, chunk by chunk."""
        return map(self._read, self._chunks)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> DiskBatches:
        """Batches in random order."""
        return DiskBatches(self, batch_size, generator)

    def blocks(self, generator: torch.Generator | None) -> Iterator[Samples]:
        """All samples, block by block; each block is made of chunks drawn at random."""
        n, at_once = len(self._chunks), max(ROWS_OF_A_BLOCK // ROWS_OF_A_CHUNK, 1)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        for numbers in order.split(at_once):
            parts = [self._read(self._chunks[number]) for number in numbers]
            yield Samples.concatenate(parts).to(self._device)

    def _read(self, chunk: _Chunk) -> Samples:
        """The samples of a chunk, with the final layout of the table.

        Raises
        ------
        OSError
            If the file ends before the chunk does.
        """
        self._file.seek(chunk.start)
        tensors = {}
        for name, (dtype, shape) in chunk.tensors.items():
            array = np.empty(shape, dtype)
            n_read = self._file.readinto(array.data)  # type: ignore[attr-defined]
            if n_read < array.nbytes:
                raise OSError(errno.EIO, self._cut_short(chunk, name, array.nbytes, n_read))
            tensors[name] = torch.from_numpy(array)
        samples = Samples.of_named_tensors(tensors)
        # Fields may have grown since the chunk was written: those after them begin later now.
        samples.index.add_(torch.from_numpy(self._offsets.cells - chunk.offsets.cells))
        if samples.bags is not None:
            shift = torch.from_numpy(self._offsets.lists - chunk.offsets.lists)
            # Bags lie sample by sample: the number of a bag tells its field.
            of_members = samples.bags.bag_of_members().remainder(len(shift))
            samples.bags.members.add_(shift.index_select(0, of_members))
        if self._rows is not None:
            samples = self._in_shared_table(samples, self._rows)
        if samples.weight is not None:
            weight = (samples.weight / self._mean_weight).to(torch.float32)
            samples = replace(samples, weight=weight)
        return samples

    def _in_shared_table(self, samples: Samples, rows: Tensor) -> Samples:
        samples = replace(samples, index=rows[samples.index])
        if samples.bags is None:
            return samples
        return replace(samples, bags=samples.bags._replace(members=rows[samples.bags.members]))


class DiskBatches(Batches[DiskBuffer]):
    """Batches of a disk buffer, in the random order that :class:`DiskBuffer` describes.

    Where each process has a disk buffer of its own, there are as many batches as the rows of
    all processes need, and each batch holds the part of this process, which may be empty.
    """

    def __len__(self) -> int:
        return -(-self.samples.n_rows_in_all // self._batch_size)

    def sizes_in_all(self) -> list[int]:
        """Number of rows of each batch over all processes."""
        of_shares = [_sizes(n, len(self)) for n in self.samples.rows_of_processes]
        sizes: list[int] = np.sum(of_shares, axis=0).tolist()
        return sizes

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        sizes, rest = _sizes(len(self.samples), len(self))[::-1], None
        for block in self.samples.blocks(self._generator):
            samples = block if rest is None else Samples.concatenate([rest, block])
            order = self._order(len(samples)).to(samples.index.device)
            while sizes and sizes[-1] <= len(order):
                size = sizes.pop()
                yield samples.take(order[:size])
                order = order[size:]
            # Rows too few for a batch wait for the next block, so that batches keep their sizes.
            rest = samples.rows(order)

    def _order(self, n: int) -> Tensor:
        if self._generator is None:
            return torch.arange(n)
        return torch.randperm(n, generator=self._generator)


def _sizes(n_rows: int, n_batches: int) -> list[int]:
    """Sizes of `n_batches` batches, which differ by at most one row."""
    ends = np.arange(n_batches + 1) * n_rows // n_batches
    sizes: list[int] = np.diff(ends).tolist()
    return sizes


def _shapes(arrays: dict[str, np.ndarray]) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    return {name: (array.dtype, array.shape) for name, array in arrays.items()}


def _spread(n: int, n_rows: int) -> Tensor:
    """Positions of up to `n` of `n_rows` rows, evenly spaced."""
    n = min(n, n_rows)
    return torch.arange(n) * n_rows // n
