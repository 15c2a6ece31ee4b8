"""The serving example as a real process that has no torch, asked over real connections."""

import contextlib
import http.client
import io
import json
import multiprocessing
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, save_model, to_onnx

SERVER = pathlib.Path(__file__).parents[2] / "docs" / "serving" / "server.py"
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
            "codes": [rng.integers(0, 5, k).tolist() for k in rng.integers(0, 4, 200)],
            "words": rng.choice(["a b", "b", "", "c a"], 200),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 99, 200), "D"),
        }
    )
    X["is_paid"] = X["is_new"].astype("boolean").where(X.index % 7 > 0, None)
    X["answers"] = [[True, False, None][: k % 4] for k in range(200)]
    X["shares"] = [rng.random(len(cell)).tolist() for cell in X["tags"]]
    for j, name in enumerate(["codes", "words", "day"]):
        X.loc[X.index % 11 == j, name] = None
    X.loc[X.index % 13 == 0, ["tags", "shares"]] = None
    return X, np.where(X["hour"] > 12, "late", "early")


@pytest.fixture(scope="module")
def model(data):
    encoder = OrdinalFieldEncoder(member_weights={"tags": "shares"}, separators={"words": " "})
    return make_pipeline(encoder, DeepFMClassifier(max_epochs=3, random_state=0)).fit(*data)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Variables of a process in which none of the libraries for training can be imported."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": str(folder)}


@contextlib.contextmanager
def serving(model, X, environment, folder):
    """The address at which a process serves the model."""
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(model, X).SerializeToString())
    command = [sys.executable, str(SERVER), str(path), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    try:
        yield process.stdout.readline().strip()
        assert process.poll() is None  # no request ended it
    finally:
        process.kill()
        _, complaints = process.communicate()
    assert complaints == ""


@pytest.fixture(scope="module")
def url(model, data, environment, tmp_path_factory):
    with serving(model, data[0], environment, tmp_path_factory.mktemp("served")) as url:
        yield url


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
    return [{name: in_json(value) for name, value in row.items()} for row in X.to_dict("records")]


def in_json(value):
    if isinstance(value, list):
        return value
    if value is None or value is pd.NA or value != value:
        return None
    return value.value // 1000 if isinstance(value, pd.Timestamp) else value


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
    X = X.assign(day=pd.NaT, words=None, tags=None, shares=None, codes=None)
    for name in ("city", "price", "day", "words", "tags", "shares", "codes"):
        del rows[0][name]
    _, answer = post(url, {"rows": rows})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), atol=1e-5)


