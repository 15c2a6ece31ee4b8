"""Contributions against the formula written out, and what they say of planted interactions."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    contributions,
    importances,
    nearest_categories,
)
from sklearn_deepfm._fields.read_columns import read_columns
from sklearn_deepfm.datasets import load_flights

SMALL = {"embed_dim": 4, "mlp_dims": (8,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def flights():
    X, y = load_flights(return_X_y=True)
    rows = np.random.default_rng(0).choice(len(X), 600, replace=False)
    names = ["month", "weekday", "carrier", "origin", "dest"]
    return X.iloc[rows][names], y.iloc[rows]


@pytest.fixture
def mixed(rng):
    """Codes, numbers with gaps, and bags."""
    n = 300
    X = pd.DataFrame(
        {
            "user": rng.integers(0, 20, n),
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "tags": [list(rng.integers(0, 6, k)) for k in rng.integers(0, 4, n)],
            "item": rng.integers(0, 9, n),
        }
    )
    X["tags"] = X["tags"].astype(pd.ArrowDtype(pa.list_(pa.int32())))
    return X, (X["user"] + X["item"]) % 3


def fit_for(kind, X, y, **params):
    """A small fitted estimator and its prediction as a sum."""
    params = {**SMALL, **params}
    if kind == "binary":
        model = DeepFMClassifier(**params).fit(X, y == 0)
        return model, model.decision_function(X)
    if kind == "multiclass":
        model = DeepFMClassifier(**params).fit(X, y)
        return model, model.decision_function(X)
    if kind == "labels":
        model = DeepFMClassifier(**params).fit(X, np.column_stack([y == 0, y == 1]).astype(int))
        return model, model.decision_function(X)
    if kind == "number":
        model = DeepFMRegressor(**params).fit(X, 100 + 20 * y)
        return model, model.predict(X)
    model = DeepFMRegressor(**params).fit(X, np.column_stack([y, 1e3 - y]))
    return model, model.predict(X)


KINDS = ["binary", "multiclass", "labels", "number", "numbers"]


@pytest.mark.parametrize("components", [("linear", "fm", "deep"), ("fm",), ("linear", "deep")])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_contributions_add_up_to_the_prediction(mixed, kind, n_members, components):
    X, y = mixed
    model, expected = fit_for(kind, X, y, n_members=n_members, components=components)
    for terms in ("effects", "products", "formula"):
        found = contributions(model, X, terms=terms)
        size = np.abs(found.fields).sum(1) + np.abs(found.pairs).sum(1) + np.abs(found.deep)
        size = (np.abs(found.bias) + size).max()
        np.testing.assert_allclose(found.total, expected, rtol=1e-5, atol=1e-6 * size)
        assert found.fields.shape == (len(X), 4, *expected.shape[1:])
        assert found.pairs.shape == (len(X), 6, *expected.shape[1:])
        assert found.deep.shape == expected.shape


def deep_logits(model, embedding):
    """Mean of the members' MLPs for embeddings (n_rows, n_fields, n_members, embed_dim)."""
    mlps = model.module_.mlps
    with torch.no_grad():
        parts = [mlp(embedding[:, :, k].flatten(1)) for k, mlp in enumerate(mlps)]
    return torch.stack(parts).mean(0).double().numpy()


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("mlp_dims", [(), (8,), (8, 4)])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_effects_of_the_mlp_against_one_change_after_the_other(mixed, kind, mlp_dims, n_members):
    X, y = mixed
    model, _ = fit_for(kind, X, y, mlp_dims=mlp_dims, n_members=n_members, components=["deep"])
    found = contributions(model, X[:20])
    cells = read_columns(model, X[:20], reset=False)
    index, value, (members, starts, weights) = model._fields.encode(cells)
    bags = [torch.from_numpy(array) for array in (members, starts, weights)]
    module = model.module_
    with torch.no_grad():
        _, rows = module.member_terms(torch.from_numpy(index), torch.from_numpy(value), bags)
    table = module.table.detach().double().numpy()
    average = torch.from_numpy(model._fields.average_cells(table)[model._fields.order])
    average = average.view(1, 4, n_members, -1).float()
    order = [0, 1, 3, 2]  # of the columns in the network: bags come last

    def with_own(*columns):
        changed = average.expand(len(rows), -1, -1, -1).clone()
        for column in columns:
            place = order.index(column)
            changed[:, place] = rows[:, place]
        return deep_logits(model, changed)

    start, tolerance = with_own(), {"rtol": 1e-4, "atol": 1e-6}
    shape = (-1, *found.deep.shape[1:])
    single = {j: with_own(j) - start for j in range(4)}
    for j, effect in single.items():
        np.testing.assert_allclose(found.fields[:, j], effect.reshape(shape), **tolerance)
    both = 0
    for pair, (i, j) in enumerate(combinations(range(4), 2)):
        effect = with_own(i, j) - start - single[i] - single[j]
        np.testing.assert_allclose(found.pairs[:, pair], effect.reshape(shape), **tolerance)
        both = both + effect
    rest = with_own(0, 1, 2, 3) - start - sum(single.values()) - both
    np.testing.assert_allclose(found.deep, rest.reshape(shape), **tolerance)


