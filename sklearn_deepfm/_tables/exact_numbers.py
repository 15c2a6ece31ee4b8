"""Numbers without loss: decimals as integers, float32 as written, and what no type can hold."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Hashable, Iterable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

# Up to this size a float64 holds each whole number exactly.
EXACT_FLOAT = 2**53


def beyond_64_bits(name: Hashable, value: int | Decimal) -> ValueError:
    """The error for a whole number that no integer of 64 bits holds."""
    return ValueError(
        f"Column {name!r} holds the whole number {reprlib.repr(int(value))}, which is beyond 64 "
        f"bits. Make strings of the column if it holds names of things, floats if quantities."
    )


def without_decimals(name: Hashable, values: pa.Array) -> pa.Array:
    """Decimals as integers if all are whole, as floats otherwise; other values as they are.

    Raises
    ------
    ValueError
        If a whole one is beyond 64 bits, or beside fractions beyond 2**53; `name` is the column's.
    """
    if pa.types.is_dictionary(values.type) and pa.types.is_decimal(values.type.value_type):
        dictionary = without_decimals(name, values.dictionary)
        return pa.DictionaryArray.from_arrays(values.indices, dictionary)
    if not pa.types.is_decimal(values.type):
        return values
    for type_ in (pa.int64(), pa.uint64()):
        with contextlib.suppress(pa.ArrowInvalid):  # raised for a fraction, or one out of range
            return values.cast(type_)
    present = values.drop_null().to_pylist()
    if all(value == value.to_integral_value() for value in present):
        raise beyond_64_bits(name, max(present, key=abs))
    # Arrow's own cast makes 19.990000000000002 of 19.99.
    floats = _read_from_text(values)
    if pc.max(pc.abs(floats)).as_py() >= EXACT_FLOAT:
        refuse_inexact(name, (int(v) for v in present if v == v.to_integral_value()))
    return floats


def refuse_inexact(name: Hashable, whole: Iterable[int]) -> None:
    """Refuse whole numbers beside fractions if a float would not hold them exactly.

    Raises
    ------
    ValueError
        If there is one; `name` is the column's.
    """
    for number in whole:
        if abs(number) > EXACT_FLOAT:
            raise ValueError(
                f"Column {name!r} holds the whole number {reprlib.repr(number)} beside floats or "
                f"fractions, and a float holds whole numbers up to 2**53 exactly. Make integers of "
                f"all, or floats if these are quantities."
            )


def _read_from_text(numbers: pa.Array) -> pa.Array:
    """The float64 nearest to each number as it is written."""
    return numbers.cast(pa.large_string()).cast(pa.float64())


def as_doubles(values: pa.Array) -> pa.Array:
    """Numbers of float32 as float64, fractions as what they are written as; others as they are.

    The float32 nearest to .1 becomes .1, as it stands in a table of float64, and not .10000000149.
    """
    if not pa.types.is_float32(values.type):
        return values
    doubles = values.cast(pa.float64())
    is_whole = pc.equal(pc.floor(doubles), doubles)
    if pc.all(is_whole).as_py() is not False:
        return doubles
    return pc.if_else(is_whole, doubles, _read_from_text(values))
