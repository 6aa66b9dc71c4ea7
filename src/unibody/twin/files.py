"""The raw files as they are written: appended to as days pass, dirtied at stated rates, counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from unibody.twin.shapes import Record, Shape
from unibody.twin.world import World

Mark = tuple[int, str]  # place of a dirtied record among those written, kind of dirt


@dataclass
class Files:
    """Where the twin writes. Holds what the key has to say about dirt; no file stays open."""

    root: Path
    world: World
    lines: dict[str, int] = field(default_factory=dict)
    size: int = 0  # bytes
    dirt: dict[str, dict[str, list[int | str]]] = field(default_factory=dict)
    streams: dict[str, tuple[Shape, str]] = field(default_factory=dict)  # for the folder's README
    _late: dict[str, list[Record]] = field(default_factory=dict)

    def table(
        self, stream: str, stamp: str, shape: Shape, kind: str, records: Sequence[Record], last: bool = True
    ) -> None:
        """Append records to the stream's file of this stamp (a day or a month).

        `last` says that the stream has no later file, so no record may be held back for one.
        """
        path = _path(stream, stamp, shape.suffix)
        self.streams.setdefault(stream, (shape, kind))
        if path not in self.lines:
            self.append(path, shape.header(kind))
        written, marks = self.spoil(stream, kind, records, last)
        before = self.lines[path]
        for place, what in marks:
            self.note(path, what, before + place + 1)
        self.append(path, shape.lines(kind, written))

    def append(self, path: str, data: bytes) -> None:
        """Append bytes to a file, made with its folders if need be."""
        target = self.root / path
        if path not in self.lines:
            target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(data)
        self.lines[path] = self.lines.get(path, 0) + data.count(b"\n")
        self.size += len(data)

    def document(self, path: str, content: Any) -> None:
        """Write one JSON document."""
        self.append(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())

    def note(self, path: str, what: str, place: int | str) -> None:
        """Put one dirtied record into the key: line number from 1, or a JSON pointer."""
        self.dirt.setdefault(path, {}).setdefault(what, []).append(place)

    def spoil(
        self, stream: str, kind: str, records: Sequence[Record], last: bool
    ) -> tuple[list[Record], list[Mark]]:
        """The records as they come out of a real system, and which of them are dirty.

        The last record of each call stays clean, so that cutting a file's last line hides no other dirt.
        """
        kinds = self.world.parameters["dirt"]["kinds"].get(kind, {})
        chances = self.world.chances("dirt", stream, len(self.lines), self.size)
        arrived = self._late.pop(stream, [])
        counts = {what: int(len(records) * rule["rate"] + chances.random()) for what, rule in kinds.items()}
        free = chances.permutation(max(len(records) - 1, 0)).tolist()
        chosen = {free.pop(): what for what, count in counts.items() for _ in range(min(count, len(free)))}
        written, marks = list(arrived), [(place, "late") for place in range(len(arrived))]
        for place, record in enumerate(records):
            what = chosen.get(place)
            if what == "late":
                if not last:
                    self._late.setdefault(stream, []).append(record)
                    continue
            elif what == "duplicate":
                written.append(record)
                marks.append((len(written), what))
            elif what is not None:
                record = _spoilt(record, kinds[what])
                marks.append((len(written), what))
            written.append(record)
        return written, marks

    def truncate(self, stream: str) -> str | None:
        """Cut the last line of the stream's last file in half, as a full disk does; returns the file."""
        paths = sorted(path for path in self.lines if path.startswith(stream + "/"))
        if not paths:
            return None
        target = self.root / paths[-1]
        data = target.read_bytes()
        begins = data.rstrip(b"\n").rfind(b"\n") + 1
        keep = begins + (len(data) - begins) // 2
        target.write_bytes(data[:keep])
        self.size -= len(data) - keep
        self.note(paths[-1], "truncated", self.lines[paths[-1]])
        return paths[-1]


def month(moment: datetime) -> str:
    """The month a record is filed under, as in `2026-06`."""
    return moment.strftime("%Y-%m")


def by_month(records: Sequence[Record], key: str) -> dict[str, list[Record]]:
    """Records by the month of one of their times, months in order."""
    months: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record[key]):
        months.setdefault(month(record[key]), []).append(record)
    return months


def _path(stream: str, stamp: str, suffix: str) -> str:
    return f"{stream}/{'_'.join(stream.split('/')[1:])}_{stamp}{suffix}"


def _spoilt(record: Record, rule: dict[str, Any]) -> Record:
    name = next(name for name in rule["field"] if name in record)
    if "epoch" in rule:
        return {**record, name: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=rule["epoch"])}
    return {**record, name: rule.get("number", rule.get("word"))}
