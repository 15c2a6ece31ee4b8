"""The parameters of an estimator that its network and its training go by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from numpy.typing import ArrayLike

from sklearn_deepfm._training.callbacks import UserCallback


@dataclass(frozen=True)
class Parameters:
    """Parameters of an estimator, by their names there, in which their meaning is documented."""

    # The network
    embed_dim: int
    mlp_dims: Sequence[int]
    dropout: float
    batch_norm: bool
    components: Collection[str]
    n_members: int
    pretrained: Mapping[str | int, ArrayLike] | None
    frozen: Sequence[str | int] | None
    sparse_updates: bool | str
    table_optimizer: str
    device: str
    # Its training
    learning_rate: float | str
    embedding_l2: float | str
    linear_l2: float | str
    weight_decay: float
    ema_epochs: float
    batch_size: int | str
    precision: str
    # Its end
    early_stopping: bool | str
    n_iter_no_change: int | str
    tol: float
    lr_schedule: str | None
    callbacks: Sequence[UserCallback] | None
    verbose: int

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Parameters:
        """Those among further parameters, as `get_params` gives them."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})  # type: ignore[arg-type]
