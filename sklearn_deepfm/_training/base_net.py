"""Base of the skorch net: its parameters, module, optimizer and pickle state."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._model.torch_modes import own_modes
from sklearn_deepfm._samples.samples import SampleSet
from sklearn_deepfm._serialization.plain_values import PlainData
from sklearn_deepfm._training.callbacks import NamedCallback
from sklearn_deepfm._training.optimizer import RowSparseAdam, resize_rows
from sklearn_deepfm._training.state import OF_A_MODEL, TO_GO_ON, load_plain, to_plain
from sklearn_deepfm._training.step import TrainStep
from sklearn_deepfm._training.table_rules import Group
from sklearn_deepfm._training.training_group import ALONE, EpochBatches, TrainingGroup
from sklearn_deepfm._training.weight_average import WeightAverage


class BaseNet(NeuralNet):
    """Net without training steps: builds module and optimizer, grows the table, pickles.

    Parameters
    ----------
    embedding_l2 : float
        Factor lambda of the penalty (lambda/2)*||embeddings||^2 added to the mean loss.
    linear_l2 : float
        The same for the table's first-order weights.
    weight_decay : float
        The same for the weights of the MLP's layers.
    table_optimizer : str
        Name of one of `TABLE_RULES`, the update rule of the table where a step updates only the
        table rows of its batch.
    ema_epochs : float
        Horizon of the moving average of the weights, in epochs; 0 takes the last weights.
    precision : {"float32", "bfloat16"}
        Precision of the matrix products in training.
    initial_bias : sequence of float
        Global bias at the start of training, one number for each output.
    pretrained : tuple of ndarray (rows, embeddings), or None
        Table rows, and the embeddings to write into them before training.
    frequencies : list of (int, ndarray)
        For each index field, its first table row, which stands for unseen codes, and
        the weight of each of its table rows.
    unseen : list of Tensor
        For each member, the table rows of codes that occur only in rows of data that it
        holds out. Empty if no member holds anything out.
    seed : int
        Seed of the order of the rows of data.
    keep_optimizer : bool
        Whether a pickle carries the optimizer's state, to go on training.
    """

    diverged_: str | None = None  # message for the user if training diverged

    # Set during a fit only, and left out of pickles.
    group: TrainingGroup = ALONE  # processes that train the net together
    step_: TrainStep | None = None
    valid_losses: list[Tensor]  # of the rows of each batch of the last validation
    callback_failed = False  # whether an error in a callback has ended training
    n_batches = 0  # of an epoch
    _trained_on: EpochBatches | None = None
    _samples: SampleSet | None = None

    def __init__(
        self,
        module: type[nn.Module] = DeepFM,
        *,
        embedding_l2: float = 0.0,
        linear_l2: float = 0.0,
        weight_decay: float = 0.0,
        table_optimizer: str = "adam",
        ema_epochs: float = 0.0,
        precision: str = "float32",
        initial_bias: Iterable[float] = (0.0,),
        pretrained: tuple[np.ndarray, np.ndarray] | None = None,
        frequencies: Iterable[tuple[int, np.ndarray]] = (),
        unseen: Iterable[Tensor] = (),
        seed: int = 0,
        keep_optimizer: bool = False,
        **kwargs: Any,
    ) -> None:
        self.embedding_l2 = embedding_l2
        self.linear_l2 = linear_l2
        self.weight_decay = weight_decay
        self.table_optimizer = table_optimizer
        self.ema_epochs = ema_epochs
        self.precision = precision
        self.initial_bias = initial_bias
        self.pretrained = pretrained
        self.frequencies = frequencies
        self.unseen = unseen
        self.seed = seed
        self.keep_optimizer = keep_optimizer
        super().__init__(module, train_split=None, criterion__reduction="none", verbose=0, **kwargs)

    @property
    def average(self) -> WeightAverage | None:
        """Average of the weights, which the steps of a fit update."""
        return None if self.step_ is None else self.step_.average

    def get_default_callbacks(self) -> list[NamedCallback]:
        """Timer and loss scoring of skorch, without its printing, which `verbose` replaces."""
        return [(name, cb) for name, cb in self._default_callbacks if name != "print_log"]

    # Building

    def initialized_instance(self, instance_or_cls: Any, kwargs: dict[str, Any]) -> Any:
        """Make module or criterion as skorch does, the module in float32, built on the CPU."""
        if instance_or_cls is self.module:
            kwargs = {**kwargs, "device": "cpu", "dtype": torch.float32}
        return super().initialized_instance(instance_or_cls, kwargs)

    def initialize_module(self) -> "BaseNet":
        """Build the module, and the generator that shuffles the rows of data."""
        super().initialize_module()
        with torch.no_grad():
            # Embeddings start small: with this bias the first predictions are the base rate.
            bias = torch.tensor(list(self.initial_bias), dtype=torch.float32)
            self.module_.bias.copy_(bias.repeat(self.module_.n_members))
        if self.pretrained is not None:
            self.module_.set_embeddings(*map(torch.from_numpy, self.pretrained))
            self.pretrained = None  # the table holds them now
        self.order_ = torch.Generator().manual_seed(self.seed)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> "BaseNet":
        """Build the optimizer."""
        self.optimizer_ = RowSparseAdam(self._parameter_groups(), fused=True, lr=self.lr)
        return self

    def _parameter_groups(self) -> list[Group]:
        """The table, the MLP's weight matrices, and the parameters without a penalty."""
        module = self.module_
        weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Linear)]
        known = {id(module.table), *map(id, weights)}
        others = [p for p in module.parameters() if id(p) not in known]
        rule = self.table_optimizer if module.sparse else None
        table = {"params": [module.table], "weight_decay": self.embedding_l2, "rows": rule}
        table |= {"first_decay": self.linear_l2, "n_first": module.n_first}
        table["frozen"] = module.frozen
        if module.n_members > 1:
            table |= {"n_members": module.n_members, "member": module.member_of_columns()}
        # The table stands first: the optimizer's state is loaded, and the table grows, by that
        # position. Few groups, since each takes time in every step.
        if self.weight_decay == 0:
            return [table, {"params": weights + others}]
        return [table, {"params": weights, "weight_decay": self.weight_decay}, {"params": others}]

    def _restart_optimizer(self) -> None:
        """Give the optimizer the present learning rate and penalties; its moments stay."""
        optimizer = self.optimizer_
        groups, optimizer.param_groups = self._parameter_groups(), []
        for group in groups:
            optimizer.add_param_group({"lr": self.lr, **group})

    def grow_table(self, source: np.ndarray, is_new: np.ndarray, slopes: dict[int, int]) -> None:
        """Replace the table by ``table[source]``, whose `is_new` rows are those of new codes."""
        module, old = self.module_, self.module_.table
        rows = torch.from_numpy(source).to(old.device)
        module.table = nn.Parameter(old.detach()[rows])
        module.set_slopes(slopes)
        if module.frozen is not None:
            # A new row starts as a copy of its field's first one, but has to learn.
            frozen = module.frozen.cpu().numpy()[source] & ~is_new
            module.set_frozen(frozen)
            self.__dict__["module__frozen"] = frozen
        self.optimizer_.param_groups[0]["params"] = [module.table]
        resize_rows(self.optimizer_, old, module.table, rows, torch.from_numpy(is_new))
        # A pickle rebuilds the module from these parameters.
        self.__dict__.update(module__n_features=len(source), module__slopes=slopes)

    # Pickling: arrays instead of tensors, so that any device can load them

    def __getstate__(self) -> dict[str, PlainData]:
        state = {name: value for name, value in vars(self).items() if name not in _LEFT_OUT}
        state["unseen"] = []  # every fit sets it anew
        state["trained"] = to_plain(self, TO_GO_ON if self.keep_optimizer else OF_A_MODEL)
        return state

    @own_modes()
    def __setstate__(self, state: dict[str, PlainData]) -> None:
        state = {**state, "device": _available(state["device"])}
        trained = state.pop("trained")
        # Without a history for now: `initialize` would clear the one of the state.
        self.__dict__.update(state, history_=None, initialized_=False, callbacks_=[])
        self.initialize()
        load_plain(self, trained)
        self.module_.eval()


# Attributes that a pickle leaves out: what is built anew, or is part of the state of training,
# and what is set during a fit only.
_LEFT_OUT = {"module_", "criterion_", "optimizer_", "callbacks_", "virtual_params_", "order_"}
_LEFT_OUT |= {"history_", "group", "n_batches", "_trained_on", "_samples", "step_"}
_LEFT_OUT |= {"callback_failed", "valid_losses"}


def _available(device: str) -> str:
    """The device, or the CPU with a warning where this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError):
        warn_user(
            f"The model was trained on device={device!r}, which this machine does not have: "
            f"it is loaded on the CPU.",
        )
        return "cpu"
    return device
