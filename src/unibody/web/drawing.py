"""Draws an investigation's pictures as plain shapes, which a page shows as SVG and a report prints as PDF.

The expected is grey, the cause in the accent colour with a filled dot, the others hollow; an interval is a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

from unibody.loop.pictures import Group, Picture

Colour = Literal["ink", "muted", "line", "accent", "soft", "expected", "ground"]
EM = 0.62  # of the type's size: what a letter of the sans takes on average
ROW, SIZE, TOP = 22.0, 12.0, 20.0


@dataclass(frozen=True)
class Line:
    """A line."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: Colour
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour


@dataclass(frozen=True)
class Dot:
    """A dot, filled or hollow."""

    x: float
    y: float
    radius: float
    colour: Colour
    filled: bool


@dataclass(frozen=True)
class Text:
    """One line of text."""

    x: float
    y: float  # of its base line
    text: str
    colour: Colour = "ink"
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False


Shape = Line | Box | Dot | Text


@dataclass(frozen=True)
class Drawing:
    """Shapes on a sheet; y grows downwards."""

    width: float
    height: float
    shapes: tuple[Shape, ...]


def draw(picture: Picture, width: float) -> Drawing:
    """Draw one picture so many units wide."""
    if picture.kind == "values":
        return _values(picture, width)
    return _columns(picture, width)


