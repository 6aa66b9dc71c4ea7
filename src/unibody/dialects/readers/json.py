"""JSON: one document that holds records, or one object a line; every value comes as text, numbers digit by digit.

Options: records (where the records are: "positions[*].stocks[*]" walks lists, "*" walks an object's values and gives
the name as column `key`; "" for the document itself), columns (dotted columns that are always there, empty where no
record has them), lines (true: one document a line; the reader `jsonl` sets it), member (of a .zip).

A record's columns are its fields: `quantity.value` for nested objects, JSON text for lists, `0`, `1`, ... where the
record is a list, `value` where it is a bare value; `parent.x` is field x of what encloses it, `parent.parent.x` of
what encloses that.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from unibody.dialects.readers import BROKEN, Batch, Limits, only, opened, still_written
from unibody.dialects.readers.lines import blocks, shown
from unibody.errors import FormatError, SetupError, nearest

_OPTIONS: dict[str, Any] = {"records": "", "columns": [], "lines": False, "member": None}
_DEPTH_MAX = 64
_DOCUMENT_MAX = 500_000_000  # bytes; a document is in memory as a whole

Fields = dict[str, str | None]


class Number(str):
    """A number as its digits stand in the file: 1.10 stays 1.10, and no integer is too long."""


@dataclass(frozen=True)
class Wrong:
    """A record that could not be read: its raw text, and what would have been right."""

    raw: str
    rule: str


@dataclass
class Records:
    """Records collected, each with its number."""

    number: int = 0
    rows: list[tuple[int, Fields]] = field(default_factory=list)
    broken: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, record: Fields | Wrong) -> None:
        """Number the next record."""
        if isinstance(record, Wrong):
            self.broken.append((self.number, shown(record.raw), record.rule))
        else:
            self.rows.append((self.number, record))
        self.number += 1


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Records of a JSON document or of JSON lines.

    Raises SetupError where an option is wrong, FormatError where the document is not JSON, nests too deeply, or has
    nothing where `records` says.
    """
    o = only(options, _OPTIONS, str(path))
    steps = parsed_path(o["records"], str(path))
    if o["lines"]:
        yield from _lines(path, o, steps, start, limits)
        return
    found = Records()
    for record in walk(document(path, o["member"], limits), steps, str(path)):
        found.add(record)
    yield from batches(found, o["columns"], start, limits)


def _lines(path: Path, o: Mapping[str, Any], steps: list[str], start: int, limits: Limits) -> Iterator[Batch]:
    found = Records()
    for part in blocks(
        opened(path, limits, o["member"]), str(path), limits.batch_rows, still_written(path, limits)
    ):
        for line in part.lines:
            if not steps and found.number < start:
                found.number += 1  # a line is a record: no need to look into it
                continue
            try:
                records: list[Fields | Wrong] = list(walk(loads(line), steps, "line"))
            except ValueError as e:
                records = [Wrong(shown(line), f"should be one JSON object: {e}")]
            except FormatError as e:
                records = [Wrong(shown(line), str(e))]
            for record in records:
                found.add(record)
        if found.rows or found.broken or part.last:
            yield Batch(
                framed([r for r in found.rows if r[0] >= start], o["columns"]),
                pl.DataFrame([b for b in found.broken if b[0] >= start], schema=BROKEN, orient="row"),
                part.unfinished,
            )
        found = Records(found.number)
        if part.fault:
            raise part.fault


def batches(found: Records, columns: list[str], start: int, limits: Limits) -> Iterator[Batch]:
    """The records of one document from `start` on, all with the same columns."""
    every = list(dict.fromkeys([*columns, *(name for _, r in found.rows for name in r)]))
    for low in range(start, max(found.number, start + 1), limits.batch_rows):
        span = range(low, low + limits.batch_rows)
        mine = found.rows[bisect_left(found.rows, (low,)) : bisect_left(found.rows, (span.stop,))]
        broken = [b for b in found.broken if b[0] in span]
        yield Batch(framed(mine, every), pl.DataFrame(broken, schema=BROKEN, orient="row"))


def framed(rows: list[tuple[int, Fields]], columns: list[str]) -> pl.DataFrame:
    """Records as text columns with their numbers; a field named record is given as `record_`."""
    every = list(dict.fromkeys([*columns, *(name for _, r in rows for name in r)]))
    data = {
        ("record_" if n == "record" else n): pl.Series([r.get(n) for _, r in rows], dtype=pl.String)
        for n in every
    }
    return pl.DataFrame({**data, "record": pl.Series([n for n, _ in rows], dtype=pl.Int64)})


def document(path: Path, member: str | None, limits: Limits) -> Any:
    """The whole document; FormatError where it is too large or no JSON."""
    most = min(_DOCUMENT_MAX, limits.bytes_max)
    data = opened(path, limits, member).read(most + 1)
    if len(data) > most:
        raise FormatError(
            f"{path}: is larger than {most:,} bytes; write one object a line and use the reader jsonl"
        )
    try:
        return loads(data)
    except ValueError as e:
        hint = " (is it still being written?)" if still_written(path, limits) else ""
        raise FormatError(f"{path}: is no JSON document{hint}: {e}") from e


