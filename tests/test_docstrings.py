"""What the docstrings promise is what the signatures and the fitted objects have.

Each public class is fitted (or made) here in one or more ways, in MAKERS. The attributes its
docstring lists must be those the results have together: an attribute that exists only after some
kinds of fit needs one maker for such a fit.
"""

import ast
import inspect
import re

import numpy as np
import pandas as pd
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import sklearn_deepfm
from sklearn_deepfm import datasets

PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (sklearn_deepfm, datasets)
    for name in module.__all__
    if not name.startswith("__") and not inspect.ismodule(getattr(module, name))
}
CLASSES = {name: obj for name, obj in PUBLIC.items() if inspect.isclass(obj)}
MAKERS = {}


def maker(name):
    """Register a function that makes, and if possible fits, an object of a public class."""

    def register(make):
        MAKERS.setdefault(f"sklearn_deepfm.{name}", []).append(make)
        return make

    return register


def _codes(seed=0, n_samples=200):
    codes = np.random.default_rng(seed).integers(0, 5, size=(n_samples, 3))
    return pd.DataFrame(codes, columns=["user", "item", "city"])


@maker("DeepFM")
def _module():
    return sklearn_deepfm.DeepFM(3, 15)


@maker("DeepFMClassifier")
def _classifier():
    X, X_val = _codes(0), _codes(1)
    model = sklearn_deepfm.DeepFMClassifier(max_epochs=2, early_stopping=True, random_state=0)
    return model.fit(X, X["user"] > 2, X_val=X_val, y_val=X_val["user"] > 2)


@maker("DeepFMRegressor")
def _regressor():
    X, X_val = _codes(0), _codes(1)
    model = sklearn_deepfm.DeepFMRegressor(max_epochs=2, early_stopping=True, random_state=0)
    return model.fit(X, X["user"] * 1.5, X_val=X_val, y_val=X_val["user"] * 1.5)


@maker("OrdinalFieldEncoder")
def _encoder():
    return sklearn_deepfm.OrdinalFieldEncoder().fit(_codes().assign(price=np.linspace(0, 1, 200)))


def _inspected():
    model = sklearn_deepfm.DeepFMClassifier(max_epochs=2, random_state=0)
    return model.fit(_codes(), _codes()["user"] > 2)


@maker("Contributions")
def _contributions():
    return sklearn_deepfm.contributions(_inspected(), _codes())


@maker("Importances")
def _importances():
    return sklearn_deepfm.importances(_inspected(), _codes())


@maker("LossCurveDisplay")
def _loss_curve():
    return sklearn_deepfm.LossCurveDisplay.from_estimator(_inspected())


@maker("FieldImportanceDisplay")
def _field_importance():
    return sklearn_deepfm.FieldImportanceDisplay.from_estimator(_inspected(), _codes())


@maker("InteractionDisplay")
def _interaction():
    return sklearn_deepfm.InteractionDisplay.from_estimator(_inspected(), _codes())


@maker("WaterfallDisplay")
def _waterfall():
    return sklearn_deepfm.WaterfallDisplay.from_estimator(_inspected(), _codes())


@maker("EmbeddingDisplay")
def _embedding():
    return sklearn_deepfm.EmbeddingDisplay.from_estimator(_inspected(), "user")


def _cases():
    """Each public function, class and public method of ours, with its docstring in sections."""
    for name, obj in PUBLIC.items():
        if not inspect.isclass(obj):
            yield pytest.param(obj, FunctionDoc(obj), id=name)
            continue
        yield pytest.param(obj, ClassDoc(obj, config={"show_class_members": False}), id=name)
        for method_name, method in _methods(obj):
            yield pytest.param(method, FunctionDoc(method), id=f"{name}.{method_name}")


def _methods(cls):
    for name in dir(cls):
        method = inspect.unwrap(getattr(cls, name))
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        if method.__module__.startswith("sklearn_deepfm."):
            yield name, method


CASES = list(_cases())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_do_not_tell_where_their_files_stand(name):
    module, _, _ = name.rpartition(".")
    if module == "sklearn_deepfm":
        assert PUBLIC[name].__module__ == module


def _signature_parameters(obj):
    parameters = list(inspect.signature(obj).parameters.values())
    if inspect.isfunction(obj) and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    return parameters


def _documented_parameters(doc):
    """One (name, type) per name: numpydoc allows ``a, b : int``."""
    return [
        (name.strip().lstrip("*"), parameter.type)
        for parameter in doc["Parameters"]
        for name in parameter.name.split(",")
    ]


def _documented_default(kind):
    """The default in a type such as ``int, default=16``; empty if there is none."""
    found = re.search(r"default\s*=\s*(.+)$", kind)
    if found is None:
        return inspect.Parameter.empty
    return ast.literal_eval(found[1].strip())


