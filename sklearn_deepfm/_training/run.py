"""One run of training: set up the net of an estimator, train it, and report the outcome."""

from sklearn.exceptions import ConvergenceWarning

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._model.components import has_part
from sklearn_deepfm._training.best_epoch import best_epoch
from sklearn_deepfm._training.callbacks import copy_callback, training_callbacks
from sklearn_deepfm._training.defaults import batch_size, patience, penalties
from sklearn_deepfm._training.devices import warn_of_slow_bfloat16
from sklearn_deepfm._training.divergence import epoch_of_weights_left
from sklearn_deepfm._training.linear_baseline import linear_baselines
from sklearn_deepfm._training.training_group import ALONE
from sklearn_deepfm._training.unseen_rows import unseen_rows_of_members


def run_training(
    model,
    samples,
    valid_samples,
    scorer,
    n_epochs,
    *,
    keep_optimizer,
    rollback,
    in_stream=False,
    tasks=(),
    checkpoint=None,
    group=ALONE,
):
    """Train the net of a model, from its present weights.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Estimator that has the net and gives the parameters.
    samples : Samples or DiskBuffer
    valid_samples : Samples or None
    scorer : callable or None
        As :func:`validation_scorer` gives it.
    n_epochs : int
        Largest number of epochs, those of a checkpoint included.
    keep_optimizer : bool
        Whether a pickle carries the optimizer's state, to go on training.
    rollback : NetRollback or None
        Undo for a net that has been trained before; None for a new one.
    in_stream : bool, default=False
        Whether this is one of many parts of a stream: the weights are then not averaged.
    tasks : sequence of (name, callback), default=()
        Callbacks that report the epochs to scikit-learn's callbacks.
    checkpoint : Checkpoint, default=None
        File to resume from, if it exists, and to write between epochs.
    group : TrainingGroup, default=ALONE
        The processes that train together.

    Raises
    ------
    ValueError
        If training diverges before an epoch has ended.
    """
    net, users = model.net_, [copy_callback(callback) for callback in model.callbacks or ()]
    warn_of_slow_bfloat16(model.precision, net.device)
    net.unseen = unseen_rows_of_members(samples, net.module__n_features, group.seen_anywhere)
    net.callbacks, net.keep_optimizer, net.max_epochs = users, keep_optimizer, n_epochs
    _set_parameters(model, samples.n_rows_in_all, in_stream)
    baselines = []
    if not net.initialized_ and valid_samples is not None and scorer is None:
        baselines = _linear_baselines(model, samples, group)
    n_epochs_before = len(net.history) if net.initialized_ else 0
    n_batches = -(-samples.n_rows_in_all // net.batch_size)
    callbacks = _callbacks_of(
        model, users, scorer, valid_samples is not None, tasks, group, n_batches, baselines
    )
    if checkpoint is not None:
        net.max_epochs = n_epochs - checkpoint.begin(model, samples, valid_samples, group)
        # First, so that it saves and restores the others before they act in an epoch.
        callbacks.insert(0, ("deepfm_checkpoint", checkpoint))
    if rollback is not None:
        rollback.copy(samples)
    # Last before training: a process that fails earlier can still tell the others why.
    group.begin_training(model, samples, valid_samples)
    net.train(samples, valid_samples, callbacks)
    net.max_epochs = n_epochs
    if checkpoint is not None and not net.interrupted_:  # else the user may want to go on
        checkpoint.end()
    if net.diverged_ is not None:
        _report_divergence(net, model.history_, n_epochs_before)
    elif model.early_stopping and valid_samples is not None and group.rank == 0:
        _report_no_convergence(model.history_[n_epochs_before:], n_epochs)
    if net.interrupted_:
        warn_user(
            f"Training was interrupted after {model.n_iter_} full epochs; the model can be "
            f"used as it is.",
        )


def _set_parameters(model, n_rows, in_stream):
    net = model.net_
    net.lr, net.precision = model.learning_rate, model.precision
    net.embedding_l2, net.linear_l2 = penalties(model, model._n_seen, model._target.base_loss)
    net.weight_decay = float(model.weight_decay)
    net.ema_epochs = 0.0 if in_stream else float(model.ema_epochs)
    net.batch_size = batch_size(model, n_rows)


def _linear_baselines(model, samples, group):
    """The linear models that training has to beat, as the first process has found them."""
    # A penalty that the user has chosen is to be seen in the model; products of embeddings given
    # are not small, and belong to no linear model. Of shards no process has all the rows.
    has_weights = has_part(model.components, "first")
    is_asked = has_weights and model.linear_l2 == "auto" and not model.pretrained
    if not is_asked or group.has_shards:
        return []
    baselines = []
    if group.rank == 0:
        slopes, n_members = model._fields.slopes, int(model.n_members)
        baselines = linear_baselines(samples, slopes, model._target, n_members)
    return group.of_first("linear baselines", baselines)


def _callbacks_of(model, users, scorer, has_valid, tasks, group, n_batches, baselines):
    return training_callbacks(
        users,
        scorer=scorer,
        has_valid=has_valid,
        patience=patience(model, n_batches),
        stops=bool(model.early_stopping),
        tol=model.tol,
        plateau=model.lr_schedule == "plateau",
        verbose=model.verbose,
        tasks=list(tasks),
        baselines=baselines,
        writes=group.rank == 0,
    )


def _report_no_convergence(history, n_epochs):
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


def _report_divergence(net, history, n_epochs_before):
    """Warn if an epoch of this call has ended, whose weights are kept; else raise."""
    if len(history) == n_epochs_before:
        raise ValueError(f"{net.diverged_} The model is as it was before this call.")
    left = epoch_of_weights_left(history, n_epochs_before)
    warn_user(
        f"{net.diverged_} Training stopped; the weights are those of {left}.",
    )
