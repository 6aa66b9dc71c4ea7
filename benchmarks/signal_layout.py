"""The first experiment: signal readings as one row a value, one a series and minute, or packed runs (ours).

Read by DuckDB, and by Spark where an environment of its own is there: `python -m venv benchmarks/.peers/spark &&
benchmarks/.peers/spark/bin/pip install --require-hashes -r requirements-spark.lock` (or SPARK_PYTHON).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from deltalake import DeltaTable, WriterProperties, write_deltalake

from benchmarks.figures import Figure, best_and_last, full, scratch, seconds, told
from unibody.lake import pack
from unibody.tables import SignalReading

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
VEHICLES, PATHS, BATCH = 200, 25, 250_000


def batches(values: int) -> list[pl.DataFrame]:
    """Drives as they come in: 10,000 values of one vehicle, its 25 signals once a second, 25 drives a batch."""
    random, made = np.random.default_rng(1), []
    instant, levels = pl.Datetime("us", "UTC"), random.uniform(0, 500, PATHS)
    drive = pl.select(s=pl.int_range(400)).join(pl.select(p=pl.int_range(PATHS)), how="cross")
    for first in range(0, values, BATCH):
        parts = []
        for d in range(BATCH // 10_000):
            number = first // 10_000 + d
            at = pl.lit(BEGIN + timedelta(hours=2 * (number // VEHICLES)), instant)
            parts.append(
                drive.select(
                    vin=pl.lit(f"ZFA312000012{number % VEHICLES:05}"),
                    path=pl.format("Vehicle.Signal{}", "p"),
                    read_at=at + pl.duration(seconds="s"),
                    odometer_km=pl.lit(None, pl.Float64),
                    # each signal walks about a level of its own
                    value=pl.Series(
                        (random.normal(0, 0.1, (400, PATHS)).cumsum(0) + levels).round(2).ravel()
                    ),
                    text=pl.lit(None, pl.String),
                    integer=pl.lit(None, pl.Int64),
                )
            )
        frame = pl.concat(parts)
        made.append(
            frame.with_columns(
                known_at="read_at", known_assumed=True, deleted=False, ingested_at=pl.lit(BEGIN, instant),
                source=pl.lit(f"source{first}"), record=pl.int_range(pl.len(), dtype=pl.Int64), run=pl.lit("run"),
            )
        )  # fmt: skip
    return made


def rows(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a value."""
    return frame


def by_series(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a value, sorted by series within a batch."""
    return frame.sort("vin", "path", "read_at")


def minutes(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a series and minute."""
    by = ["vin", "path", "known_assumed", "deleted", "ingested_at", "source", "run"]
    cut = frame.with_columns(first_at=pl.col("read_at").dt.truncate("1m"))
    return cut.group_by([*by, "first_at"], maintain_order=True).agg("read_at", "value", "known_at", "record")


def packed(frame: pl.DataFrame) -> pl.DataFrame:
    """Runs of at most 4,096 values of one series, as the lake keeps them."""
    one = frame.select("ingested_at", "source", "run").row(0, named=True)
    return pack(SignalReading, frame).with_columns(
        pl.lit(one["ingested_at"], pl.Datetime("us", "UTC")).alias("ingested_at"),
        pl.lit(one["source"]).alias("source"),
        pl.lit(one["run"]).alias("run"),
    )


LAYOUTS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "a row a value": rows,
    "a row a value, by series": by_series,
    "a row a minute": minutes,
    "packed runs (ours)": packed,
}
PLAIN = "vin, path, read_at, value, known_at, record, source"
UNPACK = "vin, path, unnest(read_at) read_at, unnest(value) value, unnest(coalesce(known_at, read_at)) known_at, unnest(record) record, source"


def view(table: Path, layout: str) -> str:
    """One row a value, in SQL."""
    files = DeltaTable(str(table)).file_uris()
    columns = PLAIN if layout.startswith("a row a value") else UNPACK
    return f"(SELECT {columns} FROM read_parquet({files}, union_by_name = true))"


SPARK_PYTHON = Path(os.environ.get("SPARK_PYTHON", Path(__file__).parent / ".peers/spark/bin/python"))
#: Reads the Parquet files of one layout twice and times the second read; without the start of the JVM.
SPARK = """
import json, sys, time
from pyspark.sql import SparkSession
asked = json.loads(sys.argv[1])
spark = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "4g").config("spark.ui.enabled", "false")
         .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2").getOrCreate())
spark.sparkContext.setLogLevel("OFF")
stored = spark.read.parquet(*asked["files"])
if asked["packed"]:
    stored = stored.selectExpr("vin", "path", "source", "read_at", "value", "coalesce(known_at, read_at) known_at", "record")
    stored = stored.selectExpr("vin", "path", "source", "explode(arrays_zip(read_at, value, known_at, record)) r")
    stored = stored.selectExpr("vin", "path", "source", "r.read_at", "r.value", "r.known_at", "r.record")
stored.createOrReplaceTempView("readings")
found = {}
for name, query in asked["queries"].items():
    spark.sql(query).collect()
    began = time.perf_counter()
    rows = spark.sql(query).collect()
    found[name] = [time.perf_counter() - began, len(rows), sum(r["n"] for r in rows)]
print(json.dumps(found))
"""


