"""How Sphinx builds this documentation: sphinx-build -W docs docs/_build/html."""

from sklearn.experimental import enable_halving_search_cv  # noqa: F401, an example is about it

import sklearn_deepfm

project = "sklearn_deepfm"
author = "The sklearn_deepfm developers"
copyright = author
version = release = sklearn_deepfm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {version}"
html_theme_options = {"show_toc_level": 2, "show_prev_next": False}
html_sidebars = {
    name: [] for name in ("tour", "how_it_works", "coming_from", "changelog", "contributing")
}

autosummary_generate = True
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_memory": False,
}


def _skip_what_others_wrote(app, what, name, obj, skip, options):
    """Leave out what scikit-learn and torch add to the classes: their own pages describe it."""
    owner = getattr(obj, "fget", obj)
    written_here = (getattr(owner, "__module__", None) or "").startswith("sklearn_deepfm")
    return skip or not written_here


def setup(app):
    app.connect("autodoc-skip-member", _skip_what_others_wrote)
