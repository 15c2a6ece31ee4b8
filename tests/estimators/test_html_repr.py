"""What a notebook shows of an estimator."""

import html.parser

import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

SMALL = {"embed_dim": 2, "mlp_dims": (4,), "max_epochs": 3, "random_state": 0}


@pytest.fixture
def data(rng):
    X = pd.DataFrame({"<b>user</b>": rng.integers(0, 9, 300), "price": rng.normal(size=300)})
    return X, X["price"] > 0


class Tags(html.parser.HTMLParser):
    """Text of the cells, and a check that tags close in order."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ("input", "br", "img", "link", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def summary_cells(model):
    page = model._repr_html_()
    start = page.index('<div class="deepfm-summary">')
    return Tags(page[start : page.index("</details></div>", start) + len("</details></div>")]).cells


def test_an_unfitted_estimator_shows_no_summary():
    assert "deepfm-summary" not in DeepFMClassifier()._repr_html_()


@pytest.mark.parametrize("scoring", ["loss", "neg_log_loss"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_a_fitted_one_shows_fields_sizes_and_epochs(data, n_members, scoring):
    X, y = data
    model = DeepFMClassifier(n_members=n_members, scoring=scoring, **SMALL).fit(X, y)
    assert model._repr_mimebundle_()["text/html"].count("deepfm-summary") == 1
    cells = summary_cells(model)
    rows, module = model.field_dims_.sum(), model.module_
    assert f"2, of {rows:,} rows of the table" in cells
    n_mlp = sum(p.numel() for p in module.mlps.parameters())
    members = ", of 2 members" if n_members == 2 else ""
    assert f"{rows * 3 * n_members:,} in the table, {n_mlp:,} in the MLP{members}" in cells
    best = model.best_epoch_
    assert (best == 0) == (scoring == "loss")  # three epochs do not beat a linear model
    score = max(model.validation_scores_)
    epochs = "3, none of which is better than a linear model, which was kept"
    assert (f"3, the best one {best} with the score {score:.5g}" if best else epochs) in cells
    assert "<b>user</b>" in cells  # as text, not as a tag
    assert [cells[cells.index("price") + k] for k in (1, 2)] == [
        "numbers",
        str(model.field_dims_[1]),
    ]


def test_without_validation_rows_or_mlp_and_with_many_fields(rng):
    X, y = rng.integers(0, 3, (50, 40)), rng.normal(size=50)
    model = DeepFMRegressor(early_stopping=False, components=["linear"], **SMALL).fit(X, y)
    cells = summary_cells(model)
    assert "3" in cells
    assert any(cell.endswith("0 in the MLP") for cell in cells)
    assert "and 10 more" in cells


if hasattr(BaseEstimator, "_get_fitted_attr_html"):  # scikit-learn 1.9 or newer

    def test_a_pipeline_shows_the_summary_in_the_box_of_its_step(data):
        X, y = data
        model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(X, y)
        assert model._repr_html_().count("deepfm-summary") == 1
        assert "deepfm-summary" not in clone(model)._repr_html_()
