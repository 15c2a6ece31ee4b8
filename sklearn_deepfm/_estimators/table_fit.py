"""Rows in memory to fit to: which of them train, which validate, and both as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_deepfm._estimators.fit_data import FitData, HoldingOut, Labels, Reader, Validation
from sklearn_deepfm._fields.field import AnyColumn
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.pooling import FieldKinds
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.rows import (
    Rows,
    hold_out,
    merge_repeats,
    split_by,
    without_zero_weights,
)
from sklearn_deepfm._samples.samples import Samples, samples_of, with_mean_weight
from sklearn_deepfm._tables.stream import is_stream, stream_like_fitted
from sklearn_deepfm._training.defaults import STOPS_FROM


class Encoded(NamedTuple):
    """Training and validation rows as tensors, and the validation rows as a scorer reads them."""

    train: Samples | DiskBuffer
    valid: Samples | None
    scored: Rows | None


class TableFit:
    """The rows of a table, step by step from cells to tensors.

    A fit calls `sample`, if it is from scratch, then `divide`, `of_target` and `learn_fields` or,
    where it goes on, `train`, and last `encoded`.

    Parameters
    ----------
    reader : Reader
    data : FitData
    holding_out : HoldingOut
    reset : bool
        Whether the columns are learned from these rows.
    """

    def __init__(
        self, reader: Reader, data: FitData, holding_out: HoldingOut, *, reset: bool
    ) -> None:
        self._reader, self._holding_out = reader, holding_out
        self.train = reader.read(data.X, data.y, data.weight, data.groups, reset=reset)
        self.valid: Rows | None = None

    def __enter__(self) -> TableFit:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def __len__(self) -> int:
        return len(self.train)

    @property
    def n_rows_in_all(self) -> int:
        """Number of training rows; all processes have the same ones."""
        return len(self.train)

    def sample(self, random: np.random.RandomState) -> Rows:
        """Rows that tell classes and kinds of columns: all whose weight is not 0."""
        return without_zero_weights(self.train)

    def divide(self, labels: Labels, seed: int) -> None:
        """Encode the target, and divide the rows into those that train and those that validate."""
        self._split(seed)
        rows = merge_repeats(labels.encoded(self.train))
        factors = labels.factors_of(rows)
        self.train = rows.weighed(factors)
        given = self._given(self._holding_out.validation)
        if given is not None:
            self.valid = given
        if self.valid is not None:
            self.valid = labels.encoded(self.valid).weighed(factors)
        elif self._holding_out.early_stopping:
            self._hold_out(stratify=labels.target.is_class, seed=seed)

    def _split(self, seed: int) -> None:
        """Divide by `validation_split`, if validation rows are wanted and none are given."""
        wanted = self._holding_out
        splitter = wanted.validation_split
        if splitter is None or wanted.validation.X is not None or wanted.early_stopping is False:
            self.train = without_zero_weights(self.train)
        else:
            # A splitter may go by positions, so it gets the rows of weight 0 too.
            self.train, self.valid = split_by(splitter, self.train, seed)

    def _given(self, validation: Validation) -> Rows | None:
        """The rows passed as X_val, if there are any."""
        X, y, weight, groups = validation
        if X is None:
            return None
        if is_stream(X):
            named = ("y_val", y), ("sample_weight_val", weight), ("groups_val", groups)
            stream = stream_like_fitted(self._reader.estimator, X, *named)
            if not len(stream):
                raise no_row_to_validate()
            X, (y, weight, groups) = stream.whole(y, weight, groups)
        read = self._reader.read(X, y, weight, groups, weight_name="sample_weight_val")
        return without_zero_weights(read)

    def _hold_out(self, *, stratify: bool, seed: int) -> None:
        """Hold rows out at random."""
        wanted = self._holding_out
        stops = wanted.early_stopping
        self.train, self.valid = hold_out(
            self.train,
            wanted.validation_fraction,
            np.random.RandomState(seed),
            stratify=stratify,
            n_members=wanted.n_members,
            least=STOPS_FROM if stops == "auto" else 0,
        )
        if self.valid is None and stops != "auto":
            raise ValueError(
                f"early_stopping={stops!r} needs a row to hold out, got {len(self.train)} distinct "
                f"rows, each of which its class needs for training. Set early_stopping=False, "
                f"or pass validation rows as X_val and y_val."
            )

    def of_target(self) -> Rows:
        """Rows that the target is learned from."""
        return self.train

    @property
    def valid_columns(self) -> Sequence[AnyColumn] | None:
        """The columns of the validation rows, if there are any."""
        return None if self.valid is None else self.valid.columns

    def to_learn_from(self) -> Rows:
        """Rows that the fields are learned from, with the target encoded."""
        return self.train

    def learn_fields(self, kinds: FieldKinds, pooling: str, n_bins: int | str | None) -> Fields:
        """The fields of the training rows."""
        return Fields(self.train.columns, kinds, self.train.weight, pooling, n_bins)

    def encoded(self, labels: Labels, fields: Fields, device: str) -> Encoded:
        """The rows as tensors; weights get the mean 1, so that their scale has no effect."""
        n_members = self._holding_out.n_members

        def tensors(rows: Rows, validates: bool) -> Samples:
            samples = samples_of(rows, fields, labels.target, n_members, validates=validates)
            return with_mean_weight(samples).to(device)

        valid = None if self.valid is None else tensors(self.valid, True)
        return Encoded(tensors(self.train, False), valid, self.valid)


def no_row_to_validate() -> ValueError:
    """The error for a data set as X_val without a row that counts."""
    return ValueError(
        "X_val must have a row whose sample_weight_val is positive, and the data set has none. "
        "Check how its rows were selected, or leave X_val out."
    )
