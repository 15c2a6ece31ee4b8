"""What the displays draw are the numbers that they keep."""

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    EmbeddingDisplay,
    FieldImportanceDisplay,
    InteractionDisplay,
    LossCurveDisplay,
    OrdinalFieldEncoder,
    WaterfallDisplay,
    contributions,
    importances,
)

matplotlib.use("Agg")
SMALL = {"embed_dim": 4, "mlp_dims": (8,), "max_epochs": 4, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"field with a long name {j}": rng.integers(0, 5, 600) for j in range(13)})
    X["city"] = rng.choice(["Rome", "Oslo", "Bonn", "Santa Cruz de la Sierra de los Andes"], 600)
    return X, (X.iloc[:, 0] + X.iloc[:, 1]) % 2


@pytest.fixture(scope="module")
def model(data):
    return make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL)).fit(*data)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts_overlap(texts):
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_loss_curves_are_those_of_the_history(model):
    display = LossCurveDisplay.from_estimator(model)
    training, validation = display.lines_
    history = model[-1].history_
    assert training.get_xdata().tolist() == [1, 2, 3, 4]
    assert training.get_ydata().tolist() == [epoch["train_loss"] for epoch in history]
    assert validation.get_ydata().tolist() == [epoch["valid_loss"] for epoch in history]
    assert display.figure_ is display.ax_.figure


def test_loss_curve_without_validation_rows(data):
    X, y = data
    model = DeepFMClassifier(early_stopping=False, **SMALL).fit(X.iloc[:, :2], y)
    assert len(LossCurveDisplay.from_estimator(model).lines_) == 1


def test_bars_of_field_importances(model, data):
    display = FieldImportanceDisplay.from_estimator(model, data[0], max_fields=5)
    fields = importances(model, data[0]).fields
    pd.testing.assert_frame_equal(display.importances.fields, fields)
    alone, in_pairs = ([bar.get_width() for bar in bars][::-1] for bars in display.bars_)
    np.testing.assert_allclose(alone, fields["strength"][:5])
    np.testing.assert_allclose(in_pairs, fields["in_pairs"][:5])
    names = [label.get_text() for label in display.ax_.get_yticklabels()][::-1]
    assert names == fields.index[:5].tolist()


@pytest.mark.parametrize("display", [FieldImportanceDisplay, InteractionDisplay])
def test_labels_of_many_fields_do_not_overlap(display, model, data):
    drawn = display.from_estimator(model, data[0])
    drawn.figure_.canvas.draw()
    assert not texts_overlap(drawn.ax_.get_yticklabels())
    title = drawn.ax_.get_title()
    assert title.startswith("fields ")
    assert "deep " in title


def test_cells_of_interactions(model, data):
    display = InteractionDisplay.from_estimator(model, data[0], max_fields=6)
    image = display.im_.get_array()
    assert image.shape == (5, 5)
    rows = [label.get_text() for label in display.ax_.get_yticklabels()]
    columns = [label.get_text() for label in display.ax_.get_xticklabels()]
    matrix = display.importances.matrix()
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if j <= i:
                assert image[i, j] == matrix.loc[row, column]
            else:
                assert np.ma.is_masked(image[i, j]) or np.isnan(image[i, j])


