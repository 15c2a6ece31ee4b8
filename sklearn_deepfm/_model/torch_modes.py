"""The modes of torch in which models are trained, loaded and asked, whatever the caller has set."""

import contextlib
from collections.abc import Iterator

import torch

_AUTOCAST_DEVICES = "cpu", "cuda", "mps"


@contextlib.contextmanager
def own_modes(*, inference: bool = False) -> Iterator[None]:
    """Compute without autocast, and on the CPU wherever no device is named.

    All these modes are those of one thread, and are restored at the end. The default dtype is
    one for all threads, and changing it would change it for the others: tensors of this library
    are made with a dtype instead.

    Parameters
    ----------
    inference : bool, default=False
        Whether results need no gradient. Otherwise tensors can be trained, even where the
        caller is in inference mode.
    """
    with contextlib.ExitStack() as stack:
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        # Such a context makes each call of torch slower, so it is entered only where it matters.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(inference))
        yield