def test_tells_its_columns(url):
    with urllib.request.urlopen(url) as answer:
        assert json.load(answer)["columns"] == {
            "city": "string",
            "price": "double",
            "hour": "int64",
            "is_new": "bool",
            "tags": "list of string",
            "codes": "list of int64",
            "words": "string",
            "day": "int64, microseconds",
            "is_paid": "double, booleans",
            "answers": "list of int64, booleans",
            "shares": "list of double, weights of 'tags'",
        }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hour": None}, "2**63 - 1, got None"),
        ({"hour": 1.5}, "2**63 - 1, got 1.5"),
        ({"hour": 2**70}, "'hour' must hold a whole number"),
        ({"city": 3}, "which stand for other things, got 3"),
        ({"price": "3"}, "'price' must hold a finite number or null, got '3'"),
        ({"price": True}, "'price' must hold a finite number or null, got True"),
        ({"price": float("inf")}, "'price' must hold a finite number or null, got inf"),
        ({"price": 10**400}, "'price' must hold a finite number or null"),
        ({"city": "half a character: \ud800"}, "surrogates not allowed"),
        ({"is_new": 1}, "'is_new' must hold true or false, got 1"),
        ({"is_paid": 1}, "'is_paid' must hold true or false, got 1"),
        ({"answers": [1]}, "'answers' must hold true or false, got 1"),
        ({"city": "<NA>"}, "'city' must hold a string or null, but none of ['<NA>']"),
        ({"city": ["Oslo"]}, "'city' must hold a string or null"),
        ({"words": "a <NA>"}, "'words' must hold a string or null, but none of ['<NA>']"),
        ({"day": "2026-01-01"}, "'day' must hold a whole number"),
        ({"day": -(2**63)}, "'day' must hold a whole number"),
        ({"tags": "x"}, "'tags' must hold lists, got 'x'"),
        ({"tags": [1], "shares": [1]}, "'tags' must hold a string or null"),
        ({"tags": [""], "shares": [1]}, "none of ['<NA>', '']"),
        ({"tags": [["x"]], "shares": [1]}, "'tags' must hold a string or null"),
        ({"codes": [1, -(2**63)]}, "'codes' must hold a whole number"),
        ({"tags": ["x"], "shares": [1, 2]}, "as many numbers as 'tags' has members"),
        ({"tags": ["x", "y"], "shares": [1]}, "as many numbers as 'tags' has members"),
        ({"tags": ["x"], "shares": None}, "as many numbers as 'tags' has members"),
        ({"tags": ["x"], "shares": [None]}, "as many numbers as 'tags' has members"),
        ({"tags": ["x"], "shares": 3}, "as many numbers as 'tags' has members"),
        ({"tags": ["x"], "shares": ["1"]}, "'shares' must hold a finite number"),
        ({"tags": ["x"], "shares": [-1]}, "no answer for row 0: weights"),
        ({"tags": ["x"], "shares": [1e300]}, "no answer for row 0: weights"),
        ({"town": "Oslo"}, "no columns ['town']"),
        ({"hour": [[[]]] * 10**5}, "'hour' must hold a whole number"),
    ],
)
def test_bad_cell_is_named(url, data, change, message):
    status, answer = post(url, {"rows": [rows_of(data[0])[1] | change]})
    assert status == 400
    assert message in answer["error"]
    assert len(answer["error"]) < 500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\0" * 9,
        b"[]",
        b'{"rows": 3}',
        b'{"rows": [1]}',
        b'{"rows": [], "more": 1}',
        b'{"rows": [{"hour": ' + b"9" * 5000 + b"}]}",
        b"[" * 10**5,
    ],
)
def test_bad_body_is_refused(url, body):
    status, answer = post(url, body)
    assert status == 400
    assert answer["error"]


def test_too_much_at_once_is_refused(url, data):
    row = rows_of(data[0])[1]
    for body, message in (
        (b" " * 2**23, "must have at most 4194304 bytes"),
        ({"rows": [{}] * 10_001}, "at most 10000 rows"),
        ({"rows": [row | {"codes": [1] * 2000}] + [row] * 1000}, "'codes' must hold at most 1000"),
        ({"rows": [row | {"words": "a " * 2000}] + [row] * 1000}, "'words' must hold at most 100"),
    ):
        status, answer = post(url, body)
        assert status == 413
        assert message in answer["error"]


def ask(url, method, path, headers=None):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_other_paths_and_methods_are_refused(url):
    assert ask(url, "GET", "/elsewhere")[0] == 404
    assert ask(url, "GET", "/predict")[0] == 405
    assert ask(url, "POST", "/")[0] == 405
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "NONSENSE"):
        status, answer = ask(url, method, "/predict")
        assert status == 405
        assert method in json.loads(answer)["error"]
    assert ask(url, "HEAD", "/")[0] == 405


