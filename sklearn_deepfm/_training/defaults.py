"""Rules behind "auto": size of a batch, strength of the penalties, which rows a step updates."""

import numpy as np

STOPS_FROM = 200  # distinct rows from which on early_stopping="auto" holds rows out
EMBEDDING_L2_OF_ONE_ROW = 4_000
MOST_EMBEDDING_L2 = 0.5
WITHOUT_MLP = 1 / 64
LINEAR_SHARE = 0.02
AUTO_BATCH_SIZES = 32, 4096
SPARSE_ABOVE = 2**16  # rows of a table, from which a step on those of a batch is faster than on all


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
