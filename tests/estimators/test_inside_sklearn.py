"""A DeepFM inside scikit-learn's own tools, from a data frame with strings to what they report."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder
from sklearn_deepfm._fields.numeric_field import NumericField

FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
OTHER_VALUES = {
    "linear_l2": 1e-4,
    "ema_epochs": 0.0,
    "n_members": 2,
    "embed_dim": 3,
    "mlp_dims": (5, 4),
    "dropout": 0.4,
    "batch_norm": False,
    "components": ("fm",),
    "learning_rate": 0.5,
    "embedding_l2": 0.25,
    "weight_decay": 0.125,
    "max_epochs": 7,
    "batch_size": 11,
    "early_stopping": True,
    "scoring": "roc_auc",
    "validation_fraction": 0.3,
    "n_iter_no_change": 9,
    "tol": 0.01,
    "lr_schedule": None,
    "class_weight": "balanced",
    "categorical_features": [0],
    "n_bins": 4,
    "pooling": "sum",
    "pretrained": {},
    "frozen": ["a"],
    "validation_split": FOLDS,
    "sparse_updates": True,
    "table_optimizer": "adagrad",
    "precision": "bfloat16",
    "device": "auto",
    "distributed": True,
    "callbacks": [],
    "checkpoint": "file",
    "warm_start": True,
    "random_state": 42,
    "verbose": 1,
}


@pytest.fixture(scope="module")
def split(visits):
    """Training and test part of `visits`: X_train, X_test, y_train, y_test."""
    return train_test_split(*visits, test_size=300, stratify=visits[1], random_state=0)


def auc(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


def scores_by_hand(model, X, y):
    """What cross-validation has to come to: a clone fitted and scored for each fold."""
    return [
        auc(clone(model).fit(X.iloc[train], y[train]), X.iloc[test], y[test])
        for train, test in FOLDS.split(X, y)
    ]


def amounts(X):
    """A target for a regressor: a field's own effect, and a stronger one of a pair of fields."""
    user, item = (X[name].str.split().str[1].astype(int).to_numpy() for name in ("user", "item"))
    return 100 + 20 * (-1.0) ** user + 30 * (-1.0) ** (user + item) + X["hour"].to_numpy()


# Searches and scores


def test_grid_search_in_two_processes_equals_a_loop_by_hand(pipeline, visits):
    X, y = visits
    grid = {"deepfm__embed_dim": [4, 8], "deepfm__dropout": [0.0, 0.3]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=FOLDS, n_jobs=2).fit(X, y)

    by_hand = [
        scores_by_hand(clone(pipeline).set_params(**params), X, y) for params in ParameterGrid(grid)
    ]
    in_search = [search.cv_results_[f"split{i}_test_score"] for i in range(3)]
    np.testing.assert_array_equal(np.transpose(in_search), by_hand)
    assert len(np.unique(by_hand)) == len(np.ravel(by_hand))  # the parameters take effect
    assert search.cv_results_["params"] == list(ParameterGrid(grid))
    dummy = cross_val_score(DummyClassifier(), X, y, scoring="roc_auc", cv=FOLDS)
    assert search.best_score_ > dummy.mean() + 0.3


def test_cross_val_score_equals_a_loop_by_hand(pipeline, visits):
    scores = cross_val_score(pipeline, *visits, scoring="roc_auc", cv=FOLDS)
    np.testing.assert_array_equal(scores, scores_by_hand(pipeline, *visits))
    assert scores.min() > 0.8


def test_randomized_search_refits_the_best_candidate(pipeline, split):
    X_train, X_test, y_train, _ = split
    candidates = {"deepfm__learning_rate": [1e-6, 0.01, 0.02], "encoder__min_frequency": [1, 3]}
    search = RandomizedSearchCV(pipeline, candidates, n_iter=4, cv=FOLDS, random_state=0)
    search.fit(X_train, y_train)
    alone = clone(pipeline).set_params(**search.best_params_).fit(X_train, y_train)
    np.testing.assert_array_equal(search.predict_proba(X_test), alone.predict_proba(X_test))
    assert search.best_params_["deepfm__learning_rate"] > 1e-6


