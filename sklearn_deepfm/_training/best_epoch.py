"""Which epoch a model has its weights from, and whether an epoch beats the linear baseline."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

CHANCE_ROWS = 40  # validation rows from which on a gain of one standard error is believed
LEAST_ROWS = 10  # validation rows below which no gain is believed


Epoch: TypeAlias = Mapping[str, Any]  # numbers by name, as skorch records them


def without_batches(history: Iterable[Epoch]) -> list[dict[str, Any]]:
    """A dict for each epoch; skorch records each batch too, under "batches"."""
    return [{name: v for name, v in epoch.items() if name != "batches"} for epoch in history]


def best_epoch(history: Sequence[Epoch]) -> int | None:
    """Number of the epoch with the best score; 0 for the baseline, None without validation."""
    if not history or "valid_score" not in history[-1]:
        return None
    # Files of earlier versions do not say which epochs were better than all before them.
    if "valid_score_best" not in history[-1]:
        scores = np.array([epoch.get("valid_score", np.nan) for epoch in history])
        return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores))) + 1
    best = [epoch["epoch"] for epoch in history if epoch.get("valid_score_best")]
    return best[-1] if best else 0


def is_better(baseline: Tensor, now: Tensor) -> bool:
    """Whether losses of rows are lower than those of a baseline, by more than chance.

    The mean gain must be 1.4 standard errors for 20 rows, 0.6 for 100, 0.2 for 1,000: few rows
    let the best of some epochs seem better than it is.
    """
    gain = (baseline - now).cpu().double()
    n_rows = len(gain)
    if n_rows < LEAST_ROWS:
        return False
    error = float(gain.std()) / math.sqrt(n_rows)
    return float(gain.mean()) > math.sqrt(CHANCE_ROWS / n_rows) * error
