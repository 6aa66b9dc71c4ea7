"""Parquet through the whole way (read, map, check, append once) against deltalake alone writing the same rows."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from deltalake import WriterProperties, write_deltalake

from benchmarks.figures import Figure, full, peak, scratch, seconds, told
from unibody.backbone import Backbone
from unibody.settings import Settings

DIALECT = """
system = "bench"
about = "bolts, as Parquet"

[[files]]
name = "bolts"
match = "bolts_{n}.parquet"
reader = "parquet"

[[files.rows]]
table = "tightening"
columns.tightening_id = "id"
columns.tightened_at = "time"
columns.vin = "vin"
columns.station = "station"
columns.tool = "tool"
columns.bolt = "bolt"
columns.torque_nm = "torque"
columns.angle_deg = "angle"
columns.ok = "ok"
"""
ROWS_A_FILE = 1_000_000


def make(folder: Path, rows: int) -> Path:
    """Raw files of bolts, a million each."""
    random = np.random.default_rng(rows)
    folder.mkdir()
    for first in range(0, rows, ROWS_A_FILE):
        n = min(ROWS_A_FILE, rows - first)
        number = pl.int_range(first, first + n, eager=True)
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        frame = pl.DataFrame(
            {
                "id": pl.select(pl.format("T{}", number)).to_series(),
                "time": pl.select(pl.lit(begin) + pl.duration(milliseconds=number * 250))
                .to_series()
                .cast(pl.Datetime("us", "UTC")),
                "vin": pl.select(
                    pl.format("ZFA3120000{}", (number // 40 % 9_000_000 + 1_000_000).cast(pl.String))
                ).to_series(),
                "station": pl.Series(random.integers(0, 60, n)).cast(pl.String),
                "tool": pl.Series(random.integers(0, 200, n)).cast(pl.String),
                "bolt": pl.Series(random.integers(0, 40, n)).cast(pl.String),
                "torque": random.normal(80, 6, n).round(2),
                "angle": random.normal(60, 9, n).round(1),
                "ok": random.random(n) < 0.995,
            }
        )
        frame.write_parquet(folder / f"bolts_{first // ROWS_A_FILE}.parquet")
    return folder


def ours(raw: Path, home: Path) -> None:
    """The whole way into a new lake."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "dialects").mkdir(parents=True)
    (home / "dialects/bench.toml").write_text(DIALECT)
    settings = Settings(home=home / "home", dialects=home / "dialects", quiet_seconds=0.0)  # type: ignore[call-arg]
    backbone = Backbone(settings)
    tally = backbone.ingest([raw])
    assert tally.landed == tally.records > 0 and not tally.problems, tally.plain()


def alone(raw: Path, table: Path, known: bool) -> None:
    """deltalake writes the rows that ours would, a file a commit; with `known` the columns too that ours adds."""
    shutil.rmtree(table, ignore_errors=True)
    for i, path in enumerate(sorted(raw.glob("*.parquet"))):
        rows = pl.from_arrow(pq.read_table(path))
        assert isinstance(rows, pl.DataFrame)
        if known:
            now = pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC"))
            rows = rows.with_columns(
                known_at="time", known_assumed=True, deleted=False, ingested_at=now, source=pl.lit(f"s{i}"),
                record=pl.int_range(pl.len(), dtype=pl.Int64), run=pl.lit("r"),
            )  # fmt: skip
        write_deltalake(
            str(table),
            rows.to_arrow(),
            mode="append",
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
        )


def main() -> None:
    """Measure and print."""
    sizes = (1_000_000, 10_000_000, 50_000_000) if full(__doc__) else (1_000_000, 3_000_000)
    found: list[Figure] = []
    for rows in sizes:
        with scratch() as folder:
            raw = make(folder / "raw", rows)
            times = 3 if rows <= 3_000_000 else 1
            peer = seconds(lambda raw=raw, f=folder: alone(raw, f / "table", True), times)  # type: ignore[misc]
            bare = seconds(lambda raw=raw, f=folder: alone(raw, f / "table", False), 1)  # type: ignore[misc]
            with peak() as mib:
                mine = seconds(lambda raw=raw, f=folder: ours(raw, f / "home"), times)  # type: ignore[misc]
        size = f"{rows // 1_000_000} M rows"
        found += [
            Figure(f"whole way, {size}", rows / mine / 1e6, "M rows/s"),
            Figure(f"deltalake alone, the same rows, {size}", rows / peer / 1e6, "M rows/s"),
            Figure(f"deltalake alone, without what the lake adds, {size}", rows / bare / 1e6, "M rows/s"),
            Figure(
                f"ratio to deltalake alone, {size}",
                peer / mine,
                "x",
                ">= 0.60",
                peer / mine >= 0.6,
                "deltalake",
            ),
            Figure(f"peak memory, {size}", mib[0], "MiB"),
        ]
    told(found)


if __name__ == "__main__":
    sys.exit(main())