def test_halving_search_takes_epochs_as_its_resource(pipeline, visits):
    search = HalvingGridSearchCV(
        pipeline,
        {"deepfm__embed_dim": [2, 4, 8, 16]},
        resource="deepfm__max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        cv=FOLDS,
    )
    search.fit(*visits)
    assert search.n_resources_ == [1, 2, 4]
    assert search.best_estimator_["deepfm"].n_iter_ == 4
    results = search.cv_results_
    mean = [results["mean_test_score"][results["n_resources"] == n].mean() for n in (1, 2, 4)]
    assert mean[0] < mean[2]


# Ensembles and wrappers


def test_calibration_equals_isotonic_regression_by_hand(pipeline, split):
    X_train, X_test, y_train, _ = split
    calibrated = CalibratedClassifierCV(pipeline, method="isotonic", cv=FOLDS, ensemble=False)
    calibrated.fit(X_train, y_train)

    logits = cross_val_predict(pipeline, X_train, y_train, cv=FOLDS, method="decision_function")
    curve = IsotonicRegression(out_of_bounds="clip").fit(logits, y_train == "yes")
    logits = clone(pipeline).fit(X_train, y_train).decision_function(X_test)
    np.testing.assert_allclose(calibrated.predict_proba(X_test)[:, 1], curve.predict(logits))


def test_bagged_members_are_fits_on_their_samples(classifier, codes, visits):
    y = visits[1]
    bagging = BaggingClassifier(classifier, n_estimators=3, random_state=0).fit(codes, y)
    members = [
        clone(member)
        .fit(codes, y, sample_weight=np.bincount(rows, minlength=len(y)))
        .predict_proba(codes)
        for member, rows in zip(bagging.estimators_, bagging.estimators_samples_, strict=True)
    ]
    np.testing.assert_allclose(bagging.predict_proba(codes), np.mean(members, axis=0), rtol=1e-12)
    assert not np.array_equal(members[0], members[1])


def test_soft_voting_is_the_mean_of_the_members(pipeline, split):
    X_train, X_test, y_train, y_test = split
    fm = clone(pipeline).set_params(deepfm__components=("linear", "fm"))
    voting = VotingClassifier([("deepfm", pipeline), ("fm", fm)], voting="soft")
    voting.fit(X_train, y_train)
    members = [clone(m).fit(X_train, y_train).predict_proba(X_test) for m in (pipeline, fm)]
    np.testing.assert_allclose(voting.predict_proba(X_test), np.mean(members, axis=0), rtol=1e-12)
    assert auc(voting, X_test, y_test) > 0.8


def test_stacking_learns_from_predictions_out_of_fold(pipeline, split):
    X_train, X_test, y_train, y_test = split
    members = [("deepfm", pipeline), ("dummy", DummyClassifier())]
    stacking = StackingClassifier(members, LogisticRegression(), cv=FOLDS).fit(X_train, y_train)

    out_of_fold = cross_val_predict(pipeline, X_train, y_train, cv=FOLDS, method="predict_proba")
    refitted = clone(pipeline).fit(X_train, y_train).predict_proba(X_test)
    np.testing.assert_array_equal(stacking.transform(X_test)[:, 0], refitted[:, 1])
    by_hand = LogisticRegression().fit(out_of_fold[:, 1:], y_train)
    np.testing.assert_allclose(stacking.final_estimator_.coef_[0, 0], by_hand.coef_, rtol=1e-3)
    assert auc(stacking, X_test, y_test) > 0.8


def test_tuned_threshold_decides_on_predicted_probabilities(pipeline, split):
    X_train, X_test, y_train, _ = split
    keep = (y_train == "no") | (np.arange(len(y_train)) % 5 == 0)
    X_train, y_train = X_train[keep], y_train[keep]
    tuned = TunedThresholdClassifierCV(pipeline, cv=FOLDS).fit(X_train, y_train)
    proba = clone(pipeline).fit(X_train, y_train).predict_proba(X_test)[:, 1]
    expected = np.where(proba >= tuned.best_threshold_, "yes", "no")
    np.testing.assert_array_equal(tuned.predict(X_test), expected)
    assert tuned.best_threshold_ < 0.4  # "yes" is rare now


