"""The components of a DeepFM by their names: the terms whose sum are its logits."""

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sklearn_deepfm._model.layers import Randomness, mlp

# Of the weights that give the deep logits. BatchNorm brings small embeddings to full size: with 1,
# the first predictions have the noise of an MLP that knows nothing yet, which costs tables of few
# rows much. With 0, tables of many codes learn later, and not as well.
OUTPUT_SCALE = 0.2


class Sizes(NamedTuple):
    """Sizes of a network, on which those of its parameters depend."""

    n_fields: int
    n_outputs: int
    n_members: int
    embed_dim: int
    mlp_dims: tuple[int, ...]


class Making(NamedTuple):
    """How the parameters of a component are made, and its layers behave in training."""

    dropout: float
    batch_norm: bool
    randomness: Randomness
    device: torch.device
    dtype: torch.dtype


class Network(nn.Module):
    """The part of a DeepFM that components see: sizes, and the parameters that they have added."""

    n_outputs: int
    n_members: int
    table: nn.Parameter
    fm_scale: nn.Parameter
    mlps: nn.ModuleList


class Terms(NamedTuple):
    """What the fields of a batch give, gathered once for all components.

    Attributes
    ----------
    first : Tensor of shape (batch, n_members * n_outputs)
        Sum of the fields' first-order weights w_f.
    squares : Tensor of shape (batch, n_members * embed_dim)
        ``(sum_f v_f)**2 - sum_f v_f**2`` by coordinate.
    embedding : Tensor of shape (batch, n_fields, n_members * embed_dim)
        The embeddings v_f.
    """

    first: Tensor
    squares: Tensor
    embedding: Tensor


class Component:
    """Base of components: a term of the sum of logits, which by default has no parameters.

    To add one, write a class that inherits from this one, with `part` and `logits` at least, and
    enter it into `COMPONENTS` under its name. The name is then one of the parameter `components`;
    how it splits into contributions stands in ``_inspection/component_terms``, and what it becomes
    in an ONNX file in ``_onnx/network``. A component is stateless: its parameters are those of
    the network, which :meth:`add` gives it.

    Attributes
    ----------
    part : {"first", "embedding"}
        The part of a table row that it needs: a first-order weight for each output, or the
        embedding. The row has each part that one of the components needs.
    scales_up : bool, default=False
        Whether it can scale embeddings up again that a penalty has made small.
    """

    part: Literal["first", "embedding"]
    scales_up: bool = False

    def add(self, network: Network, sizes: Sizes, making: Making) -> None:
        """Give the network the parameters of this component, without values; by default none."""

    def matrices(self, sizes: Sizes) -> Iterator[tuple[int, ...]]:
        """Shapes of the parameters of two dimensions that `add` gives."""
        return iter(())

    def reset(self, network: Network, generator: torch.Generator | None) -> None:
        """Draw the initial values of these parameters."""

    def silence(self, network: Network) -> None:
        """Make the logits 0, if they are not small already, so that first order can lead."""

    def logits(self, network: Network, terms: Terms) -> Tensor:
        """Logits of each member, of shape (batch, n_members, n_outputs)."""
        raise NotImplementedError(f"{type(self).__name__}.logits")


class FirstOrder(Component):
    """Sum of the first-order weights of a sample's features."""

    part = "first"

    def logits(self, network: Network, terms: Terms) -> Tensor:
        """Equation 2: <w, x>."""
        return by_member(terms.first, network.n_members)


