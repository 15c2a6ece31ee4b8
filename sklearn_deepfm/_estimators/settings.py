"""The parameters that classifier and regressor share, their defaults and what they may be."""

import os
from numbers import Integral
from types import FunctionType

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_deepfm._common.fingerprint import describe
from sklearn_deepfm._common.parameter_rules import (
    Rule,
    anything,
    boolean,
    dict_of,
    instance,
    integer,
    one_of,
    real,
    sequence_of,
    structural,
)
from sklearn_deepfm._model.components import COMPONENTS, in_order
from sklearn_deepfm._training.callbacks import is_callback
from sklearn_deepfm._training.scoring import is_scoring
from sklearn_deepfm._training.table_rules import TABLE_RULES

LONGEST_SHOWN = 200  # characters of a parameter in a message


def _are_components(names):
    if not isinstance(names, list | tuple | set | frozenset):
        return False
    return 0 < len(names) == sum(component in names for component in COMPONENTS)


def _is_source_of_chance(value):
    """Whether it is a generator that scikit-learn takes, NumPy's global one included."""
    return isinstance(value, np.random.RandomState) or value is np.random


def _is_splitter(value):
    return callable(getattr(value, "split", None)) and not isinstance(value, str)


_COLUMN = instance(str, "a name") | integer(0)
_EMBEDDINGS = Rule(
    lambda value: len(np.shape(value)) == 2, "a data frame or array of shape (n_codes, embed_dim)"
)

_SEED = Rule(
    lambda value: isinstance(value, Integral) and 0 <= int(value) < 2**32,
    "an int from 0 to 2**32 - 1 = 4294967295",
)

# Times weights, it has to fit float32, which ends at 3e38.
_PENALTY = real("[0, 1e30]")


class Settings(BaseEstimator):
    """What a user may set; the estimators say what each of them means."""

    _rules = {
        "embed_dim": structural(integer(1)),
        "mlp_dims": structural(sequence_of(integer(1), "a tuple or list of ints of at least 1")),
        "dropout": structural(real("[0, 1)")),
        "batch_norm": structural(boolean()),
        "components": structural(
            Rule(_are_components, f"a collection of distinct names out of {(*COMPONENTS,)}")
        ),
        "learning_rate": one_of("auto") | real("(0, inf)"),
        "embedding_l2": one_of("auto") | _PENALTY,
        "linear_l2": one_of("auto") | _PENALTY,
        "weight_decay": _PENALTY,
        "max_epochs": integer(1),
        "batch_size": one_of("auto") | integer(1),
        "early_stopping": one_of("auto") | boolean(),
        "scoring": Rule(is_scoring, "'loss', the name of a scikit-learn scorer or a callable"),
        "validation_fraction": real("(0, 1)"),
        "validation_split": one_of(None) | Rule(_is_splitter, "a cross-validation splitter"),
        "n_iter_no_change": one_of("auto") | integer(1),
        "tol": real("[0, inf)"),
        "lr_schedule": one_of("plateau", "cosine", None),
        "categorical_features": structural(anything()),
        "n_bins": structural(one_of("auto", None) | integer(1)),
        "pooling": structural(one_of("mean", "sum")),
        "pretrained": structural(
            one_of(None) | dict_of("a column's name or position", _EMBEDDINGS)
        ),
        "frozen": structural(
            one_of(None) | sequence_of(_COLUMN, "a list of column names or positions")
        ),
        "sparse_updates": structural(one_of("auto") | boolean()),
        "table_optimizer": structural(one_of(*TABLE_RULES)),
        "ema_epochs": real("[0, inf)"),
        "n_members": structural(integer(1)),
        "precision": one_of("float32", "bfloat16"),
        "device": structural(
            instance(str, "the name of a device: 'cpu', 'cuda', 'cuda:1', 'mps' or 'auto'")
        ),
        "callbacks": one_of(None)
        | sequence_of(Rule(is_callback, ""), "a list of skorch callbacks"),
        "checkpoint": one_of(None) | instance((str, os.PathLike), "the path of a file"),
        "distributed": boolean() | one_of("shards"),
        "warm_start": boolean(),
        "random_state": one_of(None) | Rule(_is_source_of_chance, "a RandomState") | _SEED,
        "verbose": boolean() | integer(0),
    }

    def __init__(
        self,
        *,
        embed_dim=16,
        mlp_dims=(128, 64),
        dropout=0.2,
        batch_norm=True,
        components=("linear", "fm", "deep"),
        learning_rate="auto",
        embedding_l2="auto",
        linear_l2="auto",
        weight_decay=0.0,
        max_epochs=50,
        batch_size="auto",
        early_stopping="auto",
        scoring="loss",
        validation_fraction=0.1,
        validation_split=None,
        n_iter_no_change="auto",
        tol=1e-6,
        lr_schedule="plateau",
        categorical_features="from_dtype",
        n_bins="auto",
        pooling="mean",
        pretrained=None,
        frozen=None,
        sparse_updates="auto",
        table_optimizer="adam",
        ema_epochs=1.0,
        n_members=1,
        precision="float32",
        device="cpu",
        callbacks=None,
        checkpoint=None,
        distributed=False,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.embed_dim = embed_dim
        self.mlp_dims = mlp_dims
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.components = components
        self.learning_rate = learning_rate
        self.embedding_l2 = embedding_l2
        self.linear_l2 = linear_l2
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.validation_split = validation_split
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.lr_schedule = lr_schedule
        self.categorical_features = categorical_features
        self.n_bins = n_bins
        self.pooling = pooling
        self.pretrained = pretrained
        self.frozen = frozen
        self.sparse_updates = sparse_updates
        self.table_optimizer = table_optimizer
        self.ema_epochs = ema_epochs
        self.n_members = n_members
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.distributed = distributed
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" not in vars(cls) and cls.__init__.__code__ is Settings.__init__.__code__:
            cls.__init__ = _named_after(cls, cls.__init__)  # type: ignore[method-assign]


def _named_after(cls, function):
    """A copy of a method under the name of a subclass, which Python's messages then give."""
    own = FunctionType(function.__code__, function.__globals__, function.__name__)
    own.__kwdefaults__ = function.__kwdefaults__
    own.__qualname__ = f"{cls.__name__}.{function.__name__}"
    return own


def structure_of(settings: Settings) -> dict[str, str]:
    """Descriptions, by name, of the parameters that the network was built by.

    Equal values have equal descriptions, and others have others, however long they are.
    """
    return {name: describe(_as_list(value)) for name, value in _structural(settings).items()}


def check_same_structure(settings: Settings, structure: dict[str, str]) -> None:
    """Refuse to go on with a network that other parameters ask for."""
    values, now = _structural(settings), structure_of(settings)
    for name, value in values.items():
        # Files of format 1 may hold the repr in its place.
        if structure[name] not in (now[name], repr(value)):
            raise ValueError(
                f"{name} was {_short(structure[name])} in the first fit and is "
                f"{_short(now[name])} now, but warm_start and partial_fit go on with the same "
                f"network. Set it back, or fit a clone."
            )


def _structural(settings: Settings) -> dict[str, object]:
    """Values of the parameters that the network is built by."""
    names = [name for name, rule in settings._rules.items() if rule.is_structural]
    values = {name: getattr(settings, name) for name in names}
    return {**values, "components": in_order(settings.components)}  # a set has no order


def _as_list(value: object) -> object:
    """An array of one dimension, such as a mask, as the list that has the same meaning."""
    return np.asarray(value).tolist() if len(getattr(value, "shape", ())) == 1 else value


def _short(text: str) -> str:
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]} ... {text[-half:]}"
