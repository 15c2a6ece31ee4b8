"""Files of a data set whose columns differ: one type for all, or a message that names the file."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import (
    DeepFMClassifier,
    OrdinalFieldEncoder,
    predict_to_parquet,
)

N = 20
INTEGERS = list(range(N))
SMALL = {"max_epochs": 1, "embed_dim": 2, "mlp_dims": (3,), "random_state": 0}


@pytest.fixture(params=[4, 2**17], ids=["small parts", "one part"], autouse=True)
def rows_of_a_part(request, monkeypatch):
    monkeypatch.setattr("sklearn_deepfm._tables.stream.ROWS_OF_A_PART", request.param)


@pytest.fixture
def write(tmp_path):
    """Write a file for each column, and open them as a data set."""

    def data_set(*columns, **params):
        for number, column in enumerate(columns):
            array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)
            table = pa.table({"a": array, "y": np.arange(len(array)) % 2})
            pq.write_table(table, tmp_path / f"{number}.parquet")
        return pads.dataset(tmp_path, **params)

    return data_set


def codes_of(encoder, X):
    parts = [X for X, _ in encoder.transform(X).parts()]
    lists = [part["a"].tolist() if hasattr(part, "columns") else part.tolist() for part in parts]
    return [row for part in lists for row in part]


def strings(n=N):
    return [["p", "q"][j % 2] for j in range(n)]


DAY = 86_400_000_000
# Columns of files, and all their values together in one type.
DRIFTS = {
    "nulls first": ([pa.nulls(N), strings()], [None] * N + strings()),
    "nulls later": ([strings(), pa.nulls(N)], strings() + [None] * N),
    "nulls, integers, fractions": (
        [pa.nulls(N), INTEGERS, [j + 0.5 for j in INTEGERS]],
        [None] * N + INTEGERS + [j + 0.5 for j in INTEGERS],
    ),
    "fractions later": ([INTEGERS, [j + 0.5 for j in INTEGERS]], np.r_[INTEGERS, INTEGERS] + 0.5),
    "whole floats later": ([INTEGERS, [*map(float, INTEGERS[:-1]), None]], None),
    "wider integers": ([pa.array(INTEGERS, pa.int8()), [2**60 + j for j in INTEGERS]], None),
    "empty lists first": (
        [[[]] * N, [["p"], ["q", "r"]] * 10],
        [[]] * N + [["p"], ["q", "r"]] * 10,
    ),
    "categories first": ([pa.array(strings()).dictionary_encode(), strings()], strings(2 * N)),
    "categories later": ([strings(), pa.array(strings()).dictionary_encode()], strings(2 * N)),
    "large strings": ([strings(), pa.array(strings(), pa.large_string())], strings(2 * N)),
    "numbers as strings first": ([["7", "8"] * 10, [7, 9] * 10], ["7", "8"] * 10 + ["7", "9"] * 10),
    "days and moments": (
        [pa.array(INTEGERS, pa.date32()), pa.array(np.array(INTEGERS) * DAY, pa.timestamp("us"))],
        pa.array(np.r_[INTEGERS, INTEGERS] * DAY, pa.timestamp("us")),
    ),
    "two time zones": (
        [pa.array(INTEGERS, pa.timestamp("ms", zone)) for zone in ("UTC", "Europe/Oslo")],
        pa.array([*INTEGERS, *INTEGERS], pa.timestamp("ms", "UTC")),
    ),
    "decimals of two scales": (
        [
            pa.array([Decimal(j) for j in INTEGERS], pa.decimal128(9, 0)),
            pa.array([Decimal(j) / 4 for j in INTEGERS], pa.decimal128(9, 2)),
        ],
        [*map(float, INTEGERS), *(j / 4 for j in INTEGERS)],
    ),
}
EXPECTED = {
    "fractions later": [*map(float, INTEGERS), *(j + 0.5 for j in INTEGERS)],
    "whole floats later": [*INTEGERS, *INTEGERS[:-1], None],
    "wider integers": [*INTEGERS, *(2**60 + j for j in INTEGERS)],
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_columns_are_read_in_the_type_that_holds_the_values_of_all_files(drift, write):
    columns, expected = DRIFTS[drift]
    table = pa.table({"a": pa.array(EXPECTED.get(drift, expected))})
    dataset = write(*columns)
    of_table = OrdinalFieldEncoder().fit(table)
    encoder = OrdinalFieldEncoder().fit(dataset, "y")
    assert encoder.field_kinds_ == of_table.field_kinds_
    assert encoder.categories_[0].tolist() == of_table.categories_[0].tolist()
    codes = of_table.transform(table)
    codes = codes["a"].tolist() if hasattr(codes, "columns") else codes.tolist()
    for fitted in (encoder, of_table):
        assert [*map(str, codes_of(fitted, dataset))] == [*map(str, codes)]


def test_target_and_kept_columns_drift_too(tmp_path):
    for number, y in enumerate([pa.nulls(N), pa.array([0, 1] * 10), pa.array([0.0, 1.0] * 10)]):
        pq.write_table(pa.table({"a": INTEGERS, "y": y}), tmp_path / f"{number}.parquet")
    dataset = pads.dataset([tmp_path / f"{number}.parquet" for number in range(3)])
    with pytest.raises(ValueError, match="y contains NaN"):
        DeepFMClassifier(**SMALL).fit(dataset, "y")
    later = pads.dataset([tmp_path / f"{number}.parquet" for number in (1, 2)])
    model = DeepFMClassifier(**SMALL).fit(later, "y")
    assert model.classes_.tolist() == [0, 1]
    assert model.score(later, "y") == np.mean(model.predict(later) == [0, 1] * N)
    assert predict_to_parquet(model, dataset, tmp_path / "out", keep=["y"]) == 3 * N
    kept = pq.read_table(tmp_path / "out")["y"].to_pylist()
    assert kept == [None] * N + [0, 1] * 20


@pytest.mark.parametrize("is_filtered", [False, True])
def test_column_of_nulls_is_mended_with_a_filter(write, is_filtered):
    dataset = write(pa.nulls(N), strings())
    if is_filtered:
        dataset = dataset.filter(pads.field("a") == "q")
    encoder = OrdinalFieldEncoder().fit(dataset, "y")
    assert encoder.categories_[0].tolist() == (["q"] if is_filtered else ["p", "q"])
    assert encoder.n_samples_seen_ == (N / 2 if is_filtered else 2 * N)


def test_filter_takes_the_nulls_of_one_column_beside_other_drifts(tmp_path):
    for number, columns in enumerate([(pa.nulls(N), [1.5] * N), (strings(), INTEGERS)]):
        pq.write_table(pa.table(columns, names=["a", "b"]), tmp_path / f"{number}.parquet")
    rows = pads.dataset(tmp_path).filter(pads.field("b") < 4)
    encoder = OrdinalFieldEncoder().fit(rows)
    assert encoder.categories_[0].tolist() == ["p", "q"]
    assert encoder.field_kinds_ == ["categories", "bins"]


def test_partitions_stay_columns(tmp_path):
    for shop, a in enumerate([INTEGERS, [j + 0.5 for j in INTEGERS]]):
        (tmp_path / f"shop={shop}").mkdir()
        pq.write_table(pa.table({"a": a}), tmp_path / f"shop={shop}" / "rows.parquet")
    encoder = OrdinalFieldEncoder().fit(pads.dataset(tmp_path, partitioning="hive"))
    assert encoder.feature_names_in_.tolist() == ["a", "shop"]
    assert encoder.field_kinds_ == ["bins", "categories"]
    assert encoder.categories_[1].tolist() == [0, 1]


def test_files_of_text_drift_too(tmp_path):
    for number, a in enumerate([INTEGERS, [j + 0.5 for j in INTEGERS]]):
        pyarrow.csv.write_csv(pa.table({"a": a}), tmp_path / f"{number}.csv")
    encoder = OrdinalFieldEncoder().fit(pads.dataset(tmp_path, format="csv"))
    assert encoder.field_kinds_ == ["bins"]
    assert encoder.categories_[0][[0, -1]].tolist() == [0, 19.5]


def test_type_that_the_user_chose_stays(write):
    files = write([7, 8] * 10, [7.0, None] * 10).files
    schema = pa.schema([("a", pa.string()), ("y", pa.int64())])
    encoder = OrdinalFieldEncoder().fit(pads.dataset(files, schema=schema), "y")
    assert encoder.categories_[0].tolist() == ["7", "8"]


# Columns that only some files have


def test_column_of_later_files_alone_is_told_of(tmp_path):
    pq.write_table(pa.table({"a": INTEGERS}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": INTEGERS, "b": strings()}), tmp_path / "1.parquet")
    dataset = pads.dataset(tmp_path)
    with pytest.warns(UserWarning, match=r"The columns \['b'\] of later files are left out"):
        encoder = OrdinalFieldEncoder().fit(dataset)
    assert encoder.feature_names_in_.tolist() == ["a"]
    whole = pads.dataset(dataset.files, schema=pa.schema([("a", "int64"), ("b", "string")]))
    encoder = OrdinalFieldEncoder().fit(whole)  # both as the user said, without a word
    assert encoder.feature_names_in_.tolist() == ["a", "b"]
    expected = codes_of(encoder, whole)
    assert [row[1] for row in expected] == [0] * N + [2, 3] * 10
    assert codes_of(encoder, dataset) == expected  # missing in the first file


def test_columns_that_the_user_chose_are_not_told_of(tmp_path):
    for number in range(2):
        later = {"c": strings()} if number else {}
        table = pa.table({"a": INTEGERS, "b": strings(), **later})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    chosen = pads.dataset(tmp_path).replace_schema(pa.schema([("a", pa.int64())]))
    assert OrdinalFieldEncoder().fit(chosen).feature_names_in_.tolist() == ["a"]


def test_column_that_no_file_has_is_missed_by_name(write):
    encoder = OrdinalFieldEncoder().fit(pa.table({"a": INTEGERS, "b": INTEGERS}))
    with pytest.raises(ValueError, match=r"lacks the columns \['b'\] that fit saw"):
        encoder.transform(write(INTEGERS, [0.5] * N))


# What no type holds

MIXTURES = {
    "numbers and strings": ([INTEGERS, strings()], "is int64 in .*0.parquet and string in .*1.par"),
    "booleans and numbers": ([[True, False] * 10, INTEGERS], "is bool in .* and int64 in .*1.parq"),
    "numbers and dates": (
        [INTEGERS, pa.array(INTEGERS, pa.date32())],
        "is int64 in .* and date32.* in .*1.parquet",
    ),
    "no zone and a zone": (
        [pa.array(INTEGERS, pa.timestamp("us", zone)) for zone in (None, "UTC")],
        "is timestamp.us. in .* and timestamp.us, tz=UTC. in .*1.parquet",
    ),
}


@pytest.mark.filterwarnings("ignore:Column 'a' holds .* strings that look like dates")
@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixture_of_kinds_is_told_with_its_files(mixture, write):
    columns, message = MIXTURES[mixture]
    dataset = write(*columns)
    message = f"Column 'a' must hold values of one kind in all files, and {message}"
    fitted = OrdinalFieldEncoder().fit(pa.table({"a": columns[0]}))
    for call in (
        lambda: OrdinalFieldEncoder().fit(dataset, "y"),
        lambda: fitted.transform(dataset),
        lambda: DeepFMClassifier(**SMALL).fit(dataset.filter(pads.field("y") == 0), "y"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    # It is no matter in a column that is not read, and strings hold everything.
    assert OrdinalFieldEncoder().fit(dataset, leave_out="a").n_samples_seen_ == 2 * N
    schema = pa.schema([("a", pa.string()), ("y", pa.int64())])
    encoder = OrdinalFieldEncoder().fit(pads.dataset(dataset.files, schema=schema), "y")
    assert encoder.field_kinds_ == ["categories"]


CANNOT_BE_READ = {
    "beyond the exact floats": (
        [[2**60 + 1] * N, [0.5] * N],
        lambda dataset: dataset,
        "is double in the data set, and int64 in .*0.parquet: Integer value 115",
    ),
    "fractions with a filter": (
        [INTEGERS, [0.5] * N],
        lambda dataset: dataset.filter(pads.field("y") == 1),
        "is int64 in the data set, and double in .*1.parquet: Float value 0.5.* before any filter",
    ),
    "a type that was chosen": (
        [strings(), strings()],
        lambda dataset: pads.dataset(
            dataset.files, schema=pa.schema([("a", pa.int64()), ("y", pa.int64())])
        ),
        "is int64 in the data set, and string in .*0.parquet: Failed to parse",
    ),
}


@pytest.mark.parametrize("case", CANNOT_BE_READ)
def test_column_that_cannot_be_read_is_told_with_its_file(case, write):
    columns, opened, message = CANNOT_BE_READ[case]
    dataset = opened(write(*columns))
    with pytest.raises(ValueError, match=f"Column 'a' {message}"):
        OrdinalFieldEncoder().fit(dataset, "y")
    model = make_pipeline(OrdinalFieldEncoder(), DeepFMClassifier(**SMALL))
    model.fit(pa.table({"a": columns[0]}), [0, 1] * 10)
    with pytest.raises(ValueError, match=f"Column 'a' {message}"):
        model.predict(dataset)


def test_filter_on_a_column_that_cannot_be_read_is_told_too(write):
    dataset = write(INTEGERS, [0.5] * N).filter(pads.field("a") > 3)
    with pytest.raises(ValueError, match="Column 'a' is int64 in the data set, and double in"):
        OrdinalFieldEncoder().fit(dataset, leave_out="a")


def test_other_errors_of_arrow_are_left_alone(tmp_path):
    pq.write_table(pa.table({"a": INTEGERS}), tmp_path / "0.parquet")
    dataset = pads.dataset(tmp_path).filter(pads.field("a") == "seven")
    with pytest.raises(pa.ArrowException, match="Failed to parse|no kernel|not.* compar"):
        OrdinalFieldEncoder().fit(dataset)
