"""Delimited text: whatever its marks, encoding and header, records keep their numbers around broken lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import (
    get,
    some,
)

from unibody.dialects.readers import Limits


@pytest.mark.parametrize(
    ("options", "body", "rows", "broken"),
    [
        ({"delimiter": ";"}, "a;b\n1,5;x\n", [{"a": "1,5", "b": "x"}], []),
        ({"encoding": "cp1252"}, "a,b\n1,é\n".encode("cp1252"), [{"a": "1", "b": "é"}], []),
        ({"encoding": "utf-16"}, "a,b\n1,é\n".encode("utf-16"), [{"a": "1", "b": "é"}], []),
        ({}, b"\xef\xbb\xbfa,b\n1,2\n", [{"a": "1", "b": "2"}], []),
        ({}, b"a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}], []),
        ({}, b'a,b\n"1\n1",2\n3\n4,5\n', [{"a": "1\n1", "b": "2"}, {"a": "4", "b": "5"}], [1]),
        ({}, b"a,b\n\n1,2\n\n\n3\n\n4,5\n", [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}], [1]),
        ({"quote": ""}, b'a,b\n"1,2\n', [{"a": '"1', "b": "2"}], []),
        ({"header": False}, b"1,2\n", [{"column_1": "1", "column_2": "2"}], []),
        ({"header": False, "columns": ["x", "y"]}, b"1,2\n3\n", [{"x": "1", "y": "2"}], [1]),
        ({"delimiter": "whitespace"}, b"  a   b \n 1\t 2  \n", [{"a": "1", "b": "2"}], []),
        ({"skip_lines": 2}, b"# x\n# y\na\n1\n", [{"a": "1"}], []),
        ({}, b"record,b\n7,2\n", [{"record_": "7", "b": "2"}], []),
    ],
)
def test_delimited(options: dict[str, Any], body: Any, rows: Any, broken: list[int], tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(body if isinstance(body, bytes) else body.encode())
    got = get("delimited", tmp_path / "f.csv", options)
    assert got.fault is None
    assert got.bare() == rows and [b[0] for b in got.broken] == broken
    assert got.numbers == list(range(len(rows) + len(broken)))


@some
@given(good=st.lists(st.booleans(), max_size=40), batch=st.integers(1, 7), start=st.integers(0, 45))
def test_delimited_numbers_records_around_broken_ones(
    tmp_path: Path, good: list[bool], batch: int, start: int
) -> None:
    lines = [f"{i},b" if fine else f"{i}" for i, fine in enumerate(good)]
    (tmp_path / "f.csv").write_text("\n".join(["a,b", *lines, ""]))
    got = get("delimited", tmp_path / "f.csv", {}, start, Limits(batch_rows=batch, quiet_seconds=0))
    assert [(r["record"], r["a"]) for r in got.rows] == [
        (i, str(i)) for i, g in enumerate(good) if g and i >= start
    ]
    assert [(b[0], b[1]) for b in got.broken] == [
        (i, str(i)) for i, g in enumerate(good) if not g and i >= start
    ]
