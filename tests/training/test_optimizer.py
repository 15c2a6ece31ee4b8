"""RowSparseAdam against a slow reference that updates rows one by one."""

import copy

import numpy as np
import pytest
import torch

from sklearn_deepfm._model import touched_rows
from sklearn_deepfm._model.touched_rows import TouchedRows
from sklearn_deepfm._training.optimizer import RowSparseAdam, resize_rows
from sklearn_deepfm._training.table_rules import TABLE_RULES

N_ROWS, WIDTH = 6, 3
LR, L2, BETA1, BETA2, EPS = 0.05, 0.3, 0.9, 0.999, 1e-8


class Table:
    """A table whose loss in step t touches given rows with given gradients."""

    def __init__(self, seed=0, l2=L2, rule="adam", **options):
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.nn.Parameter(torch.randn(N_ROWS, WIDTH, generator=generator))
        group = {"params": [self.table], "weight_decay": l2, "rows": rule, **options}
        self.optimizer = RowSparseAdam([group], lr=LR)

    def step(self, positions, grad, source=None):
        rows = self.table.detach()[positions].requires_grad_()
        rows.grad = grad
        self.optimizer.step(touched=TouchedRows(torch.as_tensor(positions), rows, source))


def steps(seed, n_steps=12):
    """Rows and gradients of some steps; row 5 is never touched."""
    rng = np.random.default_rng(seed)
    for _ in range(n_steps):
        positions = np.sort(rng.choice(N_ROWS - 1, size=rng.integers(1, 4), replace=False))
        yield positions.tolist(), torch.tensor(rng.normal(size=(len(positions), WIDTH))).float()


def adam(table, l2, schedule):
    """The rule of the docstring, row by row and step by step, in float64."""
    w = table.detach().double().numpy().copy()
    m, v = np.zeros((2, N_ROWS, WIDTH))
    last = np.zeros(N_ROWS)

    def move(i, t, mean, square):
        w[i] -= LR * mean / (1 - BETA1**t) / (np.sqrt(square / (1 - BETA2**t)) + EPS)

    for t, (positions, grad) in enumerate(schedule, start=1):
        for i, g in zip(positions, grad.double().numpy(), strict=True):
            gap = int(t - last[i])
            last[i] = t
            g = g + l2 * gap * w[i]
            for k in range(1, gap):
                move(i, max(t - 1, 1), BETA1**k * m[i], v[i])
            m[i] = BETA1**gap * m[i] + (1 - BETA1) * g
            v[i] = BETA2**gap * v[i] + (1 - BETA2) * g**2
            move(i, t, m[i], v[i])
    return w


def adagrad(table, l2, schedule):
    w, total, last = table.detach().double().numpy().copy(), np.zeros(N_ROWS), np.zeros(N_ROWS)
    for t, (positions, grad) in enumerate(schedule, start=1):
        for i, g in zip(positions, grad.double().numpy(), strict=True):
            gap = t - last[i]
            last[i] = t
            total[i] += (g**2 + gap * (l2 * w[i]) ** 2).mean()
            w[i] -= 50 * LR * (g + gap * l2 * w[i]) / (np.sqrt(total[i]) + EPS)
    return w


@pytest.mark.parametrize("rule", [adam, adagrad])
@pytest.mark.parametrize("seed", range(3))
def test_first_columns_have_a_penalty_of_their_own(seed, rule):
    model = Table(seed, L2, rule.__name__, n_first=2, first_decay=0.05)
    expected = rule(model.table, np.array([0.05, 0.05, L2]), steps(seed))
    for positions, grad in steps(seed):
        model.step(positions, grad)
    np.testing.assert_allclose(model.table.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, L2])
def test_first_columns_have_a_penalty_of_their_own_in_dense_steps(weight_decay):
    model = Table(0, weight_decay, None, n_first=2, first_decay=0.05)
    twin = copy.deepcopy(model.table)
    adam = torch.optim.Adam([twin], lr=LR)
    penalty = torch.tensor([0.05, 0.05, weight_decay])
    for seed in range(4):
        grad = torch.randn(N_ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))
        model.table.grad, twin.grad = grad.clone(), grad + penalty * twin.detach()
        model.optimizer.step()
        adam.step()
    np.testing.assert_allclose(model.table.detach(), twin.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [adam, adagrad])
