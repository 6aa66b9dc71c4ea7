"""Map quarantined records again with the dialects as they are now; what is right lands, the rest stays.

Three steps a source, each known by what the lake holds, so that a replay that was killed goes on: a file that stopped
halfway is read on; records land, and are then noted as landed; the rows that only the last record of a group makes
are made again from the whole file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from unibody import engine
from unibody.backbone import raw, reread
from unibody.backbone.ingest import FILE, Incoming, Tally, bring, new_job
from unibody.backbone.sources import Sources, alone
from unibody.dialects.dialect import Dialect
from unibody.dialects.mapping import Mapped, map_records
from unibody.dialects.readers import Limits
from unibody.errors import FormatError, SetupError
from unibody.lake import Lake, Quarantined
from unibody.tables import Instant, Table


def replay(lake: Lake, known: Mapping[str, Dialect], limits: Limits) -> Tally:
    """Map quarantined records again.

    What could not be parsed, or could not be read to its end, is read again from its file, if that is still there with
    the same content. What cannot be mended is told in `problems`, with the reason.
    """
    began, total, job, sources = time.perf_counter(), Tally(), new_job(), Sources(lake)
    places = ("from_source", "from_record", "dialect", "kind", "path", "state")
    for (source, name, kind_name), entries in _entries(lake, *places).group_by(
        ["from_source", "dialect", "kind"], maintain_order=True
    ):
        waiting = entries.filter(pl.col("state") == "waiting")
        dialect = known.get(str(name))
        kind = next((k for k in dialect.files if k.name == kind_name), None) if dialect else None
        if dialect is None or kind is None:
            if waiting.height:
                why = f"no dialect {name!r} with files {kind_name!r} any more"
                total.add(Tally(records=waiting.height, quarantined=waiting.height, problems=[why]))
            continue
        path = Path(str(entries["path"][0]))
        file = Incoming(path, dialect, kind, kind.fits(path) or {}, lake, job, limits)
        # first what stopped halfway: how its records are numbered is known when it is read to its end
        for path in map(Path, waiting.filter(pl.col("from_record") == FILE)["path"]):
            total.add(_whole(replace(file, path=path, names=kind.fits(path) or {}), str(source), sources))
        total.add(_records(file, str(source), sources, waiting["from_record"]))
        total.add(_last_rows(file, str(source), sources))
    sources.flush()
    total.seconds = time.perf_counter() - began
    return total


def _entries(lake: Lake, *columns: str, source: str | None = None) -> pl.DataFrame:
    rows = lake.rows(Quarantined)
    if source is not None:
        rows = rows.filter(rows["from_source"] == source)
    return engine.frame(rows.select(*columns) if columns else rows).sort("from_source", "from_record")


def _of(file: Incoming, source: str, state: str) -> pl.DataFrame:
    """The entries of one source in this state, but for the one that speaks of the file as a whole."""
    mine = (pl.col("dialect") == file.dialect.name) & (pl.col("kind") == file.kind.name)
    return _entries(file.lake, source=source).filter(
        mine & (pl.col("from_record") != FILE) & (pl.col("state") == state)
    )


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


def _records(file: Incoming, source: str, sources: Sources, asked: pl.Series) -> Tally:
    """Map the waiting records of one source again, alone: what two replays both see must land once."""
    with alone(file.lake, source):
        entries = _of(file, source, "waiting").filter(pl.col("from_record").is_in(asked.implode()))
        tally = Tally(records=entries.height, quarantined=entries.height)
        if entries.is_empty():
            return tally
        parsed = entries.filter(pl.col("parsed"))
        frames = [raw.again(parsed["from_record"], parsed["raw"])] if parsed.height else []
        try:
            if parsed.height < entries.height:
                unparsed = entries.filter(~pl.col("parsed"))
                frames += reread.unparsed(file, source, sources, unparsed, tally.problems)
            mapped = [_mapped(f, file) for f in frames]
        except SetupError as e:
            tally.problems.append(str(e))
            return tally
        for table in {t: None for m in mapped for t in m.rows}:
            rows = pl.concat([m.rows[table] for m in mapped if table in m.rows])
            tally.rows[table.title()] += _land(file, source, table, rows)
        faults = pl.concat([m.faults for m in mapped] or [_NONE])
        seen = pl.concat([f.select(pl.col("record").cast(pl.Int64)) for f in frames] or [_NONE])
        mended = entries.join(seen, left_on="from_record", right_on="record", how="semi").join(
            faults, left_on="from_record", right_on="record", how="anti", maintain_order="left"
        )
        _note(file, source, mended.with_columns(state=pl.lit("landed")), "mended")
        kept = pl.concat(
            [raw.kept(f, m.faults) for f, m in zip(frames, mapped, strict=True)]
            or [pl.DataFrame(schema={"record": pl.Int64, "rule": pl.String, "raw": pl.String})]
        )
        _note(file, source, _refused(entries, kept), "refused")
        tally.set_aside = Counter(r for m in mapped for r in m.aside["rule"].to_list())
        tally.quarantined -= mended.height
        tally.landed = mended.height - tally.set_aside.total()
        return tally


_NONE = pl.DataFrame(schema={"record": pl.Int64})
_SAID = {"known_assumed": pl.Boolean, "deleted": pl.Boolean, "record": pl.Int64}


def _mapped(frame: pl.DataFrame, file: Incoming) -> Mapped:
    # which row is the last of its group is not seen from single records
    kind = replace(file.kind, rows=tuple(m for m in file.kind.rows if not m.last_of))
    return map_records(frame, kind, file.names, file.now, file.where)


def _land(file: Incoming, source: str, table: type[Table], rows: pl.DataFrame) -> int:
    """Append the rows of records of which this table has none yet; how many those are."""
    stored = file.lake.stored(table)
    landed = engine.frame(stored.filter(stored["source"] == source).select("record"))
    fresh = rows.join(landed, on="record", how="anti", maintain_order="left")  # landed before a kill
    app = f"{source}:replay:{file.job}:{file.where}"
    done = fresh.height and file.lake.append(table, fresh, source, file.job, file.now, 0, app=app)
    return fresh.height if done else 0


def _refused(entries: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Entries that stay, of which another thing is wrong now than was: parsed at last, or another rule."""
    now = kept.select("record", now_rule="rule", now_raw="raw")
    both = entries.join(now, left_on="from_record", right_on="record", how="inner", maintain_order="left")
    other = both.filter(~pl.col("parsed") | (pl.col("rule") != pl.col("now_rule")))
    return other.with_columns(rule="now_rule", raw="now_raw", parsed=pl.lit(True))


