"""OrdinalFieldEncoder as nodes of an ONNX graph: from cells to codes."""

from __future__ import annotations

from collections.abc import Hashable
from functools import singledispatch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Operator, Scope, Variable
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, TensorType

from sklearn_deepfm._encoder.binning import Bins, Numbers
from sklearn_deepfm._encoder.category_lists import CategoryLists
from sklearn_deepfm._encoder.column_specs import ColumnSpec
from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._encoder.field import (
    MISSING_CODE,
    UNKNOWN_CODE,
    EncoderField,
)
from sklearn_deepfm._encoder.hashed import Hashed
from sklearn_deepfm._encoder.vocabulary import Vocabulary
from sklearn_deepfm._encoder.whole_numbers import WholeNumbers
from sklearn_deepfm._onnx.graph import (
    DOUBLE,
    FLOAT,
    INT64,
    MISSING_MEMBER,
    NAT,
    STRING,
    Graph,
    Tensor,
    columns_of,
    missing_string_is_category,
)

MISSING_STRING = "<NA>"
_DATES = ("datetimes", "datetimes with a time zone", "durations", "times")


def parse_encoder(
    scope: Scope, model: OrdinalFieldEncoder, inputs: list[Variable], custom_parsers: object = None
) -> list[Variable]:
    """Declare the encoder's outputs: one matrix of codes, or a tensor for each field."""
    operator = scope.declare_local_operator("SklearnDeepFMOrdinalFieldEncoder", model)
    operator.inputs = inputs
    of_fields = [type_of_output(field) for field in model._fields]
    if all(type_.shape == [None, 1] and isinstance(type_, Int64TensorType) for type_ in of_fields):
        types = {"codes": Int64TensorType([None, len(of_fields)])}
    else:
        types = {}
        for type_, spec in zip(of_fields, model._column_specs, strict=True):
            types[f"codes_{spec.position}"] = type_
            if spec.weights is not None:  # passed on to the estimator beside the codes
                types[f"weights_{spec.position}"] = DoubleTensorType([None, None])
    for name, type_ in types.items():
        operator.outputs.append(scope.declare_local_variable(name, type_))
    return list(operator.outputs)


def shape_of_codes(operator: Operator) -> None:
    """Do nothing: `parse_encoder` has declared the types of the outputs."""


