"""The arguments of a fit as values: rows as given, how they are read, what validates, the call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklearn_deepfm._fields.read_columns import read_columns
from sklearn_deepfm._samples.rows import Rows, Splitter, check_target, check_weight
from sklearn_deepfm._samples.table_rows import TableRows
from sklearn_deepfm._tables.table import refuse_masks
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.epoch_tasks import Task
from sklearn_deepfm._training.training_group import TrainingGroup

# A table, an array, a data set or names of its columns, not checked yet.
Given: TypeAlias = Any


class Validation(NamedTuple):
    """Validation rows as passed to fit; all None where there are none."""

    X: Given = None
    y: Given = None
    weight: Given = None
    groups: Given = None

    def check(self) -> None:
        """Check that rows come with a target, and that nothing comes without rows.

        Raises
        ------
        ValueError
            If one is missing.
        """
        if self.X is None and any(of_rows is not None for of_rows in self[1:]):
            raise ValueError("y_val, sample_weight_val and groups_val need X_val, got X_val=None.")
        if self.X is not None and self.y is None:
            raise ValueError("X_val needs y_val, the target of the validation rows, got None.")


NO_VALIDATION = Validation()


@dataclass(frozen=True)
class FitData:
    """Training rows as passed to fit, and validation rows."""

    X: Given
    y: Given
    weight: Given = None
    groups: Given = None
    validation: Validation = NO_VALIDATION

    @property
    def of_tasks(self) -> dict[str, Given]:
        """The training rows for scikit-learn's callbacks, further arguments for a scorer too."""
        metadata = {} if self.weight is None else {"sample_weight": self.weight}
        return {"X": self.X, "y": self.y, "metadata": metadata}


@dataclass(frozen=True)
class Call:
    """One call of fit or partial_fit.

    Parameters
    ----------
    goes_on : bool
        Whether it trains the net of an earlier one further.
    new_target : callable
        From y to a target, where it does not.
    random : RandomState
        Source of all chance.
    group : TrainingGroup
        The processes that train together.
    task : Task or None, default=None
        The task of the fit for scikit-learn's callbacks, if it has any.
    is_part : bool, default=False
        Whether it is a call of partial_fit, for one part of many.
    """

    goes_on: bool
    new_target: Callable[[np.ndarray], Target]
    random: np.random.RandomState
    group: TrainingGroup
    task: Task | None = None
    is_part: bool = False


@dataclass(frozen=True)
class HoldingOut:
    """The parameters that say which rows validate, by their names; nothing is held out of X_val."""

    validation: Validation = NO_VALIDATION
    validation_split: Splitter | None = None
    early_stopping: bool | str = False
    validation_fraction: float = 0.0
    n_members: int = 1


@dataclass(frozen=True)
class Labels:
    """How labels are encoded, and classes weighed.

    Parameters
    ----------
    target : Target
    factors : callable or None, default=None
        From rows to the factors of their classes; None for no such factors.
    """

    target: Target
    factors: Callable[[Rows], np.ndarray | None] | None = None

    def encoded(self, rows: Rows) -> Rows:
        """The rows with the target encoded."""
        return rows.with_target(self.target.encode(rows.y))

    def factors_of(self, rows: Rows) -> np.ndarray | None:
        """Factors by which the classes of encoded rows multiply weights; None for none."""
        return None if self.factors is None else self.factors(rows)


@dataclass(frozen=True)
class Reader:
    """Reads tables as rows.

    Parameters
    ----------
    estimator : estimator
        scikit-learn's checks of X note the columns on it, or compare with those noted.
    keeps_table : bool
        Whether a splitter or a scorer reads X as it was given.
    """

    estimator: BaseEstimator
    keeps_table: bool

    @property
    def kind(self) -> str:
        """Class of the estimator, for messages."""
        return type(self.estimator).__name__

    def read(
        self,
        X: Given,
        y: Given,
        weight: Given,
        groups: Given = None,
        *,
        reset: bool = False,
        weight_name: str = "sample_weight",
    ) -> Rows:
        """Checked rows, with the target not yet encoded.

        Parameters
        ----------
        X, y, weight, groups : as passed to fit
        reset : bool, default=False
            Whether the estimator learns the columns from X.
        weight_name : str, default="sample_weight"
            What the user calls the weights.
        """
        columns = read_columns(self.estimator, X, reset=reset)
        y = check_target(y, len(columns[0]), self.kind)
        weight = check_weight(weight, y, weight_name)
        if groups is not None:
            refuse_masks("groups", groups)
            groups = column_or_1d(groups)
            check_consistent_length(y, groups)
        return Rows(columns, y, weight, groups, table=TableRows(X) if self.keeps_table else None)
