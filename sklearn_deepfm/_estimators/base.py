"""Base class of classifier and regressor: from a table and a target to a trained net."""

from contextlib import nullcontext

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklearn_deepfm._common.parameter_rules import check_parameters
from sklearn_deepfm._common.sklearn_callbacks import CallbackSupportMixin, task_of_fit
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._estimators.fitted import Fitted
from sklearn_deepfm._estimators.html_repr import HTMLSummaryMixin
from sklearn_deepfm._estimators.settings import Settings, check_same_structure, structure_of
from sklearn_deepfm._estimators.state import EstimatorState
from sklearn_deepfm._estimators.stream_fit import (
    NamedStream,
    fits_in_memory,
    learn_stream,
    no_row_to_validate,
    refuse_with_streams,
)
from sklearn_deepfm._estimators.transaction import transaction, working_copy
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.read_columns import read_columns, which_hold_codes
from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.encode import to_samples
from sklearn_deepfm._samples.rows import (
    Rows,
    check_target,
    check_validation,
    check_weight,
    hold_out,
    merge_repeats,
    split_by,
    without_zero_weights,
)
from sklearn_deepfm._samples.table_rows import TableRows
from sklearn_deepfm._tables.stream import is_stream, stream_like_fitted, stream_to_fit
from sklearn_deepfm._tables.table import refuse_masks
from sklearn_deepfm._training.checkpoint import Checkpoint
from sklearn_deepfm._training.defaults import STOPS_FROM
from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.epoch_tasks import epoch_tasks
from sklearn_deepfm._training.new_net import new_net
from sklearn_deepfm._training.out_of_memory import explain_out_of_memory
from sklearn_deepfm._training.run import run_training
from sklearn_deepfm._training.scoring import reads_rows, validation_scorer


