"""Decisions: what needs a decision today?"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from unibody.backbone import pages
from unibody.errors import UnibodyError
from unibody.web import decision
from unibody.web.shell import (
    Web,
    ask,
    el,
    empty,
    eur,
    fill,
    frame,
    moment,
    sure,
    to,
    told,
    trouble,
    when,
)

STATES = ("proposed", "approved", "dismissed", "sent", "confirmed", "reverted")
SHOWN = 50
#: A plain click opens beside the list; with a modifier the browser does what it always does.
OPENS = "(e) => { if (!e.metaKey && !e.ctrlKey && !e.shiftKey) { e.preventDefault(); emit(); } }"


def add(web: Web) -> None:
    """Put the page up."""

    async def inbox(
        usecase: str = "",
        state: str = "proposed",
        risk: str = "",
        q: str = "",
        id: str = "",
        show: int = SHOWN,
    ) -> None:
        chosen = {
            "usecase": usecase[:200],
            "state": "" if state == "all" else state[:20],
            "risk": risk[:10],
            "q": q[:200],
        }
        await Inbox(web, chosen, id[:64], min(max(show, SHOWN), 500)).draw()

    ui.page("/decisions")(inbox)


class Inbox:
    """The list, and one decision opened beside it."""

    def __init__(self, web: Web, chosen: dict[str, str], opened: str, show: int) -> None:
        self.web, self.chosen, self.opened, self.show = web, chosen, opened, show
        self.rows: dict[str, Any] = {}
        self.seen: set[str] = set()

    def address(self, opened: str = "", **other: Any) -> str:
        """The URL that brings this back."""
        asked: dict[str, Any] = {
            **self.chosen,
            "state": self.chosen["state"] or "all",
            "id": opened,
            "show": self.show if self.show != SHOWN else "",
            **other,
        }
        if asked["state"] == "proposed":
            asked["state"] = ""
        return to("decisions", **asked)

    async def draw(self) -> None:
        """Both parts."""
        with frame(self.web, "Decisions", "What needs a decision today?"):
            self.root = el("div", "inbox has-open" if self.opened else "inbox")
            with self.root:
                with el("div", "pane list") as pane:
                    self.pane = pane
                    self.filters = el("div")
                    self.news = el("div")
                    self.place = el("div")
                self.detail = el("article", "pane detail", aria_live="polite")
        await fill(self.place, ask(self.web, pages.decisions), self._list, "rows")
        if self.opened:
            await self._detail()
        ui.timer(5.0, self._look)

    # ---- the list

    def _list(self, every: list[dict[str, Any]]) -> None:
        found = pages.matching(every, **self.chosen)
        self.seen = {d["decision_id"] for d in every}
        with self.filters:
            self._filters(every)
        if not every:
            empty(
                "No decisions yet",
                "When a use case has run, what it proposes appears here.",
                "unibody run --all",
            )
            return
        if not found:
            empty(
                "Nothing here",
                "No decision passes these filters."
                if self.chosen["state"] != "proposed" or self.chosen["q"]
                else "Everything proposed was decided.",
            )
            el("a", "more", "Show all decisions", href="/decisions?state=all")
            return
        el("p", "muted count", f"{len(found):,} of {len(every):,}, most urgent first")
        with el("div", "rows", role="list"):
            with el("div", "row head", aria_hidden="true"):
                for name in ("when", "about", "do what", "why, in one line", "worth", "sure"):
                    el("span", "number" if name in ("worth", "sure") else "", name)
            for d in found[: self.show]:
                self._row(d)
        if len(found) > self.show:
            el(
                "a",
                "more",
                f"Show {min(SHOWN, len(found) - self.show)} more",
                href=self.address(self.opened, show=self.show + SHOWN),
            )

    def _row(self, d: dict[str, Any]) -> None:
        here = d["decision_id"] == self.opened
        row = el(
            "a",
            f"row state-{d['state']}{' on' if here else ''}",
            href=self.address(d["decision_id"]),
            data_row="",
            role="listitem",
        )
        with row:
            el("span", "when", when(d["decided_at"]), title=moment(d["decided_at"]))
            with el("span", "about"):
                el("strong", "", told(d)[0])
            with el("span", "do"):
                el("span", "", d["action"])
                if d["state"] != "proposed":
                    el("span", f"chip {d['state']}", d["sent"])
            el("span", "why", told(d)[1])
            el("span", "worth number", eur(d["worth_eur"]))
            el("span", "sure number", sure(d["sure"]))

        async def open_() -> None:
            await self._open(d["decision_id"])

        row.on("click", open_, js_handler=OPENS)
        self.rows[d["decision_id"]] = row

    def _filters(self, every: list[dict[str, Any]]) -> None:
        with el("form", "filters", action="/decisions", method="get"):
            self._select(
                "state",
                "State",
                [("all", "any state"), *((s, s) for s in STATES)],
                self.chosen["state"] or "all",
            )
            self._select(
                "usecase",
                "Use case",
                [("", "any use case"), *((u, u) for u in sorted({d["usecase"] for d in every}))],
                self.chosen["usecase"],
            )
            self._select(
                "risk",
                "Risk",
                [("", "any risk"), *((r, f"{r} risk") for r in ("low", "medium", "high"))],
                self.chosen["risk"],
            )
            field = el(
                "input",
                "",
                type="search",
                name="q",
                placeholder="Filter",
                aria_label="Filter by words",
                maxlength="200",
            )
            field.props["value"] = self.chosen["q"]

    @staticmethod
    def _select(name: str, label: str, options: list[tuple[str, str]], chosen: str) -> None:
        with el("select", "", name=name, aria_label=label):
            for value, text in options:
                option = el("option", "", text, selected=value == chosen)
                option.props["value"] = value

    async def _look(self) -> None:
        """New decisions are announced, never pushed under the reader's eyes."""
        try:
            every = await ask(self.web, pages.decisions)
        except UnibodyError:
            return
        new = len({d["decision_id"] for d in every} - self.seen)
        self.news.clear()
        if new:
            with self.news:
                el("a", "news", f"{new:,} new: show", href=self.address(self.opened))

    # ---- one decision

    async def _open(self, decision_id: str) -> None:
        if self.opened in self.rows:
            self.rows[self.opened].classes(remove="on")
        self.opened = decision_id
        self.rows[decision_id].classes(add="on")
        self.root.classes(add="has-open")
        ui.navigate.history.push(self.address(decision_id))
        await self._detail()

    async def _detail(self) -> None:
        wanted = self.opened

        def draw(d: dict[str, Any]) -> None:
            if wanted == self.opened:
                decision.draw(self.web, d, self.address(), self._moved)

        self.detail.clear()
        await fill(self.detail, ask(self.web, pages.decision, wanted), draw, "detail")

    async def _moved(self, decision_id: str) -> None:
        """Show the new state, in place: the list does not jump."""
        with self.root:  # the button that was clicked, and with it the place to draw in, is about to go
            await self._detail()
            await self._restate(decision_id)

    async def _restate(self, decision_id: str) -> None:
        row = self.rows.get(decision_id)
        try:
            d = await ask(self.web, pages.decision, decision_id)
        except UnibodyError as e:
            with self.detail:
                trouble(str(e))
            return
        if row is not None:
            row.classes(remove="state-proposed state-approved", add=f"state-{d['state']}")
            with row.default_slot.children[2] as cell:
                for chip in cell.default_slot.children[1:]:
                    chip.delete()
                el("span", f"chip {d['state']}", d["sent"])
            ui.run_javascript("document.querySelector('[data-row].on')?.focus({preventScroll: true})")
