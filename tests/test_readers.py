"""Every reader gives back what was written, numbered from 0; what it cannot read it says, and loses nothing."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import sqlite3
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cantools
import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unibody.dialects.readers import READERS, Limits, reader
from unibody.dialects.readers import dbc as dbc_files
from unibody.errors import FormatError, SetupError, UnibodyError

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


# ------------------------------------------------------------------ any list of records, any batch, any start


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


def records(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    # a row whose every cell is empty is no row in a sheet, so "a" has something to see
    return st.lists(
        st.fixed_dictionaries({"a": words.map(lambda w: "x" + w), "b": words, "c": words}), max_size=12
    )


@pytest.mark.parametrize("name", WRITTEN)
@some
@given(data=st.data())
def test_what_was_written_is_read_back(name: str, data: st.DataObject, tmp_path: Path) -> None:
    kind, suffix, write, options, other = WRITTEN[name]
    rows = data.draw(records(plain if name == "excel" else anything))
    path = tmp_path / f"file{suffix}"
    write(path, rows)
    start = data.draw(st.integers(0, len(rows) + 2))
    limits = Limits(batch_rows=data.draw(st.integers(1, 5)), quiet_seconds=0)
    got = get(kind, path, options, start, limits)
    assert got.fault is None and not got.broken
    found = [{k: v for k, v in r.items() if k not in other} for r in got.bare()]
    assert found == rows[start:]
    assert got.numbers == list(range(start, len(rows)))


@pytest.mark.parametrize("name", WRITTEN)
@some
@given(data=st.data())
def test_a_file_cut_anywhere_loses_nothing_silently(name: str, data: st.DataObject, tmp_path: Path) -> None:
    kind, suffix, write, options, other = WRITTEN[name]
    rows = data.draw(records(plain))
    path = tmp_path / f"file{suffix}"
    write(path, rows)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, 1 << 20)) % max(len(whole), 1)])
    got = get(kind, path, options, 0, Limits(batch_rows=3, quiet_seconds=0))
    found = [{k: v for k, v in r.items() if k not in other} for r in got.bare()]
    assert found[:-1] == rows[: len(found[:-1])]  # the last may be cut where nothing shows it
    assert got.numbers == list(range(len(got.numbers)))
    if suffix in (".json", ".parquet", ".xlsx"):
        assert got.fault is not None


@pytest.mark.parametrize("name", [*WRITTEN, "candump"])
@some
@given(garbage=st.binary(max_size=300))
def test_garbage_is_refused_or_broken(name: str, garbage: bytes, tmp_path: Path) -> None:
    kind, suffix, options = (
        ("candump", ".log", {}) if name == "candump" else (*WRITTEN[name][:2], WRITTEN[name][3])
    )
    path = tmp_path / f"file{suffix}"
    path.write_bytes(garbage)
    got = get(kind, path, options)
    assert got.numbers == list(range(len(got.numbers)))
    if name in ("jsonl", "candump"):
        assert got.fault is None and len(got.numbers) == sum(1 for x in garbage.split(b"\n") if x.strip())
    if name in ("parquet", "excel"):
        assert isinstance(got.fault, FormatError)


@pytest.mark.parametrize("name", WRITTEN)
@some
@given(data=st.data())
def test_flipped_bytes_are_refused_or_broken(name: str, data: st.DataObject, tmp_path: Path) -> None:
    kind, suffix, write, options, _ = WRITTEN[name]
    path = tmp_path / f"file{suffix}"
    write(path, [{"a": f"x{i}", "b": "b", "c": "c"} for i in range(8)])
    body = bytearray(path.read_bytes())
    for _ in range(3):
        body[data.draw(st.integers(0, 1 << 20)) % len(body)] = data.draw(st.integers(0, 255))
    path.write_bytes(body)
    get(kind, path, options)  # no exception but ours


def test_every_reader_is_tested_here() -> None:
    assert {*(w[0] for w in WRITTEN.values()), "candump"} == set(READERS)


# ------------------------------------------------------------------ hostile and broken files


def big_xlsx(path: Path) -> None:
    as_excel(path, [])
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as z,
        z.open("xl/bomb.xml", "w", force_zip64=True) as f,
    ):
        for _ in range(405):
            f.write(bytes(1 << 20))


BOMBS = {
    "delimited": ("bomb.csv.gz", lambda p: gzip.open(p, "wb", 1).write(b"a,b,c\n" + b"1,2,3\n" * 200_000)),
    "jsonl": ("bomb.jsonl.gz", lambda p: gzip.open(p, "wb", 1).write(b'{"a": 1}\n' * 200_000)),
    "candump": ("bomb.log.gz", lambda p: gzip.open(p, "wb", 1).write(b"(1.000000) can0 123#00\n" * 100_000)),
    "json": ("bomb.json.gz", lambda p: gzip.open(p, "wb", 1).write(b"[" + b" " * 1_100_000 + b"]")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_without_end_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / BOMBS[name][0]
    BOMBS[name][1](path)
    got = get(name, path, {}, 0, Limits(ratio_max=1, quiet_seconds=0))
    assert isinstance(got.fault, FormatError) and "unpacks to more than" in str(got.fault)


def test_a_workbook_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    big_xlsx(tmp_path / "bomb.xlsx")
    got = get("excel", tmp_path / "bomb.xlsx")
    assert "unpacks to more than" in str(got.fault)


def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as z:
        z.writestr("../../etc/cron.csv", "a,b\n1,2\n")
    assert "leaves the archive's folder" in str(get("delimited", tmp_path / "slip.zip").fault)


@pytest.mark.parametrize(
    ("name", "body", "fault", "broken"),
    [
        ("json", b"[" * 100_000, "nests deeper", []),
        ("json", b'{"a":' * 200 + b"1" + b"}" * 200, "", ["nests deeper than 64 levels"]),
        ("jsonl", b"[" * 100_000 + b"\n{}\n", "", ["nests deeper"]),
        ("jsonl", b'{"a": "\\ud800"}\n', "", ["half a character"]),
        ("jsonl", b'{"a.b": 1, "a": {"b": 2}}\n', "", ["names 'a.b' twice"]),
        ("jsonl", b'{"a": NaN}\n', "", ["NaN is no JSON"]),
        ("jsonl", b'{"a": "\xe9"}\n', "", ["is not UTF-8"]),
        ("jsonl", b"x" * (9 << 20), "a line of more than", []),
        ("candump", b"x" * (9 << 20), "a line of more than", []),
        ("delimited", b"a,b\n1,\0\n", "", []),
        ("delimited", b"x" * (9 << 20), "has no end", []),
        ("delimited", b"a" * 200_000 + b",b\n1,2\n", "field larger than field limit", []),
        ("delimited", b"a,b\n1,2\n\xff\xfe,3\n", "is not utf-8 text", []),
        ("delimited", b"", "is empty", []),
        ("json", b"", "is no JSON", []),
        ("parquet", b"", "has no Parquet footer", []),
        ("excel", b"", "is no workbook", []),
        ("json", b'{"stock": []}', "", []),
    ],
)
def test_hostile_content_is_ordinary(
    name: str, body: bytes, fault: str, broken: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(body)
    got = get(name, path)
    assert (fault in str(got.fault)) if fault else got.fault is None
    assert len(got.broken) == len(broken)
    for (_, raw, rule), wanted in zip(got.broken, broken, strict=True):
        assert wanted in rule and len(raw) <= 10_010


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_text_in_another_encoding_is_told_after_the_lines_before(batch_rows: int, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(b"a,b\n1,2\n3,4\n\xe9\n5,6\n")
    got = get("delimited", tmp_path / "f.csv", {}, 0, Limits(batch_rows=batch_rows, quiet_seconds=0))
    assert got.bare() == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert "is not utf-8 text; state the right encoding" in str(got.fault)


def test_a_parquet_without_footer_says_so(tmp_path: Path) -> None:
    as_parquet(tmp_path / "cut.parquet", [{"a": "1", "b": "2", "c": "3"}] * 50)
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    assert "has no Parquet footer: truncated or still being written" in str(
        get("parquet", tmp_path / "cut.parquet").fault
    )


@pytest.mark.parametrize(
    ("name", "body", "done"),
    [
        ("delimited", b"a,b\n1,2\n3,4", [["1", "2"]]),
        ("jsonl", b'{"a": "1"}\n{"a": "2"', [["1"]]),
        ("candump", b"(1.0) can0 123#00\n(2.0) can0 12", None),
    ],
)
def test_the_last_line_of_a_fresh_file_is_held_back(
    name: str, body: bytes, done: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(body)
    got = get(name, tmp_path / "file", {}, 0, FRESH)
    assert got.unfinished == 1 and len(got.rows) == 1 and not got.broken
    assert done is None or [list(r.values()) for r in got.bare()] == done


@some
@given(cut=st.integers(0, 200))
def test_a_cut_gz_gives_what_can_be_read(cut: int, tmp_path: Path) -> None:
    body = "".join(f'{{"a": "{random.Random(i).random()}"}}\n' for i in range(300)).encode()
    packed = gzip.compress(body)
    (tmp_path / "f.jsonl.gz").write_bytes(packed[: len(packed) - 1 - cut * (len(packed) // 202)])
    got = get("jsonl", tmp_path / "f.jsonl.gz")
    assert isinstance(got.fault, FormatError) and "cut short" in str(got.fault)
    assert got.bare() == [json.loads(x) for x in body.splitlines()][: len(got.rows)]


# ------------------------------------------------------------------ delimited


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


# ------------------------------------------------------------------ json and catenax


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


def test_catenax_envelopes_and_older_versions(tmp_path: Path) -> None:
    urn = "urn:bamm:io.catenax.assembly_part_relationship:1.1.0#AssemblyPartRelationship"
    child = {"childCatenaXId": "urn:2", "quantity": {"quantityNumber": 4}}
    part = {"catenaXId": "urn:1", "bpnl": "BPNL1", urn: [{"catenaXId": "urn:1", "childParts": [child]}]}
    submodel = {"aspectType": "urn:samm:io.catenax.serial_part:3.0.0#SerialPart"}
    submodel["payload"] = {"localIdentifiers": [{"key": "van", "value": "V1"}]}  # type: ignore[assignment]
    (tmp_path / "f.json").write_text(json.dumps({"x": [part], "assets": [{"submodels": [submodel]}]}))
    bom = get("catenax", tmp_path / "f.json", {"aspect": "single_level_bom_as_built"})
    assert bom.bare() == [
        {
            "globalAssetId": "urn:2",
            "quantity.value": "4",
            "parent.globalAssetId": "urn:1",
            "asset.catenaXId": "urn:1",
            "asset.bpnl": "BPNL1",
        }
    ]
    assert get("catenax", tmp_path / "f.json", {"aspect": "serial_part"}).bare() == [
        {"localIdentifiers.van": "V1"}
    ]
    assert "holds no batch" in str(get("catenax", tmp_path / "f.json", {"aspect": "batch"}).fault)
    assert "did you mean item_stock?" in str(
        get("catenax", tmp_path / "f.json", {"aspect": "item_stok"}).fault
    )


@needs("supply", "catenax")
@pytest.mark.parametrize(
    ("file", "aspect", "count", "first"),
    [
        (
            "payload_examples/io.catenax.item_stock_2.0.0.json",
            "item_stock",
            1,
            {"quantityOnAllocatedStock.value": "20.0"},
        ),
        (
            "payload_examples/io.catenax.fleet.diagnostic_data_3.0.0.json",
            "diagnostic_data",
            1,
            {"fullName": "P0573-00"},
        ),
        ("irs/smallTestdata.json", "serial_part", 147, {"localIdentifiers.van": "OMBEJUUEZVKSJRHPM"}),
        (
            "traceability/import-test-data-0UKM_v0.0.14.json",
            "single_level_bom_as_built",
            5,
            {"quantity.value": "1"},
        ),
    ],
)
def test_real_catenax(file: str, aspect: str, count: int, first: dict[str, str]) -> None:
    got = get("catenax", DATA / "supply/catenax" / file, {"aspect": aspect})
    assert got.fault is None and not got.broken and len(got.rows) == count
    assert first.items() <= got.rows[0].items()


@needs("plants", "nab_machine")
def test_real_windows_of_a_machine() -> None:
    got = get("json", DATA / "plants/nab_machine/labels.json", {"records": "*.windows[*]"})
    machine = [r for r in got.rows if r["key"] == "realKnownCause/machine_temperature_system_failure.csv"]
    assert len(machine) == 4 and machine[0]["0"] == "2013-12-10 06:25:00.000000"


# ------------------------------------------------------------------ parquet, excel, sql


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


# ------------------------------------------------------------------ buses


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (
            "(1719817200.123456) can0 123#0011",
            {"at": "1719817200.123456", "can_id": 0x123, "data": b"\x00\x11"},
        ),
        ("(1.0) can0 18FEDF00#8A", {"can_id": 0x18FEDF00, "extended": True, "data": b"\x8a"}),
        ("(1.0) can0 123##1" + "AB" * 64, {"data": b"\xab" * 64}),
        ("(1.0) can0 123#R8", {"is_remote": True, "data": b""}),
        ("(1.0) can0 20000080#0000000000000000", {"is_error": True, "can_id": 0x80}),
        ("(1.0) vcan0 123#00.11.22 R", {"channel": "vcan0", "data": b"\x00\x11\x22"}),
        (
            " (000.005001)  can0  18FEDF00   [2]  8A A0",
            {"at": "000.005001", "extended": True, "data": b"\x8a\xa0"},
        ),
        (" (1.0)  can0  123   [3]  01 02 03   '...'", {"data": b"\x01\x02\x03"}),
        (" (1.0)  can0  123   [8]  remote request", {"is_remote": True}),
        ("(1.0) can0 FFF#00", "at most 7FF"),
        ("(1.0) can0 123#000", "as candump -L writes it"),
        ("(1.0) can0 123#001122334455667788", "at most 8"),
        ("(1.0) can0 FFFFFFFF#00", "at most 1FFFFFFF"),
        (" (1.0)  can0  123   [8]  00 11", "says that it has 8 bytes of data and has 2"),
        ("can0 123#00", "as candump -L writes it"),
        ("\xe9", "as candump -L writes it"),
    ],
)
def test_candump_lines(line: str, frame: Any, tmp_path: Path) -> None:
    (tmp_path / "f.log").write_bytes(line.encode("latin-1") + b"\n")
    got = get("candump", tmp_path / "f.log")
    if isinstance(frame, str):
        assert not got.rows and frame in got.broken[0][2]
    else:
        usual = {
            "channel": "can0",
            "extended": False,
            "sequence": 0,
            "is_remote": False,
            "is_error": False,
            "record": 0,
        }
        assert (
            {**usual, **frame}.items() <= got.rows[0].items()
            if "channel" not in frame
            else frame.items() <= got.rows[0].items()
        )


instants = st.sampled_from(["(1.0)", "(1.1)", "(1.2)"])
ids = st.sampled_from(["100", "101", "00000100"])


@some
@given(
    st.lists(st.tuples(instants, st.sampled_from(["can0", "can1"]), ids), max_size=30),
    st.integers(1, 9),
    st.integers(0, 30),
)
def test_frames_of_one_instant_are_told_apart(
    tmp_path: Path, frames: list[tuple[str, str, str]], batch: int, start: int
) -> None:
    (tmp_path / "f.log").write_text("".join(f"{a} {c} {i}#00\n" for a, c, i in frames))
    got = get("candump", tmp_path / "f.log", {}, start, Limits(batch_rows=batch, quiet_seconds=0))
    wanted, last = [], dict[str, tuple[str, dict[int, int]]]()
    for n, (at, channel, can_id) in enumerate(frames):
        if last.get(channel, ("",))[0] != at:
            last[channel] = (at, {})
        counts = last[channel][1]
        key = int(can_id, 16)
        wanted.append((n, counts.get(key, 0)))
        counts[key] = counts.get(key, 0) + 1
    assert [(r["record"], r["sequence"]) for r in got.rows] == wanted[start:]


STELLANTIS = {
    "chrysler_cusw": (26, 97),
    "chrysler_pacifica_2017_hybrid_generated": (50, 210),
    "chrysler_pacifica_2017_hybrid_private_fusion": (31, 122),
    "chrysler_ram_dt": (29, 166),
    "chrysler_ram_hd_generated": (23, 146),
    "fca_giorgio": (37, 155),
    "opel_omega_2001": (11, 38),
    "psa_aee2010_r3": (107, 430),
}


@pytest.mark.parametrize("name", STELLANTIS)
def test_stellantis_dbc(name: str) -> None:
    bus = dbc_files.load(name)
    assert (len(bus.messages), sum(len(m.signals) for m in bus.messages)) == STELLANTIS[name]
    assert all(r.before != r.after and r.file and r.line for r in bus.repairs)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BO_ 517111811 LONG: 8 X", "BO_ 2664595459 LONG: 8 X"),
        ("BO_ 1275 2017_5: 8 X", "BO_ 1275 _2017_5: 8 X"),
        (' SG_ 0_A : 0|8@1+ (.5,-.5) [.0|1] ".x" X', ' SG_ _0_A : 0|8@1+ (0.5,-0.5) [0.0|1] ".x" X'),
        ('VAL_ 1 A 0 "off" 1 "on"', 'VAL_ 1 A 0 "off" 1 "on";'),
        ('VAL_ 1 GONE 0 "off";', ""),
        ('CM_ "BO_ is a keyword', 'CM_ "BO_ is a keyword'),
        ('CM_ "Front target"', 'CM_ "Front target";'),
        ('CM_ SG_ 304 "of no signal";', 'CM_ BO_ 304 "of no signal";'),
        ('CM_ 145 "of no kind";', 'CM_ BO_ 145 "of no kind";'),
        ('CM_ SG_ 517111811 0_A "x";', 'CM_ SG_ 2664595459 _0_A "x";'),
        ("    VAL_", "    VAL_"),
        ("BO_ 1 GOOD: 8 X", "BO_ 1 GOOD: 8 X"),
    ],
)
def test_dbc_repairs(before: str, after: str) -> None:
    start = 'BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|1] "" X\n'
    mended, repairs = dbc_files.mend("here.dbc", start + before)
    assert mended.split("\n")[2] == after
    assert [(r.file, r.line, r.before, r.after) for r in repairs] == (
        [("here.dbc", 3, before, after)] if before != after else []
    )


MADE = """VERSION ""
BU_: X
BO_ 100 PLAIN: 8 X
 SG_ U : 7|12@0+ (0.071028,0) [0|0] "m/s" X
 SG_ S : 12|13@1- (0.25,-500) [0|0] "" X
 SG_ F : 32|32@1- (1,0) [0|0] "" X
 SG_ G : 31|3@0- (1,0) [0|0] "" X
