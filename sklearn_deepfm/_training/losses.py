"""Losses by the names that targets give them, as torch computes them on logits."""

from torch import Tensor, nn

from sklearn_deepfm._samples.samples import Inputs

LOSSES: dict[str, type[nn.Module]] = {
    "binary_log_loss": nn.BCEWithLogitsLoss,  # of each logit, so of each label too
    "log_loss": nn.CrossEntropyLoss,
    "squared_error": nn.MSELoss,
}


def losses_of_rows(criterion: nn.Module, logits: Tensor, y: Tensor | None, x: Inputs) -> Tensor:
    """Weight times loss of each row, (batch, n_members).

    The losses of several labels or target columns are summed. Logits are those of members, of
    shape (batch, n_members, n_outputs), or of shape (batch, n_outputs).
    """
    assert y is not None  # rows without a target are predicted alone
    n_members = logits.shape[1] if logits.ndim == 3 else 1
    logits = logits.reshape(-1, logits.shape[-1])
    y = y if n_members == 1 else y.repeat_interleave(n_members, 0)
    losses: Tensor = criterion(logits[:, 0] if logits.shape[1] == 1 else logits, y)
    losses = losses.sum(1) if losses.ndim == 2 else losses
    losses = losses.view(-1, n_members)
    if "weight" in x:
        weight = x["weight"]
        losses = losses * (weight.unsqueeze(1) if weight.ndim == 1 else weight)
    return losses


def mean_loss(losses: Tensor, x: Inputs) -> Tensor:
    """Mean over the rows of a batch, summed over members; weights have mean 1 over all rows.

    For one process's part of a batch, it is the share of that part in the mean.
    """
    # "n_rows" counts the rows of a batch in all processes.
    mean: Tensor = losses.sum(0) / x["n_rows"] if "n_rows" in x else losses.mean(0)
    return mean.sum()
