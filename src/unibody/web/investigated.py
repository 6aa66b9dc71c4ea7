"""What an investigation found, as people see it: the verdict, pictures, a table, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nicegui import run, ui

from unibody.backbone import investigate as backbone_of
from unibody.backbone.investigate import Asked
from unibody.errors import UnibodyError
from unibody.loop.investigate import Investigation, num, span, times
from unibody.loop.pictures import Picture, said
from unibody.web import drawing
from unibody.web.shell import Web, el, plural, to

WIDE, NARROW = 480.0, 340.0
COPY = "(e) => { navigator.clipboard?.writeText(location.href); e.target.textContent = 'Link copied'; }"
NAMED = "() => emit(document.getElementById('keep').value)"


def address(asked: Asked, path: str = "investigate", **more: str) -> str:
    """The address that brings all of it back."""
    plain = {k: v for k, v in asdict(asked).items() if k not in ("controls", "attributes", "alpha")}
    plain |= {
        "attributes": ",".join(asked.attributes),
        "alpha": "" if asked.alpha == 0.05 else asked.alpha,
        **more,
    }
    found = to(*path.split("/"), **plain)
    controls = "&".join(to("", control=c).split("?")[1] for c in asked.controls)
    return found + (("&" if "?" in found else "?") + controls if controls else "")


def draw(web: Web, asked: Asked, found: Investigation | UnibodyError, look: str = "") -> None:
    """The answer, or why there is none."""
    if isinstance(found, UnibodyError):
        with el("section", "state trouble", role="alert"):
            el("h2", "", "This cannot be answered as it is asked")
            el("p", "what", str(found))
            el("p", "muted", "Nothing was changed. Mend it above and ask again.")
        return
    with el("section"):
        el("p", "verdict" if found.found.causes else "verdict open", found.verdict)
        units = f"{plural(found.inside.units, 'unit')}, {found.inside.failed:,} failed"
        if found.found.causes:
            sure = found.covered_probability
            units += f"; {found.covered:,} meet the cause" + (
                f", which covers {'over 99.9 %' if sure > 0.999 else f'{sure:.1%}'} of the affected"
                if sure
                else ""
            )
        el("p", "muted", units + ".")
        _keep(web, asked)
    pictures = found.pictures(look)
    if pictures:
        with el("section", "drawings"):
            for picture in pictures:
                _picture(picture)
    with el("section"):
        el(
            "h2",
            "",
            "What they share" if found.found.causes else "What stands out most; chance alone gives as much",
        )
        _shared(asked, found)
    with el("section"):
        el("h2", "", "What this rests on")
        _rests(found)


def _keep(web: Web, asked: Asked) -> None:
    async def go(event: Any) -> None:
        try:
            await run.io_bound(
                backbone_of.save,
                web.reader.backbone,
                str(event.args or "")[:300],
                asked,
                web.by,
            )
        except UnibodyError as e:
            told.text = f"Not kept: {e}."
            return
        told.text = "Kept. It is listed on this page while nothing is asked."

    with el("div", "buttons keep"):
        el(
            "input",
            "",
            id="keep",
            maxlength="200",
            placeholder="a name for it",
            aria_label="Name to keep it under",
        )
        el("button", "plain", "Save", type="button").on("click", go, js_handler=NAMED)
        el("button", "plain", "Copy link", type="button").on("click", js_handler=COPY)
        el(
            "a",
            "plain button",
            "PDF",
            href=address(asked, "investigate/report.pdf"),
            target="_blank",
        )
        told = el("span", "muted", "", role="status")


def _picture(picture: Picture) -> None:
    title = picture.title + (f", among units with {picture.among}" if picture.among else "")
    with el("figure"):
        el("figcaption", "", title)
        for width, name in ((WIDE, "large"), (NARROW, "small")):
            ui.html(drawing.svg(drawing.draw(picture, width), title, name), sanitize=False).classes(name)


def _shared(asked: Asked, found: Investigation) -> None:
    accepted = {str(c.conditions): c for c in found.found.causes}
    listed = [*found.found.causes, *(c for c in found.found.ranked if str(c.conditions) not in accepted)]
    if not listed:
        el("p", "muted", "Nothing: too few failed.")
        return
    with el("div", "scroll"), el("table", "shared"):
        with el("thead"), el("tr"):
            for name, right in (
                ("shared", ""),
                ("failed", "number"),
                ("expected", "number"),
                ("units", "number"),
                ("times as often", "number"),
                ("95 %", "number"),
                ("", ""),
            ):
                el("th", right, name)
        with el("tbody"):
            for c in listed[:12]:
                with el("tr", "cause" if str(c.conditions) in accepted else ""):
                    with el("td"):
                        el("span", "wrap", said(c.conditions))
                        for i, name in enumerate(c.conditions):
                            el(
                                "a",
                                "look-at",
                                "picture" if len(c.conditions) == 1 else f"picture {i + 1}",
                                href=address(asked, look=name),
                                aria_label=f"Show failures by {name}",
                            )
                    for cell in (
                        f"{c.failed:,}",
                        num(c.expected),
                        f"{c.units:,}",
                        times(c.effect, ""),
                        span(c.low, c.high),
                    ):
                        el("td", "number", cell)
                    el("td", "", _standing(c, accepted, found))
    for c in found.found.causes:
        if c.alike:
            el(
                "p",
                "",
                f"Cannot be told apart from {said(c.conditions)}: "
                + "; ".join(said(a) for a in c.alike)
                + ".",
            )
    if found.found.causes and not any(c.alike for c in found.found.causes):
        el("p", "muted", "Cannot be told apart: nothing else.")


def _rests(found: Investigation) -> None:
    plain = found.plain()
    rest = plain["against_rest"]
    if rest and rest["ratio"] is not None:
        high = rest["high"] if rest["high"] is not None else float("inf")
        el(
            "p",
            "",
            f"The cohort failed {times(rest['ratio'])} as often as the rest ({span(rest['low'] or 0.0, high)}, 95 %): {rest['cohort']['failed']:,} of {rest['cohort']['units']:,} units against {rest['rest']['failed']:,} of {rest['rest']['units']:,}.",
        )
    el(
        "p",
        "",
        f"{found.found.hypotheses:,} hypotheses were looked at: values, ranges and pairs. The same search over failures by chance names a cause in {found.alpha:.0%} of cases.",
    )
    if found.found.adjusted_for:
        el(
            "p",
            "",
            f"Who reports more of everything was allowed for, by {', '.join(found.found.adjusted_for)}.",
        )
    with el("details"):
        left = {n: w for n, w in found.left_out.items() if w != "not asked for"}
        el("summary", "", f"Notes, and {plural(len(left), 'column')} left out")
        with el("ul", "notes"):
            for note in found.table.notes:
                el("li", "", note)
            for name, why in sorted(left.items(), key=lambda i: (i[1], i[0]))[:300]:
                with el("li"):
                    el("code", "", name)
                    el("span", "muted", f" {why}")


def _standing(cause: Any, accepted: Mapping[str, Any], found: Investigation) -> str:
    """Why it is named, or not."""
    if str(cause.conditions) in accepted:
        return "cause"
    if cause.explained_by is not None and cause.explained_by < len(found.found.causes):
        return (
            "explained by the cause"
            if len(found.found.causes) == 1
            else f"explained by {said(found.found.causes[cause.explained_by].conditions)}"
        )
    return "chance gives as much" if cause.p_adjusted > found.alpha else "weaker"
