"""OrdinalFieldEncoder as nodes of an ONNX graph: from cells to codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType

from sklearn_deepfm._encoder.binning import Numbers
from sklearn_deepfm._encoder.category_lists import CategoryLists
from sklearn_deepfm._encoder.hashed import Hashed
from sklearn_deepfm._encoder.vocabulary import (
    FIRST_KNOWN_CODE,
    MISSING_CODE,
    UNKNOWN_CODE,
    Vocabulary,
)
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


def parse_encoder(scope: Any, model: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare what the encoder gives: a matrix of codes, or a tensor for each field."""
    operator = scope.declare_local_operator("SklearnDeepFMOrdinalFieldEncoder", model)
    operator.inputs = inputs
    if not any(isinstance(field, CategoryLists | Numbers) for field in model._fields):
        types = {"codes": Int64TensorType([None, len(model._fields)])}
    else:
        types = {}
        for field, role in zip(model._fields, model._column_specs, strict=True):
            width = None if isinstance(field, CategoryLists) else 1
            is_number = isinstance(field, Numbers)
            kind = DoubleTensorType if is_number else Int64TensorType
            types[f"codes_{role.position}"] = kind([None, width])
            if role.weights is not None:
                types[f"weights_{role.position}"] = DoubleTensorType([None, None])
    for name, type_ in types.items():
        operator.outputs.append(scope.declare_local_variable(name, type_))
    return list(operator.outputs)


def shape_of_codes(operator: Any) -> None:
    """The types of the outputs, which are declared already."""


