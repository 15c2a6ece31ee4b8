"""One run of training: set up the net of an estimator, train it, and report the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sklearn.exceptions import ConvergenceWarning

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._model.components import has_part
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.best_epoch import Epoch, best_epoch, without_batches
from sklearn_deepfm._training.callbacks import (
    Monitor,
    NamedCallback,
    Reporting,
    Schedule,
    UserCallback,
    copy_callback,
    training_callbacks,
)
from sklearn_deepfm._training.checkpoint import Checkpoint
from sklearn_deepfm._training.defaults import batch_size, learning_rate, patience, penalties
from sklearn_deepfm._training.devices import warn_of_slow_bfloat16
from sklearn_deepfm._training.divergence import epoch_of_weights_left
from sklearn_deepfm._training.linear_baseline import FirstOrder, linear_baselines
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.parameters import Parameters
from sklearn_deepfm._training.rollback import NetRollback
from sklearn_deepfm._training.scoring import Scorer
from sklearn_deepfm._training.training_group import Shared, TrainingGroup
from sklearn_deepfm._training.unseen_rows import unseen_rows_of_members


class Learner(NamedTuple):
    """What is trained: a net, for fields and a target.

    `n_seen` is the number of training rows, those of earlier calls of `partial_fit` included.
    """

    net: DeepFMNet
    fields: Fields
    target: Target
    n_seen: int


class TrainingSet(NamedTuple):
    """Rows to train and to validate with; `scorer` is None where the loss is the score."""

    train: Samples | DiskBuffer
    valid: Samples | None
    scorer: Scorer | None


@dataclass(frozen=True)
class Plan:
    """How a run of training begins and ends.

    Parameters
    ----------
    n_epochs : int
        Largest number of epochs, those of a checkpoint included.
    keep_optimizer : bool
        Whether a pickle carries the optimizer's state, to go on training.
    is_part : bool
        Whether this is one of many parts of a stream: the weights are then not averaged.
    rollback : NetRollback or None
        Undo for a net that has been trained before; None for a new one.
    checkpoint : Checkpoint or None
        File to resume from, if it exists, and to write between epochs.
    tasks : sequence of (name, callback)
        Callbacks that report the epochs to scikit-learn's callbacks.
    group : TrainingGroup
        The processes that train together.
    """

    n_epochs: int
    keep_optimizer: bool
    is_part: bool
    rollback: NetRollback | None
    checkpoint: Checkpoint | None
    tasks: Sequence[NamedCallback]
    group: TrainingGroup


def run_training(learner: Learner, rows: TrainingSet, parameters: Parameters, plan: Plan) -> None:
    """Train a net, from its present weights.

    Parameters
    ----------
    learner : Learner
    rows : TrainingSet
    parameters : Parameters
    plan : Plan

    Raises
    ------
    ValueError
        If training diverges before an epoch has ended.
    """
    net, checkpoint = learner.net, plan.checkpoint
    n_epochs_before = len(net.history) if net.initialized_ else 0
    warn_of_slow_bfloat16(parameters.precision, net.device)
    _set_parameters(learner, rows, parameters, plan)
    callbacks = _callbacks(learner, rows, parameters, plan)
    if checkpoint is not None:
        net.max_epochs = plan.n_epochs - checkpoint.begin(rows.train, rows.valid, plan.group)
        # First, so that it saves and restores the others before they act in an epoch.
        callbacks.insert(0, ("deepfm_checkpoint", checkpoint))
    if plan.rollback is not None:
        plan.rollback.copy(rows.train)
    # Last before training: a process that fails earlier can still tell the others why.
    _join(learner, rows, plan.group)
    net.train(rows.train, rows.valid, callbacks)
    net.max_epochs = plan.n_epochs
    if checkpoint is not None and not net.interrupted_:  # else the user may want to go on
        checkpoint.end()
    monitors = bool(parameters.early_stopping) and rows.valid is not None and plan.group.rank == 0
    _report(net, n_epochs_before, plan.n_epochs if monitors else None)


def _set_parameters(
    learner: Learner, rows: TrainingSet, parameters: Parameters, plan: Plan
) -> None:
    """Set the net to the parameters, which may be others than in the call before."""
    net = learner.net
    net.callbacks = [copy_callback(callback) for callback in parameters.callbacks or ()]
    net.keep_optimizer, net.max_epochs = plan.keep_optimizer, plan.n_epochs
    net.precision = parameters.precision
    base_loss = learner.target.base_loss
    net.embedding_l2, net.linear_l2 = penalties(parameters, learner.n_seen, base_loss)
    net.weight_decay = float(parameters.weight_decay)
    net.ema_epochs = 0.0 if plan.is_part else float(parameters.ema_epochs)
    net.batch_size = batch_size(parameters.batch_size, rows.train.n_rows_in_all)
    net.lr = learning_rate(parameters.learning_rate, net.batch_size, rows.train.n_rows_in_all)
    seen_anywhere = plan.group.seen_anywhere
    net.unseen = unseen_rows_of_members(rows.train, net.module__n_features, seen_anywhere)


def _callbacks(
    learner: Learner, rows: TrainingSet, parameters: Parameters, plan: Plan
) -> list[UserCallback]:
    """The user's callbacks, and those that score, keep weights, report and stop."""
    reporting = Reporting(parameters.verbose, plan.tasks, writes=plan.group.rank == 0)
    monitor, n_batches = None, -(-rows.train.n_rows_in_all // learner.net.batch_size)
    if rows.valid is not None:
        monitor = Monitor(
            rows.scorer,
            patience=patience(parameters.n_iter_no_change, n_batches),
            stops=bool(parameters.early_stopping),
            tol=parameters.tol,
            baselines=_baselines(learner, rows, parameters, plan.group),
        )
    # A part of a stream is not the end of training.
    kind = None if plan.is_part and parameters.lr_schedule == "cosine" else parameters.lr_schedule
    schedule = Schedule(kind, plan.n_epochs * n_batches)
    return training_callbacks(learner.net.callbacks, monitor, schedule, reporting)


def _baselines(
    learner: Learner, rows: TrainingSet, parameters: Parameters, group: TrainingGroup
) -> list[FirstOrder]:
    """The linear models that training has to beat, as the first process has found them."""
    # Another score than the loss, and what is trained already, are not compared with them. A
    # penalty that the user has chosen is to be seen in the model; products of embeddings given
    # are not small, and belong to no linear model. Of shards no process has all the rows.
    is_new = not learner.net.initialized_
    is_chosen = parameters.linear_l2 != "auto" or bool(parameters.pretrained)
    has_weights = has_part(parameters.components, "first")
    is_asked = has_weights and rows.scorer is None and not is_chosen
    if not is_new or not is_asked or group.has_shards:
        return []
    baselines: list[FirstOrder] = []
    if group.rank == 0:
        slopes, n_members = learner.fields.slopes, int(parameters.n_members)
        baselines = linear_baselines(rows.train, slopes, learner.target, n_members)
    return group.of_first("linear baselines", baselines)


def _join(learner: Learner, rows: TrainingSet, group: TrainingGroup) -> None:
    """Let the net train together with others, after a check that all have the same."""
    net = learner.net
    net.group = group
    module = net.module_ if net.initialized_ else None
    group.begin_training(Shared(learner.fields, learner.target, module, rows.train, rows.valid))


def _report(net: DeepFMNet, n_epochs_before: int, n_monitored: int | None) -> None:
    """Warn of training that has diverged, was interrupted, or has not come to its end.

    `n_monitored` is the number of epochs allowed, None where nothing tells whether they suffice.
    """
    history = without_batches(net.history)
    if net.diverged_ is not None:
        _report_divergence(net.diverged_, history, n_epochs_before)
    elif n_monitored is not None:
        _report_no_convergence(history[n_epochs_before:], n_monitored)
    if net.interrupted_:
        warn_user(
            f"Training was interrupted after {len(history)} full epochs; the model can be "
            f"used as it is.",
        )


def _report_no_convergence(history: Sequence[Epoch], n_epochs: int) -> None:
    """Warn if training has ended after the last epoch allowed, and that was the best."""
    if not 1 < n_epochs <= len(history):
        return
    scores = [epoch["valid_score"] for epoch in history]
    if scores[-1] > max(scores[:-1]):
        kept = ""
        if best_epoch(history) == 0:
            kept = ", though no epoch has beaten a linear model, which was kept"
        warn_user(
            f"The validation score still improved when training ended after "
            f"max_epochs={n_epochs}{kept}. Raise max_epochs, or set early_stopping=False if "
            f"exactly so many epochs are wanted.",
            ConvergenceWarning,
        )


def _report_divergence(message: str, history: Sequence[Epoch], n_epochs_before: int) -> None:
    """Warn if an epoch of this call has ended, whose weights are kept; else raise."""
    if len(history) == n_epochs_before:
        raise ValueError(f"{message} The model is as it was before this call.")
    left = epoch_of_weights_left(history, n_epochs_before)
    warn_user(
        f"{message} Training stopped; the weights are those of {left}.",
    )