# Columns of several kinds


CODED = ["user", "item", "hour", "city"]


def column_transformer(*others):
    codes = ("codes", OrdinalFieldEncoder(), CODED)
    return ColumnTransformer([*others, codes], verbose_feature_names_out=False)


def test_column_transformer_over_all_columns_equals_the_encoder(pipeline, split):
    X_train, X_test, y_train, _ = split
    whole = column_transformer().set_output(transform="pandas")
    composed = clone(pipeline).set_params(encoder=whole).fit(X_train, y_train)
    pipeline.fit(X_train[CODED], y_train)
    np.testing.assert_array_equal(
        composed.predict_proba(X_test), pipeline.predict_proba(X_test[CODED])
    )


def test_column_transformer_puts_a_number_beside_codes(pipeline, split):
    X_train, X_test, y_train, y_test = split
    columns = column_transformer(("number", StandardScaler(), ["price"]))
    columns.set_output(transform="pandas")
    composed = clone(pipeline).set_params(encoder=columns).fit(X_train, y_train)
    assert composed["deepfm"].field_dims_[0] == 2 + 20  # mean, slope and bins
    pipeline.fit(X_train, y_train)
    assert auc(composed, X_test, y_test) == pytest.approx(auc(pipeline, X_test, y_test), abs=0.02)


def test_codes_that_became_floats_warn_and_categorical_features_mends_it(pipeline, split):
    X_train, X_test, y_train, _ = split
    columns = column_transformer(("number", StandardScaler(), ["price"]))
    floats = clone(pipeline).set_params(encoder=columns)
    with pytest.warns(UserWarning, match="categorical_features"):
        floats.fit(X_train, y_train)
    assert all(isinstance(field, NumericField) for field in floats["deepfm"]._fields)

    floats.set_params(deepfm__categorical_features=[1, 2, 3, 4]).fit(X_train, y_train)
    framed = clone(columns).set_output(transform="pandas")
    framed = clone(pipeline).set_params(encoder=framed).fit(X_train, y_train)
    np.testing.assert_array_equal(floats.predict_proba(X_test), framed.predict_proba(X_test))


# Inspection


def test_permutation_importance_finds_the_planted_fields(pipeline, split):
    X_train, X_test, y_train, y_test = split
    pipeline.fit(X_train, y_train)
    result = permutation_importance(pipeline, X_test, y_test, n_repeats=3, random_state=0)
    importance = dict(zip(X_test.columns, result.importances_mean, strict=True))
    planted = min(importance.pop("user"), importance.pop("item"))
    assert planted > max(importance.values()) + 0.1


def test_partial_dependence_is_the_mean_over_the_rows(pipeline, visits):
    X, y = visits
    pipeline.fit(X, y)
    result = partial_dependence(pipeline, X, ["city"], categorical_features=["city"])
    (values,) = result["grid_values"]
    by_hand = [pipeline.predict_proba(X.assign(city=city))[:, 1].mean() for city in values]
    np.testing.assert_allclose(result["average"][0], by_hand, rtol=1e-12)
    assert sorted(values) == sorted(X["city"].unique())


# Weights and validation rows on their way through


def test_pipeline_passes_weights_by_step_name(pipeline, visits):
    X, y = visits
    codes = OrdinalFieldEncoder().fit_transform(X)
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    weighted = clone(pipeline).fit(X, y, deepfm__sample_weight=weight).predict_proba(X)
    by_hand = clone(pipeline["deepfm"]).fit(codes, y, sample_weight=weight).predict_proba(codes)
    np.testing.assert_array_equal(weighted, by_hand)
    assert not np.array_equal(weighted, pipeline.fit(X, y).predict_proba(X))


