"""Bring raw files in: find the dialect, read, map, check, land or quarantine; each record exactly once.

A source is its dialect's system and its content, not its path: the same file elsewhere is known already, and a file
that has grown goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from unibody.dialects import dialect as dialects
from unibody.dialects.dialect import Dialect, FileKind
from unibody.dialects.mapping import Mapped, map_records
from unibody.dialects.readers import Batch, Limits, reader
from unibody.errors import FormatError, SetupError, StoreError, nearest
from unibody.lake import Lake, Quarantined, Source
from unibody.tables import Table

HEAD = 1024
LARGE = 4_000_000  # bytes; a smaller file is read and committed at once
TOGETHER = 100  # entries of sources that are written in one commit
UNFINISHED = "unfinished last line"
FILE = -1  # the record number of a quarantine entry that speaks of the file as a whole

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


@dataclass(frozen=True)
class Identity:
    """A source, and how much of it the lake has seen."""

    source: str
    bytes: int
    sha256: str
    head: str
    head_bytes: int
    known: dict[str, object] | None  # the finished entry that covers all or the beginning of it


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
    total = Tally()
    sources = Sources(lake)
    job = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    try:
        for path, named in _files(paths):
            try:
                dialect, kind, names = dialects.which(path, known)
            except SetupError as e:
                if named or "several dialects" in str(e):
                    raise
                total.unmatched.append(str(path))
                continue
            total.add(_file(path, dialect, kind, names, lake, sources, limits, job, progress))
    finally:
        sources.flush()
    total.seconds = time.perf_counter() - began
    return total


def _files(paths: list[Path]) -> Iterator[tuple[Path, bool]]:
    """Files in order; True where the file itself was named. Links that leave a named folder are not followed."""
    for path in paths:
        if path.is_dir():
            root = path.resolve()
            for p in sorted(path.rglob("*")):
                if p.is_file() and p.resolve().is_relative_to(root) and not p.name.startswith("."):
                    yield p, False
        elif path.is_file():
            yield path, True
        else:
            raise SetupError(f"{path}: no such file or folder")


class Sources:
    """The sources that the lake knows, by system; read once a run, and again where another process wrote some."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._known: dict[str, list[dict[str, object]]] | None = None
        self._version = -1
        self._unwritten: list[dict[str, object]] = []

    def refresh(self) -> None:
        """Forget what was read, where another process has written since."""
        if self.lake.version(Source) != self._version:
            self._known = None

    def of(self, system: str) -> list[dict[str, object]]:
        """Entries of one system."""
        if self._known is None:
            self._known, self._version = {}, self.lake.version(Source)
            for entry in self.lake.rows(Source).to_polars().to_dicts():
                self._known.setdefault(entry["system"], []).append(entry)
            for waiting in self._unwritten:
                self._known.setdefault(str(waiting["system"]), []).append(waiting)
        return self._known.setdefault(system, [])

    def identify(self, path: Path, system: str) -> Identity:
        """Who this file is: a source already known (whole, or its beginning), or a new one."""
        size = path.stat().st_size
        entries = [e for e in self.of(system) if isinstance(e["bytes"], int) and e["bytes"] <= size]
        with path.open("rb") as f:
            head = f.read(HEAD)
            heads = {n: sha256(head[:n]).hexdigest() for n in {int(str(e["head_bytes"])) for e in entries}}
            near = [e for e in entries if heads[int(str(e["head_bytes"]))] == e["head"]]
            lengths = sorted({int(str(e["bytes"])) for e in near} | {size})
            digests = _prefix_hashes(f, lengths)
        match = [e for e in near if digests.get(int(str(e["bytes"]))) == e["sha256"]]
        best = max(match, key=lambda e: (int(str(e["bytes"])), e["records"] is not None), default=None)
        whole = digests[size]
        source = str(best["source_id"]) if best else sha256(f"{system}\n{whole}".encode()).hexdigest()[:16]
        finished = best if best is not None and best["records"] is not None else None
        return Identity(source, size, whole, sha256(head).hexdigest(), len(head), finished)

    def write(self, entry: dict[str, object]) -> None:
        """Remember an entry, here at once and in the lake soon: a commit a file would cost more than the files.

        What was begun is in the lake before the first row of a large file is, so that a source that is killed and
        grows stays one source. What was done may be lost with the process: the tables themselves know their records.
        """
        self.of(str(entry["system"])).append(entry)
        self._unwritten.append(entry)
        large = entry["records"] is None and int(str(entry["bytes"])) > LARGE
        if large or len(self._unwritten) >= TOGETHER:
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
            record=pl.lit(0, pl.Int64),
        )
        self.lake.append(Source, frame, job, job, now, 0, app=f"{job}:{uuid4().hex}")
        self._unwritten = []
        if self.lake.version(Source) == self._version + 1:  # else another wrote in between: `refresh` reads it
            self._version += 1


