"""Data: what came in, and what could not?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from nicegui import ui

from unibody.backbone import pages
from unibody.tables import SYSTEM
from unibody.web import charts
from unibody.web.shell import Web, ask, el, empty, fill, frame, moment, num, plural, to, when

FILES = 100  # shown of one system
ENTRIES = 100  # shown of the quarantine
CELL = 120  # characters of one value


def add(web: Web) -> None:
    """Put the pages up: data, and one each for a table, a source, a machine, the quarantine."""

    async def everything(system: str = "") -> None:
        with frame(web, "Data", "What came in, and what could not?"):
            place = el("div", "stack")

        def read() -> Any:
            return ask(web, pages.sources) if system else ask(web, pages.status)

        await fill(
            place,
            read(),
            lambda found: _system(system[:200], found) if system else _everything(found),
            "rows",
        )

    async def table(name: str = "") -> None:
        with frame(web, "Data", "", title=name[:60]):
            place = el("div", "stack")
        both = asyncio.gather(ask(web, pages.table, name[:100]), ask(web, pages.first_rows, name[:100], 20))
        await fill(place, both, _table, "rows")

    async def quarantine() -> None:
        with frame(web, "Data", "Which records could not land, and why?", title="Quarantine"):
            place = el("div")
        await fill(place, ask(web, pages.quarantine, ENTRIES), _quarantine, "rows")

    async def source(id: str = "", record: str = "") -> None:
        number = int(record) if record.lstrip("-").isdigit() and len(record) < 16 else None
        with frame(web, "Data", "What did this source become?", title="Source"):
            place = el("div", "stack")
        await fill(place, ask(web, pages.lineage, id[:200], number), _lineage, "rows")

    async def machine(name: str = "") -> None:
        with frame(web, "Data", f"What does {name[:200]} say?", title=name[:60]):
            place = el("div")
        await fill(place, ask(web, pages.series, name[:200], (), 300, seconds=30.0), _machine, "charts")

    for path, page in (
        ("/data", everything),
        ("/data/table", table),
        ("/data/quarantine", quarantine),
        ("/data/source", source),
        ("/data/machine", machine),
    ):
        ui.page(path)(page)


def grid(columns: list[tuple[str, str]]) -> Any:
    """A plain table's head; give back its body, to be filled. A column is its name and "number" or ""."""
    with el("div", "scroll", tabindex="-1"), el("table"):
        with el("thead"), el("tr"):
            for name, side in columns:
                el("th", side, name)
        return el("tbody")


def _everything(found: dict[str, Any]) -> None:
    if not found["sources"]:
        empty(
            "Nothing came in yet",
            "Bring raw files in: each system, table and refused record appears here.",
            "unibody ingest FOLDER",
        )
        _tables(found["tables"])
        return
    systems = sorted(found["sources"].items(), key=lambda kv: kv[1]["seen_at"], reverse=True)
    records = sum(s["records"] for _, s in systems)
    with el("p", "lead"):
        el("span", "", f"{plural(records, 'record')} came in from {plural(len(systems), 'system')}; ")
        if found["quarantined"]:
            el(
                "a",
                "look",
                f"{plural(found['quarantined'], 'record')} could not land: look",
                href="/data/quarantine",
            )
        else:
            el("span", "", "all of them landed, were known already, or were set aside by a named rule.")
    with el("section"):
        el("h2", "", "Sources")
        with grid(
            [
                ("system", ""),
                ("files", "number wide"),
                ("records", "number"),
                ("landed", "number wide"),
                ("quarantined", "number"),
                ("last seen", "number"),
            ]
        ):
            for name, s in systems:
                with el("tr"):
                    with el("td"):
                        el("a", "", name, href=to("data", system=name), data_row="")
                    el("td", "number wide", f"{s['files']:,}")
                    el("td", "number", f"{s['records']:,}")
                    el("td", "number wide", f"{s['landed']:,}")
                    el("td", "number look" if s["quarantined"] else "number muted", f"{s['quarantined']:,}")
                    el("td", "number", when(s["seen_at"]), title=moment(s["seen_at"]))
    _tables(found["tables"])