def convert_encoder(scope: Any, operator: Any, container: Any) -> None:
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
    for field, role in zip(encoder._fields, encoder._column_specs, strict=True):
        cells = Cells(graph, names[role.position], columns[role.position], missing)
        cells.check_form(field, role)
        if isinstance(field, CategoryLists):
            results.append(cells.members_encoded(field.of_members, role))
            if role.weights is not None:
                results.append(graph.weights(columns[role.weights]))
        else:
            results.append(cells.encoded(field))
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
        What is sent for a missing string.
    """

    def __init__(self, graph: Graph, name: Any, tensor: Tensor, missing_string: str) -> None:
        self._graph, self._name, self._tensor = graph, name, tensor
        self._missing_string = missing_string

    def check_form(self, field: Any, role: Any) -> None:
        """Refuse lists where fit saw single values, and the reverse."""
        is_list, forms = self._tensor.is_list, ("single values", "lists")
        held_lists = isinstance(field, CategoryLists)
        if is_list != held_lists and (is_list or role.separator is None):
            raise ValueError(
                f"Column {self._name!r} held {forms[held_lists]} when the encoder was fitted, and "
                f"the input of the ONNX file would hold {forms[is_list]}. Declare it as it was."
            )

    def encoded(self, field: Any) -> str:
        """Codes, int64, or the numbers of a field that passes them on, float64."""
        if isinstance(field, Hashed):
            raise ValueError(
                f"Column {self._name!r} is hashed (hash_dims), for which ONNX has no operator. Fit "
                f"the encoder without hash_dims, with min_frequency or max_categories instead."
            )
        self._check_kind(field.kind)
        if isinstance(field, Vocabulary):
            return self._codes(field)
        x, is_missing = self._quantities(field.kind)
        if isinstance(field, Numbers):
            return self._graph("Where", is_missing, np.array(np.nan), x)
        bins = self._graph.count_not_above(x, field.edges[1:-1])
        codes = self._graph("Add", bins, np.array(FIRST_KNOWN_CODE))
        return self._graph("Where", is_missing, np.array(MISSING_CODE), codes)

    def members_encoded(self, field: Any, role: Any) -> str:
        """Codes of the members of lists, (n, length of the longest), filled up by NAT."""
        tensor = self._tensor
        if tensor.type in (FLOAT, DOUBLE):
            raise ValueError(
                f"Column {self._name!r} holds lists of floats, which an ONNX file cannot look up. "
                f"Make integers or strings of their members before the encoder is fitted."
            )
        self._check_missing_string(role)
        if role.separator is not None and not tensor.is_list:
            if role.weights is not None:
                raise ValueError(
                    f"Column {self._name!r} holds separated strings whose parts have weights "
                    f"(member_weights), which an ONNX file cannot pair. Fit on lists instead."
                )
            flat = self._graph("Reshape", tensor.name, np.array([-1]))
            parts, _ = self._graph.outputs("StringSplit", 2, flat, delimiter=role.separator)
            tensor = Tensor(parts, STRING, is_list=True)
        return Cells(self._graph, self._name, tensor, self._missing_string).encoded(field)

    def _check_missing_string(self, role: Any) -> None:
        missing, separator = self._missing_string, role.separator
        if missing == "" or (separator is not None and separator in missing):
            raise ValueError(
                f"missing_string must be a string that is not empty and holds no separator, for "
                f"column {self._name!r} of lists, got {missing!r}. Choose another."
            )

    def _check_kind(self, kind: str | None) -> None:
        kinds = ["strings"] if self._tensor.type == STRING else ["numbers", "booleans", *_DATES]
        if kind is not None and kind not in kinds:
            raise ValueError(
                f"Column {self._name!r} held {kind} when the encoder was fitted, and the input of "
                f"the ONNX file would hold {kinds[0]}. Declare it as the type it had."
            )

    def _codes(self, vocabulary: Vocabulary) -> str:
        known = self._as_numbers(vocabulary.categories)
        codes = FIRST_KNOWN_CODE + np.arange(len(known))
        if self._tensor.type == STRING:
            self._check_no_category(vocabulary.values)
            return self._codes_of_strings(known.to_pylist(), codes)
        if pa.types.is_floating(known.type):
            return self._codes_of_fractions(known.to_numpy(), codes)
        numbers = known.cast(pa.int64()).to_numpy()
        special = {NAT: MISSING_CODE} if vocabulary.kind in _DATES else {}
        if self._tensor.is_list:
            special = {NAT: NAT, MISSING_MEMBER: MISSING_CODE}
        return self._graph.look_up_numbers(
            self._name, self._tensor, numbers, codes, UNKNOWN_CODE, MISSING_CODE, special
        )

    def _as_numbers(self, known: pa.Array) -> pa.Array:
        """Categories as strings, int64 or float64."""
        type_ = known.type
        if pa.types.is_uint64(type_) and len(known) and pc.max(known).as_py() >= 2**63:
            raise ValueError(
                f"Column {self._name!r} has a category beyond the largest int64, which ONNX can "
                f"look up alone. Make strings of its values before the encoder is fitted."
            )
        is_number = pa.types.is_boolean(type_) or pa.types.is_integer(type_)
        is_number = is_number or pa.types.is_temporal(type_)
        return known.cast(pa.int64()) if is_number else known

    def _check_no_category(self, values: pa.Array) -> None:
        """What is sent for something else is none, not even a rare one, which is unknown."""
        if pc.any(pc.equal(values, self._missing_string)).as_py():
            raise missing_string_is_category(self._missing_string, self._name)
        if self._tensor.is_list and pc.any(pc.equal(values, "")).as_py():
            raise ValueError(
                f"Column {self._name!r} holds lists with the member '', which in an ONNX file "
                f"fills up the shorter lists. Replace it before the encoder is fitted."
            )

    def _codes_of_strings(self, known: list[str], codes: np.ndarray) -> str:
        keys, values = [*known, self._missing_string], [*codes, MISSING_CODE]
        if self._tensor.is_list:
            keys, values = [*keys, ""], [*values, NAT]
        return self._graph.look_up(self._tensor.name, keys, values, UNKNOWN_CODE)

    def _codes_of_fractions(self, known: np.ndarray, codes: np.ndarray) -> str:
        """By searching, since LabelEncoder knows no float64."""
        graph, order = self._graph, np.argsort(known)
        x, is_missing = self._quantities("numbers")
        place = graph("Sub", graph.count_not_above(x, known[order]), np.array(1))
        place = graph("Max", place, np.array(0))
        is_known = graph("Equal", graph("Gather", known[order], place), x)
        found = graph(
            "Where", is_known, graph("Gather", codes[order], place), np.array(UNKNOWN_CODE)
        )
        return graph("Where", is_missing, np.array(MISSING_CODE), found)

    def _quantities(self, kind: str | None) -> tuple[str, str]:
        """Cells as float64, dates as microseconds, and where they are missing."""
        graph, cells = self._graph, self._graph.cast(self._tensor, DOUBLE)
        if kind in _DATES and self._tensor.type == INT64:
            return cells, graph("Equal", self._tensor.name, np.array(NAT))
        return graph.finite(cells)
