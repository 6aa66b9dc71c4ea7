"""The frame around every page: rail, search, theme, help; and the few pieces that all pages are made of.

Text out of data goes into elements as text (`el`), never as HTML, and into addresses through `to`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import run, ui

from unibody.backbone import pages
from unibody.backbone.pages import Reader
from unibody.errors import UnibodyError

FOLDER = Path(__file__).parent
#: So that a browser never mixes an old style with a new page.
STAMP = sha256(b"".join((FOLDER / f).read_bytes() for f in ("style.css", "app.js"))).hexdigest()[:10]
HEAD = (
    f'<link rel="stylesheet" href="/static/style.css?{STAMP}"><script src="/static/app.js?{STAMP}"></script>'
)
ROOMS = (
    ("Home", "/", "M3 10.5 12 3l9 7.5V21h-6v-6H9v6H3z"),
    ("Decisions", "/decisions", "M4 5h16v10H13l-5 5v-5H4z"),
    ("Loop", "/loop", "M19.5 9A8 8 0 0 0 5 8M4.5 15A8 8 0 0 0 19 16M5 3.5V8h4.5M19 20.5V16h-4.5"),
    ("Investigate", "/investigate", "M10 4a6 6 0 1 0 0 12 6 6 0 0 0 0-12M14.5 14.5 20 20M7.5 10h5M10 7.5v5"),
    ("Data", "/data", "M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0zM4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0"),
    ("Use cases", "/usecases", "M4 20V10M10 20V4M16 20v-8M21 20H3"),
)
KEYS = (
    ("j  k", "next, previous"), ("Enter", "open"), ("a", "approve"), ("d", "dismiss"), ("Ctrl Enter", "confirm"),
    ("Esc", "close"), ("/", "search"), ("?", "this help"),
)  # fmt: skip
PATIENCE = 0.2  # seconds a page waits for its answer before it shows where the answer will be


@dataclass
class Web:
    """What every page needs: where to read, who is there, and what the schedule says."""

    reader: Reader
    by: str
    failed: dict[str, str] = field(default_factory=dict)  # use case -> why the schedule could not run it


def el(tag: str, classes: str = "", text: Any = None, **attributes: Any) -> Any:
    """An HTML element; `text` is shown as text whatever it holds. `class_` style names: `aria_label=` is aria-label."""
    found = ui.element(tag) if text is None else ui.label(str(text))
    found.tag = tag
    if classes:
        found.classes(classes)
    for name, value in attributes.items():
        if value is not None and value is not False:
            found.props[name.rstrip("_").replace("_", "-")] = "" if value is True else str(value)
    return found


def to(*parts: str, **query: Any) -> str:
    """An address of ours: `to("data", "source", id, record=3)`."""
    asked = urlencode({k: v for k, v in query.items() if v not in ("", None)})
    return "/" + "/".join(quote(p, safe="") for p in parts) + (f"?{asked}" if asked else "")


def icon(path: str) -> None:
    """A small line drawing."""
    with el("svg", "icon", viewBox="0 0 24 24", aria_hidden="true"):
        drawn = el("path")
        drawn.props["d"] = path


@contextmanager
def frame(web: Web, room: str, question: str, q: str = "", title: str = "") -> Iterator[Any]:
    """Rail, top and the page's one question; what is drawn inside is the answer."""
    ui.add_head_html(HEAD)
    ui.page_title(f"{title or room} · Unibody")
    el("a", "skip", "Skip to the answer", href="#answer")
    badges: dict[str, Any] = {}
    with el("nav", "rail", aria_label="Rooms"):
        el("a", "mark", "Unibody", href="/", tabindex="-1")
        for name, path, drawing in ROOMS:
            with el("a", "room", href=path, aria_current="page" if name == room else None):
                icon(drawing)
                el("span", "", name)
                if name in ("Decisions", "Loop"):
                    badges[name] = el("span", "badge", "")
                    badges[name].visible = False
    with el("div", "page"):
        with el("header", "top"):
            with el("form", "search", action="/search", method="get", role="search"):
                field_ = el(
                    "input",
                    "",
                    type="search",
                    name="q",
                    placeholder="Search decisions, machines, sources, tables, use cases",
                )
                field_.props["aria-label"], field_.props["data-key"] = "Search everything", "/"
                field_.props["maxlength"], field_.props["value"] = "200", q
                el("kbd", "hint", "/")
            with el("button", "quiet", type="button", data_theme="", aria_label="Light or dark"):
                icon("M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z")
            el("button", "quiet keys", "?", type="button", data_key="?", aria_label="Keyboard help")
            el("span", "person", web.by, title="Signed in on this machine")
        with el("main", id="answer") as main:
            if question:
                el("h1", "", question)
            yield main
    _help()

    async def count() -> None:
        try:
            waiting = [d for d in await ask(web, pages.decisions) if d["state"] == "proposed"]
        except UnibodyError:
            return
        # a case with two causes has two bundles, and one decision that opens it
        cases = {d["bundle"] for d in waiting if d["bundle"] and d["action"] == pages.OPENS}
        for name, count in (("Decisions", len(waiting)), ("Loop", len(cases))):
            badges[name].text, badges[name].visible = f"{count:,}", count > 0

    ui.timer(0.05, count, once=True)
    ui.timer(15.0, count)


