"""What training goes back to if it fails: the net before a call, or the weights of an epoch."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import Tensor

from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._samples.samples import Samples
from sklearn_deepfm._training.weight_snapshot import WeightSnapshot


class NetRollback:
    """A net before a call that goes on with it, to be put back if the call fails.

    What the call replaces is held, what it changes in place is copied: of a table of which
    steps update the rows of a batch only, the rows of the call.

    Parameters
    ----------
    net : DeepFMNet
    """

    def __init__(self, net: Any) -> None:
        module, optimizer = net.module_, net.optimizer_
        self._net = net
        self._attributes = {**vars(net), "history_": History(net.history)}
        self._table, self._frozen = module.table, module.frozen
        self._groups = [dict(group) for group in optimizer.param_groups]
        self._moments = {key: dict(moments) for key, moments in optimizer.state.items()}
        self._order, self._dropout = net.order_.get_state(), module.random_state()
        self._copy: WeightSnapshot | None = None

    def copy(self, samples: Samples) -> None:
        """Copy what training on these samples, which is about to begin, changes in place."""
        self._net.n_steps, self._net.is_broken_off = 0, False  # whatever an earlier call left
        tensors, rows = self._tensors(), None
        of_table = [name for name, t in tensors.items() if name.startswith("table") and t.ndim]
        if self._net.module_.table is self._table:
            rows = changed_rows(self._net, samples)
        else:  # it has grown: the table before is left alone
            tensors = {name: t for name, t in tensors.items() if name not in of_table}
        self._copy = WeightSnapshot(tensors, {} if rows is None else dict.fromkeys(of_table, rows))

    def _tensors(self) -> dict[str, Tensor]:
        """Weights, statistics and moments by name."""
        tensors: dict[str, Tensor] = self._net.module_.state_dict()
        for number, (parameter, moments) in enumerate(self._moments.items()):
            prefix = "table" if parameter is self._table else number
            tensors |= {f"{prefix}.{name}": t for name, t in moments.items()}
        return tensors

    @property
    def is_broken_off(self) -> bool:
        """Whether a callback has raised an error after a step of the call."""
        has_learned: bool = self._copy is not None and self._net.n_steps > 0
        return has_learned and self._net.is_broken_off

    def put_back(self) -> None:
        """Make the net what it was."""
        net, module, optimizer = self._net, self._net.module_, self._net.optimizer_
        vars(net).clear()
        vars(net).update(self._attributes)
        module.table = self._table
        module.set_slopes(net.module__slopes)
        module.set_frozen(self._frozen)
        optimizer.param_groups = self._groups
        optimizer.state.clear()
        optimizer.state.update(self._moments)
        if self._copy is not None:
            self._copy.restore(self._tensors())
        net.order_.set_state(self._order)
        module.set_random_state(self._dropout)
        module.eval()
        module.release()

    def close(self) -> None:
        """Delete the files that large copies are in."""
        if self._copy is not None:
            self._copy.close()


class LastEpochWeights(Callback):
    """Keep the weights of each epoch during the next one, and put them back if that diverges."""

    def on_train_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        self._n_epochs = len(net.history)
        self._copy: WeightSnapshot | None = None

    def on_epoch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        self._drop()
        if len(net.history) > self._n_epochs + 1:
            rows = changed_rows(net, kwargs["dataset_train"])
            state = net.module_.state_dict()
            self._copy = WeightSnapshot(state, {} if rows is None else {"table": rows})

    def on_train_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        if net.diverged_ is not None and self._copy is not None:
            self._copy.restore(net.module_.state_dict())
            net.refresh_unseen()
        self._drop()

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self._copy = None


def changed_rows(net: Any, samples: Samples | DiskBuffer) -> Tensor | None:
    """Rows of the table that training on some samples may change; None: any.

    Those of their codes, and the fields' first ones, which follow the others.
    """
    module = net.module_
    if isinstance(samples, DiskBuffer):
        return None
    n_cells = samples.index.numel() + (0 if samples.bags is None else len(samples.bags.members))
    if not module.sparse or n_cells >= len(module.table):
        return None
    first = torch.tensor([start for start, _ in net.frequencies], device=module.table.device)
    return torch.cat([module.rows_of(samples.index, samples.bags), first]).unique()