def spark_reads(table: Path, layout: str) -> dict[str, tuple[float, int, int]]:
    """Seconds, rows and their sum of each query by Spark; empty where no environment with Spark is there."""
    if not SPARK_PYTHON.exists():
        return {}
    asked = {
        "files": DeltaTable(str(table)).file_uris(),
        "packed": not layout.startswith("a row a value"),
        "queries": {
            "as-of read of one vehicle (Spark)": f"""SELECT path, CAST(max_by(value, read_at) * 100 AS BIGINT) n
                FROM readings WHERE vin = 'ZFA31200001200007' AND known_at <= '{BEGIN + timedelta(hours=1)}'
                AND read_at < '{BEGIN + timedelta(seconds=200)}' GROUP BY path""",
            "group read (Spark)": "SELECT vin, path, count(*) n FROM readings GROUP BY vin, path",
        },
    }
    line = [str(SPARK_PYTHON), "-c", SPARK, json.dumps(asked)]
    said = subprocess.run(
        line,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYSPARK_PYTHON": str(SPARK_PYTHON)},
    )
    return {name: (t, n, total) for name, (t, n, total) in json.loads(said.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Measure and print."""
    sizes = (1_000_000, 5_000_000, 20_000_000) if full(__doc__) else (1_000_000, 5_000_000)
    found: list[Figure] = []
    for values in sizes:
        made, answers = batches(values), {}
        for layout, shape in LAYOUTS.items():
            with scratch() as folder:

                def write(
                    shape: Callable[[pl.DataFrame], pl.DataFrame] = shape,
                    folder: Path = folder,
                    made: list[pl.DataFrame] = made,
                ) -> None:
                    for frame in made:
                        write_deltalake(
                            str(folder / "t"), shape(frame).to_arrow(), mode="append",
                            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
                        )  # fmt: skip

                took = seconds(write)
                size = sum(p.stat().st_size for p in (folder / "t").rglob("*.parquet"))
                con, source = duckdb.connect(), view(folder / "t", layout)
                con.execute("SET TimeZone = 'UTC'")
                point = f"""SELECT path, arg_max(value, read_at) v FROM {source}
                    WHERE vin = 'ZFA31200001200007' AND read_at < TIMESTAMPTZ '{BEGIN + timedelta(seconds=200)}'
                    AND known_at <= TIMESTAMPTZ '{BEGIN + timedelta(hours=1)}' GROUP BY path ORDER BY path"""
                group = f"SELECT vin, path, sum(CAST(round(value * 100) AS BIGINT)) m, count(*) n FROM {source} GROUP BY ALL ORDER BY ALL"
                lineage = f"SELECT vin, path, read_at FROM {source} WHERE source = 'source0' AND record = 7"

                def ask(query: str, con: duckdb.DuckDBPyConnection = con) -> tuple[float, object]:
                    return best_and_last(lambda: con.execute(query).fetchall(), 3)

                asked = {
                    name: ask(q)
                    for name, q in {
                        "as-of read of one vehicle": point,
                        "group read": group,
                        "rows of one record": lineage,
                    }.items()
                }
                by_spark = spark_reads(folder / "t", layout)
            answers[layout] = [
                *(a for _, a in asked.values()),
                *((n, total) for _, n, total in by_spark.values()),
            ]
            where = f"{layout}, {values // 1_000_000} M values"
            found.append(Figure(f"write, {where}", values / took / 1e6, "M/s"))
            found.append(Figure(f"size, {where}", size / values, "B/value"))
            found += [Figure(f"{name}, {where}", t * 1e3, "ms") for name, (t, _) in asked.items()]
            found += [Figure(f"{name}, {where}", t * 1e3, "ms") for name, (t, _, _) in by_spark.items()]
        for layout, given in answers.items():
            for mine, theirs in zip(given, answers["a row a value"], strict=True):
                assert mine == theirs, f"{layout} answers {str(mine)[:200]}, not {str(theirs)[:200]}"
    told(found)


if __name__ == "__main__":
    sys.exit(main())
