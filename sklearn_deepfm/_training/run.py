"""A run of training: parameters and callbacks for the net of an estimator, and what came of it."""

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._training.callbacks import copy_callback, training_callbacks
from sklearn_deepfm._training.defaults import batch_size, penalties
from sklearn_deepfm._training.devices import warn_of_slow_bfloat16
from sklearn_deepfm._training.divergence import epoch_of_weights_left
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
    """Train the net of a model, on from where it is.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Gives the parameters.
    samples : Samples or DiskBuffer
    valid_samples : Samples or None
    scorer : callable or None
        As :func:`validation_scorer` gives it.
    n_epochs : int
        At most so many.
    keep_optimizer : bool
        Whether a pickle carries the optimizer's state, to go on training.
    rollback : NetRollback or None
        Of a net that has been trained before.
    in_stream : bool, default=False
        Whether this is one part of many, over which the weights are not averaged.
    tasks : sequence of (name, callback), default=()
        What tells scikit-learn's callbacks of the epochs.
    checkpoint : Checkpoint, default=None
    group : TrainingGroup, default=ALONE
        The processes that train together.

    Raises
    ------
    ValueError
        If training diverges before an epoch has ended.
    """
    net, users = model.net_, [copy_callback(callback) for callback in model.callbacks or ()]
    warn_of_slow_bfloat16(model.precision, net.device)
    net.unseen = unseen_rows_of_members(samples, net.module__n_features, group.seen_in_shards)
    net.callbacks, net.keep_optimizer, net.max_epochs = users, keep_optimizer, n_epochs
    _set_parameters(model, samples.n_in_all, in_stream)
    n_epochs_before = len(net.history) if net.initialized_ else 0
    callbacks = _callbacks_of(model, users, scorer, valid_samples is not None, tasks, group)
    if checkpoint is not None:
        net.max_epochs = n_epochs - checkpoint.begin(model, samples, valid_samples, group)
        callbacks.insert(0, ("deepfm_checkpoint", checkpoint))
    if rollback is not None:
        rollback.copy(samples)
    group.begin_training(model, samples, valid_samples)
    net.train(samples, valid_samples, callbacks)
    net.max_epochs = n_epochs
    if checkpoint is not None and not net.interrupted_:
        checkpoint.end()
    if net.diverged_ is not None:
        _report_divergence(net, model.history_, n_epochs_before)
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


def _callbacks_of(model, users, scorer, has_valid, tasks, group):
    return training_callbacks(
        users,
        scorer=scorer,
        has_valid=has_valid,
        patience=int(model.n_iter_no_change),
        stops=bool(model.early_stopping),
        tol=model.tol,
        plateau=model.lr_schedule == "plateau",
        verbose=model.verbose,
        tasks=list(tasks),
        writes=group.rank == 0,
    )


def _report_divergence(net, history, n_epochs_before):
    """Warn if weights of an epoch of this fit are left, else raise."""
    if len(history) == n_epochs_before:
        raise ValueError(f"{net.diverged_} The model is as it was before this call.")
    left = epoch_of_weights_left(history, n_epochs_before)
    warn_user(
        f"{net.diverged_} Training stopped; the weights are those of {left}.",
    )
