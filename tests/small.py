"""A small plant with a dialect of its own: what the tests of lake, ingest, backbone and command line stand on."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from unibody.backbone import Backbone
from unibody.settings import Settings
from unibody.tables import Instant, Table

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DIALECT = """
system = "test.plant"
about = "a plant made up for the tests"

[[files]]
name = "bolts"
match = "bolts_{line}.csv"
reader = "delimited"
zone = "UTC"
set_aside = [{ rule = "trial run", where.kind = "trial" }]

[[files.rows]]
table = "tightening"
columns.tightening_id = "id"
columns.tightened_at = "time"
columns.station = "station"
columns.torque_nm = "torque"

[[files]]
name = "machines"
match = "machines_{line}.csv"
reader = "delimited"
zone = "UTC"

[[files.rows]]
table = "machine_reading"
columns.machine = "machine"
columns.read_at = "time"
columns.usage = "hours"
signals.from = ["temp", "load"]

[[files.rows]]
table = "outcome"
last_of = "machine"
columns.truth = { constant = "stopped" }
columns.subject = "machine"
columns.happened_at = "time"
columns.usage = "hours"

[[files]]
name = "labels"
match = "labels_{line}.csv"
reader = "delimited"
zone = "UTC"

[[files.rows]]
table = "outcome"
columns.truth = { constant = "worn" }
columns.subject = "machine"
columns.happened_at = "time"
columns.value = "worn"
"""
BOLTS = ("id", "time", "station", "torque", "kind")


def settings(folder: Path, **stated: Any) -> Settings:
    """Settings of a home in a folder, with the user's folders beside it."""
    own = {n: folder / n for n in ("home", "dialects", "usecases", "solutions")}
    own["dialects"].mkdir(parents=True, exist_ok=True)
    dialect = own["dialects"] / "small.toml"
    if not dialect.exists():
        dialect.write_text(DIALECT)
    return Settings(**{**own, "quiet_seconds": 0.0, **stated})


def backbone(folder: Path, **stated: Any) -> Backbone:
    """A backbone over a home in a folder."""
    return Backbone(settings(folder, **stated))


def bolt(i: int, **changed: str) -> dict[str, str]:
    """One raw record: a bolt tightened."""
    at = BEGIN + timedelta(seconds=i)
    made = {
        "id": f"B{i}",
        "time": f"{at:%Y-%m-%d %H:%M:%S}",
        "station": f"S{i % 5}",
        "torque": f"{20 + i % 7}.5",
    }
    return {**made, "kind": "series", **changed}


def write(path: Path, rows: list[dict[str, str]], mode: str = "w", end: str = "\n") -> Path:
    """Rows as CSV, with a header where the file is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode, newline="") as f:
        lines = csv.DictWriter(f, list(rows[0]) if rows else BOLTS, lineterminator="\n")
        if mode == "w":
            lines.writeheader()
        lines.writerows(rows)
    if end != "\n":
        path.write_text(path.read_text()[:-1] + end)
    return path


def contents(b: Backbone, table: type[Table], provenance: bool = True) -> list[tuple[Any, ...]]:
    """All stored rows of a table but for when and by which run they came in, sorted."""
    columns = [
        *table.columns,
        "known_at",
        "known_assumed",
        "deleted",
        *(["source", "record"] if provenance else []),
    ]
    found = b.lake.stored(table).select(*columns).to_polars()
    return sorted(found.rows(), key=repr)


def facts(table: type[Table], rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Canonical rows as `Lake.append` takes them; what is not stated is null, known when it happened."""
    types = {
        **table.dtypes(),
        "known_at": Instant,
        "known_assumed": pl.Boolean,
        "deleted": pl.Boolean,
        "record": pl.Int64,
    }
    full = [
        {
            "known_at": r.get(table.at),
            "known_assumed": "known_at" not in r,
            "deleted": False,
            "record": i,
            **r,
        }
        for i, r in enumerate(rows)
    ]
    return pl.DataFrame([{n: r.get(n) for n in types} for r in full], schema=types)


def command(folder: Path, *words: str, **popen: Any) -> subprocess.Popen[bytes]:
    """`unibody WORDS` in a process of its own, over the same home as `backbone(folder)`."""
    settings(folder)
    names = ("home", "dialects", "usecases", "solutions")
    environ = {
        **os.environ,
        **{f"UNIBODY_{n.upper()}": str(folder / n) for n in names},
        "UNIBODY_QUIET_SECONDS": "0",
    }
    line = [sys.executable, "-c", "from unibody.cli import main; main()", *words]
    environ.update(popen.pop("env", {}))
    return subprocess.Popen(
        line, env=environ, cwd=folder, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    )


def ingest(folder: Path, says: Path | None = None) -> None:
    """Ingest `folder/raw`: what a process of its own runs, to be killed or to meet another."""
    tally = backbone(folder).ingest([folder / "raw"])
    if says:
        says.write_text(json.dumps(tally.plain()))


def replay(folder: Path, says: Path) -> None:
    """Replay, as `ingest` above."""
    says.write_text(json.dumps(backbone(folder).replay().plain()))


def process(target: Any, *given: Any) -> Any:
    """A process to kill, forked from one that has imported everything, so that it begins at once."""
    context = multiprocessing.get_context("forkserver")
    readers = ("delimited", "json", "parquet")
    context.set_forkserver_preload(
        [
            "small",
            "ibis.backends.duckdb",
            "pandas",
            "sqlalchemy",
            *(f"unibody.dialects.readers.{r}" for r in readers),
        ]
    )
    made = context.Process(target=target, args=given)
    made.start()
    return made
