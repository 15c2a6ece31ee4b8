"""Nodes of an ONNX graph, written like function calls on arrays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from onnx import TensorProto, numpy_helper
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Scope, Variable
from skl2onnx.common.data_types import TensorType

ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
OPSET = 20  # the first with StringSplit
LARGEST_WHOLE = 2.0**53  # up to here float64 holds each whole number exactly
NAT = int(np.iinfo(np.int64).min)  # NumPy's NaT, a missing date; also fills up shorter lists
MISSING_MEMBER = NAT + 1  # a missing member of a list of whole numbers
MOST_COMPARED = 256  # numbers that each cell is compared with; more are searched

STRING, INT64, DOUBLE, FLOAT, BOOL = (
    TensorProto.STRING,
    TensorProto.INT64,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.BOOL,
)


Attribute: TypeAlias = int | float | str | Sequence[int] | Sequence[str]


class Tensor(NamedTuple):
    """A tensor of the graph: its name, the type of its elements, whether cells are lists."""

    name: str
    type: int
    is_list: bool = False


class Graph:
    """Adds nodes to a graph; inputs of a node are arrays, its constants, or names of tensors.

    Parameters
    ----------
    scope, container
        As skl2onnx hands them to a converter.
    """

    def __init__(self, scope: Scope, container: ModelComponentContainer) -> None:
        self._scope, self._container = scope, container

    def __call__(
        self, op: str, *inputs: str | np.ndarray, domain: str = "", **attributes: Attribute
    ) -> str:
        """Add a node of one output, and return that output's name."""
        return self.outputs(op, 1, *inputs, domain=domain, **attributes)[0]

    def outputs(
        self, op: str, n: int, *inputs: str | np.ndarray, domain: str = "", **attributes: Attribute
    ) -> list[str]:
        """Add a node of `n` outputs, and return their names."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        outputs = [self._scope.get_unique_variable_name(op.lower()) for _ in range(n)]
        version = ML_OPSET if domain == ML_DOMAIN else OPSET
        name = self._scope.get_unique_operator_name(op)
        self._container.add_node(
            op, names, outputs, op_domain=domain, op_version=version, name=name, **attributes
        )
        return outputs

    def constant(self, array: np.ndarray) -> str:
        """Store an array in the file, and return its name."""
        array, name = np.asarray(array), self._scope.get_unique_variable_name("constant")
        if array.dtype.kind in "UO":
            values = [str(value).encode() for value in array.ravel()]
            self._container.add_initializer(name, STRING, array.shape, values)
        else:
            proto = numpy_helper.from_array(np.ascontiguousarray(array))
            self._container.add_initializer(name, proto.data_type, array.shape, proto)
        return name

    def assign(self, output: Variable, name: str) -> None:
        """Make a tensor the converter's output, whose name is given."""
        self._container.add_node(
            "Identity",
            [name],
            [output.full_name],
            op_version=OPSET,
            name=self._scope.get_unique_operator_name("Identity"),
        )

    def cast(self, tensor: Tensor, to: int) -> str:
        """The same values as another type."""
        return tensor.name if tensor.type == to else self("Cast", tensor.name, to=to)

    def look_up(
        self, cells: str, keys: Sequence[str] | Sequence[int], values: ArrayLike, default: int
    ) -> str:
        """Value of each string or int64 among the keys; `default` for any other."""
        kind = "strings" if isinstance(keys[0], str) else "int64s"
        return self(
            "LabelEncoder",
            cells,
            domain=ML_DOMAIN,
            **{f"keys_{kind}": keys, "values_int64s": np.asarray(values, np.int64).tolist()},
            default_int64=int(default),
        )

    def look_up_numbers(
        self,
        column: Hashable,
        tensor: Tensor,
        keys: np.ndarray,
        values: np.ndarray,
        default: int,
        missing: int,
        special: dict[int, int] | None = None,
    ) -> str:
        """Value of each whole number among the keys.

        Parameters
        ----------
        column : str or int
            The column's name, for messages.
        tensor : Tensor
            The cells.
        keys, values : ndarray of shape (n_keys,), int64
            The numbers, and the value of each.
        default, missing : int
            Value of any other number, and of NaN in a tensor of floats.
        special : dict, default=None
            Values of numbers that in a tensor of integers are sent in place of something
            else, such as a missing cell.

        Raises
        ------
        ValueError
            If the tensor cannot hold one of the keys exactly, or one is a special number.
        """
        if tensor.type in (FLOAT, DOUBLE):
            _refuse_beyond_floats(column, keys)
            whole, is_not_whole, is_missing = self.whole_numbers(self.cast(tensor, DOUBLE))
            found = self._look_up_any(whole, keys, values, default)
            found = self("Where", is_not_whole, np.array(default), found)
            return self("Where", is_missing, np.array(missing), found)
        special = special or {}
        _refuse_special(column, keys, special)
        keys = np.append(keys, np.array([*special], np.int64))
        values = np.append(values, np.array([*special.values()], np.int64))
        return self._look_up_any(self.cast(tensor, INT64), keys, values, default)

    def _look_up_any(self, cells: str, keys: np.ndarray, values: np.ndarray, default: int) -> str:
        if not len(keys):  # LabelEncoder needs a key at least
            keys, values = np.zeros(1, np.int64), np.array([default])
        return self.look_up(cells, keys.tolist(), values, default)

    def count_not_above(self, cells: str, ascending: np.ndarray) -> str:
        """``np.searchsorted(ascending, cells, side="right")`` of float64 cells (n, 1), as int64."""
        if not len(ascending):
            # Zeros in the shape of the cells, whose number is known only when the file runs.
            return self("Cast", self("Mul", cells, np.zeros((1, 1))), to=INT64)
        if len(ascending) > MOST_COMPARED:
            return self._searched(cells, np.asarray(ascending, np.float64))
        reached = self("GreaterOrEqual", cells, np.asarray(ascending, np.float64)[np.newaxis])
        reached = self("Cast", reached, to=FLOAT)  # ReduceSum takes no booleans
        return self("Cast", self("ReduceSum", reached, np.array([1]), keepdims=1), to=INT64)

    def _searched(self, cells: str, ascending: np.ndarray) -> str:
        """The same by halving, as a cell cannot be compared with each of many numbers."""
        n_steps = len(ascending).bit_length()
        # After the last number stands NaN, which no cell reaches.
        padded = self.constant(np.append(ascending, np.full(2**n_steps - len(ascending), np.nan)))
        count = self("Cast", self("Mul", cells, np.zeros((1, 1))), to=INT64)
        for power in reversed(range(n_steps)):
            more = self("Add", count, np.array(2**power))
            last = self("Gather", padded, self("Sub", more, np.array(1)))
            count = self("Where", self("GreaterOrEqual", cells, last), more, count)
        return count

    def weights(self, tensor: Tensor) -> str:
        """Weights of members as float64; a missing weight, that of a missing list, is 1."""
        weights = self.cast(tensor, DOUBLE)
        if tensor.type == INT64:
            is_missing = self("Equal", tensor.name, np.array(MISSING_MEMBER))
        else:
            is_missing = self("IsNaN", weights)
        return self("Where", is_missing, np.array(1.0), weights)

    def finite(self, cells: str) -> tuple[str, str]:
        """Float64 cells with 0 in place of NaN, and a mask of the NaN."""
        is_missing = self("IsNaN", cells)
        return self("Where", is_missing, np.zeros(()), cells), is_missing

    def whole_numbers(self, cells: str) -> tuple[str, str, str]:
        """Float64 as int64, a mask of those not whole, which become 0, and a mask of NaN."""
        numbers, is_missing = self.finite(cells)
        # Beyond int64 the result of Cast is undefined, so such numbers count as not whole.
        is_small = self("LessOrEqual", self("Abs", numbers), np.array(LARGEST_WHOLE))
        is_whole = self("And", self("Equal", self("Floor", numbers), numbers), is_small)
        whole = self("Cast", self("Where", is_whole, numbers, np.zeros(())), to=INT64)
        return whole, self("Not", is_whole), is_missing


