"""Names of columns of numbers that are quantities by the user's word, kept with a data frame."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pandas as pd

_KEY = "sklearn_deepfm quantities"


def name_quantities(frame: pd.DataFrame, names: Iterable[Hashable]) -> pd.DataFrame:
    """The frame, which says that columns are quantities to whoever reads it next."""
    if names := list(names):
        frame.attrs[_KEY] = names
    return frame


def named_quantities(frame: object) -> frozenset[Hashable]:
    """Names of the columns that are said to be quantities; tables of other libraries say none."""
    return frozenset(frame.attrs.get(_KEY, ()) if isinstance(frame, pd.DataFrame) else ())
