"""Warnings that point at the user's line, however deep in this package they arise."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Hashable
from types import FrameType
from typing import Any

# Packages that call this one on the user's behalf: a warning that points into them helps nobody.
_CALLERS = {"sklearn_deepfm", "sklearn", "skorch", "skops", "joblib", "contextlib", "copy"}


# What has been said by "default" filters, and these filters.
_said: set[tuple] = set()
_filters: list[tuple] = []


def warn_user(
    message: str, category: type[Warning] = UserWarning, topic: Hashable | None = None
) -> None:
    """Issue a warning at the innermost frame that belongs to the user.

    Where Python's filters ask for one warning per line, there is one, though libraries such as
    pandas change the filters for a moment, after which Python would say all again.

    Parameters
    ----------
    message : str
        What happened, why it matters and what to do.
    category : type of Warning, default=UserWarning
    topic : hashable, default=None
        What the warning is about, if its words change from call to call.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package_of(frame.f_globals) in _CALLERS:
        level, frame = level + 1, frame.f_back
    if not _is_said_before(message, category, topic, frame):
        warnings.warn(message, category, stacklevel=level)


def _is_said_before(message: str, category: type[Warning], topic: Any, frame: FrameType) -> bool:
    if _filters != warnings.filters:
        _filters[:] = warnings.filters
        _said.clear()
    if not _is_said_once(message, category, frame):
        return False
    what = (frame.f_code.co_filename, frame.f_lineno, category, topic or message)
    is_said = what in _said
    _said.add(what)
    return is_said


def _is_said_once(message: str, category: type[Warning], frame: FrameType) -> bool:
    """Whether the first filter that applies asks for one warning per line."""
    module = frame.f_globals.get("__name__", "")
    for action, text, kind, place, line in warnings.filters:
        if (
            (text is None or re.match(text, message))
            and issubclass(category, kind)
            and (place is None or re.match(place, module))
            and line in (0, frame.f_lineno)
        ):
            return action == "default"
    return True


def _package_of(namespace: dict) -> str:
    name: str = namespace.get("__name__", "")
    return name.partition(".")[0]