def test_routed_weights_reach_fit_and_score(pipeline, visits):
    X, y = visits
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    by_hand = [
        clone(pipeline)
        .fit(X.iloc[train], y[train], deepfm__sample_weight=weight[train])
        .score(X.iloc[test], y[test], sample_weight=weight[test])
        for train, test in FOLDS.split(X, y)
    ]
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline["deepfm"].set_fit_request(sample_weight=True)
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        routed = {"scoring": scorer, "params": {"sample_weight": weight}}
        scores = cross_val_score(pipeline, X, y, cv=FOLDS, **routed)
    np.testing.assert_array_equal(scores, by_hand)


def test_pipeline_encodes_validation_rows(classifier, split):
    X, X_val, y, y_val = split
    classifier.set_params(max_epochs=20, early_stopping="auto")
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(classifier).set_fit_request(X_val=True, y_val=True)
        steps = [("encoder", OrdinalFieldEncoder()), ("deepfm", asking)]
        model = Pipeline(steps, transform_input=["X_val"]).fit(X, y, X_val=X_val, y_val=y_val)

    encoder = OrdinalFieldEncoder().fit(X)
    classifier.fit(encoder.transform(X), y, X_val=encoder.transform(X_val), y_val=y_val)
    np.testing.assert_array_equal(
        model.predict_proba(X_val), classifier.predict_proba(encoder.transform(X_val))
    )
    assert model["deepfm"].validation_scores_ == classifier.validation_scores_
    assert classifier.n_iter_ < 20  # they stopped it


# The estimator as an object


def test_parameters_round_trip():
    model = DeepFMClassifier()
    assert set(OTHER_VALUES) == set(model.get_params())
    assert all(getattr(model, name) != value for name, value in OTHER_VALUES.items())
    assert model.set_params(**OTHER_VALUES).get_params() == OTHER_VALUES
    assert DeepFMClassifier(**OTHER_VALUES).get_params() == OTHER_VALUES
    amount = {name: value for name, value in OTHER_VALUES.items() if name != "class_weight"}
    assert DeepFMRegressor(**amount).get_params() == amount
    copied = clone(model).get_params()
    assert repr(copied.pop("validation_split")) == repr(FOLDS)  # splitters are not equal
    assert copied == {name: OTHER_VALUES[name] for name in copied}


def test_clone_of_a_fitted_model_is_not_fitted(classifier, codes, visits):
    with pytest.raises(NotFittedError):
        check_is_fitted(classifier)
    with pytest.raises(NotFittedError, match="DeepFMClassifier instance is not fitted"):
        classifier.predict(codes)
    check_is_fitted(classifier.fit(codes, visits[1]))
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    assert not [name for name in vars(copy) if name.endswith("_")]


def test_html_shows_the_parameters_that_were_set(pipeline, visits):
    pipeline.set_params(deepfm__embedding_l2=0.0625)
    page = pipeline._repr_html_()
    assert "DeepFMClassifier" in page
    assert "0.0625" in page
    assert "Not fitted" in page
    page = pipeline.fit(*visits)._repr_html_()
    assert "Not fitted" not in page
    assert "OrdinalFieldEncoder" in page


# Regression


def test_regressor_in_a_pipeline_beats_the_mean(regressor, visits):
    X = visits[0]
    y = amounts(X)
    model = Pipeline([("encoder", OrdinalFieldEncoder()), ("deepfm", regressor)])
    scores = cross_val_score(model, X, y, cv=3, scoring="neg_mean_squared_error")
    dummy = cross_val_score(DummyRegressor(), X, y, cv=3, scoring="neg_mean_squared_error")
    assert scores.min() > 0.5 * dummy.max()  # both are negative


def test_transformed_target_regressor_inverts_predictions(regressor, visits):
    X = visits[0]
    y = amounts(X)
    model = Pipeline([("encoder", OrdinalFieldEncoder()), ("deepfm", regressor)])
    transformed = TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp).fit(X, y)
    by_hand = np.exp(clone(model).fit(X, np.log(y)).predict(X))
    np.testing.assert_allclose(transformed.predict(X), by_hand, rtol=1e-9)
    assert transformed.score(X, y) > 0.8
