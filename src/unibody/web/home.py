"""Home: is the backbone well, and what changed?"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from unibody.backbone import pages
from unibody.web import charts
from unibody.web.shell import (
    Web,
    ask,
    el,
    empty,
    eur,
    fill,
    frame,
    measure,
    moment,
    one,
    plural,
    span,
    to,
    told,
    when,
)


def add(web: Web) -> None:
    """Put the page up."""

    async def home() -> None:
        with frame(web, "Home", "Is the backbone well, and what changed?"):
            place = el("div", "stack")
        await fill(place, ask(web, pages.overview), lambda seen: _draw(web, seen), "strip")

    ui.page("/")(home)


def _draw(web: Web, seen: dict[str, Any]) -> None:
    el("p", "lead", _sentence(web, seen))
    _strip(seen)
    with el("div", "columns"):
        with el("section"):
            el("h2", "", "Needs a decision")
            _waiting(seen)
        with el("section"):
            el("h2", "", "What we learnt")
            _learnt(web, seen)
    with el("div", "columns"):
        with el("section"):
            el("h2", "", "What came in")
            _came_in(seen)
        with el("section"):
            el("h2", "", "What failed")
            _failed(web, seen)


def _sentence(web: Web, seen: dict[str, Any]) -> str:
    """The answer in words, before anything else."""
    if not seen["records"] and not seen["decisions"]:
        return "Nothing has come in yet."
    faults = [
        *([f"{plural(seen['quarantined'], 'record')} could not land"] if seen["quarantined"] else []),
        *(
            [f"{plural(len(seen['failed']) + len(web.failed), 'run')} failed"]
            if seen["failed"] or web.failed
            else []
        ),
    ]
    waiting = seen["by_state"]["proposed"]
    work = (
        f"{plural(waiting, 'decision')} wait for a person."
        if waiting != 1
        else "1 decision waits for a person."
    )
    return f"{'Look: ' + ' and '.join(faults) + '.' if faults else 'All is well.'} {work} As of {moment(seen['at'])}."


def _strip(seen: dict[str, Any]) -> None:
    states = seen["by_state"]
    moved = states["sent"] + states["confirmed"]
    steps = (
        ("Sources", seen["files"], "/data", plural(seen["records"], "record"), plural(seen["quarantined"], "record") + " in quarantine" if seen["quarantined"] else ""),
        ("Tables", seen["tables"], "/data#tables", plural(seen["rows"], "row"), ""),
        ("Use cases", seen["usecases"], "/usecases", f"{seen['judged']} judged, {seen['beats']} beat their baseline", ""),
        ("Decisions", seen["decisions"], "/decisions", f"{states['proposed']:,} waiting, {states['approved']:,} approved", ""),
        ("Effect", moved, "/decisions?state=sent", f"{states['confirmed']:,} confirmed" if moved else "none sent: no writer is configured", ""),
    )  # fmt: skip
    with el("ol", "strip"):
        for name, count, path, about, look in steps:
            with el("li"), el("a", "", href=path):
                el("span", "name", name)
                el("span", "figure", f"{count:,}")
                el("span", "muted", about)
                if look:
                    el("span", "look", look)


def _waiting(seen: dict[str, Any]) -> None:
    if not seen["waiting"]:
        empty("Nothing waits", "What a use case proposes appears here.", "unibody run --all")
        return
    with el("ul", "lines"):
        for d in seen["waiting"]:
            with (
                el("li"),
                el(
                    "a",
                    "line",
                    href=to("loop", d["bundle"]) if d.get("bundle") else to("decisions", id=d["decision_id"]),
                    data_row="",
                ),
            ):
                with el("span", "grow"):
                    el("strong", "", told(d)[0])
                    el(
                        "span",
                        "muted clip",
                        f"{d['action']}: {told(d)[1]}",
                    )
                el("span", "number", eur(d["worth_eur"]))
    more = seen["by_state"]["proposed"] - len(seen["waiting"])
    if more > 0:
        el("a", "more", f"{more:,} more, most urgent first", href="/decisions?state=proposed")


def _learnt(web: Web, seen: dict[str, Any]) -> None:
    if not seen["learnt"]:
        empty(
            "Nothing was judged yet",
            "Each use case is scored on what was held back, beside a baseline.",
            "unibody judge --all",
        )
        return
    with el("ul", "lines"):
        for case in seen["learnt"]:
            s = case["score"]
            with el("li"), el("a", "line", href=to("usecases", case["usecase"]), data_row=""):
                with el("span", "grow"):
                    el("strong", "clip", case["question"])
                    sure = f" ({span(s['low'], s['high'])})" if span(s["low"], s["high"]) else ""
                    el(
                        "span",
                        "muted",
                        f"{measure(s['metric'])} {one(s['ours'])}{sure}, {s['baseline_name']} {one(s['baseline'])} · {s['units']} units",
                    )
                    charts.scale(s["ours"], s["low"], s["high"], s["baseline"])
                el("span", "when", when(case["judged_at"]))
    place = el("ul", "lines")

    async def live() -> None:
        names = await ask(web, pages.decided_by, seconds=60.0)
        kept = {name: await ask(web, pages.versions, name, seconds=60.0) for name in names}
        for v in pages.gone_live(kept):
            with place, el("li"), el("div", "line"):
                el(
                    "span",
                    "grow",
                    f"{v['usecase']} v{v['version']} went live"
                    if v["live"]
                    else f"{v['usecase']} v{v['version']} was live",
                )
                el("span", "when", when(v["learned_at"]))

    ui.timer(0.3, live, once=True)


def _came_in(seen: dict[str, Any]) -> None:
    if not seen["systems"]:
        empty(
            "No source yet",
            "Bring raw files in; each system, with when it was last seen, appears here.",
            "unibody ingest FOLDER",
        )
        return
    with el("table"):
        with el("thead"), el("tr"):
            for name, right in (
                ("system", ""),
                ("records", "number"),
                ("quarantined", "number"),
                ("last seen", "number"),
            ):
                el("th", right, name)
        with el("tbody"):
            for s in seen["systems"][:8]:
                with el("tr"):
                    with el("td"):
                        el("a", "", s["system"], href=to("data", system=s["system"]))
                    el("td", "number", f"{s['records']:,}")
                    el("td", "number look" if s["quarantined"] else "number muted", f"{s['quarantined']:,}")
                    el("td", "number", when(s["seen_at"]))
    if len(seen["systems"]) > 8:
        el("a", "more", f"{len(seen['systems']) - 8} more systems", href="/data")


def _failed(web: Web, seen: dict[str, Any]) -> None:
    failed = {c["usecase"]: c["error"] for c in seen["failed"]} | web.failed
    if not failed:
        el("p", "muted", "No run of a use case failed." if seen["usecases"] else "No use case ran yet.")
        return
    with el("ul", "lines"):
        for name, why in failed.items():
            with el("li"), el("a", "line", href=to("usecases", name), data_row=""), el("span", "grow"):
                el("strong", "look", name)
                el("span", "muted", why)
