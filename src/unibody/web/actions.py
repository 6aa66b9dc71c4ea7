"""What a case proposes: approved together, in one transaction, or dismissed one by one, each with what it does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import run, ui

from unibody.api import MOVES, needs_note
from unibody.backbone import tracing
from unibody.errors import UnibodyError
from unibody.web.shell import Web, el, eur, moment, plural, sentence, to

#: The one that was clicked or reached by the keyboard is the one that `d` dismisses.
MARK = "(e) => { document.querySelectorAll('.proposal.on').forEach((r) => r.classList.remove('on')); e.currentTarget.classList.add('on'); }"
MARKED = "() => emit(document.querySelector('.proposal.on')?.dataset.id ?? '')"
NOTED = "() => emit(document.getElementById('note').value)"


class Actions:
    """The proposals of a case, approved together or dismissed one by one."""

    def __init__(self, web: Web, found: dict[str, Any], again: Callable[[], Awaitable[None]]) -> None:
        self.web, self.found, self.again = web, found, again
        self.decisions = found["decisions"]
        self.proposed = [d for d in self.decisions if d["state"] == "proposed"]
        self.standing = [d for d in self.decisions if d["state"] in tracing.APPROVED]

    def draw(self) -> None:
        """The list, and the bar that acts."""
        done = f"{len(self.standing)} approved, " if self.standing else ""
        el("h2", "", f"Actions: {done}{len(self.proposed)} to decide")
        if not self.decisions:
            el("p", "muted", "Nothing is proposed: there is no cause to act on yet.")
            return
        with el("ul", "proposals"):
            for d in self.decisions:
                self._row(d)
        if not self.proposed and not self.standing:
            el(
                "p",
                "muted",
                "All were dismissed or taken back; the next trace proposes anew where the evidence changes.",
            )
            return

    def bar(self) -> None:
        """What acts, with the consequence before the click."""
        if not self.proposed and not self.standing:
            return
        with el("section", "act"):
            el("p", "", self._consequence())
            with el("div", "buttons"):
                if self.proposed:
                    el(
                        "button",
                        "primary",
                        f"Approve all ({len(self.proposed)})",
                        type="button",
                        data_key="a",
                    ).on("click", lambda: self._confirm("approve", self.proposed))
                    el("button", "plain", "Dismiss the marked…", type="button", data_key="d").on(
                        "click", self._dismiss, js_handler=MARKED
                    )
                if self.standing:
                    el("button", "plain", f"Take back ({len(self.standing)})…", type="button").on(
                        "click", lambda: self._confirm("revert", self.standing)
                    )
            self.form = el("div", "confirm")
            self.form.visible = False

    def _row(self, d: dict[str, Any]) -> None:
        row = el("li", f"proposal state-{d['state']}", data_id=d["decision_id"])
        row.on("focusin", js_handler=MARK)
        row.on("click", js_handler=MARK)
        with row:
            with el("details"):
                with el("summary", "", data_row=""):
                    el("strong", "", sentence(f"{d['action']}: {d['subject'].replace('_', ' ')}"))
                    el("span", "muted", happens(d))
                el("p", "", sentence(d["reason"]))
                if d["formula"]:
                    el("p", "muted", f"Worth: {d['formula']}")
                el(
                    "p",
                    "muted",
                    f"Goes to {', '.join(d['to'])}."
                    if d["to"]
                    else "No writer is configured for it: it is recorded, and nothing leaves this machine.",
                )
                for name, title in (("message", "What is sent"), ("counter", "What takes it back")):
                    if d[name]:
                        el("h3", "", title)
                        el("pre", "raw", _plain(d[name]))
                with el("p", "muted ids"):
                    el(
                        "a",
                        "",
                        "the decision with its history",
                        href=to("decisions", state="all", id=d["decision_id"]),
                    )
            el("span", "number worth", eur(d["worth_eur"]) if d["worth_eur"] is not None else "")
            with el("span", "does"):
                if d["state"] == "proposed":
                    el("button", "plain", "Dismiss…", type="button", aria_label=f"Dismiss: {d['action']}").on(
                        "click", lambda: self._confirm("dismiss", [d])
                    )
                else:
                    el(
                        "span",
                        f"chip {d['state']}",
                        d["sent"],
                        title=f"by {d['by']}, {moment(d['state_at'])}: {d['note']}",
                    )
        if d["evidence_changed"]:
            el(
                "p",
                "look",
                "Evidence changed since this was approved: the newest revision says something else.",
            )

    def _consequence(self) -> str:
        """What a click does, before the click."""
        # cars and their cost count while the proposals that move them wait
        moves = any((d["message"] or {}).get("kind") in ("campaign", "vehicle_hold") for d in self.proposed)
        cost = sum(s["choice"]["cost_eur"] or 0 for s in self.found["scopes"]) if moves else 0
        sites = {s["site"] for s in _lying(self.proposed) if s.get("site")}
        worth = sum(d["worth_eur"] or 0 for d in self.proposed)
        told = sorted({t for d in self.proposed for t in d["to"]})
        sends = (
            f"{plural(len(told), 'recipient')} will be told"
            if told
            else "No writer is configured: nothing leaves this machine"
        )
        if not self.proposed:
            return "Taking back: whoever was told is told that too; what was not sent yet never goes out."
        facts = [
            *([plural(self.found["vehicles"], "car")] if moves else []),
            *([plural(len(sites), "site")] if sites else []),
            *([f"about {eur(cost)} to act"] if cost else []),
            *([f"worth {eur(worth)} after it"] if worth else []),
        ]
        return f"All {len(self.proposed)} or none{': ' if facts else ''}{', '.join(facts)}. {sends}. Can be undone until dispatch."

    def _dismiss(self, event: Any) -> None:
        marked = [d for d in self.proposed if d["decision_id"] == str(event.args or "")]
        if marked:
            self._confirm("dismiss", marked)
            return
        self.form.clear()
        self.form.visible = True
        with self.form:
            el("p", "look", "Mark one that waits first: j and k, or a click on it.", role="status")

    def _confirm(self, move: str, wanted: list[dict[str, Any]]) -> None:
        """Ask once more, with room for a note."""
        form = self.form
        form.clear()
        form.visible = True
        which = f"all {len(wanted)}" if len(wanted) > 1 else f"“{wanted[0]['action']}”"
        verb = {"approve": "Approve", "dismiss": "Dismiss", "revert": "Take back"}[move]

        async def go(event: Any) -> None:
            note = str(event.args or "")[:2000]
            wanting = needs_note(move, note)
            if wanting:
                said.text = sentence(wanting) + "."
                return
            seen = {d["decision_id"]: d["revision"] for d in wanted}
            try:
                await run.io_bound(
                    tracing.move, self.web.reader.backbone, seen, MOVES[move], self.web.by, note.strip()
                )
            except UnibodyError as e:
                said.text = f"Not done, nothing was moved: {e}."
                return
            self.web.reader.forget()
            await self.again()

        def cancel() -> None:
            form.visible = False

        with form:
            label = f"Note for {which}" if move == "approve" else f"Why do you {verb.lower()} {which}?"
            el("label", "", label, for_="note")
            el("textarea", "", id="note", rows="2", maxlength="2000",
               placeholder="Optional; kept with each decision" if move == "approve" else "Needed; kept with the decision")  # fmt: skip
            said = el("p", "look", "", role="status")
            with el("div", "buttons"):
                el(
                    "button",
                    "primary" if move == "approve" else "danger",
                    f"{verb} {which}",
                    type="button",
                    data_key="ctrl-enter",
                ).on("click", go, js_handler=NOTED)
                el("button", "plain", "Cancel", type="button", data_key="esc").on("click", cancel)
        ui.run_javascript("document.getElementById('note')?.focus()")


def _lying(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where parts lie, as the holds among the proposals say: site, part_number, lot, pieces."""
    said = [s for d in decisions for s in (d["message"] or {}).get("sites") or []]
    return [s for s in said if isinstance(s, dict)]


