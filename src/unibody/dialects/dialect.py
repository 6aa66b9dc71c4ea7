"""A dialect: how one brand, plant, supplier or system says its facts, as a TOML file states it.

    dialect          `let.brand = "jeep"` makes `{=brand}` usable in every text below
    └── files        one kind of file or stream: how to find it, which reader, how to read it
        ├── set_aside    records that are no facts, by a named rule
        └── rows         which rows of which table each record makes
            ├── columns     canonical column <- raw column, unit, codes, time format
            └── signals     many raw columns, each one reading of a series

docs/how-to/add-a-dialect.md shows one; docs/reference/dialects.md lists every key.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from unibody.errors import SetupError, nearest
from unibody.tables import TABLES, Table

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


@dataclass(frozen=True)
class ColumnMap:
    """Where one canonical column comes from, and how it is said."""

    source: str | None = None  # a raw column, or a template with {raw columns}
    constant: Any = None
    unit: str | None = None  # the raw unit, where it is not the table's
    codes: Mapping[str, Any] = field(default_factory=dict)  # raw word -> ours
    format: str | tuple[str, ...] | None = None  # strptime, "iso", "epoch_s", "epoch_ms", "epoch_us", "excel"
    zone: str | None = None  # zone of times that state none
    ambiguous: str = "refuse"  # the hour that a clock shows twice: "earliest", "latest" or "refuse"
    since: str | None = None  # a number of `unit` since this instant
    default: Any = None  # where the raw value is empty
    decimal: str | None = None
    minus: str | None = (
        None  # a raw column to take off; with `format` both are times and this is what lies between
    )
    list: str | None = None  # the mark between several words, which are kept sorted, with a blank between
    within: tuple[float, float] | None = (
        None  # what this source can say, where that is less than the table allows
    )
    pattern: str | None = None


@dataclass(frozen=True)
class Signals:
    """Raw columns that are each one reading: a wide record becomes one row a column."""

    take: tuple[str, ...]  # raw columns, or globs of them
    leave: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)  # raw column -> signal
    units: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # raw column -> (raw unit, unit to keep)
    text: tuple[str, ...] = ()  # raw columns whose values are words
    integers: tuple[str, ...] = ()
    within: Mapping[str, tuple[float, float]] = field(
        default_factory=dict
    )  # raw column -> possible, in the unit kept


@dataclass(frozen=True)
class RowMap:
    """Which rows of one table each record makes."""

    table: type[Table]
    columns: Mapping[str, ColumnMap]
    signals: Signals | None = None
    where: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # only records whose raw column is one of
    filled: tuple[str, ...] = ()  # only records in which these raw columns are not empty
    last_of: str | None = None  # only the last record of each value of this raw column
    each: str | None = (
        None  # a raw column that holds a JSON list: a row an item, its fields are `column.field`
    )
    known_after: timedelta | None = None


@dataclass(frozen=True)
class Pieces:
    """A raw column that says several things: `press/PR01/load` by "/", or a list of events by their field `type`."""

    by: str
    into: tuple[str, ...]


@dataclass(frozen=True)
class FileKind:
    """One kind of file: how to find it, how to read it, what its records make."""

    name: str
    match: tuple[str, ...]
    reader: str
    read: Mapping[str, Any]
    rows: tuple[RowMap, ...]
    set_aside: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = ()
    zone: str | None = None
    decimal: str = "."
    nulls: tuple[str, ...] = NULLS
    split: Mapping[str, Pieces] = field(default_factory=dict)  # raw column -> further raw columns made of it
    keyed: Mapping[str, Pieces] = field(
        default_factory=dict
    )  # raw column with a JSON list of objects -> the same

    def fits(self, path: PurePath) -> dict[str, str] | None:
        """The names that `match` captures from a path, or None where the path is of another kind."""
        for template in self.match:
            found = _template(template).search(path.as_posix())
            if found:
                return found.groupdict()
        return None


@dataclass(frozen=True)
class Dialect:
    """How one system says its facts."""

    name: str
    system: str  # stays the same when the dialect is mended: it is part of a source's identity
    about: str
    files: tuple[FileKind, ...]
    real: tuple[str, ...] = ()
    made_up: tuple[str, ...] = ()
    based_on: str | None = None
    path: str = ""
    version: str = ""  # hash of the TOML as resolved


@cache
def _template(text: str) -> re.Pattern[str]:
    """`train_{set}.csv` as an anchored pattern; names never cross a slash, so it cannot run away."""
    parts = re.split(r"\{(\w+)\}|(\*)", text)
    pattern = ""
    for literal, name, star in zip(parts[0::3], [*parts[1::3], None], [*parts[2::3], None], strict=True):
        pattern += re.escape(literal)
        pattern += f"(?P<{name}>[^/]+?)" if name else "[^/]*?" if star else ""
    return re.compile(rf"(?:^|/){pattern}$")


def duration(text: str, where: str) -> timedelta:
    """Read "90 s", "5 min", "2 h", "3 days".

    >>> duration("2 days", "here")
    datetime.timedelta(days=2)
    """
    number, _, unit = text.strip().partition(" ")
    seconds = {"s": 1, "min": 60, "h": 3600, "d": 86400, "day": 86400, "days": 86400, "weeks": 604800}
    try:
        return timedelta(seconds=float(number) * seconds[unit.strip()])
    except (ValueError, KeyError):
        raise SetupError(f"{where}: {text!r} is no duration; write 90 s, 5 min, 2 h or 3 days") from None


class _Part:
    """One TOML table, from which keys are taken; what is left at the end is misspelt."""

    def __init__(self, where: str, stated: Mapping[str, Any]) -> None:
        self.where, self.left, self.known = where, dict(stated), list[str]()

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        self.known.append(key)
        if key not in self.left:
            if default is ...:
                raise SetupError(f"{self.where}: has no {key}")
            return default
        value = self.left.pop(key)
        if not isinstance(value, kind):
            names = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
            raise SetupError(f"{self.where}: {key} = {value!r} should be {names}")
        return value

    def words(self, key: str, default: Any = ()) -> tuple[str, ...]:
        value = self.take(key, (str, list), list(default))
        return (value,) if isinstance(value, str) else tuple(map(str, value))

    def conditions(self, key: str) -> dict[str, tuple[str, ...]]:
        stated = self.take(key, dict, {})
        return {c: tuple(map(str, v)) if isinstance(v, list) else (str(v),) for c, v in stated.items()}

    def done(self) -> None:
        for key in self.left:
            raise SetupError(f"{self.where}: no key {key!r}; {nearest(key, self.known)}")


def _range(where: str, stated: Any) -> tuple[float, float] | None:
    if stated is None:
        return None
    if not (
        isinstance(stated, list) and len(stated) == 2 and all(isinstance(x, (int, float)) for x in stated)
    ):
        raise SetupError(f"{where} = {stated!r} should be [lowest, highest]")
    return float(stated[0]), float(stated[1])


def _column_map(where: str, stated: Any) -> ColumnMap:
    if isinstance(stated, str):
        return ColumnMap(source=stated)
    if not isinstance(stated, dict):
        return ColumnMap(constant=stated)
    part = _Part(where, stated)
    form = part.take("format", (str, list), None)
    found = ColumnMap(
        source=part.take("from", str, None),
        constant=part.take("constant", (str, int, float, bool), None),
        unit=part.take("unit", str, None),
        codes={str(k): v for k, v in part.take("codes", dict, {}).items()},
        format=tuple(form) if isinstance(form, list) else form,
        zone=part.take("zone", str, None),
        ambiguous=part.take("ambiguous", str, "refuse"),
        since=part.take("since", str, None),
        default=part.take("default", (str, int, float, bool), None),
        decimal=part.take("decimal", str, None),
        minus=part.take("minus", str, None),
        list=part.take("list", str, None),
        within=_range(f"{where}.within", part.take("within", list, None)),
        pattern=part.take("pattern", str, None),
    )
    part.done()
    if (found.source is None) == (found.constant is None):
        raise SetupError(f"{where}: needs one of from and constant")
    if found.ambiguous not in ("refuse", "earliest", "latest"):
        raise SetupError(f"{where}: ambiguous = {found.ambiguous!r} should be refuse, earliest or latest")
    return found


def _signals(where: str, stated: Mapping[str, Any]) -> Signals:
    part = _Part(where, stated)
    units = part.take("units", dict, {})
    within = part.take("within", dict, {})
    found = Signals(
        take=part.words("from"),
        leave=part.words("except"),
        names=part.take("names", dict, {}),
        units={k: (v, v) if isinstance(v, str) else (v[0], v[1]) for k, v in units.items()},
        text=part.words("text"),
        integers=part.words("integers"),
        within={k: r for k, v in within.items() if (r := _range(f"{where}.within.{k}", v))},
    )
    part.done()
    if not found.take and not found.text:
        raise SetupError(f"{where}: from should list the raw columns that are readings, e.g. from = ['s*']")
    return found


def _row_map(where: str, stated: Mapping[str, Any]) -> RowMap:
    part = _Part(where, stated)
    title = part.take("table", str)
    if title not in TABLES:
        raise SetupError(f"{where}: no table {title!r}; {nearest(title, TABLES)}")
    table = TABLES[title]
    where = f"{where} ({title})"
    columns = {}
    allowed = [*table.columns, "known_at", "deleted"]
    for name, value in part.take("columns", dict, {}).items():
        if name not in allowed:
            raise SetupError(f"{where}: no column {name!r}; {nearest(name, allowed)}")
        columns[name] = _column_map(f"{where}.{name}", value)
    signals = part.take("signals", dict, None)
    known_after = part.take("known_after", str, None)
    found = RowMap(
        table=table,
        columns=columns,
        signals=_signals(f"{where}.signals", signals) if signals is not None else None,
        where=part.conditions("where"),
        filled=part.words("filled"),
        last_of=part.take("last_of", str, None),
        each=part.take("each", str, None),
        known_after=duration(known_after, f"{where}.known_after") if known_after else None,
    )
    part.done()
    filled_by_signals = {"signal", "path", "value", "text", "integer"} if found.signals else set()
    for name, c in table.columns.items():
        if c.required and name not in columns and name not in filled_by_signals:
            raise SetupError(f"{where}: column {name} is required ({c.meaning}) and nothing fills it")
    if table.foresees and "known_at" not in columns:
        raise SetupError(f"{where}: says what will be, so it must state known_at, when that was known")
    return found


def _pieces(where: str, stated: Any) -> Pieces:
    part = _Part(where, stated if isinstance(stated, dict) else {})
    found = Pieces(by=part.take("by", str), into=part.words("into"))
    part.done()
    if not found.by or not found.into:
        raise SetupError(f"{where}: write {{ by = '/', into = ['kind', 'machine'] }}")
    return found


def _file_kind(where: str, stated: Mapping[str, Any]) -> FileKind:
    part = _Part(where, stated)
    rules = []
    for i, rule in enumerate(part.take("set_aside", list, [])):
        inner = _Part(f"{where}.set_aside[{i}]", rule)
        rules.append((inner.take("rule", str), inner.conditions("where")))
        inner.done()
    found = FileKind(
        name=part.take("name", str, "file"),
        match=part.words("match"),
        reader=part.take("reader", str),
        read=part.take("read", dict, {}),
        rows=tuple(_row_map(f"{where}.rows[{i}]", r) for i, r in enumerate(part.take("rows", list, []))),
        set_aside=tuple(rules),
        zone=part.take("zone", str, None),
        decimal=part.take("decimal", str, "."),
        nulls=part.words("null", NULLS),
        split={c: _pieces(f"{where}.split.{c}", s) for c, s in part.take("split", dict, {}).items()},
        keyed={c: _pieces(f"{where}.keyed.{c}", s) for c, s in part.take("keyed", dict, {}).items()},
    )
    part.done()
    if not found.match:
        raise SetupError(f"{where}: match should list file names, e.g. match = 'train_{{set}}.csv'")
    return found


def _merged(base: Any, own: Any) -> Any:
    """`own` over `base`: tables key by key, lists of named tables by name, anything else replaced."""
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{k: _merged(base.get(k), v) for k, v in own.items()}}
    if isinstance(base, list) and isinstance(own, list) and all(isinstance(x, dict) for x in base + own):
        by_name = dict(zip(_keys(base), base, strict=True))
        for key, x in zip(_keys(own), own, strict=True):
            by_name[key] = _merged(by_name.get(key), x)
        return list(by_name.values())
    return own


def _keys(listed: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """What each is called, and which one of that name it is: a record may make two rows of one table."""
    names = [str(x.get("name", x.get("table", x.get("rule", "")))) for x in listed]
    return [(n, names[:i].count(n)) for i, n in enumerate(names)]


def _let(value: Any, given: Mapping[str, str], where: str) -> Any:
    """`{=brand}` as what `let.brand` says, in every text of the dialect."""
    if isinstance(value, dict):
        return {k: _let(v, given, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_let(v, given, where) for v in value]
    if not isinstance(value, str):
        return value
    parts = re.split(r"\{=(\w+)\}", value)
    for i, name in enumerate(parts[1::2]):
        if name not in given:
            raise SetupError(f"{where}: {{={name}}} in {value!r}: no let.{name}; {nearest(name, given)}")
        parts[2 * i + 1] = str(given[name])
    return "".join(parts)


def load(path: Path, others: Mapping[str, Path] | None = None, depth: int = 0) -> Dialect:
    """Read one dialect; `others` are the files that `based_on` may name.

    Raises SetupError naming file, place and what would have been right.
    """
    stated = _stated(path, others or {}, depth)
    let = stated.pop("let", {})
    if not isinstance(let, dict):
        raise SetupError(f"{path}: let = {let!r} should be a table, e.g. let.brand = 'jeep'")
    stated = _let(stated, let, str(path))
    part = _Part(str(path), stated)
    kinds = part.take("files", list)
    found = Dialect(
        name=path.stem,
        system=part.take("system", str),
        about=part.take("about", str),
        files=tuple(_file_kind(f"{path}: files[{f.get('name', i)}]", f) for i, f in enumerate(kinds)),
        real=part.words("real"),
        made_up=part.words("made_up"),
        based_on=part.take("based_on", str, None),
        path=str(path),
        version=hashlib.sha256(repr(stated).encode()).hexdigest()[:12],
    )
    part.done()
    return found


def _stated(path: Path, others: Mapping[str, Path], depth: int) -> dict[str, Any]:
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise SetupError(f"{path}: not TOML: {e}") from e
    except OSError as e:
        raise SetupError(f"{path}: cannot be read: {e.strerror}") from e
    base = own.get("based_on")
    if base is None:
        return own
    if base not in others:
        raise SetupError(f"{path}: based_on = {base!r}: {nearest(str(base), others)}")
    if depth > 5:
        raise SetupError(f"{path}: based_on goes in a circle or deeper than 5")
    merged = _merged(_stated(others[base], others, depth + 1), own)
    assert isinstance(merged, dict)
    return merged


def find(folders: Iterable[Path]) -> dict[str, Dialect]:
    """All dialects below these folders, by name; a later folder's dialect replaces one of the same name."""
    every = ((folder, p) for folder in folders for p in sorted(folder.rglob("*.toml")))
    paths = {p.stem: p for folder, p in every if "writers" not in p.relative_to(folder).parts}
    return {name: load(path, paths) for name, path in sorted(paths.items())}


def which(path: PurePath, dialects: Mapping[str, Dialect]) -> tuple[Dialect, FileKind, dict[str, str]]:
    """The one dialect and kind whose match rule fits a file.

    Raises SetupError where none fits, or where two do.
    """
    fits = [
        (d, kind, names)
        for d in dialects.values()
        for kind in d.files
        if (names := kind.fits(path)) is not None
    ]
    if not fits:
        raise SetupError(f"{path}: no dialect's match rule fits this name; see docs/how-to/add-a-dialect.md")
    if len(fits) > 1:
        said = ", ".join(f"{d.name}.{k.name}" for d, k, _ in fits)
        raise SetupError(f"{path}: several dialects fit ({said}); say which with --dialect NAME")
    return fits[0]
