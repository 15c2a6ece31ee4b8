"""Rows of tables of any kind, in the kind in which they came."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_deepfm._samples.table_rows import TableRows

NUMBERS = np.arange(12).reshape(6, 2)
NAMED = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]}
TABLES = [
    NUMBERS,
    NUMBERS.tolist(),
    pd.DataFrame(NAMED, index=list("xyzuvw")),
    pl.DataFrame(NAMED),
    pa.table(NAMED),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: type(table).__name__)
def test_rows_taken_twice_are_of_the_kind_of_the_table(table):
    rows = TableRows(table).take(np.array([5, 3, 0])).take(np.array([2, 1, 1]))
    for read in (rows.read(), rows.copied().read()):
        assert type(read) is type(table)
        cells = read.to_pandas() if isinstance(read, pa.Table) else read
        assert np.asarray(cells).tolist() == NUMBERS[[0, 3, 3]].tolist()


def test_all_rows_are_the_table_itself():
    assert TableRows(NUMBERS).read() is NUMBERS


def test_frame_keeps_its_index_and_types():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": pd.Categorical(["x", "y", "x"])}, index=[7, 8, 9])
    expected = frame.iloc[[2, 0]]
    read = TableRows(frame).take(np.array([2, 0])).read()
    pd.testing.assert_frame_equal(read, expected)