def in_stock(decisions: list[dict[str, Any]]) -> float:
    """How many parts of the cause may lie in stock."""
    return float(sum(s.get("pieces") or 0 for s in _lying(decisions)))


def happens(d: dict[str, Any]) -> str:
    """What approving one proposal does, in a line; by what is sent, which says more than its name."""
    m = d["message"] or {}
    pieces = [s for s in m.get("sites") or [] if isinstance(s, dict)]
    match m.get("kind"):
        case "stock_block":
            there = sorted({str(s["site"]) for s in pieces if s.get("site")})
            count = sum(s.get("pieces") or 0 for s in pieces)
            many = f"{count:,.0f} parts are blocked" if count else "parts in stock are blocked"
            where = (
                f" at {', '.join(there[:4])}{' and others' if len(there) > 4 else ''}"
                if there
                else ", wherever they lie"
            )
            return many + where
        case "work_order":
            return f"a work order: {m.get('order')}"
        case "quality_notification":
            return "an 8D report is opened and a quality notification sent; the supplier answers"
        case "vehicle_hold":
            return f"{plural(int(m.get('vehicles') or 0), 'car')} not handed over are held and mended first"
        case "campaign":
            return f"a {m.get('type')} campaign is opened for exactly {plural(int(m.get('vehicles') or 0), 'car')}"
        case "dealer_instruction":
            return "the brand's dealers are told what to do with a listed car"
        case "customer_message":
            return (
                f"{plural(len(m.get('recipients') or []), 'message')} go out, each in the customer's language"
            )
    return "the cause is kept as the answer of this case; nothing is sent" if not m else "a message is sent"


def _plain(message: dict[str, Any]) -> str:
    """A message as text, long lists cut: a campaign may name thousands."""
    cut = {
        k: [*v[:20], f"… {len(v) - 20:,} more"] if isinstance(v, list) and len(v) > 20 else v
        for k, v in message.items()
    }
    return json.dumps(cut, indent=2, ensure_ascii=False, default=str)[:8000]