@pytest.mark.parametrize("kind", ["multiclass", "number"])
def test_fields_average_to_zero_over_training_rows(mixed, kind):
    X, y = mixed
    model, _ = fit_for(kind, X, y, early_stopping=False)
    found = contributions(model, X, terms="products")
    size = np.abs(found.fields).max()
    np.testing.assert_allclose(found.fields.mean(0), 0, atol=1e-6 * size + 1e-9)


def test_pairs_average_to_zero_over_either_fields_values(rng):
    X = np.column_stack([rng.integers(0, d, 200) for d in (5, 7)])
    params = {**SMALL, "learning_rate": 0.05, "max_epochs": 20, "components": ["linear", "fm"]}
    model = DeepFMClassifier(early_stopping=False, **params).fit(X, (X[:, 0] + X[:, 1]) % 2)
    assert np.abs(contributions(model, X).pairs).max() > 0.1
    for fixed in range(2):
        rows = X.copy()
        rows[:, fixed] = 3  # one value of a field, beside the training rows' of the other
        assert abs(contributions(model, rows).pairs.mean()) < 1e-6


def test_weights_count_in_the_average(rng):
    X = np.column_stack([rng.integers(0, 5, 200), rng.integers(0, 3, 200)])
    weight = rng.random(200)
    model = DeepFMClassifier(early_stopping=False, **SMALL).fit(X, X[:, 0] % 2, weight)
    fields = contributions(model, X, terms="products").fields
    np.testing.assert_allclose(weight @ fields / weight.sum(), 0, atol=1e-6 * np.abs(fields).max())


def test_bias_is_the_logit_of_a_row_of_unknown_categories(rng):
    X = np.column_stack([rng.integers(0, 5, 200), rng.integers(0, 3, 200)])
    model = DeepFMClassifier(**SMALL).fit(X, X[:, 0] % 2)
    unknown = model.decision_function([[99, 99]])
    found = contributions(model, [[99, 99]])
    assert found.bias == pytest.approx(unknown[0], rel=1e-5)
    np.testing.assert_allclose(found.fields, 0, atol=1e-6)
    np.testing.assert_allclose(found.pairs, 0, atol=1e-6)
    np.testing.assert_allclose(found.deep, 0, atol=1e-6)


def planted(rng, n=4000):
    """Labels by the main effect of c and the interaction of a and b."""
    X = pd.DataFrame({name: rng.integers(0, 6, n) for name in "abcd"})
    logit = 2.0 * np.where((X["a"] + X["b"]) % 2 == 0, 1, -1) + 0.5 * (X["c"] - 2.5)
    return X, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


