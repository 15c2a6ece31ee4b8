"""Files of models: the same model comes back, and nothing else that a file may hold does harm."""

import contextlib
import copy
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from skorch.callbacks import GradientNormClipping

from sklearn_deepfm import (
    DeepFMClassifier,
    DeepFMRegressor,
    OrdinalFieldEncoder,
    load_model,
    save_model,
)
from sklearn_deepfm._serialization import archive

FAST = {"max_epochs": 2, "random_state": 0}


def frame(seed=0, n=240):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "日本", "", "a\0b", None], n),
            "zone": pd.Categorical(rng.choice(["x", "y"], n)),
            "id": np.arange(-(2**62), 2**62, 2**58)[rng.integers(0, 30, n)],
            "big": rng.integers(0, 9, n).astype(np.uint64) + np.uint64(2**63),
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "is_new": rng.random(n) < 0.5,
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 99, n), "D"),
            "zoned": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.random(n), "D"),
            "lasting": pd.to_timedelta(rng.integers(0, 9, n), "s"),
            "tags": [rng.choice(["p", "q"], k).tolist() for k in rng.integers(0, 4, n)],
            "hashed": rng.choice(["v", "w"], n),
            "nothing": None,
        }
    )


def through_file(model, tmp_path):
    save_model(model, tmp_path / "model.deepfm")
    return load_model(tmp_path / "model.deepfm")


def through_skops(model, tmp_path):
    skops.io.dump(model, tmp_path / "model.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert all(name.startswith("sklearn_deepfm.") for name in types)
    assert len(types) <= 2  # the encoder and the estimator
    return skops.io.load(tmp_path / "model.skops", trusted=types)


def through_pickle(model, tmp_path):
    return pickle.loads(pickle.dumps(model))


ROUND_TRIPS = [through_file, through_skops, through_pickle]


@pytest.fixture(params=ROUND_TRIPS)
def round_trip(request, tmp_path):
    return lambda model: request.param(model, tmp_path)


def assert_same(model, loaded, X):
    assert type(loaded) is type(model)
    for method in ("predict_proba", "predict", "transform"):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))


@pytest.mark.parametrize("target", ["strings", "three", "labels", "amount", "amounts"])
def test_pipeline_with_each_kind_of_field_and_target(round_trip, target):
    X, rng = frame(), np.random.default_rng(0)
    y = {
        "strings": rng.choice(["no", "yes"], len(X)),
        "three": rng.integers(0, 3, len(X)),
        "labels": rng.integers(0, 2, (len(X), 3)),
        "amount": rng.normal(size=len(X)),
        "amounts": rng.normal(size=(len(X), 2)),
    }[target]
    estimator = DeepFMRegressor if target.startswith("amount") else DeepFMClassifier
    encoder = OrdinalFieldEncoder(hash_dims={"hashed": 8}, min_frequency=2)
    model = make_pipeline(encoder, estimator(**FAST)).fit(X, y)
    loaded = round_trip(model)
    assert_same(model, loaded, frame(1))
    assert loaded[0].field_kinds_ == model[0].field_kinds_
    assert loaded[0].field_dims_.tolist() == model[0].field_dims_.tolist()
    assert repr(loaded) == repr(model)
    assert loaded[1].history_ == model[1].history_
    assert loaded[1].n_iter_ == 2


def test_estimator_alone_with_each_kind_of_column(round_trip):
    X = frame()[["zone", "id", "price", "is_new"]].assign(
        number=pd.Categorical(np.arange(240) % 5),
        fraction=pd.Categorical(np.arange(240) % 5 / 4),
        bags=[[1, 2], [3]] * 120,
    )
    model = DeepFMClassifier(n_members=2, **FAST).fit(X, np.arange(240) % 2)
    loaded = round_trip(model)
    assert_same(model, loaded, X)
    assert loaded.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert loaded.classes_.dtype == model.classes_.dtype
    pd.testing.assert_frame_equal(loaded.embeddings("zone"), model.embeddings("zone"))


