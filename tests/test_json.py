"""JSON: records wherever they lie in a document, with what encloses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reading import (
    DATA,
    get,
    needs,
)

from unibody.dialects.readers import Limits


@pytest.mark.parametrize(
    ("records", "text", "rows"),
    [
        ("", '{"a": {"b": 1.10}, "t": true, "n": null}', [{"a.b": "1.10", "t": "true", "n": None}]),
        ("[*]", '[{"a": 12345678901234567890123}]', [{"a": "12345678901234567890123"}]),
        ("[*]", '[[1, "x"], [2, "y"]]', [{"0": "1", "1": "x"}, {"0": "2", "1": "y"}]),
        ("[*]", '["x", 1E+2]', [{"value": "x"}, {"value": "1E+2"}]),
        (
            "a.b[*]",
            '{"s": 1, "a": {"q": 2, "b": [{"x": 3}]}}',
            [{"x": "3", "parent.s": "1", "parent.a.q": "2"}],
        ),
        (
            "l[*].m[*]",
            '{"d": 0, "l": [{"i": 1, "m": [{"x": 2}]}, {"i": 3}]}',
            [{"x": "2", "parent.i": "1", "parent.parent.d": "0"}],
        ),
        ("*[*]", '{"p1": [{"x": 1}], "p2": [{"x": 2}]}', [{"x": "1", "key": "p1"}, {"x": "2", "key": "p2"}]),
        (
            "*.w[*]",
            '{"f": {"w": [["s", "e"]], "l": [1]}}',
            [{"0": "s", "1": "e", "key": "f", "parent.l": "[1]"}],
        ),
        ("a", '{"a": {"x": [{"y": "1"}]}}', [{"x": '[{"y": "1"}]'}]),
        ("", '{"record": 5}', [{"record_": "5"}]),
    ],
)
def test_json_records(records: str, text: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    got = get("json", tmp_path / "f.json", {"records": records})
    assert got.fault is None and got.bare() == rows


@pytest.mark.parametrize(
    ("records", "text", "fault"),
    [
        ("positions[*]", '{"position": []}', "the document should have 'positions'; did you mean position?"),
        ("a[*]", '{"a": {"b": 1}}', ""),
        ("a[*]", "[]", "the document should be an object that has 'a'"),
        ("a[", "{}", "should be fields and lists"),
    ],
)
def test_json_says_what_it_expected(records: str, text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    got = get("json", tmp_path / "f.json", {"records": records})
    assert fault in str(got.fault) if fault else got.broken[0][2] == "a should be a list"


def test_columns_that_no_record_has_are_there_when_stated(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    got = get(
        "jsonl", tmp_path / "f.jsonl", {"columns": ["a", "b", "c"]}, 0, Limits(batch_rows=1, quiet_seconds=0)
    )
    assert got.bare() == [{"a": "1", "b": None, "c": None}, {"a": None, "b": "2", "c": None}]


@needs("plants", "nab_machine")
def test_real_windows_of_a_machine() -> None:
    got = get("json", DATA / "plants/nab_machine/labels.json", {"records": "*.windows[*]"})
    machine = [r for r in got.rows if r["key"] == "realKnownCause/machine_temperature_system_failure.csv"]
    assert len(machine) == 4 and machine[0]["0"] == "2013-12-10 06:25:00.000000"
