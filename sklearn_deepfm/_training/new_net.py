"""An untrained net for the fields, the target and the parameters of an estimator."""

import numpy as np

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.pretrained import Pretrained, pretrained_rows
from sklearn_deepfm._model.components import has_part, in_order
from sklearn_deepfm._targets.target import Target
from sklearn_deepfm._training.defaults import is_sparse
from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.losses import LOSSES
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.parameters import Parameters


def new_net(
    net_class: type[DeepFMNet],
    parameters: Parameters,
    fields: Fields,
    target: Target,
    random: np.random.RandomState,
) -> DeepFMNet:
    """An untrained net for the fields and the target.

    Parameters
    ----------
    net_class : type
        The class of the net.
    parameters : Parameters
    fields : Fields
    target : Target
    random : RandomState
        Gives the seeds of the module and of the order of the rows.
    """
    dims = fields.dims
    pretrained = _pretrained(parameters, fields)
    module_seed, order_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
    return net_class(
        module__n_fields=len(dims),
        module__n_features=int(dims.sum()),
        module__embed_dim=int(parameters.embed_dim),
        module__mlp_dims=tuple(int(width) for width in parameters.mlp_dims),
        module__dropout=float(parameters.dropout),
        module__n_outputs=target.n_outputs,
        module__batch_norm=bool(parameters.batch_norm),
        module__components=in_order(parameters.components),
        module__slopes=fields.slopes,
        module__sparse=is_sparse(parameters, int(dims.sum())),
        module__multi_label=target.multi_label,
        module__frozen=None if pretrained is None else pretrained.frozen,
        module__n_members=int(parameters.n_members),
        module__seed=module_seed,
        criterion=LOSSES[target.loss],
        table_optimizer=parameters.table_optimizer,
        precision=parameters.precision,
        initial_bias=target.initial_bias.tolist(),
        pretrained=None if pretrained is None else pretrained[:2],
        frequencies=fields.frequencies,
        seed=order_seed,
        device=device_of(parameters.device),
    )


def _pretrained(parameters: Parameters, fields: Fields) -> Pretrained | None:
    """Table rows of the embeddings given; None without any."""
    if not parameters.pretrained and not parameters.frozen:
        return None
    if parameters.pretrained and not has_part(parameters.components, "embedding"):
        raise ValueError(
            f"pretrained gives embeddings, which components={parameters.components!r} has none of. "
            f"Add 'fm' or 'deep', or leave pretrained out."
        )
    embed_dim = int(parameters.embed_dim)
    return pretrained_rows(parameters.pretrained, parameters.frozen, fields, embed_dim)