@pytest.mark.parametrize("max_terms", [5, 1000])
def test_waterfall_ends_at_the_prediction(model, data, max_terms):
    X, _ = data
    display = WaterfallDisplay.from_estimator(model, X, row=7, max_terms=max_terms)
    expected = model.decision_function(X[7:8])[0]
    assert display.bias + display.terms.sum() == pytest.approx(expected, rel=1e-5)
    last = display.bars_.patches[-1]
    assert last.get_x() + last.get_width() == pytest.approx(expected, rel=1e-5)
    assert len(display.bars_) == min(max_terms, 14 + 14 * 13 // 2 + 1)
    sizes = display.terms.abs().to_numpy()
    assert (np.diff(sizes) <= 0).all()
    assert f"city = {X['city'][7][:10]}" in " ".join(label[:17] for label in display.terms.index)


def test_waterfall_of_one_class(data):
    X, _ = data
    model = DeepFMClassifier(**SMALL).fit(
        X.iloc[:, :3], np.array(["a", "b", "c"])[X.iloc[:, 0] % 3]
    )
    found = contributions(model, X.iloc[:4, :3])
    display = WaterfallDisplay.from_contributions(found, row=2, output="b")
    expected = model.decision_function(X.iloc[2:3, :3])[0, 1]
    assert display.bias + display.terms.sum() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    with pytest.raises(ValueError, match="row must be a position in the 4 rows of X, got 4"):
        WaterfallDisplay.from_contributions(found, row=4, output="b")
    with pytest.raises(ValueError, match="output must be one of"):
        WaterfallDisplay.from_contributions(found)


def test_map_keeps_the_distances_of_embeddings_in_a_plane(data):
    X, y = data
    params = {**SMALL, "embed_dim": 2}
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**params)).fit(X, y)
    display = EmbeddingDisplay.from_estimator(model, "city")
    embeddings = model[0].by_category("city", model[1].embeddings(13)).loc[display.points.index]
    points = display.points.to_numpy()
    for i in range(4):
        between = np.linalg.norm(points - points[i], axis=1)
        expected = np.linalg.norm(embeddings.to_numpy() - embeddings.to_numpy()[i], axis=1)
        np.testing.assert_allclose(between, expected, rtol=1e-4, atol=1e-7)
    assert display.shares.sum() == pytest.approx(1)
    frequent = X["city"].value_counts()
    assert display.points.index[0] == frequent.index[0]
    assert max(len(text.get_text()) for text in display.labels_) <= 28


def test_map_of_many_categories_writes_names_apart(rng):
    names = np.array([f"airport {k}" for k in range(200)])
    X = pd.DataFrame({"from": rng.choice(names, 3000), "to": rng.choice(names, 3000)})
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL))
    model.fit(X, X["from"] < X["to"])
    display = EmbeddingDisplay.from_estimator(model, "to", max_categories=150, max_labels=30)
    assert len(display.points) == 150
    assert 5 < len(display.labels_) <= 30
    assert not texts_overlap(display.labels_)


def test_displays_draw_into_axes_that_are_given(model, data):
    X, _ = data
    _, axes = plt.subplots(1, 5, figsize=(20, 4))
    found = importances(model, X)
    drawn = [
        LossCurveDisplay.from_estimator(model, ax=axes[0]),
        FieldImportanceDisplay(found).plot(axes[1]),
        InteractionDisplay(found).plot(axes[2]),
        WaterfallDisplay.from_estimator(model, X, ax=axes[3]),
        EmbeddingDisplay.from_estimator(model, "city", ax=axes[4]),
    ]
    assert [display.ax_ for display in drawn] == list(axes)


def test_matplotlib_is_needed_by_drawing_alone(model, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = importances(model, data[0])
    with pytest.raises(ImportError, match="Drawing needs matplotlib.*pip install"):
        FieldImportanceDisplay(found).plot()


def test_names_with_signs_of_formulas_are_drawn_as_they_are(rng):
    X = pd.DataFrame(
        {"$a_$": rng.choice(["$0-$50", "$50_$", "b"], 300), "b": rng.choice(["x", "y"], 300)}
    )
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL))
    model.fit(X, X["$a_$"] == "b")
    found = importances(model, X)
    drawn = [
        FieldImportanceDisplay(found).plot(),
        InteractionDisplay(found).plot(),
        WaterfallDisplay.from_estimator(model, X, row=-1),
        EmbeddingDisplay.from_estimator(model, "$a_$"),
    ]
    for display in drawn:
        display.figure_.canvas.draw()
        labels = [*display.ax_.get_yticklabels(), *getattr(display, "labels_", [])]
        assert not any(label.get_parse_math() for label in labels if "$" in label.get_text())
    assert "$50_$" in [text.get_text() for text in drawn[3].labels_]


def test_sizes_that_cannot_be_drawn_are_refused(model, data):
    X, y = data
    one = DeepFMClassifier(**SMALL).fit(X.iloc[:, :1], y)
    with pytest.raises(ValueError, match="number of fields must be at least 2, got 1"):
        InteractionDisplay.from_estimator(one, X.iloc[:, :1])
    with pytest.raises(ValueError, match="max_fields must be at least 1, got 0"):
        FieldImportanceDisplay.from_estimator(model, X, max_fields=0)
    with pytest.raises(ValueError, match="max_terms must be at least 2, got 0"):
        WaterfallDisplay.from_estimator(model, X, max_terms=0)
    with pytest.raises(ValueError, match="max_categories must be at least 1, got 0"):
        EmbeddingDisplay.from_estimator(model, "city", max_categories=0)
