"""The network against the paper's formula, term by term and pair by pair."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_deepfm import DeepFM

DIMS = (4, 3, 5)  # rows of each field
N_FEATURES = sum(DIMS)


def make(seed=0, **params):
    """A module whose parameters are all of a size that shows in the sum."""
    module = DeepFM(len(DIMS), N_FEATURES, **{"embed_dim": 3, "mlp_dims": (6, 5), **params})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.7, generator=generator)
    return module.eval()


def indices(seed=0, n_rows=7):
    generator = torch.Generator().manual_seed(seed)
    starts = np.cumsum(DIMS) - DIMS
    columns = [
        start + torch.randint(dim, (n_rows,), generator=generator)
        for start, dim in zip(starts, DIMS, strict=True)
    ]
    return torch.stack(columns, 1)


def logit_by_hand(module, row, k, values=None, slopes=None):
    """Logit k of one row, written as in the paper: loops over fields and pairs."""
    table = module.table.detach().double()
    n_first = module.n_outputs if "linear" in module.components else 0
    cells = [table[i] for i in row]
    for j, (field, slope) in enumerate((slopes or {}).items()):
        cells[field] = cells[field] + values[j].double() * table[slope]
    total = module.bias[k].double()
    if "linear" in module.components:
        total = total + sum(cell[k] for cell in cells)
    vectors = [cell[n_first:] for cell in cells]
    if "fm" in module.components:
        scale = torch.ones(len(vectors[0])) if module.n_outputs == 1 else module.fm_scale[k]
        for v_i, v_j in itertools.combinations(vectors, 2):
            total = total + (scale * v_i * v_j).sum()
    if "deep" in module.components:
        hidden = torch.cat(vectors).unsqueeze(0)
        total = total + copy.deepcopy(module.mlps[0]).double().eval()(hidden)[0, k]
    return float(total.detach())


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(
    "components",
    [
        ("linear",),
        ("fm",),
        ("deep",),
        ("linear", "fm"),
        ("linear", "deep"),
        ("deep", "fm", "linear"),
    ],
)
def test_forward_is_the_sum_over_fields_and_pairs(components, n_outputs):
    module, index = make(components=components, n_outputs=n_outputs), indices()
    logits = module(index)
    assert logits.shape == (len(index), n_outputs)
    expected = [[logit_by_hand(module, row, k) for k in range(n_outputs)] for row in index]
    np.testing.assert_allclose(logits.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_numeric_field_is_affine_and_takes_part_in_every_term(n_outputs):
    slopes = {0: 1, 2: 8}
    module, index = make(n_outputs=n_outputs, slopes=slopes), indices()
    values = torch.randn(len(index), 2)
    expected = [
        [logit_by_hand(module, row, k, value, slopes) for k in range(n_outputs)]
        for row, value in zip(index, values, strict=True)
    ]
    np.testing.assert_allclose(module(index, values).detach(), expected, rtol=1e-4, atol=1e-5)


def test_outputs_have_their_own_first_and_second_order():
    module, index = make(components=("linear", "fm"), n_outputs=2), indices()
    with torch.no_grad():
        before = module(index)
        module.table[:, 0] += 1  # first order of output 0
        module.fm_scale[0] *= 2
        after = module(index)
    assert (before[:, 0] != after[:, 0]).all()
    assert torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_gradients_equal_finite_differences(n_outputs):
    slopes = {1: 5}
    module = make(n_outputs=n_outputs, slopes=slopes).double()
    index, values = indices(n_rows=4), torch.randn(4, 1, dtype=torch.float64)
    names, parameters = zip(*module.named_parameters(), strict=True)

    def logits(*changed):
        named = dict(zip(names, changed, strict=True))
        return torch.func.functional_call(module, named, (index, values))

    # Central differences; parameters are drawn at random, away from the kinks of ReLU.
    assert torch.autograd.gradcheck(logits, parameters, eps=1e-6, atol=1e-5)


def test_bias_shifts_every_logit_and_has_one_entry_per_output():
    # The seed's bias of shape (1, 0) added nothing and broadcast the output away.
    module, index = make(n_outputs=2), indices()
    before = module(index).detach()
    with torch.no_grad():
        module.bias += torch.tensor([1.0, -2.0])
    shift = module(index).detach() - before
    torch.testing.assert_close(shift, torch.tensor([1.0, -2.0]).expand(len(index), 2))


@pytest.mark.parametrize("mlp_dims", [(), (4,), (7, 2), (5, 5, 5)])
def test_last_layer_takes_the_width_before_it(mlp_dims):
    # The seed's last Linear took the width of the MLP's input.
    module = make(mlp_dims=mlp_dims)
    linears = [layer for layer in module.mlps[0] if isinstance(layer, nn.Linear)]
    widths = [len(DIMS) * 3, *mlp_dims, 1]
    assert [(x.in_features, x.out_features) for x in linears] == list(itertools.pairwise(widths))
    assert module(indices()).shape == (7, 1)


def test_default_of_mlp_dims_cannot_be_changed_by_a_caller():
    # The seed's default was a list that all modules shared.
    given = [8, 4]
    module = DeepFM(2, 6, mlp_dims=given)
    given.append(2)
    assert len([x for x in module.mlps[0] if isinstance(x, nn.Linear)]) == 3
    assert isinstance(DeepFM.__init__.__defaults__[1], tuple)


def test_forward_gives_logits_of_both_signs_beyond_the_range_of_a_sigmoid():
    logits = torch.cat([make(seed)(indices(seed)) for seed in range(5)])
    assert logits.min() < -1
    assert logits.max() > 2


def test_deep_logit_takes_both_signs():
    logits = torch.cat([make(seed, components=("deep",))(indices(seed)) for seed in range(5)])
    assert logits.min() < -0.5
    assert logits.max() > 0.5


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_predict_gives_probabilities_of_the_logits(n_outputs):
    module, index = make(n_outputs=n_outputs), indices()
    logits, proba = module(index).detach(), module.predict(index)
    if n_outputs == 1:
        torch.testing.assert_close(proba, 1 / (1 + torch.exp(-logits)))
    else:
        torch.testing.assert_close(proba, logits.exp() / logits.exp().sum(1, keepdim=True))
    assert not proba.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_predict_uses_eval_mode_and_restores_the_mode(training):
    # The seed's predict left the module in eval mode for ever.
    module, index = make(dropout=0.5).train(training), indices()
    first, second = module.predict(index), module.predict(index)
    assert torch.equal(first, second)
    assert module.training is training
    assert all(layer.training is training for layer in module.modules())


def test_predict_restores_the_mode_after_an_error():
    module = make().train()
    with pytest.raises(IndexError):
        module.predict(torch.full((1, 3), N_FEATURES))
    assert module.training


def test_blocks_are_linear_norm_relu_dropout():
    names = [type(layer).__name__ for layer in make(batch_norm=True).mlps[0]]
    block = ["Linear", "BatchNorm", "ReLU", "Dropout"]
    assert names == [*block, *block, "Linear"]
    assert "BatchNorm" not in [type(layer).__name__ for layer in make(batch_norm=False).mlps[0]]


@pytest.mark.parametrize("n_features", [10, 100_000])
def test_embeddings_start_small_whatever_the_vocabulary(n_features):
    module = DeepFM(2, n_features, embed_dim=8, seed=0)
    first, embedding = module.table[:, :1], module.table[:, 1:]
    assert (first == 0).all()
    assert 0 < embedding.std() <= 1.3e-2
    assert (module.bias == 0).all()


@pytest.mark.parametrize("mode", ["eval", "sparse"])
def test_one_gather_serves_first_order_fm_and_mlp(mode, monkeypatch):
    module = make(sparse=mode == "sparse").train(mode == "sparse")
    gathered = []
    for owner, name in ((torch.Tensor, "index_select"), (torch, "embedding")):
        function = getattr(owner, name)

        def recorded(table, *args, function=function, **kwargs):
            gathered.append(table.data_ptr() == module.table.data_ptr())
            return function(table, *args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)
    with torch.set_grad_enabled(mode == "sparse"):
        module(indices())
    assert sum(gathered) == 1


def test_softmax_gradient_reaches_the_embeddings_from_the_start():
    # Equal scales for all outputs would cancel in the gradient of a softmax.
    module = DeepFM(3, N_FEATURES, embed_dim=4, n_outputs=3, components=("fm",), seed=0)
    loss = nn.functional.cross_entropy(module(indices()), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    loss.backward()
    assert module.table.grad.abs().max() > 1e-6


@pytest.mark.parametrize("n", [40_003, 200_003])  # no multiple of 4: units come four to a word
@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 0.9])
def test_dropout_has_the_distribution_of_torch_dropout(probability, n):
    module = DeepFM(1, 2, mlp_dims=(4,), dropout=probability, seed=3).train()
    dropout = next(layer for layer in module.mlps[0] if type(layer).__name__ == "Dropout")
    out = torch.stack([dropout(torch.ones(n)) for _ in range(2)])
    kept = out != 0
    deviation = (probability * (1 - probability) / n) ** 0.5
    assert abs(kept.float().mean() - (1 - probability)) <= 4 * deviation
    np.testing.assert_allclose(out[kept].unique(), 1 / (1 - probability), rtol=1e-4)
    # Independent between neighbours, between the units of a word, and between calls.
    both = kept.float() - (1 - probability)
    for pairs in (both[0, :-1] * both[0, 1:], both[0, :-4] * both[0, 4:], both[0] * both[1]):
        assert abs(pairs.mean()) <= 5 * probability * (1 - probability) / n**0.5


def test_dropout_is_off_in_eval_mode():
    module = make(dropout=0.9).eval()
    assert torch.equal(module(indices()), module(indices()))


def test_seed_fixes_initialisation_and_dropout_and_leaves_torch_alone():
    state = torch.get_rng_state()
    first, second, other = (DeepFM(3, N_FEATURES, dropout=0.5, seed=s).train() for s in (1, 1, 2))
    assert torch.equal(first.table, second.table)
    assert not torch.equal(first.table, other.table)
    assert torch.equal(first(indices()), second(indices()))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_seed_torch_generator_rules():
    torch.manual_seed(5)
    first = DeepFM(3, N_FEATURES)
    torch.manual_seed(5)
    assert torch.equal(first.table, DeepFM(3, N_FEATURES).table)


def test_batch_of_one_row_can_be_trained():
    module = make(batch_norm=True).train()
    module(indices(n_rows=1)).sum().backward()
    assert torch.isfinite(module.table.grad).all()


def test_int32_and_int64_indices_are_alike():
    module = make()
    assert torch.equal(module(indices().int()), module(indices().long()))


def test_pickle_and_copy_predict_the_same():
    module = make(seed=1)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert torch.equal(twin.predict(indices()), module.predict(indices()))


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_sparse_step_has_the_gradient_of_the_dense_one(n_outputs):
    slopes = {0: 1}
    dense = make(slopes=slopes, n_outputs=n_outputs, dropout=0.0).train()
    sparse = copy.deepcopy(dense)
    sparse.sparse = True
    index, value = indices(), torch.randn(7, 1)
    (positions, rows, _), lookup = sparse.touch(index)
    logits = sparse.logits_of(lookup, value)[:, 0]
    torch.testing.assert_close(logits, dense(index, value))
    logits.square().sum().backward()
    dense(index, value).square().sum().backward()
    assert positions.tolist() == sorted({*index.flatten().tolist(), 1})
    assert sparse.table.grad is None
    torch.testing.assert_close(rows.grad, dense.table.grad[positions])
    untouched = sorted(set(range(N_FEATURES)) - set(positions.tolist()))
    assert (dense.table.grad[untouched] == 0).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_fields": 0}, "n_fields must be an int of at least 1, got 0"),
        ({"n_features": 2.5}, "n_features must be an int of at least 1, got 2.5"),
        ({"embed_dim": True}, "embed_dim must be an int of at least 1, got True"),
        ({"n_outputs": -1}, "n_outputs must be an int of at least 1, got -1"),
        ({"mlp_dims": (8, 0)}, r"mlp_dims\[1\] must be an int of at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be a probability in \[0, 1\), got 1.0"),
        ({"components": ()}, "components must be distinct names .*got \\(\\)"),
        ({"components": ("fm", "fm")}, "components must be distinct names"),
        ({"components": "deep"}, "components must be distinct names"),
        ({"components": ("wide",)}, "components must be distinct names"),
    ],
)
def test_bad_argument_is_named(params, message):
    with pytest.raises(ValueError, match=message):
        DeepFM(**{"n_fields": 2, "n_features": 6, **params})


@pytest.mark.parametrize("n_members", [1, 2])
def test_empty_batch_has_no_logits(n_members):
    module = DeepFM(2, 5, 4, [3], n_members=n_members).eval()
    assert module(torch.empty(0, 2, dtype=torch.int64)).shape == (0, 1)


def test_parameters_are_of_the_type_and_on_the_device_asked_for():
    named = DeepFM(3, 9, device="meta", dtype=torch.float64, slopes={0: 1})
    with torch.device("meta"):
        by_default = DeepFM(3, 9, dtype=torch.float64, slopes={0: 1})
    for module in (named, by_default):
        assert {p.dtype for p in module.parameters()} == {torch.float64}
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"meta"}