def _prefix_hashes(f: object, lengths: list[int]) -> dict[int, str]:
    """SHA-256 of the file's first n bytes for every n asked, in one pass."""
    found, hasher, at = {}, sha256(), 0
    f.seek(0)  # type: ignore[attr-defined]
    for length in lengths:
        while at < length:
            block = f.read(min(1 << 20, length - at))  # type: ignore[attr-defined]
            if not block:
                break  # it became shorter while we read: the digest will match nothing
            hasher.update(block)
            at += len(block)
        found[length] = hasher.hexdigest()
    return found


@contextmanager
def _alone(lake: Lake, source: str) -> Iterator[None]:
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


def _file(
    path: Path,
    dialect: Dialect,
    kind: FileKind,
    names: dict[str, str],
    lake: Lake,
    sources: Sources,
    limits: Limits,
    job: str,
    progress: Progress | None,
) -> Tally:
    before = sources.identify(path, dialect.system)
    with _alone(lake, before.source):
        # what another process did while we waited counts
        sources.refresh()
        identity = sources.identify(path, dialect.system)
        done = identity.known
        tally = Tally(files=1)
        start = 0
        if done is not None:
            start = int(str(done["records"]))
            tally.records = tally.already_known = start
            if done["bytes"] == identity.bytes and UNFINISHED not in str(done["set_aside"]):
                return tally
        now = datetime.now(UTC)
        entry: dict[str, object] = {
            "source_id": identity.source,
            "bytes": identity.bytes,
            "seen_at": now,
            "system": dialect.system,
            "dialect": dialect.name,
            "dialect_version": dialect.version,
            "kind": kind.name,
            "path": str(path),
            "sha256": identity.sha256,
            "head": identity.head,
            "head_bytes": identity.head_bytes,
            "records": None,
            "landed": None,
            "quarantined": None,
            "set_aside": None,
            "job": job,
        }
        sources.write(entry)
        _land(path, dialect, kind, names, lake, identity, start, limits, job, now, tally, progress)
        finished = {
            **entry,
            "records": tally.records - tally.set_aside[UNFINISHED],
            "landed": tally.landed,
            "quarantined": tally.quarantined,
            "set_aside": json.dumps(dict(tally.set_aside)),
        }
        sources.write(finished)
        return tally


def _land(
    path: Path,
    dialect: Dialect,
    kind: FileKind,
    names: dict[str, str],
    lake: Lake,
    identity: Identity,
    start: int,
    limits: Limits,
    job: str,
    now: datetime,
    tally: Tally,
    progress: Progress | None,
) -> None:
    """Read, map and append batch by batch; a later batch is never appended before an earlier one."""
    where = f"{dialect.name}.{kind.name}"
    source = identity.source
    tables = {m.table for m in kind.rows if not m.last_of}
    at_most = {t: max(lake.committed(t, source), start - 1) for t in (*tables, Quarantined)}
    start = max(start, min((at_most[t] for t in tables), default=start - 1) + 1)
    tally.records = tally.already_known = start
    last: dict[int, pl.DataFrame] = {}
    reached = start - 1
    # with rows of whole groups to come, everything is read again: the groups' last rows are not kept over a kill
    first = 0 if any(m.last_of for m in kind.rows) else start
    try:
        for batch in reader(kind.reader, where)(path, kind.read, first, limits):
            mapped = map_records(batch.frame, kind, names, now, where) if batch.frame.width else None
            if mapped:
                for i, rows in mapped.last.items():
                    both = pl.concat([last[i], rows]) if i in last else rows
                    last[i] = both.unique(["_group", *_series(kind, i)], keep="last", maintain_order=True)
            reached = max(
                reached,
                _land_batch(
                    batch, mapped, lake, at_most, source, start, job, now, tally, path, dialect, kind
                ),
            )
            if progress:
                progress(path.name, tally.records, identity.bytes)
    except (FormatError, SetupError) as e:
        _quarantine_file(e, lake, source, job, now, tally, path, dialect, kind)
    for i, rows in last.items():
        table = kind.rows[i].table
        if lake.append(
            table, rows.drop("_group"), source, job, now, max(reached, 0), app=f"{source}:last{i}"
        ):
            tally.rows[table.title()] += rows.height


