"""Bring raw files in: find the dialect, read, map, check, land or quarantine; each record exactly once.

A source is its dialect's system and its content, not its path: the same file elsewhere is known already, and a file
that has grown goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import polars as pl
import pyarrow as pa

from unibody import engine
from unibody.backbone import raw
from unibody.backbone.sources import Entry, Identity, Sources, alone
from unibody.dialects import dialect as dialects
from unibody.dialects.dialect import Dialect, FileKind
from unibody.dialects.mapping import Mapped, map_records
from unibody.dialects.readers import Batch, Limits, reader
from unibody.errors import FormatError, SetupError, nearest
from unibody.lake import Lake, Quarantined, made_ready
from unibody.tables import Instant, Table

UNFINISHED = "unfinished last line"
FILE = -1  # the record number of a quarantine entry that speaks of the file as a whole

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]  # file, records so far, bytes of the file


@dataclass
class Tally:
    """What became of the records: records = landed + quarantined + already_known + set_aside."""

    records: int = 0
    landed: int = 0
    quarantined: int = 0
    already_known: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    files: int = 0
    unmatched: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Add the counts of one file."""
        self.records += other.records
        self.landed += other.landed
        self.quarantined += other.quarantined
        self.already_known += other.already_known
        self.set_aside.update(other.set_aside)
        self.rows.update(other.rows)
        self.files += other.files
        self.problems += other.problems

    def plain(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "records": self.records,
            "landed": self.landed,
            "quarantined": self.quarantined,
            "already_known": self.already_known,
            "set_aside": dict(self.set_aside),
            "rows": dict(self.rows),
            "seconds": round(self.seconds, 3),
            "files": self.files,
            "unmatched": self.unmatched,
            "problems": self.problems,
        }


def ingest(
    paths: list[Path],
    lake: Lake,
    known: Mapping[str, Dialect],
    limits: Limits,
    *,
    only: str | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Bring in files, and all files below folders.

    `only` names the dialect to use, where several or none would fit. A file that cannot be read is quarantined as a
    whole and does not stop the others. Raises SetupError where a named path is not there or no dialect fits it, and
    StoreError where the lake cannot be written; then a later run goes on where this one stopped.
    """
    began = time.perf_counter()
    if only is not None:
        if only not in known:
            raise SetupError(f"no dialect {only!r}; {nearest(only, known)}")
        known = {only: known[only]}
    total, sources, job = Tally(), Sources(lake), new_job()
    try:
        for path, named in _files(paths):
            try:
                dialect, kind, names = dialects.which(path, known)
            except SetupError as e:
                if named or "several dialects" in str(e):
                    raise
                total.unmatched.append(str(path))
                continue
            total.add(bring(Incoming(path, dialect, kind, names, lake, job, limits), sources, progress))
    finally:
        sources.flush()
    total.seconds = time.perf_counter() - began
    return total


def new_job() -> str:
    """A name for one run of ingest or replay."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"


def _files(paths: list[Path]) -> Iterator[tuple[Path, bool]]:
    """Files in order; True where the file itself was named. What is hidden, or a link that leaves the folder, is not followed."""
    for path in paths:
        if path.is_dir():
            root = path.resolve()
            for p in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in p.relative_to(path).parts)
                if not hidden and p.is_file() and p.resolve().is_relative_to(root):
                    yield p, False
        elif path.is_file():
            yield path, True
        else:
            raise SetupError(f"{path}: no such file or folder")


@dataclass(frozen=True)
class Incoming:
    """One file on its way into the lake, and how it is to be read."""

    path: Path
    dialect: Dialect
    kind: FileKind
    names: dict[str, str]  # what the file's name says
    lake: Lake
    job: str
    limits: Limits
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"{self.dialect.name}.{self.kind.name}"


def bring(file: Incoming, sources: Sources, progress: Progress | None = None, again: bool = False) -> Tally:
    """Bring in one file, or the part of it that the lake does not know; with `again` also one that stopped halfway."""
    try:
        identity = sources.identify(file.path, file.dialect.system)
        while True:
            with alone(file.lake, identity.source):
                locked = identity.source
                if sources.refresh():  # what another process did while we waited counts
                    identity = sources.identify(file.path, file.dialect.system)
                if identity.source == locked:
                    return _bring(file, identity, sources, progress, again)
    except OSError as e:  # gone or not ours to read; the lake's own errors are StoreErrors
        return Tally(files=1, problems=[f"{file.path}: cannot be read: {e.strerror}"])


