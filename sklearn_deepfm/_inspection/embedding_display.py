"""Display of a field's categories, placed by the principal components of their embeddings."""

import numpy as np
import pandas as pd

from sklearn_deepfm._estimators.unwrap import Unwrapped
from sklearn_deepfm._inspection.displays import AS_IT_IS, DOWN, axes, check_at_least, short


class EmbeddingDisplay:
    """The categories of a field in the plane in which their embeddings differ most.

    The plane is that of the first two principal components of the embeddings; the axes
    tell which share of their variance each of the two has.

    Parameters
    ----------
    points : DataFrame of shape (n_categories, 2)
        Coordinates "x" and "y" by category, the most frequent first.
    shares : ndarray of shape (2,)
        Share of the variance that lies along each axis.

    Attributes
    ----------
    ax_ : Axes
        Where it is drawn.
    figure_ : Figure
        The figure of these axes.
    points_ : PathCollection
        The categories.
    labels_ : list of Text
        Names of the most frequent ones, as far as they do not overlap.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, EmbeddingDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> model = DeepFMClassifier(max_epochs=3).fit(X, y)
    >>> EmbeddingDisplay.from_estimator(model, 0).points.shape
    (2, 2)
    """

    def __init__(self, points, shares):
        self.points = points
        self.shares = shares

    @classmethod
    def from_estimator(cls, model, field, *, max_categories=300, max_labels=40, ax=None):
        """Draw the categories of a field.

        Parameters
        ----------
        model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
            Fitted.
        field : str or int
            Name or position of a column of categories.
        max_categories : int, default=300
            At most so many, the most frequent in fit.
        max_labels : int, default=40
            At most so many names are written.
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ValueError
            If the field has no categories.
        """
        check_at_least(1, max_categories=max_categories)
        unwrapped = Unwrapped(model)
        frame, weights = unwrapped.embeddings(field), unwrapped.category_weights(field)
        if frame.empty:
            raise ValueError(
                f"field must have categories to draw, and {field!r} has none: its cells were "
                f"missing or rare in all rows of fit. Name another field."
            )
        frame = frame.iloc[np.argsort(-weights, kind="stable")[:max_categories]]
        rows = frame.to_numpy(dtype=np.float64)
        left, sizes, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        # A single category, or embeddings of length 1, have fewer than two components.
        plane = np.zeros((len(rows), 2))
        plane[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
        shares = np.zeros(2)  # stay 0 where all embeddings are equal
        shares[: min(2, len(sizes))] = (sizes**2 / max((sizes**2).sum(), 1e-300))[:2]
        points = pd.DataFrame(plane, frame.index, ["x", "y"])
        return cls(points, shares).plot(ax=ax, max_labels=max_labels)

    def plot(self, ax=None, *, max_labels=40):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None: a new figure.
        max_labels : int, default=40
            At most so many names are written.

        Returns
        -------
        display : EmbeddingDisplay
        """
        ax = self.ax_ = axes(ax, (6.5, 5))
        self.figure_ = ax.figure
        self.points_ = ax.scatter(self.points["x"], self.points["y"], s=14, color=DOWN, alpha=0.6)
        ax.margins(0.1)
        ax.set_xlabel(f"first component, {self.shares[0]:.0%} of the variance")
        ax.set_ylabel(f"second component, {self.shares[1]:.0%}")
        self.figure_.canvas.draw()  # sizes of texts are known from here on
        self.labels_ = self._labels(max_labels)
        return self

    def _labels(self, most):
        """Write names, the most frequent categories first; skip those that would overlap others."""
        kept: list = []
        boxes: list = []
        edge = self.ax_.get_window_extent()
        for name, (x, y) in zip(self.points.index, self.points.to_numpy(), strict=True):
            if len(kept) == most:
                break
            text = self.ax_.annotate(
                short(name),
                (x, y),
                (4, 3),
                textcoords="offset points",
                fontsize="small",
                **AS_IT_IS,
            )
            box = text.get_window_extent()
            fits = edge.x0 <= box.x0 and box.x1 <= edge.x1 and box.y1 <= edge.y1
            if not fits or any(box.overlaps(other) for other in boxes):
                text.remove()
                continue
            kept.append(text)
            boxes.append(box)
        return kept
