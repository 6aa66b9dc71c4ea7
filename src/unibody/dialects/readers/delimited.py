"""Delimited text: CSV and its cousins, by Arrow's parser; every column comes as text.

Options: delimiter ("," ";" "|" "\\t" or "whitespace"), encoding, header (true, or false with columns), columns,
skip_lines (before the header), quote ("" for none), member (of a .zip).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

from unibody.dialects.readers import BROKEN, Batch, Limits, only, opened, still_written
from unibody.errors import FormatError, SetupError

_OPTIONS: dict[str, Any] = {
    "delimiter": ",",
    "encoding": "utf-8",
    "header": True,
    "columns": None,
    "skip_lines": 0,
    "quote": '"',
    "member": None,
}
_LINE_MAX = 8 << 20  # bytes; a line longer than this is not text


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Records of a delimited text file; a line with too few or too many fields is a broken record.

    The last line counts only once it is ended, or once the file has been quiet for a while.
    """
    o = only(options, _OPTIONS, str(path))
    try:
        codecs.lookup(o["encoding"])
    except LookupError:
        raise SetupError(
            f"{path}: encoding {o['encoding']!r} is unknown; write e.g. utf-8 or cp1252"
        ) from None
    stream: io.BufferedReader[Any] = io.BufferedReader(
        _Recoded(opened(path, limits, o["member"]), path, o["encoding"]), 1 << 18
    )
    for _ in range(o["skip_lines"]):
        stream.readline(_LINE_MAX)
    names, first = _names(path, stream, o)
    held = _Held(stream, first, still_written(path, limits), o["delimiter"] == "whitespace", str(path))
    broken: list[tuple[int, str, str]] = []

    def keep(row: Any) -> str:
        rule = f"has {row.actual_columns} fields, should have {row.expected_columns} ({', '.join(names[:6])}, ...)"
        broken.append((row.number - 1, row.text, rule))
        return "skip"

    record = 0
    waiting: list[pa.Table] = []
    rows = 0
    try:
        parsed = pc.open_csv(
            pa.PythonFile(held, mode="r"),
            read_options=pc.ReadOptions(column_names=names, block_size=4 << 20, use_threads=False),
            parse_options=pc.ParseOptions(
                delimiter=" " if o["delimiter"] == "whitespace" else o["delimiter"],
                quote_char=o["quote"] or False,
                newlines_in_values=bool(o["quote"]),
                invalid_row_handler=keep,
            ),
            convert_options=pc.ConvertOptions(
                column_types={n: pa.string() for n in names}, strings_can_be_null=False, null_values=[]
            ),
        )
        for block in parsed:
            waiting.append(pa.Table.from_batches([block]))
            rows += block.num_rows
            if rows >= limits.batch_rows:
                batch, record = _batch(waiting, broken, record, start)
                yield from _pieces(batch, limits.batch_rows)
                waiting, rows = [], 0
    except pa.ArrowInvalid as e:
        if "Empty CSV" not in str(e):
            yield from _pieces(_batch(waiting, broken, record, start)[0], limits.batch_rows)
            raise FormatError(f"{path}: record {record + rows} and on cannot be read: {_plain(e, o)}") from e
    except UnicodeError as e:
        yield from _pieces(_batch(waiting, broken, record, start)[0], limits.batch_rows)
        raise FormatError(f"{path}: record {record + rows} and on: {_plain(e, o)}") from e
    except FormatError:
        yield from _pieces(_batch(waiting, broken, record, start)[0], limits.batch_rows)
        raise
    last, _ = _batch(waiting, broken, record, start)
    yield from _pieces(Batch(last.frame, last.broken, held.unfinished), limits.batch_rows)
    if held.fault:
        raise held.fault


def _plain(e: Exception, o: Mapping[str, Any]) -> str:
    if isinstance(e, UnicodeError) or "UTF8" in str(e) or "UTF-8" in str(e):
        return f"is not {o['encoding']} text; state the right encoding in the dialect's read.encoding ({e})"
    return str(e).splitlines()[0]


def _names(path: Path, stream: io.BufferedReader[Any], o: Mapping[str, Any]) -> tuple[list[str], bytes]:
    """Column names, and bytes read ahead that belong to the data."""
    delimiter = " " if o["delimiter"] == "whitespace" else o["delimiter"]
    if len(delimiter) != 1:
        raise SetupError(f"{path}: delimiter {o['delimiter']!r} should be one character or 'whitespace'")
    line = stream.readline(_LINE_MAX)
    if len(line) >= _LINE_MAX or b"\0" in line:
        raise FormatError(f"{path}: is no delimited text: its first line has no end or holds zero bytes")
    if not line.strip():
        if o["header"]:
            raise FormatError(f"{path}: is empty; its first line should name the columns")
        return list(o["columns"] or ["column_1"]), line
    bare = line.removeprefix(codecs.BOM_UTF8)
    try:
        text = bare.decode()
    except UnicodeError as e:
        raise FormatError(f"{path}: first line {_plain(e, o)}") from e
    if o["delimiter"] == "whitespace":
        text = re.sub(r"[ \t]+", " ", text.strip())
    bare_text = [text.rstrip("\r\n")]
    try:
        if o["quote"]:
            cells = next(csv.reader(bare_text, delimiter=delimiter, quotechar=o["quote"]), [])
        else:
            cells = next(csv.reader(bare_text, delimiter=delimiter, quoting=csv.QUOTE_NONE), [])
    except csv.Error as e:
        raise FormatError(f"{path}: first line is no delimited text: {e}") from e
    if not o["header"]:
        return list(o["columns"] or [f"column_{i}" for i in range(1, len(cells) + 1)]), bare
    names = [c.strip() for c in cells]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormatError(f"{path}: the header names {', '.join(map(repr, twice))} more than once")
    # `record` is the record's number in every dialect
    return list(o["columns"] or ["record_" if n == "record" else n for n in names]), b""