@pytest.mark.parametrize(
    ("seed", "components"), [(0, ["linear", "fm"]), (1, ["linear", "fm", "deep"])]
)
def test_planted_interaction_is_ranked_first(seed, components):
    X, y = planted(np.random.default_rng(seed))
    model = DeepFMClassifier(components=components, random_state=seed).fit(X, y)
    found = importances(model, X)
    assert found.pairs.index[0] == ("a", "b")
    assert found.pairs["strength"].iloc[0] > 4 * found.pairs["strength"].iloc[1]
    assert found.fields["strength"].idxmax() == "c"
    assert set(found.fields["total"].nlargest(3).index) == {"a", "b", "c"}


def test_importances_are_the_moments_of_the_contributions(mixed, monkeypatch):
    X, y = mixed
    model, _ = fit_for("multiclass", X, y)
    monkeypatch.setattr(
        "sklearn_deepfm._inspection.contribution_terms.MOST_PRODUCTS", 1000
    )  # parts of 62 rows
    found, terms = importances(model, X), contributions(model, X)
    fields, pairs = np.abs(terms.fields).mean(2), np.abs(terms.pairs).mean(2)
    by_field = found.fields.loc[terms.field_names]
    np.testing.assert_allclose(by_field["strength"], fields.mean(0))
    np.testing.assert_allclose(by_field["error"], fields.std(0, ddof=1) / np.sqrt(len(X)))
    by_pair = found.pairs.loc[terms.pair_names]
    np.testing.assert_allclose(by_pair["strength"], pairs.mean(0))
    np.testing.assert_allclose(by_pair["error"], pairs.std(0, ddof=1) / np.sqrt(len(X)))
    in_pairs = [
        sum(s for pair, s in by_pair["strength"].items() if name in pair) / 2
        for name in terms.field_names
    ]
    np.testing.assert_allclose(by_field["in_pairs"], in_pairs)
    np.testing.assert_allclose(by_field["total"], by_field["strength"] + in_pairs)
    parts = [terms.fields.sum(1), terms.pairs.sum(1), terms.deep]
    deviations = np.array([np.sqrt(part.var(0).mean()) for part in parts])
    np.testing.assert_allclose(found.shares, deviations / deviations.sum())
    assert found.n_samples == len(X)
    matrix = found.matrix()
    assert matrix.loc["user", "item"] == matrix.loc["item", "user"] > 0
    assert (np.diag(matrix) == 0).all()


def test_deep_share_is_1_for_a_deep_model_and_0_without(rng):
    X = np.column_stack([rng.integers(0, 5, 200), rng.integers(0, 3, 200)])
    y = X[:, 0] % 2
    for components, share in [(["deep"], 1), (["linear"], 0), (["linear", "fm"], 0)]:
        model = DeepFMClassifier(components=components, **SMALL).fit(X, y)
        assert importances(model, X, terms="products").shares["deep"] == share
        # Two fields have no effects but those of each and of both.
        assert importances(model, X).shares["deep"] < 1e-5


def test_pipeline_shows_the_values_that_its_encoder_was_given(flights):
    X, y = flights
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
    found = contributions(model, X)
    pd.testing.assert_frame_equal(found.values, X)
    frame = found.to_frame()
    assert frame.index.equals(X.index)
    assert frame.columns[:3].tolist() == ["bias", "month", "weekday"]
    assert "carrier x dest" in frame.columns
    np.testing.assert_allclose(frame.sum(axis=1), model.decision_function(X), rtol=1e-5, atol=1e-6)
    search = GridSearchCV(model, {"deepfmclassifier__embed_dim": [2]}, cv=2).fit(X, y)
    again = contributions(search, X[:5])
    np.testing.assert_allclose(again.total, search.decision_function(X[:5]), rtol=1e-5)


def test_columns_of_weights_are_no_fields():
    X = pd.DataFrame(
        {"tags": ["a|b", "b", "a"] * 30, "w": ["1|2", "1", "3"] * 30, "user": [1, 2, 3] * 30}
    )
    encoder = OrdinalFieldEncoder(separators={"tags": "|", "w": "|"}, member_weights={"tags": "w"})
    model = make_pipeline(encoder, DeepFMClassifier(**SMALL)).fit(X, [1, 0, 1] * 30)
    found = contributions(model, X[:3])
    assert found.field_names == ["tags", "user"]
    assert found.values["tags"].tolist() == ["a|b", "b", "a"]


