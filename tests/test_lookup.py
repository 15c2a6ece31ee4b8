"""The terms of a batch and their gradient against slow references, by each of the ways to them."""

import pickle

import numpy as np
import pytest
import torch

from sklearn_deepfm import _lookup
from sklearn_deepfm._lookup import DistinctRows, Layout, field_terms

N_ROWS, BATCH, N_FIELDS = 9, 11, 4
SIZES = [(2, 3), (1, 0), (0, 3)]  # first-order weights and embedding: FM, LR, DNN


@pytest.fixture(params=["few cells", "many cells"])
def way(request, monkeypatch):
    """Each size of batch has its own code."""
    monkeypatch.setattr(_lookup, "MANY_CELLS", 0 if request.param == "many cells" else 10**9)
    return request.param


def example(seed, with_value, sizes=(2, 3), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(N_ROWS, sum(sizes), generator=generator, dtype=dtype)
    index = torch.randint(0, N_ROWS - 2, (BATCH, N_FIELDS), generator=generator, dtype=torch.int32)
    numeric = [3, 1] if with_value else []
    slope_rows = [N_ROWS - 2, N_ROWS - 1] if with_value else []
    value = torch.randn(BATCH, 2, generator=generator, dtype=dtype) if with_value else None
    fields = torch.tensor(numeric, dtype=torch.int64), torch.tensor(slope_rows, dtype=torch.int64)
    return table, index, value, Layout(sizes[0], *fields)


def reference(table, index, value, layout):
    """Sample by sample, field by field, pair by pair, in plain torch."""
    firsts, squares, embeddings, n_first = [], [], [], layout.n_first
    for b in range(BATCH):
        rows = [table[index[b, f]] for f in range(N_FIELDS)]
        for n, (field, slope) in enumerate(zip(*layout[1:], strict=True)):
            rows[field] = rows[field] + value[b, n] * table[slope]
        firsts.append(sum(row[:n_first] for row in rows))
        v = [row[n_first:] for row in rows]
        pairs = [v[f] * v[g] for f in range(N_FIELDS) for g in range(f)]
        squares.append(2 * sum(pairs))
        embeddings.append(torch.stack(v))
    return torch.stack(firsts), torch.stack(squares), torch.stack(embeddings)


@pytest.mark.parametrize("with_value", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_terms_and_gradient_equal_the_reference(seed, sizes, with_value, way):
    table, index, value, layout = example(seed, with_value, sizes)
    generator = torch.Generator().manual_seed(seed)
    gradients = []
    for function in (field_terms, reference):
        leaf = table.clone().requires_grad_()
        terms = function(leaf, index, value, layout)
        weights = [
            torch.randn(t.shape, generator=generator.manual_seed(7), dtype=t.dtype) for t in terms
        ]
        sum((term * weight).sum() for term, weight in zip(terms, weights, strict=True)).backward()
        gradients.append(leaf.grad)
        with torch.no_grad():
            for term, plain in zip(terms, field_terms(table, index, value, layout), strict=True):
                torch.testing.assert_close(term, plain)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("with_value", [False, True])
def test_gradient_equals_finite_differences(with_value, way):
    table, index, value, layout = example(0, with_value)
    assert torch.autograd.gradcheck(
        lambda leaf: field_terms(leaf, index, value, layout), table.requires_grad_()
    )


def test_gradient_of_many_cells_is_bit_equal_whatever_the_order_of_threads():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(500, 17, generator=generator).requires_grad_()
    index = torch.randint(0, 500, (2048, 16), generator=generator, dtype=torch.int32)
    none = torch.empty(0, dtype=torch.int64)
    gradients = []
    for _ in range(3):
        table.grad = None
        terms = field_terms(table, index, None, Layout(1, none, none))
        sum(term.square().sum() for term in terms).backward()
        gradients.append(table.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("seed", range(3))
def test_each_cell_finds_the_row_it_wants(place, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    table = torch.tensor(rng.normal(size=(50, 3))).float()
    finder = DistinctRows()
    if place == "device":  # the code of a GPU, which runs anywhere
        monkeypatch.setattr(finder, "_on_host", finder._on_device)
    for n_cells in (40, 200, 1):  # the scratch array holds what the last batch left there
        wanted = torch.from_numpy(rng.integers(0, 50, n_cells))
        touched, slot = finder.touch(table, wanted)
        torch.testing.assert_close(touched.rows[slot.long()], table[wanted])
        assert (touched.positions[slot.long()] == wanted).all()
        assert touched.rows.requires_grad
        used = touched.positions[slot.long().unique()]
        assert len(used.unique()) == len(used)  # cells of one row share a slot
        if place == "host":
            assert touched.positions.tolist() == sorted(set(wanted.tolist()))


def test_slots_of_one_position_name_the_same_source():
    wanted = torch.tensor([4, 2, 4, 4, 2, 7])
    positions, slot, source = DistinctRows()._on_device(10, wanted)
    assert torch.equal(positions, wanted)
    assert torch.equal(slot, source)
    assert len(set(source[wanted == 4].tolist())) == 1
    assert (positions[source] == positions).all()


def test_gradient_reaches_values_and_runs_under_autocast():
    table, index, value, layout = example(0, True)
    expected = torch.autograd.grad(
        reference(table, index, value.requires_grad_(), layout)[1].sum(), value
    )
    result = torch.autograd.grad(field_terms(table, index, value, layout)[1].sum(), value)
    torch.testing.assert_close(result, expected)

    table, index, value, layout = example(0, True, dtype=torch.float32)
    gradients = []
    for enabled in (False, True):
        leaf = table.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            sum(term.sum() for term in field_terms(leaf, index, value, layout)).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_table_of_many_rows_is_not_squared_whole(monkeypatch):
    table, index, value, layout = example(0, False)
    monkeypatch.setattr(_lookup, "FieldTerms", None)  # its cost is that of the table
    large = torch.cat([table] * 50).requires_grad_()
    sum(term.sum() for term in field_terms(large, index, value, layout)).backward()
    leaf = table.clone().requires_grad_()
    sum(term.sum() for term in reference(leaf, index, value, layout)).backward()
    torch.testing.assert_close(large.grad[: len(table)], leaf.grad)


def test_scratch_is_not_copied():
    finder = DistinctRows()
    finder.touch(torch.zeros(100_000, 1), torch.tensor([3, 5]))
    assert len(pickle.dumps(finder)) < 1000
