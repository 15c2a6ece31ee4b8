"""From indices to the terms of the model, at the cost of the cells of a batch alone."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

MANY_CELLS = 2**14


class Touched(NamedTuple):
    """The rows of the table that a training batch needs.

    Attributes
    ----------
    positions : Tensor of shape (n_slots,), int64
        Their positions in the table.
    rows : Tensor of shape (n_slots, width)
        A leaf tensor of their values, which gets the gradient.
    source : Tensor of shape (n_slots,), int64, or None
        None: each position stands once. Else for each slot the slot whose row and
        gradient hold for its position, the same one for all slots of a position.
    """

    positions: Tensor
    rows: Tensor
    source: Tensor | None = None


class DistinctRows:
    """Finds the distinct rows of batches in a scratch array as long as the table.

    Each cell writes its number at its row and reads back whose number has stayed
    there: time linear in the batch, whatever the size of the table. Only the distinct
    rows are sorted.
    """

    def __init__(self) -> None:
        self._scratch: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_scratch": None}

    def touch(self, table: Tensor, wanted: Tensor) -> tuple[Touched, Tensor]:
        """Take the wanted rows out of a table.

        Parameters
        ----------
        table : Tensor of shape (n_features, width)
        wanted : Tensor of shape (n_cells,), int64
            Positions in the table, each as often as it occurs.

        Returns
        -------
        touched : Touched
        slot : Tensor of shape (n_cells,), int64
            Slot of each cell's row in `touched`.
        """
        find = self._on_host if table.device.type == "cpu" else self._on_device
        positions, slot, source = find(len(table), wanted)
        rows = table.detach().index_select(0, positions).requires_grad_()
        return Touched(positions, rows, source), slot

    def _on_host(self, n_features: int, wanted: Tensor) -> tuple[Tensor, Tensor, None]:
        # NumPy writes in order, so that the outcome does not hang on threads.
        if not isinstance(self._scratch, np.ndarray) or len(self._scratch) != n_features:
            self._scratch = np.empty(n_features, dtype=np.int32)
        scratch, cells = self._scratch, wanted.numpy()
        number = np.arange(len(cells), dtype=np.int32)
        scratch[cells] = number
        positions = cells[scratch.take(cells) == number]
        positions.sort()  # neighbours in memory are then read and written together
        scratch[positions] = number[: len(positions)]
        return torch.from_numpy(positions), torch.from_numpy(scratch.take(cells)), None

    def _on_device(self, n_features: int, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # As many slots as cells: their number is known without waiting for the device.
        scratch = self._scratch
        is_tensor = torch.is_tensor(scratch) and scratch.device == wanted.device
        if not is_tensor or len(scratch) != n_features:
            self._scratch = torch.empty(n_features, dtype=torch.int64, device=wanted.device)
        self._scratch[wanted] = torch.arange(len(wanted), device=wanted.device)
        slot = self._scratch.index_select(0, wanted)
        return wanted, slot, slot


class Layout(NamedTuple):
    """What the columns of the table and the fields of the index matrix are.

    Attributes
    ----------
    n_first : int
        Number of first-order weights, which come first in a row of the table.
    numeric_fields : Tensor of shape (n_numeric_fields,), int64
        Positions of the numeric fields in the index matrix.
    slope_rows : Tensor of shape (n_numeric_fields,), int64
        Rows of the table that hold their slopes.
    """

    n_first: int
    numeric_fields: Tensor
    slope_rows: Tensor


def field_terms(
    table: Tensor, index: Tensor, value: Tensor | None, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """What the model takes of its fields: first order, squares and embeddings.

    Parameters
    ----------
    table : Tensor of shape (n_rows, n_first + embed_dim)
    index : Tensor of shape (batch, n_fields), int32 or int64
        Row of the table for each field.
    value : Tensor of shape (batch, n_numeric_fields) or None
        Values of the numeric fields; None where there is none.
    layout : Layout

    Returns
    -------
    first : Tensor of shape (batch, n_first)
        Sum of the fields' first-order weights w_f.
    squares : Tensor of shape (batch, embed_dim)
        ``(sum_f v_f)**2 - sum_f v_f**2``, twice each coordinate's part of the sum of
        the products <v_f, v_g> over pairs.
    embedding : Tensor of shape (batch, n_fields, embed_dim)
        The embeddings v_f.
    """
    by_hand = torch.is_grad_enabled() and table.requires_grad and len(table) <= index.numel()
    if by_hand and (value is None or not value.requires_grad):
        terms: tuple[Tensor, Tensor, Tensor] = FieldTerms.apply(table, index, value, layout)
        return terms
    total, squares, embedding = _forward(table, index, value, layout)
    return total[:, : layout.n_first], squares, embedding


class FieldTerms(torch.autograd.Function):
    """The terms of the fields with a gradient that is written down, for a table of few rows.

    Left to autograd, each operation would take a pass over all embeddings of the
    batch, forth and back. The gradient of the squares with respect to v_f is
    ``2 * (sum_g v_g - v_f)``.
    """

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, index: Tensor, value: Tensor | None, layout: Layout
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First order, squares and embeddings, as :func:`field_terms` gives them."""
        is_small = index.numel() < MANY_CELLS or index.device.type != "cpu"
        if is_small or value is not None:
            total, squares, embedding = _forward(table, index, value, layout)
        else:
            total, squares, embedding = _forward_many(table, index, layout.n_first)
        ctx.save_for_backward(table, index, value, embedding, total)
        ctx.layout = layout
        return total[:, : layout.n_first].clone(), squares, embedding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradient with respect to the table alone."""
        with torch.autocast(grads[0].device.type, enabled=False):
            return _backward(ctx, *grads), None, None, None


def _backward(ctx: Any, grad_first: Tensor, grad_squares: Tensor, grad_embedding: Tensor) -> Tensor:
    table, index, value, embedding, total = ctx.saved_tensors
    n_first, numeric, slope_rows = ctx.layout
    total, factor = total[:, n_first:], 2 * grad_squares  # (batch, embed_dim)
    if value is not None:
        others = total.unsqueeze(1) - embedding.index_select(1, numeric)
        grad = grad_embedding.index_select(1, numeric) + factor.unsqueeze(1) * others
        slope_grad = [value.T @ grad_first, torch.einsum("bn,bnd->nd", value, grad)]
        scaled = value.unsqueeze(-1) * table.index_select(0, slope_rows)[:, n_first:]
        grad_embedding = grad_embedding.index_add(1, numeric, -factor.unsqueeze(1) * scaled)
    # v_f is the same in all cells that hold its row: only its factor has to be summed.
    of_samples = torch.cat([grad_first, factor * total, factor], dim=1)
    of_samples, of_cells = _sum_by_row(of_samples, grad_embedding, index, len(table))
    first, common, factor = of_samples.tensor_split([n_first, n_first + factor.shape[1]], dim=1)
    second = of_cells.add_(common).addcmul_(table[:, n_first:], factor, value=-1)
    table_grad = torch.cat([first, second], dim=1)
    if value is not None:
        table_grad.index_add_(0, slope_rows, torch.cat(slope_grad, dim=1))
    return table_grad


def _forward(
    table: Tensor, index: Tensor, value: Tensor | None, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the rows (batch, width), squares and embeddings, from one gather."""
    n_first, numeric, slope_rows = layout
    rows = F.embedding(index, table)  # (batch, n_fields, width)
    if value is not None:
        rows.index_add_(1, numeric, value.unsqueeze(-1) * table.index_select(0, slope_rows))
    total, embedding = rows.sum(1), rows[..., n_first:].contiguous()
    return total, total[:, n_first:].square() - embedding.square().sum(1), embedding


