"""Waterfall display: the contributions that lead from the bias to one prediction."""

import numpy as np
import pandas as pd

from sklearn_deepfm._inspection.displays import (
    AS_IT_IS,
    DOWN,
    REST,
    UP,
    axes,
    check_at_least,
    short,
)
from sklearn_deepfm._inspection.explain import contributions


class WaterfallDisplay:
    """Contributions that lead from the bias to the prediction of one row.

    Parameters
    ----------
    terms : Series
        Contributions by label, the largest first; their sum with `bias` is the
        prediction.
    bias : float
        Where they start.

    Attributes
    ----------
    ax_ : Axes
        Where it is drawn.
    figure_ : Figure
        The figure of these axes.
    bars_ : BarContainer
        A bar for each term.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, WaterfallDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> model = DeepFMClassifier(max_epochs=3).fit(X, y)
    >>> display = WaterfallDisplay.from_estimator(model, X[:1])
    >>> total = display.bias + display.terms.sum()
    >>> bool(abs(total - model.decision_function(X[:1])[0]) < 1e-5)
    True
    """

    def __init__(self, terms, bias):
        self.terms = terms
        self.bias = bias

    @classmethod
    def from_estimator(cls, model, X, *, row=0, output=None, max_terms=12, ax=None):
        """Draw the contributions to the prediction of one row.

        Parameters
        ----------
        model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
            Fitted.
        X : data frame or array-like of shape (n_samples, n_columns)
            Rows as `predict` takes them.
        row : int, default=0
            Position of the row.
        output : label, default=None
            Class, label or number to explain, where there are several.
        max_terms : int, default=12
            At most so many bars; the smallest terms share the last one.
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : WaterfallDisplay
        """
        row = _position(row, len(X))
        found = contributions(model, X[row : row + 1])
        return cls.from_contributions(found, output=output, max_terms=max_terms, ax=ax)

    @classmethod
    def from_contributions(cls, contributions, *, row=0, output=None, max_terms=12, ax=None):
        """Draw one row of contributions.

        Parameters
        ----------
        contributions : Contributions
            Of any number of rows.
        row : int, default=0
            Position of the row.
        output : label, default=None
            Class, label or number to explain, where there are several.
        max_terms : int, default=12
            At most so many bars; the smallest terms share the last one.
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : WaterfallDisplay
        """
        row = _position(row, len(contributions))
        one, values = contributions.of_output(output), contributions.values.iloc[row]
        fields = [f"{short(name)} = {short(value)}" for name, value in values.items()]
        pairs = [f"{short(a)} x {short(b)}" for a, b in one.pair_names]
        labels = [*fields, *pairs, "deep"]
        terms = pd.Series([*one.fields[row], *one.pairs[row], one.deep[row]], index=labels)
        terms = terms.iloc[np.argsort(-terms.abs(), kind="stable")]
        return cls(terms, float(one.bias)).plot(ax=ax, max_terms=max_terms)

    def plot(self, ax=None, *, max_terms=12):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None: a new figure.
        max_terms : int, default=12
            At most so many bars; the smallest terms share the last one.

        Returns
        -------
        display : WaterfallDisplay
        """
        check_at_least(2, max_terms=max_terms)
        terms = self.terms
        if len(terms) > max_terms:
            n_rest = len(terms) - max_terms + 1
            rest = pd.Series({f"{n_rest} other terms": terms[max_terms - 1 :].sum()})
            terms = pd.concat([terms[: max_terms - 1], rest])
        ends = self.bias + terms.cumsum().to_numpy()
        starts = np.append(self.bias, ends[:-1])
        ax = self.ax_ = axes(ax, (7, 1.4 + 0.32 * len(terms)))
        place = np.arange(len(terms))
        colors = np.where(terms > 0, UP, DOWN)
        self.figure_ = ax.figure
        self.bars_ = ax.barh(place, terms, left=starts, color=colors, height=0.7)
        ax.vlines(ends[:-1], place[:-1], place[1:], color=REST, linewidth=0.8)
        ax.bar_label(self.bars_, [f"{term:+.2f}" for term in terms], padding=3, fontsize="small")
        ax.axvline(self.bias, color=REST, linewidth=0.8, linestyle=":")
        ax.set_yticks(place, terms.index, **AS_IT_IS)
        ax.invert_yaxis()
        ax.use_sticky_edges = False  # else there is no margin where the outermost bar begins
        ax.margins(x=0.15)
        ax.set_xlabel(f"from the bias, {self.bias:.2f}, to {ends[-1]:.2f}")
        return self


def _position(row, n_rows):
    """Position of a row from 0 on; a negative one counts from the end."""
    if not -n_rows <= row < n_rows:
        raise ValueError(f"row must be a position in the {n_rows} rows of X, got {row}.")
    return row % n_rows
