"""Raw values to canonical ones, whole columns at a time: numbers, units, codes, times, truth values.

Every function gives two expressions: the value, and where the raw value could not be read. Nothing is guessed: a
value that does not fit becomes a fault of its record, which is quarantined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from unibody.dialects.dialect import ColumnMap, FileKind
from unibody.errors import SetupError
from unibody.tables import Column, Instant

ISO = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_EPOCH = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_TRUE = ("true", "1", "yes", "y", "t", "1.0")
_FALSE = ("false", "0", "no", "n", "f", "0.0")


@dataclass(frozen=True)
class Value:
    """A canonical value as an expression, and what the raw value was, to see where it could not be read."""

    expr: pl.Expr
    raw: pl.Expr | None  # None: nothing can go wrong
    wanted: str


def template(text: str, columns: dict[str, pl.DataType], names: dict[str, str], where: str) -> pl.Expr:
    """`{set}-{unit}` as an expression over raw columns, names captured from the file name, and {record}, {line}."""
    parts: list[pl.Expr] = []
    for i, piece in enumerate(re.split(r"\{([^{}]+)\}", text)):
        if i % 2 == 0:
            parts += [pl.lit(piece)] if piece else []
        elif piece.startswith("file.") and piece[5:] in names:
            parts.append(pl.lit(names[piece[5:]]))
        elif piece == "line":
            parts.append((pl.col("record") + 1).cast(pl.String))
        elif piece in columns or piece == "record":
            parts.append(pl.col(piece).cast(pl.String))
        else:
            raise missing(piece, [*columns, *(f"file.{n}" for n in names), "record", "line"], where)
    return pl.concat_str(parts)


def missing(name: str, present: list[str], where: str) -> SetupError:
    """The error for a raw column that a dialect names and the data does not have."""
    from unibody.errors import nearest

    return SetupError(f"{where}: the data has no column {name!r}; {nearest(name, present)}")


@cache
def factor(raw_unit: str, unit: str, where: str) -> tuple[float, float]:
    """Scale and offset that turn a raw unit into ours; "0.1 s" counts tenths of a second.

    >>> scale, offset = factor("degF", "degC", "here")
    >>> round(212 * scale + offset, 6)
    100.0
    >>> factor("0.1 s", "s", "here")
    (0.1, 0.0)
    """
    import pint

    registry: Any = _registry()
    try:
        scale, unit_alone = _counted(raw_unit)
        zero, one = (registry.Quantity(x * scale, unit_alone).to(unit).magnitude for x in (0.0, 1.0))
    except (pint.PintError, AttributeError, ValueError, TypeError) as e:
        raise SetupError(f"{where}: unit {raw_unit!r} does not become {unit!r}: {e}") from e
    return one - zero, zero


def _counted(raw_unit: str) -> tuple[float, str]:
    count, _, unit = raw_unit.partition(" ")
    return (float(count), unit) if re.fullmatch(r"\d+(\.\d+)?", count) else (1.0, raw_unit)


@cache
def _registry() -> object:
    import pint

    registry = pint.UnitRegistry(cache_folder=None, autoconvert_offset_to_baseunit=True)
    registry.define("EUR = [money]")
    return registry


def number(raw: pl.Expr, dtype: pl.DataType, decimal: str) -> pl.Expr:
    """A raw column as float; thousands marks are not guessed."""
    if dtype == pl.String:
        text = raw.str.strip_chars()
        if decimal != ".":
            # "1.234,5" is not read as 1.2345: with a decimal comma, a point makes the value unreadable
            text = (
                pl.when(text.str.contains(".", literal=True))
                .then(None)
                .otherwise(text.str.replace(decimal, ".", literal=True))
            )
        return text.cast(pl.Float64, strict=False)
    if dtype == pl.Boolean:
        return raw.cast(pl.Float64)
    return raw.cast(pl.Float64, strict=False)


def instant(raw: pl.Expr, dtype: pl.DataType, m: ColumnMap, kind: FileKind, where: str) -> pl.Expr:
    """A raw column as UTC instant, by format, zone and epoch."""
    zone = m.zone or kind.zone
    if zone:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise SetupError(f"{where}: zone {zone!r} is unknown; write e.g. Europe/Rome or UTC") from None
    if m.since is not None:
        scale, _ = factor(m.unit or "s", "s", where)
        start = _start(m.since, where)
        seconds = number(raw, dtype, m.decimal or kind.decimal)
        return pl.lit(start, Instant) + pl.duration(
            microseconds=(seconds * scale * 1e6).round().cast(pl.Int64, strict=False)
        )
    if isinstance(m.format, str) and m.format in _EPOCH:
        micro = (
            _whole_micro(raw, _EPOCH[m.format])
            if dtype.is_integer()
            else _decimal_micro(raw, dtype, _EPOCH[m.format], m.decimal or kind.decimal)
        )
        return micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if m.format == "excel":
        days = number(raw, dtype, m.decimal or kind.decimal)
        naive = pl.lit(datetime(1899, 12, 30)) + pl.duration(
            microseconds=(days * 86_400e6).round().cast(pl.Int64, strict=False)
        )
        return _zoned(naive.cast(pl.Datetime("us")), zone, m.ambiguous)
    if isinstance(dtype, pl.Datetime):
        naive = raw.cast(pl.Datetime("us", dtype.time_zone))
        return naive.dt.convert_time_zone("UTC") if dtype.time_zone else _zoned(naive, zone, m.ambiguous)
    if dtype == pl.Date:
        return _zoned(raw.cast(pl.Datetime("us")), zone, m.ambiguous)
    text = raw.cast(pl.String).str.strip_chars()
    formats = ISO if m.format in (None, "iso") else (m.format,) if isinstance(m.format, str) else m.format
    assert formats is not None
    stated = [f for f in formats if "%z" in f or "%:z" in f or "%#z" in f or "%+" in f]
    found = [
        _zoned(text.str.to_datetime(f, time_unit="us", strict=False), zone, m.ambiguous)
        for f in formats
        if f not in stated
    ]
    found += [text.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False) for f in stated]
    if formats is ISO:
        offset = text.str.contains(r"(Z|[+-]\d\d:?\d\d)$")
        with_offset = pl.when(offset).then(text.str.replace(" ", "T", literal=True))
        found += [with_offset.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)]
        found += [
            with_offset.str.to_datetime(
                "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
            )
        ]
    return pl.coalesce(found)


def _decimal_micro(raw: pl.Expr, dtype: pl.DataType, scale: int, decimal: str) -> pl.Expr:
    # a float holds 1719817200.123456 to a quarter of a microsecond: rounding gives the digits back
    return (number(raw, dtype, decimal) * scale).round().cast(pl.Int64, strict=False)


def _whole_micro(raw: pl.Expr, scale: int) -> pl.Expr:
    # a product too large for 64 bits would wrap round to a date that looks right
    whole = raw.cast(pl.Int64, strict=False)
    most = (1 << 63) // scale - 1
    return pl.when(whole.is_between(-most, most)).then(whole * scale)


def _start(text: str, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(f"{where}: {text!r} should be ISO 8601, e.g. 2020-01-01T00:00:00Z") from None
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)


def _zoned(naive: pl.Expr, zone: str | None, ambiguous: str) -> pl.Expr:
    # an hour shown twice would give two facts one key, so it is refused unless the dialect says which it is
    return naive.dt.replace_time_zone(
        zone or "UTC",
        ambiguous="null" if ambiguous == "refuse" else ambiguous,  # type: ignore[arg-type]
        non_existent="null",
    ).dt.convert_time_zone("UTC")


def blank_to_null(raw: pl.Expr, dtype: pl.DataType, nulls: tuple[str, ...]) -> pl.Expr:
    """What the source writes for "nothing", as null."""
    if dtype == pl.String:
        stripped = raw.str.strip_chars()  # taken once: it is most of what bringing clean text in costs
        return pl.when(~stripped.is_in(nulls)).then(stripped)
    if dtype.is_float():
        return raw.fill_nan(None)
    return raw


def canonical(
    column: Column,
    m: ColumnMap,
    kind: FileKind,
    raw: dict[str, pl.DataType],
    names: dict[str, str],
    where: str,
) -> Value:
    """One canonical column from raw ones.

    `raw` are the raw columns with their types, `names` what the file name says. Raises SetupError where the
    dialect names a raw column that is not there.
    """
    where = f"{where}.{column.name}"
    if m.constant is not None:
        constant = pl.lit(m.constant)
        if column.dtype == Instant:
            constant = instant(constant, pl.String(), m, kind, where)
        return Value(constant.cast(column.dtype), None, "")
    assert m.source is not None
    dtype: pl.DataType = pl.String()
    if "{" in m.source:
        source = template(m.source, raw, names, where)
    elif m.source in raw:
        source, dtype = pl.col(m.source), raw[m.source]
    elif m.source in ("record", "line"):
        source, dtype = pl.col("record") + (m.source == "line"), pl.Int64()
    elif m.source.startswith("file.") and m.source[5:] in names:
        source = pl.lit(names[m.source[5:]])
    else:
        raise missing(m.source, [*raw, *(f"file.{n}" for n in names)], where)
    source = blank_to_null(source, dtype, kind.nulls)
    decimal = m.decimal or kind.decimal
    other: pl.Expr | None = None
    if m.minus is not None:
        if m.minus not in raw:
            raise missing(m.minus, list(raw), where)
        other = blank_to_null(pl.col(m.minus), raw[m.minus], kind.nulls)
        source = pl.when(other.is_not_null()).then(source)
    wanted = {
        pl.String(): "text",
        pl.Float64(): f"a number with {decimal!r} as decimal mark",
        pl.Int64(): "a whole number",
        pl.Boolean(): "true or false",
        Instant: f"a time ({m.format or 'ISO 8601'}, zone {m.zone or kind.zone or 'UTC'})",
        pl.Binary(): "bytes",
    }[column.dtype]
    if m.codes:
        shown = [*m.codes][:12] + ["..."] * (len(m.codes) > 12)
        wanted = f"one of the codes {', '.join(shown)}"
        coded = {word.strip(): ours for word, ours in m.codes.items()}
        value = (
            source.cast(pl.String)
            .str.strip_chars()
            .replace_strict(list(coded), list(coded.values()), default=None, return_dtype=column.dtype)
        )
    elif column.dtype == Instant:
        value = instant(source, dtype, m, kind, where)
    elif column.dtype == pl.Boolean and dtype == pl.Boolean:
        value = source
    elif column.dtype == pl.Boolean:
        text = source.cast(pl.String).str.to_lowercase().str.strip_chars()
        value = pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)
    elif column.dtype == pl.Float64:
        unit = m.unit
        if other is not None and m.format is not None:
            times = (
                instant(source, dtype, m, kind, where),
                instant(other, raw[str(m.minus)], m, kind, where),
            )
            value, unit = (times[0] - times[1]).dt.total_microseconds() / 1e6, "s"
            wanted = f"after {m.minus}, both times ({m.format})"
        elif other is not None:
            value = number(source, dtype, decimal) - number(other, raw[str(m.minus)], decimal)
        else:
            value = number(source, dtype, decimal)
        if unit:
            if column.unit is None:
                raise SetupError(f"{where}: has no unit, so unit = {unit!r} says nothing")
            scale, offset = factor(unit, column.unit, where)
            value = value * scale + offset if (scale, offset) != (1.0, 0.0) else value
    elif column.dtype == pl.Int64:
        as_float = number(source, dtype, decimal)
        whole = source.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
        value = pl.coalesce(
            whole, pl.when(as_float == as_float.round()).then(as_float).cast(pl.Int64, strict=False)
        )
    elif column.dtype == pl.String:
        value = source.cast(pl.String)
        if m.list:
            words = value.str.split(m.list).list.eval(pl.element().str.strip_chars())
            value = words.list.eval(pl.element().filter(pl.element() != "")).list.sort().list.join(" ")
    else:
        value = source.cast(column.dtype, strict=False)
    if m.default is not None:
        default = (
            pl.lit(_start(str(m.default), where), Instant) if column.dtype == Instant else pl.lit(m.default)
        )
        value = pl.when(source.is_null()).then(default.cast(column.dtype)).otherwise(value)
    # what is of our type already can only be missing: nothing to look for among millions of good values
    same = (
        dtype == column.dtype
        and not m.codes
        and other is None
        and dtype in (pl.String, pl.Float64, pl.Boolean)
    )
    return Value(value, None if same else source, wanted)
