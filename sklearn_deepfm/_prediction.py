"""Logits of a table, in bounded memory and safe to compute from several threads."""

import numpy as np
import torch

BATCH_SIZE = 8192
ROW_MULTIPLE = 16  # matrix products of the usual widths then give a row the same bits anywhere


def predict_logits(module, fields, columns, device):
    """Sum of all terms of the model for each row.

    Parameters
    ----------
    module : DeepFM
        In eval mode.
    fields : Fields
    columns : list of Column
    device : str
        Where the module is.

    Returns
    -------
    logits : ndarray of shape (n_samples, n_outputs), float64
    """
    columns = fields.with_own_codes(columns)
    n_rows = len(columns[0])
    logits = np.empty((n_rows, module.n_outputs))
    for start in range(0, n_rows, BATCH_SIZE):
        part = slice(start, min(start + BATCH_SIZE, n_rows))
        index, value = fields.encode([column.take(part) for column in columns])
        with torch.inference_mode():
            output = module(_padded(index, device), _padded(value, device))
        logits[part] = output[: len(index)].cpu().numpy()
    return logits


def _padded(array, device):
    if array is None:
        return None
    padding = -len(array) % ROW_MULTIPLE
    return torch.from_numpy(np.pad(array, ((0, padding), (0, 0)), mode="edge")).to(device)