def answers_to(url, sent):
    """All that the server sends back for some bytes, until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as file:
            return file.read()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 no HTTP\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_http_is_refused(url, sent, status):
    assert answers_to(url, sent).split(b" ")[1] == status


# Requests whose end two servers may see in different places: what follows as the body of one would
# be a request of its own to the other.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: %d",
        b"Content-Length: %d\r\nContent-Length: 0",
        b"Content-Length: 0, %d",
        b"Content-Length: +%d",
        b"Content-Length: -%d",
        b"Content-Length : %d",
        b"Content-Length: 0x%d",
        b"Content-Length: %d" + b"9" * 30,
        b"Transfer-Encoding: xchunked\r\nContent-Length: %d",
        b"Transfer-Encoding: chunked, identity\r\nContent-Length: %d",
        b"Transfer-Encoding:\x0bchunked\r\nContent-Length: %d",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d",
    ],
)
def test_length_that_can_be_read_in_two_ways_is_refused(url, headers):
    headers = headers % len(HIDDEN)
    sent = b"POST /predict HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n\r\n" + HIDDEN
    answers = answers_to(url, sent)
    assert answers.count(b"HTTP/1.") == 1  # the rest is no request
    assert 400 <= int(answers.split(b" ")[1]) < 600


def test_body_in_chunks_is_read(url, data):
    body = json.dumps({"rows": rows_of(data[0][:1])}).encode()
    chunks = [body[:7], body[7:], b""]
    sent = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    assert answers_to(url, sent).startswith(b"HTTP/1.1 200")


def test_two_requests_in_one_connection(url, data):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        for part, status in ((data[0][:1], 200), (data[0][:0], 200)):
            connection.request("POST", "/predict", json.dumps({"rows": rows_of(part)}))
            answer = connection.getresponse()
            assert answer.status == status
            assert len(json.load(answer)["label"]) == len(part)


def test_matrix_is_one_column_of_lists(environment, tmp_path):
    X = np.where(np.arange(150).reshape(50, 3) % 7 == 0, np.nan, np.arange(150).reshape(50, 3) / 4)
    model = DeepFMClassifier(max_epochs=2, random_state=0).fit(X, np.arange(50) % 2)
    with serving(model, X, environment, tmp_path) as url:
        with urllib.request.urlopen(url) as answer:
            assert json.load(answer)["columns"] == {"X": "list of length 3 of double"}
        rows = [{"X": [None if np.isnan(x) else x for x in row]} for row in X.tolist()]
        _, answer = post(url, {"rows": rows})
        np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), atol=1e-5)
        for row in ({"X": [1.0, 2.0]}, {"X": 1.0}, {"X": None}, {}):
            status, answer = post(url, {"rows": [row]})
            assert status == 400
            assert "'X' must hold lists of length 3" in answer["error"]


def test_missing_number_of_an_encoder_is_null(environment, tmp_path):
    X = pd.DataFrame({"city": ["Oslo", "Rome"] * 20, "price": [0.5, np.nan] * 20})
    with serving(OrdinalFieldEncoder(n_bins=None).fit(X), X, environment, tmp_path) as url:
        status, answer = post(url, {"rows": rows_of(X[:2])})
    assert status == 200
    assert answer == {"codes_0": [[2], [3]], "codes_1": [[0.5], [None]]}


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


def answer_in_forks(path, body, results):
    """Ask the application in the process that has loaded it, then in forks, as gunicorn does."""
    torch.set_num_threads(2)  # what the machine allows, before the application says otherwise
    app = runpy.run_path(str(SERVER.parent / "preload.py"))["application"](path)
    environ = {"CONTENT_LENGTH": str(len(body))}
    answers = [b"".join(app({**environ, "wsgi.input": io.BytesIO(body)}, lambda *head: None))]
    for _ in range(2):
        reader, writer = os.pipe()
        if os.fork() == 0:
            signal.alarm(50)  # one that waits for ever is not left behind
            with open(writer, "wb") as file:
                file.writelines(
                    app({**environ, "wsgi.input": io.BytesIO(body)}, lambda *head: None)
                )
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as file:
            answers.append(file.read())
    results.put(answers)


def test_forks_of_a_process_that_has_predicted_answer_as_it_does(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"city": rng.choice(["Oslo", "Rome", "Bonn"], 6000), "hour": rng.random(6000)})
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=1, random_state=0))
    model.set_params(deepfmclassifier__early_stopping=False).fit(X, X["hour"] > 0.5)
    save_model(model, tmp_path / "model.deepfm")
    context = multiprocessing.get_context("forkserver")
    results, body = context.Queue(), json.dumps({"rows": X.to_dict("records")}).encode()
    args = (str(tmp_path / "model.deepfm"), body, results)
    process = context.Process(target=answer_in_forks, args=args)
    process.start()
    # With two threads in the first process its forks would wait for ever.
    answers = results.get(timeout=60)
    process.join()
    assert len(set(answers)) == 1
    proba = json.loads(answers[0])["probabilities"]
    np.testing.assert_allclose(proba, model.predict_proba(X), atol=1e-6)
