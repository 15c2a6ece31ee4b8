"""Streams whose columns have their parts in a fit, and which of their rows are held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from sklearn_deepfm._common.fingerprint import fingerprint
from sklearn_deepfm._estimators.fit_data import Given, Reader
from sklearn_deepfm._samples.rows import Rows, check_target, weights_of_rows
from sklearn_deepfm._tables.stream import Stream, as_list, concat_parts, take_rows
from sklearn_deepfm._targets.regression import few_rows_like
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.training_group import TrainingGroup


class NamedStream(NamedTuple):
    """A stream, the columns of its target, weights and groups, and what reads its parts.

    `weight_parameter` is the parameter of fit that names the weight column.
    """

    reader: Reader
    stream: Stream
    y: Given
    weight: Given
    weight_parameter: str = "sample_weight"
    groups: Given = None

    def parts(self) -> Iterator[Rows]:
        """All rows, part by part, with the target not yet encoded; weights may be 0."""
        for X, (y, weight, groups) in self.stream.parts(self.y, self.weight, self.groups):
            yield self._read(X, y, weight, groups)

    def sample(
        self, hold_out: HoldOut, seed: int, share: float, group: TrainingGroup
    ) -> tuple[Rows, np.ndarray]:
        """A random sample of the training rows of all processes, and a target with every class.

        Parameters
        ----------
        hold_out : HoldOut
        seed : int
        share : float
            Share of the rows to take.
        group : TrainingGroup

        Raises
        ------
        ValueError
            If no row has a positive weight.
        """
        random = np.random.default_rng(seed)
        parts, labels = [], []
        for X, (y, weight) in self.stream.parts(self.y, self.weight):
            learns = hold_out.next_learn(len(y))
            if weight is not None:
                learns &= weight != 0
            # Classes come from all training rows: the sample may have no row of a rare one.
            if is_classifier(self.reader.estimator) and y.ndim == 1:
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

    def amounts(self, target: Target, hold_out: HoldOut, group: TrainingGroup) -> Rows:
        """Few rows with the mean, deviation and extremes of y in all training rows.

        Nothing but y and weights is read.

        Parameters
        ----------
        target : Target
        hold_out : HoldOut
        group : TrainingGroup
        """
        few = []
        columns = Stream(self.stream.dataset, [])
        for _, (y, weight) in columns.parts(self.y, self.weight):
            learns = hold_out.next_learn(len(y))
            y = target.encode(check_target(y, len(y), self.reader.kind))
            if weight is not None:
                weight = weights_of_rows(weight, y, self.weight_parameter)
                learns &= weight != 0
                weight = weight[learns]
            if learns.any():
                few.append(few_rows_like(y[learns], weight))
        of_all = chain(*group.of_shards("amounts", few))
        ys, weights = zip(*of_all, strict=True)
        return Rows([], np.concatenate(ys), np.concatenate(weights))

    def facts(self) -> dict[str, str]:
        """Facts that must be the same in all shards of a data set."""
        stream = self.stream
        # `encode` is a method of the encoder. One fitted to each shard would give other codes.
        encoder = getattr(stream.encode, "__self__", None)
        facts = {
            "y": repr(self.y),
            self.weight_parameter: repr(self.weight),
            "columns of X": str(stream.names),
            "types of X": str(self._types(stream.names)),
            "the encoder": "none" if encoder is None else fingerprint(encoder.__getstate__()),
        }
        for what, names in (("y", self.y), (self.weight_parameter, self.weight)):
            facts[f"the type of {what}"] = str(self._types(as_list(names)))
        return facts

    def _types(self, names: Sequence[str]) -> list[str]:
        return [str(self.stream.dataset.schema.field(name).type) for name in names]

    def _read(
        self,
        X: Given,
        y: np.ndarray,
        weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        *,
        reset: bool = False,
    ) -> Rows:
        # The reader would refuse weights that are all 0, as those of a part may be.
        rows = self.reader.read(X, y, None, groups, reset=reset)
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