def _tables(stored: dict[str, Any]) -> None:
    with el("section", id="tables"):
        el("h2", "", "Tables")
        if not stored:
            el("p", "muted", "None yet.")
            return
        with grid([("table", ""), ("rows", "number"), ("MB", "number"), ("files", "number wide")]):
            for title, t in sorted(stored.items(), key=lambda kv: (kv[0].startswith("_"), -kv[1]["rows"])):
                with el("tr"):
                    with el("td"):
                        el("a", "", title, href=to("data", "table", name=title), data_row="")
                    el("td", "number", f"{t['rows']:,}")
                    el("td", "number", f"{t['bytes'] / 1e6:,.2f}")
                    el("td", "number wide", f"{t['files']:,}")


def _system(system: str, every: list[dict[str, Any]]) -> None:
    found = [s for s in every if s["system"] == system]
    el("a", "back", "‹ All data", href="/data", data_key="esc")
    el("h2", "big", system)
    if not found:
        empty("Nothing from this system", "No file of this name's dialect came in.", "unibody ingest FOLDER")
        return
    el(
        "p",
        "muted",
        f"{plural(len(found), 'file')}, newest first"
        + (f"; the first {FILES}" if len(found) > FILES else ""),
    )
    with grid(
        [
            ("file", ""),
            ("dialect", "wide"),
            ("records", "number"),
            ("landed", "number wide"),
            ("quarantined", "number"),
            ("seen", "number"),
        ]
    ):
        for s in found[:FILES]:
            with el("tr"):
                with el("td", "wrap"):
                    el(
                        "a",
                        "",
                        Path(s["path"]).name,
                        href=to("data", "source", id=s["source_id"]),
                        data_row="",
                        title=s["path"],
                    )
                el("td", "wide", f"{s['dialect']}, {s['kind']}")
                el("td", "number", "not finished" if s["records"] is None else f"{s['records']:,}")
                el("td", "number wide", f"{s['landed'] or 0:,}")
                el("td", "number look" if s["quarantined"] else "number muted", f"{s['quarantined'] or 0:,}")
                el("td", "number", when(s["seen_at"]), title=moment(s["seen_at"]))


