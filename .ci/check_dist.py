"""Check two builds of the same tree: equal, and holding what they should and nothing else.

    python .ci/check_dist.py FOLDER OTHER_FOLDER

Each folder holds a wheel and a source distribution.
"""

import hashlib
import pathlib
import sys
import tarfile
import zipfile

TOP_OF_SDIST = {
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "docs",
    "pyproject.toml",
    "sklearn_deepfm",
    "tests",
}
TOP_OF_SDIST |= {".gitignore"}  # hatchling's own


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def complaints(folder):
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("sklearn_deepfm/")}
    others = {name for name in names if name not in package and ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        sources = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    tree = {str(path) for path in pathlib.Path("sklearn_deepfm").rglob("*") if path.is_file()}
    tree = {name for name in tree if "__pycache__" not in name}
    yield from (f"the wheel lacks {name}" for name in sorted(tree - package))
    yield from (f"the wheel holds {name}" for name in sorted(package - tree | others))
    yield from (f"the sdist lacks {name}" for name in sorted(tree - sources))
    tops = {name.split("/")[0] for name in sources}
    yield from (f"the sdist holds {name}" for name in sorted(tops - TOP_OF_SDIST))
    if not any(name.endswith("licenses/LICENSE") for name in names):
        yield "the wheel holds no licence"


def main():
    first, second = map(pathlib.Path, sys.argv[1:])
    found = list(complaints(first))
    if digests(first) != digests(second):
        found.append(f"two builds differ: {digests(first)} and {digests(second)}")
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