def _note(file: Incoming, source: str, entries: pl.DataFrame, what: str) -> None:
    """New versions of quarantine entries."""
    if entries.is_empty():
        return
    now = pl.lit(file.now, Instant)
    rows = entries.with_columns(found_at=now, known_at=now).select(
        *Quarantined.columns, "known_at", "known_assumed", "deleted", record="from_record"
    )
    app = f"{source}:{what}:{file.job}:{file.where}"
    file.lake.append(Quarantined, rows, source, file.job, file.now, 0, app=app)


def _last_rows(file: Incoming, source: str, sources: Sources) -> Tally:
    """Make the last rows of groups again, where records were mended since; take back those that are not last any more.

    How many mended records a table's last rows account for is the number under which they were appended.
    """
    lake, tally = file.lake, Tally()
    tables = {m.table: None for m in file.kind.rows if m.last_of}
    if not tables:
        return tally
    with alone(lake, source):
        mended = _of(file, source, "landed")
        app = f"{source}:last:{file.where}"
        stale = [t for t in tables if mended.height and lake.committed(t, app) < mended.height]
        if not stale:
            return tally
        try:
            rows = reread.last(file, source, sources, mended["path"].to_list())
        except (FormatError, SetupError) as e:
            titles = ", ".join(t.title() for t in stale)
            tally.problems.append(f"{titles}: which record is the last of its group is not known again: {e}")
            return tally
        for table in stale:
            if table not in rows:
                tally.problems.append(f"{file.where}: no record makes a last row of {table.title()} any more")
                continue
            _begun(file, source, table)
            new = _corrections(lake, source, table, rows[table], file, tally)
            lake.append(table, new, source, file.job, file.now, mended.height, app=app)
            tally.rows[table.title()] += new.height
    return tally


def _begun(file: Incoming, source: str, table: type[Table]) -> None:
    """Have the lake know that there are last rows, so that ingest takes them back when the file grows."""
    empty = pl.DataFrame(schema={**table.dtypes(), "known_at": Instant, **_SAID})
    for i, m in enumerate(file.kind.rows):
        if m.last_of and m.table is table:
            file.lake.append(table, empty, source, file.job, file.now, 0, app=f"{source}:last{i}")


def _corrections(
    lake: Lake, source: str, table: type[Table], rows: pl.DataFrame, file: Incoming, tally: Tally
) -> pl.DataFrame:
    """What of `rows` this source has not said yet, and tombstones for what it said and that is not last any more."""
    stored = lake.stored(table)
    said = engine.frame(stored.filter(stored["source"] == source))
    said = said.sort("ingested_at", "record").unique(table.key, keep="last").select(rows.columns)
    fresh = rows.join(said, on=rows.columns, how="anti", nulls_equal=True, maintain_order="left")
    current = lake.rows(table)
    stands = engine.frame(current.filter(current["source"] == source)).select(rows.columns)
    gone = stands.join(rows, on=list(table.key), how="anti", maintain_order="left")
    if gone.height and any(m.table is table and not m.last_of for m in file.kind.rows):
        tally.problems.append(
            f"{file.where}: {table.title()} has rows of every record too, so rows that are not last any more are not taken back"
        )
        return fresh
    return pl.concat([fresh, gone.with_columns(deleted=pl.lit(True))])
