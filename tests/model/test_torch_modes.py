"""Models that do not depend on what the process has set for torch, and leave that as it was."""

import contextlib
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, contributions, load_model, save_model
from sklearn_deepfm._inspection.contribution_terms import ContributionTerms
from sklearn_deepfm._model.torch_modes import own_modes


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "default device": lambda: default_device("meta"),
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def settings():
    """What the process, or the thread, has set."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


def data(n=120):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"city": rng.integers(0, 20, n), "price": rng.normal(size=n)})
    X["tags"] = [rng.integers(0, 5, rng.integers(0, 4)).tolist() for _ in range(n)]
    return X, X["city"] % 3


SMALL = {"max_epochs": 1, "random_state": 0, "mlp_dims": (8,), "early_stopping": False}
MODELS = {
    "classes": DeepFMClassifier(**SMALL),
    "numbers by rows": DeepFMRegressor(sparse_updates=True, n_members=2, **SMALL),
    "bfloat16": DeepFMClassifier(precision="bfloat16", **SMALL),
}


def answers(model, X):
    return model.predict_proba(X) if isinstance(model, DeepFMClassifier) else model.predict(X)


@pytest.fixture(scope="module")
def fitted():
    return {name: clone(model).fit(*data()) for name, model in MODELS.items()}


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is many times slower")
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("numbers by rows", setting) for setting in SETTINGS),
        ("classes", "float64"),
        ("bfloat16", "autocast"),
    ],
)
def test_fit_is_the_same_whatever_is_set(name, setting, fitted):
    with SETTINGS[setting]():
        before = settings()
        model = clone(MODELS[name]).fit(*data())
        assert settings() == before
    for one, other in zip(
        model.module_.parameters(), fitted[name].module_.parameters(), strict=True
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
    assert np.array_equal(answers(model, data()[0]), answers(fitted[name], data()[0]))


@pytest.mark.parametrize("setting", SETTINGS)
def test_predictions_are_the_same_whatever_is_set(setting, fitted):
    X, model = data()[0][:9], fitted["classes"]
    with SETTINGS[setting]():
        before = settings()
        proba, explained = model.predict_proba(X), contributions(model, X)
        assert settings() == before
    assert np.array_equal(proba, model.predict_proba(X))
    expected = contributions(model, X)
    for name in ("bias", "fields", "pairs", "deep"):
        assert np.array_equal(getattr(explained, name), getattr(expected, name))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file, a pickle, and probabilities of the model before and after it learns more."""
    X, y = data()
    model = DeepFMClassifier(sparse_updates=True, **SMALL).partial_fit(X, y, classes=[0, 1, 2])
    path, pickled = tmp_path_factory.mktemp("saved") / "model.deepfm", pickle.dumps(model)
    save_model(model, path)
    return path, pickled, model.predict_proba(X), model.partial_fit(X, y).predict_proba(X)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", ["file", "pickle"])
def test_loaded_model_is_the_same_and_learns_on_whatever_was_set(kind, setting, saved):
    path, pickled, before_more, after_more = saved
    X, y = data()
    with SETTINGS[setting]():
        before = settings()
        model = load_model(path) if kind == "file" else pickle.loads(pickled)
        assert settings() == before
    assert np.array_equal(model.predict_proba(X), before_more)
    assert np.array_equal(model.partial_fit(X, y).predict_proba(X), after_more)


def test_modes_are_restored_after_an_error():
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
        before = settings()
        with pytest.raises(ZeroDivisionError):
            fail_in_own_modes()
        assert settings() == before


def fail_in_own_modes():
    with own_modes():
        assert settings() == (torch.float32, torch.device("cpu"), False, True, False)
        raise ZeroDivisionError


def test_parts_of_contributions_leave_the_modes_of_who_reads_them(fitted):
    parts = ContributionTerms(fitted["classes"], "effects").by_part(data()[0])
    assert [torch.is_inference_mode_enabled() for _ in parts] == [False]
