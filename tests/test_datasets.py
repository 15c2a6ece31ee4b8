"""load_flights behaves as scikit-learn's own loaders do, and its description is true."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from sklearn_deepfm.datasets import load_flights

COLUMNS = [
    "month",
    "day",
    "day_of_year",
    "weekday",
    "sched_dep_minute",
    "sched_arr_minute",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
]
STRINGS = ["carrier", "tailnum", "origin", "dest"]


@pytest.fixture(scope="module")
def flights():
    return load_flights()


def test_bunch_has_the_promised_parts(flights):
    assert isinstance(flights, Bunch)
    parts = {"data", "target", "frame", "feature_names", "target_names", "DESCR", "filename"}
    assert set(flights) == parts
    assert flights.feature_names == COLUMNS
    assert flights.target_names == ["on time", "late"]
    assert Path(flights.filename).is_file()


def test_frame_is_data_and_target_together(flights):
    pd.testing.assert_frame_equal(flights.frame[COLUMNS], flights.data)
    pd.testing.assert_series_equal(flights.frame["late"], flights.target)
    assert list(flights.frame) == [*COLUMNS, "late"]


def test_column_types(flights):
    for name in COLUMNS:
        if name in STRINGS:
            assert flights.data[name].map(type).eq(str).all()
        else:
            assert flights.data[name].dtype == np.int64


def test_rows_are_in_time_order(flights):
    minute = flights.data["day_of_year"] * 24 * 60 + flights.data["sched_dep_minute"]
    assert minute.is_monotonic_increasing


def test_calendar_columns_agree_with_the_calendar(flights):
    date = pd.to_datetime(flights.data[["month", "day"]].assign(year=2013))
    assert (date.dt.day_of_year == flights.data["day_of_year"]).all()
    assert (date.dt.day_of_week == flights.data["weekday"]).all()  # 0 is Monday in pandas too


def test_description_gives_the_true_counts(flights):
    n_samples = len(flights.data)
    assert n_samples == 336_776 - 9_430
    assert 8_255 + 1_175 == 9_430
    n_late = flights.target.sum()
    lines = [
        f":Number of instances: {n_samples:,}",
        f"for {n_late:,} flights, {n_late / n_samples:.1%}",
    ]
    for line in lines:
        assert line.replace("%", " %") in flights.DESCR
    for name in COLUMNS:
        row = next(line for line in flights.DESCR.splitlines() if line.startswith(f"{name} "))
        assert row.split()[1] == f"{flights.data[name].nunique():,}"
    assert not flights.data.isna().any(axis=None)


def test_late_means_more_than_15_minutes(flights):
    delay = load_flights(target="delay").target
    assert delay.dtype == np.float64
    assert delay.name == "delay"
    assert (delay % 1 == 0).all()
    assert {15.0, 16.0} < set(delay)
    np.testing.assert_array_equal(flights.target, delay > 15)
    assert flights.target.dtype == np.int64


def test_delay_replaces_late_in_the_frame():
    flights = load_flights(target="delay")
    assert list(flights.frame) == [*COLUMNS, "delay"]
    assert flights.target_names == ["delay"]


@pytest.mark.parametrize("target", ["late", "delay"])
@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y_gives_data_and_target(target, as_frame):
    X, y = load_flights(target=target, return_X_y=True, as_frame=as_frame)
    flights = load_flights(target=target, as_frame=as_frame)
    assert type(X) is type(flights.data)
    assert type(y) is type(flights.target)
    np.testing.assert_array_equal(X[:100], flights.data[:100])
    np.testing.assert_array_equal(y, flights.target)


def test_arrays_hold_what_the_frame_holds(flights):
    arrays = load_flights(as_frame=False)
    assert arrays.frame is None
    assert arrays.data.dtype == object
    assert arrays.data.shape == flights.data.shape
    assert arrays.feature_names == COLUMNS
    np.testing.assert_array_equal(arrays.data, flights.data.to_numpy(dtype=object))
    np.testing.assert_array_equal(arrays.target, flights.target)


@pytest.mark.parametrize("target", ["Late", "arr_delay", None, 1, ["late"]])
def test_unknown_target_is_an_error(target):
    with pytest.raises(ValueError, match="target must be 'late' or 'delay', got"):
        load_flights(target=target)
