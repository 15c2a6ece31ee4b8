"""First order, squares and embeddings of the fields of a batch, gathered from the table."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sklearn_deepfm._model.bags import Bags

MANY_CELLS = 2**14  # from here on a CPU is faster with cells sorted by table row


class TableLayout(NamedTuple):
    """Which columns of the table are first order, and which fields are numeric.

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
    table: Tensor, index: Tensor, value: Tensor | None, bags: Bags | None, layout: TableLayout
) -> tuple[Tensor, Tensor, Tensor]:
    """First order, squares and embeddings of the fields of a batch.

    Parameters
    ----------
    table : Tensor of shape (n_rows, n_first + embed_dim)
    index : Tensor of shape (batch, n_fields - n_bags), int32 or int64
        Row of the table for each field of one code.
    value : Tensor of shape (batch, n_numeric_fields) or None
        Values of the numeric fields; None where there is none.
    bags : Bags or None
        The `n_bags` list fields, which come last; None where there is none.
    layout : TableLayout

    Returns
    -------
    first : Tensor of shape (batch, n_first)
        Sum of the fields' first-order weights w_f.
    squares : Tensor of shape (batch, embed_dim)
        ``(sum_f v_f)**2 - sum_f v_f**2`` by coordinate. Half of the sum over coordinates is
        the sum of <v_f, v_g> over pairs of fields, the second order of equation 2.
    embedding : Tensor of shape (batch, n_fields, embed_dim)
        The embeddings v_f.
    """
    # The gradient by hand works on the whole table, which pays only if the batch has more cells,
    # and there is none for values.
    n_cells = index.numel() + (0 if bags is None else len(bags.members))
    by_hand = torch.is_grad_enabled() and table.requires_grad and len(table) <= n_cells
    if by_hand and (value is None or not value.requires_grad):
        terms: tuple[Tensor, Tensor, Tensor] = FieldTerms.apply(  # type: ignore[no-untyped-call]
            table, index, value, *(bags or (None, None, None)), layout
        )
        return terms
    total, squares, embedding = _forward(table, index, value, bags, layout)
    return total[:, : layout.n_first], squares, embedding


def field_rows(
    table: Tensor, index: Tensor, value: Tensor | None, bags: Bags | None, layout: TableLayout
) -> Tensor:
    """First-order weight and embedding (w_f, v_f) of each field.

    Parameters
    ----------
    table, index, value, bags, layout
        As for :func:`field_terms`.

    Returns
    -------
    rows : Tensor of shape (batch, n_fields, n_first + embed_dim)
        The list fields come last.
    """
    rows = _rows_of_cells(table, index, value, layout)
    return rows if bags is None else torch.cat([rows, bags.pooled(table, len(index))], dim=1)


class FieldTerms(torch.autograd.Function):
    """The terms of :func:`field_terms` with a gradient by hand, for a table of few rows.

    With autograd each operation would pass over all embeddings of the batch, forward
    and backward. The gradient of the squares with respect to v_f is
    ``2 * (sum_g v_g - v_f)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        index: Tensor,
        value: Tensor | None,
        members: Tensor | None,
        starts: Tensor | None,
        weights: Tensor | None,
        layout: TableLayout,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First order, squares and embeddings, as :func:`field_terms` gives them."""
        bags = None if members is None else Bags(members, starts, weights)  # type: ignore[arg-type]
        total, squares, embedding = _forward(table, index, value, bags, layout, sums_cells=True)
        ctx.save_for_backward(table, index, value, members, starts, weights, embedding, total)
        ctx.layout = layout
        return total[:, : layout.n_first].clone(), squares, embedding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradient with respect to the table alone."""
        # Autocast would compute the matrix product of the slopes in bfloat16.
        with torch.autocast(grads[0].device.type, enabled=False):
            return _backward(ctx, *grads), *(None,) * 6


def _backward(ctx: Any, grad_first: Tensor, grad_squares: Tensor, grad_embedding: Tensor) -> Tensor:
    table, index, value, members, starts, weights, embedding, total = ctx.saved_tensors
    n_first, numeric, slope_rows = ctx.layout
    total, factor = total[:, n_first:], 2 * grad_squares  # (batch, embed_dim)
    grad_cells = grad_embedding[:, : index.shape[1]]
    if value is not None:
        others = total.unsqueeze(1) - embedding.index_select(1, numeric)
        grad = grad_cells.index_select(1, numeric) + factor.unsqueeze(1) * others
        slope_grad = [value.T @ grad_first, torch.einsum("bn,bnd->nd", value, grad)]
        scaled = value.unsqueeze(-1) * table.index_select(0, slope_rows)[:, n_first:]
        # Cells of a numeric field add value * slope to their table row: their part of the
        # gradient differs from cell to cell, and is summed with the cells.
        grad_cells = grad_cells.index_add(1, numeric, -factor.unsqueeze(1) * scaled)
    # The gradient of a cell is factor * (total - v_f). All cells of a table row have the same
    # v_f: it is enough to sum the factor over them, and to multiply once by row.
    of_samples = torch.cat([grad_first, factor * total, factor], dim=1)
    of_samples, of_cells = _sum_by_row(of_samples, grad_cells, index, len(table))
    first, common, factor_of_rows = of_samples.tensor_split([n_first, n_first + factor.shape[1]], 1)
    second = of_cells.add_(common).addcmul_(table[:, n_first:], factor_of_rows, value=-1)
    table_grad = torch.cat([first, second], dim=1)
    if value is not None:
        table_grad.index_add_(0, slope_rows, torch.cat(slope_grad, dim=1))
    if members is not None:
        others = total.unsqueeze(1) - embedding[:, index.shape[1] :]
        grad = grad_embedding[:, index.shape[1] :] + factor.unsqueeze(1) * others
        first = grad_first.unsqueeze(1).expand(-1, grad.shape[1], -1)
        of_bags = torch.cat([first, grad], dim=2).flatten(0, 1)  # (batch * n_bags, width)
        table_grad += _sum_members_by_row(of_bags, Bags(members, starts, weights), len(table))
    return table_grad


def _forward(
    table: Tensor,
    index: Tensor,
    value: Tensor | None,
    bags: Bags | None,
    layout: TableLayout,
    *,
    sums_cells: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the table rows (batch, width), squares and embeddings, from one gather.

    `sums_cells` allows for work on the whole table, which pays if it has fewer rows than
    the batch has cells.
    """
    is_small = index.numel() < MANY_CELLS or index.device.type != "cpu"
    if is_small or value is not None or not sums_cells:
        total, own_squares, embedding = _cells(table, index, value, layout)
    else:
        total, own_squares, embedding = _many_cells(table, index, layout.n_first)
    if bags is not None:
        pooled = bags.pooled(table, len(index))  # (batch, n_bags, width)
        of_bags = pooled[..., layout.n_first :]
        total = total + pooled.sum(1)
        own_squares = own_squares + of_bags.square().sum(1)
        embedding = torch.cat([embedding, of_bags], dim=1)
    return total, total[:, layout.n_first :].square() - own_squares, embedding


