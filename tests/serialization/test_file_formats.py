"""Files of every format that was ever written load, and predict what they did when they were made.

When the format is raised, `python tests/serialization/test_file_formats.py` writes the files of
the new one (with
the oldest NumPy supported, whose pickles newer ones can read)
beside those of the old ones, which stay as they are.
"""

import json
import pathlib
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    load_model,
    save_model,
)
from sklearn_deepfm._serialization.plain import FORMAT

FILES = pathlib.Path(__file__).parent / "files"
SMALL = {"embed_dim": 2, "mlp_dims": (3,), "max_epochs": 2, "random_state": 0}


def rows(n):
    """A table of every kind of column, from numbers that no version of a library changes."""
    i = np.arange(n)
    return pd.DataFrame(
        {
            "city": [["Oslo", "日本", "", None][k] for k in i * 7 % 4],
            "id": i * 11 % 5 * 2**55,
            "price": np.where(i % 6 == 0, np.nan, np.sqrt(i)),
            "is_new": i % 3 == 0,
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(i % 4, "D"),
            "tags": [["p", "q", "r"][: k % 4] for k in i],
            "hashed": [f"value {k % 13}" for k in i],
        }
    )


def codes(n):
    i = np.arange(n)
    return pd.DataFrame(
        {
            "zone": pd.Categorical([["x", "y", None][k % 3] for k in i], categories=["y", "x"]),
            "code": i * 10**12 % 7,
            "amount": np.cos(i),
            "bag": [list(range(k % 3)) for k in i],
        }
    )


def models():
    """The models of the files, by name."""
    X, i = rows(120), np.arange(120)
    encoder = OrdinalFieldEncoder(hash_dims={"hashed": 5}, min_frequency=2)
    pipeline = make_pipeline(encoder, DeepFMClassifier(**SMALL))
    yield "pipeline", pipeline.fit(X, np.where(i % 5 < 2, "yes", "no"))
    regressor = DeepFMRegressor(n_members=2, **SMALL)
    yield "regressor", regressor.fit(codes(120), i % 7 + 0.5)
    stream = DeepFMClassifier(sparse_updates=True, **SMALL)
    yield "stream", stream.partial_fit(codes(120), i % 3, classes=[0, 1, 2])
    labels = DeepFMClassifier(components=("linear", "fm"), **SMALL)
    yield "labels", labels.fit(codes(120), np.column_stack([i % 2, i % 3 == 0]).astype(int))


def answers(name, model):
    if name == "pipeline":
        return model.predict_proba(rows(40)).tolist()
    if name == "regressor":
        return model.predict(codes(40)).tolist()
    return model.predict_proba(codes(40)).tolist()


def test_files_of_the_present_format_are_kept():
    assert (FILES / f"format_{FORMAT}").is_dir()


@pytest.mark.parametrize("path", sorted(FILES.glob("format_*/*.deepfm")), ids=str)
def test_file_still_predicts_what_it_did(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    loaded = {"deepfm": load_model(path)}
    types = skops.io.get_untrusted_types(file=path.with_suffix(".skops"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # of scikit-learn's version
        loaded["skops"] = skops.io.load(path.with_suffix(".skops"), trusted=types)
        loaded["pickle"] = pickle.loads(path.with_suffix(".pickle").read_bytes())
    for model in loaded.values():
        assert repr(clone(model)) == repr(model)  # with parameters that came later
        np.testing.assert_allclose(answers(path.stem, model), expected, atol=1e-6)


@pytest.mark.parametrize("path", sorted(FILES.glob("format_*/stream.deepfm")), ids=str)
def test_training_goes_on_from_a_file(path):
    model = load_model(path)
    before = answers("stream", model)
    model.partial_fit(codes(120), np.arange(120) % 3)
    assert not np.allclose(answers("stream", model), before, atol=1e-6)


def write():
    folder = FILES / f"format_{FORMAT}"
    folder.mkdir(parents=True)
    for name, model in models():
        save_model(model, folder / f"{name}.deepfm")
        skops.io.dump(model, folder / f"{name}.skops")
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(model, protocol=4))
        (folder / f"{name}.json").write_text(json.dumps(answers(name, model)))


if __name__ == "__main__":
    write()