def _bring(
    file: Incoming, identity: Identity, sources: Sources, progress: Progress | None, again: bool
) -> Tally:
    done = identity.known or {"records": 0, "landed": 0, "quarantined": 0, "set_aside": "{}"}
    aside = Counter(json.loads(done["set_aside"]))
    stopped = _stopped(file.lake, identity.source)
    if identity.known and done["bytes"] == identity.bytes and not aside[UNFINISHED]:
        retry = stopped and (again or done["dialect_version"] != file.dialect.version)
        if not retry:
            return Tally(files=1, records=done["records"], already_known=done["records"])
    entry: Entry = {
        "source_id": identity.source,
        "bytes": identity.bytes,
        "seen_at": file.now,
        "system": file.dialect.system,
        "dialect": file.dialect.name,
        "dialect_version": file.dialect.version,
        "kind": file.kind.name,
        "path": str(file.path),
        "sha256": identity.sha256,
        "head": identity.head,
        "head_bytes": identity.head_bytes,
        "records": None,
        "landed": None,
        "quarantined": None,
        "set_aside": None,
        "job": file.job,
    }
    sources.write(entry)
    landing = Landing(file, identity.source, int(done["records"]))
    landing.read(lambda n: progress(file.path.name, n, identity.bytes) if progress else None, stopped)
    del aside[UNFINISHED]
    seen = landing.seen
    sources.write(
        {
            **entry,
            "records": done["records"] + seen.records - seen.set_aside[UNFINISHED],
            "landed": done["landed"] + seen.landed,
            "quarantined": done["quarantined"] + seen.quarantined,
            "set_aside": json.dumps(dict(aside + seen.set_aside)),
        }
    )
    return landing.tally


def _stopped(lake: Lake, source: str) -> bool:
    """Is there a place in this source from which on it could not be read? Its entries alternate: waiting, landed."""
    return lake.committed(Quarantined, f"{source}:file") % 2 == 0


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, the next one being made while one is in use: the lake writes what was read while more is read."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


