"""The registry of components, and the two others that go by its names."""

import pytest

from sklearn_deepfm import DeepFM
from sklearn_deepfm._inspection.component_terms import COMPONENT_TERMS
from sklearn_deepfm._model.components import COMPONENTS, Component, Sizes


def test_every_component_splits_into_contributions_and_has_nodes():
    network = pytest.importorskip("sklearn_deepfm._onnx.network")
    assert set(COMPONENTS) == set(COMPONENT_TERMS) == set(network.COMPONENT_NODES)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("n_members", [1, 2])
def test_matrices_are_those_of_the_module(n_outputs, n_members):
    sizes = Sizes(4, n_outputs, n_members, embed_dim=5, mlp_dims=(7, 6))
    module = DeepFM(
        4, 9, 5, sizes.mlp_dims, components=[*COMPONENTS], n_outputs=n_outputs, n_members=n_members
    )
    found = [
        tuple(p.shape) for name, p in module.named_parameters() if p.ndim == 2 and name != "table"
    ]
    expected = [shape for one in COMPONENTS.values() for shape in one.matrices(sizes)]
    assert sorted(found) == sorted(expected)


def test_component_of_a_stranger_has_to_give_logits():
    with pytest.raises(NotImplementedError, match=r"Component\.logits"):
        Component().logits(None, None)
