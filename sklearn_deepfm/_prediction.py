"""Logits of a table, in bounded memory and safe to compute from several threads."""

import numpy as np
import torch

BATCH_SIZE = 4096  # what it makes fits into caches
ROW_MULTIPLE = 16  # matrix products of the usual widths then give a row the same bits anywhere


def predict_logits(module, fields, cells, device):
    """Sum of all terms of the model for each row.

    Parameters
    ----------
    module : DeepFM
        In eval mode.
    fields : Fields
    cells : list of Column, or ndarray of shape (n_samples, n_fields)
        As `read_cells` gives them.
    device : str
        Where the module is.

    Returns
    -------
    logits : ndarray of shape (n_samples, n_outputs), float64
    """
    is_matrix = isinstance(cells, np.ndarray)
    if not is_matrix:
        cells = fields.with_own_codes(cells)
    n_rows = len(cells) if is_matrix else len(cells[0])
    logits = np.empty((n_rows, module.n_outputs))
    with torch.inference_mode():
        for start in range(0, n_rows, BATCH_SIZE):
            part = slice(start, min(start + BATCH_SIZE, n_rows))
            index, value = fields.encode(
                cells[part] if is_matrix else [column.take(part) for column in cells]
            )
            output = module(_padded(index, device), _padded(value, device))
            logits[part] = output[: len(index)].cpu().numpy()
    return logits


def _padded(array, device):
    if array is None:
        return None
    n_padded = -(-len(array) // ROW_MULTIPLE) * ROW_MULTIPLE
    if n_padded > len(array):
        array = array[np.minimum(np.arange(n_padded), len(array) - 1)]  # the last row again
    return torch.from_numpy(array).to(device)
