"""Losses by the names that targets give them, as torch computes them on logits."""

from torch import nn

LOSSES: dict[str, type[nn.Module]] = {
    "binary_log_loss": nn.BCEWithLogitsLoss,  # of each logit, so of each label too
    "log_loss": nn.CrossEntropyLoss,
    "squared_error": nn.MSELoss,
}