class SecondOrder(Component):
    """Sum of the products of the embeddings of each two fields."""

    part = "embedding"

    def add(self, network: Network, sizes: Sizes, making: Making) -> None:
        """Add a scale of each coordinate for each output, where there are several."""
        # Paper: has a single output. Each of several weighs the coordinates of the products,
        # where embeddings of its own would multiply the size of a table row.
        for shape in self.matrices(sizes):
            scale = torch.empty(*shape, device=making.device, dtype=making.dtype)
            network.fm_scale = nn.Parameter(scale)

    def matrices(self, sizes: Sizes) -> Iterator[tuple[int, ...]]:
        """The shape of the scales, where there are several outputs."""
        if sizes.n_outputs > 1:
            yield sizes.n_members * sizes.n_outputs, sizes.embed_dim

    def reset(self, network: Network, generator: torch.Generator | None) -> None:
        """Draw the scales."""
        if network.n_outputs > 1:
            # Equal scales would give all logits the same second order. A softmax ignores what
            # logits share, so that embeddings would get no gradient.
            network.fm_scale.normal_(generator=generator)

    def logits(self, network: Network, terms: Terms) -> Tensor:
        """Equation 2: sum_{i<j} <v_i, v_j> x_i x_j, in time linear in the fields."""
        squares = by_member(terms.squares, network.n_members)
        # Equation 2: the sum over pairs is (||sum_i v_i||^2 - sum_i ||v_i||^2) / 2.
        if network.n_outputs == 1:
            return 0.5 * squares.sum(2, keepdim=True)  # (batch, n_members, 1)
        # No matrix product, which autocast would compute in bfloat16.
        scale: Tensor = network.fm_scale.view(network.n_members, network.n_outputs, -1)
        return 0.5 * (squares.unsqueeze(2) * scale).sum(3)


class Deep(Component):
    """An MLP on the embeddings of all fields, one beside the other."""

    part = "embedding"
    scales_up = True

    def add(self, network: Network, sizes: Sizes, making: Making) -> None:
        """Add an MLP for each member."""
        dims = (sizes.n_fields * sizes.embed_dim, *sizes.mlp_dims)
        network.mlps = nn.ModuleList(
            mlp(
                dims,
                sizes.n_outputs,
                making.dropout,
                making.batch_norm,
                making.randomness,
                making.device,
                making.dtype,
            )
            for _ in range(sizes.n_members)
        )

    def matrices(self, sizes: Sizes) -> Iterator[tuple[int, ...]]:
        """The shape (out, in) of each layer of each MLP."""
        dims = [sizes.n_fields * sizes.embed_dim, *sizes.mlp_dims, sizes.n_outputs]
        for _ in range(sizes.n_members):
            yield from ((n_out, n_in) for n_in, n_out in pairwise(dims))

    def reset(self, network: Network, generator: torch.Generator | None) -> None:
        """Draw the weights of the layers, small in the last one."""
        for layer in network.mlps.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.BatchNorm1d):
                layer.reset_parameters()
        for output in self._outputs(network):
            output.weight.mul_(OUTPUT_SCALE)

    def silence(self, network: Network) -> None:
        """Set the weights of the last layers to 0."""
        for output in self._outputs(network):
            output.weight.zero_()

    def logits(self, network: Network, terms: Terms) -> Tensor:
        """Logits of each MLP from its member's embeddings."""
        # Equation 1: y_FM + y_DNN, before the sigmoid.
        # Paper: the text also puts a sigmoid inside y_DNN; the sum is of logits.
        parts = by_member(terms.embedding, network.n_members).unbind(2)
        # Equation 3: a^(0) = [e_1 .. e_m].
        own = zip(network.mlps, parts, strict=True)  # parts of shape (batch, n_fields, embed_dim)
        return torch.stack([mlp(part.flatten(1)) for mlp, part in own], dim=1)

    def _outputs(self, network: Network) -> list[nn.Linear]:
        """The last layer of each MLP."""
        return [[*mlp.modules()][-1] for mlp in network.mlps]  # type: ignore[misc]


# In the order in which their logits are added. The names stand in files.
COMPONENTS: dict[str, Component] = {"linear": FirstOrder(), "fm": SecondOrder(), "deep": Deep()}


def in_order(components: Collection[str]) -> tuple[str, ...]:
    """Names of components in the order of `COMPONENTS`."""
    return tuple(name for name in COMPONENTS if name in components)


def has_part(components: Collection[str], part: Literal["first", "embedding"]) -> bool:
    """Whether one of the components needs this part of a table row."""
    return any(COMPONENTS[name].part == part for name in components)


def table_columns(
    components: Collection[str], n_outputs: int, embed_dim: int, n_members: int
) -> tuple[int, int]:
    """Number of first-order weights in a table row, which come first, and of embedding values."""
    n_first = n_members * n_outputs if has_part(components, "first") else 0
    return n_first, n_members * embed_dim if has_part(components, "embedding") else 0


def by_member(columns: Tensor, n_members: int) -> Tensor:
    """View (..., n_members * n) as (..., n_members, n)."""
    return columns.view(*columns.shape[:-1], n_members, columns.shape[-1] // n_members)
