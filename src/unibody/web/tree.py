"""One car: its family tree (vehicle, part, lot, supplier, station, torque), and what became of it."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from unibody.backbone import Backbone, family, tracing
from unibody.errors import UnibodyError
from unibody.web import curves, drawing
from unibody.web.said import heading, table
from unibody.web.shell import Web, ask, el, fill, frame, moment, num, plural, sentence, to, when

ONE = "What is in this car, and what became of it?"
WIDE, NARROW, TEXT_MAX = 960.0, 340.0, 400
MADE = (("lot", "lot"), ("supplier", "supplier"), ("sub_supplier", "sub-supplier"))
FITTED = (("station", "station"), ("tool", "tool"))
CHAIN = (*MADE, *FITTED)


def add(web: Web) -> None:
    """Put the page up."""

    async def vehicle(vin: str, case: str = "") -> None:
        with frame(web, "Loop", ONE, title="Vehicle"):
            place = el("div", "stack vehicle")
        wanted = (vin.strip().upper()[:64], case[:64])
        await fill(place, ask(web, _vehicle, *wanted, seconds=30.0), lambda seen: _car(*seen), "detail")

    ui.page("/vehicle/{vin}")(vehicle)


def _vehicle(backbone: Backbone, vin: str, bundle: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    return family.vehicle(backbone, vin), case_of(backbone, bundle)


def case_of(backbone: Backbone, bundle: str) -> dict[str, Any] | None:
    """The case one came from; a case that is gone is no reason not to show the car."""
    if not bundle:
        return None
    try:
        return tracing.case(backbone, bundle)
    except UnibodyError:
        return None


def back(case: dict[str, Any] | None, vin: str = "") -> None:
    """The way back: to the car, else to the case, else to all of them."""
    bundle = str(case["bundle"]) if case else ""
    if vin:
        el("a", "back", f"‹ {vin}", href=to("vehicle", vin, case=bundle), data_key="esc")
    elif case:
        el("a", "back", f"‹ {heading(case)}", href=to("loop", bundle), data_key="esc")
    else:
        el("a", "back", "‹ Loop", href="/loop", data_key="esc")


# ---- one car


def _car(seen: dict[str, Any], case: dict[str, Any] | None) -> None:
    vin, build = seen["vin"], seen["build"]
    back(case)
    with el("h2", "big"):
        el("code", "vin", vin, data_copy="", tabindex="0", title="Click to copy")
    if build:
        words = [build["brand"], build["model"], build["platform"], build["engine"], build["market"]]
        place = " ".join(str(w) for w in (build["plant"], build["line"], build["shift"]) if w)
        about = sentence(" · ".join(str(w) for w in words if w))
        where = f" at {place}." if place else "."
        el("p", "lead", f"{about}; built {moment(build['built_at'])}{where}")
    else:
        el("p", "look", "No build record is known of it: only parts or reports name this number.")
    suspects = _suspects(seen["parts"], case)
    for part in suspects[:3]:
        _chain(vin, part, seen["tightenings"], case)
    with el("section"):
        reports = sum(e["lane"] != "life" for e in seen["events"])
        el("h2", "", f"What happened to it: {plural(reports, 'report')}")
        _life(seen["events"])
    with el("section"):
        el("h2", "", f"What is in it: {plural(len(seen['parts']), 'part')}")
        _parts(vin, seen["parts"], suspects, seen["tightenings"], case)
    with el("section"):
        _rest(seen)


def _suspects(parts: list[dict[str, Any]], case: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The parts that the case's causes name, in this car."""
    wanted = set()
    for cause in (case or {}).get("causes", []):
        for name in cause["conditions"]:
            first, _, rest = name.partition(".")
            if first == "part":
                wanted.add(rest.rpartition(".")[0].rpartition("/")[2])
            elif first in ("torque", "angle", "tool", "station"):
                wanted.add(rest)
    return [p for p in parts if p["position"] in wanted]


def _named(case: dict[str, Any] | None, part: dict[str, Any], column: str) -> bool:
    """Does a cause of the case name just this value?"""
    ends = f"{part['position']}.{column}"
    return any(
        str(wanted) == str(part[column]) and name.startswith("part.") and name.endswith(ends)
        for cause in (case or {}).get("causes", [])
        for name, wanted in cause["conditions"].items()
    )


def _chain(
    vin: str, part: dict[str, Any], tightenings: list[dict[str, Any]], case: dict[str, Any] | None
) -> None:
    """The one part as a line of descent: vehicle, part, lot, supplier, its supplier; and where it was fitted."""
    with el("section"):
        el("h2", "", f"Where its {part['position'].replace('_', ' ')} comes from")
        for columns in (MADE, FITTED):
            with el("ol", "chain"):
                if columns is MADE:
                    _node("vehicle", vin)
                    _node("part", part["part_number"] + (f" · {part['serial']}" if part["serial"] else ""))
                for column, kind in columns:
                    if part[column]:
                        _node(kind, part[column], _href(kind, part, vin, case), _named(case, part, column))
                if columns is FITTED:
                    for t in _torques(part, tightenings):
                        _node("torque", t)


