"""The fields of an estimator as nodes of an ONNX graph: from codes and numbers to embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

import numpy as np
import pandas as pd

from sklearn_deepfm._fields.field import Field
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.index_field import UNSEEN_ROW, IndexField
from sklearn_deepfm._fields.list_field import ListField
from sklearn_deepfm._fields.numeric_field import NumericField
from sklearn_deepfm._fields.pooled_field import PooledField
from sklearn_deepfm._onnx.graph import (
    DOUBLE,
    FLOAT,
    INT64,
    MISSING_MEMBER,
    NAT,
    STRING,
    Graph,
    Tensor,
    missing_string_is_category,
)


class FieldNodes:
    """Turns the columns of an estimator's input into rows of its table.

    Parameters
    ----------
    graph : Graph
    fields : Fields
    table : ndarray of shape (n_features, width)
    missing_string : str
        Sent in place of a missing string.
    """

    def __init__(self, graph: Graph, fields: Fields, table: np.ndarray, missing_string: str):
        self.graph, self._fields, self._missing_string = graph, fields, missing_string
        self._values, self._table = table, graph.constant(table)
        self.cells: list[str] = []  # table rows of each index and numeric field
        self.scores: dict[int, str] = {}  # scores of numeric fields, by their position in `cells`
        self.lists: list[str] = []  # pooled table rows of each list field

    def rows(self, columns: list[Tensor]) -> str:
        """First-order weights and embeddings of each field, (n, n_fields, width)."""
        parts = iter(columns)
        for field, offset in zip(self._fields, self._fields.offsets, strict=True):
            column = next(parts, None)
            if column is None:
                raise _wrong_number(columns, self._fields)
            # A list field takes a further column from `parts`, that of its weights.
            add_field(field, self, int(offset), column, parts)
        if next(parts, None) is not None:
            raise _wrong_number(columns, self._fields)
        return self._beside_lists()

    def rows_of_matrix(self, codes: str) -> str:
        """The same as `rows`, for a matrix of int64 codes whose fields all have dense codes."""
        graph, maps = self.graph, self._fields.lookups
        # A code outside of a field's range goes to the first or last entry, that of unseen codes.
        place = graph("Add", codes, maps.shift[np.newaxis])
        place = graph("Max", place, maps.first[np.newaxis])
        place = graph("Min", place, maps.last[np.newaxis])
        index = graph("Gather", maps.entries.astype(np.int64), place)
        rows = graph("Gather", self._table, index)
        if not len(maps.with_values):
            return rows
        return self._plus_slopes(rows, graph("Gather", maps.values, place))

    def shifted(self, rows: str, offset: int) -> str:
        """Rows of the table, from local rows of a field that begins at `offset`."""
        return self.graph("Add", rows, np.array(offset, np.int64)) if offset else rows

    def _beside_lists(self) -> str:
        """Rows of all fields in the order of the network, where list fields come last."""
        graph, parts = self.graph, []
        if self.cells:
            index = graph("Concat", *self.cells, axis=1) if len(self.cells) > 1 else self.cells[0]
            rows = graph("Gather", self._table, index)
            parts.append(self._with_slopes(rows) if self.scores else rows)
        parts += self.lists
        return graph("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def _with_slopes(self, rows: str) -> str:
        """Rows of bins plus, for numeric fields, score times slope: u_k + z * v."""
        n_cells = len(self.cells)
        # Zeros for the other fields, so that one product and one sum serve all of them.
        place = np.zeros((len(self.scores), n_cells), np.float32)
        for k, cell in enumerate(self._fields.slopes):
            place[k, cell] = 1
        scores = self.graph("Concat", *self.scores.values(), axis=1)
        return self._plus_slopes(rows, self.graph("MatMul", scores, place))

    def _plus_slopes(self, rows: str, scores: str) -> str:
        """Rows plus the score of each cell (n, n_cells), 0 for some fields, times its slope."""
        n_cells = len(self._fields.offsets_by_kind.cells)
        slopes = np.zeros((n_cells, self._values.shape[1]), self._values.dtype)
        for cell, row in self._fields.slopes.items():
            slopes[cell] = self._values[row]
        scores = self.graph("Unsqueeze", scores, np.array([2]))
        return self.graph("Add", rows, self.graph("Mul", scores, slopes[np.newaxis]))

    def local_rows(self, field: IndexField, column: Tensor) -> str:
        """Table row of each cell, counted from the first of the field, int64."""
        if field.categories is not None:
            return self._rows_of_categories(field, field.categories, column)
        if column.type == STRING or (column.is_list and column.type != INT64):
            raise ValueError(
                f"Column {field.name!r} held codes in fit, and the input of the ONNX file would "
                f"hold strings or lists of floats. Declare it as int64, or as float64 if single "
                f"cells may be missing."
            )
        return self._rows_of_numbers(field, column, field.codes, field.rows)

    def _rows_of_categories(self, field: IndexField, of_type: pd.Index, column: Tensor) -> str:
        # A categorical dtype may name categories that fit saw in no row.
        rows = field.rows_of_index(of_type)
        categories = of_type[rows != UNSEEN_ROW]
        rows = rows[rows != UNSEEN_ROW]
        kind = "string" if column.type == STRING else "integer"
        if len(categories):
            kind = pd.api.types.infer_dtype(categories)
        if kind not in ("string", "integer", "boolean"):
            raise ValueError(
                f"Column {field.name!r} holds categories of type {kind!r}; ONNX can look up "
                f"strings and whole numbers alone. Encode the table with OrdinalFieldEncoder."
            )
        if (kind == "string") != (column.type == STRING):
            raise ValueError(
                f"Column {field.name!r} held categories of type {kind!r} in fit, and the input of "
                f"the ONNX file would hold another. Declare it as the type it had."
            )
        if kind != "string":
            order = np.argsort(categories.astype(np.int64))
            codes = categories.astype(np.int64).to_numpy()[order]
            return self._rows_of_numbers(field, column, codes, rows[order])
        if self._missing_string in categories:
            raise missing_string_is_category(self._missing_string, field.name)
        keys = [*categories, self._missing_string]
        return self.graph.look_up(column.name, keys, [*rows, field.missing_row], UNSEEN_ROW)

    def _rows_of_numbers(
        self, field: IndexField, column: Tensor, codes: np.ndarray, rows: np.ndarray
    ) -> str:
        # In lists two numbers stand for the filler, whose weight is 0, and for a missing member.
        special = {NAT: UNSEEN_ROW, MISSING_MEMBER: field.missing_row} if column.is_list else {}
        return self.graph.look_up_numbers(
            field.name, column, codes, rows, UNSEEN_ROW, field.missing_row, special
        )

    def bin_and_score(self, field: NumericField, column: Tensor) -> tuple[str, str]:
        """Table row of each cell, counted from the first of the field, and its normal score."""
        graph = self.graph
        if column.type == STRING:
            raise ValueError(
                f"Column {field.name!r} held numbers in fit, and the input of the ONNX file would "
                f"hold strings. Declare it as float64."
            )
        x, is_missing = graph.finite(graph.cast(column, DOUBLE))
        edges = np.empty(0) if field.edges is None else field.edges
        place, scores = graph.count_not_above(x, edges), self._interpolated(field, x)
        if isinstance(field, PooledField) and field.edges is not None:
            rows = graph("Gather", field.rows_at.astype(np.int64), place)
            factors = graph("Gather", field.has_score.astype(np.float64), place)
            scores = graph("Mul", scores, factors)
        else:
            first = 0 if isinstance(field, PooledField) else field.first_bin
            rows = graph("Add", place, np.array(int(first)))
        rows = graph("Where", is_missing, np.array(int(field.missing_row)), rows)
        scores = graph("Where", is_missing, np.array(0.0), scores)
        return rows, graph("Cast", scores, to=FLOAT)

    def _interpolated(self, field: NumericField, x: str) -> str:
        """Normal scores, interpolated between the knots as by np.interp."""
        graph, knots, scores = self.graph, field.knots, field.scores
        if len(knots) < 2:
            constant = scores[0] if len(scores) else 0.0  # in the shape of x, by adding 0 * x
            return graph("Add", graph("Mul", x, np.array(0.0)), np.array(constant))
        slopes = np.diff(scores) / np.diff(knots)
        piece = graph.count_not_above(x, knots[1:-1])
        # Beyond the knots numbers count as the ends: products of outliers have no bound.
        x = graph("Max", graph("Min", x, knots[-1:]), knots[:1])
        beyond = graph("Sub", x, graph("Gather", knots, piece))
        return graph(
            "Add",
            graph("Mul", graph("Gather", slopes, piece), beyond),
            graph("Gather", scores, piece),
        )

    def pooled(self, field: ListField, offset: int, codes: Tensor, parts: Iterator[Tensor]) -> str:
        """Weighted sum, or mean, of the table rows of each list's members, (n, 1, width)."""
        graph = self.graph
        rows = self.shifted(self.local_rows(field, codes), offset)
        is_member = graph("Not", graph("Equal", graph.cast(codes, INT64), np.array(NAT)))
        ones = graph("Cast", is_member, to=FLOAT)
        n_members = graph("ReduceSum", ones, np.array([1]), keepdims=1)
        if field.has_weights:
            weights = graph("Cast", graph.weights(next(parts)), to=FLOAT)
            weights = graph("Where", is_member, weights, np.zeros((), np.float32))
            total = graph("ReduceSum", weights, np.array([1]), keepdims=1)
        else:
            weights, total = ones, n_members
        if field.pooling == "mean":
            if field.has_weights:  # predict refuses negative ones; a file can only give NaN
                is_negative = graph("Less", weights, np.zeros((), np.float32))
                weights = graph("Where", is_negative, np.array(np.nan, np.float32), weights)
            # A list whose weights are all 0 contributes nothing.
            is_some = graph("Greater", total, np.zeros(1, np.float32))
            total = graph("Where", is_some, total, np.ones(1, np.float32))
            weights = graph("Div", weights, total)
        rows = graph("Gather", self._table, rows)  # (n, length of the longest list, width)
        rows = graph("Mul", rows, graph("Unsqueeze", weights, np.array([2])))
        pooled = graph("ReduceSum", rows, np.array([1]), keepdims=1)
        is_empty = graph("Equal", n_members, np.zeros(1, np.float32))
        # Empty lists have a table row of their own.
        empty = self._values[[[offset + field.empty_row]]]  # (1, 1, width)
        return graph("Where", graph("Unsqueeze", is_empty, np.array([2])), empty, pooled)


