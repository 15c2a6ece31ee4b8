"""The base of the encoder's fields, for what a kind has to write itself."""

import pyarrow as pa
import pytest

from sklearn_deepfm._encoder.field import EncoderField
from sklearn_deepfm._encoder.field_types import FIELD_KINDS
from sklearn_deepfm._tables.columns import Column


class Stranger(EncoderField):
    kind = None


def test_names_of_kinds_stand_in_files_and_stay():
    assert [*FIELD_KINDS] == [
        "categories",
        "names",
        "whole numbers",
        "hashed",
        "hashed names",
        "bins",
        "quantity bins",
        "numbers",
        "lists",
    ]


@pytest.mark.parametrize(("method", "missing"), [("of_form", "_in_form"), ("encode", "encode")])
def test_kind_of_a_stranger_has_to_encode(method, missing):
    column = Column("city", None, pa.nulls(2))
    with pytest.raises(NotImplementedError, match=rf"Stranger\.{missing}"):
        getattr(Stranger(), method)(column)