class Landing:
    """The records of one source from `start` on, landed batch by batch; a later one never before an earlier one."""

    def __init__(self, file: Incoming, source: str, start: int) -> None:
        self.file, self.source, self.start = file, source, start
        lake = file.lake
        tables = {m.table for m in file.kind.rows if not m.last_of} | {Quarantined}
        #: the last record of which a table has the rows: more than `start` where an earlier run was killed
        self.at_most = {t: max(lake.committed(t, source), start - 1) for t in tables}
        self.known = max(self.at_most.values())
        self.seen = Tally()  # from `start` on, whoever landed it
        self.tally = Tally(files=1, records=start, already_known=start)  # what this run did
        self.last: dict[int, pl.DataFrame] = {}
        self.reached = start - 1

    def read(self, progress: Callable[[int], None], stopped: bool) -> None:
        """Read the file to its end, or to where it cannot be read, which one quarantine entry then says."""
        file = self.file
        # the last row of each group may be among those read earlier
        first = 0 if any(m.last_of for m in file.kind.rows) else self.start
        try:
            for batch, mapped, ready in _ahead(self._mapped(first)):
                self._last_rows(mapped)
                self._land(batch, mapped, ready)
                progress(self.tally.records)
        except (FormatError, SetupError) as e:
            self._say_file(str(e), "waiting")
            self.tally.records += 1
            self.tally.quarantined += 1
            self.tally.problems.append(str(e))
            return  # which row is the last of its group is not known of half a file
        if stopped:
            self._say_file("", "landed")
        for table in dict.fromkeys(self.file.kind.rows[i].table for i in self.last):
            mine = [i for i in self.last if self.file.kind.rows[i].table is table]
            # together: rows of one map that are no longer last are not told from the other map's
            self._append_last(mine[0], pl.concat([self.last[i].drop("_group") for i in mine]))

    def _mapped(self, first: int) -> Iterator[tuple[Batch, Mapped, dict[type[Table], pa.Table]]]:
        """Batches as read and mapped; of tables that lack all of a batch, made ready to be written."""
        file = self.file
        for batch in reader(file.kind.reader, file.where)(file.path, file.kind.read, first, file.limits):
            mapped = map_records(batch.frame, file.kind, file.names, file.now, file.where)
            lowest = int(batch.frame["record"].min() or 0) if batch.frame.height else 0  # type: ignore[arg-type]
            ready = {
                table: made_ready(table, rows, self.source, file.job, file.now)
                for table, rows in mapped.rows.items()
                if rows.height and lowest > self.at_most[table]
            }
            yield batch, mapped, ready

    def _last_rows(self, mapped: Mapped) -> None:
        for i, rows in mapped.last.items():
            m = self.file.kind.rows[i]
            both = pl.concat([self.last[i], rows]) if i in self.last else rows
            group = ["_group", *(m.table.packs[-1:] if m.signals else ())]
            self.last[i] = both.unique(group, keep="last", maintain_order=True)

    def _append_last(self, i: int, rows: pl.DataFrame) -> None:
        """Append the last rows of groups; take back those that were the last while the file was shorter.

        `i` is the first of the maps that make them.
        """
        file, table = self.file, self.file.kind.rows[i].table
        app = f"{self.source}:last{i}"
        if file.lake.committed(table, app) >= 0 and all(
            m.last_of for m in file.kind.rows if m.table is table
        ):
            stored = file.lake.rows(table)
            before = engine.frame(stored.filter(stored["source"] == self.source)).select(rows.columns)
            gone = before.join(rows, on=list(table.key), how="anti").with_columns(deleted=pl.lit(True))
            rows = pl.concat([rows, gone])
        if rows.height and self._append(table, rows, max(self.reached, 0), app):
            self.tally.rows[table.title()] += rows.height

    def _land(self, batch: Batch, mapped: Mapped, ready: Mapping[type[Table], pa.Table]) -> None:
        """Append one batch, and count what became of its records."""
        wrong = self._quarantine_entries(batch, mapped)
        read = [f.select("record") for f in (batch.frame, batch.broken) if f.height]
        records = pl.concat(read or [batch.broken.select("record")]).unique()
        reached = int(records["record"].max() or 0) if records.height else -1  # type: ignore[arg-type]
        for table, rows in mapped.rows.items():
            # nearly always all of it is new, and then it is ready
            new = ready[table] if table in ready else rows.filter(pl.col("record") > self.at_most[table])
            count = rows.height if table in ready else new.height
            if count and self._append(table, new, reached):
                self.tally.rows[table.title()] += count
        fresh = wrong.filter(pl.col("from_record") > self.at_most[Quarantined])
        if fresh.height:
            self._append(Quarantined, fresh, reached)
        self._count(self.seen, self.start, records, wrong, mapped.aside, batch.unfinished)
        self._count(self.tally, self.known + 1, records, wrong, mapped.aside, batch.unfinished)
        before = records.filter(pl.col("record").is_between(self.start, self.known)).height
        self.tally.records += before
        self.tally.already_known += before
        self.reached = max(self.reached, reached)

    @staticmethod
    def _count(
        tally: Tally,
        start: int,
        records: pl.DataFrame,
        wrong: pl.DataFrame,
        aside: pl.DataFrame,
        unfinished: int,
    ) -> None:
        new, held = (
            records.filter(pl.col("record") >= start).height,
            wrong.filter(pl.col("from_record") >= start).height,
        )
        rules = Counter(aside.filter(pl.col("record") >= start)["rule"].to_list())
        tally.records += new + unfinished
        tally.quarantined += held
        tally.landed += new - held - rules.total()
        tally.set_aside.update(rules)
        if unfinished:
            tally.set_aside[UNFINISHED] += unfinished

    def _append(
        self, table: type[Table], rows: pl.DataFrame | pa.Table, up_to: int, app: str | None = None
    ) -> bool:
        file = self.file
        return file.lake.append(table, rows, self.source, file.job, file.now, up_to, app=app)

    def _quarantine_entries(self, batch: Batch, mapped: Mapped) -> pl.DataFrame:
        """What could not be parsed, and what has a fault."""
        parts = [batch.broken.select("record", "rule", "raw", parsed=pl.lit(False))]
        if mapped.faults.height:
            faulty = raw.kept(batch.frame, mapped.faults)
            parts.append(faulty.with_columns(parsed=pl.lit(True)))
        return self._entries(pl.concat(parts))

    def _say_file(self, rule: str, state: str) -> None:
        """One entry about the file as a whole: from here on it cannot be read, or now it could."""
        app = f"{self.source}:file"
        steps = self.file.lake.committed(Quarantined, app) + 1
        if (steps % 2 == 0) != (state == "waiting"):
            steps += 1  # it waits already, and says now why it does so still
        entry = pl.DataFrame({"record": [FILE], "rule": [rule], "raw": [""], "parsed": [False]})
        self._append(Quarantined, self._entries(entry, state), steps, app)

    def _entries(self, found: pl.DataFrame, state: str = "waiting") -> pl.DataFrame:
        file = self.file
        return found.select(
            from_source=pl.lit(self.source),
            from_record=pl.col("record").cast(pl.Int64),
            found_at=pl.lit(file.now, Instant),
            path=pl.lit(str(file.path)),
            dialect=pl.lit(file.dialect.name),
            kind=pl.lit(file.kind.name),
            rule=pl.col("rule"),
            raw=pl.col("raw"),
            parsed=pl.col("parsed"),
            state=pl.lit(state),
            known_at=pl.lit(file.now, Instant),
            known_assumed=pl.lit(False),
            deleted=pl.lit(False),
            record=pl.col("record").cast(pl.Int64),
        )
