"""The skorch net that trains a DeepFM: loss, weights, optimizer, pickling."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.history import History
from torch import Tensor, nn

from sklearn_deepfm._averaging import (
    WeightAverage,
    average_of,
    has_statistics,
    statistics_of,
    statistics_of_one_batch,
)
from sklearn_deepfm._batches import Batches, Samples
from sklearn_deepfm._distributed import ALONE, Group, Shares, Stopped
from sklearn_deepfm._divergence import Diverged, advice
from sklearn_deepfm._module import DeepFM
from sklearn_deepfm._optim import RowSparseAdam, resize_rows
from sklearn_deepfm._spool import Spool
from sklearn_deepfm._unseen import fill_unseen

VALID_BATCH_SIZE = 4096
N_TRIED = 64  # rows that are predicted after an epoch
MOST_ROWS_OF_STATISTICS = 8192  # of the units' mean and variance under averaged weights


class DeepFMNet(NeuralNet):
    """skorch net over :class:`Samples`, fed by tensor batches.

    Parameters
    ----------
    embedding_l2 : float
        Factor lambda of the penalty (lambda/2)*||embeddings||^2 added to the mean loss.
    linear_l2 : float
        The same for the table's first-order weights.
    weight_decay : float
        The same for the weights of the MLP's layers.
    table_optimizer : {"adam", "adagrad"}
        Rule of the table's rows, where only those of a batch are updated.
    ema_epochs : float
        Horizon of the moving average of the weights, in epochs; 0: the last weights.
    precision : {"float32", "bfloat16"}
        Of the matrix products while training.
    initial_bias : sequence of float
        Global bias to start from.
    pretrained : tuple of ndarray (rows, embeddings), or None
        Embeddings to put into rows of the table before it is trained.
    frequencies : list of (int, ndarray)
        For each index field, its first row, which stands for unseen codes, and the
        weight of each of its rows.
    unseen : list of Tensor
        For each member, the rows of codes of which it has seen no row of data; another
        member has. Empty if there are none.
    seed : int
        Seed of the order of the rows.
    keep_optimizer : bool
        Whether a pickle carries the optimizer's state, to go on training.
    """

    diverged_: str | None = None  # what to say of it

    # Held during a fit alone.
    group: Group = ALONE  # processes that train it together
    n_steps = 0
    is_broken_off = False  # by an error of a callback
    average: WeightAverage | None = None
    _trained_on: Shares | None = None
    _samples: Samples | Spool | None = None

    def __init__(
        self,
        module: type[nn.Module] = DeepFM,
        *,
        embedding_l2: float = 0.0,
        linear_l2: float = 0.0,
        weight_decay: float = 0.0,
        table_optimizer: str = "adam",
        ema_epochs: float = 0.0,
        precision: str = "float32",
        initial_bias: Iterable[float] = (0.0,),
        pretrained: tuple[np.ndarray, np.ndarray] | None = None,
        frequencies: Iterable[tuple[int, np.ndarray]] = (),
        unseen: Iterable[Tensor] = (),
        seed: int = 0,
        keep_optimizer: bool = False,
        **kwargs: Any,
    ) -> None:
        self.embedding_l2 = embedding_l2
        self.linear_l2 = linear_l2
        self.weight_decay = weight_decay
        self.table_optimizer = table_optimizer
        self.ema_epochs = ema_epochs
        self.precision = precision
        self.initial_bias = initial_bias
        self.pretrained = pretrained
        self.frequencies = frequencies
        self.unseen = unseen
        self.seed = seed
        self.keep_optimizer = keep_optimizer
        super().__init__(module, train_split=None, criterion__reduction="none", verbose=0, **kwargs)

    def get_default_callbacks(self) -> list[Any]:
        """Timer and losses; what is printed is for the estimator to say."""
        return [(name, cb) for name, cb in self._default_callbacks if name != "print_log"]

    # Building

    def initialize_module(self) -> "DeepFMNet":
        """Build the module, its bias at the base rate, and the generator of the rows' order."""
        super().initialize_module()
        with torch.no_grad():
            bias = torch.tensor(list(self.initial_bias))
            self.module_.bias.copy_(bias.repeat(self.module_.n_members))
        if self.pretrained is not None:
            self.module_.set_embeddings(*map(torch.from_numpy, self.pretrained))
            self.pretrained = None  # the table holds them now
        self.order_ = torch.Generator().manual_seed(self.seed)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> "DeepFMNet":
        """Build the optimizer, which asks the module for the rows that a batch touched."""
        module = self.module_
        self.optimizer_ = RowSparseAdam(
            self._parameter_groups(),
            touched=lambda: module.touched,
            fused=True,
            lr=self.lr,
        )
        return self

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """The table, the MLP's weights, and what has no penalty; few, since each takes time."""
        module = self.module_
        weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Linear)]
        known = {id(module.table), *map(id, weights)}
        others = [p for p in module.parameters() if id(p) not in known]
        rule = self.table_optimizer if module.sparse else None
        table = {"params": [module.table], "weight_decay": self.embedding_l2, "rows": rule}
        table |= {"first_decay": self.linear_l2, "n_first": module.n_first}
        table["frozen"] = module.frozen
        if module.n_members > 1:
            table |= {"n_members": module.n_members, "member": module.member_of_columns()}
        if self.weight_decay == 0:
            return [table, {"params": weights + others}]
        return [table, {"params": weights, "weight_decay": self.weight_decay}, {"params": others}]

    def _restart_optimizer(self) -> None:
        """Set learning rate and penalties as they are now; the moments stay."""
        optimizer = self.optimizer_
        groups, optimizer.param_groups = self._parameter_groups(), []
        for group in groups:
            optimizer.add_param_group({"lr": self.lr, **group})

    def grow_table(self, source: np.ndarray, is_new: np.ndarray, slopes: dict[int, int]) -> None:
        """Replace the table by ``table[source]``, where `is_new` rows have not been trained."""
        module, old = self.module_, self.module_.table
        rows = torch.from_numpy(source).to(old.device)
        module.table = nn.Parameter(old.detach()[rows])
        module.set_slopes(slopes)
        if module.frozen is not None:
            frozen = module.frozen.cpu().numpy()[source] & ~is_new
            module.set_frozen(frozen)
            self.__dict__["module__frozen"] = frozen
        self.optimizer_.param_groups[0]["params"] = [module.table]
        resize_rows(self.optimizer_, old, module.table, rows, torch.from_numpy(is_new))
        self.__dict__.update(module__n_features=len(source), module__slopes=slopes)

    # Training

    def train(self, train: Samples | Spool, valid: Samples | None, callbacks: list[Any]) -> None:
        """Run up to `max_epochs` epochs, on from where the last call ended."""
        users: list[Any] = self.callbacks
        self.callbacks: list[Any] = callbacks
        if self.initialized_:
            self.initialize_callbacks()
        else:
            self.initialize()
        self._restart_optimizer()
        try:
            self.partial_fit((train, valid))
            self.group.end_training(self.module_)
        finally:
            # What callbacks gathered holds rows of the data.
            self.callbacks = users
            self.callbacks_: list[Any] = []
            self.average = self._trained_on = self._samples = None
            self.group = ALONE
            self.unseen = []
            self.optimizer_.zero_grad()
            if not self.keep_optimizer or self.diverged_ is not None:
                self.optimizer_.state.clear()

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Training and validation samples, which come as a pair."""
        return X

    def get_dataset(self, X: Any, y: Any = None) -> Samples | Spool:
        if isinstance(X, Samples | Spool):
            return X
        return Samples(torch.as_tensor(X, device=self.device))

    def get_iterator(self, dataset: Samples | Spool, training: bool = False) -> Shares | Batches:
        if training:
            return Shares(dataset.batches(self.batch_size, self.order_), self.group)
        return dataset.batches(max(self.batch_size, VALID_BATCH_SIZE) * self.group.size)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute output, loss and gradient of a batch.

        The loss that is minimised is the sum of the members' losses, what is recorded
        their mean.
        """
        if not self.module_.training:  # to say so to every layer in every step takes time
            self.module_.train()
        x, y = batch
        logits = self._member_logits(x)
        loss = self.get_loss(logits, y, X=x, training=True)
        if self.group.size > 1:
            loss.backward()
            loss = self.group.merge(self.module_, loss)
        if _is_at_hand(loss) and not math.isfinite(loss.item()):
            raise Diverged(loss.item(), self.n_steps)
        if self.group.size == 1:
            loss.backward()
        return {"loss": loss / logits.shape[1], "y_pred": logits.detach().mean(1)}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute output and loss of a batch, of which each process predicts a part."""
        x, y = batch
        part, _ = self.group.part_of(batch)
        self.module_.eval()
        with torch.no_grad():
            logits = self.group.concatenated(self.infer(part), len(x["index"]))
            return {"loss": self.get_loss(logits, y, X=x), "y_pred": logits}

    def infer(self, x: dict[str, Any], **fit_params: Any) -> Tensor:
        """Logits (batch, n_outputs): of the member that has not seen a row, else their mean."""
        logits = self._member_logits(x)
        if "member" in x:
            return logits[torch.arange(len(logits), device=logits.device), x["member"]]
        return logits.mean(1)

    def _member_logits(self, x: dict[str, Any]) -> Tensor:
        inputs = {name: part for name, part in x.items() if name in ("index", "value", "bags")}
        low = self.precision == "bfloat16" and self.module_.training
        with torch.autocast(x["index"].device.type, torch.bfloat16, enabled=low):
            logits: Tensor = self.module_.member_logits(**inputs)
        return logits.float()

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Mean over the batch of weight times loss; the weights have mean 1 over the set.

        Of a process's part of a batch it is the part of that mean.
        The loss of several labels or numbers is the sum of theirs, and so is that of
        several members, whose logits are of shape (batch, n_members, n_outputs).
        """
        n_members = y_pred.shape[1] if y_pred.ndim == 3 else 1
        logits = y_pred.reshape(-1, y_pred.shape[-1])
        y_true = y_true if n_members == 1 else y_true.repeat_interleave(n_members, 0)
        losses: Tensor = self.criterion_(logits[:, 0] if logits.shape[1] == 1 else logits, y_true)
        losses = losses.sum(1) if losses.ndim == 2 else losses
        losses = losses.view(-1, n_members)
        if "weight" in X:
            weight = X["weight"]
            losses = losses * (weight.unsqueeze(1) if weight.ndim == 1 else weight)
        mean: Tensor = losses.sum(0) / X["n_rows"] if "n_rows" in X else losses.mean(0)
        return mean.sum()

    def get_all_learnable_params(self) -> Any:
        """Parameters by name; in a row-sparse step the table's touched rows stand for it."""
        for name, parameter in super().get_all_learnable_params():
            if name == "table" and self.module_.touched is not None:
                yield name, self.module_.touched.rows
            else:
                yield name, parameter

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """One pass over the batches, without waiting for a GPU after each of them.

        There the losses of the batches are tensors until the epoch ends.
        """
        if training:
            self._begin_epoch(iterator)
        else:
            self.group.average(statistics_of(self.module_))
            self._apply_average()
            if iterator is not None:
                self.refresh_unseen()
        name, recorded = f"{prefix}_loss", []
        for batch in iterator or ():
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            self.n_steps += training
            if training and self.average is not None:
                self.average.update(self.module_.touched)
            loss = step["loss"].detach()
            self.history.record_batch(name, loss.item() if _is_at_hand(loss) else loss)
            n_rows = batch[0].get("n_rows", len(batch[0]["index"]))
            self.history.record_batch(f"{prefix}_batch_size", n_rows)
            recorded.append(self.history[-1]["batches"][-1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        on_device = [row for row in recorded if torch.is_tensor(row[name])]
        if on_device:
            losses = torch.stack([row[name] for row in on_device]).tolist()
            for row, loss in zip(on_device, losses, strict=True):
                row[name] = loss
            strange = [n for n, loss in enumerate(losses) if not math.isfinite(loss)]
            if training and strange:
                n_steps = self.n_steps - len(losses) + strange[0]
                raise Diverged(losses[strange[0]], n_steps)
        if iterator is not None:
            self.history.record(f"{prefix}_batch_count", len(recorded))
        if not training:
            self._check_weights()

    def _check_weights(self) -> None:
        """The last step of an epoch has no loss after it that would tell: predict some rows."""
        samples: Any = self._samples
        x, _ = samples.few(N_TRIED)
        self.module_.eval()
        with torch.no_grad():
            logits = self._member_logits(x)
        weights = [parameter.detach().square().sum() for parameter in self.module_.parameters()]
        is_well = all(bool(torch.isfinite(tensor).all()) for tensor in (logits, *weights))
        if not self.group.agrees(is_well, logits.device):
            raise Diverged(math.nan, self.n_steps)

    def _begin_epoch(self, batches: Shares) -> None:
        """Go on with the weights in training, which the average has replaced for validation."""
        self._samples = batches.samples
        self.group.reseed(self)
        # Batches of one row have no statistics: they are normalised as predictions are.
        has_pairs = batches.have_pairs and has_statistics(self.module_)
        self._trained_on = batches if has_pairs else None
        if self.average is not None:
            self.average.restore()
        elif self.ema_epochs:
            self.average = average_of(self.module_, self.ema_epochs, len(batches))

    def _apply_average(self) -> None:
        """Put the averaged weights into the module, with the statistics of their hidden units."""
        batches = self._trained_on
        if self.average is None or not self.average.apply() or batches is None:
            return
        x = batches.few(MOST_ROWS_OF_STATISTICS)
        random = self.module_.random_state()
        with statistics_of_one_batch(self.module_):
            self._member_logits(x)
        self.group.average(statistics_of(self.module_))
        self.module_.set_random_state(random)  # training goes on as if nothing had been drawn

    def on_train_end(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self._apply_average()
        self.prepare_to_predict()
        self.module_.release()

    def prepare_to_predict(self) -> None:
        """Make the module predict as it would if training ended with the epoch."""
        self.refresh_unseen()
        self.module_.eval()

    def refresh_unseen(self) -> None:
        """Set the rows that stand for unseen codes, now that those of the others have changed."""
        fill_unseen(self.module_, self.frequencies, list(self.unseen))

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call net and callbacks, and remember whether one of the user's has raised an error.

        Processes that train together end an epoch, or training, alike, and such an error of
        one of them is a failure of all.
        """
        stops, is_shared = False, method_name == "on_epoch_end" and self.group.size > 1
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            if not is_shared:
                raise
            stops = True
        except Exception:
            scores = (getattr(callback, "in_scorer_", False) for _, callback in self.callbacks_)
            # Processes that train together all go back, since the others do not learn so far.
            self.is_broken_off = self.group.size == 1 and not any(scores)
            raise
        if is_shared:
            self.group.agree(self, stops)

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        """Train, and remember whether the user broke it off, or it diverged.

        skorch stops silently on KeyboardInterrupt, which is also how its EarlyStopping
        ends training.
        """
        self.interrupted_, self.diverged_ = False, None
        try:
            return super().fit_loop(X, y, epochs, **kwargs)
        except Stopped:
            raise
        except KeyboardInterrupt:
            callbacks = [callback for _, callback in self.callbacks_]
            stops = [callback for callback in callbacks if isinstance(callback, EarlyStopping)]
            is_over = any(callback.misses_ >= callback.patience for callback in stops)
            is_over |= any(getattr(callback, "stopped_", False) for callback in callbacks)
            self.interrupted_ = not is_over
            if self.group.size > 1:
                self._break_off()
                raise RuntimeError("Training was interrupted; it ends in all processes.") from None
            raise
        except Diverged as error:
            self.diverged_ = advice(self, error)
            raise KeyboardInterrupt from error  # with which skorch ends training in order
        except Exception:
            self._break_off()
            raise
        finally:
            if self.history_ and "dur" not in self.history_[-1]:
                self.history_.pop()  # an epoch cut short

    def _break_off(self) -> None:
        """Make the weights reached usable, without the other processes, which may be gone."""
        self.group = ALONE
        self.on_train_end(self)

    # Pickling: arrays instead of tensors, so that any device can load them

    def __getstate__(self) -> dict[str, Any]:
        built = ("module_", "criterion_", "optimizer_", "callbacks_", "virtual_params_", "order_")
        of_a_fit = ("group", "average", "_trained_on", "_samples", "n_steps", "is_broken_off")
        left_out = {*built, *of_a_fit}
        state = {name: value for name, value in vars(self).items() if name not in left_out}
        state["unseen"] = []
        state["history_"] = History({**epoch, "batches": []} for epoch in self.history_)
        state["weights"] = {
            name: tensor.cpu().numpy() for name, tensor in self.module_.state_dict().items()
        }
        state["order"] = self.order_.get_state().numpy()
        if self.keep_optimizer:
            state["optimizer_state"] = _on_cpu(self.optimizer_.state_dict()["state"])
            state["dropout"] = self.module_.random_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights, order = state.pop("weights"), state.pop("order")
        optimizer_state, dropout = state.pop("optimizer_state", None), state.pop("dropout", None)
        history = state["history_"]
        state["device"] = _available(state["device"])
        self.__dict__.update(state, history_=None, initialized_=False, callbacks_=[])
        self.initialize()
        self.history_ = history
        self.module_.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        self.module_.eval()
        self.order_.set_state(torch.from_numpy(order))
        if optimizer_state is not None:
            groups = self.optimizer_.state_dict()["param_groups"]
            self.optimizer_.load_state_dict({"state": optimizer_state, "param_groups": groups})
            self.module_.set_random_state(dropout)


class DeepFMClassifierNet(ClassifierMixin, DeepFMNet):
    """Net for classes, numbered from 0, or labels, with the methods that scorers ask for."""

    @property
    def classes_(self) -> np.ndarray:
        return np.arange(max(2, self.module_.n_outputs))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class or label, of shape (n_samples, n_classes)."""
        proba: np.ndarray = self.module_.to_proba(self.forward(X)).detach().numpy()
        return np.column_stack([1 - proba, proba]) if proba.shape[1] == 1 else proba

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class, of shape (n_samples,), or whether a row has each label."""
        proba = self.predict_proba(X)
        label: np.ndarray = proba > 0.5 if self.module_.multi_label else proba.argmax(1)
        return label.astype(np.int64)


class DeepFMRegressorNet(RegressorMixin, DeepFMNet):
    """Net for a target of mean 0 and variance 1."""

    def predict(self, X: Any) -> np.ndarray:
        """Standardised target, of shape (n_samples,) or (n_samples, n_outputs)."""
        output: np.ndarray = self.forward(X).detach().numpy()
        return output[:, 0] if output.shape[1] == 1 else output


def _is_at_hand(loss: Tensor) -> bool:
    """Whether its value can be read without waiting for a device."""
    return loss.device.type == "cpu"


def _on_cpu(state: dict[int, Any]) -> dict[int, Any]:
    """Moments of an optimizer with all tensors on the CPU, so that any machine can load them."""
    return {
        number: {name: v.cpu() if torch.is_tensor(v) else v for name, v in moments.items()}
        for number, moments in state.items()
    }


def _available(device: str) -> str:
    """The device, or the CPU with a warning where this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError):
        warnings.warn(
            f"The model was trained on device={device!r}, which this machine does not have: "
            f"it is loaded on the CPU.",
            UserWarning,
            stacklevel=3,
        )
        return "cpu"
    return device
