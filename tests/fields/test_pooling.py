"""Which columns are pooled: generated kinds, what the codes say, and what has no effect."""

import numpy as np
import pandas as pd
import pytest

from sklearn_deepfm._fields.evidence import neighbours_belong_together
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.outcomes import outcomes_of
from sklearn_deepfm._fields.pooling import with_pooled

NAMES = "ids", "many ids", "zipf ids", "noise", "pairs of ids"
QUANTITIES = "smooth", "steps", "counts", "together"


def curve(x):
    return 2 * np.sin(4 * x / x.max()) - 2 * x / x.max()


def numbers_of(kind, n, rng):
    """Whole numbers, and their effect on y."""
    if kind in ("smooth", "together"):
        x = rng.integers(1000, size=n)
        return x, curve(x)
    if kind == "steps":
        x = rng.integers(1000, size=n)
        return x, curve(x // 125)
    if kind == "counts":
        x = np.exp(rng.normal(0, 1.7, n)).astype(int)
        return x, np.log1p(x)
    n_ids = {"ids": 40, "pairs of ids": n // 30}.get(kind, n // 10)
    effect = 0 * np.arange(n_ids) if kind == "noise" else rng.normal(size=n_ids)
    x = (
        np.minimum(rng.zipf(1.3, n), n_ids) - 1
        if kind == "zipf ids"
        else rng.integers(n_ids, size=n)
    )
    return rng.permutation(n_ids)[x], effect[rng.permutation(n_ids)][x]


def table(kind, n, seed):
    """Two columns of one kind, six strings as codes, and y as a number."""
    rng = np.random.default_rng(seed)
    found = [numbers_of(kind, n, rng) for _ in range(2)]
    effects = [effect - effect.mean() for _, effect in found]
    together = kind in ("together", "pairs of ids")
    logit = 2 * effects[0] * effects[1] if together else sum(effects)
    strings = rng.integers(6, size=n)
    y = logit + rng.normal(size=6)[strings] / 2 + rng.logistic(size=n)
    # The codes that an encoder gives whole numbers.
    codes = [2 + 2 * np.unique(x, return_inverse=True)[1] for x, _ in found]
    return [*codes, 2 + strings], y - y.mean()


def kinds_of(codes, y, weight=None, kept=(), is_class=None):
    columns = [
        c if isinstance(c, InputColumn) else InputColumn(f"x{j}", c) for j, c in enumerate(codes)
    ]
    is_class = y.dtype.kind == "i" if is_class is None else is_class
    outcomes = outcomes_of(y, weight, is_class=is_class)
    return with_pooled(columns, [True] * len(columns), outcomes, set(kept))


@pytest.mark.parametrize("is_class", [True, False])
@pytest.mark.parametrize("kind", [*NAMES, *QUANTITIES])
def test_quantities_are_pooled_and_names_are_not(kind, is_class):
    pooled = []
    for seed in range(6):
        codes, y = table(kind, 3000, seed)
        kinds = kinds_of(codes, (y > 0).astype(int) if is_class else y)
        pooled += [k == "pooled" for k in kinds[:2]]
        assert kinds[2] is True
    assert np.mean(pooled) >= 0.9 if kind in QUANTITIES else np.mean(pooled) <= 0.1


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("is_class", [True, False])
def test_several_classes_and_outputs_tell_too(is_class, n_outputs):
    for kind, expected in (("smooth", "pooled"), ("many ids", True)):
        codes, y = table(kind, 2000, 0)
        y = np.digitize(y, [-1, 1]) if is_class else y
        y = y if n_outputs == 1 else np.stack([y, np.random.default_rng(1).permutation(y)], axis=1)
        assert kinds_of(codes, y)[:2] == [expected] * 2


def test_steps_of_codes_and_the_user_say_more_than_y(rng):
    codes, y = table("smooth", 2000, 0)
    assert kinds_of(codes, y, kept=[1]) == ["pooled", True, True]
    assert kinds_of([codes[0] + 1, codes[1]], y) == [True, "pooled"]  # odd ones are names
    ids, of_ids = table("many ids", 2000, 0)
    assert kinds_of([2 * ids[0], ids[1]], of_ids) == ["pooled", True]  # quantities
    categories = InputColumn("c", codes[0], None, pd.RangeIndex(codes[0].max() + 1))
    assert kinds_of([categories, codes[1]], y) == [True, "pooled"]


def test_missing_cells_are_one_code_below_all(rng):
    codes, y = table("smooth", 2000, 0)
    missing = rng.random(2000) < 0.3
    garbage = np.where(missing, rng.integers(-(10**6), 10**6, 2000), codes[0])
    as_code = np.where(missing, codes[0].min() - 1, codes[0])
    with_mask = kinds_of([InputColumn("a", garbage, missing), *codes[1:]], y)
    assert with_mask == kinds_of([as_code, *codes[1:]], y) == ["pooled", "pooled", True]
    all_missing = InputColumn("a", garbage, np.ones(2000, bool))
    assert kinds_of([all_missing, codes[1]], y) == [True, "pooled"]


@pytest.mark.parametrize("code", [np.iinfo(np.int64).min, np.iinfo(np.int64).max, 2**53 + 2])
def test_codes_that_floats_do_not_hold_are_not_pooled(code):
    codes, y = table("smooth", 2000, 0)
    codes[0][7] = code
    assert kinds_of(codes, y) == [True, "pooled", True]


@pytest.mark.parametrize("others", [[], ["floats"], ["one code"]], ids=str)
def test_column_alone_or_beside_numbers_or_one_code(others, rng):
    columns = {"floats": rng.normal(size=2000), "one code": np.full(2000, 2)}
    for kind, expected in (("smooth", "pooled"), ("many ids", True)):
        codes, y = table(kind, 2000, 0)
        found = kinds_of([codes[0], *(columns[name] for name in others)], y)
        assert found == [expected] + [True] * len(others)


def test_numbers_that_act_through_a_column_of_floats(rng):
    code, number = rng.integers(500, size=3000), rng.normal(size=3000)
    y = np.sin(code / 100) * number * 2 + rng.normal(size=3000)
    assert kinds_of([2 + 2 * code, number], y)[0] == "pooled"


@pytest.mark.parametrize("kind", ["ids", "smooth", "together"])
def test_scale_of_weights_and_names_of_classes_have_no_effect(kind, rng):
    codes, y = table(kind, 1000, 0)
    classes, weight = np.digitize(y, [-1, 1]), rng.integers(1, 4, 1000)
    expected = kinds_of(codes, classes, weight)
    assert kinds_of(codes, classes, 1e6 * weight) == kinds_of(codes, classes, weight / 1e3)
    assert kinds_of(codes, classes, 1e6 * weight) == expected
    assert kinds_of(codes, 2 - classes, weight) == expected


@pytest.mark.parametrize("kind", ["together", "counts", "zipf ids"])
def test_answer_hangs_on_no_generator_and_leaves_them_alone(kind):
    codes, y = table(kind, 1000, 3)
    answers = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        answers.append(kinds_of(codes, y))
        assert np.random.random() == np.random.RandomState(seed).random()  # noqa: NPY002
    assert answers[0] == answers[1]


def test_many_rows_are_asked_by_a_sample_of_them(monkeypatch):
    codes, y = table("smooth", 6000, 0)
    asked = []

    def asking(codes, outcomes, beside_others, **is_sample):
        asked.append(len(codes))
        return neighbours_belong_together(codes, outcomes, beside_others, **is_sample)

    monkeypatch.setattr("sklearn_deepfm._fields.pooling._MOST_ROWS", 2000)
    monkeypatch.setattr("sklearn_deepfm._fields.pooling.neighbours_belong_together", asking)
    columns = [*codes, np.where(np.arange(6000) < 5990, 4, 4 * np.arange(6000))]  # quantities
    assert kinds_of(columns, y) == ["pooled", "pooled", True, "pooled"]
    assert asked == [2000] * 3


def test_codes_that_are_rare_in_a_sample_alone_are_not_pooled(monkeypatch, rng):
    """Of 12,000 rows each id has 20, of 1,000 of them hardly two."""
    ids, y = rng.integers(600, size=12_000), rng.integers(2, size=12_000)
    few = slice(1000)
    assert kinds_of([ids[few]], y[few]) == ["pooled"]  # nothing is at stake
    monkeypatch.setattr("sklearn_deepfm._fields.pooling._MOST_ROWS", 1000)
    assert kinds_of([ids], y) == [True]
