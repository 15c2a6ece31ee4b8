"""Checkpoints: a file from which a killed fit resumes, and ends with the very same model."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklearn_deepfm._common.fingerprint import describe
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._samples.samples import Samples, SampleSet
from sklearn_deepfm._serialization import archive
from sklearn_deepfm._serialization.plain import FORMAT
from sklearn_deepfm._serialization.plain_values import PlainData, expect
from sklearn_deepfm._training.callback_state import callback_state, load_callback
from sklearn_deepfm._training.net_state import check_history, check_weights
from sklearn_deepfm._training.state import PARTS, load_plain, to_plain
from sklearn_deepfm._training.training_group import ALONE, TrainingGroup

TIME_BETWEEN = 9  # times the time of a write: at most a tenth of a fit goes into writing
_KEY = "checkpoint"
_ENTRIES = {_KEY, "key", "random", "callbacks", *PARTS}
# Callbacks that are not saved: they start afresh with each epoch, or show progress.
_PASSING = (
    "epoch_timer",
    "deepfm_score",
    "deepfm_log",
    "deepfm_last",
    "deepfm_progress",
    "sklearn_callbacks",
)


class Checkpoint(Callback):
    """Callback that writes the state of training between epochs, and once resumes from it.

    Used in a `with` statement, which locks the file: no other fit can use it meanwhile.

    Parameters
    ----------
    params : mapping
        The parameters of the estimator, of which `checkpoint` names the file. If it exists, the
        fit resumes from it.
    random : RandomState
        Source of all seeds of the fit; set to the state in the file if that exists.
    group : TrainingGroup
        Processes that train together, the first of which reads and writes the file.

    Raises
    ------
    ValueError
        If the file exists and is no checkpoint, if another fit uses it, or if no file can
        be written there.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        random: np.random.RandomState,
        group: TrainingGroup = ALONE,
    ) -> None:
        self._params, self._given = params, os.fsdecode(params["checkpoint"])
        # Absolute, since the current folder may change; without links, since the lock lies
        # beside the file itself, and a write would replace a link.
        self.path = os.path.realpath(self._given)
        self._writes = group.rank == 0
        self._lock = FileLock(_beside(self.path, "checkpoint-lock"), timeout=0)
        if self._writes:
            self._lock_file()
        try:
            is_there = self._writes and os.path.exists(self.path)
            self._saved = group.of_first("checkpoint", self._read() if is_there else None)
            if self._saved is not None:
                with self._saying_damaged():
                    random.set_state(_checked(self._saved["random"]))
        except BaseException:
            self.__exit__()  # `with` does so only for an object that has been made
            raise
        # Before anything is drawn, so that a resumed fit draws the same seeds again.
        self._random = random.get_state(legacy=True)
        self._next_write = 0.0

    def _read(self) -> dict[str, PlainData]:
        content: dict[str, PlainData] = archive.read(self.path)
        is_one = isinstance(content, dict) and content.get(_KEY) == FORMAT
        if not is_one or set(content) != _ENTRIES:
            raise ValueError(
                f"checkpoint must name a file that a fit has written as such, or one that does not "
                f"exist, and {self.path!r} is another, or of another version. Name another file."
            )
        return content

    def _lock_file(self) -> None:
        """Lock the file against other fits; the system frees the lock if this process is killed."""
        is_folder = os.path.isdir(self.path) or not os.path.basename(self._given)
        if is_folder:
            raise ValueError(
                f"checkpoint must name a file, and {self._given!r} is a folder, or nothing. Name a "
                f"file in it."
            )
        if not os.path.isdir(os.path.dirname(self.path)):
            raise ValueError(
                f"checkpoint {self.path!r} is in a folder that does not exist. Make the folder "
                f"first, or name a file in another."
            )
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"checkpoint {self.path!r} is in use by another fit. Give each fit a file of its "
                f"own: in a search or a cross-validation no two fits at a time may have one."
            ) from error
        except NotImplementedError:
            pass  # this file system has no locks
        except OSError as error:
            raise ValueError(
                f"checkpoint {self.path!r} cannot be written: {error}. Name another file, of a "
                f"shorter name or in another folder."
            ) from error

    # A context manager, for the lock

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *of_error: object) -> None:
        if self._writes and not os.path.exists(self.path):
            with contextlib.suppress(OSError):  # Windows does not delete what is open
                os.unlink(_beside(self.path, "checkpoint-lock"))
        self._lock.release()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_lock": None, "_params": {}}  # a copy does not hold the lock

    @contextlib.contextmanager
    def _saying_damaged(self) -> Iterator[None]:
        """Turn errors from content that cannot be used into one that calls the file damaged."""
        try:
            yield
        except torch.OutOfMemoryError:  # a RuntimeError too, but no fault of the file
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"checkpoint {self.path!r} is damaged: {said}. Delete it to fit anew."
            ) from error

    def begin(self, train: SampleSet, valid: Samples | None, group: TrainingGroup) -> int:
        """Compare rows and parameters with those of the fit that wrote the file, if there is one.

        Parameters
        ----------
        train : Samples or DiskBuffer
        valid : Samples or None
        group : TrainingGroup
            Processes that train together, each perhaps with rows of its own.

        Returns
        -------
        n_epochs : int
            Number of epochs after which the file was written; 0 without a file.

        Raises
        ------
        ValueError
            If rows or parameters differ, or the history in the file cannot be used.
        """
        own = _fingerprint(self._params, train, valid)
        self._key = " ".join(group.of_shards("fingerprints", own))
        if self._saved is None:
            return 0
        if self._saved["key"] != self._key:
            raise ValueError(
                f"checkpoint {self.path!r} was left by a fit of other rows or other parameters. "
                f"Delete it to fit anew, or name another file."
            )
        with self._saying_damaged():
            history = self._saved["history"]
            n_epochs = self._params["max_epochs"]
            expect(isinstance(history, list) and 0 < len(history) < n_epochs, "history")
            check_history(history)
        return len(self._saved["history"])

    def end(self) -> None:
        """Delete the file: the fit is over."""
        for path in (self.path, _beside(self.path, "part")) if self._writes else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def on_epoch_begin(  # type: ignore[override]
        self, net: NeuralNet, dataset_train: SampleSet, **kwargs: object
    ) -> None:
        """Resume before the first epoch; write the file before a later one, if it is time."""
        if self._saved is not None:
            with self._saying_damaged():
                self._resume(net, self._saved, dataset_train)
            self._saved = None
        elif self._writes and len(net.history) > 1 and time.monotonic() >= self._next_write:
            start = time.monotonic()
            self._write(net)
            end = time.monotonic()
            self._next_write = end + TIME_BETWEEN * (end - start)

    def _write(self, net: NeuralNet) -> None:
        content = {_KEY: FORMAT, "key": self._key, "random": self._random, **_state(net, self)}
        try:
            archive.write(self.path, content, beside=_beside(self.path, "part"))
        except OSError as error:
            warn_user(
                f"checkpoint {self.path!r} could not be written after epoch "
                f"{len(net.history) - 1}: {error}. Training goes on; the one before is kept.",
            )

    def _resume(self, net: NeuralNet, saved: dict[str, PlainData], train: SampleSet) -> None:
        """Restore the state of training that was saved before the next epoch began."""
        begun = net.history[-1]
        check_weights(saved["module"])
        net.n_batches = len(net.get_iterator(train, training=True))
        load_plain(net, saved)
        net.history_.append({**begun, "epoch": len(net.history_) + 1})
        for name, callback in net.callbacks_:
            if name in saved["callbacks"]:
                load_callback(callback, saved["callbacks"][name], net)