def fitted(text: str, width: float, size: float = SIZE) -> str:
    """Text cut to a width, in the middle, for the ends of ids tell them apart.

    >>> fitted("part.brake_hose_front.lot", 80)
    'part.….lot'
    """
    most = int(width / (size * EM))
    if len(text) <= most:
        return text
    head = max(1, most // 2)
    return f"{text[:head]}…{text[len(text) - max(1, most - head - 1) :]}"


def number(x: float) -> str:
    """A tick or a rate, shortly."""
    return f"{x:,.0f}" if abs(x) >= 100 or x == int(x) else f"{x:.3g}"


def _top(picture: Picture) -> float:
    """Where the scale ends: all dots are on it, and most intervals; long ones are cut off."""
    rates = [g.rate for g in picture.groups if g.rate is not None]
    highs = sorted(g.high for g in picture.groups if g.rate is not None)
    inside = [g.high for g in picture.groups if g.inside and g.rate is not None]
    usual = highs[int(0.75 * (len(highs) - 1))] if highs else 1.0
    most = max([*rates, picture.rate]) if rates else 1.0
    return max(most * 1.1, min(max([usual, *inside]), most * 2.5)) or 1.0


def _ticks(top: float, count: int) -> list[float]:
    raw = top / max(count, 1)
    power = 1.0
    while power * 10 <= raw:
        power *= 10
    while power > raw:
        power /= 10
    step = next((power * m for m in (1, 2, 5) if power * m >= raw), power * 10)
    return [i * step for i in range(int(top / step) + 1)]


def _values(picture: Picture, width: float) -> Drawing:
    groups = [g for g in picture.groups if g.rate is not None or g.failed]
    label = min(width * 0.36, max([len(g.label) for g in groups] or [4]) * SIZE * EM + 12)
    counts = max([len(_count(g)) for g in groups] or [4]) * SIZE * EM + 8
    left, right = label, width - counts - 8
    top = _top(picture)
    bottom = TOP + ROW * len(groups)

    def at(x: float) -> float:
        return left + min(1.0, x / top) * (right - left)

    shapes: list[Shape] = [
        Text(left, 12, picture.per, "muted"),
        Text(width, 12, "failed / units", "muted", "end")
        if width > 420
        else Text(width, 12, "of", "muted", "end"),
    ]
    for tick in _ticks(top, 4 if width > 400 else 2):
        shapes.append(Line(at(tick), TOP, at(tick), bottom, "line"))
        shapes.append(Text(at(tick), bottom + 14, number(tick), "muted", "middle"))
    shapes.append(Line(at(picture.rate), TOP - 2, at(picture.rate), bottom, "expected", 3))
    for i, g in enumerate(groups):
        y = TOP + ROW * (i + 0.5)
        colour: Colour = "accent" if g.inside else "muted"
        shapes.append(
            Text(0, y + 4, fitted(g.label, label - 8), "accent" if g.inside else "ink", bold=g.inside)
        )
        if g.rate is not None:
            shapes.append(Line(at(g.low), y, at(g.high), y, colour, 2))
            shapes.append(Dot(at(g.rate), y, 4.5, colour, g.inside))
        shapes.append(Text(width, y + 4, _count(g), "accent" if g.inside else "muted", "end", g.inside))
    shapes.append(
        Text(
            at(picture.rate) + 4,
            bottom + 28,
            f"all: {number(picture.rate)}",
            "muted",
            "start" if at(picture.rate) < width * 0.7 else "end",
        )
    )
    return Drawing(width, bottom + 34, tuple(shapes))


def _count(g: Group) -> str:
    return f"{g.failed:,} / {g.units:,}"


def _columns(picture: Picture, width: float) -> Drawing:
    time = picture.kind == "time"
    groups = [g for g in picture.groups if g.rate is not None]
    height = 200.0
    top = max([max(float(g.failed), g.band[1]) for g in groups] or [1.0]) * 1.1 if time else _top(picture)
    left, bottom, upper = 8.0 + max(len(number(t)) for t in _ticks(top, 4)) * SIZE * EM, height - 24, TOP + 4
    step = (width - left - 8) / max(len(groups), 1)

    def at(y: float) -> float:
        return bottom - min(1.0, y / top) * (bottom - upper)

    per = "failures; grey: what chance gives; filled: of the cause" if time else picture.per
    shapes: list[Shape] = [Text(0, 12, fitted(per, width), "muted")]
    for tick in _ticks(top, 4):
        shapes.append(Line(left, at(tick), width, at(tick), "line"))
        shapes.append(Text(left - 6, at(tick) + 4, number(tick), "muted", "end"))
    middle = [left + step * (i + 0.5) for i in range(len(groups))]
    for x, g in zip(middle, groups, strict=True):
        if time:
            low, high = g.band
            shapes.append(Box(x - step / 2, at(high), step, max(1.0, at(low) - at(high)), "expected"))
        elif g.inside:
            shapes.append(Box(x - step / 2, upper, step, bottom - upper, "soft"))
    if not time:
        shapes.append(Line(left, at(picture.rate), width, at(picture.rate), "expected", 3))
    for x, g in zip(middle, groups, strict=True):
        colour: Colour = "accent" if g.inside or time else "muted"
        if time:
            shapes.append(Line(x - step / 2, at(g.expected), x + step / 2, at(g.expected), "muted", 1))
            shapes.append(Line(x, at(0), x, at(g.failed), colour, 2))
        else:
            shapes.append(Line(x, at(g.low), x, at(g.high), colour, 2))
        shapes.append(Dot(x, at(g.failed if time else g.rate or 0.0), 4.0, colour, g.inside))
    shapes += _below(groups, middle, bottom + 16, width)
    return Drawing(width, height, tuple(shapes))


def _below(groups: list[Group], middle: list[float], y: float, width: float) -> list[Shape]:
    """As many labels as fit, the first and the last among them."""
    if not groups:
        return []
    labels = [g.label.split(" to ")[0] for g in groups]
    wide = max(map(len, labels)) * SIZE * EM + 16
    every = max(1, int(-(-wide // max(middle[1] - middle[0], 1.0)))) if len(groups) > 1 else 1
    shown: list[Shape] = []
    for i in range(0, len(groups), every):
        half = len(labels[i]) * SIZE * EM / 2
        x = min(max(middle[i], half), width - half)
        shown.append(Text(x, y, labels[i], "accent" if groups[i].inside else "muted", "middle"))
    return shown


def svg(drawing: Drawing, label: str, classes: str = "") -> str:
    """The drawing as SVG; colours are the page's own, so light and dark follow by themselves."""
    out = []
    for s in drawing.shapes:
        if isinstance(s, Line):
            out.append(
                f'<line x1="{s.x1:.1f}" y1="{s.y1:.1f}" x2="{s.x2:.1f}" y2="{s.y2:.1f}" class="s-{s.colour}" stroke-width="{s.width}"/>'
            )
        elif isinstance(s, Box):
            out.append(
                f'<rect x="{s.x:.1f}" y="{s.y:.1f}" width="{s.width:.1f}" height="{s.height:.1f}" class="f-{s.colour}"/>'
            )
        elif isinstance(s, Dot):
            fill = f"f-{s.colour}" if s.filled else "f-ground"
            out.append(
                f'<circle cx="{s.x:.1f}" cy="{s.y:.1f}" r="{s.radius}" class="{fill} s-{s.colour}" stroke-width="2"/>'
            )
        else:
            weight = ' font-weight="600"' if s.bold else ""
            out.append(
                f'<text x="{s.x:.1f}" y="{s.y:.1f}" text-anchor="{s.anchor}" class="f-{s.colour}"{weight}>{escape(s.text)}</text>'
            )
    return (
        f'<svg class="drawn {classes}" viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}" width="{drawing.width:.0f}" '
        f'height="{drawing.height:.0f}" role="img" aria-label="{escape(label, quote=True)}">{"".join(out)}</svg>'
    )
