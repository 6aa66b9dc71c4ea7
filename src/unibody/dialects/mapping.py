"""Raw records to canonical rows: each record makes rows, or is set aside by a named rule, or has a fault.

A record with a fault in any of its rows lands none of them: it goes to quarantine whole, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

import polars as pl

from unibody.dialects import values
from unibody.dialects.dialect import FileKind, RowMap, Signals
from unibody.tables import Column, Instant, Table

#: A clock before this, or this far ahead of ours, is wrong: controllers that lost their battery start in 1970 or 1980.
CLOCK_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
CLOCK_AHEAD = timedelta(days=2)

_KNOWN = Column("when the source knew it", None, "open", True, None, None, None, None, "known_at", Instant)
_DELETED = Column("a tombstone", None, "open", False, None, None, None, None, "deleted", pl.Boolean())
_ITEM = "#"  # with `each`: the item's place in its list, counted from 0
FAULTS = {"record": pl.Int64(), "rule": pl.String()}


@dataclass(frozen=True)
class Mapped:
    """What a batch of records became. `faults` and `aside` have the columns record and rule."""

    rows: dict[type[Table], pl.DataFrame]  # declared columns, known_at, known_assumed, deleted, record
    last: dict[
        int, pl.DataFrame
    ]  # by place of a RowMap with `last_of`: its candidate rows, group in `_group`
    faults: pl.DataFrame
    aside: pl.DataFrame


def map_records(
    raw: pl.DataFrame, kind: FileKind, names: dict[str, str], now: datetime, where: str
) -> Mapped:
    """Map a batch of raw records (with their `record` number) to rows.

    `names` is what the file name says; `now` bounds clocks that run ahead. Raises SetupError where the dialect
    names raw columns that the batch does not have.
    """
    if raw.is_empty():  # a file read to its end before: there are no columns to speak of
        return Mapped({}, {}, pl.DataFrame(schema=FAULTS), pl.DataFrame(schema=FAULTS))
    raw = _split(_keyed(raw, kind, where), kind, where)
    columns = {n: d for n, d in raw.schema.items() if n != "record"}
    aside = pl.DataFrame(schema=FAULTS)
    for rule, conditions in kind.set_aside:
        hit = raw.filter(_where(conditions, columns, f"{where}: set_aside {rule}"))
        aside = pl.concat([aside, hit.select("record", rule=pl.lit(rule))])
    aside = aside.unique("record", keep="first", maintain_order=True)
    if aside.height:
        raw = raw.join(aside, on="record", how="anti", maintain_order="left")
    faults: list[pl.DataFrame] = []
    made: list[tuple[int, RowMap, pl.DataFrame]] = []
    for i, m in enumerate(kind.rows):
        here = f"{where}: {m.table.title()}"
        chosen = raw.filter(_where(m.where, columns, here)) if m.where else raw
        for name in m.filled:
            if name not in columns:
                raise values.missing(name, list(columns), here)
            chosen = chosen.filter(
                values.blank_to_null(pl.col(name), columns[name], kind.nulls).is_not_null()
            )
        present = columns
        if m.each:
            chosen, wrong = _items(chosen, m.each, here)
            faults.append(wrong)
            if chosen.is_empty():
                continue
            present = {n: d for n, d in chosen.schema.items() if n not in ("record", _ITEM)}
        rows, found = _rows(chosen, m, kind, present, names, now, here)
        faults += found
        made.append((i, m, rows))
    fault = pl.concat([pl.DataFrame(schema=FAULTS), *faults]).unique(
        "record", keep="first", maintain_order=True
    )
    rows_by_table: dict[type[Table], list[pl.DataFrame]] = {}
    last: dict[int, pl.DataFrame] = {}
    for i, m, rows in made:
        good = rows.join(fault, on="record", how="anti", maintain_order="left") if fault.height else rows
        if m.last_of:
            last[i] = good
        else:
            rows_by_table.setdefault(m.table, []).append(good)
    return Mapped({t: pl.concat(f) for t, f in rows_by_table.items()}, last, fault, aside)


def _keyed(raw: pl.DataFrame, kind: FileKind, where: str) -> pl.DataFrame:
    """Further raw columns out of lists of pairs: field `at` of the item whose `event` is `sent` is `events.sent.at`."""
    from unibody.dialects.readers import json

    for name, keyed in kind.keyed.items():
        if name not in raw.columns:
            raise values.missing(name, raw.columns, f"{where}: keyed")
        found: list[dict[str, str | None]] = []
        for text in raw[name].cast(pl.String).to_list():
            try:
                items = json.loads(text.encode()) if text else []
                flat = [json.flat(x) for x in items if isinstance(x, dict)] if isinstance(items, list) else []
            except ValueError:
                flat = []
            found.append({f"{x.get(keyed.by)}.{f}": v for x in flat for f, v in x.items()})
        raw = raw.with_columns(
            pl.Series(f"{name}.{f}", [x.get(f) for x in found], dtype=pl.String) for f in keyed.into
        )
    return raw


def _split(raw: pl.DataFrame, kind: FileKind, where: str) -> pl.DataFrame:
    """Further raw columns out of those that say several things; empty where the number of pieces is another."""
    for name, pieces in kind.split.items():
        if name not in raw.columns:
            raise values.missing(name, raw.columns, f"{where}: split")
        parts = pl.col(name).cast(pl.String).str.split(pieces.by)
        whole = parts.list.len() == len(pieces.into)
        raw = raw.with_columns(
            pl.when(whole).then(parts.list.get(i, null_on_oob=True)).alias(n)
            for i, n in enumerate(pieces.into)
        )
    return raw


def _items(raw: pl.DataFrame, name: str, where: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row an item of the JSON lists in a raw column, and the records in which it is no list."""
    from unibody.dialects.readers import json

    if name not in raw.columns:
        raise values.missing(name, raw.columns, f"{where}: each")
    places, items, numbers = list[int](), list[dict[str, str | None]](), list[int]()
    faults: list[tuple[int, str]] = []
    for place, (record, text) in enumerate(raw.select("record", pl.col(name).cast(pl.String)).iter_rows()):
        try:
            found = json.loads(text.encode()) if text else []
            if not isinstance(found, list):
                raise ValueError("it is something else")
            mine = [json.flat(_named(x)) for x in found]
        except ValueError as e:
            faults.append((record, f"{name} should be a list: {e}"))
            continue
        places += [place] * len(mine)
        items += mine
        numbers += range(len(mine))
    fields = dict.fromkeys(f for x in items for f in x)
    made = pl.DataFrame(
        {f"{name}.{f}": pl.Series([x.get(f) for x in items], dtype=pl.String) for f in fields}
    )
    made = made.with_columns(pl.Series(_ITEM, numbers, dtype=pl.Int64))
    return raw[places].hstack(made), pl.DataFrame(faults, schema=FAULTS, orient="row")


