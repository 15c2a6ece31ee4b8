"""Targets of classification: y encoded for the network, and predictions from its logits."""

import numpy as np
from scipy.special import entr, expit, log_expit, log_softmax, softmax
from sklearn.utils.multiclass import check_classification_targets

from sklearn_deepfm._serialization.plain import Plain
from sklearn_deepfm._serialization.plain_values import expect, expect_ascending, expect_finite
from sklearn_deepfm._targets.fixed_predictions import FixedClassifier
from sklearn_deepfm._targets.target import ClassifierTarget


class ClassTarget(Plain):
    """Target of one class per row; classes are numbered in sorted order.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels of any sortable type; every class is among them.
    name : str, default="y"
        What the user calls them.
    """

    kind, is_class, multi_label = "labels", True, False
    mean, scale = 0.0, 1.0  # logits are in their own unit, unlike those of a regression
    _saved = {
        "classes": np.ndarray,
        "_total": np.float64,
        "initial_bias": np.float64,
        "_seen": np.float64,
    }

    def __init__(self, y, name="y"):
        try:
            check_classification_targets(y)
            self.classes = np.unique(y)
        except TypeError as error:
            raise ValueError(
                f"{name} must hold labels of one sortable type, all strings or all numbers; "
                f"convert them: {error}."
            ) from error
        if len(self.classes) < 2:
            raise ValueError(
                f"{name} must hold at least 2 classes, got 1 class: {self.classes.tolist()[0]!r} "
                f"(rows of weight 0 do not count). Check how the rows were selected."
            )
        # Weight of each class over all calls of `factors` that add up, before class weights.
        self._total = np.zeros(len(self.classes))

    def _check_loaded(self):
        expect(self.classes.ndim == 1 and len(self.classes) >= 2, "classes")
        expect_ascending(self.classes, "classes")
        expect_finite(self._total, "total", self.classes.shape, least=0)
        expect_finite(self._seen, "seen", self.classes.shape, least=0)
        expect_finite(self.initial_bias, "initial_bias", (self.n_outputs,))

    @property
    def loss(self):
        """Name of the loss that the network is trained by."""
        return "binary_log_loss" if self.n_outputs == 1 else "log_loss"

    @property
    def n_outputs(self):
        return 1 if len(self.classes) == 2 else len(self.classes)

    def encode(self, y):
        """Position of each label among the classes; an unknown label is an error."""
        if y.ndim != 1:
            raise ValueError(
                f"y must be a single column of labels, as in the first fit, got the shape "
                f"{y.shape}."
            )
        position = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
        unknown = self.classes[position] != y
        if unknown.any():
            raise ValueError(
                f"y holds the label {y[unknown].tolist()[0]!r}, which is none of the classes "
                f"{self.classes.tolist()}. All classes must be known at the first fit."
            )
        return position

    def fit(self, rows):
        """Learn the initial bias: the base rate of each class, as logits."""
        share = np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes))
        # A class yet to come counts as half a row, so that training can still reach it.
        share = share / share.sum()
        share = np.where(share > 0, share, 0.5 / len(rows))
        # One logit stands for the second of two classes; a softmax ignores what all logits share.
        logits = np.log(share)
        is_binary = self.n_outputs == 1
        self.initial_bias = logits[1:] - logits[:1] if is_binary else logits - logits.mean()
        self._seen = np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes)) * 1.0

    def see(self, rows):
        """Take further rows of a stream into account."""
        more = np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes))
        self._seen = self._seen + more

    @property
    def base_loss(self):
        """Mean loss of a model that predicts the base rate of each class."""
        return entr(self._seen / self._seen.sum()).sum()

    def factors(self, class_weight, rows, adds_up=False):
        """Factor of the weights of each class; None without `class_weight`.

        With `adds_up`, "balanced" counts the rows of all such calls together.
        """
        labels = self.classes.tolist()
        if class_weight is None:
            return None
        if isinstance(class_weight, str):  # "balanced"
            seen = np.bincount(rows.y, weights=rows.weight, minlength=len(labels)) * 1.0
            if adds_up:
                self._total = seen = self._total + seen
            mean = seen.sum() / len(labels)
            return np.divide(mean, seen, out=np.ones(len(labels)), where=seen > 0)
        unknown = [label for label in class_weight if label not in labels]
        # As in scikit-learn: a fold may lack a class that has its factor, if all others have one.
        if unknown and (without := [label for label in labels if label not in class_weight]):
            raise ValueError(
                f"class_weight must map labels out of {labels} to factors, got {unknown!r} among "
                f"its keys and none for {without!r}. Name each label that y may hold."
            )
        return np.array([class_weight.get(label, 1) for label in labels], dtype=np.float64)

    def to_network(self, y):
        return y.astype(np.float32 if self.n_outputs == 1 else np.int64)

    def decision(self, logits):
        return logits[:, 0] if self.n_outputs == 1 else logits

    def proba(self, logits):
        if self.n_outputs > 1:
            return softmax(logits, axis=1)
        return np.column_stack([expit(-logits), expit(logits)])

    def log_proba(self, logits):
        if self.n_outputs > 1:
            return log_softmax(logits, axis=1)
        return np.column_stack([log_expit(-logits), log_expit(logits)])

    def predict(self, logits):
        if self.n_outputs > 1:
            return self.classes[logits.argmax(axis=1)]
        return self.classes[(logits[:, 0] > 0).astype(int)]

    def decode(self, y):
        return self.classes[y]

    def fixed_predictions(self, logits, X):
        return FixedClassifier(self, logits, X)


