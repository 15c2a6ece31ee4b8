"""Rules for parameters set to "auto": batch size, strength of the penalties, sparse updates."""

import numpy as np

from sklearn_deepfm._model.components import COMPONENTS
from sklearn_deepfm._samples.rows import FEW_ROWS
from sklearn_deepfm._training.parameters import Parameters
from sklearn_deepfm._training.table_rules import TABLE_RULES

STOPS_FROM = 200  # rows from which on early_stopping="auto" holds rows out
EMBEDDING_L2_OF_ONE_ROW = 4_000  # divided by the rows of data, times the loss of the base rate
MOST_EMBEDDING_L2 = 0.5
WITHOUT_MLP = 1 / 64  # of the penalty of embeddings
LINEAR_SHARE = 0.02  # of the penalty of embeddings
AUTO_BATCH_SIZES = 32, 4096
N_STEPS = 64  # of an epoch, which the automatic batch size aims at
# Of batches of the automatic size, for up to so many rows; up to twice as many it grows with
# their root.
LEARNING_RATE, ROWS_OF_LEARNING_RATE, MOST_GROWN = 1e-3, 2**11, 2
# The automatic size times or divided by this: so far docs/benchmarks/bench_batch_sizes.txt goes.
MOST_TIMES = 16
PATIENCE_EPOCHS, PATIENCE_STEPS = 5, 250
# Table rows above which a step is faster on the rows of its batch than on all of them, by
# docs/benchmarks/bench_sparse_updates.txt.
SPARSE_ABOVE = 2**16


def batch_size(asked: int | str, n_rows: int) -> int:
    """Rows per batch; "auto" is a power of 2 that grows with the number of rows, within limits."""
    if asked != "auto":
        return int(asked)
    if n_rows <= FEW_ROWS:  # so that the loss of a step is the weighted mean of all rows
        return FEW_ROWS
    return int(np.clip(2 ** int(np.log2(n_rows / N_STEPS)), *AUTO_BATCH_SIZES))


def learning_rate(asked: float | str, n_in_batch: int, n_rows: int) -> float:
    """Adam's learning rate; "auto" grows with the root of the batch.

    The noise of a step falls with the root of the rows that it averages over, and Adam's steps
    have a size that does not.
    """
    if asked != "auto":
        return float(asked)
    # A batch has no more rows than there are.
    times = min(n_in_batch, n_rows) / min(batch_size("auto", n_rows), n_rows)
    grown = np.clip(n_rows / ROWS_OF_LEARNING_RATE, 1, MOST_GROWN)
    return LEARNING_RATE * float(np.sqrt(grown * np.clip(times, 1 / MOST_TIMES, MOST_TIMES)))


def patience(asked: int | str, n_batches: int) -> int:
    """Epochs without a better score after which training stops.

    "auto" waits for a number of steps too: a small table has few in an epoch, so that five
    epochs are over before a step of the learning rate's size has moved the weights far.
    """
    if asked != "auto":
        return int(asked)
    return max(PATIENCE_EPOCHS, -(-PATIENCE_STEPS // n_batches))


def penalties(parameters: Parameters, n_rows: int, base_loss: float) -> tuple[float, float]:
    """L2 factors of the embeddings and of the first-order weights.

    "auto" acts as a prior of fixed strength, which many rows outweigh: its factor falls
    like 1 / n_rows. It grows with the loss of the base rate, as the gradients of the data
    do. An MLP scales embeddings up again that the penalty has made small; without an MLP
    the penalty has to be weak.
    """
    embedding_l2, linear_l2 = parameters.embedding_l2, parameters.linear_l2
    if embedding_l2 == "auto":
        embedding_l2 = min(EMBEDDING_L2_OF_ONE_ROW * base_loss / n_rows, MOST_EMBEDDING_L2)
        can_scale_up = any(COMPONENTS[name].scales_up for name in parameters.components)
        embedding_l2 *= 1 if can_scale_up else WITHOUT_MLP
    if linear_l2 == "auto":
        linear_l2 = LINEAR_SHARE * float(embedding_l2)
    return float(embedding_l2), float(linear_l2)


def is_sparse(parameters: Parameters, n_features: int) -> bool:
    """Whether a step updates only those rows of the table that its batch touches."""
    if TABLE_RULES[parameters.table_optimizer].needs_sparse:
        if not parameters.sparse_updates:
            raise ValueError(
                f"table_optimizer={parameters.table_optimizer!r} updates the rows of a batch only, "
                f"which needs sparse_updates=True or 'auto', got {parameters.sparse_updates!r}."
            )
        return True
    if parameters.sparse_updates != "auto":
        return bool(parameters.sparse_updates)
    return n_features > SPARSE_ABOVE
