"""Encoder and estimator apart, and beside the tools of others: each on flights, with a score."""

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from numpy.testing import assert_array_equal
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OrdinalEncoder
from skrub import TableVectorizer

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

STRINGS = ["carrier", "origin", "dest"]
NUMBERS = ["month", "sched_dep_minute", "distance"]
FLOOR = 0.61  # of the AUC, for all ways that keep what the strings say


@pytest.fixture(scope="module")
def flights():
    """Train and test rows."""
    X, y = load_flights(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:12_000]
    X, y = X[STRINGS + NUMBERS].iloc[rows], np.asarray(y)[rows]
    X = X.astype(dict.fromkeys(STRINGS, object))
    return X[:9_000], X[9_000:], y[:9_000], y[9_000:]


def auc(model, flights):
    X_train, X_test, y_train, y_test = flights
    return roc_auc_score(y_test, model.fit(X_train, y_train).predict_proba(X_test)[:, 1])


def deepfm(**params):
    params = {"embedding_l2": 0.1, "batch_size": 128, "max_epochs": 8, **params}
    return DeepFMClassifier(random_state=0, **params)


def test_both_together(flights):
    assert auc(make_pipeline(OrdinalFieldEncoder(), deepfm()), flights) > FLOOR


def test_ordinal_encoder_of_scikit_learn_before_the_estimator(flights):
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=5, dtype=np.int32
    )
    assert auc(make_pipeline(encoder, deepfm()), flights) > FLOOR


def test_floats_of_ordinal_encoder_are_codes_by_categorical_features(flights):
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = deepfm(categorical_features=list(range(6)))
    assert auc(make_pipeline(encoder, model), flights) > FLOOR


def test_category_columns_need_no_encoder(flights):
    X_train, X_test, y_train, y_test = flights
    kinds = dict.fromkeys(STRINGS, "category")
    model = deepfm().fit(X_train.astype(kinds), y_train)
    assert roc_auc_score(y_test, model.predict_proba(X_test.astype(kinds))[:, 1]) > FLOOR


def test_encoder_before_gradient_boosting(flights):
    boosting = HistGradientBoostingClassifier(categorical_features=[0, 1, 2], random_state=0)
    assert auc(make_pipeline(OrdinalFieldEncoder(), boosting), flights) > FLOOR


def test_encoder_before_lightgbm(flights):
    encoder = OrdinalFieldEncoder().set_output(transform="pandas")
    boosting = LGBMClassifier(n_estimators=50, random_state=0, n_jobs=1, verbose=-1)
    as_category = FunctionTransformer(lambda X: X.astype(dict.fromkeys(STRINGS, "category")))
    assert auc(make_pipeline(encoder, as_category, boosting), flights) > FLOOR


def test_column_transformer_of_encoder_and_bins(flights):
    bins = KBinsDiscretizer(12, encode="ordinal", strategy="uniform")
    columns = make_column_transformer(
        (OrdinalFieldEncoder(), STRINGS), (bins, NUMBERS), verbose_feature_names_out=False
    )
    model = deepfm(categorical_features=list(range(6)))
    assert auc(make_pipeline(columns, model), flights) > FLOOR


def test_column_transformer_keeps_codes_and_numbers_in_a_data_frame(flights):
    columns = make_column_transformer(
        (OrdinalFieldEncoder(), make_column_selector(dtype_include=object)),
        (FunctionTransformer(lambda X: X.astype(float)), NUMBERS),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = deepfm(categorical_features=STRINGS)
    assert auc(make_pipeline(columns, model), flights) > FLOOR


def test_feature_union_crosses_fields(flights):
    def crossed(X):
        return pd.DataFrame({"route": X["origin"] + " " + X["dest"]}, index=X.index)

    union = FeatureUnion(
        [
            ("fields", OrdinalFieldEncoder()),
            ("route", make_pipeline(FunctionTransformer(crossed), OrdinalFieldEncoder())),
        ]
    )
    X_train = flights[0]
    codes = union.fit_transform(X_train)
    assert codes.dtype == np.int32
    assert_array_equal(codes[:, :6], OrdinalFieldEncoder().fit_transform(X_train))
    assert auc(make_pipeline(union, deepfm()), flights) > FLOOR


def test_fields_can_be_selected_after_encoding(flights):
    model = make_pipeline(OrdinalFieldEncoder(), SelectKBest(f_classif, k=4), deepfm())
    assert auc(model, flights) > 0.6


def test_table_vectorizer_of_skrub_makes_numbers(flights):
    assert auc(make_pipeline(TableVectorizer(), deepfm(categorical_features=None)), flights) > 0.6


def test_table_vectorizer_of_skrub_takes_the_encoder(flights):
    vectorizer = TableVectorizer(
        low_cardinality=OrdinalFieldEncoder(), high_cardinality=OrdinalFieldEncoder()
    )
    # Its output is floats: codes are to be named.
    model = deepfm(categorical_features=STRINGS)
    assert auc(make_pipeline(vectorizer, model), flights) > FLOOR
