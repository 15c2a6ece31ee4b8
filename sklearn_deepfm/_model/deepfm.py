"""The DeepFM network in plain torch: a matrix of indices in, logits out."""

from collections.abc import Collection, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_deepfm._model.bags import Bags
from sklearn_deepfm._model.components import (
    COMPONENTS,
    Making,
    Network,
    Sizes,
    Terms,
    by_member,
    in_order,
    table_columns,
)
from sklearn_deepfm._model.field_terms import TableLayout, field_rows, field_terms
from sklearn_deepfm._model.layers import Randomness
from sklearn_deepfm._model.touched_rows import DistinctRows, TouchedRows

EMBEDDING_STD = 1e-2  # small: the first predictions are the base rate, which the bias holds


class Lookup(NamedTuple):
    """Where the cells of a batch find their rows.

    Attributes
    ----------
    table : Tensor of shape (n_rows, width)
        The table, or the touched rows of it.
    cells : Tensor of shape (batch, n_fields - n_bags)
        Row of each field of one code.
    slope_rows : Tensor of shape (n_numeric_fields,), int64
        Row of the slope of each numeric field.
    bags : Bags or None
        The multi-valued fields.
    """

    table: Tensor
    cells: Tensor
    slope_rows: Tensor
    bags: Bags | None


