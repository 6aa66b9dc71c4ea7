"""Read the file of a known source again: the records in it that could not be parsed, or the last ones of its groups.

A record is known by its number, so a file is only read again where it is cut into the same records as before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from unibody.backbone.ingest import UNFINISHED, Incoming
from unibody.backbone.sources import Entry, Sources
from unibody.dialects.mapping import map_records
from unibody.dialects.readers import Batch, opened, reader
from unibody.errors import FormatError, SetupError
from unibody.lake import Source
from unibody.tables import Table


def unparsed(
    file: Incoming, source: str, sources: Sources, entries: pl.DataFrame, problems: list[str]
) -> list[pl.DataFrame]:
    """Of the records that `entries` could not parse, those that the dialect as it is now can: their raw columns.

    Why the others stay is added to `problems`, unless their entries say it already.
    """
    wanted = entries["from_record"]
    try:
        there, known = found(file, source, sources, entries["path"].to_list())
        frames, broken = list[pl.DataFrame](), set[int]()
        for batch in _again(there, known, whole=False):
            if batch.frame.height:
                frames.append(batch.frame.filter(pl.col("record").is_in(wanted.implode())))
            broken |= set(batch.broken["record"])
        if not broken <= set(wanted):
            first = min(broken - set(wanted))
            raise SetupError(
                f"{there.path}: record {first} was whole and is broken as {file.where} is read now"
            )
        return [f for f in frames if f.height]
    except (FormatError, SetupError) as e:
        if file.kind.reader == "delimited":
            return _one_by_one(file, entries, problems, str(e))
        problems.append(f"{len(wanted)} record(s) that could not be parsed stay: {e}")
        return []


def last(
    file: Incoming, source: str, sources: Sources, paths: Iterable[str]
) -> dict[type[Table], pl.DataFrame]:
    """The rows that the last record of each group makes, of each table that has such."""
    there, known = found(file, source, sources, paths)
    rows: dict[int, pl.DataFrame] = {}
    for batch in _again(there, known, whole=True):
        mapped = map_records(batch.frame, there.kind, there.names, there.now, there.where)
        for i, new in mapped.last.items():
            m = there.kind.rows[i]
            group = ["_group", *(m.table.packs[-1:] if m.signals else ())]
            both = pl.concat([rows[i], new]) if i in rows else new
            rows[i] = both.unique(group, keep="last", maintain_order=True)
    by_table: dict[type[Table], list[pl.DataFrame]] = {}
    for i, made in rows.items():
        by_table.setdefault(there.kind.rows[i].table, []).append(made.drop("_group"))
    return {t: pl.concat(f).unique(t.key, keep="last", maintain_order=True) for t, f in by_table.items()}


def found(file: Incoming, source: str, sources: Sources, paths: Iterable[str]) -> tuple[Incoming, Entry]:
    """The file of a source where it still lies with the same content, and what is known of it; FormatError says why not."""
    entries = file.lake.newest(Source).filter(pl.col("source_id") == source)
    why = ""
    for name in dict.fromkeys([*paths, *entries["path"]]):
        path = Path(name)
        if not path.is_file():
            why = why or f"{path}: is not there any more"
            continue
        try:
            identity = sources.identify(path, file.dialect.system)
        except OSError as e:
            why = f"{path}: cannot be read: {e.strerror}"
            continue
        if identity.source != source:
            why = f"{path}: is another file now"
        elif identity.known is None or identity.known["bytes"] != identity.bytes:
            why = f"{path}: is longer than what was brought in; ingest it, then replay"
        else:
            return replace(file, path=path), identity.known  # its names are those it came in with
    raise FormatError(f"{why or 'its file is not known'}; bring the mended file in, or put this one back")


def _again(file: Incoming, known: Entry, whole: bool) -> Iterator[Batch]:
    """The batches of a file; at the end SetupError where it is cut into another number of records than before.

    FormatError where it cannot be read to its end; unless `whole`, what came in before that is enough.
    """
    limits = replace(file.limits, quiet_seconds=0.0)  # nobody writes a file that has its content of then
    numbers, before = 0, int(known["records"])
    try:
        for batch in reader(file.kind.reader, file.where)(file.path, file.kind.read, 0, limits):
            records = [f["record"] for f in (batch.frame, batch.broken) if f.height]
            numbers += len(pl.concat(records).unique()) if records else 0
            yield batch
    except FormatError:
        if whole or numbers != before:
            raise
    unfinished = int(json.loads(known["set_aside"] or "{}").get(UNFINISHED, 0))
    if not before <= numbers <= before + unfinished:
        raise SetupError(
            f"{file.path}: has {numbers:,} records as {file.where} is read now, and had {before:,} when it came in"
        )


def _one_by_one(file: Incoming, entries: pl.DataFrame, problems: list[str], why: str) -> list[pl.DataFrame]:
    """Each broken piece of text read by itself, under the file's own header: all that is in it is that record's."""
    try:
        head = _header(file, entries["path"].to_list())
    except (FormatError, SetupError, OSError) as e:
        problems.append(f"{entries.height} record(s) that could not be parsed stay: {why}; {e}")
        return []
    read = {k: v for k, v in file.kind.read.items() if k not in ("member", "skip_lines")}
    frames = []
    for number, text in entries.select("from_record", "raw").iter_rows():
        with tempfile.NamedTemporaryFile(suffix=".csv") as alone:
            alone.write((head + text.rstrip("\r\n") + "\n").encode(read.get("encoding", "utf-8")))
            alone.flush()
            try:
                parts = list(
                    reader("delimited", file.where)(
                        Path(alone.name), read, 0, replace(file.limits, quiet_seconds=0.0)
                    )
                )
            except FormatError:
                continue
        if all(p.broken.is_empty() for p in parts) and any(p.frame.height for p in parts):
            frames += [p.frame.with_columns(record=pl.lit(number, pl.Int64)) for p in parts if p.frame.height]
    left = entries.height - len({f["record"][0] for f in frames})
    if left:
        problems.append(f"{left} record(s) that could not be parsed stay: {why}")
    return frames


def _header(file: Incoming, paths: Iterable[str]) -> str:
    """The line that names the columns, as the file has it; nothing where the dialect names them."""
    read = file.kind.read
    if not read.get("header", True):
        return ""
    path = next((p for p in map(Path, paths) if p.is_file()), None)
    if path is None:
        raise FormatError("the line that names their columns is gone with the file")
    with opened(path, file.limits, read.get("member")) as stream:
        text = stream.read(1 << 20).decode(read.get("encoding", "utf-8"), errors="replace")
    lines = text.removeprefix("\ufeff").splitlines()[int(read.get("skip_lines", 0)) :]
    return f"{lines[0]}\n" if lines else ""
