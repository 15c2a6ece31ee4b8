"""Choice of the device, and a warning where a CPU is slow at bfloat16."""

import torch

from sklearn_deepfm._common.user_warning import warn_user


def device_of(name: str) -> str:
    """Name of the device to use, after a check that torch can; "auto" is the fastest one."""
    if name != "auto":
        return _usable(name)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(device: str) -> str:
    """The device; ValueError if torch cannot use it, which only an allocation shows."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch can use on this machine, such as 'cpu', or 'auto', "
            f"got {device!r}: {error}"
        ) from error
    return device


def warn_of_slow_bfloat16(precision: str, device: str) -> None:
    """Warn if products are to be in bfloat16 and the CPU has no instructions for them."""
    if precision == "bfloat16" and device.startswith("cpu") and _cpu_capability() == "AVX2":
        warn_user(
            "precision='bfloat16' is many times slower than 'float32' on this CPU, which has no "
            "instructions for it. Set precision='float32', or train on a CPU with AMX or "
            "AVX-512 BF16, or on a GPU.",
        )


def _cpu_capability() -> str:
    return torch.backends.cpu.get_cpu_capability()