class DeepFM(Network):
    """Factorization machine and MLP over one shared table of embeddings.

    For the rows :math:`(w_i, v_i)` of the features present in a sample::

        logit(x) = b + sum_i w_i + sum_{i<j} <v_i, v_j> + MLP([v_1 .. v_F])

    A categorical field contributes the row of its index. A numeric field
    contributes an affine function of its value `x`, the row of its index plus `x`
    times a second row (its slope), so that it takes part in every term like any
    other field. A multi-valued field, such as the tags of an article, contributes
    the weighted sum of the rows of its members.

    With several outputs each has its own bias, first-order weights and deep
    logit, and its own second order: output `k` weighs the coordinates of the
    product, ``<v_i, v_j>_k = sum_d s_kd v_id v_jd``, so that the size of a row
    stays ``n_outputs + embed_dim``.

    Parameters
    ----------
    n_fields : int
        Number of fields: columns of the index matrix, and multi-valued fields.
    n_features : int
        Number of rows of the table: the sum of the fields' sizes.
    embed_dim : int, default=16
        Length of the embedding `v_i` of a feature, shared by FM and MLP. Larger
        values can express more interactions and cost time and memory linearly.
    mlp_dims : sequence of int, default=(128, 64)
        Widths of the hidden layers of the MLP. Empty: the deep term is linear in
        the embeddings.
    dropout : float, default=0.2
        Probability, in [0, 1), of dropping a hidden unit while training.
    n_outputs : int, default=1
        Number of logits per sample: 1 for a binary target or a regression, the
        number of classes for a multiclass target, of labels for a multi-label one.
    multi_label : bool, default=False
        Whether several outputs are labels that a sample may have at once, each with a
        probability of its own, instead of classes of which it has one.
    batch_norm : bool, default=True
        Whether to normalise each hidden layer over the batch.
    components : collection of {"linear", "fm", "deep"}, default=("linear", "fm", "deep")
        The terms of the sum to keep: ``("linear",)`` is logistic regression,
        ``("linear", "fm")`` FM, ``("deep",)`` DNN, ``("linear", "deep")``
        Wide & Deep.
    slopes : mapping of int to int, default=None
        For each numeric field, its position in the index matrix and the row of
        the table that holds its slope.
    sparse : bool, default=False
        Whether a training step is to :meth:`touch` the rows of its batch alone, instead of
        computing a gradient as large as the table.
    frozen : array-like of bool of shape (n_features,), default=None
        Rows of the table whose embeddings an optimizer shall leave as they are.
    n_members : int, default=1
        Number of models side by side, which share nothing but the batches: each has
        columns of the table, a bias and an MLP of its own. The module's logits are the
        mean of theirs.
    seed : int, default=None
        Seed of initialisation and dropout. None draws from torch's global
        generator, as torch modules do.
    device : torch.device or str, default=None
        Where the parameters are made. None takes torch's default, as torch modules do.
    dtype : torch.dtype, default=None
        Type of the parameters. None takes torch's default, as torch modules do. The
        estimators ask for float32.

    Attributes
    ----------
    table : Parameter of shape (n_features, width)
        One row per feature: its first-order weights (`n_outputs`, if "linear" is
        among the components), those of one member after the other, then its embedding
        (`embed_dim`, if "fm" or "deep" is), likewise.
    bias : Parameter of shape (n_members * n_outputs,)
        The global bias `b`.
    mlps : ModuleList
        The MLP of each member, if "deep" is among the components.

    References
    ----------
    .. [1] H. Guo, R. Tang, Y. Ye, Z. Li and X. He, "DeepFM: A Factorization-Machine
       based Neural Network for CTR Prediction", IJCAI 2017, equations 1 to 4.
       https://arxiv.org/abs/1703.04247

    Examples
    --------
    >>> import torch
    >>> from sklearn_deepfm import DeepFM
    >>> module = DeepFM(n_fields=2, n_features=5, embed_dim=4, seed=0)
    >>> index = torch.tensor([[0, 2], [1, 3], [1, 4]])  # (batch, n_fields)
    >>> module(index).shape  # logits (batch, n_outputs)
    torch.Size([3, 1])
    >>> bool(((module.predict(index) > 0) & (module.predict(index) < 1)).all())
    True
    """

    _numeric_fields: Tensor
    _slope_rows: Tensor

    def __init__(
        self,
        n_fields: int,
        n_features: int,
        embed_dim: int = 16,
        mlp_dims: Sequence[int] = (128, 64),
        dropout: float = 0.2,
        *,
        n_outputs: int = 1,
        multi_label: bool = False,
        batch_norm: bool = True,
        components: Collection[str] = ("linear", "fm", "deep"),
        slopes: dict[int, int] | None = None,
        sparse: bool = False,
        frozen: np.ndarray | None = None,
        n_members: int = 1,
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_sizes(n_fields=n_fields, n_features=n_features, embed_dim=embed_dim)
        _check_sizes(n_members=n_members, n_outputs=n_outputs)
        _check_sizes(**{f"mlp_dims[{i}]": d for i, d in enumerate(mlp_dims)})
        _check_dropout(dropout)
        _check_components(components)
        super().__init__()
        self.n_outputs = n_outputs
        self.n_members = n_members
        self.multi_label = multi_label
        self.components = in_order(components)
        self.sparse = sparse
        self._distinct = DistinctRows()
        self._randomness = Randomness(seed)

        device = torch.get_default_device() if device is None else torch.device(device)
        dtype = dtype or torch.get_default_dtype()

        n_logits = n_members * n_outputs
        self._n_first, n_second = table_columns(components, n_outputs, embed_dim, n_members)
        self.table = nn.Parameter(
            torch.empty(n_features, self._n_first + n_second, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(n_logits, device=device, dtype=dtype))
        sizes = Sizes(n_fields, n_outputs, n_members, embed_dim, tuple(mlp_dims))
        making = Making(dropout, batch_norm, self._randomness, device, dtype)
        for name in self.components:
            COMPONENTS[name].add(self, sizes, making)
        self.set_slopes(slopes or {})
        self.set_frozen(frozen)
        self.reset_parameters()

    def set_slopes(self, slopes: dict[int, int]) -> None:
        """Say which fields are numeric.

        Parameters
        ----------
        slopes : mapping of int to int
            For each numeric field, its position in the index matrix and the row of
            the table that holds its slope.
        """
        # Buffers move with the module; they are not persistent, since they are not learned.
        for name, numbers in (("_numeric_fields", [*slopes]), ("_slope_rows", [*slopes.values()])):
            buffer = torch.tensor(numbers, dtype=torch.int64, device=self.table.device)
            self.register_buffer(name, buffer, persistent=False)

    def set_frozen(self, frozen: np.ndarray | None) -> None:
        """Say which embeddings an optimizer shall leave as they are.

        Parameters
        ----------
        frozen : array-like of bool of shape (n_features,) or None
            Rows of the table; None: no row.
        """
        mask = None if frozen is None else torch.as_tensor(frozen, device=self.table.device)
        self.register_buffer("frozen", mask, persistent=False)

    def set_embeddings(self, rows: Tensor, embeddings: Tensor) -> None:
        """Put embeddings into rows of the table; their first-order weights stay.

        Parameters
        ----------
        rows : Tensor of shape (n,), int64
            Positions in the table.
        embeddings : Tensor of shape (n, embed_dim)
            One for each of them, the same for all members.
        """
        with torch.no_grad():
            embeddings = embeddings.to(self.table).repeat(1, self.n_members)
            self.table[rows.to(self.table.device), self._n_first :] = embeddings

    def set_linear(self, rows: Tensor, weights: Tensor, bias: Tensor) -> None:
        """Make an untrained module predict by first-order weights alone, or nearly so.

        Embeddings stay as they are, to learn from: their products are small.

        Parameters
        ----------
        rows : Tensor of shape (n,), int64
            Positions in the table.
        weights : Tensor of shape (n, n_members * n_outputs)
            First-order weights of these rows; those of all others become 0.
        bias : Tensor of shape (n_members * n_outputs,)
            The global bias.
        """
        with torch.no_grad():
            self.table[:, : self._n_first] = 0
            self.table[rows.to(self.table.device), : self._n_first] = weights.to(self.table)
            self.bias.copy_(bias)
            for name in self.components:
                COMPONENTS[name].silence(self)

    def release(self) -> None:
        """Free the scratch array by which :meth:`touch` finds distinct rows."""
        self._distinct = DistinctRows()

    def reset_parameters(self) -> None:
        """Draw all parameters anew: small embeddings and deep logits, first order and bias at 0."""
        generator = self._randomness.on(self.table.device)
        with torch.no_grad():
            self.table.normal_(std=EMBEDDING_STD, generator=generator)
            self.table[:, : self._n_first] = 0
            self.bias.zero_()
            for name in self.components:
                COMPONENTS[name].reset(self, generator)

    def random_state(self) -> dict[str, Any]:
        """State of the generators behind dropout.

        Returns
        -------
        state : dict
            An array of bytes by name of device; empty without a seed.
        """
        return self._randomness.state()

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Restore the generators behind dropout to a state of :meth:`random_state`.

        Parameters
        ----------
        state : dict
            State by device; devices that this machine lacks start from the seed.
        """
        self._randomness.set_state(state)

    def forward(
        self, index: Tensor, value: Tensor | None = None, bags: Bags | None = None
    ) -> Tensor:
        """Logits of a batch.

        Parameters
        ----------
        index : Tensor of shape (batch, n_fields - n_bags), int32 or int64
            Row of the table for each field of one code, 0 <= index < n_features.
        value : Tensor of shape (batch, n_numeric_fields), default=None
            Values of the numeric fields, in the order of `slopes`. None only
            where there is none.
        bags : tuple of Tensor (members, starts, weights), default=None
            The `n_bags` multi-valued fields, which come after those of `index`: the
            rows of the members of all bags, sample by sample, of shape (n_members,);
            where each bag begins and the last one ends, of shape
            (batch * n_bags + 1,); the weight of each member, of shape (n_members,).

        Returns
        -------
        logits : Tensor of shape (batch, n_outputs)
            The mean of the members' logits.
        """
        logits = self.member_logits(index, value, bags)
        return logits[:, 0] if self.n_members == 1 else logits.mean(1)

    def member_logits(
        self, index: Tensor, value: Tensor | None = None, bags: Bags | None = None
    ) -> Tensor:
        """Logits of each member for a batch.

        Parameters
        ----------
        index : Tensor of shape (batch, n_fields - n_bags), int32 or int64
            As for :meth:`forward`, like the following.
        value : Tensor of shape (batch, n_numeric_fields), default=None
            Values of the numeric fields.
        bags : tuple of Tensor (members, starts, weights), default=None
            The multi-valued fields.

        Returns
        -------
        logits : Tensor of shape (batch, n_members, n_outputs)
        """
        bags = None if bags is None else Bags(*bags)
        return self.logits_of(Lookup(self.table, index, self._slope_rows, bags), value)

    def logits_of(self, lookup: Lookup, value: Tensor | None = None) -> Tensor:
        """Logits of each member for a batch whose rows are looked up.

        Parameters
        ----------
        lookup : Lookup
            As :meth:`touch` gives it.
        value : Tensor of shape (batch, n_numeric_fields), default=None
            Values of the numeric fields.

        Returns
        -------
        logits : Tensor of shape (batch, n_members, n_outputs)
        """
        terms = self._terms(lookup, value)
        # Paper: equation 2 has no global bias; without one the base rate has to be
        # spread over first-order weights.
        logits = by_member(self.bias.expand(len(lookup.cells), -1), self.n_members)
        for name in self.components:
            logits = logits + COMPONENTS[name].logits(self, terms)  # equation 1
        return logits

    def member_terms(
        self, index: Tensor, value: Tensor | None = None, bags: Bags | None = None
    ) -> tuple[Tensor, Tensor]:
        """First-order weights and embeddings (w_f, v_f) of each field of each member.

        Parameters
        ----------
        index : Tensor of shape (batch, n_fields - n_bags), int32 or int64
            As for :meth:`forward`, like the following.
        value : Tensor of shape (batch, n_numeric_fields), default=None
            Values of the numeric fields.
        bags : tuple of Tensor (members, starts, weights), default=None
            The multi-valued fields.

        Returns
        -------
        first : Tensor of shape (batch, n_fields, n_members, n_outputs)
            Empty in the last dimension without "linear".
        embedding : Tensor of shape (batch, n_fields, n_members, embed_dim)
            Empty in the last dimension without "fm" and "deep".
        """
        layout = TableLayout(self._n_first, self._numeric_fields, self._slope_rows)
        rows = field_rows(self.table, index, value, None if bags is None else Bags(*bags), layout)
        first, embedding = rows[..., : self._n_first], rows[..., self._n_first :]
        return by_member(first, self.n_members), by_member(embedding, self.n_members)

    @property
    def n_first(self) -> int:
        """Number of first-order weights of a row, which come first in it."""
        return self._n_first

    @torch.no_grad()
    def predict(
        self, index: Tensor, value: Tensor | None = None, bags: Bags | None = None
    ) -> Tensor:
        """Probabilities of a batch, computed in eval mode; the mode is restored.

        Parameters
        ----------
        index : Tensor of shape (batch, n_fields - n_bags), int32 or int64
            Row of the table for each field of one code.
        value : Tensor of shape (batch, n_numeric_fields), default=None
            Values of the numeric fields.
        bags : tuple of Tensor (members, starts, weights), default=None
            The multi-valued fields.

        Returns
        -------
        proba : Tensor of shape (batch, n_outputs)
            Sigmoid of a single logit and of labels, softmax over classes.
        """
        training = self.training
        self.eval()
        try:
            return self.to_proba(self(index, value, bags))
        finally:
            self.train(training)

    def to_proba(self, logits: Tensor) -> Tensor:
        """Probabilities of logits.

        Parameters
        ----------
        logits : Tensor of shape (batch, n_outputs)
            As :meth:`forward` gives them.

        Returns
        -------
        proba : Tensor of shape (batch, n_outputs)
            Sigmoid of a single logit and of labels, softmax over classes.
        """
        # Equation 1: the sigmoid of the sum. Paper: has two classes only; more than two exclude
        # each other, and so share a softmax.
        is_classes = self.n_outputs > 1 and not self.multi_label
        return logits.softmax(1) if is_classes else logits.sigmoid()

    def touch(self, index: Tensor, bags: Bags | None = None) -> tuple[TouchedRows, Lookup]:
        """Take the rows of a batch out of the table, so that they alone get a gradient.

        Parameters
        ----------
        index : Tensor of shape (batch, n_fields - n_bags)
            As for :meth:`forward`.
        bags : tuple of Tensor (members, starts, weights), default=None
            The multi-valued fields.

        Returns
        -------
        touched : TouchedRows
            Their `positions` in the table, and a leaf tensor of their values, `rows`, which
            carries the gradient.
        lookup : Lookup
            Where each cell of the batch finds its row among them, for :meth:`logits_of`.
        """
        bags = None if bags is None else Bags(*bags)
        # One look-up for all: a table row that cells, slopes and members share has one slot,
        # which collects its whole gradient.
        members = [] if bags is None else [bags.members]
        wanted = [index.flatten().long(), self._slope_rows, *members]
        touched, slot = self._distinct.touch(self.table, torch.cat(wanted))
        cells, slope_rows, *members = slot.split([len(rows) for rows in wanted])
        if bags is not None:
            bags = bags._replace(members=members[0])
        return touched, Lookup(touched.rows, cells.view_as(index), slope_rows, bags)

    def _terms(self, lookup: Lookup, value: Tensor | None) -> Terms:
        """Gather (w_i, v_i) of every field once, for first order, FM and MLP alike."""
        n_numeric = len(lookup.slope_rows)
        if value is None and n_numeric:
            raise ValueError(
                f"value must hold the numbers of the {n_numeric} numeric fields, got None."
            )
        layout = TableLayout(self._n_first, self._numeric_fields, lookup.slope_rows)
        return Terms(*field_terms(lookup.table, lookup.cells, value, lookup.bags, layout))

    def rows_of(self, index: Tensor, bags: Bags | None) -> Tensor:
        """Rows of the table that the given samples touch.

        Parameters
        ----------
        index : Tensor of shape (n_samples, n_fields - n_bags)
            As for :meth:`forward`.
        bags : tuple of Tensor (members, starts, weights) or None
            The multi-valued fields.

        Returns
        -------
        rows : Tensor of int64
            Positions, each once, in ascending order.
        """
        members = [] if bags is None else [bags.members.to(self.table.device).long()]
        cells = index.to(self.table.device).flatten().long()
        rows: Tensor = torch.cat([cells, self._slope_rows, *members]).unique()
        return rows

    def columns_of_members(self) -> list[Tensor]:
        """Columns of the table that hold each member's weights.

        Returns
        -------
        columns : list of Tensor of int64
            The columns of first-order weights, then those of the embedding.
        """
        columns = torch.arange(self.table.shape[1], device=self.table.device)
        first, second = columns[: self._n_first], columns[self._n_first :]
        parts = zip(*(part.tensor_split(self.n_members) for part in (first, second)), strict=True)
        return [torch.cat(part) for part in parts]

    def member_of_columns(self) -> Tensor:
        """Member to which each column of the table belongs.

        Returns
        -------
        member : Tensor of shape (width,), int64
        """
        member = torch.empty(self.table.shape[1], dtype=torch.int64, device=self.table.device)
        for number, columns in enumerate(self.columns_of_members()):
            member[columns] = number
        return member


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {size!r}.")


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a probability in [0, 1), got {dropout!r}.")


def _check_components(components: Collection[str]) -> None:
    names = [] if isinstance(components, str) else list(components)
    if not names or len(set(names)) != len(names) or not set(names) <= set(COMPONENTS):
        raise ValueError(
            f"components must be distinct names out of {(*COMPONENTS,)}, at least one, "
            f"got {components!r}."
        )
