"""Scores of the validation rows, computed from their logits."""

import math
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TypeAlias

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names

from sklearn_deepfm._samples.rows import Rows
from sklearn_deepfm._targets.target import Target

MAX_REPEATS = 10**6  # repeated rows that are allowed beyond 100 for each row


Scoring: TypeAlias = str | Callable[..., float]  # the parameter
Scorer: TypeAlias = Callable[[np.ndarray], float]  # from logits


def is_scoring(scoring: object) -> bool:
    """Whether a value is allowed for the parameter `scoring`."""
    if isinstance(scoring, str):
        return scoring == "loss" or scoring in get_scorer_names()
    return callable(scoring)


def reads_rows(scoring: Scoring) -> bool:
    """Whether a scoring may read X: scorers of scikit-learn look at predictions alone."""
    return not isinstance(scoring, str) and not hasattr(scoring, "_score_func")


def validation_scorer(scoring: Scoring, valid: Rows | None, target: Target) -> Scorer | None:
    """Function from validation logits to a score, greater is better; None for the loss.

    Parameters
    ----------
    scoring : str or callable
    valid : Rows or None
        The validation rows, with their table if the scoring reads it.
    target : Target

    Raises
    ------
    ValueError
        If the scoring takes no weights where rows have some, or wants groups where they have
        none.
    """
    if valid is None or (isinstance(scoring, str) and scoring == "loss"):
        return None
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    rows, further = np.arange(len(valid)), {}
    if valid.weight is not None and np.ptp(valid.weight) > 0:
        if _takes_weight(scorer):
            further["sample_weight"] = valid.weight
        else:
            rows = np.repeat(rows, _as_counts(valid.weight, scoring))
    X = valid.table.take(rows).read() if valid.table is not None and reads_rows(scoring) else None
    y = target.decode(valid.y[rows])
    if _wants_groups(scorer, scoring, valid.groups) and valid.groups is not None:
        further["groups"] = valid.groups[rows]

    def score(logits: np.ndarray) -> float:
        estimator = target.fixed_predictions(logits[rows].astype(np.float64), X)
        value = float(scorer(estimator, X, y, **further))
        if math.isnan(value):
            raise ValueError(_no_score(scoring, y, target))
        return value

    return score


def _wants_groups(
    scorer: Callable[..., object], scoring: Scoring, groups: np.ndarray | None
) -> bool:
    """Whether a scorer gets the groups of the rows: it names them, and rows have some.

    Raises
    ------
    ValueError
        If it cannot do without, and rows have none.
    """
    parameter = _parameters_of(scorer).get("groups")
    if parameter is None:
        return False
    if groups is None and parameter.default is Parameter.empty:
        raise ValueError(
            f"scoring={_named(scoring)} takes groups, and the validation rows have none. Pass "
            f"groups to fit, one for each row of X, or groups_val beside X_val; or give the "
            f"parameter a default."
        )
    return groups is not None


def _named(scoring: Scoring) -> object:
    """A scoring as messages show it; the repr of a function holds its address."""
    return repr(scoring) if isinstance(scoring, str) else getattr(scoring, "__name__", scoring)


def _parameters_of(scorer: Callable[..., object]) -> Mapping[str, Parameter]:
    """Parameters of a scorer, or of the metric inside it, by name."""
    return signature(getattr(scorer, "_score_func", scorer)).parameters


def _takes_weight(scorer: Callable[..., object]) -> bool:
    """Whether a scorer, or the metric inside it, has the parameter sample_weight."""
    parameters = _parameters_of(scorer).values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def _as_counts(weight: np.ndarray, scoring: Scoring) -> np.ndarray:
    """Integer weights as numbers of repetitions of rows, for a scorer that takes no weights."""
    if (weight != np.round(weight)).any() or weight.sum() > 100 * len(weight) + MAX_REPEATS:
        raise ValueError(
            f"scoring={_named(scoring)} must take sample_weight, since the validation rows have "
            f"weights. Add the parameter sample_weight=None to it, wrap a metric that has it by "
            f"make_scorer, or choose another scoring."
        )
    return weight.astype(np.int64)


def _no_score(scoring: Scoring, y: np.ndarray, target: Target) -> str:
    """The message for a score that is NaN."""
    held = f"{len(y)} validation rows"
    if target.is_class and len(labels := np.unique(y)) == 1:
        held += f", which are all of class {labels.tolist()[0]!r}"
    return (
        f"scoring={_named(scoring)} is nan for the {held}: no epoch could be told from another. "
        f"Pass rows for which it is defined as X_val and y_val, choose another scoring, such as "
        f"'loss', or set early_stopping=False."
    )
