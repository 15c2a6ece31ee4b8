"""Fit to a stream: learn from a sample, then encode all rows into a temporary file."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from sklearn_deepfm._common.fingerprint import fingerprint
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.encode import samples_of, with_mean_weight
from sklearn_deepfm._samples.rows import (
    Rows,
    check_target,
    weights_of_rows,
    without_zero_weights,
)
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._samples.table_rows import TableRows
from sklearn_deepfm._tables.stream import (
    Stream,
    as_list,
    concat_parts,
    is_stream,
    stream_like_fitted,
    take_rows,
)
from sklearn_deepfm._targets.regression import few_rows_like
from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.training_group import ALONE, TrainingGroup

IN_MEMORY = 2**16  # rows; a stream of at most so many is read whole and fitted as a table is
SAMPLE = 2**20  # rows; kinds of columns, bins and the base rate of classes come from these
MOST_HELD_OUT = 2**20  # rows; validation rows stay in memory


class NamedStream(NamedTuple):
    """A stream, the columns of its target, weights and groups, and the estimator that reads it.

    `weight_parameter` is the parameter of fit that names the weight column.
    """

    model: Any
    stream: Stream
    y: Any
    weight: Any
    weight_parameter: str = "sample_weight"
    groups: Any = None

    def parts(self) -> Iterator[Rows]:
        """All rows, part by part, with the target not yet encoded; weights may be 0."""
        for X, (y, weight, groups) in self.stream.parts(self.y, self.weight, self.groups):
            yield self._read(X, y, weight, groups)

    def sample(
        self, hold_out: "HoldOut", seed: int, n_rows: int, group: TrainingGroup
    ) -> tuple[Rows, np.ndarray]:
        """A random sample of the training rows of all processes, and a target with every class.

        Parameters
        ----------
        hold_out : HoldOut
        seed : int
        n_rows : int
            Number of rows of all processes.
        group : TrainingGroup

        Raises
        ------
        ValueError
            If no row has a positive weight.
        """
        share, random = SAMPLE / max(n_rows, 1), np.random.default_rng(seed)
        parts, labels = [], []
        for X, (y, weight) in self.stream.parts(self.y, self.weight):
            learns = hold_out.next_learn(len(y))
            if weight is not None:
                learns &= weight != 0
            # Classes come from all training rows: the sample may have no row of a rare one.
            if is_classifier(self.model) and y.ndim == 1:
                labels.append(pd.unique(y[learns]))
            chosen = np.flatnonzero(learns & (random.random(len(y)) < share))
            parts.append(
                (take_rows(X, chosen), y[chosen], None if weight is None else weight[chosen])
            )
        given = group.of_shards("sample", (parts, labels))
        parts, labels = ([*chain(*of_all)] for of_all in zip(*given, strict=True))
        tables, ys, weights = zip(*parts, strict=True) if parts else ([], [], [])
        if not sum(map(len, ys)):
            raise ValueError(
                f"The data set has no row, or none whose {self.weight_parameter} is positive, "
                f"which leaves nothing to learn from."
            )
        weight = None if self.weight is None else np.concatenate(weights)
        rows = self._read(concat_parts(tables), np.concatenate(ys), weight, reset=True)
        return rows, np.concatenate(labels) if labels else rows.y

    def amounts(self, hold_out: "HoldOut", group: TrainingGroup) -> Rows:
        """Few rows with the mean, deviation and extremes of y in all training rows.

        The target of the model is set. Nothing but y and weights is read.

        Parameters
        ----------
        hold_out : HoldOut
        group : TrainingGroup
        """
        few = []
        columns = Stream(self.stream.dataset, [])
        for _, (y, weight) in columns.parts(self.y, self.weight):
            learns = hold_out.next_learn(len(y))
            y = self.model._target.encode(check_target(self.model, y, [y]))
            if weight is not None:
                weight = weights_of_rows(weight, y, self.weight_parameter)
                learns &= weight != 0
                weight = weight[learns]
            if learns.any():
                few.append(few_rows_like(y[learns], weight))
        of_all = chain(*group.of_shards("amounts", few))
        ys, weights = zip(*of_all, strict=True)
        return Rows([], np.concatenate(ys), np.concatenate(weights))

    def _read(self, X: Any, y: Any, weight: Any, groups: Any = None, reset: bool = False) -> Rows:
        # The model would refuse weights that are all 0, as those of a part may be.
        rows: Rows = self.model._read(X, y, None, reset=reset, groups=groups)
        if weight is None:
            return rows
        return replace(rows, weight=weights_of_rows(weight, rows.y, self.weight_parameter))


class HoldOut:
    """Assigns held-out rows to members at random, for one part of the rows after the other.

    Parameters
    ----------
    fraction : float
        Share of the rows that each member holds out.
    n_members : int
    seed : int
        Equal seeds hold out equal rows, whatever the sizes of the parts.
    """

    def __init__(self, fraction: float, n_members: int, seed: int) -> None:
        self.n_members = n_members
        self._fraction = fraction
        self._random = np.random.default_rng(seed)

    def next(self, n: int) -> np.ndarray:
        """Number of the member that holds out each of the next rows, -1 for none."""
        drawn = self._random.random(n)
        if not self._fraction:
            return np.full(n, -1)
        # Each member has a stretch of [0, 1) of its own, so no two hold out the same row.
        member = np.floor(drawn / self._fraction).astype(np.int64)
        return np.where(member < self.n_members, member, -1)

    def next_learn(self, n: int) -> np.ndarray:
        """Whether each of the next rows is a training row, of any member."""
        held = self.next(n) >= 0
        # A row that one of several members holds out is a training row of the others.
        return ~held if self.n_members == 1 else np.full(n, True)


def buffer_rows(
    model: Any,
    named: NamedStream,
    fields: Fields,
    factors: Any,
    hold_out: HoldOut,
    buffer: DiskBuffer,
    group: TrainingGroup,
) -> tuple[Fields, list[Rows]]:
    """Encode the training rows into the disk buffer.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Its target is learned already.
    named : NamedStream
    fields : Fields
        Learned from the sample.
    factors : ndarray or None
        By which classes multiply weights.
    hold_out : HoldOut
    buffer : DiskBuffer
    group : TrainingGroup

    Returns
    -------
    fields : Fields
        With all codes that the training rows of all processes hold.
    held : list of Rows
        The rows held out in this process, with the target encoded.
    """
    # The rows of the sample come again, and must not count twice.
    fields, held = fields.without_counts(), []
    for rows in named.parts():
        rows = replace(rows, held_by=hold_out.next(len(rows)))
        rows = without_zero_weights(rows)
        rows = rows.with_target(model._target.encode(rows.y)).weighed(factors)
        is_held = rows.held_by >= 0
        if is_held.any():
            of_part = rows.take(np.flatnonzero(is_held))
            table = None if of_part.table is None else of_part.table.copied()
            held.append(replace(of_part, table=table))
        # With several members a held-out row stays, with weight 0 for the one that holds it out.
        if hold_out.n_members == 1:
            rows = replace(rows.take(np.flatnonzero(~is_held)), held_by=None)
        if len(rows):
            fields, _, _ = fields.grown(rows.columns, rows.weight)
            buffer.add(
                samples_of(rows, fields, model._target, model.n_members), fields.offsets_by_kind
            )
    if not len(buffer):
        raise ValueError("The data set of this process has no row to train with.")
    if not group.has_shards:
        buffer.finish(fields.offsets_by_kind)
        return fields, held
    # Each process has numbered the codes of its own rows: merge them into one table for all.
    given = group.of_shards("counts", (fields.to_plain(), buffer.total))
    first, *others = (Fields.of_plain(plain) for plain, _ in given)
    of_all = first.absorbing(others)
    buffer.finish(fields.offsets_by_kind, [total for _, total in given], fields.rows_in(of_all))
    return of_all, held


def fits_in_memory(stream: Stream, group: TrainingGroup) -> bool:
    """Whether a stream is small enough to be read whole and fitted as a table is."""
    n_rows = len(stream)
    if n_rows == 0:
        raise ValueError("The data set has no row, and a minimum of 1 is required.")
    return n_rows <= IN_MEMORY and not group.has_shards


def learn_stream(
    model: Any,
    named: NamedStream,
    validation: Any,
    random: np.random.RandomState,
    buffer: DiskBuffer,
    group: TrainingGroup,
) -> tuple[Samples | None, Rows | None]:
    """Learn target and fields of a stream, and encode its training rows into the disk buffer.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Its target and fields are set.
    named : NamedStream
    validation : tuple (X_val, y_val, sample_weight_val, groups_val)
    random : RandomState
    buffer : DiskBuffer
        Gets the training rows.
    group : TrainingGroup
        The processes that train together, each of which may have a shard of the rows.

    Returns
    -------
    samples : Samples or None
        The validation rows, if there are any.
    known : Rows or None
        Targets, weights and groups of the validation rows, for a scorer, and their table if it
        reads that.
    """
    seeds = [int(seed) for seed in random.randint(np.iinfo(np.int32).max, size=2)]
    if group.has_shards:
        group.compare("columns", _columns_of(named))
    n_rows = sum(group.of_shards("number of rows", len(named.stream)))
    share = 0.0 if validation[0] is not None else _share_held_out(model, n_rows)
    n_members = model.n_members if share else 1
    sample, labels = named.sample(HoldOut(share, n_members, seeds[0]), seeds[1], n_rows, group)
    model._start(sample.with_target(labels), model._target_class, random)
    sample = sample.with_target(model._target.encode(sample.y))
    factors = model._class_factors(sample, adds_up=False)
    sample = sample.weighed(factors)
    # Amounts can be rare, and all equal in the sample.
    is_whole = is_classifier(model) or n_rows <= SAMPLE
    of_all = sample if is_whole else named.amounts(HoldOut(share, n_members, seeds[0]), group)
    model._target.fit(of_all)
    fields = Fields(sample.columns, model._is_index, sample.weight, model.pooling, model.n_bins)
    # The same seed as for the sample: its rows must not be held out now.
    hold_out = HoldOut(share, n_members, seeds[0])
    model._fields, held = buffer_rows(model, named, fields, factors, hold_out, buffer, group)
    if validation[0] is not None:
        held = list(_rows_to_validate(model, validation, factors))
        if not held:
            raise no_row_to_validate()
        # X_val is the same in all processes: there is nothing to gather.
        return _validation_samples(model, held)
    return _validation_samples(model, held, group)


def no_row_to_validate() -> ValueError:
    """The error for a data set as X_val without a row that counts."""
    return ValueError(
        "X_val must have a row whose sample_weight_val is positive, and the data set has none. "
        "Check how its rows were selected, or leave X_val out."
    )


def refuse_with_streams(model: Any, groups: Any) -> None:
    """Refuse parameters that need all rows in memory.

    Raises
    ------
    ValueError
        If one of them is set.
    """
    if model.warm_start and hasattr(model, "net_"):
        raise ValueError(
            f"warm_start goes on with an earlier fit, which needs all rows in memory: a data set "
            f"of at most {IN_MEMORY}, not in shards. Call partial_fit with its parts, or fit a "
            f"clone."
        )
    if model.validation_split is not None or groups is not None:
        raise ValueError(
            f"validation_split and groups need all rows in memory: a data set of at most "
            f"{IN_MEMORY}, not in shards. Pass validation rows as X_val and y_val, or set "
            f"validation_split=None."
        )


def _share_held_out(model: Any, n_rows: int) -> float:
    """Share of the rows that each member holds out; those of all members fit in memory."""
    if not model.early_stopping:
        return 0.0
    most = MOST_HELD_OUT / (n_rows * model.n_members)
    return min(model.validation_fraction, most, 1 / max(model.n_members, 1))


def _rows_to_validate(model: Any, validation: Any, factors: Any) -> Iterator[Rows]:
    """The rows given as X_val, with the target encoded."""
    X, y, weight, groups = validation
    if is_stream(X):
        others = ("y_val", y), ("sample_weight_val", weight), ("groups_val", groups)
        stream = stream_like_fitted(model, X, *others)
        parts = NamedStream(model, stream, y, weight, "sample_weight_val", groups).parts()
    else:
        named = {"groups": groups, "weight_name": "sample_weight_val"}
        parts = iter([model._read(X, y, weight, reset=False, **named)])
    for rows in map(without_zero_weights, parts):
        if len(rows):
            yield rows.with_target(model._target.encode(rows.y)).weighed(factors)


def _validation_samples(
    model: Any, held: list[Rows], group: TrainingGroup = ALONE
) -> tuple[Samples | None, Rows | None]:
    """Validation rows of all processes as tensors, and what a scorer needs of them."""
    parts = [
        (samples_of(rows, model._fields, model._target, model.n_members, validates=True), rows)
        for rows in held
    ]
    own = [
        (samples.named_tensors(), rows.y, rows.weight, rows.groups, rows.table)
        for samples, rows in parts
    ]
    of_all = [*chain(*group.of_shards("held out", own))]
    if not of_all:
        return None, None
    tensors, ys, *others, tables = zip(*of_all, strict=True)
    weight, groups = (None if a[0] is None else np.concatenate(a) for a in others)
    samples = Samples.concatenate([Samples.of_named_tensors(named) for named in tensors])
    samples = with_mean_weight(samples).to(device_of(model.device))
    table = tables[0]
    if len(tables) > 1 and table is not None:
        table = TableRows(concat_parts([part.read() for part in tables]))
    return samples, Rows([], np.concatenate(ys), weight, groups, table=table)


def _columns_of(named: NamedStream) -> dict[str, str]:
    """Facts that must be the same in all shards of a data set."""
    stream = named.stream
    # `encode` is a method of the encoder. One fitted to each shard would give other codes there.
    encoder = getattr(stream.encode, "__self__", None)
    facts = {
        "y": repr(named.y),
        named.weight_parameter: repr(named.weight),
        "columns of X": str(stream.names),
        "types of X": str([str(stream.dataset.schema.field(name).type) for name in stream.names]),
        "the encoder": "none" if encoder is None else fingerprint(encoder.__getstate__()),
    }
    for what, names in (("y", named.y), (named.weight_parameter, named.weight)):
        types = [str(stream.dataset.schema.field(name).type) for name in as_list(names)]
        facts[f"the type of {what}"] = str(types)
    return facts