def _cells(
    table: Tensor, index: Tensor, value: Tensor | None, layout: TableLayout
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the table rows of a sample's cells, of their squared embeddings, and embeddings."""
    rows = _rows_of_cells(table, index, value, layout)
    embedding = rows[..., layout.n_first :].contiguous()
    return rows.sum(1), embedding.square().sum(1), embedding


def _rows_of_cells(
    table: Tensor, index: Tensor, value: Tensor | None, layout: TableLayout
) -> Tensor:
    """Table row of each cell; in numeric fields, plus value times slope."""
    rows = F.embedding(index, table)  # (batch, n_fields, width)
    if value is not None:
        slopes = table.index_select(0, layout.slope_rows)
        rows.index_add_(1, layout.numeric_fields, value.unsqueeze(-1) * slopes)
    return rows


def _many_cells(table: Tensor, index: Tensor, n_first: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `_cells`, for many cells of a table of few rows: it and its squares stay in cache."""
    total = F.embedding_bag(index, table, mode="sum")
    own_squares = F.embedding_bag(index, table.square(), mode="sum")[:, n_first:]
    embedding = table[:, n_first:].index_select(0, index.flatten())
    return total, own_squares, embedding.view(*index.shape, table.shape[1] - n_first)


def _sum_by_row(
    of_samples: Tensor, of_cells: Tensor, index: Tensor, n_rows: int
) -> tuple[Tensor, Tensor]:
    """Sum values over the cells of each table row.

    Parameters
    ----------
    of_samples : Tensor of shape (batch, n_columns)
        Values that all cells of a sample share.
    of_cells : Tensor of shape (batch, n_fields, n_columns)
        Values of each cell.
    index : Tensor of shape (batch, n_fields)
    n_rows : int

    Returns
    -------
    of_samples, of_cells : Tensor of shape (n_rows, n_columns)
        Their sums over the cells of each table row.
    """
    if index.numel() < MANY_CELLS or index.device.type != "cpu":
        samples = of_samples.unsqueeze(1).expand(-1, index.shape[1], -1)
        values = torch.cat([samples, of_cells], dim=2).flatten(0, 1)
        sums = values.new_zeros(n_rows, values.shape[1]).index_add_(0, index.flatten(), values)
        return sums[:, : samples.shape[2]], sums[:, samples.shape[2] :]
    # The values of samples are read in place, and never copied to each of their cells.
    n_fields = index.shape[1]
    cells, starts = _cells_by_row(index.flatten(), n_rows)
    samples = cells.div(n_fields, rounding_mode="floor")
    return _sums(of_samples, samples, starts), _sums(of_cells.flatten(0, 1), cells, starts)


def _sum_members_by_row(of_bags: Tensor, bags: Bags, n_rows: int) -> Tensor:
    """Weighted sum, for each table row, of the values of the bags that hold it."""
    bag, weights = bags.bag_of_members(), bags.weights.to(of_bags.dtype)
    if len(bag) < MANY_CELLS or bag.device.type != "cpu":
        values = weights.unsqueeze(1) * of_bags.index_select(0, bag)
        return values.new_zeros(n_rows, values.shape[1]).index_add_(0, bags.members, values)
    cells, starts = _cells_by_row(bags.members, n_rows)
    bag = bag.index_select(0, cells).to(cells.dtype)
    return _sums(of_bags, bag, starts, weights.index_select(0, cells))


def _cells_by_row(rows: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Positions of the cells, sorted by table row, and where the cells of each row begin.

    SciPy's conversion between the formats of sparse matrices sorts them in time linear
    in their number. For many cells torch's index_add_ is several times slower.
    """
    columns = np.arange(len(rows) + 1, dtype=rows.numpy().dtype)
    unread = np.empty(len(rows), dtype=np.int8)  # entries of the matrix, whose values have no use
    by_column = csc_array((unread, rows.numpy(), columns), shape=(n_rows, len(rows)))
    by_row = by_column.tocsr()
    return torch.from_numpy(by_row.indices), torch.from_numpy(by_row.indptr)


def _sums(
    values: Tensor, positions: Tensor, starts: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Sum of the values at the positions of each table row, times weights if there are any."""
    return F.embedding_bag(
        positions,
        values,
        starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )
