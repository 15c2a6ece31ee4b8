"""Exact contributions to predictions, importances over many rows, and nearest categories."""

from itertools import combinations

import numpy as np
import pandas as pd

from sklearn_deepfm._estimators.unwrap import Unwrapped
from sklearn_deepfm._inspection.contribution_terms import TERMS, ContributionTerms
from sklearn_deepfm._inspection.results import Contributions, Importances


def contributions(model, X, *, terms="effects"):
    """Split the predictions of a fitted model into contributions, exactly.

    The logit of a DeepFM is a sum, ``b + sum_i w_i + sum_{i<j} <v_i, v_j> + MLP(v)``. Each
    product mixes what one field does by itself with what two do together. With m_i, the
    average embedding of a field over the training rows::

        <v_i, v_j> = <m_i, m_j> + <v_i - m_i, m_j> + <m_i, v_j - m_j>
                     + <v_i - m_i, v_j - m_j>

    so that only the last term, whose mean over either field's training values is 0, counts as
    an interaction here; the others belong to the bias and to the two fields. What the MLP
    adds is split likewise, starting from a row whose fields are all average: a field's
    effect is what its own embedding changes there, a pair's what both change beyond
    their two effects, and "deep" is what remains, interactions of three and more
    fields. The bias is the logit of that average row. A row of unknown categories has the
    same logit, except for lists, whose average lies elsewhere than an unknown member.

    Parameters
    ----------
    model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
        Fitted. A Pipeline ends in such an estimator; of a search its best estimator is
        taken.
    X : data frame or array-like of shape (n_samples, n_columns)
        Rows as `predict` takes them.
    terms : {"effects", "products", "formula"}, default="effects"
        "effects" is as above, and costs a pass through the MLP for each pair.
        "products" splits the products alone: "deep" is all of the MLP, less its
        value for the average row. "formula" leaves the terms as they stand in the formula: b,
        w_i, <v_i, v_j> and MLP(v).

    Returns
    -------
    contributions : Contributions
        They add up to `decision_function`, for a regressor to `predict`.

    Raises
    ------
    TypeError
        If the model is none of these.
    ValueError
        If `terms` is none of its options, or X not what the model takes.

    See Also
    --------
    importances : The same summed up over rows.

    References
    ----------
    .. [1] H. Guo, R. Tang, Y. Ye, Z. Li and X. He, "DeepFM: A Factorization-Machine
       based Neural Network for CTR Prediction", IJCAI 2017, equations 1 and 2.
       https://arxiv.org/abs/1703.04247

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, contributions
    >>> X = pd.DataFrame({"city": ["Rome", "Oslo"] * 20, "day": ["Mo", "Mo", "Tu", "Tu"] * 10})
    >>> y = [1, 0, 0, 1] * 10
    >>> model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(random_state=0)).fit(X, y)
    >>> parts = contributions(model, X[:3])
    >>> parts.to_frame().columns.tolist()
    ['bias', 'city', 'day', 'city x day', 'deep']
    >>> bool(abs(parts.total - model.decision_function(X[:3])).max() < 1e-5)
    True
    """
    _check_terms(terms)
    unwrapped = Unwrapped(model)
    X, values = unwrapped.transform(X)
    of_model = ContributionTerms(unwrapped.estimator, terms)
    bias, parts = of_model.bias, list(of_model.by_part(X))
    fields, pairs, deep = (np.concatenate(part) for part in zip(*parts, strict=True))
    names = of_model.output_names
    if names == [None]:
        bias, fields, pairs, deep = float(bias[0]), fields[..., 0], pairs[..., 0], deep[..., 0]
    return Contributions(bias, fields, pairs, deep, values, names)


def importances(model, X, *, terms="effects"):
    """How much each field and each pair of fields moves the predictions for these rows.

    Parameters
    ----------
    model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
        Fitted, as for :func:`contributions`.
    X : data frame or array-like of shape (n_samples, n_columns)
        Rows as `predict` takes them, at least 2, better thousands.
    terms : {"effects", "products", "formula"}, default="effects"
        As for :func:`contributions`.

    Returns
    -------
    importances : Importances
        What is left to the MLP is in `shares` alone.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, importances
    >>> X = [[0, 0, 2], [0, 1, 2], [1, 0, 3], [1, 1, 3], [0, 0, 3], [1, 0, 2]] * 50
    >>> y = [1, 0, 0, 1, 1, 0] * 50
    >>> model = DeepFMClassifier(random_state=0).fit(X, y)
    >>> found = importances(model, X)
    >>> found.pairs.index[0] == (0, 1)  # y says whether these two are equal
    True
    >>> found.shares.index.tolist()
    ['fields', 'pairs', 'deep']
    """
    _check_terms(terms)
    unwrapped = Unwrapped(model)
    X, values = unwrapped.transform(X)
    if len(values) < 2:
        raise ValueError(f"X must hold at least 2 rows, got {len(values)}.")
    sums = _Sums()
    for fields, pairs, deep in ContributionTerms(unwrapped.estimator, terms).by_part(X):
        together = np.stack([fields.sum(1), pairs.sum(1), deep], axis=1)
        sums.add(np.abs(np.concatenate([fields, pairs], axis=1)).mean(2), together)
    names = values.columns
    strength, error = sums.strengths()
    n = len(names)
    return _as_importances(names, (strength[:n], error[:n]), (strength[n:], error[n:]), sums)


