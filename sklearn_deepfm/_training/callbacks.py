"""skorch callbacks of a fit: validation scores, best weights, learning rate, early stopping."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from skorch import NeuralNet
from skorch import callbacks as skorch_callbacks
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.utils import noop
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from sklearn_deepfm._samples.samples import Samples, SampleSet
from sklearn_deepfm._training.best_epoch import is_better
from sklearn_deepfm._training.linear_baseline import FirstOrder
from sklearn_deepfm._training.progress import progress_callbacks
from sklearn_deepfm._training.rollback import LastEpochWeights
from sklearn_deepfm._training.weight_snapshot import WeightSnapshot

# A callback in any form that skorch accepts.
UserCallback: TypeAlias = Callback | type[Callback] | tuple[str, Callback | type[Callback]]
NamedCallback: TypeAlias = tuple[str, Callback]

MONITOR = "valid_score"
# Callbacks of skorch that write files, print or send: of several processes one runs them.
_WRITERS = (
    skorch_callbacks.Checkpoint,
    skorch_callbacks.MlflowLogger,
    skorch_callbacks.NeptuneLogger,
    skorch_callbacks.PrintLog,
    skorch_callbacks.ProgressBar,
    skorch_callbacks.SacredLogger,
    skorch_callbacks.TensorBoard,
    skorch_callbacks.TrainEndCheckpoint,
    skorch_callbacks.WandbLogger,
)


@dataclass(frozen=True)
class Monitor:
    """How the validation rows are scored, and what their score decides.

    Parameters
    ----------
    scorer : callable or None
        From the logits of the validation rows to a score, greater is better; None for the
        negative validation loss.
    patience : int
        Epochs without improvement after which training stops.
    stops : bool
        Whether training stops early at all.
    tol : float
        Least improvement that counts for `patience` and a plateau.
    baselines : sequence of FirstOrder, default=()
        Linear models that training has to beat.
    """

    scorer: Callable[[np.ndarray], float] | None
    patience: int
    stops: bool
    tol: float
    baselines: Sequence[FirstOrder] = ()


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls, unless a callback of the user schedules it.

    Parameters
    ----------
    kind : {"plateau", "cosine", None}
        "plateau" divides it by 10 after half of the monitor's patience; "cosine" takes it from
        its value to 0 over `n_steps`, along half a wave.
    n_steps : int
        The most steps that training can take.
    """

    kind: str | None
    n_steps: int


@dataclass(frozen=True)
class Reporting:
    """Where training reports its epochs.

    Parameters
    ----------
    verbose : int
        1 prints a line per epoch, 2 draws a bar where there is a terminal or a notebook.
    tasks : sequence of (name, callback), default=()
        Callbacks that report the epochs to scikit-learn's callbacks.
    writes : bool, default=True
        Whether this process writes files, prints and runs scikit-learn's callbacks; of
        processes that train together only one does.
    """

    verbose: int
    tasks: Sequence[NamedCallback] = ()
    writes: bool = True


def is_callback(value: object) -> bool:
    """Whether skorch accepts a value as callback: an object, its class, or (name, either)."""
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[0], str) and is_callback(value[1])
    return hasattr(value, "on_epoch_end")


def copy_callback(callback: UserCallback) -> UserCallback:
    """Copy of a callback for one fit; what it refers to, such as a trial of Optuna, is shared."""
    if isinstance(callback, tuple):
        name, instance = callback
        return name, copy_callback(instance)
    return callback if isinstance(callback, type) else copy.copy(callback)


def training_callbacks(
    users: Sequence[UserCallback],
    monitor: Monitor | None,
    schedule: Schedule,
    reporting: Reporting,
) -> list[UserCallback]:
    """All callbacks of a fit, in order: scores, the user's, then those that end an epoch.

    Parameters
    ----------
    users : sequence of callback or (name, callback)
        The user's callbacks.
    monitor : Monitor or None
        None without validation rows: there is nothing to monitor then.
    schedule : Schedule
    reporting : Reporting
    """
    if not reporting.writes:
        users = [user for user in users if not _is_a(user, _WRITERS)]
    callbacks = [*_scores(monitor), *users]
    if not any(_is_a(user, LRScheduler) for user in users):
        callbacks += _schedules(schedule, monitor)
    callbacks.append(("deepfm_log", EpochLog()))
    if reporting.writes:
        callbacks += [*progress_callbacks(reporting.verbose), *reporting.tasks]
    if monitor is not None and monitor.stops:
        # Last: it ends training by an exception, after which no other callback is called.
        callbacks.append(("deepfm_stop", _early_stopping(monitor)))
    return callbacks


def _scores(monitor: Monitor | None) -> list[NamedCallback]:
    """Callbacks that decide which weights are kept; first, as the user's may read the score."""
    if monitor is None:
        return [("deepfm_last", LastEpochWeights())]
    score, best = ValidationScore(monitor.scorer), BestWeights(monitor.baselines)
    return [("deepfm_score", score), ("deepfm_best", best)]


def _is_a(callback: UserCallback, classes: type | tuple[type, ...]) -> bool:
    """Whether a callback, in any form that skorch accepts, is of one of the classes."""
    callback = callback[1] if isinstance(callback, tuple) else callback
    kind = callback if isinstance(callback, type) else type(callback)
    return issubclass(kind, classes)


