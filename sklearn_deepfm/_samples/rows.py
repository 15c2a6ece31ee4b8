"""Rows of data with target and weights: checked, merged where equal, split for validation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import sparray, spmatrix
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._fields.field import AnyColumn
from sklearn_deepfm._samples.table_rows import TableRows
from sklearn_deepfm._tables.objects import exact_target
from sklearn_deepfm._tables.table import refuse_masks

FEW_ROWS = 64  # that one batch holds, unless a smaller one is asked for
USUAL_WEIGHTS = 1e-100, 1e100  # others are scaled


@dataclass(frozen=True)
class Rows:
    """Columns, encoded target, weight and group of a set of samples; no weight means 1.

    `held_by` is the member that holds a row out, -1 where none does; `table` has the same rows of
    X as the caller gave it, if a splitter or a scorer reads them.
    """

    columns: Sequence[AnyColumn]
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None = None
    held_by: np.ndarray | None = None
    table: TableRows | None = None

    def __len__(self) -> int:
        return len(self.y)

    def with_target(self, y: np.ndarray) -> Rows:
        return replace(self, y=y)

    def weighed(self, factors: np.ndarray | None) -> Rows:
        """The rows, their weights multiplied by the factors of their classes or labels, if any."""
        if factors is None:
            return self
        weight = 1.0 if self.weight is None else self.weight
        if self.y.ndim == 1:
            of_rows = factors[self.y]
        else:
            of_rows = factors[np.arange(self.y.shape[1]), self.y].prod(axis=1)
        return replace(self, weight=weight * of_rows)

    def take(self, rows: np.ndarray) -> Rows:
        """Some of the rows, given by position."""
        columns = [column.take(rows) for column in self.columns]
        others = (self.weight, self.groups, self.held_by)
        weight, groups, held_by = (None if a is None else a[rows] for a in others)
        table = None if self.table is None else self.table.take(rows)
        return Rows(columns, self.y[rows], weight, groups, held_by, table)


def check_target(y: ArrayLike | None, n_rows: int, kind: str) -> np.ndarray:
    """Target of as many rows: one-dimensional, or a matrix of several outputs.

    Parameters
    ----------
    y : array-like
    n_rows : int
        Number of rows of X.
    kind : str
        Class of the estimator, for messages.

    Raises
    ------
    ValueError
        If it is absent, of another length or shape, or has missing values.
    """
    if y is None:
        raise ValueError(f"{kind} requires y to be passed, but the target y is None.")
    if isinstance(y, str):
        raise ValueError(
            f"y={y!r} names a column, which needs a pyarrow.dataset.Dataset as X. Pass the values "
            f"of the column."
        )
    refuse_masks("y", y)
    if isinstance(y, sparray | spmatrix):
        y = y.toarray()
    array = np.asarray(y)
    if array.ndim != 2 or array.shape[1] == 1:
        array = column_or_1d(y, warn=True)
    check_consistent_length(range(n_rows), array)
    if pd.isna(array).any():
        raise ValueError("Input y contains NaN: drop the rows whose target is missing.")
    array = np.asarray(exact_target(array))
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise ValueError("Input y contains infinity: drop the rows concerned, or bound the target.")
    return array


def check_weight(
    weight: ArrayLike | None, y: np.ndarray, name: str = "sample_weight"
) -> np.ndarray | None:
    """Weights as float64, None if there are none.

    Raises
    ------
    ValueError
        If they are not one finite number of at least 0 for each sample, or all 0.
    """
    if weight is None:
        return None
    weight = weights_of_rows(weight, y, name)
    if not weight.any():
        raise ValueError(
            f"{name} is zero for every sample, which leaves nothing to learn from: at least one "
            f"weight must be positive."
        )
    # Sums and means of weights must be finite and not 0; the scale has no effect.
    is_extreme = not USUAL_WEIGHTS[0] < weight.max() < USUAL_WEIGHTS[1]
    return weight / weight.max() if is_extreme else weight


def weights_of_rows(weight: ArrayLike, y: np.ndarray, name: str) -> np.ndarray:
    """Weights of one part of the rows as float64, which may all be 0.

    Raises
    ------
    ValueError
        If they are not one finite number of at least 0 for each sample.
    """
    refuse_masks(name, weight)
    if np.isscalar(weight):
        weight = np.full(len(y), weight)
    weight = np.asarray(weight, dtype=np.float64)
    if weight.ndim != 1:
        raise ValueError(
            f"{name} must be 1D array or scalar, one weight per sample; "
            f"got an array of shape {weight.shape}."
        )
    check_consistent_length(y, weight)
    if len(weight) and (not np.isfinite(weight).all() or weight.min() < 0):
        raise ValueError(
            f"{name} must hold finite numbers of at least 0, got values in "
            f"[{weight.min()}, {weight.max()}]. Drop or mend the rows concerned."
        )
    return weight


def without_zero_weights(rows: Rows) -> Rows:
    """Drop rows of weight 0, so that nothing is learned from them."""
    if rows.weight is None or rows.weight.all():
        return rows
    return rows.take(np.flatnonzero(rows.weight))


def merge_repeats(rows: Rows) -> Rows:
    """Merge equal rows of at most 64, adding up their weights, and sort them.

    A row of weight 2 and the same row twice are then one and the same training set, and the
    order of the rows has no effect. More rows stay as they are: they need several batches, so
    that weights equal repeats in expectation only, and the number of steps has to follow the
    rows, not the distinct ones.
    """
    if len(rows) > FEW_ROWS:
        return rows
    groups = [] if rows.groups is None else [pd.factorize(rows.groups)[0]]
    representative, group = _distinct(rows.columns, rows.y, *groups)
    weight = np.bincount(group, weights=rows.weight).astype(np.float64)
    merged = rows.take(representative)
    return replace(merged, weight=weight)


def _distinct(columns: Sequence[AnyColumn], *others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of each distinct row, in sorted order, and the group of every row."""
    cells = [np.unique(v, axis=0, return_inverse=True)[1].ravel() for v in others]
    for column in columns:
        cells += column.ranks()
    _, representative, group = np.unique(
        np.column_stack(cells), axis=0, return_index=True, return_inverse=True
    )
    return representative, group.ravel()


