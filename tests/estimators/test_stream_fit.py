"""Fit to data sets of Parquet that need not fit in memory, and predictions for them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    predict_to_parquet,
)

N = 4_000


@pytest.fixture
def streams(monkeypatch):
    """Every data set is a stream, of many parts."""
    monkeypatch.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", 300)
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", 0)
    monkeypatch.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_CHUNK", 128)
    monkeypatch.setattr("sklearn_deepfm._samples.disk_buffer.ROWS_OF_A_BLOCK", 1024)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 60, N), rng.integers(0, 20, N)
    taste, style = rng.normal(size=60), rng.normal(size=20)
    x = rng.normal(size=N)
    z = 3 * taste[user] * style[item] + x + rng.normal(size=N)
    tags = [sorted(rng.choice(["a", "b", "c"], k, replace=False)) for k in rng.integers(0, 3, N)]
    return pd.DataFrame(
        {
            "user": [f"u{u}" if u else None for u in user],
            "item": item,
            "x": x,
            "tags": tags,
            "label": np.where(z > 0, "yes", "no"),
            "level": np.digitize(z, [-1, 1]),
            "amount": z,
            "other": (x > 0).astype(int),
            "is_yes": (z > 0).astype(int),
            "w": rng.integers(0, 3, N).astype(float),
        }
    )


FEATURES = ["user", "item", "x", "tags"]
TARGETS = ["label", "level", "amount", "other", "is_yes"]


@pytest.fixture(scope="module")
def dataset(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    for number in range(3):
        rows = pa.Table.from_pandas(table[number::3], preserve_index=False)
        pq.write_table(rows, folder / f"{number}.parquet", row_group_size=500)
    return pads.dataset(folder)


@pytest.fixture(scope="module")
def in_order(table):
    """The rows in the order of the files."""
    return pd.concat([table[number::3] for number in range(3)], ignore_index=True)


def without(target, others=("w",)):
    return [name for name in (*TARGETS, "w") if name != target and name not in target]


def pipeline(estimator=DeepFMClassifier, **params):
    params = {"max_epochs": 8, "random_state": 0, "batch_size": 64, **params}
    return make_pipeline(OrdinalFieldEncoder(), estimator(**params))


def fit(model, dataset, y, **params):
    step = f"{model.steps[-1][0]}__"
    return model.fit(
        dataset,
        y,
        ordinalfieldencoder__leave_out=without(y),
        **{step + name: value for name, value in params.items()},
    )


@pytest.mark.parametrize(("n_members", "sparse"), [(1, True), (3, False)])
def test_stream_is_learned_as_well_as_the_table(streams, dataset, in_order, n_members, sparse):
    params = {"n_members": n_members, "sparse_updates": sparse, "max_epochs": 15}
    model = fit(pipeline(**params), dataset, "label")
    expected = pipeline(**params).fit(in_order[FEATURES], in_order["label"])
    X, y = in_order[FEATURES], in_order["label"] == "yes"
    scores = [roc_auc_score(y, m.predict_proba(X)[:, 1]) for m in (model, expected)]
    assert scores[0] > 0.85
    assert scores[0] > scores[1] - 0.015
    kinds = np.array(model[-1].field_kinds_)
    assert kinds.tolist() == expected[-1].field_kinds_
    dims, expected_dims = model[-1].field_dims_, expected[-1].field_dims_
    assert_array_equal(dims[kinds == "codes"], expected_dims[kinds == "codes"])
    # Other rows are held out, which may make one bin more or less of those of numbers.
    assert_allclose(dims, expected_dims, atol=2)
    assert model[-1].validation_scores_ is not None


def test_linear_model_in_one_batch_is_that_of_the_table(streams, dataset, in_order):
    """Nothing is drawn then, and there is one minimum, whatever the order of the rows."""
    params = {"early_stopping": False, "batch_size": N, "components": ["linear"], "max_epochs": 150}
    params |= {"class_weight": "balanced", "learning_rate": 0.05}
    model = fit(pipeline(**params), dataset, "label", sample_weight="w")
    expected = pipeline(**params).fit(
        in_order[FEATURES], in_order["label"], deepfmclassifier__sample_weight=in_order["w"]
    )
    assert model[-1].loss_curve_[0] == pytest.approx(expected[-1].loss_curve_[0], rel=1e-6)
    X = in_order[FEATURES]
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (DeepFMClassifier, "level"),
        (DeepFMRegressor, "amount"),
        (DeepFMClassifier, ["is_yes", "other"]),
        (DeepFMRegressor, ["amount", "other"]),
    ],
    ids=str,
)
def test_targets_of_every_kind(streams, dataset, in_order, estimator, target):
    model = fit(pipeline(estimator), dataset, target)
    X, y = in_order[FEATURES], in_order[target]
    assert_allclose(model.predict(dataset), model.predict(X))
    score = accuracy_score if estimator is DeepFMClassifier else r2_score
    assert score(y, model.predict(X)) > (0.3 if score is r2_score else 0.55)
    assert model.score(dataset, target) == pytest.approx(score(y, model.predict(X)))


def test_predictions_for_a_data_set_are_those_for_the_table(streams, dataset, in_order):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    X = in_order[FEATURES]
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(model, method)(dataset), getattr(model, method)(X))
    weight = in_order["w"]
    expected = accuracy_score(in_order["label"], model.predict(X), sample_weight=weight)
    assert model.score(dataset, "label", sample_weight="w") == expected


def test_small_data_set_gives_the_very_model_of_the_table(dataset, in_order):
    model = fit(pipeline(max_epochs=2), dataset, "label", sample_weight="w")
    expected = pipeline(max_epochs=2).fit(
        in_order[FEATURES], in_order["label"], deepfmclassifier__sample_weight=in_order["w"]
    )
    assert_array_equal(model.predict_proba(dataset), expected.predict_proba(in_order[FEATURES]))


def test_same_seed_same_model(streams, dataset):
    models = [fit(pipeline(max_epochs=2, n_members=2), dataset, "label") for _ in range(2)]
    assert_array_equal(*[model.predict_proba(dataset) for model in models])


def test_rows_held_out_are_the_same_whatever_the_parts(streams, dataset, monkeypatch):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    monkeypatch.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", 777)
    other = fit(pipeline(max_epochs=1), dataset, "label")
    for field, same in zip(model[-1]._fields, other[-1]._fields, strict=True):
        assert_array_equal(np.sort(field.frequency), np.sort(same.frequency))
    assert model[-1]._n_seen == other[-1]._n_seen < 0.95 * N


@pytest.mark.parametrize("is_dataset", [True, False])
def test_validation_rows(streams, dataset, in_order, is_dataset):
    model = pipeline(max_epochs=2)
    model.transform_input = ["X_val"]
    few = dataset.filter(pads.field("item") < 5)
    rows = in_order[in_order["item"] < 5]
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        model[0].set_fit_request(leave_out=True)
        model[1].set_fit_request(X_val=True, y_val=True)
        validation = {"X_val": few, "y_val": "label"}
        if not is_dataset:
            validation = {"X_val": rows[FEATURES], "y_val": rows["label"]}
        model.fit(dataset, "label", leave_out=without("label"), **validation)
    proba = model.predict_proba(rows[FEATURES])
    assert -log_loss(rows["label"], proba) == pytest.approx(max(model[-1].validation_scores_))


def test_table_may_be_validated_by_a_data_set(dataset, in_order):
    encoder = OrdinalFieldEncoder().fit(in_order[FEATURES])
    codes, few = encoder.transform(in_order[FEATURES]), dataset.filter(pads.field("item") < 5)
    model = DeepFMClassifier(max_epochs=2, random_state=0)
    model.fit(codes, in_order["label"], X_val=encoder.transform(few), y_val="label")
    rows = in_order[in_order["item"] < 5]
    expected = clone(model).fit(
        codes,
        in_order["label"],
        X_val=encoder.transform(rows[FEATURES]),
        y_val=rows["label"],
    )
    assert model.validation_scores_ == expected.validation_scores_


def test_estimator_reads_codes_and_numbers_of_a_data_set(streams, tmp_path):
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "code": pa.array(rng.integers(0, 9, N), mask=rng.random(N) < 0.1),
            "number": rng.normal(size=N),
            "kind": pa.array(rng.choice(["a", "b"], N)).dictionary_encode(),
            "y": rng.integers(0, 2, N),
            "w": rng.random(N),
        }
    )
    pq.write_table(table, tmp_path / "rows")
    X = pads.dataset(tmp_path / "rows")
    of_codes = ["code", "kind"]
    model = DeepFMClassifier(max_epochs=2, random_state=0, categorical_features=of_codes)
    model.fit(X, "y", sample_weight="w")
    assert model.feature_names_in_.tolist() == ["code", "number", "kind"]
    names = ["code", "number", "kind"]
    assert_allclose(model.predict_proba(X), model.predict_proba(table.select(names)))
    assert model.field_dims_[0] == 11  # nine codes, missing, unseen


def test_class_that_is_rare_is_not_lost(streams, dataset, monkeypatch):
    """The sample need not hold it."""
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.SAMPLE", 50)
    model = fit(pipeline(max_epochs=1), dataset, "level")
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def rare_amounts(tmp_path_factory):
    """Rows of which few have an amount, those of the first user, and one a very large one."""
    rng = np.random.default_rng(0)
    user, w = rng.integers(0, 20, 900), rng.integers(0, 3, 900).astype(float)
    y = np.where(user == 0, 100.0 + rng.normal(size=900), 0.0)
    rows = pd.DataFrame({"user": user, "w": w, "y": y})
    rows.loc[450, ["y", "w"]] = 1e60, 0.0
    path = tmp_path_factory.mktemp("rare") / "rows"
    rows.to_parquet(path)
    return pads.dataset(path), rows


@pytest.mark.parametrize("n_members", [1, 2])
def test_amounts_that_the_sample_lacks_are_learned(streams, rare_amounts, monkeypatch, n_members):
    """Their mean and deviation are those of all training rows."""
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.SAMPLE", 5)
    dataset, rows = rare_amounts
    params = {"random_state": 0, "n_members": n_members, "max_epochs": 10, "batch_size": 64}
    params |= {"components": ["linear"], "learning_rate": 0.1}
    model = DeepFMRegressor(**params).fit(dataset, "y", sample_weight="w")
    learned, weight = rows["y"], rows["w"]
    if n_members == 2:  # each row is a training row of one of them at least
        mean = np.average(learned, weights=weight)
        deviation = np.sqrt(np.average((learned - mean) ** 2, weights=weight))
        assert_allclose([model._target.mean, model._target.scale], [mean, deviation])
    predicted = model.predict(rows[["user"]])
    assert predicted[rows["user"] == 0].mean() == pytest.approx(100, rel=0.1)
    assert abs(predicted[rows["user"] > 0]).max() < 10


def test_amount_far_from_those_of_the_sample_is_learned(streams, rare_amounts, monkeypatch):
    """By the deviation of the sample it would be infinite for the network."""
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.SAMPLE", 500)
    dataset, rows = rare_amounts
    model = DeepFMRegressor(random_state=0, early_stopping=False, max_epochs=1).fit(dataset, "y")
    assert_allclose(
        [model._target.mean, model._target.scale], [rows["y"].mean(), rows["y"].std(ddof=0)]
    )
    assert np.isfinite(model.predict(dataset)).all()


def test_amounts_are_checked_in_all_rows(streams, rare_amounts, monkeypatch, tmp_path):
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.SAMPLE", 5)
    _, rows = rare_amounts
    for wrong, message in ((np.nan, "Input y contains NaN"), (np.inf, "y contains infinity")):
        rows.assign(y=[*rows["y"][:-1], wrong]).to_parquet(tmp_path / "rows")
        with pytest.raises(ValueError, match=message):
            DeepFMRegressor(random_state=0).fit(pads.dataset(tmp_path / "rows"), "y")


def test_rows_of_weight_zero_have_no_effect(streams, dataset, in_order, tmp_path):
    rows = pa.Table.from_pandas(in_order, preserve_index=False)
    strange = pa.Table.from_pandas(
        in_order[:900].assign(w=0.0, label="never", user="nobody"), preserve_index=False
    )
    pq.write_table(pa.concat_tables([rows, strange]), tmp_path / "rows")
    model = fit(pipeline(max_epochs=1), pads.dataset(tmp_path / "rows"), "label", sample_weight="w")
    assert model.classes_.tolist() == ["no", "yes"]
    assert len(model[-1]._fields[0].codes) == 60  # with the missing one, without "nobody"


def test_checkpoint_of_a_stream_is_gone_on_with(streams, dataset, tmp_path, monkeypatch):
    from skorch.callbacks import Callback

    class Break(Callback):
        at = None

        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == Break.at:
                raise OSError("broken off")

    monkeypatch.setattr("sklearn_deepfm._training.checkpoint.TIME_BETWEEN", 0)
    path = tmp_path / "checkpoint"
    Break.at = 4
    with pytest.raises(OSError, match="broken off"):
        fit(pipeline(checkpoint=path, callbacks=[Break()], max_epochs=5), dataset, "label")
    assert path.exists()
    Break.at = None
    model = fit(pipeline(checkpoint=path, callbacks=[Break()], max_epochs=5), dataset, "label")
    expected = fit(pipeline(callbacks=[Break()], max_epochs=5), dataset, "label")
    assert_array_equal(model.predict_proba(dataset), expected.predict_proba(dataset))
    assert not path.exists()


def encoded(dataset, leave_out="w"):
    return OrdinalFieldEncoder().fit(dataset, TARGETS, leave_out=leave_out).transform(dataset)


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_target_or_weight_among_the_features_is_refused(streams, dataset, monkeypatch, in_memory):
    """The model would be told what it shall learn."""
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", in_memory)
    with pytest.raises(
        ValueError, match=r"sample_weight names \['w'\], which the encoder took for"
    ):
        pipeline().fit(dataset, "label", deepfmclassifier__sample_weight="w")
    codes = OrdinalFieldEncoder().fit(dataset).transform(dataset)
    with pytest.raises(ValueError, match=r"y names \['label'\], .*encoder__leave_out=\['label'\]"):
        DeepFMClassifier().fit(codes, "label")


@pytest.mark.parametrize("in_memory", [0, 10**6])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"y_val": "label"}, "y_val, sample_weight_val and groups_val need X_val"),
        ({"X_val": True}, "X_val needs y_val"),
        ({"X_val": True, "y_val": "lable"}, "y_val must name a column .* got 'lable'"),
        (
            {"X_val": True, "y_val": "label", "sample_weight_val": "v"},
            "sample_weight_val must name a column of the data set, .* got 'v'",
        ),
    ],
    ids=str,
)
def test_validation_rows_come_with_their_target(
    streams, dataset, monkeypatch, in_memory, params, message
):
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", in_memory)
    codes = encoded(dataset)
    params = {name: codes if value is True else value for name, value in params.items()}
    with pytest.raises(ValueError, match=message):
        DeepFMClassifier().fit(codes, "label", **params)


def test_score_names_columns_of_the_data_set(streams, dataset):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    with pytest.raises(ValueError, match="y must name a column of the data set, .* got 'lable'"):
        model.score(dataset, "lable")


@pytest.mark.parametrize(
    ("params", "target", "weight", "message"),
    [
        ({"validation_split": 1}, "label", None, "validation_split must be"),
        ({}, "nothing", None, "y must name a column of the data set, .* got 'nothing'"),
        ({}, "label", "label2", "sample_weight must name a column"),
        ({}, "user", None, "Input y contains NaN"),
        ({}, "label", "amount", "sample_weight must hold finite numbers of at least 0"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(streams, dataset, params, target, weight, message):
    model = pipeline(**params)
    codes = encoded(dataset, leave_out=["w", "user"])
    with pytest.raises(ValueError, match=message):
        model[-1].fit(codes, target, sample_weight=weight)
    assert not hasattr(model[-1], "net_")


def test_what_needs_all_rows_is_refused(streams, dataset):
    from sklearn.model_selection import ShuffleSplit

    codes = encoded(dataset)
    model = DeepFMClassifier(max_epochs=1, warm_start=True)
    with pytest.raises(ValueError, match="validation_split and groups need all rows in memory"):
        clone(model).set_params(validation_split=ShuffleSplit(1)).fit(codes, "label")
    model.fit(codes, "label")
    with pytest.raises(ValueError, match="warm_start goes on with an earlier fit, which needs"):
        model.fit(codes, "label")
    with pytest.raises(TypeError, match="got a data set, which fit, transform"):
        model.partial_fit(dataset, "label")


def test_no_row_is_an_error(streams, dataset):
    few = dataset.filter(pads.field("item") > 99)
    codes = OrdinalFieldEncoder().fit(dataset, TARGETS).transform(few)
    with pytest.raises(ValueError, match="The data set has no row"):
        DeepFMClassifier().fit(codes, "label")


def test_name_of_a_column_needs_a_data_set(in_order):
    with pytest.raises(ValueError, match="y='is_yes' names a column, which needs a pyarrow"):
        DeepFMClassifier().fit(in_order[["item"]], "is_yes")


# Predictions as a file


def test_predictions_are_written_part_by_part(streams, dataset, in_order, tmp_path):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    path = tmp_path / "predictions.parquet"
    assert predict_to_parquet(model, dataset, path, keep=["item", "tags"]) == N
    table = pq.read_table(path)
    assert pq.ParquetFile(path).num_row_groups > 5
    proba = np.column_stack([table["proba_no"], table["proba_yes"]])
    assert_array_equal(proba, model.predict_proba(in_order[FEATURES]))
    assert table["tags"].to_pylist() == in_order["tags"].tolist()
    predict_to_parquet(model, dataset, path, method="predict")
    assert pq.read_table(path)["prediction"].to_pylist() == model.predict(dataset).tolist()
    predict_to_parquet(model, dataset, path, method="decision_function")
    assert pq.read_schema(path).names == ["decision"]
    assert list(tmp_path.iterdir()) == [path]


def test_predictions_of_numbers_are_named(streams, dataset, tmp_path):
    model = fit(pipeline(DeepFMRegressor, max_epochs=1), dataset, ["amount", "other"])
    predict_to_parquet(model, dataset, tmp_path / "file")
    assert pq.read_schema(tmp_path / "file").names == ["prediction_0", "prediction_1"]


TARGETS_OF_EACH_KIND = [
    (DeepFMClassifier, "label"),
    (DeepFMClassifier, "level"),
    (DeepFMClassifier, ["is_yes", "other"]),
    (DeepFMRegressor, "amount"),
    (DeepFMRegressor, ["amount", "other"]),
]


@pytest.mark.parametrize(("estimator", "target"), TARGETS_OF_EACH_KIND, ids=str)
def test_no_rows_have_no_predictions(dataset, in_order, tmp_path, estimator, target):
    X, y = in_order[["item"]][:200], in_order[target][:200]
    model = pipeline(estimator, max_epochs=1).fit(X, y)
    few, none = dataset.head(3), dataset.filter(pads.field("item") > 99)
    with pytest.raises(ValueError, match="The data set has no row, and a score needs at least 1"):
        model.score(none, target)
    methods = ["predict", "predict_proba", "predict_log_proba", "decision_function"]
    for method in [name for name in methods if hasattr(model, name)]:
        of_few, of_none = (getattr(model, method)(rows) for rows in (pads.dataset(few), none))
        assert len(of_none) == 0
        assert (of_none.dtype, of_none.shape[1:]) == (of_few.dtype, of_few.shape[1:])
        if method == "predict_log_proba":
            continue
        # A file without rows has the columns of one with rows, so that both can be read together.
        for name, rows in (("few", pads.dataset(few)), ("none", none)):
            n_rows = predict_to_parquet(
                model, rows, tmp_path / name, method=method, keep=["user", "tags"]
            )
            assert n_rows == {"few": 3, "none": 0}[name]
        assert pq.read_schema(tmp_path / "none").equals(pq.read_schema(tmp_path / "few"))
        assert pq.read_table(tmp_path / "none").num_rows == 0


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_validation_rows_that_are_none_are_refused(dataset, in_order, monkeypatch, in_memory):
    """Training would go on without them, and never stop early."""
    monkeypatch.setattr("sklearn_deepfm._estimators.stream_fit.IN_MEMORY", in_memory)
    encoder = OrdinalFieldEncoder().fit(in_order[["item"]])
    none = encoder.transform(dataset.filter(pads.field("item") > 99))
    with pytest.raises(ValueError, match="X_val must have a row whose .* and the data set has no"):
        DeepFMClassifier().fit(encoder.transform(dataset), "label", X_val=none, y_val="label")


def test_failed_predictions_leave_the_file_as_it_was(streams, dataset, in_order, tmp_path):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    path = tmp_path / "file"
    path.write_text("before")
    renamed = pa.Table.from_pandas(in_order.rename(columns={"w": "proba_no"}))
    cases = [
        ({"X": in_order}, TypeError, "must be a pyarrow.dataset.Dataset, got a DataFrame"),
        ({"keep": ["shop"]}, ValueError, "keep must name a column of the data set"),
        ({"X": pads.dataset(renamed), "keep": ["proba_no"]}, ValueError, "keep must name no col"),
    ]
    for params, error, message in cases:
        with pytest.raises(error, match=message):
            predict_to_parquet(model, **{"X": dataset, "path": path, **params})
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]


def test_predictions_replace_the_file_that_a_link_leads_to(dataset, tmp_path):
    model = fit(pipeline(max_epochs=1), dataset, "label")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "predictions")
    predict_to_parquet(model, dataset, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert pq.read_table(tmp_path / "disk" / "predictions").num_rows == N
