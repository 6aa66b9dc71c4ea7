"""Loop: what fails more often than it should, and what stops it? Cases as cards, and what is watched besides."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import RedirectResponse
from nicegui import run, ui

from unibody.backbone import Backbone, tracing, watched
from unibody.errors import UnibodyError
from unibody.web import alike, case, curves, drawing, tree
from unibody.web.said import among, attribute, heading, one_line, picture, strip, table
from unibody.web.shell import Web, ask, el, empty, eur, fill, frame, moment, num, plural, span, to, when

QUESTION = "What fails more often than it should, and what stops it?"
WATCHED_SHOWN, SMALL, SMALL_ROWS = 60, 340.0, 5


def add(web: Web) -> None:
    """Put the pages up: the cases, one case, one car, what cars have in common."""

    async def page() -> None:
        with frame(web, "Loop", QUESTION):
            place = el("div", "stack loop")

            async def show() -> None:
                place.clear()
                await fill(place, ask(web, everything), lambda seen: _draw(web, seen, show), "rows")

        await show()

    async def find(request: Request) -> Any:
        vin = request.query_params.get("vin", "").strip()[:64]
        return RedirectResponse(to("vehicle", vin) if vin else "/loop", 303)

    ui.page("/loop")(page)
    ui.page("/vehicle")(find)
    case.add(web)
    tree.add(web)
    alike.add(web)


def everything(backbone: Backbone) -> dict[str, Any]:
    """What the page shows: the cases, and the last look at all that is watched."""
    return {"cases": tracing.cases(backbone), "looks": watched.looked(backbone)}


def _draw(web: Web, seen: dict[str, Any], again: Any) -> None:
    cases, looks = seen["cases"], seen["looks"]
    el("p", "lead", _answer(cases, looks))
    if cases:
        with el("ul", "cards"):
            for found in cases:
                with el("li"):
                    _card(found)
    else:
        empty(
            "No case yet" if not looks else "Nothing stands out",
            "What fails more often than cars of the same age, market and weeks appears here as a card: what the failing "
            "cars share, which cars have it, and what stops it. It is looked for on the schedule of the use cases, or now:",
            "unibody trace",
        )  # fmt: skip
    known = {(c["brand"], c["symptom"]) for c in cases}
    for look in looks:
        _look(look, known)
    if not looks:
        _not_looked(web, again)
    with el("section"):
        el("h2", "", "One car")
        with el("form", "filters", action="/vehicle", method="get"):
            el(
                "input",
                "mono",
                name="vin",
                placeholder="VIN",
                aria_label="VIN",
                maxlength="64",
                autocomplete="off",
                spellcheck="false",
            )
            el("button", "plain", "Show its family tree")


def _answer(cases: list[dict[str, Any]], looks: list[dict[str, Any]]) -> str:
    """The answer in one sentence."""
    waiting = [c for c in cases if any(d["state"] == "proposed" for d in c["decisions"])]
    dates = [c["signal"]["as_of"] for c in cases if c.get("signal")] or [
        k["as_of"] for k in looks if k["as_of"]
    ]
    as_of = f" As of {moment(max(dates))}." if dates else ""
    if not cases:
        return f"Nothing that was noticed has a cause yet.{as_of}"
    needs = (
        f"{plural(len(waiting), 'case')} {'needs' if len(waiting) == 1 else 'need'} a decision"
        if waiting
        else "Every case was decided"
    )
    rest = f"; {plural(len(cases), 'case')} in all" if len(waiting) < len(cases) else ""
    return f"{needs}{rest}.{as_of}"


# ---- a case as a card


def _card(found: dict[str, Any]) -> None:
    worth = sum(d["worth_eur"] or 0 for d in found["decisions"] if d["state"] != "dismissed")
    with el("a", "loop-card", href=to("loop", str(found["bundle"])), data_row=""):
        with el("div", "about"):
            el("h2", "", heading(found))
            el("p", "finding", one_line(found))
            strip(found)
            el(
                "p",
                "muted figures",
                f"Worth {eur(worth)}, after what acting costs" if worth else "What it is worth is not known",
            )
        made = next((p for p in found["pictures"] if p["kind"] != "time"), None)
        if made is not None:
            with el("figure"):
                shown = picture(made)
                about = attribute(shown.attribute)
                el("figcaption", "muted", f"By {about}{among(shown, found)}")
                shapes = curves.small(shown, SMALL, SMALL_ROWS)
                ui.html(
                    drawing.svg(shapes, f"Failures of {heading(found)} by {about}, the cause coloured"),
                    sanitize=False,
                )


# ---- what is watched besides


def _look(look: dict[str, Any], known: set[tuple[str | None, str]]) -> None:
    open_ = [s for s in look["called"] if (s["brand"], s["symptom"]) not in known]
    if open_:
        with el("section"):
            el("h2", "", f"Noticed, without a cause yet: {plural(len(open_), 'signal')}")
            el(
                "p",
                "muted",
                "They stand out, and what the failing cars share is not sure enough to be named. More failures will tell.",
            )
            _signals(open_, False)
    quiet = [w for w in look["watched"] if w["says"] != "stands out"]
    with el("section"):
        el("h2", "", f"Watched and quiet: {plural(len(quiet), 'symptom')} by brand")
        about = f"{look['cars']:,} cars" + (f", as of {moment(look['as_of'])}" if look["as_of"] else "")
        el("p", "muted", f"{about}; each beside cars of the same age, market and weeks.")
        if quiet:
            with el("details", "more-rows"):
                el("summary", "", "Show them")
                table(
                    (("brand", ""), ("symptom", ""), ("cars that failed", "number"), ("of", "number"), ("", "")),
                    [(w["brand"], str(w["symptom"]).replace("_", " "), f"{w['failed']:,}", f"{w['cars']:,}", w["says"]) for w in quiet[:WATCHED_SHOWN]],
                )  # fmt: skip
                if len(quiet) > WATCHED_SHOWN:
                    el("p", "muted", f"{len(quiet) - WATCHED_SHOWN:,} more, with fewer failures.")
    with el("section"):
        el("h2", "", f"Held back: {plural(len(look['held']), 'signal')}")
        if look["held"]:
            _signals(look["held"], True)
        else:
            el("p", "muted", "None: nothing stands out on complaints alone, or at one dealer alone.")
    with el("section"):
        el("h2", "", f"Problems in the data: {sum(p['count'] for p in look['problems']):,}")
        if look["problems"]:
            table(
                (("what", ""), ("table", ""), ("rows", "number"), ("e.g.", "")),
                [
                    (p["what"], p["table"], f"{p['count']:,}", ", ".join(p["examples"]))
                    for p in look["problems"]
                ],
            )
        else:
            el("p", "muted", "None was found in what the loop reads.")
        el(
            "p",
            "muted",
            f"Looked at {moment(look['looked_at'])}, in {num(look['seconds'])} s. Counted and worked around; nothing of it stops a case.",
        )


def _signals(signals: list[dict[str, Any]], held: bool) -> None:
    head = [
        ("since", "when"),
        ("what", ""),
        ("cars failed", "number"),
        ("expected", "number"),
        ("times as often", "number"),
    ]
    rows = [
        [
            when(s["since"]),
            heading(s),
            f"{s['observed']:,}",
            num(s["expected"], 2),
            f"{num(s['ratio'], 2)} ({span(s['low'], s['high'])})",
        ]
        for s in signals
    ]
    if held:
        head.append(("held back because", ""))
        rows = [[*row, s["held"]] for row, s in zip(rows, signals, strict=True)]
    table(head, rows)


def _not_looked(web: Web, again: Any) -> None:
    with el("section"):
        el("h2", "", "What is watched")
        el(
            "p",
            "muted",
            "Symptoms that are quiet, signals held back with the reason, and problems in the data appear here after a look.",
        )
        told = el("p", "look", "", role="status")
        button = el("button", "plain", "Look now", type="button")

        async def look() -> None:
            began = datetime.now(UTC)
            told.text = "Looking at every symptom of every brand …"
            button.props["disabled"] = ""
            try:
                done = await run.io_bound(lambda: web.reader.get(watched.look_now, seconds=0.0))
            except UnibodyError as e:
                told.text = f"Not looked: {e}. Nothing was changed."
                button.props.pop("disabled", None)
                return
            if not done:
                told.text = "No use case asks the loop; ours is usecases/loop/field_causes.toml."
                return
            web.reader.forget()
            told.text = f"Looked in {(datetime.now(UTC) - began).total_seconds():.0f} s."
            await again()

        button.on("click", look)