class Splitter(Protocol):
    """A cross-validation splitter of scikit-learn."""

    def split(
        self, X: object, y: np.ndarray, groups: np.ndarray | None
    ) -> Iterable[tuple[ArrayLike, ArrayLike]]:
        """Positions of training and of validation rows, for one split after the other."""
        ...


def split_by(splitter: Splitter, rows: Rows, seed: int) -> list[Rows]:
    """Training and validation rows of the last split of a splitter, without weights of 0.

    A splitter without a seed of its own gets `seed`; the caller's object stays as it is. It gets
    X as `fit` got it.

    Raises
    ------
    ValueError
        If there is no split, if one of its parts is empty, or if a row is in both.
    """
    splitter = copy.deepcopy(splitter)
    if getattr(splitter, "random_state", 0) is None:
        splitter.random_state = seed  # type: ignore[attr-defined]
    # The last split, since in order of time it validates on the latest rows.
    assert rows.table is not None  # as rows that a splitter is to divide are read
    splits = list(splitter.split(rows.table.read(), rows.y, rows.groups))
    last = splits[-1] if splits else ()
    positions = [_positions(part, len(rows), splitter) for part in last]
    _refuse_overlap(positions, splitter)
    parts = [without_zero_weights(rows.take(of_part)) for of_part in positions]
    if len(parts) != 2 or not all(map(len, parts)):
        raise ValueError(
            f"validation_split must leave rows for training and for validation, got {splitter!r}, "
            f"which makes no such split of {len(rows)} rows."
        )
    return parts


def _positions(part: ArrayLike, n_rows: int, splitter: Splitter) -> np.ndarray:
    """Positions of the rows of one part of a split, which may be given as a mask."""
    positions = np.asarray(part)
    if positions.dtype.kind == "b" and positions.shape == (n_rows,):
        return np.flatnonzero(positions)
    is_right = positions.ndim == 1 and (positions.dtype.kind in "iu" or not positions.size)
    if not is_right or (positions.size and not 0 <= positions.min() <= positions.max() < n_rows):
        raise ValueError(
            f"validation_split must give positions of rows, whole numbers from 0 to {n_rows - 1}, "
            f"got {part!r} from {splitter!r}. Make the splitter for these rows."
        )
    return positions.astype(np.int64)


def _refuse_overlap(positions: Sequence[np.ndarray], splitter: Splitter) -> None:
    """Refuse parts that share rows; a part may repeat a row of its own, as a bootstrap does."""
    if len(positions) != 2:
        return
    shared = np.intersect1d(positions[0], positions[1])
    if len(shared):
        raise ValueError(
            f"validation_split must give each row to training or to validation, got {splitter!r}, "
            f"which gives {len(shared)} rows to both, the row {shared[0]} among them. Take the "
            f"rows of validation out of those of training: a score of rows that were learned "
            f"does not tell when to stop."
        )