def loads(data: bytes) -> Any:
    """JSON with its numbers as their digits; ValueError where it is none, or nests too deeply.

    >>> loads(b'{"a": 12345678901234567890.10}')
    {'a': '12345678901234567890.10'}
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ValueError(f"is not UTF-8 text: {e}") from e
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_constant)
    except RecursionError:
        raise ValueError(f"nests deeper than {_DEPTH_MAX} levels") from None


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON; nothing is written as null")


def dumps(value: Any, depth: int = 0) -> str:
    """JSON text of what `loads` gave: numbers with the same digits."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, (dict, list)) and depth > _DEPTH_MAX:
        raise ValueError(f"nests deeper than {_DEPTH_MAX} levels")
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(
                f"{json.dumps(k, ensure_ascii=False)}: {dumps(v, depth + 1)}" for k, v in value.items()
            )
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(dumps(v, depth + 1) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def parsed_path(text: str, where: str) -> list[str]:
    """`a.b[*].c` as its steps: field names, "*" for every value of an object, "[*]" for every item of a list."""
    if not re.fullmatch(r"(\[\*\]|(^|(?<=.)\.)[^.\[\]]+)*", text):
        raise SetupError(
            f"{where}: records = {text!r} should be fields and lists, e.g. positions[*].stocks[*]"
        )
    return [s for s in re.split(r"(\[\*\])|\.", text) if s]


def walk(value: Any, steps: list[str], where: str) -> Iterator[Fields | Wrong]:
    """The records at `steps`, each with what encloses it; FormatError where no part of the document has them."""
    missed: list[str] = []
    count = 0
    for record in walked(value, steps, missed):
        count += 1
        yield record
    if not count and missed:
        raise FormatError(f"{where}: {missed[0]}")


def walked(value: Any, steps: list[str], missed: list[str]) -> Iterator[Fields | Wrong]:
    """The records at `steps`; what has no such records is told in `missed`: it may be optional."""
    return _walk(value, steps, _Place(value), missed)


@dataclass(frozen=True)
class _Place:
    """Where a walk is: the object that encloses it, the fields passed since, what encloses that, names of values."""

    owner: Any
    inside: tuple[str, ...] = ()
    above: tuple[Fields, ...] = ()  # innermost first
    keys: tuple[str, ...] = ()
    text: str = ""

    def enclosing(self) -> tuple[Fields, ...]:
        """The fields of what encloses the values walked next, without those values."""
        if not self.inside or not isinstance(self.owner, dict):
            return self.above
        try:
            return (flat(self.owner, self.inside), *self.above)
        except ValueError as e:
            raise FormatError(f"{self.text or 'the document'}: {e}") from e


def _walk(value: Any, steps: list[str], place: _Place, missed: list[str]) -> Iterator[Fields | Wrong]:
    if not steps:
        yield _record(value, place)
        return
    step, rest = steps[0], steps[1:]
    here = place.text or "the document"
    if step == "[*]" and isinstance(value, list):
        above = place.enclosing()
        for item in value:
            yield from _walk(item, rest, _Place(item, (), above, place.keys, f"{place.text}[*]"), missed)
    elif step == "*" and isinstance(value, dict):
        above, text = place.enclosing(), f"{place.text}.*".lstrip(".")
        for key, item in value.items():
            yield from _walk(item, rest, _Place(item, (), above, (key, *place.keys), text), missed)
    elif step not in ("*", "[*]") and isinstance(value, dict):
        if step in value:
            text = f"{place.text}.{step}".lstrip(".")
            inner = _Place(place.owner, (*place.inside, step), place.above, place.keys, text)
            yield from _walk(value[step], rest, inner, missed)
        else:
            missed.append(f"{here} should have {step!r}; {nearest(step, value)}")
    elif value is None:
        missed.append(f"{here} is null and should hold {step}")
    else:
        should = "a list" if step == "[*]" else "an object" if step == "*" else f"an object that has {step!r}"
        missed.append(f"{here} should be {should}")
        if place.text:  # the document itself is the file's fault, not a record's
            yield Wrong(shown(dumps(value)), f"{here} should be {should}")


def _record(value: Any, place: _Place) -> Fields | Wrong:
    try:
        if isinstance(value, list):
            record = flat({str(i): v for i, v in enumerate(value)})
        else:
            record = flat(value if isinstance(value, dict) else {"value": value})
        more: Fields = {"parent." * i + "key": k for i, k in enumerate(place.keys)}
        for i, fields in enumerate(place.enclosing(), 1):
            more |= {"parent." * i + n: v for n, v in fields.items()}
        for name, text in more.items():
            if name in record:
                raise ValueError(f"names {name!r} twice")
            record[name] = text
        "".join([*record, *(v for v in record.values() if v)]).encode()
    except UnicodeEncodeError as e:
        return Wrong(shown(json.dumps(value)), f"has half a character: {e.reason}")
    except (ValueError, RecursionError) as e:
        return Wrong(shown(json.dumps(value)) if isinstance(e, ValueError) else "", str(e))
    return record


def flat(value: dict[str, Any], without: tuple[str, ...] = ()) -> Fields:
    """The fields of an object as dotted columns, lists as JSON text; ValueError where two have one name.

    >>> flat({"id": 1, "quantity": {"value": "2"}, "sites": ["a"]})
    {'id': '1', 'quantity.value': '2', 'sites': '["a"]'}
    """
    found: Fields = {}
    _flatten(value, "", without, found, 0)
    return found


def _flatten(value: dict[str, Any], prefix: str, without: tuple[str, ...], found: Fields, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise ValueError(f"nests deeper than {_DEPTH_MAX} levels")
    for key, inner in value.items():
        name = prefix + key
        if without and key == without[0]:
            if len(without) > 1 and isinstance(inner, dict):
                _flatten(inner, name + ".", without[1:], found, depth + 1)
            continue
        if isinstance(inner, dict):
            _flatten(inner, name + ".", (), found, depth + 1)
            continue
        if name in found:
            raise ValueError(f"names {name!r} twice")
        if inner is None or isinstance(inner, str):
            found[name] = inner
        elif isinstance(inner, bool):
            found[name] = "true" if inner else "false"
        else:
            found[name] = dumps(inner)