def _named(item: object) -> dict[str, object]:
    """An item's fields; those of a list are called 0, 1, ... and a bare value `value`."""
    if isinstance(item, list):
        return {str(i): x for i, x in enumerate(item)}
    return item if isinstance(item, dict) else {"value": item}


def _where(
    conditions: dict[str, tuple[str, ...]] | object, columns: dict[str, pl.DataType], where: str
) -> pl.Expr:
    assert isinstance(conditions, dict)
    met = pl.lit(True)
    for name, allowed in conditions.items():
        if name not in columns:
            raise values.missing(name, list(columns), where)
        met = met & pl.col(name).cast(pl.String).fill_null("").is_in(allowed)
    return met


def _rows(
    raw: pl.DataFrame,
    m: RowMap,
    kind: FileKind,
    columns: dict[str, pl.DataType],
    names: dict[str, str],
    now: datetime,
    where: str,
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Rows of one table (its columns, known_at, known_assumed, deleted, record) and the faults found."""
    table = m.table
    found: dict[str, values.Value] = {}
    for name, column in table.columns.items():
        if name in m.columns:
            found[name] = values.canonical(column, m.columns[name], kind, columns, names, where)
    extra = {"known_at": _KNOWN, "deleted": _DELETED}
    for name, column in extra.items():
        if name in m.columns:
            found[name] = values.canonical(column, m.columns[name], kind, columns, names, where)
    wide = _signal_columns(m.signals, columns, where) if m.signals else {}
    raw = raw.with_columns(
        **{f"={n}": v.expr for n, v in found.items()},
        **{f"~{n}": e for n, (e, _) in _signal_values(m.signals, wide, columns, kind, where).items()},
        **({"_group": pl.col(m.last_of).cast(pl.String)} if m.last_of else {}),
    )
    faults = _faults(raw, m, found, wide, columns, kind, now)
    keep = [
        pl.col(f"={n}").alias(n) if n in found else pl.lit(None, c.dtype).alias(n)
        for n, c in table.columns.items()
    ]
    group = ["_group"] if m.last_of else []
    rows = raw.select(*keep, *_known(m, table), *group, "record", *(f"~{n}" for n in wide))
    return (_unpivot(rows, m, table, wide) if wide else rows.drop(f"~{n}" for n in wide)), faults


def _known(m: RowMap, table: type[Table]) -> list[pl.Expr]:
    assumed = "known_at" not in m.columns
    delay = m.known_after or timedelta(0)
    at = pl.col(f"={table.at}")
    known = (at + delay) if assumed else pl.coalesce(pl.col("=known_at"), at + delay)
    deleted = pl.col("=deleted").fill_null(False) if "deleted" in m.columns else pl.lit(False)
    stated = pl.lit(True) if assumed else pl.col("=known_at").is_null()
    return [known.alias("known_at"), stated.alias("known_assumed"), deleted.alias("deleted")]


def _faults(
    raw: pl.DataFrame,
    m: RowMap,
    found: dict[str, values.Value],
    wide: dict[str, str],
    columns: dict[str, pl.DataType],
    kind: FileKind,
    now: datetime,
) -> list[pl.DataFrame]:
    """Every rule that a record breaks, with value and raw field in its words; cheap when all is well."""
    rules: list[tuple[pl.Expr, pl.Expr]] = []

    def broken(name: str, where: pl.Expr, message: pl.Expr) -> None:
        rules.append((where, pl.concat_str([message, *_field(m, name)])))

    for name, v in found.items():
        if v.raw is not None:
            unreadable = v.raw.is_not_null() & pl.col(f"={name}").is_null()
            said = pl.format(f"{name}: '{{}}' is not {_escaped(v.wanted)}", v.raw.cast(pl.String))
            broken(name, unreadable, said)
    for name, c in m.columns.items():
        shown = pl.col(f"={name}").cast(pl.String)
        if c.within:
            low, high = c.within
            message = pl.format(f"{name} must be within {low:g} .. {high:g}, is {{}}", shown)
            broken(name, ~pl.col(f"={name}").is_between(low, high), message)
        if c.pattern:
            message = pl.format(f"{name} must match {_escaped(c.pattern)}, is {{}}", shown)
            broken(name, ~pl.col(f"={name}").str.contains(c.pattern), message)
    for name, text, wrong in m.table.violations("="):
        if name in found:
            shown = pl.format(", is {}", pl.col(f"={name}").cast(pl.String)).fill_null("")  # it is missing
            broken(name, wrong, pl.concat_str(pl.lit(text), shown))
    latest = datetime.max.replace(tzinfo=UTC) if m.table.foresees else now + CLOCK_AHEAD
    for name in {m.table.at, "known_at"} & set(found):
        at = pl.col(f"={name}")
        clock = pl.format(
            f"{name}: {{}} is before 1990 or ahead of now: is the clock right?", at.cast(pl.String)
        )
        broken(name, (at < CLOCK_EARLIEST) | (at > latest), clock)
    for name in wide:
        source = values.blank_to_null(pl.col(name), columns[name], kind.nulls)
        bad = source.is_not_null() & (pl.col(f"~{name}").is_null() | _infinite(f"~{name}", raw))
        rules.append((bad, pl.format(f"{_escaped(name)}: '{{}}' is not a number", source.cast(pl.String))))
        possible = (
            next((r for p, r in m.signals.within.items() if fnmatchcase(name, p)), None)
            if m.signals
            else None
        )
        if possible:
            low, high = possible
            wide_of = pl.format(
                f"{_escaped(name)} must be within {low:g} .. {high:g}, is {{}}", pl.col(f"~{name}")
            )
            rules.append((~pl.col(f"~{name}").is_between(low, high), wide_of))
    if not rules or raw.is_empty():
        return []
    broken_any = raw.select(pl.any_horizontal(b.any().fill_null(False) for b, _ in rules)).item()
    if not broken_any:
        return []
    return [
        raw.filter(where.fill_null(False)).select("record", message.alias("rule"))
        for where, message in rules
        if raw.select(where.any().fill_null(False)).item()
    ]


def _field(m: RowMap, name: str) -> list[pl.Expr]:
    """Which raw field a column comes from, for the people who mend it: ` (in serrages[2].couple_nm)`."""
    stated = m.columns.get(name)
    source = stated.source if stated else None
    if source is None or source == name:
        return []
    first, *rest = source.split(f"{m.each}.") if m.each else [source]
    parts = [pl.lit(f" (in {first}")]
    for piece in rest:
        parts += [pl.lit(f"{m.each}["), pl.col(_ITEM).cast(pl.String), pl.lit(f"].{piece}")]
    return [*parts, pl.lit(f" minus {stated.minus})" if stated and stated.minus else ")")]


def _infinite(name: str, raw: pl.DataFrame) -> pl.Expr:
    return pl.col(name).is_infinite() if raw.schema[name].is_float() else pl.lit(False)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _signal_columns(signals: Signals, columns: dict[str, pl.DataType], where: str) -> dict[str, str]:
    """Raw column -> signal name, for every raw column that is a reading."""
    found: dict[str, str] = {}
    for pattern in (*signals.take, *signals.text, *signals.integers):
        hits = [
            c
            for c in columns
            if fnmatchcase(c, pattern) and not any(fnmatchcase(c, x) for x in signals.leave)
        ]
        if not hits:
            raise values.missing(pattern, list(columns), f"{where}.signals")
        found |= {c: signals.names.get(c, c) for c in hits}
    for name in signals.names:
        if name not in columns:
            raise values.missing(name, list(columns), f"{where}.signals.names")
    return found


def _signal_values(
    signals: Signals | None, wide: dict[str, str], columns: dict[str, pl.DataType], kind: FileKind, where: str
) -> dict[str, tuple[pl.Expr, pl.DataType]]:
    """Raw column -> its value as an expression, and the type it has."""
    found: dict[str, tuple[pl.Expr, pl.DataType]] = {}
    for name in wide:
        assert signals is not None
        raw = values.blank_to_null(pl.col(name), columns[name], kind.nulls)
        if any(fnmatchcase(name, p) for p in signals.text):
            found[name] = raw.cast(pl.String), pl.String()
        elif any(fnmatchcase(name, p) for p in signals.integers):
            found[name] = raw.cast(pl.Int64, strict=False), pl.Int64()
        else:
            value = values.number(raw, columns[name], kind.decimal)
            unit = next((u for p, u in signals.units.items() if fnmatchcase(name, p)), None)
            if unit:
                scale, offset = values.factor(*unit, f"{where}.signals.units")
                value = value * scale + offset if (scale, offset) != (1.0, 0.0) else value
            found[name] = value, pl.Float64()
    return found


def _unpivot(rows: pl.DataFrame, m: RowMap, table: type[Table], wide: dict[str, str]) -> pl.DataFrame:
    """One row a reading: the wide columns under the table's series column, empty ones left out."""
    series = table.packs[-1]
    assert m.signals is not None
    shared = [
        c for c in rows.columns if not c.startswith("~") and c not in (series, "value", "text", "integer")
    ]
    parts: list[pl.DataFrame] = []
    for target, dtype in (("value", pl.Float64), ("text", pl.String), ("integer", pl.Int64)):
        chosen = [n for n in wide if rows.schema[f"~{n}"] == dtype]
        if not chosen:
            continue
        names = pl.DataFrame({"_raw": [f"~{n}" for n in chosen], series: [wide[n] for n in chosen]})
        long = rows.select(*shared, *(f"~{n}" for n in chosen)).unpivot(
            index=shared, on=[f"~{n}" for n in chosen], variable_name="_raw", value_name=target
        )
        long = long.filter(pl.col(target).is_not_null()).with_columns(
            pl.col("_raw").replace_strict(names["_raw"], names[series]).alias(series)
        )
        parts.append(long.drop("_raw"))
    filled = pl.concat(parts, how="diagonal") if parts else rows.clear()
    absent = [pl.lit(None, d).alias(n) for n, d in table.dtypes().items() if n not in filled.columns]
    group = ["_group"] if m.last_of else []
    return filled.with_columns(absent).select(
        *table.columns, "known_at", "known_assumed", "deleted", *group, "record"
    )
