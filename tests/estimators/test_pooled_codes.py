"""Columns of codes whose neighbours share table rows, because y says so, in whole estimators."""

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    contributions,
    importances,
    nearest_categories,
)

QUICK = {"max_epochs": 2, "mlp_dims": (8,), "random_state": 0}
KINDS = ["pooled", "codes", "pooled", "codes"]


@pytest.fixture(scope="module")
def data():
    """A quantity, ids, fractions and names, all of which matter."""
    rng = np.random.default_rng(0)
    n = 3000
    X = pd.DataFrame(
        {
            "amount": np.exp(rng.normal(5, 1, n)).astype(int),
            "user": rng.integers(100, 250, n),
            "share": rng.random(n),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
        }
    )
    X.loc[::9, "share"] = np.nan
    logit = np.log(X["amount"]) - 5 + rng.normal(size=250)[X["user"]] + 3 * X["share"].fillna(0.5)
    amount = (logit - logit.mean() + rng.logistic(size=n)).to_numpy()
    return X, (amount > 0).astype(int), amount


@pytest.fixture(scope="module")
def model(data):
    X, y, _ = data
    return make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**QUICK)).fit(X, y)


def test_y_tells_quantities_from_ids(model, data):
    X, _, amount = data
    assert model[-1].field_kinds_ == KINDS
    regressor = make_pipeline(OrdinalFieldEncoder(), DeepFMRegressor(**QUICK)).fit(X, amount)
    assert regressor[-1].field_kinds_ == KINDS
    classes = np.digitize(amount, [-1, 1])
    several = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**QUICK)).fit(X, classes)
    assert several[-1].field_kinds_ == KINDS


@pytest.mark.filterwarnings("ignore:Column 'amount'. fit never saw")
def test_numbers_between_known_ones_are_predicted(data):
    X, y, _ = data
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=8, random_state=0))
    model.fit(X[:2000], y[:2000])
    rest = X[2000:].assign(user=1, share=0.5, city="Rome")
    ascending = rest.assign(amount=np.linspace(20, 1500, len(rest)).astype(int))
    scores = model.decision_function(ascending)
    assert np.corrcoef(scores, np.log(ascending["amount"]))[0, 1] > 0.8


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ({"categorical_features": ["amount"]}, ["codes", "codes", "pooled", "codes"]),
        ({"numeric_features": ["user"]}, ["pooled", "pooled", "pooled", "codes"]),
        ({"hash_dims": 2**10}, ["codes", "codes", "pooled", "codes"]),
        ({"n_bins": None}, ["pooled", "codes", "numbers", "codes"]),
    ],
    ids=str,
)
def test_encoder_overrides_what_y_says(encoder, expected, data):
    X, y, _ = data
    model = make_pipeline(OrdinalFieldEncoder(**encoder), DeepFMClassifier(**QUICK)).fit(X, y)
    assert model[-1].field_kinds_ == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ([0, 1, 2, 3], ["codes"] * 4),
        ([1, 3], ["numbers", "codes", "numbers", "codes"]),
        (None, ["numbers"] * 4),
    ],
    ids=str,
)
def test_estimator_overrides_what_y_says(choice, expected, data):
    X, y, _ = data
    codes = OrdinalFieldEncoder().fit_transform(X)
    model = DeepFMClassifier(categorical_features=choice, **QUICK).fit(codes, y)
    assert model.field_kinds_ == expected


def test_category_columns_and_pretrained_ones_stay_categories(data):
    X, y, _ = data
    table = X[["amount", "user"]]
    assert DeepFMClassifier(**QUICK).fit(table, y).field_kinds_ == ["pooled", "codes"]
    as_categories = DeepFMClassifier(**QUICK).fit(table.astype({"amount": "category"}), y)
    assert as_categories.field_kinds_ == ["codes", "codes"]
    given = pd.DataFrame(np.ones((2, 16)), index=table["amount"].unique()[:2])
    model = DeepFMClassifier(pretrained={"amount": given}, **QUICK).fit(table, y)
    assert model.field_kinds_ == ["codes", "codes"]


