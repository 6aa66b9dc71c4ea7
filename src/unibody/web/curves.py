"""Draws what only the loop has: a case's small picture, what coverage costs and risks, and a car's life as a lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from unibody.loop.pictures import Picture
from unibody.web.drawing import EM, SIZE, Dot, Drawing, Line, Shape, Text, _ticks, draw, fitted, number

LANES = (("life", "built, sold"), ("code", "codes"), ("visit", "visits"), ("complaint", "complaints"))
STEPS_DAYS = (1, 2, 7, 14, 30, 61, 91, 182, 365, 730, 1826)


def small(picture: Picture, width: float, rows: int) -> Drawing:
    """A picture with its cause's groups, then those with most failures: `rows` at most; over an order, as it is."""
    if picture.kind != "values":
        return draw(picture, width)
    inside = [g for g in picture.groups if g.inside][:rows]
    others = [g for g in picture.groups if not g.inside and (g.rate is not None or g.failed)]
    kept = {id(g) for g in (*inside, *others[: max(0, rows - len(inside))])}
    return draw(replace(picture, groups=tuple(g for g in picture.groups if id(g) in kept)), width)


def curve(
    choices: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any], field: str, says: str, width: float
) -> Drawing:
    """One figure of each choice against how many of the affected it covers; the one chosen is filled."""
    points = [(float(c["covered_probability"]), float(c[field])) for c in choices if c.get(field) is not None]
    height, top = 168.0, max([y for _, y in points] or [1.0]) * 1.12 or 1.0
    left = 8.0 + max(len(number(t)) for t in _ticks(top, 3)) * SIZE * EM
    right, bottom, upper = width - 12, height - 34, 26.0
    least = min([x for x, _ in points] or [0.0])
    begin = max(0.0, min(0.9, int(least * 10) / 10))

    def across(x: float) -> float:
        return left + (x - begin) / max(1.0 - begin, 1e-9) * (right - left)

    def up(y: float) -> float:
        return bottom - y / top * (bottom - upper)

    shapes: list[Shape] = [Text(0, 12, fitted(says, width), "muted")]
    for y in _ticks(top, 3):
        shapes += [
            Line(left, up(y), right, up(y), "line"),
            Text(left - 6, up(y) + 4, number(y), "muted", "end"),
        ]
    ticks = [begin + (1 - begin) * i / 2 for i in range(3)]
    shapes += [
        Text(across(x), bottom + 16, f"{100 * x:.0f}\u00a0%", "muted", "middle" if x < 1 else "end")
        for x in ticks
    ]
    shapes.append(Text(right, bottom + 31, "of the affected covered", "muted", "end"))
    ordered = sorted(points)
    for (x1, y1), (x2, y2) in pairwise(ordered):
        shapes.append(Line(across(x1), up(y1), across(x2), up(y2), "muted", 2))
    here = (float(chosen["covered_probability"]), float(chosen[field] or 0.0))
    for x, y in ordered:
        shapes.append(Dot(across(x), up(y), 4.0, "muted", False))
    if chosen.get(field) is not None:
        shapes.append(Dot(across(here[0]), up(here[1]), 5.5, "accent", True))
    return Drawing(width, height, tuple(shapes))


def lane(events: Sequence[Mapping[str, Any]], width: float) -> Drawing:
    """A car's life from left to right: one row a kind of event, a dot an event."""
    times = [e["at"] for e in events if isinstance(e["at"], datetime)]
    rows = [(key, name) for key, name in LANES if any(e["lane"] == key for e in events)]
    left, right, row = 92.0, width - 12, 28.0
    bottom = 8 + row * len(rows)
    if not times:
        return Drawing(width, bottom, ())
    first, last = min(times), max(times)
    whole = max((last - first).total_seconds(), 86_400.0)

    def across(at: datetime) -> float:
        return left + 6 + (at - first).total_seconds() / whole * (right - left - 12)

    shapes: list[Shape] = []
    most = max(2, int((right - left) / 110))
    days = next((d for d in STEPS_DAYS if whole / 86_400 / d <= most), STEPS_DAYS[-1])
    at = first.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for _ in range(60):
        if at > last:
            break
        label = f"{at.day} {at:%b %Y}"
        if across(at) + len(label) * SIZE * EM < right + 8:
            shapes += [
                Line(across(at), 4, across(at), bottom, "line"),
                Text(across(at), bottom + 16, label, "muted"),
            ]
        at += timedelta(days=days)
    for i, (key, name) in enumerate(rows):
        y = 8 + row * (i + 0.5)
        shapes += [Text(0, y + 4, name, "muted"), Line(left, y, right, y, "line")]
        for e in events:
            if e["lane"] == key:
                shapes.append(
                    Dot(across(e["at"]), y, 5.0, "muted" if key == "life" else "accent", key != "complaint")
                )
    return Drawing(width, bottom + 22, tuple(shapes))
