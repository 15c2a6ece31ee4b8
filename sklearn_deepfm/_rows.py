"""The rows an estimator trains on: weights, repeats merged, a part held out."""

import copy
import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import check_consistent_length

SMALL = 4096


@dataclass(frozen=True)
class Rows:
    """Columns, encoded target, weight and group of a set of samples; no weight means 1."""

    columns: list
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None = None

    def __len__(self):
        return len(self.y)

    def with_target(self, y):
        return replace(self, y=y)

    def weighed(self, factors):
        """The same with weights multiplied by factors for classes or labels, if there are any."""
        if factors is None:
            return self
        weight = 1.0 if self.weight is None else self.weight
        if self.y.ndim == 1:
            of_rows = factors[self.y]
        else:
            of_rows = factors[np.arange(self.y.shape[1]), self.y].prod(axis=1)
        return replace(self, weight=weight * of_rows)

    def take(self, rows):
        columns = [column.take(rows) for column in self.columns]
        weight, groups = (None if a is None else a[rows] for a in (self.weight, self.groups))
        return Rows(columns, self.y[rows], weight, groups)


def check_weight(weight, y, name="sample_weight"):
    """Weights as float64, None if there are none.

    Raises
    ------
    ValueError
        If they are not one finite number of at least 0 for each sample, or all 0.
    """
    if weight is None:
        return None
    if np.isscalar(weight):
        weight = np.full(len(y), weight)
    weight = np.asarray(weight, dtype=np.float64)
    if weight.ndim != 1:
        raise ValueError(
            f"{name} must be 1D array or scalar, one weight per sample; "
            f"got an array of shape {weight.shape}."
        )
    check_consistent_length(y, weight)
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise ValueError(
            f"{name} must hold finite numbers of at least 0, got values in "
            f"[{weight.min()}, {weight.max()}]. Drop or mend the rows concerned."
        )
    if not weight.any():
        raise ValueError(
            f"{name} is zero for every sample, which leaves nothing to learn from: at least one "
            f"weight must be positive."
        )
    return weight


def without_zero_weights(rows):
    """Drop what weighs nothing, before anything is learned from it."""
    if rows.weight is None or rows.weight.all():
        return rows
    return rows.take(np.flatnonzero(rows.weight))


def merge_repeats(rows):
    """Merge equal rows of a small data set, adding up their weights, and sort them.

    A row of weight 2 and the same row twice are then one and the same training set,
    and the order of the rows has no effect. Small means at most 16,384 rows, of which
    at most 4096 distinct. Larger data sets stay as they are: there the sums over
    batches agree in expectation, and passes over all rows train better than as many
    over a few merged ones.
    """
    if len(rows) > 4 * SMALL:
        return rows
    representative, group = _distinct(rows.columns, rows.y)
    if len(representative) > SMALL:
        return rows
    weight = np.bincount(group, weights=rows.weight).astype(np.float64)
    merged = rows.take(representative)
    return replace(merged, weight=weight)


def _distinct(columns, *others):
    """First position of each distinct row, in sorted order, and the group of every row."""
    cells = [np.unique(v, axis=0, return_inverse=True)[1].ravel() for v in others]
    for column in columns:
        cells += column.ranks()
    _, representative, group = np.unique(
        np.column_stack(cells), axis=0, return_index=True, return_inverse=True
    )
    return representative, group.ravel()


def split_by(splitter, rows, seed):
    """Training and validation rows that weigh something, by the last split of a splitter.

    A splitter without a seed of its own gets `seed`; its state stays as it is.

    Raises
    ------
    ValueError
        If it makes no split, or leaves one of the parts empty.
    """
    splitter = copy.deepcopy(splitter)
    if getattr(splitter, "random_state", 0) is None:
        splitter.random_state = seed
    splits = list(splitter.split(np.zeros((len(rows), 1)), rows.y, rows.groups))
    parts = [without_zero_weights(rows.take(np.asarray(p))) for p in (splits or [[]])[-1]]
    if not parts or not all(map(len, parts)):
        raise ValueError(
            f"validation_split must leave rows for training and for validation, got {splitter!r}, "
            f"which makes no such split of {len(rows)} rows."
        )
    return parts


def hold_out(rows, fraction, random_state, *, stratify):
    """Split off validation rows at random.

    Of a small data set, whose equal rows are merged, all rows of equal columns go to
    the same side: the rows of one label alone would teach that the others never occur.

    Parameters
    ----------
    rows : Rows
    fraction : float
        Share of the rows to hold out, at least one.
    random_state : RandomState
    stratify : bool
        Whether `rows.y` holds classes to be split in equal proportion. Each class
        keeps at least one training row.

    Returns
    -------
    train, valid : Rows
    """
    small = len(rows) <= SMALL
    group = _distinct(rows.columns)[1] if small else np.arange(len(rows))
    n_groups = group.max() + 1
    if n_groups < 2:
        raise ValueError(
            f"Early stopping needs at least 2 distinct rows of X to hold one out, got "
            f"n_samples = {n_groups} of them. Set early_stopping=False, or pass validation rows "
            f"as X_val and y_val."
        )
    order = random_state.permutation(n_groups)
    held = order[: np.clip(round(fraction * n_groups), 1, n_groups - 1)]
    if stratify:
        by_class = _first_of_each_class(order, _heaviest_label(rows, group), fraction)
        if len(by_class) == 0:
            _warn_of_small_classes()
        held = by_class if len(by_class) else held
    is_held = np.isin(group, held)
    if stratify:
        lost = np.setdiff1d(rows.y, rows.y[~is_held])
        is_held &= ~np.isin(group, group[np.isin(rows.y, lost)])
    return rows.take(np.flatnonzero(~is_held)), rows.take(np.flatnonzero(is_held))


def _heaviest_label(rows, group):
    """Of each group the label of its heaviest row."""
    by_weight = np.arange(len(rows))
    if rows.weight is not None:
        by_weight = np.argsort(rows.weight, kind="stable")
    label = np.empty(group.max() + 1, dtype=rows.y.dtype)
    label[group[by_weight]] = rows.y[by_weight]  # of repeated positions the last one stays
    return label


def _warn_of_small_classes():
    warnings.warn(
        "Every class has too few rows to hold one out in equal proportion: the validation "
        "rows are drawn from all classes alike.",
        UserWarning,
        stacklevel=6,
    )


def _first_of_each_class(order, y, fraction):
    """The first `fraction` of each class in the order given, never a whole class."""
    by_class = order[np.argsort(y[order], kind="stable")]
    counts = np.bincount(y)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.minimum(np.round(fraction * counts), np.maximum(counts - 1, 0))
    return by_class[np.arange(len(y)) - starts < np.repeat(wanted, counts)]
