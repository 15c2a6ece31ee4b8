"""Parser for skl2onnx: how the columns of a table pass through the steps of a model."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import _parse
from skl2onnx.common._topology import Scope, Variable
from skl2onnx.common.data_types import StringTensorType
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._estimators.base import BaseDeepFM
from sklearn_deepfm._estimators.classifier import DeepFMClassifier
from sklearn_deepfm._estimators.regressor import DeepFMRegressor
from sklearn_deepfm._onnx.fields import has_weights
from sklearn_deepfm._onnx.operators import ConcatColumns, PickColumn, declare

OWN = DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder


class Steps:
    """Takes a model apart into its steps, and declares the inputs of each of them.

    The parser of skl2onnx joins columns as float32, passes on only one output of a step, and
    keeps a ColumnTransformer's columns in their original order.

    Attributes
    ----------
    foreign_steps : list of str
        Names of the steps of other libraries so far, which skl2onnx converts.
    notes : dict
        What the type of an input does not tell, by the input's name: "weights_of" names the
        input whose members it weighs, "separator" separates the members in a string.
    """

    def __init__(self) -> None:
        self.foreign_steps: list[str] = []
        self.notes: dict[str, dict[str, str]] = {}

    def parse(
        self,
        scope: Scope,
        model: BaseEstimator,
        inputs: list[Variable],
        custom_parsers: object = None,
    ) -> list[Variable]:
        """Declare the operators of a model in a scope, and return their last outputs."""
        model = unwrap_search(model)
        if _passes_on(model):
            return list(inputs)
        if isinstance(model, Pipeline):
            for _, step in model.steps:
                inputs = self.parse(scope, step, inputs)
            return inputs
        if isinstance(model, ColumnTransformer):
            return self._parse_column_transformer(scope, model, inputs)
        if isinstance(model, FeatureUnion):
            steps = [(name, step, inputs) for name, step in model.transformer_list]
            return self._parse_beside(scope, model, steps)
        if not isinstance(model, OWN):
            return self._parse_other(scope, model, inputs)
        # Notes go by the names of inputs of the file, which only a first step reads.
        if all(variable.is_root for variable in inputs):
            self.notes |= _notes(model, [variable.raw_name for variable in inputs])
        outputs: list[Variable] = _parse._parse_sklearn(scope, model, inputs)
        return outputs

    def _parse_column_transformer(
        self, scope: Scope, model: BaseEstimator, inputs: list[Variable]
    ) -> list[Variable]:
        steps = []
        for name, step, chosen in model.transformers_:
            positions = _chosen_columns(model, chosen)
            if (isinstance(step, str) and step == "drop") or not positions:
                continue
            if len(inputs) == model.n_features_in_:
                columns = [inputs[position] for position in positions]
            else:  # an earlier step gives matrices of several columns each
                columns = [declare(scope, PickColumn(position), inputs) for position in positions]
            steps.append((name, step, columns))
        return self._parse_beside(scope, model, steps)

    def _parse_beside(self, scope: Scope, model: BaseEstimator, steps: list) -> list[Variable]:
        """Outputs of parallel steps, in the order of the steps."""
        weights, outputs = model.transformer_weights or {}, []
        for name, step, inputs in steps:
            if isinstance(step, str) and step == "drop":
                continue
            own = self.parse(scope, step, inputs)
            if name in weights:
                own = [declare(scope, ConcatColumns(weights[name]), own)]
            outputs += own
        return outputs

    def _parse_other(
        self, scope: Scope, model: BaseEstimator, inputs: list[Variable]
    ) -> list[Variable]:
        outputs: list[Variable] = _parse._parse_sklearn(
            scope, model, self._inputs_of_other(scope, model, inputs)
        )
        # The next step gets float64, and learns the number of columns from this one.
        if hasattr(model, "transform") and len(outputs) == 1:
            return [declare(scope, ConcatColumns(of_step=model), outputs)]
        return outputs

    def _inputs_of_other(
        self, scope: Scope, model: BaseEstimator, inputs: list[Variable]
    ) -> list[Variable]:
        """One matrix of float64, as scikit-learn makes it of a table of numbers, or of strings."""
        name = type(model).__name__
        if any(isinstance(unwrap_search(part), OWN) for part in model.get_params().values()):
            raise ValueError(
                f"A {name} around a model of sklearn_deepfm cannot be in an ONNX file. Give the "
                f"fitted model inside of it, and do in front of or behind the file what the "
                f"{name} does."
            )
        self.foreign_steps.append(name)
        if is_classifier(model):
            scope.add_options(id(model), {"zipmap": False})
        is_string = [isinstance(variable.type, StringTensorType) for variable in inputs]
        # skl2onnx's converters of these, such as OneHotEncoder, take columns one by one.
        if isinstance(model, _parse.do_not_merge_columns) and any(is_string):
            return inputs
        if all(is_string) or not any(is_string):
            return [declare(scope, ConcatColumns(), inputs)]
        raise ValueError(
            f"The step {name} gets columns of strings and of numbers, which cannot be one matrix "
            f"of an ONNX file. Give it columns of one kind by a ColumnTransformer."
        )


def unwrap_search(model: BaseEstimator) -> BaseEstimator:
    """The fitted model inside of a search or a FrozenEstimator."""
    while isinstance(model, FrozenEstimator) or hasattr(model, "best_estimator_"):
        model = model.estimator if isinstance(model, FrozenEstimator) else model.best_estimator_
    return model


@singledispatch
def _notes(model: BaseDeepFM, names: list[str]) -> dict[str, dict[str, str]]:
    """Notes on those inputs of a model that hold lists or their weights."""
    notes, left = {}, iter(names)
    for field, name in zip(model._fields, left, strict=False):
        if has_weights(field):  # they are in the next input
            notes[next(left, name)] = {"weights_of": name}
    return notes


@_notes.register
def _(encoder: OrdinalFieldEncoder, names: list[str]) -> dict[str, dict[str, str]]:
    notes: dict[str, dict[str, str]] = {}
    if len(names) != encoder.n_features_in_:
        return notes
    for spec in encoder._column_specs:
        if spec.weights is not None:
            notes[names[spec.weights]] = {"weights_of": names[spec.position]}
        if spec.separator is not None:
            notes[names[spec.position]] = {"separator": spec.separator}
    return notes


def _passes_on(step: BaseEstimator | str | None) -> bool:
    """Whether a step leaves the columns as they are."""
    is_nothing = step is None or (isinstance(step, str) and step == "passthrough")
    return is_nothing or (isinstance(step, FunctionTransformer) and step.func is None)


def _chosen_columns(model: BaseEstimator, chosen: Any) -> list[int]:
    """Positions of the columns that a step of a fitted ColumnTransformer gets."""
    names = getattr(model, "feature_names_in_", None)
    # pandas takes names, positions, masks and slices, and includes the end of a slice of names,
    # as scikit-learn does.
    positions = pd.Series(range(model.n_features_in_), index=names)
    ends = [chosen.start, chosen.stop] if isinstance(chosen, slice) else np.ravel(chosen)
    is_by_name = any(isinstance(end, str) for end in ends)
    return np.ravel((positions.loc if is_by_name else positions.iloc)[chosen]).tolist()
