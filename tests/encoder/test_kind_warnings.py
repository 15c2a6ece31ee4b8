"""Columns that are probably not what their type makes of them are named, and others are not."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

BOTH = "categorical_features", "numeric_features"


@pytest.fixture
def ids(rng):
    """Ids of 64 bits, of which pandas makes floats where some are missing."""
    return pd.Series(rng.choice(rng.integers(2**61, 2**62, 60), 300)).astype("Int64")


# Whole numbers as floats


@pytest.mark.parametrize("n_rows", [5, 300])
def test_ids_that_became_floats_beyond_2_to_the_53_are_named(n_rows, ids, tmp_path):
    frame = pd.DataFrame({"user": ids[:n_rows].where(np.arange(n_rows) % 10 > 0)})
    frame.assign(n=1).to_csv(tmp_path / "ids.csv", index=False)
    read = pd.read_csv(tmp_path / "ids.csv")[["user"]]
    assert read["user"].dtype == "float64"
    with pytest.warns(UserWarning, match=r"'user' holds whole numbers as floats.*'user': 'Int64'"):
        OrdinalFieldEncoder().fit(read)
    for chosen in BOTH:
        OrdinalFieldEncoder(**{chosen: ["user"]}).fit(read)  # warnings are errors here
    OrdinalFieldEncoder().fit(pd.read_csv(tmp_path / "ids.csv", dtype={"user": "Int64"})[["user"]])


def test_ids_that_became_floats_are_named_in_a_data_set(ids):
    floats = ids.astype("Float64").where(np.arange(300) % 10 > 0)
    dataset = ds.dataset(pa.table({"user": floats, "y": np.arange(300) % 2}))
    with pytest.warns(UserWarning, match="'user' holds whole numbers as floats"):
        OrdinalFieldEncoder().fit(dataset, "y")


def test_large_quantities_are_no_ids(rng):
    # Warnings are errors here.
    OrdinalFieldEncoder().fit(pd.DataFrame({"size": rng.lognormal(30, 9, 300)}))
    OrdinalFieldEncoder().fit(pd.DataFrame({"size": 2.0 ** rng.integers(60, 90, 300)}))


@pytest.mark.filterwarnings("ignore:Column 'user'. fit never saw")
@pytest.mark.parametrize("params", [{}, {"categorical_features": ["user"]}, {"min_frequency": 2}])
@pytest.mark.parametrize("n_rows", [1, 30])
def test_ids_that_are_floats_at_serving_are_named(n_rows, params, ids):
    encoder = OrdinalFieldEncoder(**params).fit(pd.DataFrame({"user": ids}))
    as_floats = pd.DataFrame({"user": ids[:n_rows].astype("float64")})
    with pytest.warns(UserWarning, match=r"'user' held integers beyond 2\*\*53.*: 'Int64'"):
        encoder.transform(as_floats)
    encoder.transform(pd.DataFrame({"user": ids[:n_rows]}))


@pytest.mark.parametrize(
    ("params", "code"), [({}, 3), ({"categorical_features": ["age"]}, 1), ({"min_frequency": 2}, 1)]
)
@pytest.mark.parametrize("n_rows", [1, 30])
def test_fraction_in_a_column_of_whole_numbers_warns_in_a_single_row_too(n_rows, params, code):
    encoder = OrdinalFieldEncoder(**params).fit(pd.DataFrame({"age": [20, 30, 40] * 10 + [50]}))
    with pytest.warns(UserWarning, match=r"'age' held whole numbers.*1 of the numbers.*25\.5"):
        codes = encoder.transform(pd.DataFrame({"age": [25.5] + [30.0] * (n_rows - 1)}))
    assert codes[0, 0] == code
    encoder.transform(pd.DataFrame({"age": [20.0, np.nan]}))  # warnings are errors here


def test_few_fractions_that_make_a_quantity_of_whole_numbers_are_named(rng):
    ages = rng.integers(18, 90, 1000).astype(float)
    ages[5] = 25.5
    frame = pd.DataFrame({"age": ages})
    with pytest.warns(UserWarning, match=r"'age' holds whole numbers but for a few.* 25\.5"):
        OrdinalFieldEncoder().fit(frame)
    for chosen in BOTH:
        OrdinalFieldEncoder(**{chosen: ["age"]}).fit(frame)
    OrdinalFieldEncoder().fit(frame.round())
    frame.loc[:50, "age"] += 0.5  # no longer few
    OrdinalFieldEncoder().fit(frame)


# A choice of the user is not doubted


@pytest.mark.parametrize("n_bins", ["auto", None])
def test_numeric_features_are_never_doubted(n_bins):
    X = pd.DataFrame({"n": np.arange(1000) % 77, "i": np.arange(1000), "f": np.arange(1000.0)})
    y = np.arange(1000) % 2
    encoder = OrdinalFieldEncoder(numeric_features=list(X), n_bins=n_bins)
    model = make_pipeline(encoder, DeepFMClassifier(max_epochs=1, mlp_dims=(), random_state=0))
    model.fit(X, y)  # warnings are errors here
    model.fit(ds.dataset(pa.table({**X, "y": y})), "y")
    codes = encoder.transform(X)
    model[-1].partial_fit(codes, y)
    model[-1].fit(codes[:500], y[:500], X_val=codes[500:], y_val=y[500:])


def test_numbers_that_nobody_named_are_still_doubted():
    X = pd.DataFrame({"a": np.arange(1000) % 77 + 0.0, "b": np.arange(1000) % 77 + 0.0})
    encoder = OrdinalFieldEncoder(numeric_features=["a"], n_bins=None)
    passed = encoder.fit_transform(X)
    with pytest.warns(UserWarning, match="'b' .* holds 77 whole numbers") as caught:
        DeepFMClassifier(max_epochs=1, mlp_dims=()).fit(
            passed.assign(b=X["b"]), np.arange(1000) % 2
        )
    assert len(caught) == 1


# Dates as strings

FORMS = [
    "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f+01:00", "%Y/%m/%d",
    "%Y%m%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%m/%d/%Y %I:%M %p", "%d-%b-%Y", "%d %B %Y",
    "%B %d, %Y", "%b %d %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%Y-%m", "%H:%M", "%H:%M:%S",
    "%I:%M %p",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_strings_that_look_like_dates_are_named(form):
    days = pd.date_range("2020-01-01 00:10", periods=50, freq="32D23min").strftime(form)
    frame = pd.DataFrame({"day": days.repeat(4)})
    with pytest.warns(UserWarning, match=r"'day' holds \d\d strings that look.*to_datetime"):
        OrdinalFieldEncoder().fit(frame)
    OrdinalFieldEncoder(categorical_features=["day"]).fit(frame)


@pytest.mark.parametrize(
    "text",
    [
        "k{}", "{}", "{}.0.1999", "10.0.0.{}", "+49 30 {}-1999", "may {}", "12-{}-99999",
        "2020-{}-A", "{}:99", "99991231{}", "Decatur {}, 2020",
    ],
)  # fmt: skip
def test_other_strings_are_no_dates(text):
    values = [text.format(i) for i in range(100, 160)]
    OrdinalFieldEncoder().fit(pd.DataFrame({"a": values * 3}))  # warnings are errors here


# New values


def test_new_amounts_are_no_surprise_and_new_ids_are():
    amounts = pd.DataFrame({"amount": np.arange(500) * 7})
    encoder = OrdinalFieldEncoder().fit(amounts)
    encoder.transform(amounts + 3)
    ids = pd.DataFrame({"user": np.arange(500) % 50})
    encoder = OrdinalFieldEncoder().fit(ids)
    with pytest.warns(UserWarning, match="fit never saw 50 of the 50 distinct values"):
        encoder.transform(ids + 1000)
