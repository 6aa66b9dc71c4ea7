"""Use cases: which questions are answered, and how well?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from unibody.backbone import pages
from unibody.errors import UnibodyError
from unibody.web import charts
from unibody.web.data import grid
from unibody.web.shell import (
    Web,
    ask,
    el,
    empty,
    fill,
    frame,
    measure,
    moment,
    num,
    one,
    plural,
    span,
    to,
    when,
)

STATES = {
    "live": "live", "judged": "judged, no decisions yet", "not judged": "not judged yet", "failed": "last run failed", "running": "running now",
}  # fmt: skip


def add(web: Web) -> None:
    """Put the pages up: all questions, and one each."""

    async def every(q: str = "") -> None:
        with frame(web, "Use cases", "Which questions are answered, and how well?"):
            place = el("div")
        await fill(place, ask(web, pages.usecases), lambda found: _every(found, q[:200]), "rows")

    async def single(name: str) -> None:
        with frame(web, "Use cases", "", title=name[:60]):
            place, kept = el("div", "stack"), el("section")
        await fill(place, ask(web, pages.usecase, name[:200]), _one, "detail")

        async def models() -> None:
            try:
                _models(kept, await ask(web, pages.versions, name[:200], seconds=30.0))
            except UnibodyError as e:
                with kept:
                    el("p", "look", f"The kept models cannot be read: {e}")

        ui.timer(0.05, models, once=True)

    async def found(q: str = "") -> None:
        with frame(web, "", "", q=q[:200], title="Search"):
            place = el("div", "stack")
        await fill(place, ask(web, pages.search, q[:200]), lambda hits: _hits(q[:200], hits), "rows")

    ui.page("/usecases")(every)
    ui.page("/usecases/{name}")(single)
    ui.page("/search")(found)


def _every(found: list[dict[str, Any]], q: str) -> None:
    if not found:
        empty("No use case yet", "A use case is a TOML file of about ten lines in the folder usecases/.")
        return
    judged = [c for c in found if c["score"]]
    beats = sum(bool(c["score"]["beats"]) for c in judged)
    el(
        "p",
        "lead",
        f"{plural(len(found), 'question')}, {len(judged)} judged on what was held back; {beats} clearly beat their baseline.",
    )
    with el("div", "cases", role="list"):
        for case in sorted(
            found, key=lambda c: (c["score"] is None, not (c["score"] or {}).get("beats"), c["usecase"])
        ):
            if all(w in f"{case['usecase']} {case['question']}".lower() for w in q.lower().split()):
                _line(case)


def _line(case: dict[str, Any]) -> None:
    s = case["score"]
    with el("a", "case", href=to("usecases", case["usecase"]), data_row="", role="listitem"):
        with el("span", "asks"):
            el("strong", "", case["question"])
            el(
                "span",
                "muted",
                " · ".join(t for t in (case["room"], case["owner"], f"{case['data']} data") if t),
            )
        with el("span", "stands"):
            el("span", f"chip {case['state']}", STATES[case["state"]])
        with el("span", "scored"):
            if s:
                charts.scale(s["ours"], s["low"], s["high"], s["baseline"], label=against(s))
                el("span", "muted", against(s))
            elif case["error"]:
                el("span", "look clip", case["error"])
        el("span", "number", plural(case["decisions"], "decision"))


def against(s: dict[str, Any]) -> str:
    """A score never without its baseline."""
    return f"{measure(s['metric'])} {one(s['ours'])}, {s['baseline_name']} {one(s['baseline'])}"


def _one(c: dict[str, Any]) -> None:
    s = c["score"]
    el("a", "back", "‹ All use cases", href="/usecases", data_key="esc")
    el("h1", "", c["question"])
    with el("p", "muted"):
        el(
            "span",
            "",
            " · ".join(t for t in (c["room"], c["owner"], c["kind"], f"{c['data']} data", c["when"]) if t),
        )
        el("span", f"chip {c['state']}", STATES[c["state"]])
    if c["error"]:
        with el("div", "state trouble"):
            el("p", "", f"The last run, {when(c['last_run'])}, failed.")
            el("p", "what", c["error"])
            el("p", "muted", "Decisions made before stand as they are.")
            el("code", "command", f"unibody run {c['usecase']}", data_copy="", tabindex="0")
    with el("section"):
        el("h3", "", "How well")
        if s:
            _score(c, s)
        elif c["truth"]:
            empty(
                "Not judged yet",
                "It is scored on what was held back, beside a naive baseline and chance.",
                f"unibody judge {c['usecase']}",
            )
        else:
            el("p", "muted", "It names no truth, so it cannot be judged.")
    with el("section"):
        el("h3", "", "What it decided")
        if c["decisions"]:
            el(
                "a",
                "",
                f"{plural(c['decisions'], 'decision')}, {c['waiting']:,} waiting",
                href=to("decisions", usecase=c["usecase"], state="all"),
            )
        else:
            el("p", "muted", "Nothing yet.")
    with el("section"):
        el("h3", "", "As written")
        el("p", "muted wrap", c["path"])
        el("pre", "raw", c["text"] or "The file cannot be read.")


def _score(c: dict[str, Any], s: dict[str, Any]) -> None:
    better = "higher is better" if s["higher_is_better"] else "lower is better"
    word = "beats" if s["beats"] else "does not clearly beat"
    el(
        "p",
        "lead",
        f"{measure(s['metric'])} {one(s['ours'])} ({better}) {word} {s['baseline_name']}, {one(s['baseline'])}, on {plural(s['units'], 'unit')} held back by “{s['split']}”.",
    )
    with el("figure", "judged"):
        charts.scale(s["ours"], s["low"], s["high"], s["baseline"])
        with el("div", "ends"):
            el("span", "", "0")
            el("span", "", "dot: ours with its 95 % interval · bar: the baseline")
    if s["leaks"]:
        with el("div", "state trouble"):
            el("p", "", "The score may be too good: a column gives the answer away.")
            for leak in s["leaks"]:
                el("p", "what", leak)
    facts = [
        (
            "Ours",
            one(s["ours"]),
            f"95 % interval {span(s['low'], s['high'])}"
            if span(s["low"], s["high"])
            else "too few units for an interval",
        ),
        ("Baseline", one(s["baseline"]), s["baseline_name"]),
        ("Chance", one(s["chance"]), ""),
        (
            "Gain",
            one(s["gain"]),
            f"95 % interval {span(s['gain_low'], s['gain_high'])}"
            if span(s["gain_low"], s["gain_high"])
            else "",
        ),
        ("Judged", when(c["judged_at"]), f"{plural(s['rows'], 'question')}, {plural(s['units'], 'unit')}"),
        *((name.replace("_", " "), num(value), "") for name, value in s["extra"].items()),
    ]
    with el("dl", "facts"):
        for name, value, about in facts:
            with el("div"):
                el("dt", "", name)
                el("dd", "", value)
                if about:
                    el("dd", "muted", about)


def _models(place: Any, kept: list[dict[str, Any]]) -> None:
    with place:
        el("h3", "", "Models kept")
        if not kept:
            el("p", "muted", "None yet: the first run learns one.")
            return
        with grid(
            [
                ("version", ""),
                ("learned", ""),
                ("beat the baseline", ""),
                ("gain over the live one", "number"),
                ("score", "number"),
            ]
        ):
            for k in kept[:20]:
                with el("tr"):
                    with el("td"):
                        el("span", "", f"v{k['version']}")
                        if k["live"]:
                            el("span", "chip approved", "live")
                    el("td", "", moment(k["learned_at"]))
                    el("td", "", {"True": "yes", "False": "no"}.get(k["beats"], k["beats"]))
                    el("td", "number", k["gain_over_live"] or "–")
                    el(
                        "td",
                        "number",
                        ", ".join(f"{m} {one(v)}" for m, v in k["metrics"].items() if m != "gain"),
                    )


def _hits(q: str, hits: dict[str, list[dict[str, str]]]) -> None:
    el("h1", "", f"What is there about “{q}”?" if q else "What are you looking for?")
    if not hits:
        empty(
            "Nothing found" if q else "Type a word above",
            "Search looks at decisions, machines, sources, tables and use cases.",
        )
        return
    at: dict[str, tuple[str, Callable[[str], str]]] = {
        "decisions": ("Decisions", lambda n: to("decisions", id=n, state="all")), "usecases": ("Use cases", lambda n: to("usecases", n)),
        "machines": ("Machines", lambda n: to("data", "machine", name=n)), "tables": ("Tables", lambda n: to("data", "table", name=n)),
        "sources": ("Sources", lambda n: to("data", "source", id=n)),
    }  # fmt: skip
    for kind, found in hits.items():
        title, address = at[kind]
        with el("section"):
            el("h2", "", title)
            with el("ul", "lines"):
                for hit in found:
                    with el("li"), el("a", "line", href=address(hit["name"]), data_row=""):
                        el("span", "grow wrap", hit["text"])
                        if kind in ("decisions", "usecases", "sources"):
                            el("span", "mono muted", hit["name"])
