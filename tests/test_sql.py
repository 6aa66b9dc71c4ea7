"""Databases: one SELECT that changes nothing, parameters, bytes, and a URL that stays secret."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from reading import DATA, SQL, as_sqlite, get, needs

from unibody.errors import SetupError


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"query": "SELECT * FROM t"}, "read.order should list"),
        ({"query": "SELECT * FROM t; SELECT 1", "order": ["i"]}, "a single SELECT"),
        ({"query": "DELETE FROM t", "order": ["i"]}, "a single SELECT"),
        (
            {"query": "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "order": ["i"]},
            "should only read",
        ),
        ({"query": "SELECT * FROM", "order": ["i"]}, "is no SQL"),
        ({"table": "tt", "order": ["i"]}, "no such table"),
        ({"table": "t", "order": ["nope"]}, "no such column"),
        ({"table": "t", "query": "SELECT 1", "order": ["i"]}, "one of query and table"),
        ({"query": "SELECT * FROM t WHERE i > :least", "order": ["i"]}, "least"),
    ],
)
def test_only_a_single_select_reads_a_database(options: dict[str, Any], fault: str, tmp_path: Path) -> None:
    as_sqlite(tmp_path / "f.db", [{"a": "1", "b": "2", "c": "3"}])
    got = get("sql", tmp_path / "f.db", options)
    assert isinstance(got.fault, SetupError) and fault in str(got.fault)


def test_sql_takes_parameters_and_keeps_bytes(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "f.db")
    base.execute("CREATE TABLE t (i INTEGER, f REAL, b BLOB, w TEXT)")
    base.executemany(
        "INSERT INTO t VALUES (?, ?, ?, ?)", [(2, 0.1, b"\xff", "é"), (1, None, None, "x"), (3, 5, b"", "y")]
    )
    base.execute("UPDATE t SET w = CAST(x'ff' AS TEXT) WHERE i = 3")
    base.commit()
    base.close()
    got = get(
        "sql",
        tmp_path / "f.db",
        {"query": "SELECT * FROM t WHERE i < :most", "parameters": {"most": 3}, "order": ["i"]},
    )
    assert got.bare() == [
        {"i": "1", "f": None, "b": None, "w": "x"},
        {"i": "2", "f": "0.1", "b": b"\xff", "w": "é"},
    ]
    got = get("sql", tmp_path / "f.db", {"table": "t", "order": ["i"]})
    assert got.numbers == [0, 1, 2] and got.broken[0][0] == 2 and "UTF-8" in got.broken[0][2]


def test_a_database_by_url_keeps_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_sqlite(tmp_path / "f.db", [{"a": "1", "b": "2", "c": "3"}])
    (tmp_path / "plant.dburl").write_text("PLANT_DB_URL\n")
    assert "has no PLANT_DB_URL" in str(get("sql", tmp_path / "plant.dburl", SQL).fault)
    monkeypatch.setenv("PLANT_DB_URL", f"sqlite:///{tmp_path / 'f.db'}")
    assert len(get("sql", tmp_path / "plant.dburl", SQL).rows) == 1
    for url in ("postgresql://me:hunter2@127.0.0.1:1/x", "nonsense hunter2", "oracle+none://me:hunter2@h/x"):
        monkeypatch.setenv("PLANT_DB_URL", url)
        got = get("sql", tmp_path / "plant.dburl", SQL)
        assert got.fault is not None and "hunter2" not in str(got.fault)
    (tmp_path / "plant.dburl").write_text("postgresql://me:hunter2@h/x")
    assert "hunter2" not in str(get("sql", tmp_path / "plant.dburl", SQL).fault)


@needs("vehicles", "dtc_codes")
def test_real_trouble_codes_in_a_database(tmp_path: Path) -> None:
    with (DATA / "vehicles/dtc_codes/dtc_definitions.csv").open(encoding="utf-8", newline="") as f:
        lines = list(csv.reader(f))
    base = sqlite3.connect(tmp_path / "dtc.sqlite")
    base.execute(f"CREATE TABLE dtc_definitions ({', '.join(lines[0])})")
    base.executemany(f"INSERT INTO dtc_definitions VALUES ({', '.join('?' * len(lines[0]))})", lines[1:])
    base.commit()
    base.close()
    query = "SELECT code, description FROM dtc_definitions WHERE manufacturer = :brand"
    options = {"query": query, "parameters": {"brand": "JEEP"}, "order": ["code", "description"]}
    got = get("sql", tmp_path / "dtc.sqlite", options)
    assert len(got.rows) == 97 and got.numbers == list(range(97))
    assert len(get("delimited", DATA / "vehicles/dtc_codes/dtc_definitions.csv").rows) == len(lines) - 1


def test_a_row_whose_text_is_none_says_which_column(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite"
    as_sqlite(path, [{"a": "1", "b": "2", "c": "3"}, {"a": "4", "b": "5", "c": "6"}])
    with sqlite3.connect(path) as base:
        base.execute("UPDATE t SET b = CAST(x'ff' AS TEXT) WHERE i = 1")
    got = get("sql", path, SQL)
    assert [(r["record"], r["a"]) for r in got.rows] == [(0, "1")]
    assert [(n, rule) for n, _, rule in got.broken] == [(1, "b should be UTF-8 text")]
