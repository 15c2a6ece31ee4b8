"""The serving example as a real process that has no torch, asked over real connections."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, to_onnx

SERVER = pathlib.Path(__file__).parents[1] / "docs" / "serving" / "server.py"
BLOCKER = """
import sys
NAMES = {"torch", "sklearn", "skorch", "pandas", "pyarrow", "sklearn_deepfm"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in NAMES:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rome", "日本", None], 200),
            "price": np.where(rng.random(200) < 0.1, np.nan, rng.normal(size=200)),
            "hour": rng.integers(0, 24, 200),
            "is_new": rng.random(200) < 0.5,
            "tags": [rng.choice(["x", "y", "z"], k).tolist() for k in rng.integers(0, 4, 200)],
        }
    )
    return X, np.where(X["hour"] > 12, "late", "early")


@pytest.fixture(scope="module")
def model(data):
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=3, random_state=0))
    return model.fit(*data)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Variables of a process in which none of the libraries for training can be imported."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def url(model, data, environment, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model.onnx"
    path.write_bytes(to_onnx(model, data[0]).SerializeToString())
    command = [sys.executable, str(SERVER), str(path), "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
        assert process.poll() is None  # no request ended it
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def post(url, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + "/predict", data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def rows_of(X):
    return [
        {name: None if value is None or value != value else value for name, value in row.items()}
        for row in X.to_dict("records")
    ]


def test_process_has_no_torch(environment):
    for name in ("torch", "sklearn", "pandas", "sklearn_deepfm"):
        command = [sys.executable, "-c", f"import {name}"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert result.returncode != 0
        assert "is not installed here" in result.stderr


def test_answers_are_those_of_the_pipeline(url, model, data):
    X = pd.concat([data[0], data[0][:2].assign(city=["never seen", "<NA> "], hour=99)])
    status, answer = post(url, {"rows": rows_of(X)})
    assert status == 200
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), atol=1e-5)
    assert answer["label"] == model.predict(X).tolist()


def test_one_row_and_no_row(url, model, data):
    _, answer = post(url, {"rows": rows_of(data[0][:1])})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(data[0][:1]), atol=1e-5)
    assert post(url, {"rows": []}) == (200, {"label": [], "probabilities": []})


def test_column_left_out_is_missing(url, model, data):
    X = data[0][:1].assign(city=None, price=np.nan)
    rows = rows_of(X)
    del rows[0]["city"], rows[0]["price"]
    _, answer = post(url, {"rows": rows})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), atol=1e-5)


def test_tells_its_columns(url):
    with urllib.request.urlopen(url) as answer:
        assert json.load(answer)["columns"] == {
            "city": "tensor(string)",
            "price": "tensor(double)",
            "hour": "tensor(int64)",
            "is_new": "tensor(bool)",
            "tags": "tensor(string)s",
        }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hour": None}, "'hour' must hold a whole number, got None"),
        ({"hour": 1.5}, "'hour' must hold a whole number, got 1.5"),
        ({"hour": 2**70}, "'hour' must hold a whole number"),
        ({"city": 3}, "'city' must hold a string or null, got 3"),
        ({"price": "3"}, "'price' must hold a finite number or null, got '3'"),
        ({"price": True}, "'price' must hold a finite number or null, got True"),
        ({"price": float("inf")}, "'price' must hold a finite number or null, got inf"),
        ({"price": 10**400}, "'price' must hold a finite number or null"),
        ({"city": "half a character: \ud800"}, "surrogates not allowed"),
        ({"is_new": 1}, "'is_new' must hold true or false, got 1"),
        ({"tags": "x"}, "'tags' must hold lists"),
        ({"tags": [1]}, "'tags' must hold a string or null, got 1"),
        ({"town": "Oslo"}, "no columns ['town']"),
    ],
)
def test_bad_cell_is_named(url, data, change, message):
    status, answer = post(url, {"rows": [rows_of(data[0])[0] | change]})
    assert status == 400
    assert message in answer["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b'{"rows": 3}', b'{"rows": [1]}', b"[" * 10**5]
)
def test_bad_body_is_refused(url, body):
    assert post(url, body)[0] == 400


def test_many_requests_at_once(url, model, data):
    expected, wrong = model.predict_proba(data[0]), []

    def ask(part):
        for row in range(part, 200, 8):
            _, answer = post(url, {"rows": rows_of(data[0][row : row + 1])})
            if not np.allclose(answer["probabilities"], expected[row], atol=1e-5):
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
