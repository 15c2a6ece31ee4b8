"""The README's code runs, and its commands name things that exist."""

import re
import tomllib
from pathlib import Path

import pytest

import sklearn_deepfm

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def _clone_commands():
    """The commands that make their own environment."""
    return [block.strip() for block in _blocks("bash") if "venv" in block]


def test_python_blocks_run():
    blocks = _blocks("python")
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    proba = names["model"].predict_proba(names["X_test"])
    assert proba.shape == (len(names["X_test"]), 2)


def test_first_command_installs_what_there_is_to_install():
    is_released = "dev" not in sklearn_deepfm.__version__
    command = "pip install sklearn_deepfm" if is_released else "pip install ."
    assert _blocks("bash")[0].strip() == command


def test_one_command_runs_the_example_and_one_the_tests():
    scripts = [command.rsplit("&& ", 1)[1] for command in _clone_commands()]
    assert scripts == [".venv/bin/python docs/examples/plot_flight_delays.py", ".venv/bin/pytest"]


@pytest.mark.parametrize("command", _clone_commands())
def test_command_stands_alone(command):
    assert "\n" not in command
    venv, install, run = command.split(" && ")
    assert venv == "python3 -m venv .venv"
    extra = re.fullmatch(r'\.venv/bin/pip install -e "\.\[(\w+)\]"', install)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
    for script in re.findall(r"\S+\.py$", run):
        assert (ROOT / script).is_file()


def test_relative_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link
