"""The terms of a batch and their gradient against slow references, by each of the ways to them."""

import pytest
import torch

from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._model.field_terms import TableLayout, field_terms

MODULE = "sklearn_deepfm._model.field_terms"
N_ROWS, BATCH, N_FIELDS = 9, 11, 4
SIZES = [(2, 3), (1, 0), (0, 3)]  # first-order weights and embedding: FM, LR, DNN


@pytest.fixture(params=["few cells", "many cells"])
def way(request, monkeypatch):
    """Each size of batch has its own code."""
    monkeypatch.setattr(f"{MODULE}.MANY_CELLS", 1 if request.param == "many cells" else 10**9)
    return request.param


def example(seed, with_value, sizes=(2, 3), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(N_ROWS, sum(sizes), generator=generator, dtype=dtype)
    index = torch.randint(0, N_ROWS - 2, (BATCH, N_FIELDS), generator=generator, dtype=torch.int32)
    numeric = [3, 1] if with_value else []
    slope_rows = [N_ROWS - 2, N_ROWS - 1] if with_value else []
    value = torch.randn(BATCH, 2, generator=generator, dtype=dtype) if with_value else None
    fields = torch.tensor(numeric, dtype=torch.int64), torch.tensor(slope_rows, dtype=torch.int64)
    return table, index, value, TableLayout(sizes[0], *fields)


def bags_of(seed, n_bags, dtype=torch.float64):
    """Bags of 0 to 4 members with weights, members more than once among them."""
    if n_bags == 0:
        return None
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 5, (BATCH * n_bags,), generator=generator)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    n_members = int(starts[-1])
    members = torch.randint(0, N_ROWS, (n_members,), generator=generator, dtype=torch.int32)
    return Bags(members, starts, torch.randn(n_members, generator=generator, dtype=dtype))


def reference(table, index, value, bags, layout):
    """Sample by sample, field by field, pair by pair, in plain torch."""
    firsts, squares, embeddings, n_first = [], [], [], layout.n_first
    for b in range(BATCH):
        rows = [table[index[b, f]] for f in range(N_FIELDS)]
        for n, (field, slope) in enumerate(zip(*layout[1:], strict=True)):
            rows[field] = rows[field] + value[b, n] * table[slope]
        n_bags = 0 if bags is None else (len(bags.starts) - 1) // BATCH
        for bag in range(b * n_bags, (b + 1) * n_bags):
            inside = range(bags.starts[bag], bags.starts[bag + 1])
            nothing = torch.zeros(table.shape[1], dtype=table.dtype)
            rows.append(sum((bags.weights[m] * table[bags.members[m]] for m in inside), nothing))
        firsts.append(sum(row[:n_first] for row in rows))
        v = [row[n_first:] for row in rows]
        pairs = [v[f] * v[g] for f in range(len(v)) for g in range(f)]
        squares.append(2 * sum(pairs))
        embeddings.append(torch.stack(v))
    return torch.stack(firsts), torch.stack(squares), torch.stack(embeddings)


@pytest.mark.parametrize("n_bags", [0, 1, 2])
@pytest.mark.parametrize("with_value", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_terms_and_gradient_equal_the_reference(seed, sizes, with_value, n_bags, way):
    table, index, value, layout = example(seed, with_value, sizes)
    bags = bags_of(seed, n_bags)
    generator = torch.Generator().manual_seed(seed)
    gradients = []
    for function in (field_terms, reference):
        leaf = table.clone().requires_grad_()
        terms = function(leaf, index, value, bags, layout)
        weights = [
            torch.randn(t.shape, generator=generator.manual_seed(7), dtype=t.dtype) for t in terms
        ]
        sum((term * weight).sum() for term, weight in zip(terms, weights, strict=True)).backward()
        gradients.append(leaf.grad)
        with torch.no_grad():
            plain_terms = field_terms(table, index, value, bags, layout)
            for term, plain in zip(terms, plain_terms, strict=True):
                torch.testing.assert_close(term, plain)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("n_bags", [0, 2])
@pytest.mark.parametrize("with_value", [False, True])
def test_gradient_equals_finite_differences(with_value, n_bags, way):
    table, index, value, layout = example(0, with_value)
    bags = bags_of(0, n_bags)
    assert torch.autograd.gradcheck(
        lambda leaf: field_terms(leaf, index, value, bags, layout), table.requires_grad_()
    )


def test_fields_may_all_be_multi_valued(way):
    table, index, _, layout = example(0, False)
    bags, index = bags_of(0, 2), index[:, :0]
    leaf = table.clone().requires_grad_()
    terms = field_terms(leaf, index, None, bags, layout)
    sum(term.sum() for term in terms).backward()
    with_index = torch.full((BATCH, N_FIELDS), N_ROWS, dtype=torch.int32)  # a row of zeros
    padded = torch.cat([table, torch.zeros(1, 5, dtype=table.dtype)]).requires_grad_()
    expected = reference(padded, with_index, None, bags, layout)
    sum(term[:, -2:].sum() if term.ndim == 3 else term.sum() for term in expected).backward()
    torch.testing.assert_close(leaf.grad, padded.grad[:-1])


def test_gradient_of_many_cells_is_bit_equal_whatever_the_order_of_threads():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(500, 17, generator=generator).requires_grad_()
    index = torch.randint(0, 500, (2048, 16), generator=generator, dtype=torch.int32)
    none = torch.empty(0, dtype=torch.int64)
    members = torch.randint(0, 500, (2048 * 20,), generator=generator, dtype=torch.int32)
    bags = Bags(members, torch.arange(0, len(members) + 1, 20), torch.rand(len(members)))
    gradients = []
    for _ in range(3):
        table.grad = None
        terms = field_terms(table, index, None, bags, TableLayout(1, none, none))
        sum(term.square().sum() for term in terms).backward()
        gradients.append(table.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_gradient_reaches_values_and_runs_under_autocast():
    table, index, value, layout = example(0, True)
    expected = torch.autograd.grad(
        reference(table, index, value.requires_grad_(), None, layout)[1].sum(), value
    )
    result = torch.autograd.grad(field_terms(table, index, value, None, layout)[1].sum(), value)
    torch.testing.assert_close(result, expected)

    table, index, value, layout = example(0, True, dtype=torch.float32)
    gradients = []
    for enabled in (False, True):
        leaf = table.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            sum(term.sum() for term in field_terms(leaf, index, value, None, layout)).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_table_of_many_rows_is_not_squared_whole(monkeypatch):
    table, index, value, layout = example(0, False)
    monkeypatch.setattr(f"{MODULE}.FieldTerms", None)  # its cost is that of the table
    large = torch.cat([table] * 50).requires_grad_()
    sum(term.sum() for term in field_terms(large, index, value, None, layout)).backward()
    leaf = table.clone().requires_grad_()
    sum(term.sum() for term in reference(leaf, index, value, None, layout)).backward()
    torch.testing.assert_close(large.grad[: len(table)], leaf.grad)
