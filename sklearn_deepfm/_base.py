"""What classifier and regressor share: from a table and a target to a trained net."""

import copy
import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._batches import Samples
from sklearn_deepfm._callbacks import training_callbacks
from sklearn_deepfm._columns import read_columns, which_hold_codes
from sklearn_deepfm._fields import Fields
from sklearn_deepfm._module import COMPONENTS
from sklearn_deepfm._parameters import (
    Rule,
    boolean,
    check_parameters,
    instance,
    integer,
    one_of,
    real,
    sequence_of,
)
from sklearn_deepfm._rows import (
    Rows,
    check_weight,
    hold_out,
    merge_repeats,
    without_zero_weights,
)
from sklearn_deepfm._targets import check_target

MANY_ROWS = 10_000  # from here on early_stopping="auto" holds rows out
PREDICT_BATCH_SIZE = 8192
SPARSE_ABOVE = 2
ROW_MULTIPLE = 16  # matrix products then give a row the same bits in any batch

RULES = {
    "embed_dim": integer(1),
    "mlp_dims": sequence_of(integer(1), "a tuple or list of ints of at least 1"),
    "dropout": real("[0, 1)"),
    "batch_norm": boolean(),
    "components": Rule(
        lambda names: (
            isinstance(names, list | tuple | set | frozenset)
            and 0 < len(names) == len(set(names))
            and set(names) <= set(COMPONENTS)
        ),
        f"a non-empty collection of distinct names out of {COMPONENTS}",
    ),
    "learning_rate": real("(0, inf)"),
    "embedding_l2": real("[0, inf)"),
    "weight_decay": real("[0, inf)"),
    "max_epochs": integer(1),
    "batch_size": one_of("auto") | integer(1),
    "early_stopping": one_of("auto") | boolean(),
    "scoring": instance(str, "'loss', a scorer's name") | Rule(callable, "a callable"),
    "validation_fraction": real("(0, 1)"),
    "n_iter_no_change": integer(1),
    "tol": real("[0, inf)"),
    "lr_schedule": one_of("plateau", None),
    "sparse_updates": one_of("auto") | boolean(),
    "precision": one_of("float32", "bfloat16"),
    "device": instance(str, "the name of a device, such as 'cpu', 'cuda', 'cuda:1' or 'mps', or 'auto'"),
    "callbacks": one_of(None) | instance((list, tuple), "a list of skorch callbacks"),
    "warm_start": boolean(),
    "verbose": integer(0),
}


