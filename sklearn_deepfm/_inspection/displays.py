"""Displays of a whole model: loss curves, importances of fields and of pairs."""

import numpy as np
import pandas as pd

from sklearn_deepfm._estimators.unwrap import Unwrapped
from sklearn_deepfm._inspection.explain import importances

LONGEST_LABEL = 28  # characters
# Colors of terms that raise a prediction, of those that lower it, and of lines.
UP, DOWN, REST = "#c44e52", "#4c72b0", "#8c8c8c"
AS_IT_IS = {"parse_math": False}  # else matplotlib reads a $ in a name as a formula


def axes(ax, size):
    """The axes to draw into, new ones of a size in inches if none are given.

    Raises
    ------
    ImportError
        If matplotlib, which only drawing needs, is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which is not installed: pip install matplotlib, or "
            "sklearn_deepfm[plot]."
        ) from error
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def short(label):
    """A label cut to a length that leaves room for the picture."""
    label = str(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def check_at_least(least, **value):
    """Raise a ValueError if a parameter, given by its name, is smaller."""
    for name, number in value.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number!r}.")


class LossCurveDisplay:
    """Losses of training and validation rows after each epoch.

    Parameters
    ----------
    history : DataFrame of shape (n_epochs, n_records)
        By epoch, from 1: "train_loss" and, with validation rows, "valid_loss".

    Attributes
    ----------
    ax_ : Axes
        Where it is drawn.
    figure_ : Figure
        The figure of these axes.
    lines_ : list of Line2D
        The curves.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, LossCurveDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> display = LossCurveDisplay.from_estimator(DeepFMClassifier(max_epochs=3).fit(X, y))
    >>> display.history["train_loss"].size
    3
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, model, *, ax=None):
        """Draw the losses of a fitted model.

        Parameters
        ----------
        model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
            Fitted.
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : LossCurveDisplay
        """
        history = pd.DataFrame(Unwrapped(model).estimator.history_)
        history.index = pd.RangeIndex(1, len(history) + 1, name="epoch")
        return cls(history).plot(ax=ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : LossCurveDisplay
        """
        ax = self.ax_ = axes(ax, (6, 4))
        self.figure_, self.lines_ = ax.figure, []
        for name, label, color in [
            ("train_loss", "training", DOWN),
            ("valid_loss", "validation", UP),
        ]:
            if name in self.history:
                self.lines_ += ax.plot(self.history[name], color=color, label=label, marker=".")
        if "valid_loss" in self.history:
            best = self.history["valid_loss"].idxmin()
            ax.axvline(best, color=REST, linewidth=1, linestyle=":", label=f"least at epoch {best}")
        ax.locator_params(axis="x", integer=True)
        ax.set(xlabel="epoch", ylabel="mean loss")
        ax.legend()
        return self


class _ImportancesDisplay:
    """A display of the importances of fields or pairs."""

    def __init__(self, importances):
        self.importances = importances

    @classmethod
    def from_estimator(cls, model, X, *, max_fields=20, ax=None):
        """Draw the importances of a model's fields and pairs for some rows.

        Parameters
        ----------
        model : DeepFMClassifier, DeepFMRegressor, Pipeline or search
            Fitted.
        X : data frame or array-like of shape (n_samples, n_columns)
            Rows as `predict` takes them.
        max_fields : int, default=20
            At most so many fields, the strongest.
        ax : Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : object
            Of this class.
        """
        return cls(importances(model, X)).plot(ax=ax, max_fields=max_fields)

    def plot(self, ax=None, *, max_fields=20):
        """Draw; subclasses say how."""
        raise NotImplementedError


class FieldImportanceDisplay(_ImportancesDisplay):
    """How much each field moves predictions, by itself and together with others.

    Parameters
    ----------
    importances : Importances
        The numbers.

    Attributes
    ----------
    ax_ : Axes
        Where it is drawn.
    figure_ : Figure
        The figure of these axes.
    bars_ : list of BarContainer
        Those of the fields by themselves, and of their pairs.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, FieldImportanceDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> model = DeepFMClassifier(max_epochs=3).fit(X, y)
    >>> display = FieldImportanceDisplay.from_estimator(model, X)
    >>> display.importances.fields.shape
    (2, 4)
    """

    def plot(self, ax=None, *, max_fields=20):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None: a new figure.
        max_fields : int, default=20
            At most so many fields, the strongest.

        Returns
        -------
        display : FieldImportanceDisplay
        """
        check_at_least(1, max_fields=max_fields)
        fields = self.importances.fields.iloc[:max_fields][::-1]
        ax = self.ax_ = axes(ax, (6.5, 1.2 + 0.3 * len(fields)))
        self.figure_, place = ax.figure, np.arange(len(fields))
        alone = ax.barh(
            place,
            fields["strength"],
            xerr=2 * fields["error"],  # two standard errors, about 95%
            color=DOWN,
            error_kw={"linewidth": 1},
            label="by itself",
        )
        in_pairs = ax.barh(
            place, fields["in_pairs"], left=fields["strength"], color="#a1b8d9", label="in pairs"
        )
        self.bars_ = [alone, in_pairs]
        ax.set_yticks(place, [short(name) for name in fields.index], **AS_IT_IS)
        ax.set_xlabel("mean size of the contribution")
        ax.set_title(_shares_in_words(self.importances), fontsize="medium")
        ax.legend(loc="lower right")
        return self


class InteractionDisplay(_ImportancesDisplay):
    """How much each pair of fields moves predictions, as a heat map.

    Parameters
    ----------
    importances : Importances
        The numbers.

    Attributes
    ----------
    ax_ : Axes
        Where it is drawn.
    figure_ : Figure
        The figure of these axes.
    im_ : AxesImage
        The heat map.

    Examples
    --------
    >>> from sklearn_deepfm import DeepFMClassifier, InteractionDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]] * 60, [1, 0, 0, 1] * 60
    >>> model = DeepFMClassifier(max_epochs=3).fit(X, y)
    >>> InteractionDisplay.from_estimator(model, X).importances.matrix().shape
    (2, 2)
    """

    def plot(self, ax=None, *, max_fields=20):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None: a new figure.
        max_fields : int, default=20
            At most so many fields, those strongest in pairs.

        Returns
        -------
        display : InteractionDisplay
        """
        check_at_least(
            2, max_fields=max_fields, **{"number of fields": len(self.importances.fields)}
        )
        matrix = self.importances.matrix()
        names = self.importances.fields["in_pairs"].nlargest(max_fields).index
        matrix = matrix.loc[names, names].to_numpy()
        # Each pair once: below the diagonal, where the first row and the last column are empty.
        below = np.where(np.tri(len(names), k=-1, dtype=bool), matrix, np.nan)[1:, :-1]
        size = 2.5 + 0.4 * len(names)
        ax = self.ax_ = axes(ax, (size + 1, size))
        self.figure_, self.im_ = ax.figure, ax.imshow(below, cmap="Blues", vmin=0)
        labels = [short(name) for name in names]
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(len(below)), labels[:-1], **turned, **AS_IT_IS)
        ax.set_yticks(range(len(below)), labels[1:], **AS_IT_IS)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(self.im_, ax=ax, label="mean size of the contribution", shrink=0.8)
        ax.set_title(_shares_in_words(self.importances), fontsize="medium")
        return self


def _shares_in_words(importances):
    """Title of a picture: where the deep share is large, fields and pairs are not all."""
    shares = (100 * importances.shares).round().astype(int)
    return f"fields {shares['fields']}%, pairs {shares['pairs']}%, deep {shares['deep']}%"
