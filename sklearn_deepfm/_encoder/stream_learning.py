"""Learning of fields from a stream: categories counted in all rows, bins cut on a sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sklearn_deepfm._encoder.binning import as_floats
from sklearn_deepfm._encoder.category_lists import CategoryLists
from sklearn_deepfm._encoder.column_specs import ColumnSpec, column_specs_of
from sklearn_deepfm._encoder.field import EncoderField, EncoderParameters
from sklearn_deepfm._encoder.field_types import learn_categories, learn_field, learn_members
from sklearn_deepfm._encoder.vocabulary import Counts
from sklearn_deepfm._tables.columns import Column, ListColumn
from sklearn_deepfm._tables.stream import Stream
from sklearn_deepfm._tables.table import Columns, read_table

SAMPLE = 2**20  # quantiles are taken from about so many rows
_MOST_PENDING = 2**20  # values in the counts of parts that wait to be added up


def learn_fields_of_stream(
    encoder: EncoderParameters, stream: Stream
) -> tuple[list[ColumnSpec], list[EncoderField], int]:
    """Learn the fields of a stream; returns their specs, the fields and the number of rows.

    Raises
    ------
    ValueError, TypeError
        As `fit` does for a table.
    """
    specs = column_specs_of(encoder, stream.names)
    types = [stream.dataset.schema.field(name).type for name in stream.names]
    learners = [_Learner(spec, types[spec.position]) for spec in specs]
    # A fixed seed: the encoder has no random_state, and must learn the same of the same rows.
    share, random, n_rows = min(1.0, SAMPLE / max(len(stream), 1)), np.random.default_rng(0), 0
    for table, _ in stream.parts():
        columns = Columns(read_table(table))
        is_sampled = random.random(len(table)) < share
        for learner in learners:
            learner.add(columns, is_sampled)
        n_rows += len(table)
    if n_rows == 0:
        raise ValueError("X has 0 rows, a minimum of 1 is required.")
    return specs, [learner.field(encoder, n_rows) for learner in learners], n_rows


class _Learner:
    """Gathers what a field is learned from: counts of categories, and a sample of quantities.

    A column of floats or decimals is one of categories as long as all are whole, which only the
    last part can tell: until then both are gathered.
    """

    def __init__(self, spec: ColumnSpec, type_: pa.DataType) -> None:
        self._spec, self._type = spec, type_
        # Of the last part that has values, if any has.
        self._column: Column | ListColumn = Column(spec.position, None, pa.nulls(0))
        self._is_quantity = False
        self._counts: list[Counts] = []
        self._most = _MOST_PENDING
        self._sample: list[pa.Array] = []

    def add(self, columns: Columns, is_sampled: np.ndarray) -> None:
        """Count categories, and keep the quantities of a sample of the rows."""
        read = self._spec.read(columns)
        column = self._spec.as_field(read)
        if self._column.kind is None or column.kind is not None:
            self._column = column
        if column.kind is None:
            return
        if column.holds_lists or column.cells.is_encoded():
            self._count(Counts.of(column.cells))
        else:
            self._is_quantity = True
            as_floats(column.cells)  # only to raise for infinity, in rows out of the sample too
        if not read.holds_lists and self._may_be_quantity():
            self._sample.append(read.cells.values.filter(pa.array(is_sampled)))

    def _count(self, counts: Counts) -> None:
        """Keep the counts of a part, and add up all counts when they hold many values."""
        self._counts = [] if self._is_quantity else [*self._counts, counts]
        if sum(len(counts.values) for counts in self._counts) > self._most:
            self._counts = [Counts.total(self._counts)]
            # The limit grows with the counts, or they would be added up anew at every part.
            self._most = 2 * len(self._counts[0].values) + _MOST_PENDING

    def _may_be_quantity(self) -> bool:
        if self._spec.selected_by is not None:
            return self._spec.selected_by == "numeric_features"
        types, type_ = pa.types, self._type
        return types.is_floating(type_) or types.is_temporal(type_) or types.is_decimal(type_)

    def field(self, encoder: EncoderParameters, n_rows: int) -> EncoderField:
        """Learn the field from all parts."""
        column = self._column
        if self._is_quantity:
            sample = Column(column.name, column.kind, _joined(self._sample))
            return learn_field(encoder, sample, self._spec, n_rows)
        counts = Counts.total(self._counts) if self._counts else Counts.of(column.cells)
        if column.holds_lists:
            return CategoryLists(learn_members(encoder, counts, self._spec, n_rows))
        return learn_categories(encoder, counts, self._spec, n_rows)


def _joined(parts: list[pa.Array]) -> pa.Array:
    """Quantities of all parts; where decimals of one part are whole, they are integers there."""
    if len({part.type for part in parts}) > 1:
        parts = [part.cast(pa.float64(), safe=False) for part in parts]
    return pa.concat_arrays(parts)
