"""Which raw files the lake knows: by their content, not their path, so that a file may move and may grow."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import polars as pl

from unibody.errors import StoreError
from unibody.lake import Lake, Source

HEAD = 1024
LARGE = 4_000_000  # bytes; a smaller file is read and committed at once
TOGETHER = 100  # entries of sources that are written in one commit

Entry = dict[str, Any]  # a row of the table Source


@dataclass(frozen=True)
class Identity:
    """A source, and how much of it the lake has seen."""

    source: str
    bytes: int
    sha256: str
    head: str
    head_bytes: int
    known: Entry | None  # the finished entry that covers all or the beginning of it


class Sources:
    """The sources that the lake knows; read once a run, and again where another process wrote some."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._version = -1
        self._read = False
        self._heads: dict[tuple[str, int, str], list[Entry]] = {}  # system, head_bytes, head -> entries
        self._longest: dict[str, int] = {}  # source -> the most bytes seen of it
        self._unwritten: list[Entry] = []

    def refresh(self) -> bool:
        """Read the entries if that was not done yet or another process has written since; True where it did."""
        version = self.lake.version(Source)
        if self._read and version == self._version:
            return False
        self._heads, self._longest, self._version, self._read = {}, {}, version, True
        for entry in (*self.lake.newest(Source).to_dicts(), *self._unwritten):
            self._remember(entry)
        return True

    def _remember(self, entry: Entry) -> None:
        place = (entry["system"], entry["head_bytes"], entry["head"])
        self._heads.setdefault(place, []).append(entry)
        self._longest[entry["source_id"]] = max(self._longest.get(entry["source_id"], 0), entry["bytes"])

    def identify(self, path: Path, system: str) -> Identity:
        """Who this file is: a source already known (whole, or its beginning), or a new one."""
        if not self._read:
            self.refresh()
        size = path.stat().st_size
        with path.open("rb") as f:
            head = f.read(HEAD)
            lengths_of_heads = {n for s, n, _ in self._heads if s == system and n <= len(head)}
            near = [
                e
                for n in lengths_of_heads
                for e in self._heads.get((system, n, sha256(head[:n]).hexdigest()), ())
                # every file begins like an empty one
                if e["bytes"] <= size and (e["bytes"] or not size)
            ]
            digests = _prefix_hashes(f, sorted({e["bytes"] for e in near} | {size}))
        same = [e for e in near if digests[e["bytes"]] == e["sha256"]]
        best = max(same, key=lambda e: (e["bytes"], e["source_id"]), default=None)
        if best and best["bytes"] < size and self._longest[best["source_id"]] > best["bytes"]:
            best = None  # that source went on otherwise: two files that only begin alike
        whole = digests[size]
        source = best["source_id"] if best else sha256(f"{system}\n{whole}".encode()).hexdigest()[:16]
        finished = [e for e in same if e["source_id"] == source and e["records"] is not None]
        known = max(finished, key=lambda e: int(e["bytes"]), default=None)
        return Identity(source, size, whole, sha256(head).hexdigest(), len(head), known)

    def write(self, entry: Entry) -> None:
        """Remember an entry, here at once and in the lake soon: a commit a file would cost more than the files.

        Of a large file the lake knows what was begun before its first row, so that a source that is killed and grows
        stays one source. What else was done may be lost with the process: the tables themselves know their records.
        """
        self._remember(entry)
        self._unwritten.append(entry)
        begun = entry["records"] is None
        if (begun and entry["bytes"] > LARGE) or len(self._unwritten) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what waits, in one commit."""
        if not self._unwritten:
            return
        now, job = datetime.now(UTC), str(self._unwritten[-1]["job"])
        frame = pl.DataFrame(self._unwritten, schema=Source.dtypes()).with_columns(
            known_at=pl.lit(now).dt.cast_time_unit("us"),
            known_assumed=False,
            deleted=False,
            record=pl.int_range(
                pl.len(), dtype=pl.Int64
            ),  # begun before done: the later of one commit counts
        )
        self.lake.append(Source, frame, job, job, now, 0, app=f"{job}:{uuid4().hex}")
        self._unwritten = []
        if (
            self.lake.version(Source) == self._version + 1
        ):  # else another wrote in between: `refresh` reads it
            self._version += 1


def _prefix_hashes(f: BinaryIO, lengths: list[int]) -> dict[int, str]:
    """SHA-256 of the file's first n bytes for every n asked, in one pass."""
    found, hasher, at = {}, sha256(), 0
    f.seek(0)
    for length in lengths:
        while at < length:
            block = f.read(min(1 << 20, length - at))
            if not block:
                break  # it became shorter while we read: the digest will match nothing
            hasher.update(block)
            at += len(block)
        found[length] = hasher.hexdigest()
    return found


@contextmanager
def alone(lake: Lake, source: str) -> Iterator[None]:
    """One process a source at a time; the lock goes with the process, also when it is killed."""
    folder = lake.folder / "_locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        f = (folder / f"{source}.lock").open("w")
    except OSError as e:
        raise StoreError(f"{folder}: cannot be written: {e.strerror}") from e
    with f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
