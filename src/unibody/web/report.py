"""Prints an investigation: one PDF with the verdict, the pictures as vectors, and what was and was not looked at.

DejaVu Sans is brought along (Latin, Greek, Cyrillic, signs; 350 kB), so that names print as they are; letters it does
not have print as �. Text goes in as text: no markup, no script, no link is made of it.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibody.loop.investigate import Investigation, span, times
from unibody.loop.pictures import said
from unibody.web.drawing import Box, Dot, Drawing, Line, draw

if TYPE_CHECKING:
    from unibody.backbone.investigate import Asked

WIDTH, HEIGHT, MARGIN = 595.0, 842.0, 48.0  # A4, points
INNER = WIDTH - 2 * MARGIN
COLOURS = {
    "ink": (0.09, 0.10, 0.11), "muted": (0.36, 0.39, 0.43), "line": (0.89, 0.90, 0.92), "accent": (0.04, 0.38, 0.72),
    "soft": (0.91, 0.95, 0.98), "expected": (0.80, 0.82, 0.85), "ground": (1.0, 1.0, 1.0),
}  # fmt: skip
PAGES_MAX, NOTES_MAX = 20, 40


def report(
    found: Investigation, asked: Asked, table: str = "", by: str = "", at: datetime | None = None
) -> bytes:
    """The report as PDF. `table` is how people call the table, `by` who asked, `at` when (now)."""
    sheet = _Sheet(f"{asked.question}", at or datetime.now(UTC), by)
    sheet.text("What do the failing units share?", 16, bold=True, after=4)
    sheet.text(f"Failed: {asked.outcome}. Among: {asked.cohort.strip() or 'all units'}.", 10, after=2)
    source = table or (Path(asked.table).name if asked.table else "the lake")
    sheet.text(
        f"{source}: {found.inside.units:,} units, {found.inside.failed:,} failed", 9, "muted", after=14
    )
    sheet.text(found.verdict, 12, after=14)
    _causes(sheet, found)
    for picture in found.pictures():
        drawing = draw(picture, INNER)
        sheet.need(drawing.height + 40)
        sheet.text(
            picture.title + (f", among units with {picture.among}" if picture.among else ""),
            10,
            bold=True,
            after=4,
        )
        sheet.drawing(drawing)
    _rest(sheet, found)
    return sheet.bytes()


def _causes(sheet: _Sheet, found: Investigation) -> None:
    causes = found.found.causes or found.found.ranked[:5]
    if not causes:
        return
    sheet.text(
        "Causes" if found.found.causes else "What stands out most; chance alone gives as much",
        10,
        bold=True,
        after=4,
    )
    widths = (0.40, 0.10, 0.12, 0.10, 0.10, 0.18)
    sheet.row(("shared", "failed", "expected", "units", "times", "95 %"), widths, "muted")
    for c in causes:
        cells = (
            said(c.conditions),
            f"{c.failed:,}",
            f"{c.expected:.1f}",
            f"{c.units:,}",
            times(c.effect, ""),
            span(c.low, c.high),
        )
        sheet.row(cells, widths)
        for alike in c.alike:
            sheet.text(f"cannot be told apart from: {said(alike)}", 8.5, "muted", after=2)
    sheet.y += 12


def _rest(sheet: _Sheet, found: Investigation) -> None:
    rest = found.plain()["against_rest"]
    sheet.need(80)
    sheet.text("What this rests on", 10, bold=True, after=4)
    if rest and rest["ratio"] is not None:
        high = rest["high"] if rest["high"] is not None else float("inf")
        sheet.text(
            f"The cohort failed {times(rest['ratio'])} as often as the rest ({span(rest['low'] or 0.0, high)}, 95 %): "
            f"{rest['cohort']['failed']:,} of {rest['cohort']['units']:,} units against {rest['rest']['failed']:,} of {rest['rest']['units']:,}.", 9, after=4
        )  # fmt: skip
    sheet.text(
        f"{found.found.hypotheses:,} hypotheses were looked at; the same search over failures by chance names a cause in "
        f"{found.alpha:.0%} of cases.", 9, after=4,
    )  # fmt: skip
    left = [f"left out: {n} ({w})" for n, w in sorted(found.left_out.items()) if w != "one value only"]
    for note in [*found.table.notes, *left][:NOTES_MAX]:
        sheet.text(note, 8.5, "muted", after=2)


class _Sheet:
    """A canvas that one writes on from top to bottom."""

    def __init__(self, title: str, at: datetime, by: str) -> None:
        from reportlab.pdfgen.canvas import Canvas

        _fonts()
        self.out = io.BytesIO()
        self.canvas: Any = Canvas(self.out, pagesize=(WIDTH, HEIGHT), pageCompression=1, invariant=1)
        self.canvas.setTitle(_plain(title)[:200])
        self.canvas.setAuthor(_plain(by)[:200])
        self.canvas.setCreator("Unibody")
        self.foot = f"Unibody · investigated {at:%Y-%m-%d %H:%M} UTC" + (f" by {by}" if by else "")
        self.page, self.y, self.full = 1, MARGIN, False
        self._foot()

    def _foot(self) -> None:
        self._write(MARGIN, HEIGHT - 28, self.foot, 8, "muted")
        self._write(WIDTH - MARGIN, HEIGHT - 28, str(self.page), 8, "muted", anchor="end")

    def need(self, height: float) -> None:
        """A new page where so much does not fit below."""
        if self.y + height <= HEIGHT - 56:
            return
        if self.page >= PAGES_MAX:
            self.full = True
            return
        self.canvas.showPage()
        self.page, self.y = self.page + 1, MARGIN
        self._foot()

    def text(
        self, text: str, size: float, colour: str = "ink", *, bold: bool = False, after: float = 0.0
    ) -> None:
        """A paragraph, broken between words, or within one that is wider than the sheet."""
        for line in _broken(text, size, bold, INNER):
            self.need(size * 1.4)
            if self.full:
                return
            self.y += size * 1.4
            self._write(MARGIN, self.y - size * 0.35, line, size, colour, bold)
        self.y += after

    def row(self, cells: tuple[str, ...], widths: tuple[float, ...], colour: str = "ink") -> None:
        """A row of a table: the first cell to the left and broken, the others to the right."""
        lines = _broken(cells[0], 9, False, INNER * widths[0] - 8)[:6]
        self.need(13.0 * len(lines) + 4)
        if self.full:
            return
        x = MARGIN
        for cell, width in zip(cells, widths, strict=True):
            if x > MARGIN:
                self._write(x + INNER * width, self.y + 12, cell, 9, colour, anchor="end")
            x += INNER * width
        for line in lines:
            self.y += 13
            self._write(MARGIN, self.y - 1, line, 9, colour)
        self.y += 3
        self._shape(Line(MARGIN, self.y, WIDTH - MARGIN, self.y, "line", 0.5), 0, 0)

    def drawing(self, drawing: Drawing) -> None:
        """A picture."""
        if self.full:
            return
        for shape in drawing.shapes:
            if isinstance(shape, (Line, Box, Dot)):
                self._shape(shape, MARGIN, self.y)
            else:
                self._write(
                    MARGIN + shape.x,
                    self.y + shape.y,
                    shape.text,
                    9.5,
                    shape.colour,
                    shape.bold,
                    shape.anchor,
                )
        self.y += drawing.height + 16

    def _shape(self, s: Line | Box | Dot, x: float, y: float) -> None:
        c = self.canvas
        c.setStrokeColorRGB(*COLOURS[s.colour])
        c.setFillColorRGB(*COLOURS[s.colour])
        if isinstance(s, Line):
            c.setLineWidth(s.width)
            c.line(x + s.x1, HEIGHT - y - s.y1, x + s.x2, HEIGHT - y - s.y2)
        elif isinstance(s, Box):
            c.rect(x + s.x, HEIGHT - y - s.y - s.height, s.width, s.height, stroke=0, fill=1)
        else:
            c.setLineWidth(1.6)
            if not s.filled:
                c.setFillColorRGB(*COLOURS["ground"])
            c.circle(x + s.x, HEIGHT - y - s.y, s.radius, stroke=1, fill=1)

    def _write(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: str,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        c = self.canvas
        c.setFillColorRGB(*COLOURS[colour])
        c.setFont("DejaVuSans-Bold" if bold else "DejaVuSans", size)
        put = {"start": c.drawString, "middle": c.drawCentredString, "end": c.drawRightString}[anchor]
        put(x, HEIGHT - y, _plain(text))

    def bytes(self) -> bytes:
        """The file."""
        self.canvas.save()
        return self.out.getvalue()


@cache
def _fonts() -> frozenset[int]:
    """Make the fonts known; the letters they have."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(__file__).parent / "fonts"
    fonts = [TTFont(name, str(folder / f"{name}.ttf")) for name in ("DejaVuSans", "DejaVuSans-Bold")]
    for font in fonts:
        pdfmetrics.registerFont(font)
    return frozenset(fonts[0].face.charToGlyph)


def _plain(text: str) -> str:
    """Only letters that the font has; line ends and control characters are blanks."""
    known = _fonts()
    return "".join(c if ord(c) in known else " " if ord(c) < 32 else "\ufffd" for c in text)


def _broken(text: str, size: float, bold: bool, width: float) -> list[str]:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    name = "DejaVuSans-Bold" if bold else "DejaVuSans"
    lines, line = [], ""
    for word in _plain(text[:4000]).split():
        while stringWidth(word, name, size) > width:
            cut = max(1, int(len(word) * width / stringWidth(word, name, size)) - 1)
            lines += [line, word[:cut]] if line else [word[:cut]]
            line, word = "", word[cut:]
        wide = f"{line} {word}" if line else word
        if stringWidth(wide, name, size) > width:
            lines.append(line)
            line = word
        else:
            line = wide
    return [*lines, line] if line or not lines else lines
