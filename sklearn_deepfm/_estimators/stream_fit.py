"""Streams to fit to: learn from a sample, then encode all rows into a temporary file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TypeAlias

import numpy as np
from sklearn.base import is_classifier

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._estimators.fit_data import FitData, HoldingOut, Labels, Reader, Validation
from sklearn_deepfm._estimators.named_stream import HoldOut, NamedStream
from sklearn_deepfm._estimators.table_fit import Encoded, no_row_to_validate
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.pooling import FieldKinds
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.rows import Rows, without_zero_weights
from sklearn_deepfm._samples.samples import Samples, samples_of, with_mean_weight
from sklearn_deepfm._samples.table_rows import TableRows
from sklearn_deepfm._tables.stream import (
    concat_parts,
    is_stream,
    stream_like_fitted,
    stream_to_fit,
)
from sklearn_deepfm._training.training_group import ALONE, TrainingGroup

# Target, weights, groups and table of some rows.
_Facts: TypeAlias = tuple[np.ndarray, np.ndarray | None, np.ndarray | None, TableRows | None]

IN_MEMORY = 2**16  # rows; a stream of at most so many is read whole and fitted as a table is
SAMPLE = 2**20  # rows; kinds of columns, bins and the base rate of classes come from these
MOST_HELD_OUT = 2**20  # rows; validation rows stay in memory


class StreamFit:
    """The rows of a stream, step by step from cells to tensors on disk; as :class:`TableFit`.

    Parameters
    ----------
    reader : Reader
    data : FitData
        With a stream as X.
    holding_out : HoldingOut
    device : str
        Where batches go.
    group : TrainingGroup
        The processes that train together, each of which may have a shard of the rows.
    """

    def __init__(
        self,
        reader: Reader,
        data: FitData,
        holding_out: HoldingOut,
        device: str,
        group: TrainingGroup,
    ) -> None:
        self._named = NamedStream(reader, data.X, data.y, data.weight)
        self._holding_out, self._device, self._group = holding_out, device, group
        self._held: list[Rows] = []

    def __enter__(self) -> StreamFit:
        self._buffer = DiskBuffer(self._device)
        return self

    def __exit__(self, *of_error: object) -> None:
        self._buffer.__exit__(*of_error)

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def n_rows_in_all(self) -> int:
        """Number of training rows of all processes."""
        return self._buffer.n_rows_in_all

    def sample(self, random: np.random.RandomState) -> Rows:
        """Rows that tell classes and kinds of columns: a random sample, with every label."""
        seeds = [int(seed) for seed in random.randint(np.iinfo(np.int32).max, size=2)]
        if self._group.has_shards:
            self._group.compare("columns", self._named.facts())
        self._n_rows = sum(self._group.of_shards("number of rows", len(self._named.stream)))
        share = _share_held_out(self._holding_out, self._n_rows)
        # The same seed for each pass over the rows, as each has to hold out the same ones.
        self._n_holders = self._holding_out.n_members if share else 1
        self._new_hold_out = partial(HoldOut, share, self._n_holders, seeds[0])
        sampled, hold_out = SAMPLE / max(self._n_rows, 1), self._new_hold_out()
        self._sample, labels = self._named.sample(hold_out, seeds[1], sampled, self._group)
        return self._sample.with_target(labels)

    def divide(self, labels: Labels, seed: int) -> None:
        """Encode the target of the sample; rows are held out when they are buffered."""
        self._labels = labels
        sample = labels.encoded(self._sample)
        self._factors = labels.factors_of(sample)
        self._sample = sample.weighed(self._factors)

    def of_target(self) -> Rows:
        """Rows that the target is learned from."""
        # Amounts can be rare, and all equal in the sample.
        if is_classifier(self._named.reader.estimator) or self._n_rows <= SAMPLE:
            return self._sample
        return self._named.amounts(self._labels.target, self._new_hold_out(), self._group)

    @property
    def valid_columns(self) -> None:
        """Nothing: validation rows are in parts."""
        return None

    def to_learn_from(self) -> Rows:
        """Rows that kinds of fields are learned from, with the target encoded: the sample."""
        return self._sample

    def learn_fields(self, kinds: FieldKinds, pooling: str, n_bins: int | str | None) -> Fields:
        """The fields of all training rows, which are encoded into the disk buffer."""
        fields = Fields(self._sample.columns, kinds, self._sample.weight, pooling, n_bins)
        del self._sample  # many rows, which nobody reads any more
        # The rows of the sample come again, and must not count twice.
        fields = self._buffer_rows(fields.without_counts())
        if not self._group.has_shards:
            self._buffer.finish(fields.offsets_by_kind)
            return fields
        # Each process has numbered the codes of its own rows: merge them into one table for all.
        given = self._group.of_shards("counts", (fields.to_plain(), self._buffer.total))
        first, *others = (Fields.of_plain(plain) for plain, _ in given)
        of_all: Fields = first.absorbing(others)
        totals = [total for _, total in given]
        self._buffer.finish(fields.offsets_by_kind, totals, fields.rows_in(of_all))
        return of_all

    def _buffer_rows(self, fields: Fields) -> Fields:
        """Encode the training rows into the buffer; returns fields with all their codes."""
        hold_out = self._new_hold_out()
        for part in self._named.parts():
            rows = without_zero_weights(replace(part, held_by=hold_out.next(len(part))))
            rows = self._divided(self._labels.encoded(rows).weighed(self._factors))
            if len(rows):
                fields, _, _ = fields.grown(rows.columns, rows.weight)
                self._buffer.add(self._samples(rows, fields), fields.offsets_by_kind)
        if not len(self._buffer):
            raise ValueError("The data set of this process has no row to train with.")
        return fields

    def _divided(self, rows: Rows) -> Rows:
        """The training rows of a part; those held out are kept in memory."""
        held_by = rows.held_by
        assert held_by is not None
        is_held = held_by >= 0
        if is_held.any():
            held = rows.take(np.flatnonzero(is_held))
            table = None if held.table is None else held.table.copied()
            self._held.append(replace(held, table=table))
        if self._n_holders > 1:
            # A held-out row stays, with weight 0 for the one that holds it out.
            return rows
        return replace(rows.take(np.flatnonzero(~is_held)), held_by=None)

    def _samples(self, rows: Rows, fields: Fields, *, validates: bool = False) -> Samples:
        n_members = self._holding_out.n_members
        return samples_of(rows, fields, self._labels.target, n_members, validates=validates)

    def encoded(self, labels: Labels, fields: Fields, device: str) -> Encoded:
        """The buffer, and the validation rows as tensors in memory."""
        held, group, self._held = self._held, self._group, []
        if self._holding_out.validation.X is not None:
            held = list(self._given(self._holding_out.validation))
            if not held:
                raise no_row_to_validate()
            group = ALONE  # X_val is the same in all processes: there is nothing to gather
        own = [
            (
                self._samples(rows, fields, validates=True).named_tensors(),
                (rows.y, rows.weight, rows.groups, rows.table),
            )
            for rows in held
        ]
        of_all = [*chain(*group.of_shards("held out", own))]
        if not of_all:
            return Encoded(self._buffer, None, None)
        samples = Samples.concatenate([Samples.of_named_tensors(tensors) for tensors, _ in of_all])
        valid = with_mean_weight(samples).to(device)
        return Encoded(self._buffer, valid, _joined([facts for _, facts in of_all]))

    def _given(self, validation: Validation) -> Iterator[Rows]:
        """The rows passed as X_val, with the target encoded."""
        X, y, weight, groups = validation
        reader = self._named.reader
        if is_stream(X):
            others = ("y_val", y), ("sample_weight_val", weight), ("groups_val", groups)
            stream = stream_like_fitted(reader.estimator, X, *others)
            parts = NamedStream(reader, stream, y, weight, "sample_weight_val", groups).parts()
        else:
            parts = iter([reader.read(X, y, weight, groups, weight_name="sample_weight_val")])
        for rows in map(without_zero_weights, parts):
            if len(rows):
                yield self._labels.encoded(rows).weighed(self._factors)


def in_memory_if_small(data: FitData, group: TrainingGroup) -> FitData:
    """The data with a stream as X only if that is too large to be read whole, or a shard."""
    if not is_stream(data.X):
        if group.has_shards:
            raise ValueError(
                f"distributed='shards' needs a pyarrow.dataset.Dataset as X, of the "
                f"rows of this process, got a {type(data.X).__name__}. Make one by "
                f"pyarrow.dataset.dataset(table), or set distributed=True and give all processes "
                f"the same rows."
            )
        return data
    stream = stream_to_fit(data.X, ("y", data.y), ("sample_weight", data.weight))
    for note in stream.notes:
        warn_user(note)
    n_rows = len(stream)
    if n_rows == 0:
        raise ValueError("The data set has no row, and a minimum of 1 is required.")
    if group.has_shards or n_rows > IN_MEMORY:
        return replace(data, X=stream)
    X, (y, weight) = stream.whole(data.y, data.weight)
    return replace(data, X=X, y=y, weight=weight)


def refuse_with_streams(*, goes_on: bool, is_split: bool) -> None:
    """Refuse what needs all rows in memory.

    Parameters
    ----------
    goes_on : bool
        Whether the fit goes on with an earlier one.
    is_split : bool
        Whether `validation_split` or groups are given.

    Raises
    ------
    ValueError
        If either is asked for.
    """
    if goes_on:
        raise ValueError(
            f"warm_start goes on with an earlier fit, which needs all rows in memory: a data set "
            f"of at most {IN_MEMORY}, not in shards. Call partial_fit with its parts, or fit a "
            f"clone."
        )
    if is_split:
        raise ValueError(
            f"validation_split and groups need all rows in memory: a data set of at most "
            f"{IN_MEMORY}, not in shards. Pass validation rows as X_val and y_val, or set "
            f"validation_split=None."
        )


def _share_held_out(holding_out: HoldingOut, n_rows: int) -> float:
    """Share of the rows that each member holds out; those of all members fit in memory."""
    if holding_out.validation.X is not None or not holding_out.early_stopping:
        return 0.0
    n_members = holding_out.n_members
    most = MOST_HELD_OUT / (n_rows * n_members)
    return min(holding_out.validation_fraction, most, 1 / max(n_members, 1))


def _joined(parts: list[_Facts]) -> Rows:
    """Rows of several parts as a scorer reads them: target, weight, groups and table."""
    ys, *others, tables = zip(*parts, strict=True)
    weight, groups = (None if a[0] is None else np.concatenate(a) for a in others)
    table = tables[0]
    if len(tables) > 1 and table is not None:
        table = TableRows(concat_parts([part.read() for part in tables]))
    return Rows([], np.concatenate(ys), weight, groups, table=table)
