"""A copy of a module's weights, on disk where they are large."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

LARGE = 2**28  # bytes, from which a tensor goes to disk
N_AT_ONCE = 2**22  # elements written or read at a time, which bounds the memory for it


def to_numpy(value: Any) -> Any:
    """A tensor on any device as an array; any other value as it is."""
    return np.asarray(value.cpu().numpy()) if torch.is_tensor(value) else value


def to_torch(value: Any) -> Any:
    """An array as a tensor with memory of its own; any other value as it is."""
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def from_any_buffer(array: np.ndarray) -> Tensor:
    """An array as a tensor, which has memory of its own where that of the array is read-only."""
    return torch.from_numpy(array if array.flags.writeable else np.array(array))


class WeightSnapshot:
    """Copies of tensors; large ones in temporary files, in memory if the disk is full.

    Parameters
    ----------
    state : dict of str to Tensor
        Tensors to copy, as ``Module.state_dict`` gives them.
    rows : dict of str to Tensor, default=None
        For some of the tensors, the distinct positions of the rows to copy; of all others
        every row is copied.
    """

    def __init__(
        self, state: Mapping[str, Tensor], rows: Mapping[str, Tensor] | None = None
    ) -> None:
        self._rows = rows or {}
        self._copies: dict[str, Tensor | IO[bytes]] = {}
        for name, tensor in state.items():
            self._copies[name] = _copy(tensor, self._rows.get(name))

    def __del__(self) -> None:
        self.close()  # an exception may have ended training before another call of `close`

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Write the copies back into the tensors of the same names."""
        for name, copy in self._copies.items():
            rows = self._rows.get(name)
            if not torch.is_tensor(copy):
                _read(copy, state[name], rows)
            elif rows is None:
                state[name].copy_(copy)
            else:
                state[name].index_copy_(0, rows, copy)

    def tensors(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The copies as tensors of the same shape, type and device as those of the same names."""
        tensors = {name: torch.empty_like(tensor) for name, tensor in like.items()}
        self.restore(tensors)
        return tensors

    def close(self) -> None:
        """Close the temporary files, which deletes them."""
        for copy in self._copies.values():
            if not torch.is_tensor(copy):
                copy.close()


def _copy(tensor: Tensor, rows: Tensor | None) -> Tensor | IO[bytes]:
    """Copy in memory, or in a temporary file if it is large and the disk has room."""
    n_elements = tensor.numel() if rows is None else len(rows) * tensor[:1].numel()
    if n_elements * tensor.element_size() < LARGE or tensor.ndim == 0:
        return _in_memory(tensor, rows)
    file = None
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115, closed by close
        for part in _parts(tensor, rows):
            file.write(tensor[part].cpu().numpy().data)
        file.flush()
    except OSError:
        if file is not None:
            file.close()
        return _in_memory(tensor, rows)
    return file


def _in_memory(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor.clone() if rows is None else tensor.index_select(0, rows)


def _parts(tensor: Tensor, rows: Tensor | None) -> Sequence[slice | Tensor]:
    """Slices, or positions, that together are all the rows; each has few enough elements."""
    n_rows = max(N_AT_ONCE // tensor[:1].numel(), 1)
    if rows is not None:
        parts: Sequence[Tensor] = rows.split(n_rows)
        return parts
    return [slice(start, start + n_rows) for start in range(0, len(tensor), n_rows)]


def _read(file: IO[bytes], tensor: Tensor, rows: Tensor | None) -> None:
    """Write what a file holds back into a tensor."""
    file.seek(0)
    for part in _parts(tensor, rows):
        host = tensor[part].cpu()  # for a slice on the CPU a view, else a copy
        file.readinto(host.numpy().data)  # type: ignore[attr-defined]
        tensor[part] = host
