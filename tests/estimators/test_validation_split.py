"""Columns that play roles: groups, time and weights, for validation rows and for scores."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    PredefinedSplit,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder


class Recorded:
    """A splitter that keeps what it was asked and answered, in all its copies' name."""

    def __init__(self, splitter):
        self.splitter, self.calls = splitter, Calls()

    def split(self, X, y, groups=None):
        for train, valid in self.splitter.split(X, y, groups):
            call = SimpleNamespace(y=y, groups=groups, train=train, valid=valid)
            self.calls.append(call)
            yield train, valid


class Calls(list):
    def __deepcopy__(self, memo):
        return self


def table(rng, n=400):
    X = rng.integers(0, 9, (n, 3))
    return X, ((X[:, 0] + X[:, 1]) % 2 == 0).astype(int), rng.integers(0, 40, n)


def validation_rows(model, X, y, **kwargs):
    """The labels and weights that the validation rows had, as a scorer sees them."""
    seen = []

    def scorer(estimator, X, y, sample_weight=None):
        seen.append((np.asarray(y), len(estimator.predict(X))))
        return 0.0

    model.set_params(scoring=scorer, max_epochs=2).fit(X, y, **kwargs)
    return seen


@pytest.mark.parametrize("n_rows", [400, 6000])  # few rows are merged and sorted
@pytest.mark.parametrize("kind", [DeepFMClassifier, DeepFMRegressor])
def test_no_group_is_in_both_parts(kind, n_rows, rng):
    X, y, groups = table(rng, n_rows)
    # Every row of a group has the group's number as its label: the rows held out tell theirs.
    y = groups.astype(float) if kind is DeepFMRegressor else groups
    splitter = Recorded(GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=0))
    model = kind(validation_split=splitter, random_state=0)
    (valid, n_answers), _ = validation_rows(model, X, y, groups=groups)
    assert n_answers == len(valid)
    (call,) = splitter.calls
    held_out = set(groups[call.valid])
    assert set(valid) == held_out
    assert not held_out & set(groups[call.train])
    assert len(held_out) == 12


def test_last_rows_in_time_are_held_out(rng):
    X, _, _ = table(rng)
    y = np.arange(400.0)
    model = DeepFMRegressor(validation_split=TimeSeriesSplit(n_splits=9), random_state=0)
    (valid, _), _ = validation_rows(model, X, y)
    assert sorted(valid) == list(range(360, 400))


def test_rows_of_weight_zero_are_in_no_part(rng):
    X, y, groups = table(rng)
    weight = (np.arange(400) % 4 > 0).astype(float)
    splitter = Recorded(GroupShuffleSplit(n_splits=1, random_state=0))
    model = DeepFMClassifier(validation_split=splitter, random_state=0, max_epochs=1)
    model.fit(X, y, sample_weight=weight, groups=groups)
    # The splitter sees them, so that positions are those of the table.
    assert splitter.calls[0].groups.tolist() == groups.tolist()
    y = np.arange(400.0)
    fold = PredefinedSplit(np.where(np.arange(400) >= 360, 0, -1))
    regressor = DeepFMRegressor(validation_split=fold, random_state=0)
    (valid, _), _ = validation_rows(regressor, X, y, sample_weight=weight)
    assert sorted(valid) == [i for i in range(360, 400) if i % 4]


def test_validation_rows_that_are_passed_come_first(rng):
    X, y, groups = table(rng)
    splitter = Recorded(GroupShuffleSplit(n_splits=1, random_state=0))
    model = DeepFMClassifier(validation_split=splitter, random_state=0)
    (valid, _), _ = validation_rows(model, X, y, X_val=X[:7], y_val=y[:7], groups=groups)
    assert len(valid) == 7
    assert not splitter.calls
    model.set_params(early_stopping=False, scoring="loss").fit(X, y)
    assert not splitter.calls
    assert model.validation_scores_ is None


def test_split_may_be_stratified_or_predefined(rng):
    X, y, _ = table(rng)
    for splitter in (
        StratifiedShuffleSplit(1, random_state=0),
        PredefinedSplit(np.where(np.arange(400) < 50, 0, -1)),
    ):
        model = DeepFMClassifier(validation_split=splitter, max_epochs=2, random_state=0)
        assert len(model.fit(X, y).validation_scores_) == 2


class Parts:
    """A splitter that gives the parts it was made with."""

    def __init__(self, *parts):
        self.parts = parts

    def split(self, X, y=None, groups=None):
        return [self.parts]


@pytest.mark.parametrize("wrong", [[400], [-1], [0.5], ["a"], None, [[1]], [True, False]], ids=repr)
def test_split_by_positions_that_are_none_is_refused(wrong, rng):
    X, y, _ = table(rng)
    message = f"positions of rows, whole numbers from 0 to 399, got {re.escape(repr(wrong))} from"
    for parts in (([0, 1], wrong), (wrong, [0, 1])):
        with pytest.raises(ValueError, match=message):
            DeepFMClassifier(validation_split=Parts(*parts)).fit(X, y)
    for parts in ((), ([0, 1],), ([0], [1], [2]), ([], [1])):
        with pytest.raises(ValueError, match="must leave rows for training and for validation"):
            DeepFMClassifier(validation_split=Parts(*parts)).fit(X, y)


