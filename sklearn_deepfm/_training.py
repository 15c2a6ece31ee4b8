"""From prepared rows and an estimator's parameters to a net, its tensors and its scores."""

import copy
import warnings
from dataclasses import replace
from inspect import signature

import numpy as np
import torch
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils import check_random_state

from sklearn_deepfm._batches import Samples
from sklearn_deepfm._labels import LabelSets
from sklearn_deepfm._module import COMPONENTS
from sklearn_deepfm._prediction import bags_of_arrays
from sklearn_deepfm._pretrained import pretrained_rows

STRUCTURE = (
    "embed_dim",
    "mlp_dims",
    "dropout",
    "batch_norm",
    "components",
    "categorical_features",
    "n_bins",
    "pooling",
    "pretrained",
    "frozen",
    "sparse_updates",
    "table_optimizer",
    "n_members",
    "device",
)
STOPS_FROM = 200  # distinct rows from which on early_stopping="auto" holds rows out
EMBEDDING_L2_OF_ONE_ROW = 4_000
MOST_EMBEDDING_L2 = 0.5
WITHOUT_MLP = 1 / 64
LINEAR_SHARE = 0.02
MAX_REPEATS = 10**6
AUTO_BATCH_SIZES = 32, 4096
SPARSE_ABOVE = 2**16  # rows of a table, from which a step on those of a batch is faster than on all


def new_net(model, fields, target, *, random):
    """An untrained net for the fields and the target.

    Parameters
    ----------
    model : DeepFMClassifier or DeepFMRegressor
        Gives the parameters.
    fields : Fields
    target : Labels or Amount
    random : RandomState
    """
    dims = fields.dims
    if model.pretrained and not {"fm", "deep"} & set(model.components):
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
        module__components=tuple(name for name in COMPONENTS if name in model.components),
        module__slopes=fields.slopes,
        module__sparse=is_sparse(model, int(dims.sum())),
        module__multi_label=isinstance(target, LabelSets),
        module__frozen=None if pretrained is None else pretrained.frozen,
        module__n_members=int(model.n_members),
        module__seed=module_seed,
        criterion=model._criterion(),
        table_optimizer=model.table_optimizer,
        precision=model.precision,
        initial_bias=target.initial_bias.tolist(),
        pretrained=None if pretrained is None else pretrained[:2],
        frequencies=fields.frequencies,
        seed=order_seed,
        device=device_of(model.device),
    )


def batch_size(model, n_rows):
    """The size asked for; "auto" is a power of 2 that follows the rows, within limits."""
    if model.batch_size != "auto":
        return int(model.batch_size)
    wanted = max(n_rows / 256, min(n_rows / 128, 64), 1)
    return int(np.clip(2 ** int(np.log2(wanted)), *AUTO_BATCH_SIZES))


def penalties(model, n_rows, base_loss):
    """L2 of embeddings and of first-order weights.

    "auto" is a prior of fixed strength, which many rows outweigh: its factor falls like
    1 / n_rows, and grows with the loss of the base rate, as the gradients of the data do.
    An MLP scales up what the penalty has made small; without one it has to be weak.
    """
    embedding_l2, linear_l2 = model.embedding_l2, model.linear_l2
    if embedding_l2 == "auto":
        embedding_l2 = min(EMBEDDING_L2_OF_ONE_ROW * base_loss / n_rows, MOST_EMBEDDING_L2)
        embedding_l2 *= 1 if "deep" in model.components else WITHOUT_MLP
    if linear_l2 == "auto":
        linear_l2 = LINEAR_SHARE * embedding_l2
    return float(embedding_l2), float(linear_l2)


def is_sparse(model, n_features):
    """Whether a step updates only those rows of the table that its batch touches."""
    if model.table_optimizer == "adagrad":
        if not model.sparse_updates:
            raise ValueError(
                f"table_optimizer='adagrad' updates the rows of a batch only, which needs "
                f"sparse_updates=True or 'auto', got {model.sparse_updates!r}."
            )
        return True
    if model.sparse_updates != "auto":
        return bool(model.sparse_updates)
    return n_features > SPARSE_ABOVE


def warn_of_slow_bfloat16(precision, device):
    """Say so where the CPU has no instructions for products of bfloat16."""
    if precision == "bfloat16" and device.startswith("cpu") and _cpu_capability() == "AVX2":
        warnings.warn(
            "precision='bfloat16' is many times slower than 'float32' on this CPU, which has no "
            "instructions for it. Set precision='float32', or train on a CPU with AMX or "
            "AVX-512 BF16, or on a GPU.",
            UserWarning,
            stacklevel=5,
        )


