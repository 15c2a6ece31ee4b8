"""Undo for training: restore the net as it was before a call, or the weights of an epoch."""

from __future__ import annotations

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import Tensor

from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training.state import GENERATORS, load_plain, tensors_of_step, to_plain
from sklearn_deepfm._training.weight_snapshot import WeightSnapshot


class NetRollback:
    """State of a net before a call that trains it further, to restore it if the call fails.

    Objects that the call replaces are kept, and tensors that it changes in place are copied.
    With sparse updates, only those rows of the table are copied that the call touches.

    Parameters
    ----------
    net : DeepFMNet
    """

    def __init__(self, net: NeuralNet) -> None:
        module, optimizer = net.module_, net.optimizer_
        self._net = net
        self._attributes = {**vars(net), "history_": History(net.history)}
        self._table, self._frozen = module.table, module.frozen
        self._groups = [dict(group) for group in optimizer.param_groups]
        self._moments = {key: dict(moments) for key, moments in optimizer.state.items()}
        self._generators = to_plain(net, GENERATORS)
        self._copy: WeightSnapshot | None = None

    def copy(self, samples: Samples | DiskBuffer) -> None:
        """Copy the tensors that training on these samples is about to change in place."""
        self._net.step_, self._net.callback_failed = None, False  # as an earlier call left them
        tensors, rows = self._tensors(), None
        of_table = [name for name, t in tensors.items() if name.startswith("table") and t.ndim]
        if self._net.module_.table is self._table:
            rows = changed_rows(self._net, samples)
        else:  # the table has grown: the call changes the new one, not the old
            tensors = {name: t for name, t in tensors.items() if name not in of_table}
        self._copy = WeightSnapshot(tensors, {} if rows is None else dict.fromkeys(of_table, rows))

    def _tensors(self) -> dict[str, Tensor]:
        return tensors_of_step(self._net.module_, self._moments, self._table)

    @property
    def callback_failed(self) -> bool:
        """Whether a callback has raised an error after a step of the call."""
        step = self._net.step_
        has_learned: bool = self._copy is not None and step is not None and step.n_steps > 0
        return has_learned and self._net.callback_failed

    def restore(self) -> None:
        """Restore the net as it was before the call."""
        net, module, optimizer = self._net, self._net.module_, self._net.optimizer_
        vars(net).clear()  # the call may have added attributes
        vars(net).update(self._attributes)
        module.table = self._table
        module.set_slopes(net.module__slopes)
        module.set_frozen(self._frozen)
        optimizer.param_groups = self._groups
        optimizer.state.clear()
        optimizer.state.update(self._moments)
        if self._copy is not None:
            self._copy.restore(self._tensors())
        load_plain(net, self._generators)
        module.eval()
        module.release()

    def close(self) -> None:
        """Delete the temporary files of large copies."""
        if self._copy is not None:
            self._copy.close()


class LastEpochWeights(Callback):
    """Keep the weights of each epoch during the next one, and restore them if that diverges."""

    def on_train_begin(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        self._n_epochs = len(net.history)
        self._copy: WeightSnapshot | None = None

    def on_epoch_begin(  # type: ignore[override]
        self, net: NeuralNet, dataset_train: Samples | DiskBuffer, **kwargs: object
    ) -> None:
        self._drop()
        if len(net.history) > self._n_epochs + 1:  # an epoch of this fit has ended
            rows = changed_rows(net, dataset_train)
            state = net.module_.state_dict()
            self._copy = WeightSnapshot(state, {} if rows is None else {"table": rows})

    def on_train_end(self, net: NeuralNet, *args: object, **kwargs: object) -> None:
        if net.diverged_ is not None and self._copy is not None:
            self._copy.restore(net.module_.state_dict())
            net.refresh_unseen()
        self._drop()

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self._copy = None


def changed_rows(net: NeuralNet, samples: Samples | DiskBuffer) -> Tensor | None:
    """Rows of the table that training on some samples may change; None: all of them.

    They are the rows of the samples' codes, and the first row of each field, which is computed
    from the others.
    """
    module = net.module_
    if isinstance(samples, DiskBuffer):  # whose codes are not in memory
        return None
    n_cells = samples.index.numel() + (0 if samples.bags is None else len(samples.bags.members))
    if not module.sparse or n_cells >= len(module.table):
        return None
    first = torch.tensor([start for start, _ in net.frequencies], device=module.table.device)
    rows: Tensor = torch.cat([module.rows_of(samples.index, samples.bags), first]).unique()
    return rows