class BaseDeepFM(BaseEstimator):
    """Fit and predict of a DeepFM; subclasses say what y is.

    Subclasses define `_rules`, `_net_class`, `_criterion`, `_target_class` and
    `_weigh`.
    """

    # Attributes that are read from what fit leaves in _fields and net_.

    @property
    def module_(self):
        return self.net_.module_

    @property
    def field_dims_(self):
        return self._fields.dims

    @property
    def history_(self):
        return [
            {name: value for name, value in epoch.items() if name != "batches"}
            for epoch in self.net_.history
        ]

    @property
    def n_iter_(self):
        return len(self.net_.history)

    @property
    def loss_curve_(self):
        return [epoch["train_loss"] for epoch in self.history_]

    @property
    def validation_scores_(self):
        scores = [epoch["valid_score"] for epoch in self.history_ if "valid_score" in epoch]
        return scores or None

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def _fit(self, X, y, sample_weight, validation):
        """Fit from scratch, or on from the last fit with `warm_start`."""
        check_parameters(self, self._rules)
        goes_on = self.warm_start and hasattr(self, "net_")
        # A fit from scratch works on a copy, so that one that fails changes nothing.
        model = self if goes_on else copy.copy(self)
        rows = model._read(X, y, sample_weight, reset=not goes_on)
        if not goes_on:
            model._target = model._target_class(rows.y)
        rows = model._prepare(rows)
        random = _random_state(self.random_state)
        train, valid = model._validation_rows(rows, validation, random)
        model._learn(train, random, goes_on=goes_on)
        model._train(train, valid, self.max_epochs, keep_optimizer=self.warm_start)
        vars(self).update(vars(model))
        return self

    def _partial_fit(self, X, y, sample_weight, target):
        """One pass over the rows; `target` makes sense of y at the first call."""
        check_parameters(self, self._rules)
        goes_on = hasattr(self, "net_")
        model = self if goes_on else copy.copy(self)
        rows = model._read(X, y, sample_weight, reset=not goes_on)
        if not goes_on:
            model._target = target(rows.y)
        rows = model._prepare(rows)
        model._learn(rows, _random_state(self.random_state), goes_on=goes_on)
        model._train(rows, None, 1, keep_optimizer=True)
        vars(self).update(vars(model))
        return self

    # Input

    def _read(self, X, y, sample_weight, *, reset):
        """Rows that weigh something, with y as the user gave it."""
        columns = read_columns(self, X, reset=reset)
        y = check_target(self, y, columns)
        return without_zero_weights(Rows(columns, y, check_weight(sample_weight, y)))

    def _prepare(self, rows):
        """Rows with the target encoded, repeats merged if they are few, classes weighed."""
        return self._weigh(merge_repeats(rows.with_target(self._target.encode(rows.y))))

    def _weigh(self, rows):
        return rows

    def _validation_rows(self, rows, validation, random):
        X_val, y_val, weight_val = validation
        if X_val is None:
            if y_val is not None or weight_val is not None:
                raise ValueError("y_val and sample_weight_val need X_val, got X_val=None.")
            stops = len(rows) > MANY_ROWS if self.early_stopping == "auto" else self.early_stopping
            if not stops:
                return rows, None
            return hold_out(
                rows, self.validation_fraction, random, stratify=self._target.is_class
            )
        if y_val is None:
            raise ValueError("X_val needs y_val, the target of the validation rows, got None.")
        valid = self._read(X_val, y_val, weight_val, reset=False)
        return rows, self._weigh(valid.with_target(self._target.encode(valid.y)))

    # Training

    def _learn(self, train, random, *, goes_on):
        """Fields, scale of the target and net, for the training rows."""
        if goes_on:
            self._fields, source, is_new = self._fields.grown(train.columns, train.weight)
            if is_new.any():
                self.net_.grow_table(source, is_new, self._fields.slopes)
            self.net_.frequencies = self._fields.frequencies
            return
        is_index = which_hold_codes(train.columns, self.categorical_features)
        self._fields = Fields(train.columns, is_index, train.weight)
        self._target.fit(train)
        self.net_ = self._new_net(random, self._batch_size(len(train)))

    def _new_net(self, random, batch_size):
        dims = self._fields.dims
        seed, order_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
        return self._net_class(
            module__n_fields=len(dims),
            module__n_features=int(dims.sum()),
            module__embed_dim=int(self.embed_dim),
            module__mlp_dims=tuple(int(width) for width in self.mlp_dims),
            module__dropout=float(self.dropout),
            module__n_outputs=self._target.n_outputs,
            module__batch_norm=bool(self.batch_norm),
            module__components=tuple(name for name in COMPONENTS if name in self.components),
            module__slopes=self._fields.slopes,
            module__sparse=self._is_sparse(batch_size),
            module__seed=seed,
            criterion=self._criterion(),
            embedding_l2=self.embedding_l2,
            weight_decay=self.weight_decay,
            precision=self.precision,
            initial_bias=self._target.initial_bias.tolist(),
            frequencies=self._fields.frequencies,
            seed=order_seed,
            device=_device(self.device),
        )

    def _is_sparse(self, batch_size):
        """Whether a batch can touch so few rows that sorting them out pays."""
        if self.sparse_updates != "auto":
            return bool(self.sparse_updates)
        dims = self._fields.dims
        return bool(dims.sum() > SPARSE_ABOVE * batch_size * len(dims) and dims.sum() > 2**17)

    def _batch_size(self, n_rows):
        if self.batch_size != "auto":
            return int(self.batch_size)
        return int(np.clip(2 ** int(np.log2(max(n_rows / 32, 1))), 32, 4096))

    def _train(self, train, valid, n_epochs, *, keep_optimizer):
        net = self.net_
        users = [_clone_callback(callback) for callback in self.callbacks or ()]
        net.lr, net.max_epochs, net.batch_size = self.learning_rate, n_epochs, self._batch_size(len(train))
        net.callbacks, net.keep_optimizer = users, keep_optimizer
        stops = self.early_stopping if self.early_stopping != "auto" else True
        callbacks = training_callbacks(
            users,
            scorer=None if valid is None or self.scoring == "loss" else self._scorer(valid),
            has_valid=valid is not None,
            patience=self.n_iter_no_change if stops else None,
            tol=self.tol,
            plateau=self.lr_schedule == "plateau",
            verbose=self.verbose,
        )
        net.train(self._samples(train), None if valid is None else self._samples(valid), callbacks)
        if net.interrupted_:
            warnings.warn(
                f"Training was interrupted after {self.n_iter_} full epochs; the model can be "
                f"used as it is.",
                UserWarning,
                stacklevel=4,
            )

    def _samples(self, rows):
        """Tensors on the device; weights get the mean 1, so that their scale has no effect."""
        index, value = self._fields.encode(rows.columns)
        weight = None
        if rows.weight is not None:
            weight = torch.from_numpy((rows.weight / rows.weight.mean()).astype(np.float32))
        return Samples(
            torch.from_numpy(index),
            None if value is None else torch.from_numpy(value),
            torch.from_numpy(self._target.to_network(rows.y)),
            weight,
        ).to(self.net_.device)

    def _scorer(self, valid):
        """From validation logits to a score, greater is better."""
        y = self._target.decode(valid.y)
        weight = {} if valid.weight is None else {"sample_weight": valid.weight}

        def score(logits):
            answers = self._target.answers(logits.astype(np.float64))
            return check_scoring(answers, scoring=self.scoring)(answers, X, y, **weight)

        X = np.zeros((len(y), 1))  # the answers are known: nothing is read from it
        return score

    # Prediction

    def _logits(self, X):
        """Sum of all terms, float64 of shape (n_samples, n_outputs), in bounded memory."""
        check_is_fitted(self)
        columns = read_columns(self, X, reset=False)
        n_rows = len(columns[0])
        logits = np.empty((n_rows, self._target.n_outputs))
        for start in range(0, n_rows, PREDICT_BATCH_SIZE):
            part = slice(start, min(start + PREDICT_BATCH_SIZE, n_rows))
            index, value = self._fields.encode([column.take(part) for column in columns])
            logits[part] = self._forward(index, value)
        return logits

    def _forward(self, index, value):
        n_rows, device = len(index), self.net_.device
        padding = -n_rows % ROW_MULTIPLE
        index = torch.from_numpy(np.pad(index, ((0, padding), (0, 0)), mode="edge")).to(device)
        if value is not None:
            value = torch.from_numpy(np.pad(value, ((0, padding), (0, 0)), mode="edge")).to(device)
        with torch.inference_mode():
            return self.net_.module_(index, value)[:n_rows].cpu().numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        tags.non_deterministic = False
        return tags


def _random_state(random_state):
    """None is fresh entropy, not numpy's global generator, which a fit leaves alone."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def _device(name):
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _clone_callback(callback):
    if isinstance(callback, tuple):
        name, instance = callback
        return name, _clone_callback(instance)
    return callback if isinstance(callback, type) else clone(callback, safe=False)