def _node(kind: str, text: str, href: str = "", cause: bool = False) -> None:
    with el("li", "cause" if cause else ""):
        el("span", "muted", kind + (", the cause" if cause else ""))
        el("a" if href else "span", "mono", text, href=href or None)


def _href(kind: str, part: dict[str, Any], vin: str, case: dict[str, Any] | None) -> str:
    # what a supplier, station or tool did elsewhere matters as well: only a lot is of one place
    position = part["position"] if kind == "lot" else ""
    bundle = case["bundle"] if case else ""
    return to(kind, part[kind.replace("-", "_")], position=position, vin=vin, case=bundle)


def _torques(part: dict[str, Any], tightenings: list[dict[str, Any]]) -> list[str]:
    """Its bolts: those named as the place it sits in."""
    return [
        f"{num(t['torque_nm'])} N·m" + (f", {num(t['angle_deg'])} deg" if t["angle_deg"] is not None else "") + (" not ok" if t["ok"] is False else "")
        for t in tightenings
        if t["bolt"] == part["position"] and t["torque_nm"] is not None
    ]  # fmt: skip


def _life(events: list[dict[str, Any]]) -> None:
    if not events:
        el("p", "muted", "Nothing was reported of it.")
        return
    says = "The car's life: when it was built, its codes, visits and complaints"
    with el("div", "drawings single"):
        for width, name in ((WIDE, "large"), (NARROW, "small")):
            ui.html(drawing.svg(curves.lane(events, width), says, name), sanitize=False).classes(name)
    table(
        (("when", "when"), ("", "when"), ("what", ""), ("said", "wrap"), ("km", "number"), ("by", "")),
        [
            (moment(e["at"]), "" if e["lane"] == "life" else e["lane"], e["what"].replace("_", " "), e["about"][:TEXT_MAX], num(e["km"]) if e["km"] is not None else "", e["where"])
            for e in events[:500]
        ],
    )  # fmt: skip


def _parts(
    vin: str,
    parts: list[dict[str, Any]],
    suspects: list[dict[str, Any]],
    tightenings: list[dict[str, Any]],
    case: dict[str, Any] | None,
) -> None:
    if not parts:
        el("p", "muted", "Its parts are not known: no record says what was built in.")
        return
    with el("div", "scroll"), el("table", "family"):
        with el("thead"), el("tr"):
            for name, right in (
                ("position", ""),
                ("part", ""),
                ("lot", ""),
                ("supplier", ""),
                ("its supplier", ""),
                ("station", ""),
                ("tool", ""),
                ("torque", "number"),
            ):
                el("th", right, name)
        with el("tbody"):
            for part in parts:
                with el("tr", "cause" if part in suspects else ""):
                    with el("td"):
                        el(
                            "span",
                            f"level-{min(part['level'], 4)}",
                            ("└ " if part["level"] else "") + part["position"].replace("_", " "),
                        )
                    with el("td", "mono"):
                        el(
                            "span",
                            "",
                            part["part_number"] + (f" · {part['serial']}" if part["serial"] else ""),
                        )
                        if part["also_on"]:
                            el(
                                "span",
                                "look",
                                f" this serial is on {plural(part['also_on'], 'other vehicle')} too",
                            )
                    for column, kind in CHAIN:
                        with el("td", "mono"):
                            if part[column]:
                                el("a", "", part[column], href=_href(kind, part, vin, case))
                            else:
                                el("span", "muted", "–")
                    el("td", "number", "; ".join(_torques(part, tightenings)))


def _rest(seen: dict[str, Any]) -> None:
    fitted = {p["position"] for p in seen["parts"]}
    bolts = [t for t in seen["tightenings"] if t["bolt"] not in fitted]
    with el("details"):
        el(
            "summary",
            "",
            f"Software ({len(seen['software'])}), gauges ({len(seen['gauges'])}), other bolts ({len(bolts)}), options",
        )
        if seen["software"]:
            table(
                (
                    ("control unit", ""),
                    ("software", "mono"),
                    ("version", "mono"),
                    ("hardware", "mono"),
                    ("since", "when"),
                ),
                [
                    (
                        s["ecu"],
                        s["software"],
                        s["software_version"],
                        s["hardware"] or "–",
                        when(s["installed_at"]),
                    )
                    for s in seen["software"]
                ],
            )
        if seen["gauges"]:
            table(
                (("gauged", ""), ("value", "number"), ("verdict", ""), ("station", ""), ("when", "when")),
                [
                    (
                        g["measure"] or g["defect"] or "–",
                        num(g["value"]),
                        g["verdict"] or "–",
                        g["station"] or "–",
                        when(g["inspected_at"]),
                    )
                    for g in seen["gauges"]
                ],
            )
        if bolts:
            table(
                (
                    ("bolt", ""),
                    ("torque N·m", "number"),
                    ("angle deg", "number"),
                    ("station", ""),
                    ("tool", ""),
                ),
                [
                    (
                        b["bolt"] or "–",
                        num(b["torque_nm"]),
                        num(b["angle_deg"]),
                        b["station"] or "–",
                        b["tool"] or "–",
                    )
                    for b in bolts
                ],
            )
        if seen["build"] and seen["build"]["options"]:
            el("p", "", f"Options: {seen['build']['options']}")
