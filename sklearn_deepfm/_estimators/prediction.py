"""Logits of a table, computed in bounded memory and safely from several threads."""

import numpy as np
import torch

from sklearn_deepfm._model.torch_modes import own_modes
from sklearn_deepfm._samples.samples import bags_of_arrays

BATCH_SIZE = 4096  # rows whose embeddings and hidden units fit into the caches of a CPU
# Prediction batches are padded to a multiple of this number of rows: matrix products of the usual
# widths then give a row the same bits wherever it stands, and whatever rows come with it.
ROW_MULTIPLE = 16


def predict_logits(module, fields, cells, device):
    """Logits of each row.

    Parameters
    ----------
    module : DeepFM
        In eval mode.
    fields : Fields
    cells : list of InputColumn or InputListColumn, or ndarray of shape (n_samples, n_fields)
        As `read_cells` gives them.
    device : str
        Where the module is.

    Returns
    -------
    logits : ndarray of shape (n_samples, n_outputs), float64
    """
    n_rows = len(cells) if isinstance(cells, np.ndarray) else len(cells[0])
    logits = np.empty((n_rows, module.n_outputs))
    with own_modes(inference=True):
        for part, inputs in inputs_by_part(fields, cells, device):
            logits[part] = module(*inputs)[: part.stop - part.start].cpu().numpy()
    return logits


def inputs_by_part(fields, cells, device, batch_size=BATCH_SIZE):
    """Inputs of the module, for one part of the rows after the other.

    Parameters
    ----------
    fields : Fields
    cells : list of InputColumn or InputListColumn, or ndarray of shape (n_samples, n_fields)
    device : str
    batch_size : int
        Most rows of a part.

    Yields
    ------
    part : slice
        The rows.
    inputs : tuple of Tensor or None
        Index, value and bags, with the last row repeated up to a multiple of `ROW_MULTIPLE`.
    """
    is_matrix = isinstance(cells, np.ndarray)
    if not is_matrix:
        # Categories are matched with those of fit once, rather than in each part.
        cells = fields.with_codes_of_fit(cells)
    n_rows = len(cells) if is_matrix else len(cells[0])
    for start in range(0, n_rows, batch_size):
        part = slice(start, min(start + batch_size, n_rows))
        index, value, lists = fields.encode(
            cells[part] if is_matrix else [column.take(part) for column in cells]
        )
        n = len(index)
        yield part, (_padded(index, device), _padded(value, device), _padded_bags(lists, n, device))


def _padded(array, device):
    if array is None:
        return None
    if len(array) % ROW_MULTIPLE:
        array = array[_padding(len(array))]
    return torch.from_numpy(array).to(device)


def _padded_bags(arrays, n_rows, device):
    if arrays is None:
        return None
    # Starts have an entry for each list of each row, and one for the end.
    bags, n_bags = bags_of_arrays(arrays), (len(arrays[1]) - 1) // n_rows
    if n_rows % ROW_MULTIPLE:
        bags = bags.of_samples(torch.from_numpy(_padding(n_rows)), n_bags)
    return bags.to(device)


def _padding(n_rows):
    """Positions of the rows, the last one repeated up to a multiple of `ROW_MULTIPLE`."""
    n_padded = -(-n_rows // ROW_MULTIPLE) * ROW_MULTIPLE
    return np.minimum(np.arange(n_padded), n_rows - 1)
