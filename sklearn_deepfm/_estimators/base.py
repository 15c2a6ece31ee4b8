"""Base class of classifier and regressor: from a table and a target to a trained net."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._common.parameter_rules import check_parameters
from sklearn_deepfm._common.sklearn_callbacks import CallbackSupportMixin, task_of_fit
from sklearn_deepfm._estimators.fields_table import fields_table
from sklearn_deepfm._estimators.fit_data import Call, HoldingOut, Labels, Reader
from sklearn_deepfm._estimators.html_repr import HTMLSummaryMixin
from sklearn_deepfm._estimators.prediction import predict_logits
from sklearn_deepfm._estimators.settings import Settings, check_same_structure, structure_of
from sklearn_deepfm._estimators.state import EstimatorState
from sklearn_deepfm._estimators.stream_fit import (
    StreamFit,
    in_memory_if_small,
    refuse_with_streams,
)
from sklearn_deepfm._estimators.table_fit import TableFit
from sklearn_deepfm._estimators.transaction import transaction, working_copy
from sklearn_deepfm._fields.outcomes import outcomes_of
from sklearn_deepfm._fields.pooling import with_pooled
from sklearn_deepfm._fields.pretrained import embedding_frame
from sklearn_deepfm._fields.read_columns import read_cells, which_hold_codes
from sklearn_deepfm._tables.stream import is_stream, stream_like_fitted
from sklearn_deepfm._training.best_epoch import best_epoch, without_batches
from sklearn_deepfm._training.checkpoint import Checkpoint
from sklearn_deepfm._training.defaults import batch_size
from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.epoch_tasks import EpochTasks
from sklearn_deepfm._training.new_net import new_net
from sklearn_deepfm._training.out_of_memory import Sizes, explain_out_of_memory
from sklearn_deepfm._training.parameters import Parameters
from sklearn_deepfm._training.progress import print_text
from sklearn_deepfm._training.run import Learner, Plan, TrainingSet, run_training
from sklearn_deepfm._training.scoring import reads_rows, validation_scorer


class BaseDeepFM(EstimatorState, HTMLSummaryMixin, CallbackSupportMixin, Settings):
    """Fit and predict of a DeepFM; subclasses define the target.

    Subclasses define `_net_class` and `_target_class`.
    """

    # What a fit leaves

    @property
    def module_(self):
        """The trained network, in eval mode."""
        return self.net_.module_

    @property
    def field_dims_(self):
        """Table rows of each field."""
        return self._fields.dims

    @property
    def field_kinds_(self):
        """What each column is to the model."""
        check_is_fitted(self)
        return [field.description for field in self._fields]

    @property
    def history_(self):
        """A dict for each epoch."""
        return without_batches(self.net_.history)

    @property
    def n_iter_(self):
        """Number of epochs run."""
        return len(self.net_.history)

    @property
    def best_epoch_(self):
        """Number of the epoch whose weights the model has; None without validation rows."""
        return best_epoch(self.history_)

    @property
    def loss_curve_(self):
        """Mean training loss of each epoch."""
        return [epoch["train_loss"] for epoch in self.history_]

    @property
    def validation_scores_(self):
        """Score of the validation rows after each epoch that had any."""
        scores = [epoch["valid_score"] for epoch in self.history_ if "valid_score" in epoch]
        return scores or None

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def embeddings(self, field):
        """Learned embeddings of a column of codes.

        Parameters
        ----------
        field : str or int
            Name or position of the column.

        Returns
        -------
        frame : DataFrame of shape (n_codes, n_members * embed_dim)
            A row for each code that fit saw, by code, or by category in a column of
            category dtype. Those of several members stand side by side, divided by the
            root of their number, so that products of rows are the mean of the members'.
            `OrdinalFieldEncoder.by_category` puts the categories in the
            place of codes.
        """
        check_is_fitted(self)
        table = self.module_.table.detach().cpu().numpy()
        frame = embedding_frame(self._fields, field, table[:, self.module_.n_first :])
        return frame / np.float32(np.sqrt(self.module_.n_members))

    def _logits(self, X):
        """Logits, float64 of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        if is_stream(X):
            parts = stream_like_fitted(self, X).parts()
            logits = [self._logits(part) for part, _ in parts]
            # No rows have no logits.
            return np.concatenate(logits or [np.empty((0, self.module_.n_outputs))])
        net, fields = self.net_, self._fields
        return predict_logits(net.module_, fields, read_cells(self, X), net.device)

    # Fit

    def _fit(self, data, group):
        """Fit from scratch, or with `warm_start` continue the last fit."""
        check_parameters(self, self._rules)
        data.validation.check()
        data = in_memory_if_small(data, group)
        goes_on = self.warm_start and hasattr(self, "net_")
        task = task_of_fit(self, int(self.max_epochs))
        random = _random_state_of(self.random_state)
        return self._train(data, Call(goes_on, self._target_class, random, group, task))

    def _partial_fit(self, data, new_target, group):
        """Train one epoch on the rows; the first call makes the target, as ``new_target(y)``."""
        check_parameters(self, self._rules)
        if group.has_shards:
            raise ValueError(
                f"distributed={self.distributed!r} is for fit, of a data set. Set distributed=True "
                f"and give all processes the same rows."
            )
        goes_on, random = hasattr(self, "net_"), _random_state_of(self.random_state)
        return self._train(data, Call(goes_on, new_target, random, group, is_part=True))

    def _train(self, data, call):
        """Let a copy learn, so that a call that fails leaves this estimator as it was."""
        model = working_copy(self, call.goes_on)
        tasks = []
        if call.task is not None:
            told = EpochTasks(call.task, self, vars(model), data.of_tasks)
            tasks = [("sklearn_callbacks", told)]
        with transaction(self, model, call.goes_on) as rollback:
            model._learn(data, call, tasks, rollback)
        return self

    # Steps of a working copy

    def _learn(self, data, call, tasks, rollback):
        """Learn target, fields and weights from the rows of a table or of a stream."""
        rows, parameters = self._rows(data, call), self._parameters
        # Before anything is drawn: all processes draw as the first one does, and a checkpoint
        # sets `random` back to where the fit that was killed began.
        call.group.begin(type(self).__name__, self.get_params(deep=False), call.random)
        with self._checkpoint(call) as checkpoint, rows:
            if not call.goes_on:
                self._start(rows.sample(call.random), call)
            labels = self._labels(adds_up=call.is_part)
            rows.divide(labels, self._split_seed)
            net = self.net_ if call.goes_on else None
            with explain_out_of_memory(parameters, partial(self._sizes, rows), net):
                self._build(rows, call)
                encoded = rows.encoded(labels, self._fields, self.net_.device)
                self._tell_of_fields(rows, call)
                scorer = validation_scorer(self.scoring, encoded.scored, self._target)
                run_training(
                    Learner(self.net_, self._fields, self._target, self._n_seen),
                    TrainingSet(encoded.train, encoded.valid, scorer),
                    parameters,
                    self._plan(call, tasks, rollback, checkpoint),
                )

    def _tell_of_fields(self, rows, call):
        """Print what each column is, if asked, in the first process, before the first epoch."""
        if self.verbose and not call.goes_on and call.group.rank == 0:
            print_text(fields_table(self._fields, rows.valid_columns))

    def _rows(self, data, call):
        """The rows to learn from, in memory or of a stream."""
        reader = Reader(self, self.validation_split is not None or reads_rows(self.scoring))
        holding_out = HoldingOut(n_members=int(self.n_members))
        if not call.is_part:
            holding_out = replace(
                holding_out,
                validation=data.validation,
                validation_split=self.validation_split,
                early_stopping=self.early_stopping,
                validation_fraction=self.validation_fraction,
            )
        if call.is_part or not is_stream(data.X):
            return TableFit(reader, data, holding_out, reset=not call.goes_on)
        is_split = self.validation_split is not None or data.groups is not None
        refuse_with_streams(goes_on=call.goes_on, is_split=is_split)
        return StreamFit(reader, data, holding_out, device_of(self.device), call.group)

    def _checkpoint(self, call):
        """Context manager that yields the fit's Checkpoint, or None without one."""
        if self.checkpoint is None or call.is_part:
            return nullcontext()
        if call.goes_on:
            raise ValueError(
                f"checkpoint={self.checkpoint!r} needs a fit from scratch, and with warm_start "
                f"this one goes on with an earlier one. Set one of them back, or fit a clone."
            )
        return Checkpoint(self.get_params(), call.random, call.group)

    def _start(self, rows, call):
        """Decide what does not change until the next fit from scratch."""
        self._target = call.new_target(rows.y)
        self._is_index = which_hold_codes(rows.columns, self.categorical_features)
        self._structure = structure_of(self)
        # Later fits with warm_start hold out the same rows; else they would be validated on
        # rows that an earlier fit has trained on.
        self._split_seed = call.random.randint(np.iinfo(np.int32).max)

    def _labels(self, adds_up):
        """How labels are encoded; `adds_up`: for one of many parts."""
        return Labels(self._target)

    def _build(self, rows, call):
        """Learn target and fields, and build the net; or grow those of an earlier fit."""
        # The automatic L2 falls with the number of rows, those of all parts.
        n_before = self._n_seen if call.is_part and call.goes_on else 0
        if call.goes_on:
            self._grow(rows.train)
        else:
            self._target.fit(rows.of_target())
            self._fields = rows.learn_fields(self._kinds(rows, call), self.pooling, self.n_bins)
            self.net_ = new_net(
                self._net_class, self._parameters, self._fields, self._target, call.random
            )
        self._n_seen = n_before + rows.n_rows_in_all

    def _kinds(self, rows, call):
        """Kinds of the columns, for which y is asked whether neighbouring codes share rows."""
        learned = rows.to_learn_from()
        names = [column.name for column in learned.columns]
        kept = {names.index(n) if n in names else n for n in self.pretrained or ()}
        if not isinstance(self.categorical_features, str):
            kept = set(range(len(names)))  # somebody has said which columns are categories
        is_class = self._target.is_class or self._target.multi_label
        y = learned.y if is_class else self._target.to_network(learned.y)
        outcomes = outcomes_of(y, learned.weight, is_class=is_class)
        kinds = with_pooled(learned.columns, self._is_index, outcomes, kept)
        # Sums may be rounded otherwise on another machine.
        return call.group.of_first("kinds of columns", kinds)

    def _grow(self, rows):
        """Let target, fields and net of an earlier fit grow by what these rows hold."""
        check_same_structure(self, self._structure)
        self._target.see(rows)
        fields, source, is_new = self._fields.grown(rows.columns, rows.weight)
        if is_new.any():
            self.net_.grow_table(source, is_new, fields.slopes)
        self._fields, self.net_.frequencies = fields, fields.frequencies

    def _plan(self, call, tasks, rollback, checkpoint):
        """How training begins and ends."""
        return Plan(
            n_epochs=1 if call.is_part else self.max_epochs,
            keep_optimizer=call.is_part or self.warm_start,
            is_part=call.is_part,
            rollback=rollback,
            checkpoint=checkpoint,
            tasks=tasks,
            group=call.group,
        )

    def _sizes(self, rows):
        """Sizes of network and batches; None as long as the fields are not known."""
        if not hasattr(self, "_fields"):
            return None
        return Sizes(
            n_features=int(self._fields.dims.sum()),
            n_fields=len(self._fields),
            n_outputs=self._target.n_outputs,
            n_batch=batch_size(self.batch_size, len(rows)),
        )

    @property
    def _parameters(self):
        """The parameters of network and training."""
        return Parameters.of(vars(self))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        tags.target_tags.multi_output = True
        tags.non_deterministic = False
        return tags


def _random_state_of(random_state):
    """RandomState of a parameter; None gives fresh entropy, never NumPy's global generator."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)