def _series(kind: FileKind, i: int) -> list[str]:
    m = kind.rows[i]
    return list(m.table.packs[-1:]) if m.signals else []


def _land_batch(
    batch: Batch,
    mapped: Mapped | None,
    lake: Lake,
    at_most: dict[type[Table], int],
    source: str,
    start: int,
    job: str,
    now: datetime,
    tally: Tally,
    path: Path,
    dialect: Dialect,
    kind: FileKind,
) -> int:
    """Append one batch; returns its last record."""
    frame, broken = batch.frame, batch.broken
    new = pl.col("record") >= start
    records = pl.concat(
        [f.select("record") for f in (frame, broken) if f.width and f.height] or [broken.select("record")]
    )
    reached = int(records["record"].max() or 0) if records.height else start - 1  # type: ignore[arg-type]
    wrong = _quarantined(broken, frame, mapped, path, dialect, kind, now)
    if mapped:
        for table, rows in mapped.rows.items():
            fresh = rows.filter(pl.col("record") > at_most[table])
            if fresh.height and lake.append(table, fresh, source, job, now, reached):
                tally.rows[table.title()] += fresh.height
        for rule, n in mapped.aside.filter(new).group_by("rule").len().iter_rows():
            tally.set_aside[rule] += n
    fresh = wrong.filter(pl.col("from_record") > at_most[Quarantined])
    if fresh.height:
        _append_quarantine(
            fresh.with_columns(from_source=pl.lit(source)), lake, source, job, now, reached, source
        )
    count = records.filter(new).n_unique("record") if records.height else 0
    held = wrong.filter(pl.col("from_record") >= start).height
    aside = mapped.aside.filter(new).height if mapped else 0
    tally.records += count + batch.unfinished
    tally.quarantined += held
    tally.landed += count - held - aside
    if batch.unfinished:
        tally.set_aside[UNFINISHED] += batch.unfinished
    return reached


def _quarantined(
    broken: pl.DataFrame,
    frame: pl.DataFrame,
    mapped: Mapped | None,
    path: Path,
    dialect: Dialect,
    kind: FileKind,
    now: datetime,
) -> pl.DataFrame:
    """Quarantine entries of a batch: what could not be parsed, and what has a fault."""
    parts = [broken.select("record", "rule", "raw", parsed=pl.lit(False))]
    if mapped and mapped.faults.height:
        raw = frame.join(mapped.faults, on="record", maintain_order="left").unique(
            "record", keep="first", maintain_order=True
        )
        columns = [c for c in frame.columns if c != "record"]
        text = pl.struct(_jsonable(raw.schema, columns)).struct.json_encode()
        parts.append(raw.select("record", "rule", raw=text, parsed=pl.lit(True)))
    found = pl.concat(parts)
    return found.select(
        from_source=pl.lit(""),
        from_record=pl.col("record"),
        found_at=pl.lit(now).dt.cast_time_unit("us"),
        path=pl.lit(str(path)),
        dialect=pl.lit(dialect.name),
        kind=pl.lit(kind.name),
        rule=pl.col("rule"),
        raw=pl.col("raw"),
        parsed=pl.col("parsed"),
        state=pl.lit("waiting"),
    )


def _jsonable(schema: pl.Schema, columns: list[str]) -> list[pl.Expr]:
    return [
        pl.col(c).bin.encode("hex")
        if schema[c] == pl.Binary
        else pl.col(c).cast(pl.String)
        if not schema[c].is_nested()
        else pl.col(c)
        for c in columns
    ]


