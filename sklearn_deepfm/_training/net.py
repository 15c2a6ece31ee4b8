"""The skorch net that trains a DeepFM: steps, losses, epochs, and the end of training."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from sklearn_deepfm._model.touched_rows import TouchedRows
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Batch, Inputs, Samples
from sklearn_deepfm._training.base_net import BaseNet
from sklearn_deepfm._training.callbacks import NamedCallback, UserCallback
from sklearn_deepfm._training.divergence import Diverged, divergence_message, read_losses
from sklearn_deepfm._training.losses import losses_of_rows, mean_loss
from sklearn_deepfm._training.step import INPUTS, GradHook, autocast, is_at_hand
from sklearn_deepfm._training.training_group import ALONE, EpochBatches, Stopped
from sklearn_deepfm._training.unseen_rows import fill_unseen_rows
from sklearn_deepfm._training.weight_average import (
    has_statistics,
    make_weight_average,
    statistics_of,
    statistics_of_one_batch,
)

Dataset: TypeAlias = Samples | DiskBuffer
Pair: TypeAlias = tuple[Dataset, Samples | None]  # to train and to validate with
StepFunction: TypeAlias = Callable[..., dict[str, Tensor]]

VALID_BATCH_SIZE = 4096
N_TRIED = 64  # rows predicted after an epoch, to see whether the weights are finite
MOST_ROWS_OF_STATISTICS = 8192  # rows that give BatchNorm's statistics for averaged weights


class DeepFMNet(BaseNet):
    """skorch net over :class:`Samples`, fed by tensor batches; its parameters are BaseNet's."""

    def train(self, train: Dataset, valid: Samples | None, callbacks: list[UserCallback]) -> None:
        """Train for up to `max_epochs` epochs, from where the last call ended."""
        users: list[UserCallback] = self.callbacks
        self.callbacks: list[UserCallback] = callbacks
        if self.initialized_:
            self.initialize_callbacks()
        else:
            self.initialize()
        self._restart_optimizer()
        self.step_ = self.group.step_of(
            self.module_, self.criterion_, self.optimizer_, self.precision
        )
        try:
            self.partial_fit((train, valid))
            self.group.end_training(self.module_)
        finally:
            # Callbacks may hold rows of the data, which are not to stay in the model.
            self.callbacks = users
            self.callbacks_: list[NamedCallback] = []
            self._trained_on = self._samples = None
            self.valid_losses = []
            self.step_.release()
            self._leave_group()
            self.unseen = []
            self.optimizer_.zero_grad()
            # Adam's moments are twice as large as the weights, and only a net that goes on
            # needs them; those of a diverged one may not be finite.
            if not self.keep_optimizer or self.diverged_ is not None:
                self.optimizer_.state.clear()

    def get_split_datasets(self, X: Pair, y: object = None, **fit_params: object) -> Pair:
        """The pair of training and validation samples, which `train` passes as X."""
        return X

    def get_dataset(self, X: ArrayLike | Dataset, y: object = None) -> Dataset:
        if isinstance(X, Samples | DiskBuffer):
            return X
        return Samples(torch.as_tensor(X, device=self.device))

    def get_iterator(self, dataset: Dataset, training: bool = False) -> EpochBatches:
        if training:
            return self.group.shares_of(dataset.batches(self.batch_size, self.order_))
        # Each process predicts its part of a validation batch.
        return dataset.batches(max(self.batch_size, VALID_BATCH_SIZE) * self.group.size)

    def train_step(self, batch: Batch, **fit_params: object) -> dict[str, Tensor]:
        """Take a step on a batch; its loss is the mean of the members'."""
        assert self.step_ is not None
        return self.step_(batch, on_grad=self._grad_hook(batch))

    def _grad_hook(self, batch: Batch) -> GradHook | None:
        """What a step calls with its gradients; None where no callback asks for them."""
        own = Callback.on_grad_computed
        if all(type(c).on_grad_computed is own for _, c in self.callbacks_):
            return None

        def tell(touched: TouchedRows | None) -> None:
            named = list(self.get_all_learnable_params())
            if touched is not None:
                # The table itself has no gradient then, which clipping looks for.
                named = [(n, touched.rows if n == "table" else p) for n, p in named]
            self.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)

        return tell

    def validation_step(self, batch: Batch, **fit_params: object) -> dict[str, Tensor]:
        """Compute output and loss of a batch; each process predicts a part of it."""
        x, y = batch
        part, _ = self.group.part_of(batch)
        self.module_.eval()
        with torch.no_grad():
            logits = self.group.concatenated(self.infer(part), len(x["index"]))
            losses = losses_of_rows(self.criterion_, logits, y, x)
            return {"loss": mean_loss(losses, x), "losses": losses[:, 0], "y_pred": logits}

    def infer(self, x: Inputs, **fit_params: object) -> Tensor:
        """Logits (batch, n_outputs): the mean of the members.

        Where `x` has a "member" for each row, the logits of that one, which has not seen it.
        """
        logits = self._member_logits(x)
        if "member" in x:
            return logits[torch.arange(len(logits), device=logits.device), x["member"]]
        return logits.mean(1)

    def _member_logits(self, x: Inputs) -> Tensor:
        """Logits (batch, n_members, n_outputs) in float32, whatever the precision."""
        # What predicts has full precision; BatchNorm's statistics are those of training.
        precision = self.precision if self.module_.training else "float32"
        with autocast(x["index"].device.type, precision):
            logits: Tensor = self.module_.member_logits(**{n: x[n] for n in INPUTS if n in x})
        return logits.float()

    def run_single_epoch(
        self,
        iterator: EpochBatches | None,
        training: bool,
        prefix: str,
        step_fn: StepFunction,
        **fit_params: object,
    ) -> None:
        """One pass over the batches, without waiting for a GPU after each of them.

        On a GPU the losses stay tensors until the epoch ends, and are then read at once.
        """
        if training:
            assert iterator is not None
            self._begin_epoch(iterator)
        else:
            self.group.average(statistics_of(self.module_))
            self._apply_average()
            if iterator is not None:  # in an epoch, only validation reads these rows
                self.refresh_unseen()
            self.valid_losses = []
        name, recorded = f"{prefix}_loss", []
        for batch in iterator or ():
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            if not training:
                self.valid_losses.append(step.pop("losses"))
            loss = step["loss"].detach()
            self.history.record_batch(name, loss.item() if is_at_hand(loss) else loss)
            n_rows = batch[0].get("n_rows", len(batch[0]["index"]))
            self.history.record_batch(f"{prefix}_batch_size", n_rows)
            recorded.append(self.history[-1]["batches"][-1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        read_losses(recorded, name, self._n_steps if training else None)
        if iterator is not None:
            self.history.record(f"{prefix}_batch_count", len(recorded))
        if not training:
            self._check_weights()

    @property
    def _n_steps(self) -> int:
        """Number of steps that this call of `train` has taken."""
        return 0 if self.step_ is None else self.step_.n_steps

    def _check_weights(self) -> None:
        """Raise Diverged if the weights are not finite: no loss follows an epoch's last step."""
        assert self._samples is not None
        x, _ = self._samples.few(N_TRIED)
        self.module_.eval()
        with torch.no_grad():
            logits = self._member_logits(x)
        # A norm makes no copy of the table.
        weights = [torch.linalg.vector_norm(p.detach()) for p in self.module_.parameters()]
        is_well = all(bool(torch.isfinite(tensor).all()) for tensor in (logits, *weights))
        # All processes have to stop together; with shards, each has predicted rows of its own.
        if not self.group.all_true(is_well, logits.device):
            raise Diverged(math.nan, self._n_steps)

    def _begin_epoch(self, batches: EpochBatches) -> None:
        """Put back the weights in training, which their average has replaced for validation."""
        self._samples = batches.samples
        self.group.reseed(self)
        # Statistics need two rows: BatchNorm takes its running ones for a batch of one row.
        has_pairs = batches.has_two_rows_per_batch and has_statistics(self.module_)
        self._trained_on = batches if has_pairs else None
        self.n_batches = len(batches)
        if self.average is not None:
            self.average.restore()
        elif self.ema_epochs and self.step_ is not None:
            average = make_weight_average(self.module_, self.ema_epochs, self.n_batches)
            self.step_.average = average

    def _apply_average(self) -> None:
        """Put the averaged weights into the module, with BatchNorm statistics that fit them."""
        batches = self._trained_on
        if self.average is None or not self.average.apply() or batches is None:
            return
        x = batches.few(MOST_ROWS_OF_STATISTICS)
        random = self.module_.random_state()
        with statistics_of_one_batch(self.module_):
            self._member_logits(x)
        self.group.average(statistics_of(self.module_))
        self.module_.set_random_state(random)  # as if this pass had drawn no dropout

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        self._apply_average()
        self.prepare_to_predict()
        self.module_.release()

    def prepare_to_predict(self) -> None:
        """Make the module predict as it would if training ended now."""
        self.refresh_unseen()
        self.module_.eval()

    def refresh_unseen(self) -> None:
        """Recompute the table rows for unseen codes from those of the codes that were trained."""
        fill_unseen_rows(self.module_, self.frequencies, list(self.unseen))

    def notify(self, method_name: str, **kwargs: object) -> None:
        """Call net and callbacks, and remember whether an error in one has ended training.

        Processes that train together end epochs, and training, at the same places: an error
        in a callback of one of them makes the fit fail in all.
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
            # A net that goes on keeps what it has learned before a callback's error, but not
            # if the scorer fails. Several processes roll back: not all have come as far.
            self.callback_failed = self.group.size == 1 and not any(scores)
            raise
        if is_shared:
            self.group.agree(self, stops)

    def fit_loop(
        self, X: Pair, y: object = None, epochs: int | None = None, **kwargs: object
    ) -> NeuralNet:
        """Train, and remember whether the user interrupted training, or it diverged.

        skorch stops silently on KeyboardInterrupt, which is also how its EarlyStopping
        ends training.
        """
        self.interrupted_, self.diverged_ = False, None
        try:
            return super().fit_loop(X, y, epochs, **kwargs)
        except Stopped:  # a regular end, on which all processes have agreed
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
            self.diverged_ = divergence_message(self, error)
            raise KeyboardInterrupt from error  # after which skorch still calls on_train_end
        except Exception:
            self._break_off()
            raise
        finally:
            if self.history_ and "dur" not in self.history_[-1]:
                self.history_.pop()  # an epoch without a duration was cut short

    def _break_off(self) -> None:
        """End training with the present weights, alone, since other processes may be gone."""
        self._leave_group()
        self.on_train_end(self)

    def _leave_group(self) -> None:
        """Go on as a single process."""
        self.group.leave(self.module_)
        self.group = ALONE


class DeepFMClassifierNet(ClassifierMixin, DeepFMNet):
    """Net for classes, numbered from 0, or for several labels."""

    @property
    def classes_(self) -> np.ndarray:
        return np.arange(max(2, self.module_.n_outputs))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each class or label, of shape (n_samples, n_classes)."""
        proba: np.ndarray = self.module_.to_proba(self.forward(X)).detach().numpy()
        return np.column_stack([1 - proba, proba]) if proba.shape[1] == 1 else proba

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class, of shape (n_samples,), or whether a row has each label."""
        proba = self.predict_proba(X)
        label: np.ndarray = proba > 0.5 if self.module_.multi_label else proba.argmax(1)
        return label.astype(np.int64)


class DeepFMRegressorNet(RegressorMixin, DeepFMNet):
    """Net for a target of mean 0 and variance 1."""

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Standardised target, of shape (n_samples,) or (n_samples, n_outputs)."""
        output: np.ndarray = self.forward(X).detach().numpy()
        return output[:, 0] if output.shape[1] == 1 else output