def _forward_many(table: Tensor, index: Tensor, n_first: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same for many cells of a table of few rows: these, and their squares, stay in cache."""
    total = F.embedding_bag(index, table, mode="sum")
    own_squares = F.embedding_bag(index, table.square(), mode="sum")[:, n_first:]
    embedding = table[:, n_first:].index_select(0, index.flatten())
    embedding = embedding.view(*index.shape, table.shape[1] - n_first)
    return total, total[:, n_first:].square() - own_squares, embedding


def _sum_by_row(
    of_samples: Tensor, of_cells: Tensor, index: Tensor, n_rows: int
) -> tuple[Tensor, Tensor]:
    """Sum up, for each row of a table, what belongs to the cells that hold it.

    Parameters
    ----------
    of_samples : Tensor of shape (batch, n_columns)
        Belongs to each cell of a sample.
    of_cells : Tensor of shape (batch, n_fields, n_columns)
    index : Tensor of shape (batch, n_fields)
    n_rows : int

    Returns
    -------
    of_samples, of_cells : Tensor of shape (n_rows, n_columns)
    """
    if index.numel() < MANY_CELLS or index.device.type != "cpu":
        samples = of_samples.unsqueeze(1).expand(-1, index.shape[1], -1)
        values = torch.cat([samples, of_cells], dim=2).flatten(0, 1)
        sums = values.new_zeros(n_rows, values.shape[1]).index_add_(0, index.flatten(), values)
        return sums[:, : samples.shape[2]], sums[:, samples.shape[2] :]
    # SciPy's conversion between the formats of sparse matrices lists the cells of each row in
    # time linear in their number. For many cells torch's index_add_ is several times slower.
    n_fields, of_cells = index.shape[1], of_cells.flatten(0, 1)
    rows = index.flatten().numpy()
    columns = np.arange(len(rows) + 1, dtype=rows.dtype)
    shape = n_rows, len(rows)
    by_row = csc_array((np.empty(len(rows), dtype=np.int8), rows, columns), shape=shape).tocsr()
    cells, starts = torch.from_numpy(by_row.indices), torch.from_numpy(by_row.indptr)
    samples = cells.div(n_fields, rounding_mode="floor")
    return (
        F.embedding_bag(samples, of_samples, starts, mode="sum", include_last_offset=True),
        F.embedding_bag(cells, of_cells, starts, mode="sum", include_last_offset=True),
    )
