"""Scores of the validation rows, computed from their logits."""

from inspect import signature

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names

MAX_REPEATS = 10**6  # repeated rows that are allowed beyond 100 for each row


def is_scoring(scoring):
    """Whether a value is allowed for the parameter `scoring`."""
    if isinstance(scoring, str):
        return scoring == "loss" or scoring in get_scorer_names()
    return callable(scoring)


def validation_scorer(scoring, valid, target):
    """Function from validation logits to a score, greater is better; None for the loss."""
    if valid is None or (isinstance(scoring, str) and scoring == "loss"):
        return None
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    y, weight, repeats = target.decode(valid.y), {}, None
    if valid.weight is not None and np.ptp(valid.weight) > 0:
        if _takes_weight(scorer):
            weight["sample_weight"] = valid.weight
        else:
            repeats = _as_counts(valid.weight, scoring)
            y = np.repeat(y, repeats, axis=0)
    X = np.zeros((len(y), 1))  # predictions come from the logits: X gives the number of rows alone

    def score(logits):
        logits = logits.astype(np.float64)
        logits = logits if repeats is None else np.repeat(logits, repeats, axis=0)
        return scorer(target.fixed_predictions(logits), X, y, **weight)

    return score


def _takes_weight(scorer):
    """Whether a scorer, or the metric inside it, has the parameter sample_weight."""
    metric = getattr(scorer, "_score_func", scorer)
    parameters = signature(metric).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def _as_counts(weight, scoring):
    """Integer weights as numbers of repetitions of rows, for a scorer that takes no weights."""
    if (weight != np.round(weight)).any() or weight.sum() > 100 * len(weight) + MAX_REPEATS:
        raise ValueError(
            f"scoring={scoring!r} must take sample_weight, since the validation rows have weights. "
            f"Add the parameter sample_weight=None to it, wrap a metric that has it by "
            f"make_scorer, or choose another scoring."
        )
    return weight.astype(np.int64)