def test_encoder_of_numbers_passed_on_keeps_its_output_format(round_trip):
    X = frame()[["city", "price"]]
    model = OrdinalFieldEncoder(n_bins=None).set_output(transform="polars").fit(X)
    assert round_trip(model).transform(X).equals(model.transform(X))


def test_unfitted_model(round_trip):
    model = make_pipeline("passthrough", OrdinalFieldEncoder(max_categories=7), DeepFMClassifier())
    model.set_params(deepfmclassifier__class_weight={0: 2.0, 1: 1.0})
    model.set_params(deepfmclassifier__components={"linear", "fm"})
    loaded = round_trip(model)
    assert [name for name, _ in loaded.steps] == [name for name, _ in model.steps]
    for (_, step), (_, saved) in zip(loaded.steps[1:], model.steps[1:], strict=True):
        assert type(step) is type(saved)
        assert step.get_params() == saved.get_params()  # sets of which print in any order


@pytest.mark.parametrize("params", [{}, {"sparse_updates": True}, {"table_optimizer": "adagrad"}])
def test_training_goes_on_as_if_nothing_had_been_saved(round_trip, params):
    X, y = np.random.default_rng(0).integers(0, 30, (300, 3)), np.arange(300) % 2
    model = DeepFMClassifier(**params, **FAST).partial_fit(X, y, classes=[0, 1])
    loaded = round_trip(model)
    X[:50] += 100  # codes never seen
    np.testing.assert_array_equal(
        loaded.partial_fit(X, y).predict_proba(X), model.partial_fit(X, y).predict_proba(X)
    )


def test_encoder_goes_on_with_its_counts(round_trip):
    encoder = OrdinalFieldEncoder(min_frequency=3).fit([["a"], ["a"], ["b"]])
    loaded = round_trip(encoder).partial_fit([["a"], ["b"]])
    assert loaded.categories_[0].tolist() == ["a"]
    assert loaded.n_samples_seen_ == 5


