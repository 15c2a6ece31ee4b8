"""Members: models side by side, each with rows of its own held out."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import log_loss, roc_auc_score

from sklearn_deepfm import DeepFM, DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._samples.rows import Rows, hold_out

M = 3


def alone(module, member):
    """A module of one member with the weights of one of several."""
    n_fields = module.mlps[0][0].in_features // 4
    single = DeepFM(n_fields, len(module.table), 4, [8], n_outputs=module.n_outputs)
    state = module.state_dict()
    part = slice(member * module.n_outputs, (member + 1) * module.n_outputs)
    n_first = module.n_first
    second = state["table"][:, n_first + 4 * member : n_first + 4 * (member + 1)]
    own = {
        "table": torch.cat([state["table"][:, part], second], dim=1),
        "bias": state["bias"][part],
        **{f"mlps.0.{k}": v for k, v in module.mlps[member].state_dict().items()},
    }
    if "fm_scale" in state:
        own["fm_scale"] = state["fm_scale"][part]
    single.load_state_dict(own)
    return single.eval()


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_logits_are_the_mean_of_models_that_share_nothing(n_outputs):
    module = DeepFM(5, 30, 4, [8], n_outputs=n_outputs, n_members=M, seed=0).eval()
    with torch.no_grad():
        module.table.normal_()
        module.bias.normal_()
    index = torch.randint(30, (20, 5), generator=torch.Generator().manual_seed(0))
    each = torch.stack([alone(module, m)(index) for m in range(M)], dim=1)
    torch.testing.assert_close(module.member_logits(index), each)
    torch.testing.assert_close(module(index), each.mean(1))
    assert each.std(1).min() > 0.01


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_columns_of_a_member_are_all_that_it_reads(n_outputs):
    module = DeepFM(2, 6, 4, [8], n_outputs=n_outputs, n_members=M, seed=0).eval()
    index = torch.tensor([[0, 4]])
    before = module.member_logits(index).detach()
    for member, columns in enumerate(module.columns_of_members()):
        with torch.no_grad():
            module.table[:, columns] += 1
        changed = (module.member_logits(index).detach() != before).any(2)[0]
        assert changed.nonzero().flatten().tolist() == list(range(member + 1))
    together = torch.cat(module.columns_of_members())
    assert sorted(together.tolist()) == list(range(module.table.shape[1]))


@pytest.mark.parametrize("y_kind", ["classes", "numbers"])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3, 0.9])
def test_hold_outs_do_not_overlap(fraction, y_kind, rng):
    n = 6000  # more than are grouped
    y = rng.integers(0, 4, n) if y_kind == "classes" else rng.normal(size=n)
    rows = Rows([InputColumn("a", np.arange(n))], y, None)
    stratify = y_kind == "classes"
    random = np.random.RandomState(0)
    train, valid = hold_out(rows, fraction, random, stratify=stratify, n_members=M)
    assert len(train) == n
    share = min(fraction, 1 / M)
    for member in range(M):
        held = train.held_by == member
        assert held.sum() == pytest.approx(share * n, abs=5)
        if stratify:
            assert_allclose(np.bincount(y[held]) / np.bincount(y), share, atol=2e-3)
    assert_array_equal(valid.held_by, train.held_by[train.held_by >= 0])
    assert_array_equal(valid.y, y[train.held_by >= 0])


def test_each_class_stays_with_each_member(rng):
    y = np.array([0] * 40 + [1] * 3 + [2])
    rows = Rows([InputColumn("a", np.arange(44))], y, None)
    train, _ = hold_out(rows, 0.3, np.random.RandomState(0), stratify=True, n_members=M)
    for member in range(M):
        assert set(y[train.held_by != member]) == {0, 1, 2}


def test_rows_of_one_member_come_in_two_parts():
    rows = Rows([InputColumn("a", np.arange(50))], np.arange(50) % 2, None)
    train, valid = hold_out(rows, 0.2, np.random.RandomState(0), stratify=True)
    assert train.held_by is None
    assert valid.held_by is None
    assert len(train) == 40
    assert len(valid) == 10


@pytest.mark.parametrize(
    "params",
    [{"sparse_updates": False}, {"sparse_updates": True}, {"table_optimizer": "adagrad"}],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_a_member_does_not_learn_from_the_rows_it_holds_out(weighted, params, rng):
    """Other answers in its rows leave its logits as they are, and no other member's."""
    n = 5000  # more than would be merged and sorted
    X = np.column_stack([rng.integers(0, 6, (n, 2)), np.arange(n)])
    y = rng.integers(-50, 50, n).astype(float)
    weight = rng.integers(1, 4, n).astype(float) if weighted else None
    params = {"n_members": M, "max_epochs": 1, "embed_dim": 4, "mlp_dims": (8,), **params}
    params["categorical_features"] = [0, 1, 2]
    # By any other score than the loss no linear model stands beside, which held rows could choose.
    params["scoring"] = "neg_mean_squared_error"
    before = DeepFMRegressor(**params, random_state=0).fit(X, y, weight)
    held_by = held_rows(before, X, y)
    index = torch.from_numpy(before._fields.encode(X)[0])
    for member in range(M):
        twisted = y.copy()
        rows = np.flatnonzero(held_by == member)
        if weighted:  # mean and deviation of all answers stay
            rows = rows[weight[rows] == 2]
        twisted[rows] = y[rows][::-1]
        after = DeepFMRegressor(**params, random_state=0).fit(X, twisted, weight)
        one, two = (m.module_.member_logits(index).detach()[:, :, 0] for m in (before, after))
        gap = (one - two).abs().amax(0)
        assert gap[member] < 1e-5
        assert np.delete(gap.numpy(), member).min() > 1e-3


