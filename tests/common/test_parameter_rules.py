"""Rules for parameters, one by one and as the estimators declare them."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import KFold
from skorch.callbacks import EpochTimer
from torch import nn

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._common.parameter_rules import (
    boolean,
    check_parameters,
    dict_of,
    instance,
    integer,
    one_of,
    real,
    sequence_of,
)

ESTIMATORS = [DeepFMClassifier, DeepFMRegressor]
X, Y = np.arange(12).reshape(6, 2) % 5, np.array([0, 1, 0, 1, 1, 0])

# Values that are refused, for each parameter; True and False are no numbers.
BAD = {
    "embed_dim": [0, -1, 1.0, True, "8", None],
    "mlp_dims": [8, None, "8", [0], [8, 1.5], [True], {8, 4}],
    "dropout": [-0.1, 1, 1.0, np.nan, "0", None, False],
    "batch_norm": [1, 0, None, "yes"],
    "components": ["fm", (), None, ["fm", "fm"], ["fm", "cross"], [["fm"]], [1]],
    "learning_rate": [0, -1e-3, np.inf, np.nan, "a", True],
    "embedding_l2": [-1e-9, np.inf, 1e308, None, "automatic"],
    "linear_l2": [-1e-9, np.inf, 1e308, None, "automatic"],
    "ema_epochs": [-1, np.inf, None, "auto"],
    "n_members": [0, 1.0, None, "auto"],
    "weight_decay": [-1e-9, np.nan, 1e308, None],
    "max_epochs": [0, 2.0, np.inf, None, True],
    "batch_size": [0, -1, 32.0, "all", None, np.array([1, 2])],
    "early_stopping": [None, 1, "yes", 0.1],
    "scoring": [None, 3, "", "nonsense", ["accuracy"]],
    "validation_fraction": [0, 1, 1.0, 10, -0.1, None],
    "n_iter_no_change": [0, 1.0, None],
    "tol": [-1e-9, None, np.nan],
    "lr_schedule": ["linear", True, 0, False],
    "class_weight": ["equal", [1, 2], 2, {0: -1}, {0: 0, 1: 0}, {0: np.nan}, {0: 1e308}, {1: "a"}],
    "categorical_features": ["auto", 0, 1.5, [2], [-1], [True], ["a"], [None]],
    "n_bins": [0, 1.5, "many", True],
    "pooling": [None, "max", True],
    "pretrained": [[1], "a", {0: 1}, {0: [1, 2]}],
    "frozen": ["a", 3, [1.5], [-1]],
    "validation_split": [3, "time", 0.1],
    "sparse_updates": [None, 1, "yes"],
    "table_optimizer": [None, "sgd", True],
    "precision": ["float64", "bf16", 16, None],
    "device": [None, 0, "", "gpu", "cpu:x"],
    "checkpoint": [3, True, ["file"]],
    "callbacks": [3, [3], ["timer"], EpochTimer(), ("timer", EpochTimer()), [("timer", 3)]],
    "distributed": [None, 0, 1, "yes"],
    "warm_start": [None, 0, 1, "yes"],
    "random_state": [-1, 2**32, 0.0, "0", [0], np.random.default_rng(0)],
    "verbose": [-1, 0.5, None],
}

# NumPy's scalars and other ways to write a value that is allowed.
GOOD = {
    "embed_dim": [np.int64(3)],
    "mlp_dims": [(), [], [4], np.array([4, 2]), (np.int32(4),)],
    "dropout": [0, np.float32(0.1)],
    "batch_norm": [np.bool_(False)],
    "components": [["deep"], {"fm", "linear"}, ("deep", "linear")],
    "learning_rate": [1, np.float32(0.1)],
    "embedding_l2": [0, np.float32(0.1), "auto"],
    "linear_l2": [0, np.float32(0.1), "auto"],
    "ema_epochs": [0, np.float32(0.5), 3],
    "n_members": [np.int64(1), 3],
    "weight_decay": [np.float64(0.1)],
    "max_epochs": [np.int8(1)],
    "batch_size": ["auto", 1, np.int64(4), np.str_("auto")],
    "early_stopping": ["auto", np.bool_(True)],
    "scoring": ["r2", np.str_("loss"), make_scorer(r2_score)],
    "validation_fraction": [np.float32(0.5)],
    "n_iter_no_change": [np.int64(1)],
    "tol": [0, np.float32(0)],
    "lr_schedule": [None, np.str_("plateau")],
    "categorical_features": ["from_dtype", None, [1], [False, True]],
    "n_bins": ["auto", None, 1, np.int64(3)],
    "pooling": ["mean", np.str_("sum")],
    "pretrained": [None, {}, {0: np.zeros((5, 16))}, {np.int64(1): [[0.5] * 16] * 2}],
    "frozen": [None, [], ()],
    "validation_split": [None, KFold(2)],
    "sparse_updates": ["auto", np.bool_(True), False],
    "table_optimizer": ["adam", "adagrad"],
    "precision": [np.str_("float32"), "bfloat16"],
    "device": ["auto", np.str_("cpu"), "cpu:0"],
    "checkpoint": [None],
    "callbacks": [[], [EpochTimer], (("timer", EpochTimer()),)],
    "distributed": [np.bool_(False)],
    "warm_start": [np.bool_(True)],
    "random_state": [None, 0, 2**32 - 1, np.int64(1), np.random.RandomState(0), np.random],
    "verbose": [np.int64(0), False],
}


def numbered(table):
    """Names of the cases that are the same in every process, as addresses of objects are not."""
    return [f"{name}-{k}" for name, values in table.items() for k, _ in enumerate(values)]


def pairs(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (integer(2), [2, np.int8(3), 10**30], [1, 2.0, np.float64(3), True, np.True_, "2", None]),
        (real("[0, 1]"), [0, 1, 0.5, np.float32(1)], [-1e-9, 1.1, np.nan, True, "0", None, 1j]),
        (real("(0, 1)"), [1e-9, 0.5], [0, 1, -1]),
        (real("[0, inf)"), [0, 1e300], [np.inf, -np.inf, np.nan]),
        (real("[0, 1e30]"), [0, 1e30, np.float16(1), np.int8(1)], [1.1e30, 10**400, np.nan]),
        (boolean(), [True, False, np.True_], [1, 0, None, "True"]),
        (one_of("a", None), ["a", np.str_("a"), None], ["b", "", 0, False, ["a"], np.array("a")]),
        (instance((str, int), "s"), ["a", 1], [1.5, None]),
        (sequence_of(integer(1), "s"), [(), [1], (2, 3), np.array([4])], [1, "1", {1}, [0], [[1]]]),
        (dict_of("key", real("(0, 1)")), [{}, {1: 0.5}], [[], None, {1: 2}, {1: 0.5, 2: "a"}]),
        (one_of(None) | integer(1) | boolean(), [None, 3, True], [0, "a", 1.5]),
    ],
)
def test_rule_accepts_and_refuses(rule, good, bad):
    assert [value for value in good if not rule.accepts(value)] == []
    assert [value for value in bad if rule.accepts(value)] == []


def test_message_names_parameter_rule_value_and_class():
    estimator = SimpleNamespace(width=3, kind="c")
    rules = {"width": integer(1), "kind": one_of("a", "b") | one_of(None) | real("(0, 1]")}
    message = re.escape(
        "kind must be 'a' or 'b' or None or a number in (0, 1], got 'c' "
        "(parameter of SimpleNamespace)."
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_parameters(estimator, rules)
    check_parameters(SimpleNamespace(width=3, kind="b"), rules)


@pytest.mark.parametrize(
    ("rule", "description"),
    [
        (boolean(), "a bool"),
        (integer(3), "an int of at least 3"),
        (instance(str, "a name"), "a name"),
        (sequence_of(integer(1), "a list of ints"), "a list of ints"),
        (dict_of("label", real("(0, inf)")), "a dict from label to a number in (0, inf)"),
    ],
)
def test_rule_describes_itself(rule, description):
    assert rule.description == description


def test_tables_cover_every_parameter():
    for estimator in ESTIMATORS:
        parameters = set(estimator().get_params())
        left_out = {"class_weight"} - parameters
        assert set(BAD) - left_out == parameters
        assert set(GOOD) | {"class_weight"} - left_out == parameters


@pytest.mark.parametrize(("name", "value"), pairs(BAD), ids=numbered(BAD))
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bad_parameter_is_refused_at_fit_by_name(estimator, name, value):
    if name not in estimator().get_params():
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            estimator(**{name: value})
        return
    model = estimator(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must .*got {re.escape(repr(value))}"):
        model.fit(X, Y)
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bad_parameter_is_refused_by_partial_fit(estimator):
    options = {"classes": [0, 1]} if estimator is DeepFMClassifier else {}
    with pytest.raises(ValueError, match="^embed_dim must be an int of at least 1, got 0"):
        estimator(embed_dim=0).partial_fit(X, Y, **options)


@pytest.mark.parametrize("value", ["a", -1, 1.5, 2**32])
def test_message_of_a_bad_random_state_tells_the_largest(value):
    allowed = r"None or a RandomState or an int from 0 to 2\*\*32 - 1 = 4294967295"
    with pytest.raises(ValueError, match=f"^random_state must be {allowed}, got {value!r}"):
        DeepFMClassifier(random_state=value).fit(X, Y)


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is many times slower")
@pytest.mark.parametrize(("name", "value"), pairs(GOOD), ids=numbered(GOOD))
def test_good_parameter_is_accepted_and_left_as_it_is(name, value):
    model = DeepFMRegressor(**{"max_epochs": 1, "random_state": 0, name: value}).fit(X, Y)
    assert getattr(model, name) is value
    assert np.isfinite(model.predict(X)).all()


def test_class_weight_of_a_label_that_is_none_is_refused():
    with pytest.raises(
        ValueError,
        match=r"class_weight must map labels out of \[0, 1\] .*got \[7\] .*none for \[1\]",
    ):
        DeepFMClassifier(class_weight={0: 2, 7: 1}).fit(X, Y)


@pytest.mark.parametrize("value", [None, "balanced", np.str_("balanced"), {}, {1: np.float32(3)}])
def test_good_class_weight_is_accepted(value):
    model = DeepFMClassifier(class_weight=value, max_epochs=1).fit(X, Y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_no_hidden_layer_leaves_a_linear_map_of_the_embeddings():
    model = DeepFMClassifier(mlp_dims=(), embed_dim=3, max_epochs=1).fit(X, Y)
    layers = [layer for layer in model.module_.modules() if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in layers] == [(1, 2 * 3)]