def _table(found: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    _columns(found[0])
    _rows("First rows", found[1])


def _columns(found: dict[str, Any]) -> None:
    el("a", "back", "‹ All data", href="/data", data_key="esc")
    el("h2", "big", found["table"])
    clock = f"; its use is counted by {found['usage_in']}" if found["usage_in"] else ""
    el(
        "p",
        "lead",
        f"{found['about']} One row a {', '.join(found['key'])}; it happened at {found['at']}{clock}.",
    )
    with grid(
        [("column", ""), ("type", ""), ("unit", ""), ("meaning", ""), ("allowed", ""), ("who may see it", "")]
    ):
        for c in found["columns"]:
            with el("tr"):
                el("td", "mono", c["column"])
                el("td", "muted", c["type"])
                el("td", "", c["unit"] or "")
                el("td", "", c["meaning"] + (" (required)" if c["required"] else ""))
                el("td", "muted", c["allowed"])
                el(
                    "td",
                    "look" if c["sensitivity"] in ("personal", "location", "health") else "muted",
                    c["sensitivity"],
                )


def _rows(title: str, found: list[dict[str, Any]]) -> None:
    el("h3", "", title)
    if not found:
        empty(
            "No rows yet", "They appear here as soon as a source fills this table.", "unibody ingest FOLDER"
        )
        return
    names = [n for n in found[0] if n not in SYSTEM and any(r[n] is not None for r in found)]
    with grid([*((n, "number" if _is_number(found, n) else "") for n in names), ("from", "")]):
        for row in found:
            with el("tr"):
                for n in names:
                    el("td", "number" if _is_number(found, n) else "", cell(row[n]))
                with el("td"):
                    source, record = str(row.get("source") or ""), row.get("record")
                    if source and not source.startswith("usecase:"):
                        el(
                            "a",
                            "mono",
                            f"{source[:6]}:{record}",
                            href=to("data", "source", id=source, record=record),
                            title="The record it came from",
                        )
                    else:
                        el("span", "muted", source)


def _is_number(rows: list[dict[str, Any]], name: str) -> bool:
    return all(isinstance(r[name], int | float) or r[name] is None for r in rows)


def cell(value: Any) -> str:
    """A value as text, cut where it is long."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return num(value, 6)
    if hasattr(value, "isoformat"):
        return moment(value)
    text = str(value)
    return text if len(text) <= CELL else text[:CELL] + "…"


def _quarantine(found: tuple[list[dict[str, Any]], int]) -> None:
    entries, count = found
    el("a", "back", "‹ All data", href="/data", data_key="esc")
    if not entries:
        empty(
            "Nothing is in quarantine",
            "A record that breaks its dialect's rules is kept here, with what is wrong and what would have been right.",
        )
        return
    rules = len({e["rule"] for e in entries})
    with el("p", "lead"):
        el(
            "span",
            "",
            f"{plural(count, 'record')} {'waits' if count == 1 else 'wait'}, for {plural(rules, 'reason')}"
            + (f" among the newest {ENTRIES}" if count > ENTRIES else "")
            + ". Nothing is lost: mend the dialect, then ",
        )
        el("code", "command", "unibody lake replay", data_copy="", tabindex="0")
    with el("ul", "lines"):
        for e in entries:
            with el("li", "entry"):
                with el("p"):
                    el("strong", "look", e["rule"])
                with el("p", "muted"):
                    place = "the file as a whole" if e["from_record"] < 0 else f"record {e['from_record']:,}"
                    el(
                        "a",
                        "",
                        Path(e["path"] or e["from_source"]).name,
                        href=to("data", "source", id=e["from_source"]),
                        data_row="",
                    )
                    el("span", "", f", {place} · {e['dialect']}, {e['kind']} · found {when(e['found_at'])}")
                if e["raw"]:
                    el("pre", "raw", e["raw"][:4000] + ("…" if len(e["raw"]) > 4000 else ""))


def _lineage(found: dict[str, Any]) -> None:
    s, record = found["source"], found["record"]
    el("a", "back", f"‹ {s['system']}", href=to("data", system=s["system"]), data_key="esc")
    el("h2", "big", Path(s["path"]).name)
    el("p", "muted wrap", s["path"])
    with el("dl", "facts"):
        for name, value in (
            ("Records", num(s["records"])),
            ("Landed", f"{s['landed'] or 0:,}"),
            ("Quarantined", f"{s['quarantined'] or 0:,}"),
            ("Seen", moment(s["seen_at"])),
            ("Dialect", f"{s['dialect']}, {s['kind']}"),
            ("Bytes", f"{s['bytes']:,}"),
        ):
            with el("div"):
                el("dt", "", name)
                el("dd", "", value)
    aside = json.loads(s["set_aside"] or "{}")
    if aside:
        el("p", "muted", "Set aside by rule: " + ", ".join(f"{rule} ({n:,})" for rule, n in aside.items()))
    if record is not None:
        el("h3", "", f"Record {record:,} became")
        if not found["rows"]:
            el("p", "muted", "No row: it is in quarantine, was set aside, or there is no such record.")
        for title, rows in found["rows"].items():
            _rows(title, rows)
        el("a", "more", "All records of this source", href=to("data", "source", id=s["source_id"]))
        return
    with el("section"):
        el("h3", "", "It became")
        with el("div", "flow"):
            el("span", "node", f"{plural(s['records'] or 0, 'record')}")
            el("span", "muted", "→")
            with el("span", "stackedness"):
                for title, count in found["rows"].items():
                    with el("a", "node", href=to("data", "table", name=title)):
                        el("strong", "", title)
                        el("span", "muted", f" {plural(count, 'row')}")
                if s["quarantined"]:
                    el("a", "node look", f"quarantine {s['quarantined']:,}", href="/data/quarantine")
                if not found["rows"] and not s["quarantined"]:
                    el("span", "muted", "no rows")
    with el("section"):
        el("h3", "", "One record and its rows")
        with el("form", "filters", action="/data/source", method="get"):
            el("input", "", type="hidden", name="id").props["value"] = s["source_id"]
            el(
                "input",
                "",
                type="number",
                name="record",
                min="0",
                max=str(max(0, (s["records"] or 1) - 1)),
                placeholder="Record, from 0",
                aria_label="Record number, from 0",
            )
            el("button", "plain", "Show its rows", type="submit")


def _machine(found: list[dict[str, Any]]) -> None:
    moved = [s for s in found if s["moved"] in ("above", "below")]
    last = max(s["last_at"] for s in found)
    el(
        "p",
        "lead",
        f"{len(moved)} of {plural(len(found), 'signal')} left their early range. Last reading {moment(last)}.",
    )
    with el("div", "multiples"):
        for signal in sorted(found, key=lambda s: s["moved"] not in ("above", "below"))[:24]:
            charts.series(signal)
        el(
            "p",
            "muted legend",
            "Blue: the readings. Grey: the middle of this machine's first 30 % of readings, ± 2 standard deviations.",
        )
