"""Errors where memory runs out: how much a model takes, and which smaller one would fit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.parameters import Parameters
from sklearn_deepfm._training.table_rules import TABLE_RULES

FLOAT = 4  # bytes
USABLE = 0.8  # share of the free memory that a smaller model may take
# How many arrays as large as a batch's embeddings, or its hidden units, a step holds at once.
PER_CELL, PER_UNIT = 6, 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network and of its batches.

    Parameters
    ----------
    n_features : int
        Rows of the table.
    n_fields : int
    n_outputs : int
    n_batch : int
        Rows of a batch.
    """

    n_features: int
    n_fields: int
    n_outputs: int
    n_batch: int


@contextlib.contextmanager
def explain_out_of_memory(
    parameters: Parameters, sizes: Callable[[], Sizes | None], net: DeepFMNet | None
) -> Iterator[None]:
    """Turn any error of lack of memory into a MemoryError that says what would fit.

    Parameters
    ----------
    parameters : Parameters
    sizes : callable
        Gives the sizes, or None as long as that of the table is not known.
    net : DeepFMNet or None
        The net that is trained further, if it is; None for a new one.

    Raises
    ------
    MemoryError
        If there is not enough of it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or (known := sizes()) is None:
            raise
        device = device_of(parameters.device) if net is None else net.device
        message = memory_message(parameters, device, known, free_bytes(device), net is not None)
        raise MemoryError(f"{message} The model is as it was before this call.") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of NumPy or torch means that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # On a CPU torch raises a plain RuntimeError: only its text tells.
    text = str(error).lower()
    return any(sign in text for sign in ("allocate memory", "not enough memory", "out of memory"))


def memory_message(
    parameters: Parameters, device: str, sizes: Sizes, free: float | None, goes_on: bool = False
) -> str:
    """Message that says where the memory goes, and which value of a parameter would fit."""
    members, dim = int(parameters.n_members), int(parameters.embed_dim)
    per_row = FLOAT * _copies(parameters) * members
    table = sizes.n_features * per_row * (sizes.n_outputs + dim)
    n_units = sum(parameters.mlp_dims)
    per_sample = FLOAT * members * (sizes.n_fields * dim * PER_CELL + n_units * PER_UNIT)
    batch = sizes.n_batch * per_sample
    text = (
        f"Memory of the device {device!r} is not enough: the table of {sizes.n_features} codes "
        f"takes about {_size(table)} with what training keeps beside it, a batch {_size(batch)}"
    )
    text += "." if free is None else f", and {_size(free)} are free."
    room = None if free is None else USABLE * free
    if batch > table:
        rows = None if room is None else _power_of_2((room - table) / per_sample)
        return f"{text} {_lower('batch_size', sizes.n_batch, rows)}"
    width = None
    if room is not None:
        width = (room - batch) / (sizes.n_features * per_row) - sizes.n_outputs
    text = f"{text} {_lower('embed_dim', dim, None if width is None else int(width))}"
    text += " Or give rare categories one code, by min_frequency or max_categories of the encoder"
    text += _leaner_rule(parameters.table_optimizer)
    return f"{text}. A network that goes on keeps its size: fit a clone." if goes_on else f"{text}."


def _copies(parameters: Parameters) -> int:
    """Number of arrays as large as the table.

    Always the table, its gradient or scratch memory, and the copy of an epoch's weights; the rule
    of the table has its state, and the average of the weights is one more.
    """
    state = TABLE_RULES[parameters.table_optimizer].numbers_per_weight
    return 3 + state + (parameters.ema_epochs > 0)


def _leaner_rule(name: str) -> str:
    """Advice to take the rule of the table that keeps least, if another one keeps less."""
    own = TABLE_RULES[name]
    leanest = min(TABLE_RULES, key=lambda other: TABLE_RULES[other].numbers_per_weight)
    rule = TABLE_RULES[leanest]
    if rule.numbers_per_weight == own.numbers_per_weight:
        return ""
    return f"; table_optimizer={leanest!r} keeps {rule.keeps}, {name!r} {own.keeps}"


def _lower(name: str, now: int, fitting: int | None) -> str:
    """Advice to lower a parameter, to a value if one is known to fit."""
    if fitting is None:
        return f"Lower {name}, now {now}."
    if fitting < 1:
        return f"No {name} would fit, not even 1."
    return f"Set {name}={min(fitting, max(now // 2, 1))}, now {now}, which would fit."


def _power_of_2(number: float) -> int:
    """Largest power of 2 that is not above a number; 0 below 1."""
    return 2 ** int(number).bit_length() // 2 if number >= 1 else 0


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"


def free_bytes(device: str) -> float | None:
    """Memory in bytes that this process can still take; None if the system does not say."""
    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info(device)[0])
    free: float | None = None
    with contextlib.suppress(AttributeError, OSError, ValueError):
        free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        # The limit is one of address space, whose size in pages statm gives first.
        if limit != resource.RLIM_INFINITY:
            with open("/proc/self/statm") as file:
                taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            room = float(max(limit - taken, 0))
            free = room if free is None else min(room, free)
    return free
