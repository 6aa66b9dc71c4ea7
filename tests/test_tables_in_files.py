"""Parquet and sheets: types and cells come as the file has them."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from reading import (
    get,
)


def test_parquet_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int64()),
            "q": pa.array([{"value": 1.5, "unit": "kg"}, None]),
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "record": pa.array(["r", "s"]),
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    assert get("parquet", tmp_path / "f.parquet").bare() == [
        {"n": 1, "q.unit": "kg", "q.value": 1.5, "d": "x", "record_": "r"},
        {"n": None, "q.unit": None, "q.value": None, "d": "y", "record_": "s"},
    ]
    assert get("parquet", tmp_path / "f.parquet", {"columns": ["n"]}).bare() == [{"n": 1}, {"n": None}]


def test_cells_come_as_a_reader_would_write_them(tmp_path: Path) -> None:
    import datetime as dt

    book = openpyxl.Workbook()
    book.active.title = "cover"
    sheet = book.create_sheet("data")
    sheet.append(["torques of week 12"])
    sheet.append(["n", "when", None, "record"])
    sheet.append([5, dt.datetime(2024, 3, 31, 8, 30), True, 0.1])
    sheet.append([None, None, None, None])
    sheet.append([12345678901, dt.date(2024, 3, 31), "x", 1e300])
    book.save(tmp_path / "f.xlsx")
    got = get("excel", tmp_path / "f.xlsx", {"sheet": "data", "header_row": 2})
    assert got.bare() == [
        {"n": "5", "when": "2024-03-31T08:30:00", "column_3": "true", "record_": "0.1"},
        {"n": "12345678901", "when": "2024-03-31", "column_3": "x", "record_": "1e+300"},
    ]
    assert "did you mean data?" in str(get("excel", tmp_path / "f.xlsx", {"sheet": "dat"}).fault)
