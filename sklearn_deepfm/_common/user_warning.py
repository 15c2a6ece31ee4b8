"""Warnings that point at the user's line, however deep in this package they arise."""

from __future__ import annotations

import sys
import warnings

# Packages that call this one on the user's behalf: a warning that points into them helps nobody.
_CALLERS = {"sklearn_deepfm", "sklearn", "skorch", "skops", "joblib", "contextlib", "copy"}


def warn_user(message: str) -> None:
    """Issue a UserWarning at the innermost frame that belongs to the user.

    Parameters
    ----------
    message : str
        What happened, why it matters and what to do.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package_of(frame.f_globals) in _CALLERS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _package_of(namespace: dict) -> str:
    name: str = namespace.get("__name__", "")
    return name.partition(".")[0]