def held_rows(model, X, y):
    """Whose hold-out each row is in, by splitting once more."""
    from sklearn_deepfm._fields.read_columns import read_columns

    rows = Rows(read_columns(model, X, reset=False), y, None)
    random, fraction = np.random.RandomState(model._split_seed), model.validation_fraction
    train, _ = hold_out(rows, fraction, random, stratify=False, n_members=model.n_members)
    return train.held_by


@pytest.mark.parametrize("scoring", ["loss", "roc_auc"])
@pytest.mark.parametrize("rng", [0], indirect=True)
def test_score_is_that_of_members_on_rows_they_have_not_seen(scoring, rng):
    n = 5000
    X = np.column_stack([rng.integers(0, 6, (n, 2)), rng.integers(0, 3000, n)])
    y = (rng.random(n) < (X[:, 0] + 1) / 8).astype(int)
    small = {"max_epochs": 8, "embed_dim": 4, "mlp_dims": (8,), "learning_rate": 5e-3}
    names = {"categorical_features": [0, 1, 2], "random_state": 0}
    model = DeepFMClassifier(n_members=M, scoring=scoring, **small, **names).fit(X, y)
    rows = Rows([InputColumn(j, x) for j, x in enumerate(X.T)], y, None)
    random = np.random.RandomState(model._split_seed)
    train, _ = hold_out(rows, 0.1, random, stratify=True, n_members=M)
    held = train.held_by >= 0
    index = torch.from_numpy(model._fields.encode(X[held])[0])
    logits = model.module_.member_logits(index).detach().numpy()[:, :, 0]
    proba = expit(logits[np.arange(held.sum()), train.held_by[held]])
    score = -log_loss(y[held], proba) if scoring == "loss" else roc_auc_score(y[held], proba)
    assert model.best_epoch_ > 0  # and not the linear model
    assert model.validation_scores_[model.best_epoch_ - 1] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("rng", [0], indirect=True)