BO_ 101 WIDE: 8 X
 SG_ W : 0|64@1+ (1,0) [0|0] "" X
BO_ 102 SIGNED: 8 X
 SG_ W : 7|64@0- (3,7) [0|0] "" X
BO_ 103 DOUBLE: 8 X
 SG_ D : 7|64@0- (0.1,1.5) [0|0] "" X
BO_ 104 MUX: 8 X
 SG_ M M : 0|4@1+ (1,0) [0|0] "" X
 SG_ A m0 : 8|12@1+ (0.5,1) [0|0] "" X
 SG_ B m1 : 8|12@1- (1,0) [0|0] "" X
 SG_ C m1 : 31|9@0+ (2,-1) [0|0] "" X
 SG_ Z : 40|7@1+ (1,0) [0|0] "" X
BO_ 2147483753 NEST: 8 X
 SG_ M M : 0|2@1+ (1,0) [0|0] "" X
 SG_ N m0M : 8|2@1+ (1,0) [0|0] "" X
 SG_ P m1 : 8|16@1+ (1,0) [0|0] "" X
 SG_ Q m2 : 16|16@1- (0.1,0) [0|0] "" X
 SG_ R m3 : 16|8@1- (0.1,0) [0|0] "" X
BO_ 106 LONG: 64 X
 SG_ L : 501|11@1+ (1,0) [0|0] "" X
 SG_ K : 65|63@1- (1,0) [0|0] "" X
 SG_ J : 250|61@0+ (0.5,0) [0|0] "" X
