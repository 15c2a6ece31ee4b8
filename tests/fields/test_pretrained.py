"""Embeddings that are given and read out: by code, by category, frozen or not."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder

DIM = 4


def table(rng, n=400):
    X = rng.integers(0, 12, (n, 3))
    return X, ((X[:, 0] + X[:, 1]) % 3 == 0).astype(int)


def vectors(rng, index):
    return pd.DataFrame(rng.normal(size=(len(index), DIM)).astype(np.float32), index=index)


def classifier(**params):
    # What training has made of the embeddings, whether or not a linear model predicts better.
    usual = {"embed_dim": DIM, "max_epochs": 3, "random_state": 0, "early_stopping": False}
    return DeepFMClassifier(**{**usual, **params})


@pytest.mark.parametrize(
    ("sparse_updates", "table_optimizer"), [(True, "adam"), (True, "adagrad"), (False, "adam")]
)
def test_frozen_embeddings_stay_and_all_else_is_learned(rng, sparse_updates, table_optimizer):
    X, y = table(rng)
    given = vectors(rng, [0, 3, 5, 99])  # 99 does not occur: it has no row
    params = {"sparse_updates": sparse_updates, "table_optimizer": table_optimizer}
    model = classifier(pretrained={1: given}, frozen=[1], embedding_l2=0.1, **params).fit(X, y)
    learned = model.embeddings(1)
    assert learned.index.tolist() == list(range(12))
    assert_array_equal(learned.loc[[0, 3, 5]], given.loc[[0, 3, 5]])
    rows = model._fields.offsets[1] + 1 + np.array([0, 3, 5])
    assert (model.module_.table.detach().numpy()[rows, 0] != 0).all()  # first-order weights
    plain = classifier(**params).fit(X, y)
    assert not np.isclose(learned.loc[[1, 2]], plain.embeddings(1).loc[[1, 2]]).any()


def test_embeddings_that_are_not_frozen_are_where_training_starts(rng):
    X, y = table(rng)
    given = vectors(rng, range(12))
    short = classifier(pretrained={"1": given}, learning_rate=1e-9, embedding_l2=0)
    frame = pd.DataFrame(X, columns=["0", "1", "2"])
    assert_allclose(short.fit(frame, y).embeddings("1"), given, atol=1e-6)
    trained = classifier(pretrained={"1": given}, learning_rate=0.05).fit(frame, y)
    assert not np.isclose(trained.embeddings("1"), given).any()


def test_array_stands_for_the_codes_from_zero(rng):
    X, y = table(rng)
    array = rng.normal(size=(12, DIM))
    model = classifier(pretrained={0: array}, frozen=[0]).fit(X, y)
    assert_array_equal(model.embeddings(0), array.astype(np.float32))


def test_categories_name_their_embeddings(rng):
    X, y = table(rng)
    frame = pd.DataFrame(X, columns=list("abc"))
    frame["b"] = pd.Categorical(frame["b"].map("code {}".format))
    given = vectors(rng, ["code 7", "code 11", "none"])
    model = classifier(pretrained={"b": given}, frozen=["b"]).fit(frame, y)
    learned = model.embeddings("b")
    assert learned.index.name == "b"
    assert set(learned.index) == set(frame["b"])
    assert_array_equal(learned.loc[["code 7", "code 11"]], given.iloc[:2])


def test_through_a_pipeline_by_category(rng):
    X, y = table(rng)
    frame = pd.DataFrame(X, columns=list("abc")).map("n{}".format)
    given = vectors(rng, ["n7", "elsewhere", "n2"])
    encoder = OrdinalFieldEncoder().fit(frame)
    by_code = encoder.by_code("b", given)
    assert (
        by_code.index.tolist()
        == encoder.transform(pd.DataFrame({"a": "n1", "b": ["n7", "n2"], "c": "n1"}))[:, 1].tolist()
    )
    model = make_pipeline(encoder, classifier(pretrained={1: by_code}, frozen=[1])).fit(frame, y)
    learned = model[0].by_category("b", model[-1].embeddings(1))
    assert_array_equal(np.sort(learned.index), np.unique(frame["b"]))
    assert_array_equal(learned.loc[["n7", "n2"]], given.loc[["n7", "n2"]])


def test_members_of_lists_have_embeddings_too(rng):
    baskets = [rng.choice(["tea", "milk", "rice"], n).tolist() for n in rng.integers(1, 4, 60)]
    X = pd.DataFrame({"basket": baskets})
    given = vectors(rng, ["tea", "rice"])
    encoder = OrdinalFieldEncoder().fit(X)
    by_code = encoder.by_code("basket", given)
    model = classifier(pretrained={"basket": by_code}, frozen=["basket"])
    model.fit(encoder.transform(X), np.arange(60) % 2)
    learned = encoder.by_category("basket", model.embeddings("basket"))
    assert_array_equal(learned.loc[["tea", "rice"]], given)


def test_frozen_rows_stay_frozen_when_the_table_grows_and_after_pickling(rng):
    X, y = table(rng)
    given = vectors(rng, range(12))
    model = classifier(pretrained={1: given}, frozen=[1])
    model.partial_fit(X, y, classes=[0, 1])
    model = pickle.loads(pickle.dumps(model))
    model.partial_fit(X + 3, y)
    learned = model.embeddings(1)
    assert_array_equal(learned.loc[range(12)], given)
    assert learned.index.tolist() == list(range(15))
    before = learned.loc[13].copy()
    model.partial_fit(X + 3, y)
    assert not np.isclose(model.embeddings(1).loc[13], before).any()


def test_clone_has_the_same_embeddings(rng):
    X, y = table(rng)
    model = classifier(pretrained={0: vectors(rng, range(12))}, frozen=[0])
    first, second = model.fit(X, y), clone(model).fit(X, y)
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"pretrained": {0: np.zeros((2, 4))}, "components": ("linear",)},
            r"pretrained gives embeddings, which components=\('linear',\) has none of",
        ),
        ({"pretrained": [1]}, "pretrained must be None or a dict from a column's name or position"),
        ({"pretrained": {0: np.zeros(4)}}, "pretrained must be .*a data frame or array of shape"),
        ({"pretrained": {9: np.zeros((2, 4))}}, "pretrained names the column 9, which is none of"),
        ({"pretrained": {"u": np.zeros((2, 4))}}, "pretrained names the column 'u', which is none"),
        ({"pretrained": {0: np.zeros((2, 5))}}, r"column 0 4 finite numbers .* shape \(2, 5\)"),
        ({"pretrained": {0: np.full((2, 4), np.nan)}}, "column 0 4 finite numbers per code"),
        ({"pretrained": {0: [["a", "b", "c", "d"]]}}, "column 0 4 finite numbers per code"),
        (
            {"pretrained": {0: pd.DataFrame(np.zeros((1, 4)), index=[77])}},
            r"column 0 embeddings of codes or categories that fit saw, got the index \[77\]",
        ),
        ({"frozen": [0]}, "frozen names column 0, which pretrained gives no embeddings"),
        ({"frozen": "a"}, "frozen must be None or a list of column names or positions"),
        (
            {"pretrained": {0: pd.DataFrame(np.zeros((2, 4)), index=["a", "b"])}},
            r"by code, a whole number, got the index \['a', 'b'\]. OrdinalFieldEncoder.by_code",
        ),
        (
            {"pretrained": {0: pd.DataFrame(np.zeros((2, 4)), index=[3, 3])}},
            "pretrained must give column 0 each code once: 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(params, message, rng):
    with pytest.raises(ValueError, match=message):
        classifier(**params).fit(*table(rng))


def test_columns_of_numbers_have_no_embedding_by_code(rng):
    X, y = table(rng)
    with pytest.raises(ValueError, match="pretrained names column 0, which holds numbers"):
        classifier(pretrained={0: np.zeros((2, DIM))}).fit(X * 0.5, y)
    model = classifier().fit(X * 0.5, y)
    with pytest.raises(ValueError, match="field must name a column of codes, and 0 holds numbers"):
        model.embeddings(0)
    encoder = OrdinalFieldEncoder(numeric_features=[0]).fit(X)
    with pytest.raises(ValueError, match="field must be a column of categories .* got 0"):
        encoder.by_code(0, pd.DataFrame())
    with pytest.raises(ValueError, match="Column 1 held numbers .* and holds strings now"):
        encoder.by_code(1, pd.DataFrame({"v": [1.0]}, index=["a"]))


def test_a_column_is_named_once(rng):
    X, y = table(rng)
    twice = {"a": vectors(rng, range(12)), 0: vectors(rng, range(12))}
    with pytest.raises(ValueError, match=r"pretrained names a column twice: \['a', 0\]"):
        classifier(pretrained=twice).fit(pd.DataFrame(X, columns=list("abc")), y)
