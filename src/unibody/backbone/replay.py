"""Map quarantined records again with the dialects as they are now; what is right lands, the rest stays."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from unibody import engine
from unibody.backbone.ingest import FILE, Incoming, Tally, bring, new_job
from unibody.backbone.sources import Sources, alone
from unibody.dialects.dialect import Dialect
from unibody.dialects.mapping import map_records
from unibody.dialects.readers import Limits
from unibody.errors import SetupError
from unibody.lake import Lake, Quarantined
from unibody.tables import Instant


def replay(lake: Lake, known: Mapping[str, Dialect], limits: Limits) -> Tally:
    """Map quarantined records again.

    A file that could not be read to its end is read again from its path, if it is still there with the same content. A
    record that could not even be parsed stays, for the people who wrote it.
    """
    began, total, job, sources = time.perf_counter(), Tally(), new_job(), Sources(lake)
    for (source, name, kind_name), entries in _waiting(lake).group_by(
        ["from_source", "dialect", "kind"], maintain_order=True
    ):
        dialect = known.get(str(name))
        kind = next((k for k in dialect.files if k.name == kind_name), None) if dialect else None
        if dialect is None or kind is None:
            why = f"no dialect {name!r} with files {kind_name!r} any more"
            total.add(Tally(records=entries.height, quarantined=entries.height, problems=[why]))
            continue
        path = Path(str(entries["path"][0]))
        file = Incoming(path, dialect, kind, kind.fits(path) or {}, lake, job, limits)
        total.add(_records(file, str(source)))
        whole = entries.filter(pl.col("from_record") == FILE)
        for path in map(Path, whole["path"]):
            total.add(_whole(replace(file, path=path, names=kind.fits(path) or {}), str(source), sources))
    sources.flush()
    total.seconds = time.perf_counter() - began
    return total


def _waiting(lake: Lake, source: str | None = None) -> pl.DataFrame:
    rows = lake.rows(Quarantined)
    rows = rows.filter(rows["state"] == "waiting")
    if source is not None:
        rows = rows.filter(rows["from_source"] == source)
    return engine.frame(rows).sort("from_source", "from_record")


def _whole(file: Incoming, source: str, sources: Sources) -> Tally:
    """Read a file again that stopped halfway."""
    stays = Tally(records=1, quarantined=1)
    if not file.path.is_file():
        return replace(stays, problems=[f"{file.path}: is not there any more"])
    if sources.identify(file.path, file.dialect.system).source != source:
        return replace(stays, problems=[f"{file.path}: is another file now"])
    found = bring(file, sources, again=True)
    # the entry itself is what was asked about; what it led to comes beside it
    found.records -= found.already_known
    found.already_known = 0
    return found


def _records(file: Incoming, source: str) -> Tally:
    """Map the waiting records of one source again, alone: what two replays both see must land once."""
    lake = file.lake
    with alone(lake, source):
        waiting = _waiting(lake, source).filter(pl.col("from_record") != FILE)
        entries = waiting.filter(
            (pl.col("dialect") == file.dialect.name) & (pl.col("kind") == file.kind.name)
        )
        parsed = entries.filter(pl.col("parsed"))
        tally = Tally(records=entries.height, quarantined=entries.height)
        if parsed.is_empty():
            return tally
        # which row is the last of its group is not seen from single records
        kind = replace(file.kind, rows=tuple(m for m in file.kind.rows if not m.last_of))
        raw = _raw(parsed)
        try:
            mapped = map_records(raw, kind, file.names, file.now, file.where)
        except SetupError as e:
            tally.problems.append(str(e))
            return tally
        for table, rows in mapped.rows.items():
            stored = lake.stored(table)
            landed = engine.frame(stored.filter(stored["source"] == source).select("record"))
            fresh = rows.join(landed, on="record", how="anti", maintain_order="left")  # landed before a kill
            if fresh.height and lake.append(
                table, fresh, source, file.job, file.now, 0, app=f"{source}:replay:{file.job}:{file.where}"
            ):
                tally.rows[table.title()] += fresh.height
        mended = parsed.join(
            mapped.faults, left_on="from_record", right_on="record", how="anti", maintain_order="left"
        )
        if mended.height:
            now = pl.lit(file.now, Instant)
            rows = mended.with_columns(state=pl.lit("landed"), found_at=now, known_at=now).select(
                *Quarantined.columns, "known_at", "known_assumed", "deleted", record="from_record"
            )
            lake.append(
                Quarantined,
                rows,
                source,
                file.job,
                file.now,
                0,
                app=f"{source}:mended:{file.job}:{file.where}",
            )
        tally.set_aside = Counter(mapped.aside["rule"].to_list())
        tally.quarantined -= mended.height
        tally.landed = mended.height - tally.set_aside.total()
        return tally


def _raw(entries: pl.DataFrame) -> pl.DataFrame:
    """The raw records as the mapping takes them, from their JSON."""
    rows = [{k: _value(v) for k, v in json.loads(r).items()} for r in entries["raw"]]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    empty = [n for n, d in frame.schema.items() if d == pl.Null]
    return frame.with_columns(pl.col(empty).cast(pl.String), record=entries["from_record"])


def _value(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["hex"]:
        return None if value["hex"] is None else bytes.fromhex(value["hex"])
    return value
