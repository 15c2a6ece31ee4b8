"""The house: which room imports which, what each may not import, and how long files get.

``python tests/test_layout.py`` writes the map in docs/contributing.rst, which the rooms' docstrings
make up.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import sklearn_deepfm

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sklearn_deepfm.__file__).parent
PAGE = ROOT / "docs" / "contributing.rst"
FLOORS = [
    ("_common", "_serialization", "_tables", "_model"),
    ("_encoder", "_fields", "_targets"),
    ("_samples",),
    ("_training",),
    ("_distributed",),
    ("_estimators",),
    ("_onnx", "_inspection", "_persistence"),
    ("datasets",),
]
ROOMS = [room for floor in FLOORS for room in floor]
NO_TORCH = {"_common", "_serialization", "_tables", "_encoder", "_fields", "_targets", "datasets"}
NO_SKLEARN = {"_model", "_serialization"}
LONGEST_FILE, LONGEST_BODY = 300, 60  # lines beside docstrings
FILES = sorted(PACKAGE.rglob("*.py"))
MAP_BEGINS, MAP_ENDS = ".. map of the rooms", ".. end of the map"


def room_of(path):
    """The folder of a file, or the file itself where it stands at the top."""
    first = path.relative_to(PACKAGE).parts[0]
    return "the package" if first == "__init__.py" else first.removesuffix(".py")


@cache
def imports_of(path):
    """Full names of all that a file imports anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def others_of(library):
    """The rooms whose files import a library, with these files."""
    found = defaultdict(list)
    for path in FILES:
        if any(name.split(".")[0] == library for name in imports_of(path)):
            found[room_of(path)].append(path.name)
    return found


def arrows():
    """For each room the rooms it imports, with the files that do."""
    found = defaultdict(lambda: defaultdict(set))
    for path in FILES:
        for name in imports_of(path):
            first, *rest = name.split(".")
            if first == "sklearn_deepfm" and rest and rest[0] != room_of(path):
                found[room_of(path)][rest[0]].add(path.name)
    return found


def docstring_of(room):
    path = PACKAGE / room
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text()))


def test_every_file_is_in_a_room():
    assert {room_of(path) for path in FILES} == {*ROOMS, "the package"}


def test_arrows_point_down():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    floor_of["the package"] = len(FLOORS)
    up = [
        f"{room} imports {other} in {sorted(files)}"
        for room, others in arrows().items()
        for other, files in others.items()
        if floor_of.get(other, len(FLOORS)) >= floor_of[room]
    ]
    assert not up


def test_no_file_imports_itself_by_a_detour():
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES
    }
    below = {
        name: {other for other in names if any(i.startswith(f"{other}.") for i in imports_of(path))}
        for name, path in names.items()
    }
    rooms = {name.removesuffix(".__init__") for name in names if name.endswith(".__init__")}
    below = {name: others - rooms - {"sklearn_deepfm"} for name, others in below.items()}
    while free := [name for name, others in below.items() if not others & set(below)]:
        for name in free:
            del below[name]
    assert not below, "these import each other"


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("_")])
def test_a_room_says_what_it_is_for_and_what_it_imports(room):
    if (PACKAGE / f"{room}.py").exists():
        assert docstring_of(room)
        return
    purpose, imported = docstring_of(room).split("\n\n")
    assert purpose.endswith(".")
    named = re.fullmatch(r"Imports (no other room|.*)\.", imported.replace("\n", " "))[1]
    assert set(re.findall(r"`(\w+)`", named)) == set(arrows()[room])


def test_torch_stays_above_the_line():
    assert not NO_TORCH & set(others_of("torch"))


def test_the_model_knows_torch_alone():
    assert not NO_SKLEARN & set(others_of("sklearn"))


def test_skorch_is_for_training_alone():
    assert set(others_of("skorch")) == {"_training"}


def test_matplotlib_and_onnx_are_imported_where_they_are_used():
    assert set(others_of("matplotlib")) == {"_inspection"}
    libraries = "onnx", "skl2onnx", "onnxruntime"
    assert {room for library in libraries for room in others_of(library)} == {"_onnx"}


def docstring_lines(tree):
    """Lines of all docstrings in a file."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield node.body[0].end_lineno - node.body[0].lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_and_no_function_is_too_long(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) - sum(docstring_lines(tree)) <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert n_lines <= LONGEST_BODY, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_opens_with_what_it_holds(path):
    said = ast.get_docstring(ast.parse(path.read_text()))
    assert said
    assert not said.startswith("What")


def map_of_rooms():
    """The rooms by floor, the highest first, in the words of their docstrings."""
    lines = [MAP_BEGINS, "", ".. list-table::", "   :header-rows: 1", "   :widths: 5 20 75", ""]
    lines += ["   * - Floor", "     - Room", "     - What it is for, and its files"]
    for number, floor in reversed(list(enumerate(FLOORS, start=1))):
        for room in floor:
            purpose = " ".join(docstring_of(room).split("\n\n")[0].split())
            folder = PACKAGE / room
            names = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
            files = f" ({', '.join(f'``{name}``' for name in names)})" if names else ""
            lines += [f"   * - {number}", f"     - ``{room}``", f"     - {purpose}{files}"]
    return "\n".join([*lines, "", MAP_ENDS])


def page_with_map():
    before, _, rest = PAGE.read_text().partition(MAP_BEGINS)
    return before + map_of_rooms() + rest.partition(MAP_ENDS)[2]


def test_map_in_contributing_is_that_of_the_rooms():
    assert PAGE.read_text() == page_with_map(), "python tests/test_layout.py writes the map anew"


if __name__ == "__main__":
    PAGE.write_text(page_with_map())
