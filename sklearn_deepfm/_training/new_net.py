"""An untrained net for the fields, the target and the parameters of an estimator."""

import numpy as np

from sklearn_deepfm._fields.pretrained import pretrained_rows
from sklearn_deepfm._model.components import has_part, in_order
from sklearn_deepfm._training.defaults import is_sparse
from sklearn_deepfm._training.devices import device_of
from sklearn_deepfm._training.losses import LOSSES


def new_net(model, fields, target, *, random):
    """An untrained net for the fields and the target.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Estimator that gives the parameters.
    fields : Fields
    target : target
    random : RandomState
        Gives the seeds of the module and of the order of the rows.
    """
    dims = fields.dims
    if model.pretrained and not has_part(model.components, "embedding"):
        raise ValueError(
            f"pretrained gives embeddings, which components={model.components!r} has none of. Add "
            f"'fm' or 'deep', or leave pretrained out."
        )
    pretrained = pretrained_rows(model.pretrained, model.frozen, fields, int(model.embed_dim))
    module_seed, order_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
    return model._net_class(
        module__n_fields=len(dims),
        module__n_features=int(dims.sum()),
        module__embed_dim=int(model.embed_dim),
        module__mlp_dims=tuple(int(width) for width in model.mlp_dims),
        module__dropout=float(model.dropout),
        module__n_outputs=target.n_outputs,
        module__batch_norm=bool(model.batch_norm),
        module__components=in_order(model.components),
        module__slopes=fields.slopes,
        module__sparse=is_sparse(model, int(dims.sum())),
        module__multi_label=target.multi_label,
        module__frozen=None if pretrained is None else pretrained.frozen,
        module__n_members=int(model.n_members),
        module__seed=module_seed,
        criterion=LOSSES[target.loss],
        table_optimizer=model.table_optimizer,
        precision=model.precision,
        initial_bias=target.initial_bias.tolist(),
        pretrained=None if pretrained is None else pretrained[:2],
        frequencies=fields.frequencies,
        seed=order_seed,
        device=device_of(model.device),
    )