def _public_attributes(obj):
    """Names ending with one underscore: set on the instance, or properties that have a value."""
    properties = {
        name
        for cls in type(obj).__mro__
        for name, value in vars(cls).items()
        if isinstance(value, property) or hasattr(value, "func")
    }
    return {
        name
        for name in {*vars(obj), *properties}
        if name.endswith("_") and not name.startswith("_") and hasattr(obj, name)
    }


@pytest.mark.parametrize(("obj", "doc"), CASES)
def test_documented_parameters_are_those_of_the_signature(obj, doc):
    documented = [name for name, _ in _documented_parameters(doc)]
    assert documented == [parameter.name for parameter in _signature_parameters(obj)]


@pytest.mark.parametrize(("obj", "doc"), CASES)
def test_documented_defaults_are_those_of_the_signature(obj, doc):
    defaults = {parameter.name: parameter.default for parameter in _signature_parameters(obj)}
    documented = {name: _documented_default(kind) for name, kind in _documented_parameters(doc)}
    assert documented == defaults
    # 1 == True == 1.0, yet a reader takes them for different things.
    assert {n: type(v) for n, v in documented.items()} == {n: type(v) for n, v in defaults.items()}


@pytest.mark.parametrize(("obj", "doc"), CASES)
def test_parameters_have_a_type_and_a_description(obj, doc):
    for parameter in doc["Parameters"]:
        assert parameter.type, parameter.name
        assert "".join(parameter.desc).strip(), parameter.name


@pytest.mark.parametrize(("obj", "doc"), CASES)
def test_there_is_a_summary_and_what_comes_back(obj, doc):
    assert "".join(doc["Summary"]).strip()
    returns_nothing = inspect.signature(obj).return_annotation in (None, "None")
    if not inspect.isclass(obj) and not returns_nothing:
        assert doc["Returns"] or doc["Yields"]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_documented_attributes_are_those_of_the_fitted_object(name):
    documented = {
        attribute.name
        for attribute in ClassDoc(CLASSES[name], config={"show_class_members": False})["Attributes"]
    }
    made = [make() for make in MAKERS[name]]
    fitted = set().union(*map(_public_attributes, made))
    assert {attribute for attribute in documented if attribute.endswith("_")} == fitted
    for attribute in documented - fitted:  # such as the layers of the torch module
        assert all(hasattr(obj, attribute) for obj in made), attribute


def test_every_public_class_is_made_here():
    assert MAKERS.keys() == CLASSES.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_has_an_example(name):
    doc = ClassDoc if name in CLASSES else FunctionDoc
    assert any(">>>" in line for line in doc(PUBLIC[name])["Examples"])


# What the docstrings of classifier and regressor say differently of a thing that they share.
DIFFERENCES = {
    "components": ("logistic regression", "linear regression"),
    "embedding_l2": (
        "with the loss of a model that knows the shares of the classes alone:",
        "with a base loss of 1 for each number in a row of y:",
    ),
    "validation_fraction": (
        "Classes are held out in equal proportion.",
        "They are drawn at random.",
    ),
    "categorical_features": ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    "callbacks": (
        "whose target is the number of the class.",
        "whose target is standardised (mean 0, variance 1).",
    ),
    "loss_curve_": (
        "Mean training loss of each epoch, without penalties.",
        "Mean squared error of each epoch on the standardised target, without penalties.",
    ),
}


def _shared(section):
    """What both docstrings list in a section: name, and type and text of each."""
    docs = [
        ClassDoc(cls, config={"show_class_members": False})
        for cls in (sklearn_deepfm.DeepFMClassifier, sklearn_deepfm.DeepFMRegressor)
    ]
    of_classifier, of_regressor = (
        {entry.name: (entry.type, " ".join(" ".join(entry.desc).split())) for entry in doc[section]}
        for doc in docs
    )
    for name in of_regressor:
        yield name, of_classifier[name], of_regressor[name]


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_classifier_and_regressor_say_the_same_of_what_they_share(section):
    for name, of_classifier, (kind, text) in _shared(section):
        words = DIFFERENCES.get(name, ("", ""))
        assert words[1] in text, name
        assert of_classifier == (kind, text.replace(words[1], words[0]) if words[1] else text), name


def test_notes_of_classifier_and_regressor_are_the_same():
    notes = [
        inspect.getdoc(cls).split("Notes\n-----\n")[1].split("\nReferences\n")[0]
        for cls in (sklearn_deepfm.DeepFMClassifier, sklearn_deepfm.DeepFMRegressor)
    ]
    assert notes[0] == notes[1]
