"""Each promise of the docs names the tests that prove it, in promises.toml.

``python tests/test_promises.py`` prints the sentences with a strong word that are not listed yet.
"""

import ast
import inspect
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import sklearn_deepfm
from sklearn_deepfm import datasets

ROOT = Path(__file__).parents[1]
LISTED = tomllib.loads(Path(__file__).with_name("promises.toml").read_text(encoding="utf-8"))
NO_PROMISES = LISTED.pop("not a promise")
PROMISES = LISTED

# The changelog says what has changed, and the other file is written by Sphinx.
LEFT_OUT = {"docs/changelog.rst", "docs/sg_execution_times.rst"}
SHARED = ("DeepFMClassifier", "DeepFMRegressor")  # one page, as they say most things in both

# Words by which a sentence promises what can be false.
STRONG = re.compile(
    r"""\b(
    never | always | exact(ly)? | whatever | guarantee\w* | alike | lost | nothing
    | bit\ (for|by)\ bit | last\ bit | same\ bits | bit-equal
    | keeps? | kept | equals? | the\ same | the\ very | as\ if | as\ (it\ was|they\ were)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
# Code, its output and directives: what is no sentence.
NO_PROSE = re.compile(
    r"""
    ^```[\s\S]*?^```$                                    # of Markdown
    | ^\ *>>>.*\n(?:.*\S.*\n)*                           # an example with its output
    | ^(\ *)\.\.\ (?!note|list-table).*\n(?:\1\ +.*\n|\s*\n)*
    | (?<=::)\n\s*\n(\ +)\S.*\n(?:\2.*\n|\s*\n)*         # a literal block
    | ^\ *:[\w-]+:(?:\ .*)?$                             # an option of a directive
    | ^[\w,\ *]+\ :\ .*$                                 # a parameter and its type
    | ^.*\n\ *([=-])\3{2,}$ | ^\ *={2,}[\ =]*$           # a heading, the rules of a table
    """,
    re.MULTILINE | re.VERBOSE,
)


def _docstrings(obj):
    """Docstrings of an object and, where it is a class, of its public methods and attributes."""
    yield inspect.getdoc(obj)
    for name in dir(obj) if inspect.isclass(obj) else ():
        value = inspect.getattr_static(obj, name)
        value = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "func", value))
        module = getattr(value, "__module__", None) or ""
        if not name.startswith("_") and module.startswith("sklearn_deepfm.") and value.__doc__:
            yield inspect.getdoc(value)


@cache
def pages():
    """Text of each page: a file of the docs, or the docstrings of a public class or function."""
    files = [ROOT / "README.md", *ROOT.glob("docs/*.rst"), *ROOT.glob("docs/user_guide/*.rst")]
    names = {path.relative_to(ROOT).as_posix(): path for path in sorted(files)}
    texts = {name: path.read_text("utf-8") for name, path in names.items() if name not in LEFT_OUT}
    for module in (sklearn_deepfm, datasets):
        for name in module.__all__:
            obj = getattr(module, name)
            if not name.startswith("__") and not inspect.ismodule(obj):
                page = ", ".join(SHARED) if name in SHARED else name
                texts[page] = "\n\n".join([texts.get(page, ""), *_docstrings(obj)])
    return texts


def _plain(text):
    return " ".join(text.split())


def sentences(text):
    """The sentences of a page, without line breaks."""
    prose = NO_PROSE.sub("\n\n", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d\.|\* -) )", prose):
        yield from filter(None, re.split(r"(?<=[.?!]) (?=[A-Z`\"*:])", _plain(paragraph)))


def _test_functions(path):
    """Names of the tests in a file; of a page whose examples run, the page itself."""
    if path.suffix == ".rst":
        return {path.name} if ">>>" in path.read_text("utf-8") else set()
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def _quotes(page):
    return {*PROMISES.get(page, {}), *NO_PROMISES.get(page, [])}


def unlisted():
    """Each sentence with a strong word, and its page, of which no quote is listed."""
    for page, text in pages().items():
        quotes = [_plain(quote) for quote in _quotes(page)]
        for sentence in sentences(text):
            if STRONG.search(sentence) and not any(quote in sentence for quote in quotes):
                yield page, sentence


@pytest.mark.parametrize("page", sorted({*PROMISES, *NO_PROMISES}))
def test_quotes_stand_in_their_page(page):
    found = list(sentences(pages()[page]))
    for quote in _quotes(page):
        assert any(_plain(quote) in sentence for sentence in found), quote


def test_every_promise_names_tests_that_exist():
    named = {test for page in PROMISES.values() for tests in page.values() for test in tests}
    for page, promises in PROMISES.items():
        assert all(promises.values()), f"a promise of {page} names no test"
    files = {file: _test_functions(ROOT / file) for file in {t.split("::")[0] for t in named}}
    missing = [
        test for test in sorted(named) if test.split("::")[1] not in files[test.split("::")[0]]
    ]
    assert not missing


def test_nothing_is_listed_twice():
    for page in {*PROMISES, *NO_PROMISES}:
        assert not {*PROMISES.get(page, {})} & {*NO_PROMISES.get(page, [])}


def test_every_sentence_with_a_strong_word_is_listed():
    missing = [f"{page}: {sentence}" for page, sentence in unlisted()]
    assert not missing, "list each as a promise or as none, in tests/promises.toml"


if __name__ == "__main__":
    for page, sentence in unlisted():
        print(f"{page}: {sentence}")  # noqa: T201