def test_one_output_is_chosen_by_its_name(mixed):
    X, y = mixed
    names = np.array(["low", "mid", "high"])[y]
    model = DeepFMClassifier(**SMALL).fit(X, names)
    found = contributions(model, X)
    assert found.output_names == ["high", "low", "mid"]
    low = found.of_output("low")
    np.testing.assert_allclose(low.total, model.decision_function(X)[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.to_frame("low").sum(axis=1), low.total)
    with pytest.raises(ValueError, match="output must be one of .*'high', 'low', 'mid'"):
        found.to_frame()
    with pytest.raises(ValueError, match="output must be None for a model of one output"):
        low.of_output("low")


def test_another_model_is_refused():
    X, y = [[0], [1]] * 10, [0, 1] * 10
    with pytest.raises(TypeError, match="model must be a fitted DeepFM.*got LogisticRegression"):
        contributions(make_pipeline(LogisticRegression()).fit(X, y), X)
    with pytest.raises(ValueError, match="terms must be one of .*got 'raw'"):
        contributions(DeepFMClassifier(**SMALL).fit(X, y), X, terms="raw")
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        importances(DeepFMClassifier(**SMALL).fit(X, y), X[:1])


def test_nearest_categories_by_name(rng):
    n = 3000
    city = rng.choice(["Rome", "Oslo", "Bonn", "Lima"], n)
    hour = rng.integers(0, 24, n)
    late = np.where(np.isin(city, ["Rome", "Lima"]), hour < 12, hour >= 12)
    X = pd.DataFrame({"hour": hour, "city": city})
    params = {"components": ["linear", "fm"], "learning_rate": 0.01, "random_state": 0}
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**params)).fit(X, late)
    found = nearest_categories(model, "city", "Rome")
    assert found.index[0] == "Lima"
    assert found.index.name == "city"
    assert found["similarity"].iloc[0] > 0.8 > 0 > found["similarity"].iloc[1]
    embeddings = model[-1].embeddings(1)
    frame = model[0].by_category("city", embeddings)
    rome, lima = frame.loc["Rome"].to_numpy(), frame.loc["Lima"].to_numpy()
    cosine = rome @ lima / np.linalg.norm(rome) / np.linalg.norm(lima)
    assert found["similarity"].iloc[0] == pytest.approx(cosine, rel=1e-5)
    assert found["distance"].iloc[0] == pytest.approx(np.linalg.norm(rome - lima), rel=1e-5)
    with pytest.raises(ValueError, match="category must be one of field 'city'.*got 'Paris'"):
        nearest_categories(model, "city", "Paris")


@pytest.mark.parametrize("field", ["tags", 1])
def test_field_by_position_is_that_field_where_a_column_of_weights_comes_first(field):
    X = pd.DataFrame(
        {
            "user": ["u", "v", "x"] * 30,
            "w": ["1|2", "1", "3"] * 30,
            "tags": ["a|b", "b", "a"] * 30,
        }
    )
    encoder = OrdinalFieldEncoder(separators={"tags": "|", "w": "|"}, member_weights={"tags": "w"})
    model = make_pipeline(encoder, DeepFMClassifier(**SMALL)).fit(X, [1, 0, 1] * 30)
    found = nearest_categories(model, field, "a")
    embeddings = encoder.by_category("tags", model[-1].embeddings(1))
    one, other = embeddings.loc["a"].to_numpy(), embeddings.loc["b"].to_numpy()
    assert found.index.tolist() == ["b"]
    assert found["distance"].item() == pytest.approx(np.linalg.norm(one - other), rel=1e-5)


@pytest.mark.parametrize("field", ["usr", 9, -1, None])
def test_no_such_field(field, flights):
    X, y = flights
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
    with pytest.raises(ValueError, match="field must be one of .*'month'.* from 0 to 4, got"):
        nearest_categories(model, field, "JFK")