def _batch(
    waiting: list[pa.Table], broken: list[tuple[int, str, str]], record: int, start: int
) -> tuple[Batch, int]:
    """Number the records: Arrow leaves broken ones out, but tells their places."""
    frame = pl.DataFrame(pa.concat_tables(waiting)) if waiting else pl.DataFrame()
    gaps = sorted(n for n, _, _ in broken if n >= record)
    numbers: list[pl.Series] = []
    left, at = frame.height, record
    for gap in gaps:
        take = min(left, gap - at)
        numbers.append(pl.int_range(at, at + take, dtype=pl.Int64, eager=True))
        left -= take
        if take < gap - at:
            break
        at = gap + 1
    else:
        numbers.append(pl.int_range(at, at + left, dtype=pl.Int64, eager=True))
        at += left
        left = 0
    if left == 0 and numbers and numbers[-1].len():
        at = max(at, int(numbers[-1][-1]) + 1)
    places = pl.concat(numbers) if numbers else pl.Series([], dtype=pl.Int64)
    here = [b for b in broken if record <= b[0] < at]
    broken[:] = [b for b in broken if b[0] >= at]
    wrong = pl.DataFrame(here, schema=BROKEN, orient="row")
    if frame.width:
        frame = frame.with_columns(places.alias("record")).filter(pl.col("record") >= start)
    return Batch(frame, wrong.filter(pl.col("record") >= start)), at


def _pieces(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in pieces of at most `most` records; what is broken comes with the records it stands among."""
    pieces = list(batch.frame.iter_slices(most)) if batch.frame.height > most else [batch.frame]
    low = -1
    for piece in pieces[:-1]:
        high = int(piece["record"][-1])
        yield Batch(piece, batch.broken.filter(pl.col("record").is_between(low + 1, high)))
        low = high
    yield Batch(pieces[-1], batch.broken.filter(pl.col("record") > low), batch.unfinished)


class _Recoded(io.RawIOBase):
    """The text as UTF-8 that is sure to be UTF-8: Arrow drops a broken record whose text it cannot decode."""

    def __init__(self, inner: io.BufferedIOBase, path: Path, encoding: str) -> None:
        self.inner, self.path, self.encoding = inner, path, encoding
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.ready, self.ended = b"", False
        self.fault: FormatError | None = None

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; FormatError where the bytes are not what the dialect says, after the lines before."""
        while not self.ready and not self.ended:
            if self.fault:
                raise self.fault
            block = self.inner.read(1 << 18)
            self.ended = not block
            try:
                self.ready = self.decoder.decode(block, final=self.ended).encode()
            except UnicodeDecodeError as e:
                wanted = (
                    f"is not {self.encoding} text; state the right encoding in the dialect's read.encoding"
                )
                self.fault, self.ended = FormatError(f"{self.path}: {wanted} ({e})"), False
                if not self.encoding.lower().startswith(("utf-16", "utf16", "utf-32", "utf32")):
                    before = e.object[: e.object.rfind(b"\n", 0, e.start) + 1]
                    self.ready = before.decode(self.encoding).encode()
            except UnicodeError as e:
                raise FormatError(f"{self.path}: is not {self.encoding} text ({e})") from e
        data, self.ready = self.ready[: len(buffer)], self.ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Held(io.RawIOBase):
    """The data as Arrow shall see it: an unfinished last line held back, white space folded where asked."""

    def __init__(
        self, inner: io.BufferedReader[Any], first: bytes, growing: bool, fold: bool, where: str
    ) -> None:
        self.inner, self.growing, self.fold, self.where = inner, growing, fold, where
        self.buffer, self.tail, self.unfinished, self.ended = first, b"", 0, False
        self.fault: FormatError | None = None

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, whole lines only while the file may still grow."""
        while not self.ended and not self.buffer:
            self._fill(max(size, 1 << 20))
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _fill(self, size: int) -> None:
        try:
            block = self.inner.read1(size)
        except FormatError as e:
            # the lines before are good: Arrow gets an end, the caller the fault
            block, self.fault = b"", e
        self.ended = not block
        data = self.tail + block
        if self.ended:
            self.tail = b""
            self.unfinished = int(bool(data) and self.growing and self.fault is None)
            lines = b"" if self.growing or self.fault else data
        else:
            cut = data.rfind(b"\n") + 1
            lines, self.tail = data[:cut], data[cut:]
            if len(self.tail) > _LINE_MAX:
                self.tail, self.ended = b"", True
                self.fault = FormatError(f"{self.where}: a line of more than {_LINE_MAX:,} bytes is no text")
        if self.fold:
            lines = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", lines))
        self.buffer += lines