def _check_terms(terms):
    if terms not in TERMS:
        raise ValueError(f"terms must be one of {TERMS}, got {terms!r}.")


class _Sums:
    """Sums of the terms and of their squares, added up part by part in bounded memory."""

    def __init__(self):
        self.n_rows = 0
        self._sizes = self._squares = np.zeros(())
        self._together = self._together_squares = np.zeros(())

    def add(self, sizes, together):
        """Add sizes of terms (n_rows, n_terms) and sums of the parts (n_rows, 3, n_outputs)."""
        self.n_rows += len(sizes)
        self._sizes = self._sizes + sizes.sum(0)
        self._squares = self._squares + np.square(sizes).sum(0)
        self._together = self._together + together.sum(0)
        self._together_squares = self._together_squares + np.square(together).sum(0)

    def strengths(self):
        """Mean size of each term, and its standard error."""
        mean = self._sizes / self.n_rows
        # Rounding can make the difference negative where all sizes are equal.
        variance = (self._squares / self.n_rows - mean**2).clip(0) * self.n_rows / (self.n_rows - 1)
        return mean, np.sqrt(variance / self.n_rows)

    def shares(self):
        """Share of fields, pairs and deep in the sum of their standard deviations."""
        mean = self._together / self.n_rows
        variance = (self._together_squares / self.n_rows - mean**2).clip(0)
        deviation = np.sqrt(variance.mean(1))
        return deviation / max(deviation.sum(), np.finfo(float).tiny)


def _as_importances(names, of_fields, of_pairs, sums):
    """Importances from (strength, error) of fields and of pairs, the strongest first."""
    pairs = pd.DataFrame(
        {"strength": of_pairs[0], "error": of_pairs[1]},
        index=pd.MultiIndex.from_tuples(list(combinations(names, 2)), names=["first", "second"]),
    )
    fields = pd.DataFrame({"strength": of_fields[0], "error": of_fields[1]}, index=names)
    in_pairs = np.zeros(len(names))
    for positions, strength in zip(combinations(range(len(names)), 2), of_pairs[0], strict=True):
        in_pairs[list(positions)] += strength / 2  # so that totals add up to all strengths
    fields["in_pairs"], fields["total"] = in_pairs, fields["strength"] + in_pairs
    return Importances(
        fields.sort_values("total", ascending=False, kind="stable"),
        pairs.sort_values("strength", ascending=False, kind="stable"),
        pd.Series(sums.shares(), ["fields", "pairs", "deep"], name="share"),
        sums.n_rows,
    )


def nearest_categories(model, field, category, n_categories=10):
    """Categories whose learned embeddings are most like that of one category.

    Parameters
    ----------
    model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
        Fitted, as for :func:`contributions`. Behind an OrdinalFieldEncoder categories go
        by their names, else by their codes.
    field : str or int
        Name or position of a column of categories.
    category : object
        One of its categories.
    n_categories : int, default=10
        At most so many others.

    Returns
    -------
    frame : DataFrame of shape (n_categories, 2)
        The nearest first, by category: "similarity", the cosine of the two embeddings from -1 to 1,
        and "distance", between them.

    Raises
    ------
    ValueError
        If there is no such field, or fit saw no such category in it.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, nearest_categories
    >>> X = [[0, 5], [0, 6], [1, 5], [1, 6], [2, 5], [2, 6]] * 20
    >>> y = [1, 0, 1, 0, 0, 1] * 20
    >>> model = DeepFMClassifier(random_state=0, batch_size=16).fit(X, y)
    >>> nearest_categories(model, 0, 0).index.tolist()
    [1, 2]
    """
    frame = Unwrapped(model).embeddings(field)
    if not _is_among(category, frame.index):
        raise ValueError(
            f"category must be one of field {field!r} that fit saw, such as "
            f"{frame.index[:3].tolist()}, got {category!r}."
        )
    own = frame.loc[category].to_numpy()
    others = frame.drop(index=[category])
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
    # An embedding of length 0 has the similarity 0.
    cosine = others.to_numpy() @ own / np.maximum(lengths, np.finfo(np.float32).tiny)
    distance = np.linalg.norm(others.to_numpy() - own, axis=1)
    found = pd.DataFrame({"similarity": cosine, "distance": distance}, index=others.index)
    return found.sort_values("similarity", ascending=False, kind="stable").iloc[:n_categories]


def _is_among(category, index):
    try:
        return category in index
    except TypeError:  # what cannot be hashed is no category
        return False
