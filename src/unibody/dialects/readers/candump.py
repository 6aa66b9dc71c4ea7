r"""Frames on a vehicle's bus as Linux logs them (`candump -L`, `candump -t a`), decoded where a DBC is named.

Options: dbc (a name that opendbc knows, or a path ending in .dbc, from the log's folder or the working folder; ""
for none), vss (table: "MESSAGE.SIGNAL" = "Vehicle.Path", or ["Vehicle.Path", "raw unit", "unit of the path"]),
prefix (before the names of signals that vss does not map), member (of a .zip).

Without dbc a record is a frame: at (text as logged), channel, can_id, extended, sequence, data, is_remote, is_error.
With dbc a record makes one row a value: at, channel, can_id, extended, sequence, state, message, signal, path, value,
integer, text (one of the three is filled), unit. A frame that gave no value has one row without signal but with its
data, is_remote and is_error, so that a dialect can keep it as a frame; `state` says why there is no value: "unknown
id", "other length", "unknown multiplexer", "remote", "error", or "decoded" where the message has no signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from unibody.dialects.readers import BROKEN, Batch, Limits, only, opened, still_written
from unibody.dialects.readers.lines import blocks, shown
from unibody.errors import SetupError, nearest

_OPTIONS: dict[str, Any] = {"dbc": "", "vss": {}, "prefix": "", "member": None}
_RULE = "should be a frame as candump -L writes it, e.g. (1719817200.123456) can0 123#0011223344556677"

#: `(1719817200.123456) can0 123#0011`, CAN FD `123##1 00..`, remote `123#R8`, and a direction at the end
_LOG = r"^\s*\((?P<at>[^)]+)\)\s+(?P<channel>\S+)\s+(?P<id>[0-9A-Fa-f]{1,8})#(?P<fd>#[0-9A-Fa-f])?(?P<remote>R[0-9A-Fa-f]?)?(?P<data>(?:\.?[0-9A-Fa-f]{2})*)(?:_[0-9A-Fa-f])?(?:\s+[RTrt])?\s*$"
#: ` (1719817200.123456)  can0  18FEDF00   [8]  8A A0 28 7D 7D FF FF F5`
_TEXT = r"^\s*\((?P<at>[^)]+)\)\s+(?P<channel>\S+)\s+(?:[RT]X\s+[B-]\s?[E-]\s+)?(?P<id>[0-9A-Fa-f]{1,8})\s+\[(?P<size>\d{1,2})\](?P<remote>\s+remote request)?(?P<data>(?:\s+[0-9A-Fa-f]{2})*)(?:\s+'.*')?(?:\s+ERRORFRAME)?\s*$"


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Frames of a log, or the values in them.

    Raises SetupError where `dbc` or `vss` name what is not there, FormatError where the file cannot be read further.
    """
    o = only(options, _OPTIONS, str(path))
    decoder = _Decoder(path, o) if o["dbc"] else None
    # a frame has a handful of values: fewer frames at a time keep a batch at its size
    most = max(limits.batch_rows // 4, 1) if decoder else limits.batch_rows
    sequence = _Sequence()
    for part in blocks(opened(path, limits, o["member"]), str(path), most, still_written(path, limits)):
        frames, broken = parse(part.lines, part.first)
        frames = sequence.numbered(frames).filter(pl.col("record") >= start)
        if frames.height or broken.height or part.last:
            late = broken.filter(pl.col("record") >= start)
            yield Batch(decoder.decoded(frames) if decoder else frames, late, part.unfinished)
        if part.fault:
            raise part.fault


def parse(lines: list[bytes], first: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines as frames (without sequence), and those that are none."""
    try:
        text = pl.Series("line", lines, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:  # some line is no text
        text = pl.Series("line", [x.decode("ascii", errors="replace") for x in lines])
    frame = text.to_frame().with_columns(record=pl.int_range(first, first + len(lines), dtype=pl.Int64))
    log = frame.with_columns(pl.col("line").str.extract_groups(_LOG).alias("g")).unnest("g")
    log = log.with_columns(size=pl.lit(None, pl.String))
    other = log.filter(pl.col("id").is_null()).select("line", "record")
    if other.height:
        plain = other.with_columns(pl.col("line").str.extract_groups(_TEXT).alias("g")).unnest("g")
        plain = plain.with_columns(fd=pl.when(pl.col("size").str.len_chars() == 2).then(pl.lit("#")))
        log = pl.concat([log.filter(pl.col("id").is_not_null()), plain.select(log.columns)]).sort("record")
    log = log.with_columns(
        number=pl.col("id").str.to_integer(base=16, dtype=pl.Int64, strict=False),
        long=pl.col("id").str.len_chars() > 3,
        data=pl.when(pl.col("data").str.contains(r"[.\s]"))
        .then(pl.col("data").str.replace_all(r"[.\s]", ""))
        .otherwise(pl.col("data"))
        .str.decode("hex", strict=False),
        is_remote=pl.col("remote").fill_null("") != "",
    )
    length = pl.col("data").bin.size()
    limit = pl.when(pl.col("fd").fill_null("") != "").then(64).otherwise(8)
    size = pl.col("size").cast(pl.Int64, strict=False)
    rule = (
        pl.when(pl.col("number").is_null() | pl.col("data").is_null())
        .then(pl.lit(_RULE))
        .when(~pl.col("long") & (pl.col("number") > 0x7FF))
        .then(pl.lit("an id of three digits should be at most 7FF; write a 29-bit id with eight"))
        .when(pl.col("number") > 0x3FFFFFFF)
        .then(pl.lit("a 29-bit id should be at most 1FFFFFFF, an error frame's at most 3FFFFFFF"))
        .when(length > limit)
        .then(pl.format("has {} bytes of data, should have at most {}", length, limit))
        .when(~pl.col("is_remote") & (size != length))
        .then(pl.format("says that it has {} bytes of data and has {}", size, length))
    )
    log = log.with_columns(rule=rule)
    bad = log.filter(pl.col("rule").is_not_null())
    raw = [shown(lines[r - first]) for r in bad["record"].to_list()]
    broken = pl.DataFrame({"record": bad["record"], "raw": raw, "rule": bad["rule"]}, schema=BROKEN)
    good = log.filter(pl.col("rule").is_null()) if bad.height else log
    frames = good.select(
        "at",
        "channel",
        can_id=pl.col("number") & 0x1FFFFFFF,
        extended=pl.col("long") & (pl.col("number") <= 0x1FFFFFFF),
        sequence=pl.lit(0, pl.Int64),
        data="data",
        is_remote="is_remote",
        is_error=pl.col("number") > 0x1FFFFFFF,
        record="record",
    )
    return frames, broken


class _Sequence:
    """The place of each frame among those of the same channel, instant and id, across batches."""

    def __init__(self) -> None:
        self.last: dict[
            str, tuple[str, dict[int, int]]
        ] = {}  # channel -> its last instant, frames of it by id

    def numbered(self, frames: pl.DataFrame) -> pl.DataFrame:
        if frames.is_empty():
            return frames
        run = (pl.col("at") != pl.col("at").shift(1)).fill_null(True).cum_sum()
        frames = frames.with_columns(run=run if frames["channel"].n_unique() == 1 else run.over("channel"))
        group = ("channel", "run", "can_id")
        seen = pl.struct(group).is_duplicated() if frames.height > 1 else pl.lit(False)
        if frames.select(seen.any()).item():
            frames = frames.with_columns(sequence=pl.int_range(pl.len(), dtype=pl.Int64).over(group))
        for channel, (at, counts) in self.last.items():
            begun = (pl.col("channel") == channel) & (pl.col("run") == 1) & (pl.col("at") == at)
            more = pl.col("can_id").replace_strict(counts, default=0, return_dtype=pl.Int64)
            frames = frames.with_columns(
                sequence=pl.when(begun).then(pl.col("sequence") + more).otherwise("sequence")
            )
        ends = frames.filter(pl.col("run") == pl.col("run").max().over("channel"))
        for (channel, at), rows in ends.group_by("channel", "at"):
            before = self.last.get(str(channel), ("", {}))
            counts = dict(before[1]) if before[0] == at and rows["run"][0] == 1 else {}
            counts |= dict(rows.group_by("can_id").agg(pl.col("sequence").max() + 1).iter_rows())
            self.last[str(channel)] = (str(at), counts)
        return frames.drop("run")


class _Decoder:
    """Frames to values by a DBC, under the names that the dialect gives them."""

    def __init__(self, path: Path, o: Mapping[str, Any]) -> None:
        from unibody.dialects.readers import dbc, decode

        name = o["dbc"]
        beside = name.lower().endswith(".dbc") and (path.parent / name).is_file()
        self.decode = decode
        self.plan = decode.plan(dbc.load(name, path.parent if beside else Path()))
        names = [s.name for s in self.plan.signals]
        paths = [o["prefix"] + n for n in names]
        units = [s.unit for s in self.plan.signals]
        self.factors: dict[int, tuple[float, float]] = {}
        for signal, to in o["vss"].items():
            where = f"{path}: read.vss.{signal}"
            if signal not in names:
                raise SetupError(f"{where}: {name} has no such signal; {nearest(signal, names)}")
            stated = [to] if isinstance(to, str) else to
            if (
                not isinstance(stated, list)
                or len(stated) not in (1, 3)
                or not all(isinstance(x, str) for x in stated)
            ):
                raise SetupError(
                    f"{where} = {to!r} should be a VSS path, or [path, raw unit, unit of the path]"
                )
            at = names.index(signal)
            paths[at] = stated[0]
            if len(stated) == 3:
                from unibody.dialects.values import factor

                units[at] = stated[2]
                self.factors[at] = factor(stated[1], stated[2], where)
        self.paths, self.units = pl.Series(paths, dtype=pl.String), pl.Series(units, dtype=pl.String)
        self.signals = pl.Series([n.partition(".")[2] for n in names], dtype=pl.String)
        self.messages = pl.Series([m.name for m in self.plan.messages], dtype=pl.String)
        self.words = pl.Series(self.plan.words, dtype=pl.String)

    def decoded(self, frames: pl.DataFrame) -> pl.DataFrame:
        """One row a value."""
        d, n = self.decode, frames.height
        packed = frames["data"].to_arrow()
        packed = (packed.combine_chunks() if isinstance(packed, pa.ChunkedArray) else packed).cast(
            pa.large_binary()
        )
        offsets = (
            np.frombuffer(packed.buffers()[1], np.int64)[packed.offset : packed.offset + n + 1]
            if n
            else np.zeros(1, np.int64)
        )
        buffer = packed.buffers()[2]
        data = np.frombuffer(buffer, np.uint8) if buffer is not None else np.zeros(0, np.uint8)
        ids = frames["can_id"].to_numpy().astype(np.uint32) | (
            frames["extended"].to_numpy().astype(np.uint32) << 31
        )
        state = np.zeros(n, np.uint8)
        state[frames["is_remote"].to_numpy()] = d.REMOTE
        state[frames["is_error"].to_numpy()] = d.ERROR
        found = d.decode(self.plan, ids, state, offsets[:-1], np.diff(offsets), data)
        number, kind = found.number, found.kind.copy()
        for code, (scale, offset) in self.factors.items():
            mine = (found.signal == code) & (kind != d.WORD)
            number[mine] = number[mine] * scale + offset
            kind[mine] = d.NUMBER
        shared = frames.select("at", "channel", "can_id", "extended", "sequence", "record")
        states = pl.Series(d.STATES).gather(found.state[found.frame].astype(np.int64))
        rows: pl.DataFrame = shared[found.frame]
        nothing = pl.Series(found.signal < 0)
        raw = frames.select("data", "is_remote", "is_error")[found.frame[found.signal < 0]]
        return rows.with_columns(
            *(_only(raw[n], nothing) for n in raw.columns),
            states.alias("state"),
            _named(self.messages, found.message).alias("message"),
            _named(self.signals, found.signal).alias("signal"),
            _named(self.paths, found.signal).alias("path"),
            _filled(number, kind == d.NUMBER).alias("value"),
            _filled(found.whole, kind == d.WHOLE).alias("integer"),
            _named(self.words, np.where(kind == d.WORD, found.word, -1)).alias("text"),
            _named(self.units, found.signal).alias("unit"),
        )


def _only(values: pl.Series, there: pl.Series) -> pl.Series:
    """The values where `there` is true, in order; elsewhere null: what was decoded needs no copy of its bytes."""
    places = pl.select(pl.when(there).then(there.cast(pl.Int64).cum_sum() - 1)).to_series()
    return values.gather(places).alias(values.name) if len(values) else values.clear(len(there))


def _named(names: pl.Series, places: Any) -> pl.Series:
    at = pl.Series(places).cast(pl.Int64)
    at = at.set(at < 0, None)
    return names.gather(at) if len(names) else pl.Series([None] * len(at), dtype=pl.String)


def _filled(numbers: Any, there: Any) -> pl.Series:
    found = pl.Series(numbers)
    return found if there.all() else pl.select(pl.when(pl.Series(there)).then(found)).to_series()