def _help() -> None:
    with el("dialog", "help", aria_label="Keyboard"):
        el("h2", "", "Keyboard")
        with el("dl"):
            for key, meaning in KEYS:
                el("dt", "", key)
                el("dd", "", meaning)
        with el("form", method="dialog"):
            el("button", "plain", "Close")


async def ask(web: Web, question: Callable[..., Any], *args: Any, seconds: float = 3.0) -> Any:
    """Ask the backbone away from the event loop."""
    return await run.io_bound(lambda: web.reader.get(question, *args, seconds=seconds))


async def fill(place: Any, asked: Any, draw: Callable[[Any], None], shape: str = "lines") -> None:
    """Draw an answer into its place; a skeleton where it takes longer, words of help where it fails."""
    task = asyncio.ensure_future(asked)
    place.props["aria-busy"] = "true"
    done, _ = await asyncio.wait([task], timeout=PATIENCE)
    if not done:
        with place:
            skeleton(shape)
        await ui.context.client.connected()
    try:
        answer = await task
    except Exception as e:  # whatever it is, the person must read it, and not look at a skeleton for ever
        answer, draw = (
            e,
            lambda e: trouble(str(e) if isinstance(e, UnibodyError) else f"{type(e).__name__}: {e}"),
        )
    place.clear()
    place.props["aria-busy"] = "false"
    with place:
        draw(answer)


def skeleton(shape: str) -> None:
    """Where the answer will be."""
    with el("div", f"skeleton {shape}", role="status", aria_label="Loading"):
        for _ in range(5):
            el("div")


def trouble(
    what: str,
    safe: str = "Nothing was changed. Your data and decisions are as they were.",
    again: bool = True,
) -> None:
    """An error: what happened, what is safe, what to do."""
    with el("section", "state trouble", role="alert"):
        el("h2", "", "This could not be shown")
        el("p", "what", what)
        el("p", "muted", safe)
        if again:
            el("button", "plain", "Try again", type="button", data_reload="")


def empty(what: str, how: str, command: str = "") -> None:
    """Nothing here yet: what will appear, and how to make it appear."""
    with el("section", "state"):
        el("h2", "", what)
        el("p", "muted", how)
        if command:
            el("code", "command", command, data_copy="", tabindex="0", title="Click to copy")


# ---- words and numbers


def num(x: float | None, digits: int = 3) -> str:
    """A number with as many digits as it deserves.

    >>> num(10.9632), num(61234.0), num(None), num(0.97), num(1204.4)
    ('11', '61,234', '–', '0.97', '1,204')
    """
    if x is None or x != x:
        return "–"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    text = f"{x:.{digits}g}"
    return text if "e" not in text or abs(x) < 1e-4 else f"{x:.0f}"


def one(x: float | None) -> str:
    """A score to one place where it is large: 11.0 beside 36.1."""
    return (
        "–"
        if x is None or x != x
        else f"{x:,.1f}"
        if abs(x) >= 10
        else f"{x:.2f}"
        if abs(x) >= 1
        else f"{x:.3f}"
    )


def eur(x: float | None) -> str:
    """Money, shortly."""
    return "–" if x is None or x != x else f"EUR {x / 1e6:,.1f}M" if abs(x) >= 1e6 else f"EUR {x:,.0f}"


def sure(x: float | None) -> str:
    """A probability: two places, always."""
    return "–" if x is None or x != x else f"{x:.2f}"


def told(d: dict[str, Any]) -> tuple[str, str]:
    """What a decision is about, as its reason names it, and why: "CV02 (part S1): about 3 h left" parted at the colon."""
    head, colon, why = str(d["reason"]).partition(": ")
    return (
        (head, why)
        if colon and d["subject"] in head and len(head) <= len(d["subject"]) + 40
        else (d["subject"], d["reason"])
    )


def measure(metric: str) -> str:
    """A measure's name as people write it: RMSE, but average precision."""
    return metric.upper() if metric in ("rmse", "mae", "auc") else metric


def sentence(text: str) -> str:
    """With a capital at its start."""
    return text[:1].upper() + text[1:]


def instant(at: Any) -> datetime | None:
    """What the ledger (text) or the lake (datetime) says, as a datetime of this machine's zone."""
    if at is None or at == "":
        return None
    found = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone()


def when(at: Any) -> str:
    """Today the hour, else the day: `14:05`, `22 Nov`, `9 Jan 2008`."""
    t = instant(at)
    if t is None:
        return "–"
    now = datetime.now(UTC).astimezone()
    if t.date() == now.date():
        return f"{t:%H:%M}"
    return f"{t.day} {t:%b}" if t.year == now.year else f"{t.day} {t:%b %Y}"


def moment(at: Any) -> str:
    """Day and hour: `9 Jan 2008, 11:00`."""
    t = instant(at)
    return "–" if t is None else f"{t.day} {t:%b %Y, %H:%M}"


def span(low: float | None, high: float | None) -> str:
    """An interval, or nothing."""
    return "" if low is None or high is None or low != low or high != high else f"{num(low)} to {num(high)}"


def plural(n: int, word: str) -> str:
    """`1 car`, `412 cars`."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"
