"""Embeddings by code: pretrained ones for a new table, and those of a trained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.index_field import UNSEEN_ROW, IndexField


class Pretrained(NamedTuple):
    """Rows of the table whose embeddings are given.

    Attributes
    ----------
    rows : ndarray of shape (n_given,), int64
    embeddings : ndarray of shape (n_given, embed_dim), float32
    frozen : ndarray of shape (n_features,), bool, or None
        Rows whose embeddings training leaves as they are; None if there are none.
    """

    rows: np.ndarray
    embeddings: np.ndarray
    frozen: np.ndarray | None


def pretrained_rows(
    given: Mapping[str | int, Any] | None,
    frozen: Sequence[str | int] | None,
    fields: Fields,
    embed_dim: int,
) -> Pretrained | None:
    """Table rows of the given embeddings; codes without a row are left out.

    Raises
    ------
    ValueError
        If a field does not exist, holds numbers or is named twice, is frozen but not
        given, or its embeddings are of another length, not finite, of one code twice or
        of no code that fit saw.
    """
    positions = {
        fields.position(name, "pretrained"): frame for name, frame in (given or {}).items()
    }
    # A name and a position may mean the same column.
    if len(positions) < len(given or {}):
        raise ValueError(f"pretrained names a column twice: {list(given or {})}. Leave one out.")
    is_frozen = np.zeros(fields.dims.sum(), dtype=bool)
    rows, embeddings = [], []
    for position, frame in positions.items():
        field = fields[position]
        if not field.holds_codes or field.slope_row is not None:
            raise ValueError(
                f"pretrained names column {field.name!r}, which holds {field.description}: it has "
                f"no codes to give embeddings to. Leave it out."
            )
        local, vectors = _rows_of_frame(field, frame, embed_dim)
        rows.append(fields.offsets[position] + local)
        embeddings.append(vectors)
    for name in frozen or ():
        position = fields.position(name, "frozen")
        if position not in positions:
            raise ValueError(
                f"frozen names column {name!r}, which pretrained gives no embeddings. Name it in "
                f"both, or in neither."
            )
        is_frozen[rows[list(positions).index(position)]] = True
    if not rows:
        return None
    return Pretrained(
        np.concatenate(rows), np.concatenate(embeddings), is_frozen if is_frozen.any() else None
    )


def _rows_of_frame(field: IndexField, frame: Any, embed_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Local rows of the codes that fit saw, and their embeddings."""
    frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(np.asarray(frame))
    try:
        vectors = frame.to_numpy(dtype=np.float32)
    except (TypeError, ValueError):
        vectors = np.full(frame.shape, np.nan, dtype=np.float32)  # refused as not finite
    if vectors.shape[1] != embed_dim or not np.isfinite(vectors).all():
        raise ValueError(
            f"pretrained must give column {field.name!r} {embed_dim} finite numbers per code, as "
            f"embed_dim says, got an array of shape {vectors.shape}."
        )
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()].tolist()[0]
        raise ValueError(f"pretrained must give column {field.name!r} each code once: {twice!r}.")
    local = field.rows_of_index(frame.index)
    if not local.any():
        raise ValueError(
            f"pretrained must give column {field.name!r} embeddings of codes or categories that "
            f"fit saw, got the index {frame.index[:3].tolist()}, none of which is one."
        )
    return local[local != UNSEEN_ROW].astype(np.int64), vectors[local != UNSEEN_ROW]


def embedding_frame(fields: Fields, name: str | int, embeddings: np.ndarray) -> pd.DataFrame:
    """Embeddings of the codes of a field that fit saw, by code or category.

    Parameters
    ----------
    fields : Fields
    name : str or int
        Name or position of the column.
    embeddings : ndarray of shape (n_features, embed_dim)
        Embeddings of all rows of the table, or other values for each row.
    """
    position = fields.position(name, "field")
    field = fields[position]
    if not field.holds_codes:
        raise ValueError(
            f"field must name a column of codes, and {field.name!r} holds {field.description}, "
            f"which have no embedding each."
        )
    first = fields.offsets[position]
    of_codes = field.of_codes(embeddings[first : first + field.n_rows])
    return pd.DataFrame(of_codes, index=pd.Index(field.code_names, name=field.name))