def convert_encoder(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the encoder's nodes."""
    encoder, graph = operator.raw_operator, Graph(scope, container)
    missing = container.get_options(encoder, {"missing_string": MISSING_STRING})["missing_string"]
    columns = columns_of(graph, operator.inputs)
    if len(columns) != encoder.n_features_in_:
        raise ValueError(
            f"The encoder was fitted on {encoder.n_features_in_} columns, and the inputs have "
            f"{len(columns)}. Give an input for each column, in their order."
        )
    names = list(getattr(encoder, "feature_names_in_", range(encoder.n_features_in_)))
    results = []
    for field, spec in zip(encoder._fields, encoder._column_specs, strict=True):
        cells = Cells(graph, names[spec.position], columns[spec.position], missing)
        cells.check_form(field.holds_lists, spec)
        results.append(encode_cells(field, cells, spec))
        if spec.weights is not None:
            results.append(graph.weights(columns[spec.weights]))
    if len(operator.outputs) == 1 and len(results) > 1:
        results = [graph("Concat", *results, axis=1)]
    for output, result in zip(operator.outputs, results, strict=True):
        graph.assign(output, result)


class Cells:
    """The cells of one column, to be turned into codes.

    Parameters
    ----------
    graph : Graph
    name : str or int
        Of the column, for messages.
    tensor : Tensor
        The cells, (n, 1), or (n, any number) where they are lists.
    missing_string : str
        Sent in place of a missing string.
    """

    def __init__(self, graph: Graph, name: Hashable, tensor: Tensor, missing_string: str) -> None:
        self.graph, self.name, self._tensor = graph, name, tensor
        self._missing_string = missing_string

    def check_form(self, held_lists: bool, spec: ColumnSpec) -> None:
        """Refuse lists where fit saw single values, and the reverse."""
        is_list, forms = self._tensor.is_list, ("single values", "lists")
        # Separated strings were lists in fit, and are sent as single strings.
        if is_list != held_lists and (is_list or spec.separator is None):
            raise ValueError(
                f"Column {self.name!r} held {forms[held_lists]} when the encoder was fitted, and "
                f"the input of the ONNX file would hold {forms[is_list]}. Declare it as it was."
            )

    def members(self, spec: ColumnSpec) -> Cells:
        """Members of lists, (n, length of the longest); separated strings are split first."""
        tensor = self._tensor
        if tensor.type in (FLOAT, DOUBLE):
            raise ValueError(
                f"Column {self.name!r} holds lists of floats, which an ONNX file cannot look up. "
                f"Make integers or strings of their members before the encoder is fitted."
            )
        self._check_missing_string(spec)
        if spec.separator is not None and not tensor.is_list:
            if spec.weights is not None:
                raise ValueError(
                    f"Column {self.name!r} holds separated strings whose parts have weights "
                    f"(member_weights), which an ONNX file cannot pair. Fit on lists instead."
                )
            # StringSplit adds a dimension to its input.
            flat = self.graph("Reshape", tensor.name, np.array([-1]))
            parts, _ = self.graph.outputs("StringSplit", 2, flat, delimiter=spec.separator)
            tensor = Tensor(parts, STRING, is_list=True)
        return Cells(self.graph, self.name, tensor, self._missing_string)

    def _check_missing_string(self, spec: ColumnSpec) -> None:
        missing, separator = self._missing_string, spec.separator
        if missing == "" or (separator is not None and separator in missing):
            raise ValueError(
                f"missing_string must be a string that is not empty and holds no separator, for "
                f"column {self.name!r} of lists, got {missing!r}. Choose another."
            )

    def check_kind(self, kind: str | None) -> None:
        """Refuse an input of another kind than fit saw."""
        kinds = ["strings"] if self._tensor.type == STRING else ["numbers", "booleans", *_DATES]
        if kind is not None and kind not in kinds:
            raise ValueError(
                f"Column {self.name!r} held {kind} when the encoder was fitted, and the input of "
                f"the ONNX file would hold {kinds[0]}. Declare it as the type it had."
            )

    def codes(self, vocabulary: Vocabulary) -> str:
        """Codes of the cells by a vocabulary, int64; the filler of lists stays."""
        known = self._as_numbers(vocabulary.categories)
        codes = vocabulary.code_steps.code(np.arange(len(known)))
        if self._tensor.type == STRING:
            self._check_no_category(vocabulary.values)
            return self._codes_of_strings(known.to_pylist(), codes)
        if pa.types.is_floating(known.type):
            return self._codes_of_fractions(known.to_numpy(), codes)
        numbers = known.cast(pa.int64()).to_numpy()
        # Numbers that stand for something else: NaT for a missing date; in lists, the filler and
        # a missing member.
        special = {NAT: MISSING_CODE} if vocabulary.kind in _DATES else {}
        if self._tensor.is_list:
            special = {NAT: NAT, MISSING_MEMBER: MISSING_CODE}
        return self.graph.look_up_numbers(
            self.name, self._tensor, numbers, codes, UNKNOWN_CODE, MISSING_CODE, special
        )

    def _as_numbers(self, known: pa.Array) -> pa.Array:
        """Categories as strings, int64 or float64."""
        type_ = known.type
        if pa.types.is_uint64(type_) and len(known) and pc.max(known).as_py() >= 2**63:
            raise ValueError(
                f"Column {self.name!r} has a category beyond the largest int64, which ONNX can "
                f"look up alone. Make strings of its values before the encoder is fitted."
            )
        is_number = pa.types.is_boolean(type_) or pa.types.is_integer(type_)
        is_number = is_number or pa.types.is_temporal(type_)
        return known.cast(pa.int64()) if is_number else known

    def _check_no_category(self, values: pa.Array) -> None:
        """Refuse a category, even a rare one, that in a file means a missing cell or a filler."""
        if pc.any(pc.equal(values, self._missing_string)).as_py():
            raise missing_string_is_category(self._missing_string, self.name)
        if self._tensor.is_list and pc.any(pc.equal(values, "")).as_py():
            raise ValueError(
                f"Column {self.name!r} holds lists with the member '', which in an ONNX file "
                f"fills up the shorter lists. Replace it before the encoder is fitted."
            )

    def _codes_of_strings(self, known: list[str], codes: np.ndarray) -> str:
        keys, values = [*known, self._missing_string], [*codes, MISSING_CODE]
        if self._tensor.is_list:
            keys, values = [*keys, ""], [*values, NAT]
        return self.graph.look_up(self._tensor.name, keys, values, UNKNOWN_CODE)

    def with_places(self, numbers: WholeNumbers, codes: str) -> str:
        """The codes, with those of the places between known numbers for unknown ones."""
        if not len(numbers.ordered):
            return codes
        graph, x = self.graph, self.quantities(numbers.kind)[0]
        n_below = graph.count_not_above(x, numbers.ordered)
        place = graph("Mul", n_below, np.array(numbers.code_steps.step))
        place = graph("Add", place, np.array(UNKNOWN_CODE))
        return graph("Where", graph("Equal", codes, np.array(UNKNOWN_CODE)), place, codes)

    def _codes_of_fractions(self, known: np.ndarray, codes: np.ndarray) -> str:
        """Codes by a search in the sorted categories: LabelEncoder takes no float64 as keys."""
        graph, order = self.graph, np.argsort(known)
        x, is_missing = self.quantities("numbers")
        place = graph("Sub", graph.count_not_above(x, known[order]), np.array(1))
        place = graph("Max", place, np.array(0))  # for numbers below all categories
        is_known = graph("Equal", graph("Gather", known[order], place), x)
        found = graph(
            "Where", is_known, graph("Gather", codes[order], place), np.array(UNKNOWN_CODE)
        )
        return graph("Where", is_missing, np.array(MISSING_CODE), found)

    def quantities(self, kind: str | None) -> tuple[str, str]:
        """Cells as float64, dates in microseconds, and a mask of the missing ones."""
        graph, cells = self.graph, self.graph.cast(self._tensor, DOUBLE)
        if kind in _DATES and self._tensor.type == INT64:
            return cells, graph("Equal", self._tensor.name, np.array(NAT))
        return graph.finite(cells)


@singledispatch
def type_of_output(field: EncoderField) -> TensorType:
    """Type of the output of one kind of field: a code per cell, unless registered otherwise."""
    return Int64TensorType([None, 1])


@type_of_output.register
def _(field: CategoryLists) -> TensorType:
    return Int64TensorType([None, None])


@type_of_output.register
def _(field: Numbers) -> TensorType:
    return DoubleTensorType([None, 1])


@singledispatch
def encode_cells(field: EncoderField, cells: Cells, spec: ColumnSpec) -> str:
    """Add the nodes of one kind of field.

    Parameters
    ----------
    field : Vocabulary, Hashed, Bins, Numbers or CategoryLists
    cells : Cells
    spec : ColumnSpec

    Returns
    -------
    codes : str
        Codes, int64; of a field that passes numbers on, these numbers, float64. Lists are filled
        up with NAT to the length of the longest in the batch.
    """
    raise NotImplementedError(f"an encoder's field of type {type(field).__name__}")


@encode_cells.register
def _(field: CategoryLists, cells: Cells, spec: ColumnSpec) -> str:
    return encode_cells(field.of_members, cells.members(spec), spec)


@encode_cells.register
def _(field: Hashed, cells: Cells, spec: ColumnSpec) -> str:
    raise ValueError(
        f"Column {cells.name!r} is hashed (hash_dims), for which ONNX has no operator. Fit "
        f"the encoder without hash_dims, with min_frequency or max_categories instead."
    )


@encode_cells.register
def _(field: Vocabulary, cells: Cells, spec: ColumnSpec) -> str:
    cells.check_kind(field.kind)
    return cells.codes(field)


@encode_cells.register
def _(field: WholeNumbers, cells: Cells, spec: ColumnSpec) -> str:
    cells.check_kind(field.kind)
    return cells.with_places(field, cells.codes(field))


@encode_cells.register
def _(field: Numbers, cells: Cells, spec: ColumnSpec) -> str:
    cells.check_kind(field.kind)
    x, is_missing = cells.quantities(field.kind)
    return cells.graph("Where", is_missing, np.array(np.nan), x)


@encode_cells.register
def _(field: Bins, cells: Cells, spec: ColumnSpec) -> str:
    cells.check_kind(field.kind)
    x, is_missing = cells.quantities(field.kind)
    # Without the outer edges: numbers beyond them belong to the first and the last bin.
    bins = cells.graph.count_not_above(x, field.edges[1:-1])
    if field.code_steps.step > 1:
        bins = cells.graph("Mul", bins, np.array(field.code_steps.step))
    codes = cells.graph("Add", bins, np.array(field.code_steps.first))
    return cells.graph("Where", is_missing, np.array(MISSING_CODE), codes)