def columns_of(graph: Graph, variables: list[Variable]) -> list[Tensor]:
    """The columns of some inputs, each (n, 1), or (n, any number) where cells are lists."""
    columns = []
    for variable in variables:
        tensor = tensor_of(variable)
        width = width_of(variable)
        if width in (None, 1):
            columns.append(tensor)
            continue
        columns += [
            Tensor(graph("Gather", tensor.name, np.array([j]), axis=1), tensor.type)
            for j in range(width)
        ]
    return columns


def tensor_of(variable: Variable) -> Tensor:
    """A variable of skl2onnx as a tensor of the graph."""
    return Tensor(variable.full_name, element_type(variable.type), width_of(variable) is None)


def width_of(variable: Variable) -> int | None:
    """Number of columns of an input; None for lists."""
    shape = variable.type.shape
    width = shape[1] if len(shape) == 2 else 1
    return width if isinstance(width, int) else None


def element_type(type_: TensorType) -> int:
    """Type of the elements of a tensor, as ONNX numbers them."""
    element: int = type_.to_onnx_type().tensor_type.elem_type
    return element


def missing_string_is_category(missing_string: str, column: Hashable) -> ValueError:
    """Error for a `missing_string` that is a category too."""
    return ValueError(
        f"missing_string must be a string that is no category, and {missing_string!r} is one of "
        f"column {column!r}. Choose another."
    )


def _refuse_beyond_floats(column: Hashable, keys: np.ndarray) -> None:
    # In Python's integers: -(-2**63) overflows int64, and NumPy compares int64 as floats.
    farthest = max(map(int, (keys.min(), keys.max())), key=abs) if len(keys) else 0
    if abs(farthest) >= LARGEST_WHOLE:  # the neighbour of 2**53 would become 2**53 as a float
        raise ValueError(
            f"Column {column!r} has the category {farthest}, not below 2**53 in size, and the ONNX "
            f"file would have floats for it, as it has where cells may be missing. Make strings of "
            f"its values before the fit."
        )


def _refuse_special(column: Hashable, keys: np.ndarray, special: dict[int, int]) -> None:
    clash = np.intersect1d(keys, np.array([*special], np.int64))
    if len(clash):
        raise ValueError(
            f"Column {column!r} holds {clash[0]}, which an ONNX file takes for a missing cell or "
            f"the end of a list. Replace it before the fit."
        )