def test_decision_stands_in_pickles_and_is_kept_by_later_fits(model, data):
    X, y, _ = data
    expected = model.predict_proba(X)
    copied = pickle.loads(pickle.dumps(model))
    assert copied[-1].field_kinds_ == KINDS
    assert_array_equal(copied.predict_proba(X), expected)
    codes, noise = model[0].transform(X), np.random.default_rng(1).integers(0, 2, len(y))
    assert copied[-1].partial_fit(codes, noise).field_kinds_ == KINDS
    warm = copied[-1].set_params(warm_start=True).fit(codes, noise)
    assert warm.field_kinds_ == KINDS


def test_decision_is_one_for_all_members_and_for_streams(data, tmp_path, monkeypatch):
    X, y, _ = data
    members = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(n_members=3, **QUICK))
    assert members.fit(X, y)[-1].field_kinds_ == KINDS
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", 100)
    pa.parquet.write_table(pa.Table.from_pandas(X.assign(y=y)), tmp_path / "part.parquet")
    dataset = ds.dataset(tmp_path)
    encoder = OrdinalFieldEncoder()
    stream = encoder.fit_transform(dataset, "y")
    streamed = DeepFMClassifier(**QUICK).fit(stream, "y")
    assert streamed.field_kinds_ == KINDS
    assert streamed.predict_proba(encoder.transform(X)).shape == (len(X), 2)


def test_numbers_learned_later_get_rows_and_others_keep_theirs(model, data):
    X, y, _ = data
    model = pickle.loads(pickle.dumps(model))
    dims = model[-1].field_dims_
    new = X.assign(amount=10**6, user=X["user"] + 1000)
    codes = model[0].partial_fit(new).transform(new)
    model[-1].partial_fit(codes, y)
    grown = model[-1].field_dims_
    assert (grown - dims).tolist() == [1, X["user"].nunique(), 0, 0]


def test_models_explain_pooled_columns(model, data):
    X, _, _ = data
    parts = contributions(model, X[:60])
    assert_allclose(parts.total, model.decision_function(X[:60]), atol=1e-5)
    assert importances(model, X[:200]).fields.index.sort_values().tolist() == sorted(X)
    amount = X["amount"].mode()[0]
    found = nearest_categories(model, "amount", amount)
    assert set(found.index) <= set(X["amount"])
    codes = model[-1].embeddings(0)
    assert len(model[0].by_category("amount", codes)) == len(codes)


def test_table_of_columns_is_printed_once(data, capsys):
    X, y, _ = data
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(verbose=1, **QUICK)).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["column", "kind", "values", "unknown", "table", "rows"]
    assert [line.split()[1] for line in lines[1:5]] == KINDS
    model[-1].partial_fit(model[0].transform(X), y)
    assert "column" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Column 'id'. fit never saw")
def test_unknown_are_cells_without_a_row_or_a_place(capsys):
    n = 1000
    X = pd.DataFrame({"amount": np.arange(n) * 7, "id": np.arange(n) % 50 * 9})
    encoder = OrdinalFieldEncoder(categorical_features=["id"]).set_output(transform="pandas")
    train = encoder.fit_transform(X)
    y = (X["amount"] > X["amount"].median()).astype(int)
    valid = encoder.transform(X.assign(amount=X["amount"] + 3, id=np.where(y, X["id"], 1)))
    DeepFMClassifier(verbose=1, **QUICK).fit(train, y, X_val=valid, y_val=y)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [line[:4] for line in lines] == [
        ["amount", "pooled", "1,000", "0.0%"],
        ["id", "codes", "50", "50.0%"],
    ]


def test_html_names_the_kinds(model):
    assert "<td>pooled</td>" in model[-1]._repr_html_()


def test_weights_and_labels_and_few_rows_are_taken(data):
    X, y, amount = data
    codes = OrdinalFieldEncoder().fit_transform(X)
    labels = np.stack([y, 1 - y], axis=1)
    assert DeepFMClassifier(**QUICK).fit(codes, labels).field_kinds_ == KINDS
    outputs = np.stack([amount, amount**2], axis=1)
    assert DeepFMRegressor(**QUICK).fit(codes, outputs).field_kinds_[0] == "pooled"
    weight = np.arange(len(y)) % 3
    weighted = DeepFMClassifier(**QUICK).fit(codes, y, sample_weight=weight)
    assert weighted.field_kinds_ == KINDS
    few = DeepFMClassifier(**QUICK).fit(codes[:5], [0, 1, 0, 1, 1])
    assert few.predict_proba(codes).shape == (len(codes), 2)