def _cpu_capability():
    return torch.backends.cpu.get_cpu_capability()


def to_samples(rows, fields, target, net, *, validates=False):
    """Tensors of the rows; weights get the mean 1, so that their scale has no effect."""
    samples = samples_of(rows, fields, target, net.module__n_members, validates=validates)
    return with_mean_weight(samples).to(net.device)


def samples_of(rows, fields, target, n_members, *, validates=False):
    """Tensors of the rows, on the host.

    Rows that members hold out are given by `rows.held_by`: in training these weigh
    nothing for that member, in validation it is the one that is asked.
    """
    index, value, bags = fields.encode(rows.columns)
    weight, member = rows.weight, None
    if rows.held_by is not None and validates:
        member = torch.from_numpy(rows.held_by)
    elif rows.held_by is not None:
        learns = rows.held_by[:, np.newaxis] != np.arange(n_members)
        weight = learns if weight is None else weight[:, np.newaxis] * learns
    return Samples(
        torch.from_numpy(index),
        None if value is None else torch.from_numpy(value),
        torch.from_numpy(target.to_network(rows.y)),
        None if weight is None else torch.from_numpy(weight.astype(np.float64)),
        member,
        None if bags is None else bags_of_arrays(bags),
    )


def with_mean_weight(samples):
    """The same with weights of mean 1, in the precision of the network."""
    if samples.weight is None:
        return samples
    weight = samples.weight / samples.weight.mean(0)
    return replace(samples, weight=weight.to(torch.float32))


def is_scoring(scoring):
    if isinstance(scoring, str):
        return scoring == "loss" or scoring in get_scorer_names()
    return callable(scoring)


def validation_scorer(scoring, valid, target):
    """Function from validation logits to a score, greater is better; None for the loss."""
    if valid is None or (isinstance(scoring, str) and scoring == "loss"):
        return None
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    y, weight, repeats = target.decode(valid.y), {}, None
    if valid.weight is not None and np.ptp(valid.weight) > 0:
        if _takes_weight(scorer):
            weight["sample_weight"] = valid.weight
        else:
            repeats = _as_counts(valid.weight, scoring)
            y = np.repeat(y, repeats, axis=0)
    X = np.zeros((len(y), 1))  # the answers are known: nothing is read from it

    def score(logits):
        logits = logits.astype(np.float64)
        logits = logits if repeats is None else np.repeat(logits, repeats, axis=0)
        return scorer(target.answers(logits), X, y, **weight)

    return score


def _takes_weight(scorer):
    """Whether a scorer, or the metric inside it, has the parameter sample_weight."""
    metric = getattr(scorer, "_score_func", scorer)
    parameters = signature(metric).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def _as_counts(weight, scoring):
    """Weights as numbers of repetitions, which any scorer can be given."""
    if (weight != np.round(weight)).any() or weight.sum() > 100 * len(weight) + MAX_REPEATS:
        raise ValueError(
            f"scoring={scoring!r} must take sample_weight, since the validation rows have weights. "
            f"Add the parameter sample_weight=None to it, wrap a metric that has it by "
            f"make_scorer, or choose another scoring."
        )
    return weight.astype(np.int64)


def structure_of(model):
    """Parameters that the network was built by, in a form that can be compared."""
    structure = {name: repr(getattr(model, name)) for name in STRUCTURE}
    components = [name for name in COMPONENTS if name in model.components]  # sets have no order
    return {**structure, "components": repr(tuple(components))}


def check_same_structure(model, structure):
    """Refuse to go on with a network that other parameters ask for."""
    for name, now in structure_of(model).items():
        if now != structure[name]:
            raise ValueError(
                f"{name} was {structure[name]} in the first fit and is {now} now, but warm_start "
                f"and partial_fit go on with the same network. Set it back, or fit a clone."
            )


def random_state_of(random_state):
    """None is fresh entropy, not numpy's global generator, which a fit leaves alone."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def copy_callback(callback):
    """A callback for one fit, which refers to the same objects, such as a trial of Optuna."""
    if isinstance(callback, tuple):
        name, instance = callback
        return name, copy_callback(instance)
    return callback if isinstance(callback, type) else copy.copy(callback)


def device_of(name):
    """The device that a parameter names, one that torch can use; "auto" is the fastest."""
    if name != "auto":
        return _usable(name)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(device):
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch can use on this machine, such as 'cpu', or 'auto', "
            f"got {device!r}: {error}"
        ) from error
    return device
