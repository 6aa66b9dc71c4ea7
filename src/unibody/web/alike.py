"""What cars have in common: which have this lot, supplier, station or tool, do they fail, and the first of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from unibody.backbone import Backbone, family
from unibody.web.said import percent, table
from unibody.web.shell import Web, ask, el, fill, frame, plural, sentence, to, when
from unibody.web.tree import back, case_of

QUESTION = "Which other cars have the same, and do they fail?"


def add(web: Web) -> None:
    """Put the pages up, one a kind."""
    for kind in family.SHARED:
        ui.page(f"/{kind}/{{name:path}}")(_page(web, kind))


def _page(web: Web, kind: str) -> Callable[..., Awaitable[None]]:
    async def page(name: str, position: str = "", case: str = "", vin: str = "") -> None:
        with frame(web, "Loop", QUESTION, title=sentence(kind)):
            place = el("div", "stack carriers")
        wanted = (kind, name[: family.NAME_MAX], position[: family.NAME_MAX], case[:64])
        await fill(
            place,
            ask(web, _shared, *wanted, seconds=30.0),
            lambda seen: _others(seen[0], seen[1], vin[:64]),
            "rows",
        )

    return page


def _shared(
    backbone: Backbone, kind: str, name: str, position: str, bundle: str
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    return family.carriers(backbone, kind, name, position), case_of(backbone, bundle)


def _others(seen: dict[str, Any], case: dict[str, Any] | None, vin: str) -> None:
    back(case, vin)
    place = f" of {seen['position'].replace('_', ' ')}" if seen["position"] else ""
    with el("h2", "big"):
        el("span", "", f"{sentence(seen['kind'])} ")
        el("code", "", seen["name"])
        el("span", "", place)
    share = f" ({percent(seen['failing'] / seen['cars'])})" if seen["cars"] else ""
    el(
        "p",
        "lead",
        f"{plural(seen['cars'], 'car')} have it; {seen['failing']:,}{share} report some failure."
        + _built(seen),
    )
    with el("section"):
        el("h2", "", f"What they report, beside {plural(seen['others'], 'other car')} of the same brands")
        if seen["symptoms"]:
            about = case["symptom"] if case else ""
            rows = sorted(seen["symptoms"], key=lambda s: s["symptom"] != about)
            table(
                (("symptom", ""), ("cars that failed", "number"), ("share", "number"), ("others that failed", "number"), ("share", "number")),
                [
                    (s["symptom"].replace("_", " "), f"{s['failed']:,}", _share(s["failed"], seen["cars"]), f"{s['failed_others']:,}", _share(s["failed_others"], seen["others"]))
                    for s in rows
                ],
            )  # fmt: skip
            el(
                "p",
                "muted",
                "Plain shares: how long each car was on the road is not allowed for; a case's own figures do.",
            )
        else:
            el("p", "muted", "None of them reports any failure.")
    with el("section"):
        el("h2", "", "Where it is")
        table(
            (("position", ""), ("part", "mono"), ("cars", "number"), ("supplier", ""), ("its supplier", "")),
            [
                (
                    p["position"].replace("_", " "),
                    p["part_number"],
                    f"{p['cars']:,}",
                    ", ".join(p["supplier"] or []),
                    ", ".join(p["sub_supplier"] or []),
                )
                for p in seen["positions"]
            ],
        )
    with el("section"):
        shown = len(seen["rows"])
        el(
            "h2",
            "",
            f"The cars: {seen['cars']:,}"
            + (f", the first {shown}, those that failed first" if shown < seen["cars"] else ""),
        )
        with el("div", "scroll"), el("table"):
            with el("thead"), el("tr"):
                for name in ("vehicle", "model", "plant", "built", "reports"):
                    el("th", "", name)
            with el("tbody"):
                for row in seen["rows"]:
                    with el("tr", "cause" if row["vin"] == vin else ""):
                        with el("td"):
                            el(
                                "a",
                                "mono",
                                row["vin"],
                                href=to("vehicle", row["vin"], case=case["bundle"] if case else ""),
                            )
                        el("td", "", row["model"] or "–")
                        el("td", "", row["plant"] or "–")
                        el("td", "when", when(row["built_at"]))
                        el("td", "", ", ".join(s.replace("_", " ") for s in row["symptom"] or []) or "–")


def _built(seen: dict[str, Any]) -> str:
    if seen["built_from"] is None:
        return ""
    plants = f" at {', '.join(seen['plants'][:5])}" if seen["plants"] else ""
    return f" Built {when(seen['built_from'])} to {when(seen['built_to'])}{plants}."


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}\u00a0%" if of else "–"