def _checked(state: PlainData) -> tuple[str, np.ndarray, int, int, float]:
    """The state of a RandomState, checked, since NumPy 1 reads any without a check."""
    expect(isinstance(state, tuple) and len(state) == 5, "random")
    name, key, position, has_gauss, gauss = state
    expect(name == "MT19937" and isinstance(key, np.ndarray), "random")
    expect(key.dtype == np.uint32 and key.shape == (624,), "random")
    expect(type(position) is int and 0 <= position <= 624, "random")
    expect(has_gauss in (0, 1) and isinstance(gauss, float), "random")
    return name, key, position, has_gauss, gauss


def _beside(path: str, what: str) -> str:
    """Path of a hidden file in the same folder, named after the checkpoint."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, f".{name}.{what}")


def _fingerprint(params: Mapping[str, object], train: SampleSet, valid: Samples | None) -> str:
    """Hash of the parameters and rows of a fit."""
    digest = hashlib.blake2b(digest_size=16)
    ignored = {"checkpoint", "verbose"}  # which do not change the model
    if not isinstance(params["random_state"], int | np.integer | None):
        ignored.add("random_state")  # a generator moves on; the file holds its state
    for name in sorted(set(params) - ignored):
        digest.update(f"{name}={describe(params[name])};".encode())
    for samples in (train, valid):
        chunks = () if samples is None else samples.chunks()
        for part in (tensor for chunk in chunks for tensor in chunk.named_tensors().values()):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _state(net: NeuralNet, own: Checkpoint) -> dict[str, object]:
    """State of training as plain data, all but the fit's own generator."""
    state = to_plain(net)
    return {
        **state,
        "history": state["history"][:-1],  # the last one is about to begin
        "callbacks": {
            name: callback_state(callback, net)
            for name, callback in net.callbacks_
            if callback is not own and name not in _PASSING
        },
    }