@pytest.mark.parametrize("l2", [0.0, L2])
@pytest.mark.parametrize("seed", range(5))
def test_update_equals_the_reference_row_by_row(seed, l2, rule):
    model = Table(seed, l2, rule.__name__)
    expected = rule(model.table, l2, steps(seed))
    for positions, grad in steps(seed):
        model.step(positions, grad)
    np.testing.assert_allclose(model.table.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ["adam", "adagrad"])
def test_slots_that_share_a_position_count_once(rule):
    # On a GPU each cell has a slot; the gradient is gathered in the one that others name.
    once, slots = Table(rule=rule), Table(rule=rule)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        grad = torch.randn(2, WIDTH, generator=generator)
        once.step([1, 3], grad)
        empty = torch.zeros(1, WIDTH)
        slot_grad = torch.cat([empty, grad[:1], grad[1:], empty])
        slots.step([1, 1, 3, 3], slot_grad, torch.tensor([1, 1, 2, 2]))
    torch.testing.assert_close(slots.table, once.table, rtol=0, atol=0)


def test_row_with_momentum_follows_dense_adam_through_the_steps_it_misses():
    """Without L2 only what the second moment does meanwhile and the late look differ."""
    model = Table(l2=0.0)
    dense = torch.nn.Parameter(model.table.detach().clone())
    adam = torch.optim.Adam([dense], lr=LR)
    start, one = dense.detach().clone(), torch.ones(1, WIDTH)
    for t in range(40):
        touched = t % 20 == 0
        dense.grad = torch.zeros_like(dense)
        if touched:
            dense.grad[0] = one[0]
        model.step([0] if touched else [1], one if touched else 0 * one)
        adam.step()
    model.step([0], 0 * one)
    dense.grad = torch.zeros_like(dense)
    adam.step()
    moved, expected = model.table[0] - start[0], dense[0] - start[0]
    torch.testing.assert_close(moved, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_equals_dense_adam_where_every_row_is_touched_in_every_step(seed):
    model = Table(seed)
    dense = torch.nn.Parameter(model.table.detach().clone())
    adam = torch.optim.Adam([dense], lr=LR, weight_decay=L2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        grad = torch.randn(N_ROWS, WIDTH, generator=generator)
        model.step(list(range(N_ROWS)), grad.clone())
        dense.grad = grad
        adam.step()
    torch.testing.assert_close(model.table, dense)


def test_untouched_row_waits():
    model = Table()
    before = model.table.detach().clone()
    for positions, grad in steps(0):
        model.step(positions, grad)
    assert torch.equal(model.table[5], before[5])
    assert not torch.equal(model.table[0], before[0])


def test_other_parameters_take_the_step_of_adam():
    weight = torch.nn.Parameter(torch.ones(4))
    twin = torch.nn.Parameter(torch.ones(4))
    ours = RowSparseAdam([{"params": [weight]}], lr=LR)
    adam = torch.optim.Adam([twin], lr=LR)
    for scale in (1.0, -0.5, 2.0):
        weight.grad, twin.grad = torch.arange(4.0) * scale, torch.arange(4.0) * scale
        ours.step()
        adam.step()
    torch.testing.assert_close(weight, twin, rtol=0, atol=0)


def test_closure_is_evaluated_before_the_step():
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = RowSparseAdam([{"params": [weight]}], lr=LR)

    def closure():
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4
    assert (weight < 1).all()


def test_state_dict_round_trip_goes_on_bit_by_bit():
    model, twin = Table(), Table()
    schedule = list(steps(1))
    for positions, grad in schedule[:6]:
        model.step(positions, grad.clone())
    twin.table.data.copy_(model.table.data)
    twin.optimizer.load_state_dict(copy.deepcopy(model.optimizer.state_dict()))
    for positions, grad in schedule[6:]:
        model.step(positions, grad.clone())
        twin.step(positions, grad.clone())
    assert torch.equal(model.table, twin.table)
    assert twin.optimizer.state[twin.table]["last_step"].dtype == torch.int32


def test_grown_table_keeps_the_state_of_its_rows_and_starts_new_ones_afresh():
    model = Table()
    for positions, grad in steps(2):
        model.step(positions, grad)
    old, state = model.table, model.optimizer.state[model.table]
    source = torch.tensor([0, 1, 0, 2, 3, 4, 5, 0])
    is_new = torch.tensor([False, False, True, False, False, False, False, True])
    new = torch.nn.Parameter(old.detach()[source])
    expected = {name: state[name].clone() for name in ("exp_avg", "exp_avg_sq", "last_step")}
    model.optimizer.param_groups[0]["params"] = [new]
    resize_rows(model.optimizer, old, new, source, is_new)
    grown = model.optimizer.state[new]
    for name, tensor in expected.items():
        assert torch.equal(grown[name][~is_new], tensor)
    assert (grown["exp_avg"][is_new] == 0).all()
    assert (grown["last_step"][is_new] == 12).all()
    assert old not in model.optimizer.state


class Signs:
    """A rule of a stranger: steps of fixed length, which are counted."""

    needs_sparse, numbers_per_weight, keeps = True, 0, "a number per code"
    signed = frozenset({"balance"})

    def state_widths(self, width, n_members):
        return {"balance": n_members}

    def numbers(self, step, group):
        return [group["lr"]]

    def update(self, of, *state):
        state[0].sub_(of.grad.sign().sum(1, keepdim=True))
        return of.rows - of.numbers[0] * of.grad.sign()


def test_rule_of_a_stranger_needs_no_more_than_its_entry(monkeypatch):
    monkeypatch.setitem(TABLE_RULES, "signs", Signs())
    table = Table(rule="signs")
    before = table.table.detach().clone()
    table.step([1, 4], torch.tensor([[1.0, -2.0, 0.0], [3.0, 3.0, 3.0]]))
    expected = before.clone()
    expected[1] += LR * torch.tensor([-1.0, 1.0, 0.0])
    expected[4] -= LR
    torch.testing.assert_close(table.table.detach(), expected)
    state = table.optimizer.state_dict()
    assert state["state"][0]["balance"].flatten().tolist() == [0, 0, 0, 0, -3, 0]
    other = Table(rule="signs")
    other.optimizer.load_state_dict(state)  # negative numbers are possible for this rule
    assert "balance" in other.optimizer.state[other.table]


def test_learning_rate_on_a_device_has_the_type_that_the_fused_step_reads(monkeypatch):
    given = []
    monkeypatch.setattr(torch, "_fused_adam_", lambda *args, lr, **kwargs: given.append(lr))
    weight = torch.nn.Parameter(torch.ones(2, device="meta"))
    weight.grad = torch.ones(2, device="meta")
    rate = torch.tensor(0.1, dtype=torch.float64, device="meta")
    RowSparseAdam([{"params": [weight]}]).step(numbers=[[rate]])
    assert [lr.dtype for lr in given] == [torch.float32]


@pytest.mark.parametrize("rule", [*TABLE_RULES])
def test_rows_updated_in_parts_get_the_values_of_all_at_once(rule, monkeypatch):
    at_once, in_parts = Table(rule=rule), Table(rule=rule)
    rng = np.random.default_rng(0)
    for _ in range(6):
        grad = torch.from_numpy(rng.normal(size=(5, WIDTH))).float()
        at_once.step(range(5), grad.clone())
        with monkeypatch.context() as patch:
            patch.setattr(touched_rows, "IN_CACHE", 2 * WIDTH)  # parts of 2, 2 and 1 rows
            in_parts.step(range(5), grad.clone())
    assert torch.equal(at_once.table, in_parts.table)
    states = [table.optimizer.state[table.table] for table in (at_once, in_parts)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gradients_are_dropped_or_set_to_zero():
    table = Table(rule=None)
    gradient = table.table.grad = torch.ones(N_ROWS, WIDTH)
    table.optimizer.zero_grad(set_to_none=False)
    assert torch.equal(table.table.grad, torch.zeros_like(gradient))
    table.optimizer.zero_grad()
    assert table.table.grad is None