def test_file_holds_no_training_rows(tmp_path):
    sizes = []
    for n in (500, 5_000):
        X = frame(n=n)[["city", "id", "is_new"]]
        save_model(
            # More rows may tell that the ids are quantities, of which more is kept.
            make_pipeline(
                OrdinalFieldEncoder(categorical_features=["id"]), DeepFMClassifier(**FAST)
            ).fit(X, np.arange(n) % 2),
            tmp_path / "model",
        )
        sizes.append((tmp_path / "model").stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 2_000


CATEGORIES = {
    "string": pd.Index(["a", "b", "c"], dtype="string"),
    "Int64": pd.Index([3, 1, 2**60], dtype="Int64"),
    "Float64": pd.Index([0.5, 1.5, -1.0], dtype="Float64"),
    "boolean": pd.Index([False, True], dtype="boolean"),
    "Arrow": pd.Index([5, 6, 7], dtype="int64[pyarrow]"),
    "strings of Arrow": pd.Index(["a", "b", "c"], dtype=pd.ArrowDtype(pa.string())),
    "large strings": pd.Index(["a", "b", "c"], dtype=pd.ArrowDtype(pa.large_string())),
    "dates": pd.date_range("2026-01-01", periods=3),
    "zoned": pd.date_range("2026-10-25", periods=3, freq="h", tz="Europe/Oslo"),
    "offset": pd.date_range("2026-01-01", periods=3, tz="+02:00"),
    "durations": pd.timedelta_range("1h", periods=3),
    "mixed": pd.Index([1.5, "a", True], dtype=object),
}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_of_any_type_come_back(kind, round_trip):
    values = CATEGORIES[kind]
    X = pd.DataFrame({"x": pd.Categorical(values[np.arange(60) % len(values)])})
    model = DeepFMClassifier(**FAST).fit(X, np.arange(60) % 2)
    loaded = round_trip(model)
    assert_same(model, loaded, X)
    index = loaded.embeddings("x").index
    assert index.dtype == model.embeddings("x").index.dtype
    assert index.equals(model.embeddings("x").index)


def test_categories_that_no_file_can_hold_can_be_pickled(tmp_path):
    X = pd.DataFrame({"x": pd.cut(np.arange(240.0), 5)})
    model = DeepFMClassifier(**FAST).fit(X, np.arange(240) % 2)
    assert_same(model, through_pickle(model, tmp_path), X)
    with pytest.raises(
        TypeError, match=r"(?s)learned.fields\[0\].categories is .*Interval.* use pickle"
    ):
        save_model(model, tmp_path / "model")


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"callbacks": [GradientNormClipping()]}, r"callbacks\[0\]"),
        ({"validation_split": KFold(3)}, "validation_split"),
        ({"random_state": np.random.RandomState(0)}, "random_state"),
        ({"scoring": lambda model, X, y: 0.0}, "scoring"),
    ],
)
def test_parameter_that_takes_code_to_make_is_named(params, name, tmp_path):
    with pytest.raises(TypeError, match=f"state.{name} is .* cannot be saved without code"):
        save_model(DeepFMClassifier(**params), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_model_of_another_class_is_refused(tmp_path):
    for model in (
        LogisticRegression(),
        Pipeline([("a", LogisticRegression())]),
        type("A", (DeepFMClassifier,), {})(),
    ):
        with pytest.raises(TypeError, match=r"model must be a DeepFMClassifier.*skops or pickle"):
            save_model(model, tmp_path / "model")
    with pytest.raises(TypeError, match="memory of the Pipeline must be None, got 'cache'"):
        save_model(make_pipeline(DeepFMClassifier(), memory="cache"), tmp_path / "model")
    pipeline = make_pipeline(DeepFMClassifier())
    pipeline.note = "mine"
    with pytest.raises(TypeError, match=r"Pipeline has the attributes \['note'\]"):
        save_model(pipeline, tmp_path / "model")
    model = DeepFMClassifier()
    model.note = "mine"
    with pytest.raises(TypeError, match=r"attributes \['note'\], which are none of its own"):
        save_model(model, tmp_path / "model")


# Files that are not as they were written


@pytest.fixture
def path(tmp_path):
    X = frame(n=60)[["city", "price", "tags"]]
    model = make_pipeline(
        OrdinalFieldEncoder(), DeepFMClassifier(embed_dim=2, mlp_dims=(4,), **FAST)
    )
    save_model(model.fit(X, np.arange(60) % 2), tmp_path / "model")
    return tmp_path / "model"


def test_file_cut_short_anywhere_is_refused(path):
    content = path.read_bytes()
    for end in [*range(0, 200), *range(200, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="is no file that sklearn_deepfm has written, or"):
            load_model(path)


def test_any_changed_byte_is_noticed_or_has_no_effect(path):
    """All of the data is under a checksum; some bytes of the archive around it mean nothing."""
    content, rng = path.read_bytes(), np.random.default_rng(0)
    model, X, n_refused = load_model(path), frame(1)[["city", "price", "tags"]], 0
    for position in rng.choice(len(content), 600, replace=False):
        changed = bytearray(content)
        changed[position] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            loaded = load_model(path)
        except ValueError:
            n_refused += 1
        else:
            assert_same(model, loaded, X)
    assert n_refused > 400


def rewritten(path, change, others=()):
    """The file with its tree changed, or other parts, and the checksums right."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    tree = json.loads(parts["content.json"])
    tree = change(tree) or tree
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in {
            **parts,
            "content.json": json.dumps(tree).encode(),
            **dict(others),
        }.items():
            archive.writestr(name, part)


def positions(tree):
    """Each place in a tree, as a list of keys."""
    if isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, part in items:
            yield [key]
            yield from ([key, *rest] for rest in positions(part))


@pytest.mark.filterwarnings("ignore:X has feature names, but .* was fitted without")
def test_tree_with_anything_in_it_is_refused_or_harmless(path):
    """Every entry in turn becomes something else: a clear error, or a model that still works."""
    original, X = path.read_bytes(), frame(1)[["city", "price", "tags"]]
    with zipfile.ZipFile(path) as archive:
        places = list(positions(json.loads(archive.read("content.json"))))
    rng, messages = np.random.default_rng(0), []
    others = [None, -1, 10**30, 1.5, "x", [], {}, {"dict": []}, {"array": 3}, {"tuple": [1]}, True]
    chosen = rng.choice(len(places), 700, replace=False)
    for place in [places[i] for i in chosen]:
        value = others[rng.integers(len(others))]

        def change(tree, place=place, value=value):
            for key in place[:-1]:
                tree = tree[key]
            tree[place[-1]] = value

        path.write_bytes(original)
        rewritten(path, change)
        try:
            model = load_model(path)
        except ValueError as error:
            messages.append(str(error))
            continue
        # A pipeline of other steps, or of other names of columns, is not damaged.
        with contextlib.suppress(AttributeError, ValueError):
            assert np.isfinite(model.predict_proba(X)).all()
    assert len(messages) > 200
    assert all("damaged" in message or "later version" in message for message in messages)


def exchanges(part):
    """Exchange in place each two entries of one type in a dict, one pair after the other."""
    if isinstance(part, list):
        for each in part:
            yield from exchanges(each)
    if not isinstance(part, dict):
        return
    for pair in itertools.combinations(part, 2):
        kinds = {(type(part[name]), getattr(part[name], "dtype", None)) for name in pair}
        if len(kinds) == 1:
            kept = {name: part[name] for name in pair}
            part.update(zip(pair, reversed(kept.values()), strict=True))
            yield pair
            part.update(kept)
    for each in part.values():
        yield from exchanges(each)


@pytest.mark.parametrize("estimator", [None, DeepFMClassifier, DeepFMRegressor])
def test_exchanged_entries_are_refused_or_predict(estimator):
    """No entry that passes the load makes a prediction fail later, or be NaN."""
    X, y = frame(n=60)[["city", "id", "big", "price", "tags", "day"]], np.arange(60) % 2
    model = OrdinalFieldEncoder(min_frequency=2)
    if estimator is not None:
        X = pd.DataFrame(
            {"x": X.price, "code": y, "zone": frame(n=60).zone, "l": [[1, 2], []] * 30}
        )
        model = estimator(embed_dim=2, mlp_dims=(4,), **FAST)
    state = model.fit(X, y).__getstate__()
    learned, n_refused = state["learned"], 0
    for pair in exchanges([learned.get("target"), learned["fields"], learned.get("net")]):
        try:
            loaded = type(model).__new__(type(model))
            loaded.__setstate__(copy.deepcopy(state))
        except ValueError as error:
            assert f"This {type(model).__name__} is damaged" in str(error)  # noqa: PT017
            n_refused += 1
        else:
            answer = loaded.transform(X) if estimator is None else loaded.predict(X)
            assert pd.notna(answer).all(axis=None), pair
    assert n_refused > 5


def test_values_and_counts_of_a_vocabulary_exchanged_are_refused():
    X = pd.DataFrame({"id": [7, 3, 3, 9, 9, 9] * 10})
    state = OrdinalFieldEncoder().fit(X).__getstate__()
    (field,) = state["learned"]["fields"]
    field["values"]["values"], field["counts"] = field["counts"], field["values"]["values"]
    with pytest.raises(ValueError, match="'values' is not what it must be"):
        OrdinalFieldEncoder().__setstate__(state)


def test_table_of_no_numbers_is_refused(round_trip):
    model = DeepFMClassifier(**FAST).fit([[0], [1]] * 20, [0, 1] * 20)
    model.module_.table.data[1] = np.nan
    with pytest.raises(ValueError, match="'table' is not what it must be"):
        round_trip(model)


def test_null_in_a_skops_file_is_refused(tmp_path):
    encoder = OrdinalFieldEncoder().fit([["a"], ["b"]])
    object.__setattr__(encoder._column_specs[0], "position", None)
    with pytest.raises(ValueError, match="This OrdinalFieldEncoder is damaged: .*'position'"):
        through_skops(encoder, tmp_path)


def test_arrays_may_be_read_only_buffers():
    """As of files that joblib maps into memory, and of pickles with buffers of their own."""
    X, y = np.random.default_rng(0).integers(0, 30, (300, 3)), np.arange(300) % 2
    model = DeepFMClassifier(warm_start=True, sparse_updates=True, **FAST).fit(X, y)
    buffers = []
    content = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    loaded = pickle.loads(content, buffers=[bytes(buffer) for buffer in buffers])
    assert len(buffers) > 5
    assert_same(model, loaded, X)
    assert_same(model.partial_fit(X, y), loaded.partial_fit(X, y), X)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "model"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("content.json", '{"else": 1}')
    with pytest.raises(ValueError, match="it holds something else"):
        load_model(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content.json", '{"sklearn_deepfm": 1}')
    with pytest.raises(ValueError, match="its parts are compressed"):
        load_model(path)
    path.write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(ValueError, match="is no file that sklearn_deepfm has written"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")


def test_pickle_in_the_place_of_an_array_is_not_run(path):
    class Harm:
        def __reduce__(self):
            return pathlib.Path.touch, (path.parent / "harm",)

    harm = pickle.dumps(Harm())

    def change(tree):
        text = json.dumps(tree)
        first = re.search(r'\{"array": 0, "dtype": "[^"]*", "shape": \[[0-9, ]*\]\}', text)[0]
        for dtype in ("|O", "O", "|V8", "object"):
            array = {"array": 0, "dtype": dtype, "shape": [1]}
            yield json.loads(text.replace(first, json.dumps(array)))

    with zipfile.ZipFile(path) as archive:
        tree = json.loads(archive.read("content.json"))
    original = path.read_bytes()
    for changed in change(tree):
        path.write_bytes(original)
        rewritten(path, lambda _, changed=changed: changed, {"0": harm})
        with pytest.raises(ValueError, match="it holds an array of another type"):
            load_model(path)
    assert not (path.parent / "harm").exists()


def test_array_that_says_to_be_huge_takes_no_memory(path):
    def change(tree):
        text = json.dumps(tree)
        return json.loads(re.sub(r'"shape": \[(\d+)\]', '"shape": [1000000000000]', text))

    rewritten(path, change)
    with pytest.raises(ValueError, match="array 0 has another size than it says"):
        load_model(path)


def members(tree):
    """Every dict that was saved, as the list of its items."""
    if isinstance(tree, dict):
        if isinstance(tree.get("dict"), list):
            yield tree["dict"]
        for part in tree.values():
            yield from members(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from members(part)


def with_entry(name, change):
    """A change of a tree: each entry of a name becomes something else."""

    def changed(tree):
        found = [item for items in members(tree) for item in items if item[0] == name]
        assert found
        for item in found:
            item[1] = change(item[1])

    return changed


HOSTILE = {
    "array in many places": (with_entry("weights", lambda value: [value] * 3), "in two places"),
    "wide strings": (
        with_entry("name", lambda _: {"objects": ["x"], "dtype": "<U100000000"}),
        "'objects' is not what it must be",
    ),
    "wide classes": (
        with_entry(
            "classes", lambda _: {"dict": [["dtype", "<U100000000"], ["values", ["a", "b"]]]}
        ),
        "'classes' is not what it must be",
    ),
    "numbers as wide strings": (
        with_entry(
            "classes",
            lambda value: {"dict": [["dtype", "<U100000000"], ["values", value]]},
        ),
        "'classes' is not what it must be",
    ),
    "many layers": (with_entry("mlp_dims", lambda _: {"tuple": [4] * 100_000}), "'mlp_dims' is"),
    "wide layers": (with_entry("mlp_dims", lambda _: {"tuple": [10**9]}), "'mlp_dims' is"),
    "long embeddings": (with_entry("embed_dim", lambda _: 10**9), "'embed_dim' is"),
    "members": (with_entry("n_members", lambda _: 10**9), "'n_members' is"),
    "columns": (with_entry("n_features_in_", lambda _: 10**12), "'n_features_in_' is"),
    "empty lists": (lambda _: {"sklearn_deepfm": [[]] * 10**6}, "holds lists of nothing"),
    "depth": (
        lambda tree: json.loads('{"sklearn_deepfm": ' + "[" * 500 + "]" * 500 + "}"),
        "damaged",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_file_that_asks_for_memory_gets_none(what, path):
    change, message = HOSTILE[what]
    rewritten(path, change)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("moments", [np.zeros(3, np.float32), np.zeros((1, 1)), None, "x"])
@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq", "step"])
def test_moments_of_another_shape_are_refused(name, moments, tmp_path):
    """torch would read and write beyond them."""
    X, y = np.arange(120).reshape(40, 3) % 7, np.arange(40) % 2
    save_model(DeepFMClassifier(warm_start=True, **FAST).fit(X, y), tmp_path / "model")
    content = archive.read(tmp_path / "model")
    for of_parameter in content["state"]["learned"]["net"]["optimizer"].values():
        of_parameter[name] = moments
    archive.write(tmp_path / "model", content)
    with pytest.raises(ValueError, match="state of parameter 0 is of another shape or type"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("zone", ["America", "dateutil//etc/passwd", "../UTC", "No/Where"])
def test_zone_that_is_none_is_refused(zone, tmp_path):
    X = pd.DataFrame({"x": pd.Categorical(pd.date_range("2026", periods=40, tz="UTC"))})
    save_model(DeepFMClassifier(**FAST).fit(X, np.arange(40) % 2), tmp_path / "model")

    def change(tree):
        return json.loads(re.sub(r"(datetime64.[a-z]+, )UTC", rf"\g<1>{zone}", json.dumps(tree)))

    rewritten(tmp_path / "model", change)
    with pytest.raises(ValueError, match="is no index"):
        load_model(tmp_path / "model")


def test_tree_too_deep_to_read_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        archive.writestr("content.json", "[" * 10**6)
    with pytest.raises(ValueError, match="is no file that sklearn_deepfm has written"):
        load_model(tmp_path / "model")


def test_parts_that_overlap_are_refused(path):
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = (entry for entry in archive.infolist() if entry.filename == "content.json")
        for number in range(100, 200):
            again = copy.copy(first)
            again.filename = again.orig_filename = str(number)
            archive.filelist.append(again)
        archive._didModify = True
    with pytest.raises(ValueError, match="its parts overlap"):
        load_model(path)


@pytest.mark.parametrize("model", [OrdinalFieldEncoder(), DeepFMClassifier(**FAST)])
@pytest.mark.parametrize(
    "wrong",
    [
        {"feature_names_in_": np.array(["a"], dtype=object)},
        {"feature_names_in_": np.array(["a", 7], dtype=object)},
        {"feature_names_in_": ["a", "b"]},
        {"n_features_in_": 3},
        {"n_features_in_": "2"},
    ],
    ids=str,
)
def test_columns_that_contradict_each_other_are_refused(model, wrong):
    X = pd.DataFrame({"a": [0, 1] * 20, "b": [0, 0, 1, 1] * 10})
    state = clone(model).fit(X, np.arange(40) % 2).__getstate__()
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' is not what it must be"):
        type(model)().__setstate__({**state, **wrong})


def test_file_cannot_put_anything_in_the_place_of_a_method(path):
    def change(tree):
        tree["sklearn_deepfm"]["dict"][2][1][1][1]["dict"][1][1]["dict"].append(["predict", "x"])

    rewritten(path, change)
    with pytest.raises(ValueError, match="'state' is not what it must be"):
        load_model(path)
    state = DeepFMClassifier().__getstate__() | {"predict": "x"}
    with pytest.raises(ValueError, match="'predict' is not what it must be"):
        DeepFMClassifier().__setstate__(state)


def test_parameter_that_a_file_lacks_has_its_default():
    state = DeepFMClassifier(embed_dim=3).__getstate__()
    del state["checkpoint"]
    model = DeepFMClassifier.__new__(DeepFMClassifier)
    model.__setstate__(state)
    assert repr(model) == "DeepFMClassifier(embed_dim=3)"


def test_callback_that_is_taken_away_after_the_fit_is_not_in_the_file(tmp_path):
    model = DeepFMClassifier(callbacks=[GradientNormClipping(1.0)], **FAST)
    model.fit([[0], [1]] * 20, [0, 1] * 20).set_params(callbacks=None)
    assert_same(model, through_file(model, tmp_path), [[0], [1]])


def test_file_of_a_later_format_says_so(path):
    def change(tree):
        text = json.dumps(tree).replace('["format", 1]', '["format", 99]')
        return json.loads(text)

    rewritten(path, change)
    with pytest.raises(ValueError, match="saved in format 99, by a later version .* Upgrade it"):
        load_model(path)


def test_state_that_is_none_of_ours_is_refused():
    with pytest.raises(ValueError, match="no DeepFMClassifier that sklearn_deepfm has saved"):
        DeepFMClassifier().__setstate__({"embed_dim": 3})


# Writing


def test_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    save_model(DeepFMClassifier(embed_dim=3), path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(DeepFMClassifier(embed_dim=4), path)
    assert load_model(path).embed_dim == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    for embed_dim in (3, 4):
        save_model(DeepFMClassifier(embed_dim=embed_dim), tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert load_model(tmp_path / "disk" / "model").embed_dim == embed_dim
    assert {entry.name for entry in tmp_path.iterdir()} == {"disk", "link"}


def test_temporary_file_follows_no_link(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "part").symlink_to(tmp_path / "other")
    archive.write(tmp_path / "model", {"x": 1}, beside=os.fspath(tmp_path / "part"))
    assert archive.read(tmp_path / "model") == {"x": 1}
    assert (tmp_path / "other").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"model", "other"}


@pytest.mark.parametrize("name", ["n" * 255, "日" * 85])
def test_name_may_be_as_long_as_the_system_allows(name, tmp_path):
    save_model(DeepFMClassifier(embed_dim=3), tmp_path / name)
    assert load_model(tmp_path / name).embed_dim == 3
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("path", [None, b"model", 7, ["model"]], ids=repr)
def test_path_that_is_none_is_refused(path):
    for call in (lambda path: save_model(DeepFMClassifier(), path), load_model):
        with pytest.raises(TypeError, match=f"must name a file, .* got {re.escape(repr(path))}"):
            call(path)


def test_model_saved_twice_gives_equal_bytes(tmp_path, monkeypatch):
    X, y = frame(n=60)[["city", "price", "tags"]], np.arange(60) % 2
    estimator = DeepFMClassifier(components={"linear", "fm", "deep"}, **FAST)
    model = make_pipeline(OrdinalFieldEncoder(), estimator).fit(X, y)
    save_model(model, tmp_path / "first")
    monkeypatch.setattr("time.time", lambda: 2e9)
    save_model(load_model(tmp_path / "first"), tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_file_has_the_permissions_of_any_other(tmp_path):
    save_model(DeepFMClassifier(), tmp_path / "model")
    (tmp_path / "other").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode
    (tmp_path / "model").chmod(0o600)
    save_model(DeepFMClassifier(), tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o600


def test_pickle_names_classes_of_numpy_and_of_this_library_alone():
    """So that it can be read with other versions of pandas, PyArrow, torch and skorch."""
    X = frame()
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**FAST))
    model.fit(X, np.arange(len(X)) % 2)
    for step in model.named_steps.values():
        loaded = [cls for cls in _classes_in(pickle.dumps(step)) if cls.split(".")[0] != "numpy"]
        assert loaded == [f"sklearn_deepfm.{type(step).__name__}"]


def _classes_in(pickled):
    """Full names of what a pickle imports."""
    found = []

    class Names(pickle.Unpickler):
        def find_class(self, module, name):
            found.append(f"{module}.{name}")
            return super().find_class(module, name)

    Names(io.BytesIO(pickled)).load()
    return found