def test_categories_of_strange_types_and_models_without_embeddings(flights):
    X, y = flights
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
    with pytest.raises(ValueError, match=r"category must be one of field 'dest'.*got \['JFK'\]"):
        nearest_categories(model, "dest", ["JFK"])
    model.set_params(deepfmclassifier__components=["linear"]).fit(X, y)
    with pytest.raises(ValueError, match="components must have 'fm' or 'deep'"):
        nearest_categories(model, "dest", "JFK")


def test_names_and_values_are_found_in_pipelines_of_any_form(flights):
    X, y = flights
    plain = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
    forms = {
        "nested": make_pipeline(make_pipeline(OrdinalFieldEncoder()), DeepFMClassifier(**SMALL)),
        "function": make_pipeline(
            FunctionTransformer(), "passthrough", OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)
        ),
    }
    for model in forms.values():
        found = contributions(model.fit(X, y), X)
        pd.testing.assert_frame_equal(found.values, X)
        np.testing.assert_array_equal(found.total, contributions(plain, X).total)
        assert nearest_categories(model, "dest", "LAX").index.name == "dest"
    codes = ColumnTransformer(
        [("codes", OrdinalFieldEncoder(), ["dest", "origin"])], verbose_feature_names_out=False
    )
    model = make_pipeline(codes, DeepFMClassifier(**SMALL)).fit(X, y)
    assert contributions(model, X).field_names == ["dest", "origin"]
    assert nearest_categories(model, "origin", 2).index.name == "origin"


@pytest.mark.parametrize("library", ["polars", "pyarrow", "numpy"])
def test_any_table_gives_the_same_contributions(library, flights):
    X, y = flights
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
    expected = contributions(model, X).fields
    if library == "numpy":
        table = X.to_numpy(dtype=object)
        model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(table, y)
        assert contributions(model, table).field_names == [0, 1, 2, 3, 4]
    else:
        table = pa.Table.from_pandas(X, preserve_index=False)
        table = pl.from_arrow(table) if library == "polars" else table
    found = contributions(model, table)
    np.testing.assert_allclose(found.fields, expected, rtol=1e-6, atol=1e-9)
    assert found.values.iloc[:, 4].astype(str).tolist() == X["dest"].astype(str).tolist()


@pytest.mark.parametrize("cells", [["p", "q"], [["p", "q"], ["r"]]], ids=["strings", "lists"])
def test_rows_that_are_lists_are_explained_as_they_are_predicted(cells):
    rows = [[city, number, cells[number % 2]] for city in "abc" for number in range(4)] * 4
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(rows, [0, 1] * 24)
    found = contributions(model, rows[:5])
    np.testing.assert_allclose(found.total, model.decision_function(rows[:5]), rtol=1e-5, atol=1e-6)
    assert found.values.to_numpy(dtype=object).tolist() == rows[:5]
    assert len(importances(model, rows).fields) == 3


def test_search_without_refit_is_refused(flights):
    X, y = flights
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL))
    search = GridSearchCV(model, {"deepfmclassifier__embed_dim": [2]}, cv=2, refit=False)
    with pytest.raises(TypeError, match="a fitted search over these with refit, got GridSearchCV"):
        contributions(search.fit(X, y), X)


def test_names_of_two_levels(rng):
    codes = rng.integers(0, 4, (200, 3))
    X = pd.DataFrame(codes, columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    found = importances(DeepFMClassifier(**SMALL).fit(codes, codes[:, 0] > 1), codes)
    assert found.matrix().shape == (3, 3)
    names = X.columns.tolist()
    pairs = found.pairs.set_axis(pd.Index([(names[i], names[j]) for i, j in found.pairs.index]))
    renamed = replace(found, fields=found.fields.rename(dict(enumerate(names))), pairs=pairs)
    np.testing.assert_array_equal(renamed.matrix(), found.matrix())
