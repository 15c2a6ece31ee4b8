"""A copy of a module's weights, on disk where they are large."""

import tempfile
from typing import IO

import torch
from torch import Tensor

LARGE = 2**28  # bytes, from which a tensor goes to disk
N_AT_ONCE = 2**22  # elements written or read at a time


class WeightsCopy:
    """Copies of tensors; large ones in temporary files, in memory if the disk is full.

    Parameters
    ----------
    state : dict of str to Tensor
        What to copy, as ``Module.state_dict`` gives it.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._copies: dict[str, Tensor | IO[bytes]] = {}
        for name, tensor in state.items():
            self._copies[name] = _copy(tensor)

    def __del__(self) -> None:
        self.close()  # where an exception has ended training before anybody else did

    def restore(self, state: dict[str, Tensor]) -> None:
        """Write the copies back into tensors of the same names and shapes."""
        for name, tensor in state.items():
            copy = self._copies[name]
            if torch.is_tensor(copy):
                tensor.copy_(copy)
            else:
                _read(copy, tensor)

    def tensors(self, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """The copies, as tensors such as those of the same names."""
        tensors = {name: torch.empty_like(tensor) for name, tensor in like.items()}
        self.restore(tensors)
        return tensors

    def close(self) -> None:
        """Delete the files."""
        for copy in self._copies.values():
            if not torch.is_tensor(copy):
                copy.close()


def _copy(tensor: Tensor) -> Tensor | IO[bytes]:
    if tensor.nbytes < LARGE:
        return tensor.clone()
    file = None
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115, closed by close
        for part in tensor.view(-1).split(N_AT_ONCE):
            file.write(part.cpu().numpy().data)
        file.flush()
    except OSError:
        if file is not None:
            file.close()
        return tensor.clone()
    return file


def _read(file: IO[bytes], tensor: Tensor) -> None:
    file.seek(0)
    for part in tensor.view(-1).split(N_AT_ONCE):
        host = part.cpu()  # on the host the part itself
        file.readinto(host.numpy().data)  # type: ignore[attr-defined]
        part.copy_(host)