def hold_out(
    rows: Rows,
    fraction: float,
    random_state: np.random.RandomState,
    *,
    stratify: bool,
    n_members: int = 1,
    least: int = 0,
) -> tuple[Rows, Rows | None]:
    """Split off validation rows at random, different ones for each of several members.

    Rows are held out one by one: a field's codes are then as well known to training as they
    are to the model that predicts. Of at most 64 rows, where equal ones are merged, those of equal
    columns go to the same side: training that saw them with one label only would learn that
    others never occur.

    Parameters
    ----------
    rows : Rows
    fraction : float
        Share of the rows that each member holds out, at least one row. Several members
        hold out at most 1 / n_members each, so that no row is held out twice.
    random_state : RandomState
    stratify : bool
        Whether `rows.y` holds classes to be split in equal proportion. Each class
        keeps at least one training row.
    n_members : int, default=1
        Number of models that each hold out rows of their own.
    least : int, default=0
        Nothing is held out if there are fewer rows.

    Returns
    -------
    train, valid : Rows
        With one member, two parts of the rows. With several, `train` is all rows, whose
        `held_by` tells which member holds them out. `valid` is None if nothing is held out,
        because there are few rows or each is needed for training.
    """
    group = _distinct(rows.columns)[1] if len(rows) <= FEW_ROWS else np.arange(len(rows))
    n_groups = group.max() + 1
    if n_groups < least:
        return rows, None
    if n_groups < 2:
        raise ValueError(
            f"Early stopping needs at least 2 distinct rows of X to hold one out, got "
            f"n_samples = {n_groups} of them. Set early_stopping=False, or pass validation rows "
            f"as X_val and y_val."
        )
    order = random_state.permutation(n_groups)
    fraction = min(fraction, 1 / n_members) if n_members > 1 else fraction
    part = _parts(np.arange(n_groups), n_groups, fraction, n_members)
    if stratify:
        by_class = _parts_of_classes(_heaviest_label(rows, group)[order], fraction, n_members)
        if (by_class < 0).all():
            _warn_of_small_classes()
        else:
            part = by_class
    # `part` follows the random order, whose argsort leads back to the groups.
    held_by = part[np.argsort(order)][group]
    for member in range(n_members if stratify else 0):
        held_by[_of_lost_classes(rows.y, group, held_by == member)] = -1
    is_held = held_by >= 0
    if not is_held.any():
        return rows, None
    if n_members == 1:
        return rows.take(np.flatnonzero(~is_held)), rows.take(np.flatnonzero(is_held))
    rows = replace(rows, held_by=held_by)
    return rows, rows.take(np.flatnonzero(is_held))


def _of_lost_classes(y: np.ndarray, group: np.ndarray, is_held: np.ndarray) -> np.ndarray:
    """Held-out rows of classes that have lost all training rows, and those of their groups."""
    lost = np.setdiff1d(y, y[~is_held])
    mask: np.ndarray = is_held & np.isin(group, group[np.isin(y, lost)])
    return mask


def _heaviest_label(rows: Rows, group: np.ndarray) -> np.ndarray:
    """Label of the heaviest row of each group."""
    by_weight = np.arange(len(rows))
    if rows.weight is not None:
        by_weight = np.argsort(rows.weight, kind="stable")
    label = np.empty(group.max() + 1, dtype=rows.y.dtype)
    label[group[by_weight]] = rows.y[by_weight]  # of repeated positions the last one stays
    return label


def _warn_of_small_classes() -> None:
    warn_user(
        "Every class has too few rows to hold one out in equal proportion: the validation "
        "rows are drawn from all classes alike.",
    )


def _parts(rank: np.ndarray, count: int | np.ndarray, fraction: float, n_parts: int) -> np.ndarray:
    """Part into which each rank out of `count` falls, -1 if into none."""
    # At least one rank, and never all of them.
    size = np.clip(np.round(fraction * count), 1, np.maximum(count - 1, 1)).astype(np.int64)
    part = rank // size
    return np.where(part < n_parts, part, -1)


def _parts_of_classes(y: np.ndarray, fraction: float, n_parts: int) -> np.ndarray:
    """Parts within each class, as `_parts` makes them; a class too small to split is in none."""
    by_class = np.argsort(y, kind="stable")
    counts = np.bincount(y)
    count = np.repeat(counts, counts)
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    part = np.empty(len(y), dtype=np.int64)
    is_small = (np.round(fraction * count) < 1) | (count < 2)
    part[by_class] = np.where(is_small, -1, _parts(rank, count, fraction, n_parts))
    return part