def test_code_that_a_member_has_not_seen_is_its_average_one(rng):
    n = 5000
    X = np.column_stack([np.arange(n) // 2, rng.integers(0, 4, n)])  # two rows for each code
    y = rng.integers(0, 2, n)
    small = {"max_epochs": 1, "embed_dim": 4, "random_state": 0}
    names = {"categorical_features": [0, 1]}
    model = DeepFMClassifier(n_members=M, validation_fraction=0.3, **small, **names).fit(X, y)
    rows = Rows([InputColumn(j, x) for j, x in enumerate(X.T)], y, None)
    random = np.random.RandomState(model._split_seed)
    held_by = hold_out(rows, 0.3, random, stratify=True, n_members=M)[0].held_by
    table, fields = model.module_.table.detach(), model._fields
    n_unseen = 0
    for member, columns in enumerate(model.module_.columns_of_members()):
        seen = np.unique(X[held_by != member, 0])
        codes = np.setdiff1d(X[:, 0], seen)
        at = fields.encode(np.column_stack([codes, np.zeros_like(codes)]))[0][:, 0]
        average = table[fields.offsets[0], columns]
        assert_array_equal(table[at][:, columns], average.expand(len(codes), -1))
        at = fields.encode(np.column_stack([seen, np.zeros_like(seen)]))[0][:, 0]
        assert (table[at][:, columns] != average).any(1).all()
        n_unseen += len(codes)
    assert n_unseen > 100


def test_with_validation_rows_members_learn_from_all_others(classifier, codes, visits):
    y = visits[1]
    model = classifier.set_params(n_members=M, early_stopping="auto", max_epochs=4)
    model.fit(codes[:800], y[:800], X_val=codes[800:], y_val=y[800:])
    loss = log_loss(y[800:], model.predict_proba(codes[800:]))
    assert -max(model.validation_scores_) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("sparse_updates", [False, True])
@pytest.mark.parametrize("kind", ["classes", "labels", "numbers", "lists"])
def test_members_work_for_every_target_and_field(kind, sparse_updates, visits, codes):
    X, y = codes, visits[1]
    if kind == "labels":
        y = np.column_stack([y == "yes", X[:, 2] > 5]).astype(int)
    if kind == "lists":
        X = pd.DataFrame({"tags": pd.Series(list(X[:, :2])), "city": X[:, 3]})
    if kind == "numbers":
        X, y = X.astype(float), X[:, 2].astype(float)
        X[:, 0] += 0.5
    model = (DeepFMRegressor if kind == "numbers" else DeepFMClassifier)(
        categorical_features=[1, 2, 3, 4] if kind == "numbers" else "from_dtype",
        n_members=2,
        max_epochs=3,
        batch_size=128,
        learning_rate=0.02,
        sparse_updates=sparse_updates,
        n_bins=8,
        random_state=0,
    )
    model.fit(X, y)
    ask = model.predict if kind == "numbers" else model.predict_proba
    assert np.isfinite(ask(X)).all()
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert_array_equal((pickle.loads(pickle.dumps(model))).predict(X), model.predict(X))


def test_loss_is_the_mean_of_the_members(classifier, codes, visits):
    """And so of the same size as that of one model."""
    one, four = (clone(classifier).set_params(n_members=n, max_epochs=1) for n in (1, 4))
    losses = [m.fit(codes, visits[1]).loss_curve_ for m in (one, four)]
    assert_allclose(*losses, rtol=0.2)


def test_more_rows_and_codes_go_on_with_the_same_members(classifier, codes, visits):
    model = classifier.set_params(n_members=2, warm_start=True, max_epochs=2, embed_dim=4)
    model.fit(codes, visits[1])
    more = codes.copy()
    more[:, 0] += 1000
    model.fit(more, visits[1])
    assert model.module_.n_members == 2
    assert np.isfinite(model.predict_proba(more)).all()
    with pytest.raises(ValueError, match="n_members was 2 in the first fit and is 3 now"):
        model.set_params(n_members=3).fit(more, visits[1])
    model.set_params(n_members=2).partial_fit(codes, visits[1])
    assert model.n_iter_ == 5


def test_embeddings_stand_side_by_side(classifier, codes, visits):
    """Their products are the mean of the members'."""
    model = classifier.set_params(n_members=2, embed_dim=4).fit(codes, visits[1])
    frame = model.embeddings(0)
    assert frame.shape[1] == 8
    assert (frame.dtypes == np.float32).all()
    rows = model._fields.encode(np.tile(frame.index.to_numpy()[:, None], 5))[0][:, 0]
    table = model.module_.table.detach().numpy()[rows, model.module_.n_first :]
    products = (table[0].reshape(2, 4) * table[1].reshape(2, 4)).sum(1)
    assert frame.iloc[0] @ frame.iloc[1] == pytest.approx(products.mean(), abs=1e-6)


def test_given_embeddings_are_those_of_all_members(classifier, codes, visits):
    given = {0: np.full((300, 4), 0.25)}
    model = classifier.set_params(n_members=2, embed_dim=4, pretrained=given, frozen=[0])
    frame = model.fit(codes, visits[1]).embeddings(0)
    assert_allclose(frame, 0.25 / np.sqrt(2), rtol=1e-6)


def test_average_of_members_is_better_than_one():
    """On noisy rows of many codes, where one model varies most."""
    rng, n = np.random.default_rng(0), 4000
    X = rng.integers(0, 400, (2 * n, 3))
    effect = rng.normal(size=400)
    y = (rng.random(2 * n) < expit(effect[X[:, 0]] * effect[X[:, 1]])).astype(int)
    losses = [
        log_loss(
            y[n:],
            DeepFMClassifier(
                n_members=m,
                embed_dim=8,
                mlp_dims=(32,),
                categorical_features=[0, 1, 2],
                random_state=0,
            )
            .fit(X[:n], y[:n])
            .predict_proba(X[n:]),
        )
        for m in (1, 4)
    ]
    assert losses[1] < losses[0]
