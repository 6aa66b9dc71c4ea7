"""Readers: raw bytes to raw records, numbered. They know formats, not brands.

A reader is a module with one function:

    read(path, options, start, limits) -> Iterator[Batch]

`options` is the dialect's `read` table, `start` the first record wanted (earlier ones may be skipped over), `limits`
how large, how packed and how finished the file may be. It gives raw columns (text, or the format's own types) and the
records it could not parse; FormatError where the file cannot be read any further.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import polars as pl

from unibody.errors import FormatError, SetupError, nearest

#: What a reader could not parse: the record's number, its raw text, what is wrong and would have been right.
BROKEN = {"record": pl.Int64(), "raw": pl.String(), "rule": pl.String()}

READERS: dict[str, str] = {
    "delimited": "unibody.dialects.readers.delimited",
    "json": "unibody.dialects.readers.json",
    "jsonl": "unibody.dialects.readers.jsonl",
    "parquet": "unibody.dialects.readers.parquet",
    "excel": "unibody.dialects.readers.excel",
    "sql": "unibody.dialects.readers.sql",
    "catenax": "unibody.dialects.readers.catenax",
    "candump": "unibody.dialects.readers.candump",
}


@dataclass(frozen=True)
class Limits:
    """How large a file may be, how far it may unpack, how many records come at once, when it is finished."""

    batch_rows: int = 250_000
    bytes_max: int = 20_000_000_000
    ratio_max: int = 400
    quiet_seconds: float = 5.0


@dataclass(frozen=True)
class Batch:
    """Records as read: raw columns with `record`, those that could not be parsed, and how many are unfinished."""

    frame: pl.DataFrame
    broken: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BROKEN))
    unfinished: int = 0


class Read(Protocol):
    """The function of a reader module."""

    def __call__(self, path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
        """Records from `start` on, in order, in batches."""
        ...


def reader(name: str, where: str) -> Read:
    """The reader of this name; SetupError names what there is."""
    if name not in READERS:
        raise SetupError(f"{where}: no reader {name!r}; {nearest(name, READERS)}")
    read: Read = import_module(READERS[name]).read
    return read


def only(options: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options over their defaults; SetupError where one is misspelt or of the wrong type."""
    for key, value in options.items():
        if key not in known:
            raise SetupError(f"{where}: read has no key {key!r}; {nearest(key, known)}")
        default = known[key]
        if default is not None and not isinstance(value, type(default)):
            raise SetupError(f"{where}: read.{key} = {value!r} should be {type(default).__name__}")
    return {**known, **options}


def still_written(path: Path, limits: Limits) -> bool:
    """Was the file changed so lately that its last record may be unfinished?"""
    return time.time() - path.stat().st_mtime < limits.quiet_seconds


class Bounded(io.RawIOBase):
    """A stream that refuses to unpack without end: an archive of 1 MB can hold 1 TB of zeros."""

    def __init__(self, inner: BinaryIO, packed_bytes: int | None, path: Path, limits: Limits) -> None:
        self.inner, self.path, self.limits, self.seen = inner, path, limits, 0
        # small files may pack very well and do no harm
        ratio = None if packed_bytes is None else max(packed_bytes, 1_000_000) * limits.ratio_max
        self.most = limits.bytes_max if ratio is None else min(ratio, limits.bytes_max)

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; FormatError where the file is cut short, broken or unpacks too far."""
        try:
            data = self.inner.read(len(buffer))
        except (EOFError, OSError, zipfile.BadZipFile, lzma.LZMAError, ValueError) as e:
            raise FormatError(
                f"{self.path}: broken or cut short after {self.seen:,} unpacked bytes: {e}"
            ) from e
        except Exception as e:  # zlib.error has no base of its own to name
            if type(e).__name__ == "error":
                raise FormatError(f"{self.path}: broken after {self.seen:,} unpacked bytes: {e}") from e
            raise
        self.seen += len(data)
        if self.seen > self.most:
            raise FormatError(
                f"{self.path}: unpacks to more than {self.most:,} bytes; raise file_bytes_max or unpack_ratio_max "
                "in unibody.toml if that is right"
            )
        buffer[: len(data)] = data
        return len(data)


def opened(path: Path, limits: Limits, member: str | None = None) -> io.BufferedReader:
    """Open a raw file for reading: plain, .gz, .bz2, .xz, or one member of a .zip; unpacking is bounded.

    Raises FormatError where the archive is no archive, holds no or several members, or names one outside itself.
    """
    size = path.stat().st_size
    suffix = path.suffix.lower()
    try:
        if suffix == ".gz":
            inner: BinaryIO = gzip.open(path, "rb")  # type: ignore[assignment]
        elif suffix == ".bz2":
            inner = bz2.open(path, "rb")  # type: ignore[assignment]
        elif suffix == ".xz":
            inner = lzma.open(path, "rb")  # type: ignore[assignment]
        elif suffix == ".zip":
            inner = _zip_member(path, member)
        else:
            return io.BufferedReader(Bounded(path.open("rb"), None, path, limits), 1 << 20)
    except (OSError, zipfile.BadZipFile) as e:
        raise FormatError(f"{path}: is no {suffix[1:]} archive: {e}") from e
    return io.BufferedReader(Bounded(inner, size, path, limits), 1 << 20)


def _zip_member(path: Path, member: str | None) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    names = [n for n in archive.namelist() if not n.endswith("/")]
    for name in names:
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise FormatError(f"{path}: member {name!r} leaves the archive's folder")
    if member is None and len(names) != 1:
        raise FormatError(f"{path}: holds {len(names)} members; say which with read.member")
    name = member or names[0]
    if name not in names:
        raise FormatError(f"{path}: has no member {name!r}; {nearest(name, names)}")
    return archive.open(name)  # type: ignore[return-value]
