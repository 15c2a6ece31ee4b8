"""The rows of the embedding table that a training batch touches, found in linear time."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

IN_CACHE = 2**16  # numbers of a table that stay in a core's cache from one operation to the next
AT_ONCE = 2**22  # numbers of a table worked on at once elsewhere, which bounds the memory for it


class TouchedRows(NamedTuple):
    """The rows of the table that a training batch touches, each in a slot.

    Attributes
    ----------
    positions : Tensor of shape (n_slots,), int64
        Their positions in the table.
    rows : Tensor of shape (n_slots, width)
        A leaf tensor of their values, which gets the gradient.
    source : Tensor of shape (n_slots,), int64, or None
        None: each position has one slot. Otherwise a position may have several, and
        `source` names, for each slot, the one with the row and gradient of its position.
    """

    positions: Tensor
    rows: Tensor
    source: Tensor | None = None


class DistinctRows:
    """Finds the distinct rows of batches in a scratch array as long as the table.

    Each cell writes its number into the entry of its table row, then reads the entry:
    the cell whose number has stayed there stands for the row. The time is linear in the
    batch, whatever the size of the table; only the distinct rows are sorted.
    """

    def __init__(self) -> None:
        self._scratch: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # As long as the table, and nothing in it outlives a batch: copies do without.
        return {"_scratch": None}

    def touch(self, table: Tensor, wanted: Tensor) -> tuple[TouchedRows, Tensor]:
        """Take the wanted rows out of a table.

        Parameters
        ----------
        table : Tensor of shape (n_features, width)
        wanted : Tensor of shape (n_cells,), int64
            Positions in the table, each as often as it occurs.

        Returns
        -------
        touched : TouchedRows
        slot : Tensor of shape (n_cells,), int64
            Slot of each cell's row in `touched`.
        """
        find = self._on_host if _is_on_host(table) else self._on_device
        positions, slot, source = find(len(table), wanted)
        rows = table.detach().index_select(0, positions).requires_grad_()
        return TouchedRows(positions, rows, source), slot

    def in_order(self, n_features: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct positions in ascending order, and where among them each wanted one is."""
        if _is_on_host(wanted):
            return self._on_host(n_features, wanted)[:2]
        positions, slot = wanted.unique(return_inverse=True)
        return positions, slot

    def _on_host(self, n_features: int, wanted: Tensor) -> tuple[Tensor, Tensor, None]:
        # NumPy writes in order: the last cell of a row wins, whatever the number of threads.
        if not isinstance(self._scratch, np.ndarray) or len(self._scratch) != n_features:
            self._scratch = np.empty(n_features, dtype=np.int32)
        scratch, cells = self._scratch, wanted.numpy()
        number = np.arange(len(cells), dtype=np.int32)
        scratch[cells] = number
        positions = cells[scratch.take(cells) == number]
        positions.sort()  # neighbours in memory are then read and written together
        scratch[positions] = number[: len(positions)]
        return torch.from_numpy(positions), torch.from_numpy(scratch.take(cells)), None

    def _on_device(self, n_features: int, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # A slot for each cell: the number of distinct rows is unknown until the device is done.
        scratch = self._scratch
        is_tensor = torch.is_tensor(scratch) and scratch.device == wanted.device
        if not is_tensor or len(scratch) != n_features:
            self._scratch = torch.empty(n_features, dtype=torch.int64, device=wanted.device)
        self._scratch[wanted] = torch.arange(len(wanted), device=wanted.device)
        slot = self._scratch.index_select(0, wanted)
        return wanted, slot, slot


def _is_on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of the type and on the device of another tensor, for writes to scattered rows."""
    if not _is_on_host(like):
        return like.new_zeros(shape)
    # NumPy asks for huge pages, on which scattered rows are found, and first written, sooner.
    return torch.from_numpy(np.zeros(shape, dtype=np.float32)).to(like.dtype)


def rows_at_once(table: Tensor) -> int:
    """Number of table rows to work on at a time, where that takes many operations by row."""
    return max((IN_CACHE if _is_on_host(table) else AT_ONCE) // table.shape[1], 1)