class BaseDeepFM(EstimatorState, Fitted, HTMLSummaryMixin, CallbackSupportMixin, Settings):
    """Fit and predict of a DeepFM; subclasses define the target.

    Subclasses define `_net_class` and `_target_class`.
    """

    def _fit(self, X, y, sample_weight, validation, groups, group):
        """Fit from scratch, or with `warm_start` continue the last fit."""
        check_parameters(self, self._rules)
        check_validation(*validation)
        goes_on = self.warm_start and hasattr(self, "net_")
        if is_stream(X):
            stream = stream_to_fit(X, ("y", y), ("sample_weight", sample_weight))
            for note in stream.notes:
                warn_user(note)
            if not fits_in_memory(stream, group):
                return self._fit_stream(stream, y, sample_weight, validation, groups, group)
            X, (y, sample_weight) = stream.whole(y, sample_weight)
        elif group.has_shards:
            raise ValueError(
                f"distributed={self.distributed!r} needs a pyarrow.dataset.Dataset as X, of the "
                f"rows of this process, got a {type(X).__name__}. Make one by "
                f"pyarrow.dataset.dataset(table), or set distributed=True and give all processes "
                f"the same rows."
            )
        task = task_of_fit(self, int(self.max_epochs))
        # A copy learns, so that a fit that fails leaves the estimator as it was.
        model = working_copy(self, goes_on)
        rows = model._read(X, y, sample_weight, groups=groups, reset=not goes_on)
        random = _random_state_of(self.random_state)
        # Before anything is drawn: all processes draw as the first one does, and a checkpoint
        # sets `random` back to where the fit that was killed began.
        group.begin(self, random)
        with self._checkpoint(random, goes_on, group) as checkpoint:
            if not goes_on:
                # Classes and kinds of columns are not learned from rows of weight 0.
                model._start(without_zero_weights(rows), model._target_class, random)
            rows, valid = model._split(rows, validation[0])
            rows, factors = model._prepare(rows)
            train, valid = model._validation_rows(rows, valid, validation, factors)
            scorer = validation_scorer(self.scoring, valid, model._target)
            tasks = epoch_tasks(task, self, model, X, y, sample_weight)
            with (
                explain_out_of_memory(model, len(train), goes_on),
                transaction(self, model, goes_on) as rollback,
            ):
                model._learn(train, random, goes_on=goes_on)
                model._n_seen = len(train)
                samples, valid_samples = model._to_samples(train, valid)
                run_training(
                    model,
                    samples,
                    valid_samples,
                    scorer,
                    self.max_epochs,
                    keep_optimizer=self.warm_start,
                    rollback=rollback,
                    tasks=tasks,
                    checkpoint=checkpoint,
                    group=group,
                )
        return self

    def _fit_stream(self, stream, y, sample_weight, validation, groups, group):
        """Fit from scratch to a stream that is too large to be read whole."""
        refuse_with_streams(self, groups)
        task = task_of_fit(self, int(self.max_epochs))
        model = working_copy(self, False)
        random = _random_state_of(self.random_state)
        group.begin(self, random)
        saves = self._checkpoint(random, False, group)
        with saves as checkpoint, DiskBuffer(device_of(self.device)) as buffer:
            named = NamedStream(model, stream, y, sample_weight)
            valid, known = learn_stream(model, named, validation, random, buffer, group)
            tasks = epoch_tasks(task, self, model, stream, y, sample_weight)
            with (
                explain_out_of_memory(model, len(buffer), False),
                transaction(self, model, False) as rollback,
            ):
                model.net_ = new_net(model, model._fields, model._target, random=random)
                model._n_seen = buffer.n_rows_in_all
                run_training(
                    model,
                    buffer,
                    valid,
                    validation_scorer(self.scoring, known, model._target),
                    self.max_epochs,
                    keep_optimizer=self.warm_start,
                    rollback=rollback,
                    tasks=tasks,
                    checkpoint=checkpoint,
                    group=group,
                )
        return self

    def _checkpoint(self, random, goes_on, group):
        """Context manager that yields the fit's Checkpoint, or None if `checkpoint` is None."""
        if self.checkpoint is None:
            return nullcontext()
        if goes_on:
            raise ValueError(
                f"checkpoint={self.checkpoint!r} needs a fit from scratch, and with warm_start "
                f"this one goes on with an earlier one. Set one of them back, or fit a clone."
            )
        return Checkpoint(self.checkpoint, random, group)

    def _partial_fit(self, X, y, sample_weight, target, group):
        """Train one epoch on the rows; the first call makes the target, as ``target(y)``."""
        check_parameters(self, self._rules)
        goes_on = hasattr(self, "net_")
        if group.has_shards:
            raise ValueError(
                f"distributed={self.distributed!r} is for fit, of a data set. Set distributed=True "
                f"and give all processes the same rows."
            )
        model = working_copy(self, goes_on)
        rows = without_zero_weights(model._read(X, y, sample_weight, reset=not goes_on))
        random = _random_state_of(self.random_state)
        group.begin(self, random)
        if not goes_on:
            model._start(rows, target, random)
        rows, _ = model._prepare(rows, adds_up=True)
        with (
            explain_out_of_memory(model, len(rows), goes_on),
            transaction(self, model, goes_on) as rollback,
        ):
            model._learn(rows, random, goes_on=goes_on)
            # The automatic L2 falls with the number of rows, those of all calls.
            model._n_seen = len(rows) + (model._n_seen if goes_on else 0)
            samples, _ = model._to_samples(rows, None)
            run_training(
                model,
                samples,
                None,
                None,
                1,
                keep_optimizer=True,
                rollback=rollback,
                in_stream=True,
                group=group,
            )
        return self

    def _start(self, rows, target, random):
        """Decide what does not change until the next fit from scratch."""
        self._target = target(rows.y)
        self._is_index = which_hold_codes(rows.columns, self.categorical_features)
        self._structure = structure_of(self)
        # Later fits with warm_start hold out the same rows; else they would be validated on
        # rows that an earlier fit has trained on.
        self._split_seed = random.randint(np.iinfo(np.int32).max)

    # Input

    def _read(self, X, y, sample_weight, *, reset, groups=None, weight_name="sample_weight"):
        """Checked rows, with the target not yet encoded."""
        columns = read_columns(self, X, reset=reset)
        y = check_target(self, y, columns)
        weight = check_weight(sample_weight, y, weight_name)
        if groups is not None:
            refuse_masks("groups", groups)
            groups = column_or_1d(groups)
            check_consistent_length(y, groups)
        is_read = self.validation_split is not None or reads_rows(self.scoring)
        return Rows(columns, y, weight, groups, table=TableRows(X) if is_read else None)

    def _prepare(self, rows, adds_up=False):
        """Rows with the target encoded, repeats merged if few, classes weighed; and the factors."""
        rows = merge_repeats(rows.with_target(self._target.encode(rows.y)))
        factors = self._class_factors(rows, adds_up)
        return rows.weighed(factors), factors

    def _class_factors(self, rows, adds_up):
        """Factors by which classes multiply weights; None for none."""
        return None

    def _split(self, rows, X_val):
        """Training rows of positive weight, and the rows that `validation_split` holds out."""
        if self.validation_split is None or X_val is not None or self.early_stopping is False:
            return without_zero_weights(rows), None
        # A splitter may go by positions, so it gets the rows of weight 0 too.
        return split_by(self.validation_split, rows, self._split_seed)

    def _validation_rows(self, rows, valid, validation, factors):
        """Training and validation rows; the latter are X_val, split off before, or held out now."""
        X_val, y_val, weight_val, groups_val = validation
        if is_stream(X_val):
            named = ("y_val", y_val), ("sample_weight_val", weight_val), ("groups_val", groups_val)
            stream = stream_like_fitted(self, X_val, *named)
            if not len(stream):
                raise no_row_to_validate()
            X_val, (y_val, weight_val, groups_val) = stream.whole(y_val, weight_val, groups_val)
        if X_val is None:
            if valid is not None:
                return rows, valid.with_target(self._target.encode(valid.y)).weighed(factors)
            stops = self.early_stopping
            if not stops:
                return rows, None
            train, valid = hold_out(
                rows,
                self.validation_fraction,
                np.random.RandomState(self._split_seed),
                stratify=self._target.is_class,
                n_members=int(self.n_members),
                least=STOPS_FROM if stops == "auto" else 0,
            )
            if valid is None and stops != "auto":
                raise ValueError(
                    f"early_stopping={stops!r} needs a row to hold out, got {len(rows)} distinct "
                    f"rows, each of which its class needs for training. Set early_stopping=False, "
                    f"or pass validation rows as X_val and y_val."
                )
            return train, valid
        further = {"groups": groups_val, "weight_name": "sample_weight_val"}
        valid = without_zero_weights(self._read(X_val, y_val, weight_val, reset=False, **further))
        return rows, valid.with_target(self._target.encode(valid.y)).weighed(factors)

    # Training

    def _learn(self, train, random, *, goes_on):
        """Learn fields and target, and build the net; or grow fields and net of an earlier fit."""
        if not goes_on:
            self._fields = Fields(
                train.columns, self._is_index, train.weight, self.pooling, self.n_bins
            )
            self._target.fit(train)
            self.net_ = new_net(self, self._fields, self._target, random=random)
            return
        check_same_structure(self, self._structure)
        self._target.see(train)
        fields, source, is_new = self._fields.grown(train.columns, train.weight)
        if is_new.any():
            self.net_.grow_table(source, is_new, fields.slopes)
        self._fields, self.net_.frequencies = fields, fields.frequencies

    def _to_samples(self, train, valid):
        """Training and validation rows as tensors; `valid` may be None."""
        train = to_samples(train, self._fields, self._target, self.net_)
        if valid is not None:
            valid = to_samples(valid, self._fields, self._target, self.net_, validates=True)
        return train, valid

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
