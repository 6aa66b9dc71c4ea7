"""How one system writes its records: column names, delimiter, decimal sign, times, words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Record = dict[str, Any]


class Word(str):
    """A value out of a fixed list, which each system writes in its own language."""

    __slots__ = ()


@dataclass(frozen=True)
class Shape:
    """The shape of one system's files; `columns` gives heading by field, for each kind of record."""

    encoding: str
    columns: dict[str, dict[str, str]]
    form: str = "csv"  # or "jsonl": one JSON object a line
    delimiter: str = ","
    decimal: str = "."
    time: str = "iso"  # or "epoch_ms", or a strftime pattern
    zone: str = "UTC"
    missing: str = ""
    words: dict[str, str] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)  # what is written = value * factor + offset
    offsets: dict[str, float] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The file name's ending."""
        return ".jsonl" if self.form == "jsonl" else ".csv"

    def header(self, kind: str) -> bytes:
        """The first line of a file of this kind; JSON lines have none."""
        if self.form == "jsonl":
            return b""
        return self._csv([list(self.columns[kind].values())])

    def lines(self, kind: str, records: Sequence[Record]) -> bytes:
        """The records as this system writes them, one a line."""
        columns = self.columns[kind]
        if self.form == "jsonl":
            rows = (self.names(kind, record) for record in records)
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return text.encode(self.encoding)
        return self._csv([[self._text(name, record.get(name)) for name in columns] for record in records])

    def names(self, kind: str, record: Record) -> Record:
        """The record under this system's own names, with JSON values."""
        return {heading: self._value(name, record.get(name)) for name, heading in self.columns[kind].items()}

    def _csv(self, rows: list[list[str]]) -> bytes:
        page = io.StringIO()
        csv.writer(page, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        return page.getvalue().encode(self.encoding)

    def _text(self, name: str, value: Any) -> str:
        value = self._value(name, value)
        if value is None:
            return self.missing
        if isinstance(value, bool):
            return self.words["yes" if value else "no"]
        if isinstance(value, float):
            return str(value).replace(".", self.decimal)
        return str(value)

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, float):
            if name in self.factors:
                value = round(value * self.factors[name] + self.offsets.get(name, 0.0), 2)
            return value
        if isinstance(value, datetime):
            return _moment(value, self.time, self.zone)
        if isinstance(value, Word):
            return self.words.get(value, str(value))
        return value


@lru_cache(maxsize=100_000)
def _moment(value: datetime, pattern: str, zone: str) -> str | int:
    """A UTC instant as a system writes it: a local time, an ISO time with offset, or milliseconds."""
    if pattern == "epoch_ms":
        return round((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    local = value.astimezone(ZoneInfo(zone))
    return local.isoformat(timespec="seconds") if pattern == "iso" else local.strftime(pattern)
