"""One case of the loop: why do these cars fail, and what stops it? Evidence, scope, actions approved together, effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from nicegui import ui

from unibody.backbone import tracing
from unibody.loop.investigate import times
from unibody.web import charts, curves, drawing
from unibody.web.actions import Actions, in_stock
from unibody.web.said import (
    FAR,
    among,
    attribute,
    few,
    heading,
    interval,
    one_line,
    percent,
    picture,
    strip,
    table,
    verdict,
    words,
)
from unibody.web.shell import Web, ask, el, eur, fill, frame, moment, num, plural, sentence, to, when

QUESTION = "Why do these cars fail, and what stops it?"
WIDE, NARROW, CURVE, CARS_SHOWN = 480.0, 340.0, 340.0, 200
SHARED = (
    ("shared", ""), ("failed", "number"), ("expected", "number"), ("cars", "number"), ("times as often", "number"),
    ("95 %", "number"), ("", ""),
)  # fmt: skip
LINKED = ("lot", "supplier", "sub_supplier", "station", "tool")


def add(web: Web) -> None:
    """Put the page up."""

    async def page(bundle: str) -> None:
        with frame(web, "Loop", QUESTION, title="Case"):
            place = el("div", "stack case-page")

            async def show() -> None:
                place.clear()
                await fill(
                    place, ask(web, tracing.case, bundle[:64]), lambda c: _draw(web, c, show), "detail"
                )

        await show()

    ui.page("/loop/{bundle}")(page)


def _draw(web: Web, found: dict[str, Any], again: Callable[[], Awaitable[None]]) -> None:
    el("a", "back", "‹ All cases", href="/loop", data_key="esc")
    el("h2", "big", heading(found))
    el("p", "verdict", verdict(found))
    strip(found)
    with el("section"):
        _pictures(found)
    with el("section"):
        el("h2", "", f"Shared by the failing: {plural(found['failed'], 'car')} of {found['units']:,}")
        _shared(found)
    for cause, scope in zip(found["causes"], found["scopes"], strict=False):
        with el("section"):
            _scope(cause, scope, len(found["scopes"]) > 1, in_stock(found["decisions"]))
    actions = Actions(web, found, again)
    with el("section"):
        actions.draw()
    with el("section"):
        el("h2", "", "Effect")
        _effect(found)
    with el("section"):
        _cars(found)
    actions.bar()  # last in the page, so that it stays in sight all the way


# ---- evidence


def _pictures(found: dict[str, Any]) -> None:
    el("h2", "", _since(found))
    with el("div", "drawings"):
        for made in found["pictures"]:
            shown = picture(made)
            title = _title(shown.attribute, shown.title, found) + among(shown, found)
            with el("figure"):
                el("figcaption", "", title)
                for width, name in ((WIDE, "large"), (NARROW, "small")):
                    ui.html(drawing.svg(drawing.draw(shown, width), title, name), sanitize=False).classes(
                        name
                    )


def _since(found: dict[str, Any]) -> str:
    """When it began, as the field says, and how fast it grows."""
    s = found.get("signal") or {}
    if not s:
        return f"Since {when(found['since'])}"
    grows = s.get("growth")
    speed = f"; {num(s['per_month'], 2)} cars fail a month" if s.get("per_month") else ""
    trend = (
        ""
        if grows is None or s.get("per_month", 0) < 1
        else ", more and more"
        if grows > 1.5
        else ", fewer than before"
        if grows < 0.67
        else ""
    )
    return f"First failed {when(found['since'])}{speed}{trend}. As of {moment(s['as_of'])}"


def _title(name: str, title: str, found: dict[str, Any]) -> str:
    """The finding as a title, in words where the cause is what it is about."""
    for cause in found["causes"]:
        if name in cause["conditions"] and name != "built_at":
            return one_line({**found, "causes": [cause]})
    return title.replace(name, attribute(name))


def _shared(found: dict[str, Any]) -> None:
    accepted = [c["conditions"] for c in found["causes"]]
    listed = [*found["causes"], *(c for c in found["ranked"] if c["conditions"] not in accepted)][:10]
    if not listed:
        el("p", "muted", "Nothing that chance alone would not give as well.")
        return
    with el("div", "scroll"), el("table", "shared"):
        with el("thead"), el("tr"):
            for name, right in SHARED:
                el("th", right, name)
        with el("tbody"):
            for c in listed:
                with el("tr", "cause" if c["conditions"] in accepted else ""):
                    with el("td"):
                        _linked(c["conditions"], str(found["bundle"]))
                    far = c["effect"] is None or c["effect"] > FAR
                    for cell in (
                        f"{c['failed']:,}",
                        few(c["expected"]),
                        f"{c['units']:,}",
                        "far more" if far else times(c["effect"], ""),
                        interval(c),
                    ):
                        el("td", "number", cell)
                    el("td", "", _standing(c, accepted, found))
    for c in found["causes"]:
        if c["alike"]:
            with el("p"):
                el("span", "look", f"Cannot be told apart from {words(c['conditions'])} with what is known: ")
                el("span", "", "; ".join(map(words, c["alike"])) + ".")
    if found["causes"] and not any(c["alike"] for c in found["causes"]):
        el("p", "muted", "Cannot be told apart: nothing else.")
    el(
        "p",
        "muted",
        f"{found['hypotheses']:,} values, ranges and pairs were looked at; all of them are paid for.",
    )


def _linked(conditions: dict[str, Any], bundle: str) -> None:
    """A condition in words; what has a page of its own is a link to it."""
    for i, (name, wanted) in enumerate(conditions.items()):
        if i:
            el("span", "", " and ")
        kind, position = name.rpartition(".")[2], name.split(".")[1] if name.count(".") > 1 else ""
        if name.startswith("part.") and kind in LINKED and isinstance(wanted, str):
            place = name.removeprefix("part.").removesuffix(f".{kind}").rpartition("/")[2] or position
            href = to(kind.replace("_", "-"), wanted, position=place, case=bundle)
            el("a", "", words({name: wanted}), href=href)
        else:
            el("span", "", words({name: wanted}))


def _standing(cause: dict[str, Any], accepted: list[Any], found: dict[str, Any]) -> str:
    """Why it is named, or not."""
    if cause["conditions"] in accepted:
        return "cause"
    by = cause.get("explained_by")
    if by is not None and by < len(found["causes"]):
        return (
            "explained by the cause"
            if len(found["causes"]) == 1
            else f"explained by {words(found['causes'][by]['conditions'])}"
        )
    return "chance gives as much" if (cause["p_adjusted"] or 0.0) > 0.05 else "weaker"


# ---- scope


def _scope(cause: dict[str, Any], scope: dict[str, Any], several: bool, stock: float) -> None:
    """The choices there were, the one the actions are for, and what each costs and risks."""
    chosen, of = scope["choice"], f" of {words(cause['conditions'])}" if several else ""
    el(
        "h2",
        "",
        f"Scope{of}: {plural(chosen['vehicles'], 'car')} hold {percent(chosen['covered_probability'])} of those affected",
    )
    left = f"{num(chosen['missed'], 2)} affected cars are expected to be left out; with {percent(1 - chosen['all_probability'])} at least one is."
    lie = f" {stock:,.0f} parts of it may lie in stock." if stock else ""
    el("p", "", f"About {scope['affected']:,.0f} cars are affected, failed or not. {left}{lie}")
    with el("div", "drawings curves"):
        for field, says in (
            ("cost_eur", "EUR that acting costs"),
            ("risk_eur", "EUR of failures of cars left out"),
        ):
            if any(c.get(field) is not None for c in scope["choices"]):
                with el("figure"):
                    title = says.removeprefix("EUR ").removeprefix("of ").removeprefix("that ")
                    el(
                        "figcaption",
                        "",
                        sentence(
                            f"{title}: {eur(chosen.get(field))} at {percent(chosen['covered_probability'])}"
                        ),
                    )
                    shapes = curves.curve(scope["choices"], chosen, field, says, CURVE)
                    ui.html(drawing.svg(shapes, says), sanitize=False)
    head = (
        ("covers", "number"), ("cars", "number"), ("on the road", "number"), ("not handed over", "number"), ("at the plant", "number"),
        ("new parts", "number"), ("days", "number"), ("cost EUR", "number"), ("affected left out", "number"), ("risk of missing one", "number"), ("", ""),
    )  # fmt: skip
    rows = [
        (percent(c["covered_probability"]), f"{c['vehicles']:,}", f"{c['on_road']:,}", f"{c['not_sold'] + c['at_plant']:,}", f"{c['at_plant']:,}",
         f"{c['parts']:,}", f"{c['days']:,.1f}", f"{c['cost_eur']:,.0f}", f"{c['missed']:,.1f}", f"{percent(1 - c['all_probability'])}",
         "chosen" if c == chosen else "")
        for c in scope["choices"]
    ]  # fmt: skip
    table(head, rows, [c == chosen for c in scope["choices"]])
    notes = f"The actions are for the smallest set that covers {100 * scope['stated']:g}\u00a0%; for another, set settings.cover in the use case and trace again."
    if scope["unknown"]:
        notes += f" {plural(scope['unknown'], 'car')} without a record could be affected too."
    el("p", "muted", notes)
    with el("details"):
        el("summary", "", "What was assumed")
        with el("ul", "notes"):
            for name, value in scope["assumed"].items():
                with el("li"):
                    el("code", "", name)
                    el("span", "muted", f" {value}")
            for conditions, weight, count in scope["hypotheses"]:
                el("li", "", f"{percent(weight)}: {words(conditions)}, {plural(count, 'car')}")


# ---- effect, cars


def _effect(found: dict[str, Any]) -> None:
    proof = found["proof"]
    if proof and proof["reduction"] is not None:
        less = f"{100 * proof['reduction']:.0f} %"
        ends = (
            f"{100 * proof['low']:.0f} to {100 * proof['high']:.0f} %"
            if None not in (proof["low"], proof["high"])
            else "no interval"
        )
        fell = (
            f"Failures fell by {less} ({ends}) among the treated cars against the untreated"
            if proof["reduction"] >= 0
            else f"Failures ROSE by {less.strip('-')} among the treated cars against the untreated"
        )
        el(
            "p",
            "confirmed" if proof["label"] == "proven" else "look" if proof["label"] == "worse" else "",
            f"{fell}: {proof['label']}.",
        )
        with el("div", "judged"):
            charts.scale(
                proof["reduction"],
                proof["low"],
                proof["high"],
                0.0,
                ends=(min(0.0, proof["low"] or 0.0), 1.0),
                label=f"{fell}",
            )
            with el("div", "ends"):
                el("span", "", "no effect: the mark")
                el("span", "", "none fails any more")
        until = proof["as_of"] if isinstance(proof["as_of"], datetime) else None
        el(
            "p",
            "muted",
            f"Acted {when(proof['acted_at'])}" + (f", looked at {moment(until)}." if until else "."),
        )
        return
    if any(d["state"] in tracing.APPROVED for d in found["decisions"]):
        el(
            "p",
            "",
            "Approved; not proven yet. When the treated cars have been on the road for long enough, their failures are compared with the untreated, and the result stands here with its interval.",
        )
        return
    el(
        "p",
        "muted",
        "Not acted yet. After the cure: did the rate fall among the treated cars against the untreated, by how much, how sure.",
    )


def _cars(found: dict[str, Any]) -> None:
    """The cars of the case, those known to have failed first: the way down to one car's family tree."""
    failed = set((found.get("signal") or {}).get("failed") or [])
    ordered = sorted(found["vins"], key=lambda v: (v not in failed, v))
    el("h2", "", f"The cars: {len(ordered):,}")
    if not ordered:
        return
    with el("p"):
        el("span", "", "One car's family tree, from the vehicle to part, lot, supplier and station: ")
        el("a", "mono", ordered[0], href=to("vehicle", ordered[0], case=str(found["bundle"])))
    with el("details"):
        el("summary", "", f"Show {'all' if len(ordered) <= CARS_SHOWN else f'the first {CARS_SHOWN}'}")
        with el("ul", "vins"):
            for vin in ordered[:CARS_SHOWN]:
                with el("li"):
                    el("a", "mono", vin, href=to("vehicle", vin, case=str(found["bundle"])))
                    if vin in failed:
                        el("span", "chip failed", "failed")