def test_split_may_be_given_by_masks(rng):
    X, y, _ = table(rng)
    is_held = np.arange(400) >= 300
    positions = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    masks, positions = (
        DeepFMClassifier(validation_split=Parts(*parts), max_epochs=2, random_state=0).fit(X, y)
        for parts in ((~is_held, is_held), positions)
    )
    assert masks.validation_scores_ == positions.validation_scores_


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("time", "validation_split must be None or a cross-validation splitter, got 'time'"),
        (PredefinedSplit(np.full(400, -1)), "validation_split must leave rows for training and"),
        (GroupShuffleSplit(1), "'groups' parameter should not be None"),
    ],
)
def test_split_that_does_not_serve_is_refused(split, message, rng):
    X, y, _ = table(rng)
    with pytest.raises(ValueError, match=message):
        DeepFMClassifier(validation_split=split).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DeepFMClassifier().fit(X, y, groups=[1, 2])


def test_a_splitter_without_a_seed_gets_that_of_the_fit(rng):
    X, y, groups = table(rng)
    splitter = GroupShuffleSplit(n_splits=1)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    models = [
        DeepFMClassifier(validation_split=splitter, max_epochs=2, random_state=0, warm_start=True)
        for _ in range(2)
    ]
    first, second = (model.fit(X, y, groups=groups).validation_scores_ for model in models)
    assert first == second
    assert splitter.random_state is None
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_warm_fits_hold_out_the_same_rows(rng):
    X, y, _ = table(rng, 6000)
    splitter = Recorded(None)
    splitter.splitter = GroupShuffleSplit(1, random_state=np.random.RandomState(0))
    model = DeepFMClassifier(
        validation_split=splitter, max_epochs=1, random_state=0, warm_start=True
    )
    for _ in range(2):
        model.fit(X, y, groups=X[:, 0])
    first, second = splitter.calls
    assert (first.valid == second.valid).all()


def test_groups_are_routed_to_outer_and_inner_splits(rng):
    X, y, users = table(rng)
    frame = pd.DataFrame(X, columns=list("abc")).astype(str)
    splitter = Recorded(GroupShuffleSplit(n_splits=1, random_state=0))
    with sklearn.config_context(enable_metadata_routing=True):
        deepfm = DeepFMClassifier(validation_split=splitter, max_epochs=2, random_state=0)
        deepfm.set_fit_request(groups=True)
        model = make_pipeline(OrdinalFieldEncoder(), deepfm)
        result = cross_validate(
            model,
            frame,
            y,
            cv=GroupKFold(3),
            params={"groups": users},
            return_indices=True,
            return_estimator=True,
        )
        search = GridSearchCV(model, {"deepfmclassifier__embed_dim": [2, 4]}, cv=GroupKFold(2))
        search.fit(frame, y, groups=users)
    for fold in range(3):
        train, test = result["indices"]["train"][fold], result["indices"]["test"][fold]
        assert not set(users[train]) & set(users[test])
        inner = splitter.calls[fold]
        assert inner.groups.tolist() == users[train].tolist()
        assert not set(users[train][inner.train]) & set(users[train][inner.valid])
    assert len(search.best_estimator_[-1].validation_scores_) == 2


class Latest:
    """Holds out the rows whose column "day" is above the median, wherever they stand."""

    def split(self, X, y, groups=None):
        is_late = X["day"] > X["day"].median()
        yield np.flatnonzero(~is_late), np.flatnonzero(is_late)


def test_splitter_gets_the_table_of_fit(rng):
    X, y, _ = table(rng)
    X = pd.DataFrame(X, columns=["user", "item", "city"]).assign(day=rng.permutation(400) + 0.5)
    held = []

    def scorer(estimator, X, y):
        held.append(X)
        return 0.0

    model = DeepFMClassifier(validation_split=Latest(), scoring=scorer, max_epochs=1)
    model.fit(X, y)
    pd.testing.assert_frame_equal(held[0], X[X["day"] > X["day"].median()])


class OutOfBag:
    """Training rows drawn with repeats, validation rows that were not drawn."""

    def split(self, X, y=None, groups=None):
        train = np.random.default_rng(0).integers(0, len(X), len(X))
        yield train, np.setdiff1d(np.arange(len(X)), train)


def test_parts_that_share_rows_are_refused(rng):
    X, y, _ = table(rng)
    is_held = np.arange(400) >= 300
    for parts in (([*range(200)], [*range(190, 400)]), (is_held | (np.arange(400) < 290), is_held)):
        message = r"each row to training or to validation, got <.*Parts.*, which gives \d+ rows to"
        with pytest.raises(ValueError, match=message):
            DeepFMClassifier(validation_split=Parts(*parts)).fit(X, y)
    with pytest.raises(ValueError, match="gives 10 rows to both, the row 190 among them"):
        DeepFMClassifier(validation_split=Parts(range(200), range(190, 400))).fit(X, y)
    # One of weight 0 is no training row, but the splitter is as wrong.
    weight = (np.arange(400) != 7).astype(float)
    model = DeepFMClassifier(validation_split=Parts(range(9), range(7, 8)))
    with pytest.raises(ValueError, match="gives 1 rows to both"):
        model.fit(X, y, sample_weight=weight)


def test_training_part_may_repeat_rows_as_a_bootstrap_does(rng):
    X, y, _ = table(rng)
    model = DeepFMClassifier(validation_split=OutOfBag(), max_epochs=2, random_state=0).fit(X, y)
    assert len(model.validation_scores_) == 2
