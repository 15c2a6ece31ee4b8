"""Progress of a fit: a line per epoch, or a bar where there is a terminal."""

import sys
import warnings
from multiprocessing import current_process

from skorch import NeuralNet
from skorch.callbacks import Callback

from sklearn_deepfm._samples.samples import SampleSet
from sklearn_deepfm._training.best_epoch import Epoch, best_epoch

_LOSSES = {"train_loss": "train loss", "valid_loss": "valid loss"}


class EpochLines(Callback):
    """Print a line after each epoch, if asked with the time that all further ones would take.

    Parameters
    ----------
    tells_time : bool
        Whether to print that time.
    """

    def __init__(self, tells_time: bool) -> None:
        self.tells_time = tells_time

    def on_train_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        self._before = len(net.history)

    def on_epoch_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Print the line."""
        epoch = net.history[-1]
        line = (
            f"epoch {epoch['epoch']:3d}  {_figures(epoch)}  "
            f"learning rate {epoch['learning_rate']:.1e}  {epoch['dur']:.1f} s"
        )
        if self.tells_time:
            # "At most", since early stopping may end training sooner.
            times = net.history[self._before :, "dur"]
            left = sum(times) / len(times) * (net.max_epochs - len(times))
            line += f"  at most {left:.0f} s left"
        print(line, flush=True)

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Say so if no epoch was good enough."""
        if best_epoch(net.history[self._before :]) == 0:
            print("no epoch was better than a linear model by more than chance: it was kept")


class EpochBar(Callback):
    """A bar of tqdm that fills up with the batches of all epochs."""

    def on_train_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets gets a plain bar
            from tqdm.auto import tqdm
        self._before = len(net.history)
        self._bar = tqdm(unit=" batches", file=sys.stderr, dynamic_ncols=True)

    def on_epoch_begin(  # type: ignore[override]
        self, net: NeuralNet, dataset_train: SampleSet, **kwargs: object
    ) -> None:
        # Of shards: each process has as many batches as the rows of all of them need.
        n_batches = -(-dataset_train.n_rows_in_all // net.batch_size)
        self._bar.total = n_batches * net.max_epochs
        self._bar.set_description(f"epoch {len(net.history)}/{self._before + net.max_epochs}")

    def on_batch_end(  # type: ignore[override]
        self, net: NeuralNet, *, training: bool, **kwargs: object
    ) -> None:
        if training:
            self._bar.update()

    def on_epoch_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        """Write the losses of the epoch beside the bar."""
        self._bar.set_postfix_str(_figures(net.history[-1]))

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        self._bar.close()

    def __getstate__(self) -> dict[str, object]:
        return {}  # a bar belongs to one process


def print_text(text: str) -> None:
    """Print what a fit tells before its first epoch."""
    print(text, flush=True)


def progress_callbacks(verbose: int) -> list[tuple[str, Callback]]:
    """No callback, lines, or a bar; lines also replace a bar where nobody would see it."""
    if verbose <= 0:
        return []
    if verbose > 1 and _is_drawn():
        return [("deepfm_progress", EpochBar())]
    return [("deepfm_progress", EpochLines(tells_time=verbose > 1))]


def _is_drawn() -> bool:
    """Whether stderr is a terminal or a notebook, where a line can be overwritten.

    Processes of a parallel search share a terminal and would overwrite each other's bars.
    """
    stream = sys.stderr
    if stream is None or stream.closed or current_process().name != "MainProcess":
        return False
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")


def _figures(epoch: Epoch) -> str:
    """Losses of an epoch, and its score unless that is the negative validation loss."""
    shown = dict(_LOSSES)
    if "valid_score" in epoch and epoch["valid_score"] != -epoch["valid_loss"]:
        shown["valid_score"] = "valid score"
    return "  ".join(f"{label} {epoch[key]:.5f}" for key, label in shown.items() if key in epoch)
