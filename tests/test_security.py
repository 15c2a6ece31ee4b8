"""What the security page promises beside what is tested with saved files."""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

PROGRAM = """
import socket, sys, tempfile, os
import torch, sklearn, skorch, pandas  # which may do as they like

def refuse(*args, **kwargs):
    raise AssertionError("a connection was opened")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
opened = []

def note(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append(args)

sys.addaudithook(note)
from sklearn.pipeline import make_pipeline
import sklearn_deepfm
print(*sys.modules)

import warnings
warnings.simplefilter("ignore")  # of columns, in so few rows
from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder
from sklearn_deepfm.datasets import load_flights

X, y = load_flights(return_X_y=True)
X, y = X[:2000], y[:2000]
model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(max_epochs=2))
model.fit(X, y).predict_proba(X)
written = [args[0] for args in opened if "__pycache__" not in str(args[0])]
assert not written, written
assert os.listdir() == [], os.listdir()
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """What became of the program, in a process and a folder of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("empty"),
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_no_connection_and_no_file(result):
    assert result.returncode == 0, result.stderr


def test_import_prints_nothing_and_warns_of_nothing(result):
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1  # the list of modules


def test_import_does_not_import_what_is_optional(result):
    modules = set(result.stdout.split())
    assert "sklearn_deepfm" in modules
    assert not modules & {"matplotlib", "onnx", "skl2onnx", "onnxruntime", "skops", "shap"}


def packages():
    """What a user installs, with the extras that are no tools of development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["plot"], *extras["onnx"]]
    return [line.split(">=")[0] for line in lines]


def listed():
    page = (ROOT / "docs" / "user_guide" / "security.rst").read_text()
    return dict(re.findall(r"\* - (\S+)\n     - (.+)", page))


def test_every_dependency_is_listed_with_its_licence():
    assert [name for name in listed() if name != "Package"] == packages()


NAMES = {
    "BSD": r"BSD",
    "Apache": r"Apache",
    "MIT": r"MIT",
    "MPL": r"MPL|Mozilla",
    "PSF": r"PSF|Python Software Foundation",
}


@pytest.mark.parametrize("package", packages())
def test_listed_licence_is_the_one_installed(package):
    metadata = importlib.metadata.metadata(package)
    said = [
        metadata.get("License-Expression") or "",
        (metadata.get("License") or "").split("\n")[0],
    ]
    said = " ".join([*said, *metadata.get_all("Classifier", ())])
    licence = listed()[package].split(";")[0]
    named = [pattern for name, pattern in NAMES.items() if name in licence]
    assert named
    assert all(re.search(pattern, said) for pattern in named), said