@singledispatch
def has_weights(field: Field) -> bool:
    """Whether a further input holds the weights of a field's members: no, if not registered."""
    return False


@has_weights.register
def _(field: ListField) -> bool:
    return bool(field.has_weights)


@singledispatch
def add_field(
    field: Field, nodes: FieldNodes, offset: int, column: Tensor, others: Iterator[Tensor]
) -> None:
    """Add the nodes of one kind of field.

    Parameters
    ----------
    field : IndexField, NumericField or ListField
    nodes : FieldNodes
        Receives the outputs of the nodes.
    offset : int
        First row of the field in the table.
    column : Tensor
    others : iterator of Tensor
        The columns after it; a list field takes its weights from the first of them.
    """
    raise NotImplementedError(f"an estimator's field of type {type(field).__name__}")


@add_field.register
def _(
    field: IndexField, nodes: FieldNodes, offset: int, column: Tensor, others: Iterator[Tensor]
) -> None:
    _check_form(field, column, is_list=False)
    nodes.cells.append(nodes.shifted(nodes.local_rows(field, column), offset))


@add_field.register
def _(
    field: NumericField, nodes: FieldNodes, offset: int, column: Tensor, others: Iterator[Tensor]
) -> None:
    _check_form(field, column, is_list=False)
    rows, score = nodes.bin_and_score(field, column)
    nodes.scores[len(nodes.cells)] = score
    nodes.cells.append(nodes.shifted(rows, offset))


@add_field.register
def _(
    field: ListField, nodes: FieldNodes, offset: int, column: Tensor, others: Iterator[Tensor]
) -> None:
    _check_form(field, column, is_list=True)
    nodes.lists.append(nodes.pooled(field, offset, column, others))


def _wrong_number(columns: list[Tensor], fields: Fields) -> ValueError:
    return ValueError(
        f"The estimator was fitted on {len(fields)} columns, and the inputs have {len(columns)}. "
        f"Give an input for each column, in their order."
    )


def _check_form(field: Field, column: Tensor, *, is_list: bool) -> None:
    """Refuse lists where fit saw single values, and the reverse."""
    if column.is_list == is_list:
        return
    forms = ("lists", "single values") if is_list else ("single values", "lists")
    raise ValueError(
        f"Column {field.name!r} held {forms[0]} in fit, and the input of the ONNX file would hold "
        f"{forms[1]}. Declare it as it was."
    )