def _append_quarantine(
    entries: pl.DataFrame, lake: Lake, source: str, job: str, now: datetime, up_to: int, app: str
) -> bool:
    rows = entries.with_columns(
        known_at=pl.lit(now).dt.cast_time_unit("us"),
        known_assumed=False,
        deleted=False,
        record=pl.col("from_record"),
    )
    return lake.append(Quarantined, rows, source, job, now, up_to, app=app)


def _quarantine_file(
    error: Exception,
    lake: Lake,
    source: str,
    job: str,
    now: datetime,
    tally: Tally,
    path: Path,
    dialect: Dialect,
    kind: FileKind,
) -> None:
    """The rest of a file that cannot be read: one entry that says where reading stopped."""
    entry = pl.DataFrame(
        [(source, FILE, now, str(path), dialect.name, kind.name, str(error), "", False, "waiting")],
        schema=Quarantined.dtypes(),
        orient="row",
    )
    _append_quarantine(entry, lake, source, job, now, 0, f"{source}:file:{dialect.version}")
    tally.records += 1
    tally.quarantined += 1
    tally.problems.append(str(error))


def replay(lake: Lake, known: Mapping[str, Dialect], limits: Limits) -> Tally:
    """Map quarantined records again with the dialects as they are now; what is right lands, the rest stays.

    A file quarantined as a whole is read again from its path, if it is still there with the same content.
    """
    began, total, now = time.perf_counter(), Tally(), datetime.now(UTC)
    job = f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    waiting = lake.rows(Quarantined).to_polars().filter(pl.col("state") == "waiting")
    for (source, name, kind_name), entries in waiting.group_by(
        ["from_source", "dialect", "kind"], maintain_order=True
    ):
        dialect = known.get(str(name))
        kind = next((k for k in dialect.files if k.name == kind_name), None) if dialect else None
        if dialect is None or kind is None:
            continue
        path = Path(str(entries["path"][0]))
        names = kind.fits(path) or {}
        parsed = entries.filter(pl.col("parsed"))
        if parsed.height:
            total.add(_replay_records(parsed, str(source), dialect, kind, names, lake, job, now))
        total.records += entries.filter(~pl.col("parsed")).height
        total.quarantined += entries.filter(~pl.col("parsed")).height
    total.seconds = time.perf_counter() - began
    return total


def _replay_records(
    entries: pl.DataFrame,
    source: str,
    dialect: Dialect,
    kind: FileKind,
    names: dict[str, str],
    lake: Lake,
    job: str,
    now: datetime,
) -> Tally:
    raw = pl.DataFrame([json.loads(r) for r in entries["raw"]], infer_schema_length=None)
    raw = raw.with_columns(record=entries["from_record"])
    tally = Tally(records=entries.height)
    plain = replace(kind, rows=tuple(m for m in kind.rows if not m.last_of))
    try:
        mapped = map_records(raw, plain, names, now, f"{dialect.name}.{kind.name}")
    except SetupError as e:
        tally.quarantined, tally.problems = entries.height, [str(e)]
        return tally
    still = set(mapped.faults["record"])
    # the records of one replay are named by their hash: a second replay after a kill appends none of them twice
    batch = sha256(repr(sorted(set(raw["record"]) - still)).encode()).hexdigest()[:12]
    for table, rows in mapped.rows.items():
        if rows.height and lake.append(table, rows, source, job, now, 0, app=f"{source}:replay:{batch}"):
            tally.rows[table.title()] += rows.height
    landed = entries.filter(~pl.col("from_record").is_in(list(still)))
    if landed.height:
        mended = landed.select(Quarantined.columns).with_columns(
            state=pl.lit("landed"), found_at=pl.lit(now).dt.cast_time_unit("us")
        )
        _append_quarantine(mended, lake, source, job, now, 0, f"{source}:mended:{batch}")
    tally.quarantined = len(still)
    tally.landed = entries.height - len(still) - mapped.aside.height
    tally.set_aside.update(dict(mapped.aside.group_by("rule").len().iter_rows()))
    return tally