def _schedules(schedule: Schedule, monitor: Monitor | None) -> list[NamedCallback]:
    if schedule.kind == "cosine":
        return [("deepfm_cosine", _cosine(schedule.n_steps))]
    if schedule.kind == "plateau" and monitor is not None:
        return [("deepfm_plateau", _plateau(monitor))]
    return []


def _cosine(n_steps: int) -> LRScheduler:
    # EpochLog records the rate, whoever schedules it.
    return LRScheduler(CosineAnnealingLR, T_max=n_steps, step_every="batch", event_name=None)


def _plateau(monitor: Monitor) -> LRScheduler:
    return LRScheduler(
        ReduceLROnPlateau,
        monitor=MONITOR,
        mode="max",
        factor=0.1,
        patience=max(monitor.patience // 2, 1) - 1,  # torch acts one epoch after its patience
        threshold=monitor.tol,
        threshold_mode="abs",
        event_name=None,
    )


def _early_stopping(monitor: Monitor) -> EarlyStopping:
    return EarlyStopping(
        MONITOR,
        patience=monitor.patience,
        threshold=monitor.tol,
        threshold_mode="abs",
        lower_is_better=False,
        sink=noop,
    )


class ValidationScore(Callback):
    """Record the score of each epoch's validation logits as `valid_score`."""

    def __init__(self, scorer: Callable[[np.ndarray], float] | None) -> None:
        self.scorer = scorer
        self.in_scorer_ = False
        self._logits: list[Tensor] = []

    def on_epoch_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Forget the logits of the epoch before."""
        self._logits = []

    def on_batch_end(  # type: ignore[override]
        self, net: NeuralNet, *, y_pred: Tensor, training: bool, **kwargs: object
    ) -> None:
        """Keep the logits of a validation batch, if a scorer wants them."""
        if self.scorer is not None and not training:
            self._logits.append(y_pred)

    def on_epoch_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Record the score of the epoch that ends."""
        if self.scorer is None:
            score = -net.history[-1, "valid_loss"]
        else:
            # The net tells an error of the scorer from one of a user's callback by this flag.
            self.in_scorer_ = True
            score = float(self.scorer(torch.cat(self._logits).cpu().numpy()))
            self.in_scorer_ = False
        net.history.record(MONITOR, score)


class BestWeights(Callback):
    """Keep the weights of the epoch with the best score, and restore them at the end.

    Parameters
    ----------
    baselines : sequence of FirstOrder, default=()
        Linear models, the best of which stays until an epoch predicts the validation rows
        better than it does by more than chance. The score is then the negative validation loss.
    """

    def __init__(self, baselines: Sequence[FirstOrder] = ()) -> None:
        self.baselines = baselines

    def on_train_begin(  # type: ignore[override]
        self, net: NeuralNet, X: tuple[SampleSet, Samples | None], **kwargs: object
    ) -> None:
        """Start without a best epoch, or with the best of the linear models."""
        self.best_score_ = -np.inf
        self._copy: WeightSnapshot | None = None
        self._is_last = False
        self._beats_baseline: Callable[[Tensor], bool] | None = None
        valid = X[1]
        if self.baselines and valid is not None:
            self._try_baselines(net, valid)

    def _try_baselines(self, net: NeuralNet, valid: Samples) -> None:
        """Keep the best of the linear models, whose losses epochs are then compared with."""
        weights = net.module_.state_dict()
        start = WeightSnapshot(weights)
        for baseline in self.baselines:
            net.module_.set_linear(*map(torch.from_numpy, baseline))
            net.refresh_unseen()
            steps = [net.validation_step(batch) for batch in net.get_iterator(valid)]
            losses = torch.cat([step["losses"] for step in steps])
            # The weakest penalty, unless another is better by more than chance.
            if self._beats_baseline is None or self._beats_baseline(losses):
                # A function, which a checkpoint leaves out: a fit that resumes makes it again.
                self._beats_baseline = partial(is_better, losses)
                self._drop()
                self._copy = WeightSnapshot(weights)
            start.restore(weights)
        start.close()

    def on_epoch_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Copy the weights if the epoch before was the best."""
        if self._is_last:  # copied only now, when the next epoch is about to change them
            self._drop()
            self._copy = WeightSnapshot(net.module_.state_dict())
        self._is_last = False

    def on_epoch_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Compare the epoch with the best so far, and record whether it is better."""
        score = net.history[-1, MONITOR]
        # As long as every score is NaN, the last epoch counts as the best.
        is_best = score > self.best_score_ or self.best_score_ == -np.inf
        # An epoch that follows one which has beaten the baseline has to be better than that one.
        if is_best and self._beats_baseline is not None and self.best_score_ == -np.inf:
            is_best = self._beats_baseline(torch.cat(net.valid_losses))
        if is_best:
            self.best_score_, self._is_last = float(np.fmax(score, self.best_score_)), True
            self._drop()
        net.history.record(f"{MONITOR}_best", is_best)

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Put the best weights back."""
        if self._copy is not None and not self._is_last:
            self._copy.restore(net.module_.state_dict())
        self._drop()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_copy": None}  # which may hold open files

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self._copy = None


class EpochLog(Callback):
    """Record the learning rate of each epoch."""

    def on_epoch_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        net.history.record("learning_rate", net.optimizer_.param_groups[0]["lr"])