class MultiLabelTarget(Plain):
    """Target of several labels, of which a row may have any number.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_labels)
        1 where a row has a label, else 0.
    """

    kind, multi_label, loss = "label sets", True, "binary_log_loss"
    is_class = False  # rows with the same labels may be too few to hold out in proportion
    mean, scale = 0.0, 1.0
    _saved = {
        "classes": np.int64,
        "n_outputs": int,
        "initial_bias": np.float64,
        "_seen": np.float64,
    }

    def __init__(self, y):
        strange = y[~np.isin(y, [0, 1])]
        if len(strange):
            raise ValueError(
                f"y of several columns must hold 0 and 1 alone, whether a row has each label, got "
                f"{strange.tolist()[0]!r}. For one of several classes, pass a single column."
            )
        self.n_outputs = y.shape[1]
        self.classes = np.arange(y.shape[1])

    def _check_loaded(self):
        expect(self.n_outputs > 0, "n_outputs")
        expect(np.array_equal(self.classes, np.arange(self.n_outputs)), "classes")
        expect_finite(self._seen, "seen", (self.n_outputs + 1,), least=0)
        expect_finite(self.initial_bias, "initial_bias", (self.n_outputs,))

    def encode(self, y):
        """Convert y to integers; another number of labels is an error."""
        if y.ndim != 2 or y.shape[1] != self.n_outputs:
            raise ValueError(
                f"y must have a column for each of the {self.n_outputs} labels of the first fit, "
                f"got the shape {y.shape}."
            )
        MultiLabelTarget(y)  # which refuses anything but 0 and 1
        return y.astype(np.int64)

    def fit(self, rows):
        """Learn the initial bias: the share of rows with each label, as log-odds."""
        share = np.average(rows.y, axis=0, weights=rows.weight)
        # A label of no row, or of all, would start at infinity and never move.
        half_a_row = 0.5 / len(rows)
        share = share.clip(half_a_row, 1 - half_a_row)
        self.initial_bias = np.log(share) - np.log1p(-share)
        self._seen = np.zeros(self.n_outputs + 1)  # weight of each label's rows, and of all
        self.see(rows)

    def see(self, rows):
        """Take further rows of a stream into account."""
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self._seen = self._seen + np.append(weight @ rows.y, weight.sum())

    @property
    def base_loss(self):
        """Mean loss, summed over labels, of a model that predicts the share of each label."""
        share = self._seen[:-1] / self._seen[-1]
        return (entr(share) + entr(1 - share)).sum()

    def factors(self, class_weight, rows, adds_up=False):
        """Factors for rows without and with each label, of shape (n_labels, 2), or None.

        The weight of a row is multiplied by the factors of all labels, as in scikit-learn.
        """
        if class_weight is None:
            return None
        if not isinstance(class_weight, str):  # "balanced"
            raise ValueError(
                f"class_weight must be None or 'balanced' where y has several columns, got "
                f"{class_weight!r}. Pass sample_weight instead."
            )
        share = np.average(rows.y, axis=0, weights=rows.weight)
        shares = np.column_stack([1 - share, share])
        return np.divide(0.5, shares, out=np.ones(shares.shape), where=shares > 0)

    def to_network(self, y):
        return y.astype(np.float32)

    def decision(self, logits):
        return logits

    def proba(self, logits):
        return expit(logits)

    def log_proba(self, logits):
        return log_expit(logits)

    def predict(self, logits):
        return (logits > 0).astype(np.int64)

    def decode(self, y):
        return y

    def fixed_predictions(self, logits, X):
        return FixedClassifier(self, logits, X)


# The kinds that a file may name.
CLASSIFICATION_TARGETS: tuple[type[ClassifierTarget], ...] = (ClassTarget, MultiLabelTarget)


def classification_target(y, classes=None):
    """Target of a classifier: classes, or several labels where y has several columns.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
    classes : ndarray of shape (n_classes,), default=None
        All labels, where y may lack some.
    """
    if y.ndim == 1:
        return ClassTarget(y) if classes is None else ClassTarget(classes, "classes")
    target = MultiLabelTarget(y)
    if classes is not None and not np.array_equal(classes, target.classes):
        raise ValueError(
            f"classes must be {target.classes.tolist()}, the numbers of the columns of y, got "
            f"{classes.tolist()}."
        )
    return target
