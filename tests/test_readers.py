"""Every reader gives back what was written, numbered from 0; what it cannot read it says, and loses nothing."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import (
    FRESH,
    WRITTEN,
    anything,
    as_excel,
    as_parquet,
    get,
    plain,
    some,
)

from unibody.dialects.readers import READERS, Limits
from unibody.errors import FormatError


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