SIG_VALTYPE_ 100 F : 1;
SIG_VALTYPE_ 103 D : 2;
VAL_ 100 G -1 "minus" 0 "none" 2 "two";
VAL_ 104 M 0 "first" 1 "second";
VAL_ 104 Z 127 "SNA";
SG_MUL_VAL_ 2147483753 Q N 0-0;
SG_MUL_VAL_ 2147483753 R N 1-3;
SG_MUL_VAL_ 2147483753 N M 0-0;
SG_MUL_VAL_ 2147483753 P M 1-1;
"""


def said(row: dict[str, Any]) -> Any:
    filled = [row[k] for k in ("value", "integer", "text") if row[k] is not None]
    assert len(filled) == 1, row
    return filled[0]


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, str):
        return ours == str(theirs)
    if isinstance(ours, int):
        return ours == theirs and abs(ours) > 1 << 53
    return repr(ours) == repr(float(theirs))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dbc") / "made.dbc"
    path.write_text(MADE)
    return path


@pytest.mark.parametrize("name", ["made", "chrysler_ram_dt", "opel_omega_2001", "tesla_can", "ESR"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_values_equal_cantools(name: str, data: st.DataObject, made: Path, tmp_path: Path) -> None:
    bus = dbc_files.load(str(made) if name == "made" else name)
    by_id = {m.frame_id | m.is_extended_frame << 31: m for m in bus.messages}
    frames = data.draw(
        st.lists(
            st.sampled_from(list(by_id.values())).flatmap(
                lambda m: st.tuples(st.just(m), st.binary(min_size=m.length, max_size=m.length))
            ),
            min_size=1,
            max_size=40,
        )
    )
    if name == "made":  # a multiplexer is seldom right by chance
        frames = [
            (m, bytes([d[0] & 0xF1, d[1] & 1, *d[2:]]) if m.name in ("MUX", "NEST") else d) for m, d in frames
        ]
    lines = []
    for m, d in frames:
        number = f"{m.frame_id:08X}" if m.is_extended_frame else f"{m.frame_id:03X}"
        lines.append(f"(1.0) can0 {number}{'##0' if m.length > 8 else '#'}{d.hex().upper()}\n")
    (tmp_path / "f.log").write_text("".join(lines))
    limits = Limits(batch_rows=data.draw(st.sampled_from([4, 1000])), quiet_seconds=0)
    got = get("candump", tmp_path / "f.log", {"dbc": str(made) if name == "made" else name}, 0, limits)
    assert got.fault is None and not got.broken
    for n, (m, d) in enumerate(frames):
        rows = [r for r in got.rows if r["record"] == n]
        try:
            theirs = m.decode(d, decode_choices=True)
        except cantools.database.DecodeError:
            assert [(r["signal"], r["state"]) for r in rows] == [(None, "unknown multiplexer")]
            continue
        assert {r["signal"] for r in rows} == ({*theirs} or {None})
        assert all(
            r["signal"] is None or r["value"] != r["value"] or same(said(r), theirs[r["signal"]])
            for r in rows
        )


def test_signals_that_overlap_are_each_read_by_their_own_bits(tmp_path: Path) -> None:
    overlap = 'BO_ 1 M: 2 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n SG_ B : 4|8@1+ (1,0) [0|0] "" X\n SG_ C : 12|8@1+ (1,0) [0|0] "" X\n'
    (tmp_path / "o.dbc").write_text(overlap)
    (tmp_path / "f.log").write_text("(1.0) can0 001#A55A\n")
    got = get("candump", tmp_path / "f.log", {"dbc": "o.dbc"})
    assert {r["signal"]: r["value"] for r in got.rows} == {"A": 0xA5, "B": 0xAA}  # C leaves the message


def test_what_was_not_decoded_says_why(made: Path, tmp_path: Path) -> None:
    lines = ["064#00", "7FF#00", "064#R", "20000001#00", "068#0F00000000000000"]
    (tmp_path / "f.log").write_text("".join(f"(1.0) can0 {x}\n" for x in lines))
    got = get("candump", tmp_path / "f.log", {"dbc": str(made)})
    states = ["other length", "unknown id", "remote", "error", "unknown multiplexer"]
    assert [(r["record"], r["state"], r["signal"]) for r in got.rows] == [
        (i, s, None) for i, s in enumerate(states)
    ]


def test_signals_under_vss_names(made: Path, tmp_path: Path) -> None:
    (tmp_path / "f.log").write_text("(1.0) can0 064#0100000000000000\n")
    options = {
        "dbc": str(made),
        "vss": {"PLAIN.U": ["Vehicle.Speed", "m/s", "km/h"], "PLAIN.G": "Vehicle.Gear"},
        "prefix": "dodge.",
    }
    rows = {r["signal"]: r for r in get("candump", tmp_path / "f.log", options).rows}
    assert rows["U"]["path"] == "Vehicle.Speed" and rows["U"]["unit"] == "km/h"
    assert rows["U"]["value"] == pytest.approx(16 * 0.071028 * 3.6)
    assert (rows["G"]["path"], rows["G"]["text"], rows["G"]["value"]) == ("Vehicle.Gear", "none", None)
    assert rows["S"]["path"] == "dodge.PLAIN.S"
    wrong = get("candump", tmp_path / "f.log", {**options, "vss": {"PLAIN.V": "x"}})
    assert isinstance(wrong.fault, SetupError) and "PLAIN.V" in str(wrong.fault)
    assert "fca_giorgio" in str(get("candump", tmp_path / "f.log", {"dbc": "fca_georgio"}).fault)


@needs("vehicles", "canbus_logs_real_cars", "durango")
def test_real_log_of_a_durango_equals_cantools() -> None:
    path = DATA / "vehicles/canbus_logs_real_cars/durango/keyon.log.gz"
    by_id = {m.frame_id: m for m in dbc_files.load("chrysler_pacifica_2017_hybrid").messages}
    got = get("candump", path, {"dbc": "chrysler_pacifica_2017_hybrid"})
    frames = get("candump", path).rows
    assert got.fault is None and not got.broken
    assert [f["record"] for f in frames] == sorted({r["record"] for r in got.rows})
    ours: dict[int, dict[str, Any]] = {}
    for r in got.rows:
        if r["signal"]:
            ours.setdefault(r["record"], {})[r["signal"]] = said(r)
    for f in frames[:3000]:
        m = by_id.get(f["can_id"])
        if m is None or m.length != len(f["data"]):
            assert f["record"] not in ours
            continue
        theirs = m.decode(f["data"])
        mine = ours[f["record"]]
        assert theirs.keys() == mine.keys() and all(same(mine[k], v) for k, v in theirs.items())
