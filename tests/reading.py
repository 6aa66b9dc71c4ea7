"""What the tests of the readers share: all that a reader gave, and each format written from plain records."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from unibody.dialects.readers import Limits, reader
from unibody.errors import UnibodyError

DATA = Path(os.environ.get("UNIBODY_DATA", Path(__file__).parents[2] / "shared/data"))
QUIET = Limits(quiet_seconds=0)
FRESH = Limits(quiet_seconds=3600)
some = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def needs(*parts: str) -> Any:
    """A test of a real set is skipped, by name, where the set is absent."""
    path = DATA.joinpath(*parts)
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is absent")


@dataclass
class Got:
    """All that a reader gave, and how it ended."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    broken: list[tuple[int, str, str]] = field(default_factory=list)
    unfinished: int = 0
    fault: UnibodyError | None = None

    @property
    def numbers(self) -> list[int]:
        return sorted([r["record"] for r in self.rows] + [b[0] for b in self.broken])

    def bare(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in r.items() if k != "record"} for r in self.rows]


def get(
    name: str, path: Path, options: dict[str, Any] | None = None, start: int = 0, limits: Limits = QUIET
) -> Got:
    got = Got()
    try:
        for batch in reader(name, "test")(path, options or {}, start, limits):
            assert batch.frame.height <= limits.batch_rows or "signal" in batch.frame.columns
            assert batch.frame.schema.get("record", pl.Int64()) == pl.Int64
            got.rows += batch.frame.to_dicts()
            got.broken += batch.broken.rows()
            got.unfinished += batch.unfinished
    except UnibodyError as e:
        got.fault = e
    return got


def as_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, ["a", "b", "c"])
        writer.writeheader()
        writer.writerows(rows)


def as_json(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text(json.dumps({"site": "turin", "list": rows}), encoding="utf-8")


def as_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def as_catenax(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text(json.dumps({"positions": [{"allocatedStocks": [r]} for r in rows]}), encoding="utf-8")


def as_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    table = pa.Table.from_pylist(rows, schema=pa.schema([(n, pa.string()) for n in "abc"]))
    pq.write_table(table, path, row_group_size=3)


def as_excel(path: Path, rows: list[dict[str, str]]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["a", "b", "c"])
    for i, row in enumerate(rows, 2):
        for j, n in enumerate("abc", 1):
            cell = sheet.cell(i, j)
            cell.value, cell.data_type = row[n], "s"
    book.save(path)


def as_sqlite(path: Path, rows: list[dict[str, str]]) -> None:
    path.unlink(missing_ok=True)
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)")
    base.executemany(
        "INSERT INTO t VALUES (?, ?, ?, ?)", [(i, r["a"], r["b"], r["c"]) for i, r in enumerate(rows)]
    )
    base.commit()
    base.close()


SQL = {"query": "SELECT a, b, c, i FROM t", "order": ["i"]}
WRITTEN: dict[str, tuple[str, str, Any, dict[str, Any], set[str]]] = {
    # name: reader, suffix, writer, options, columns that are not the record's own
    "csv": ("delimited", ".csv", as_csv, {}, set()),
    "json": ("json", ".json", as_json, {"records": "list[*]"}, {"parent.site"}),
    "jsonl": ("jsonl", ".jsonl", as_jsonl, {}, set()),
    "catenax": ("catenax", ".json", as_catenax, {"aspect": "item_stock"}, set()),
    "parquet": ("parquet", ".parquet", as_parquet, {}, set()),
    "excel": ("excel", ".xlsx", as_excel, {}, set()),
    "sqlite": ("sql", ".sqlite", as_sqlite, SQL, {"i"}),
}

plain = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"], exclude_characters="_"), max_size=6
)
anything = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
