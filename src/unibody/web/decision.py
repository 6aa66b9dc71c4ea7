"""One decision opened: why, on what evidence, what a click does, and what was done before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import run, ui

from unibody.api import MOVES, needs_note
from unibody.backbone import pages
from unibody.errors import UnibodyError
from unibody.web import charts
from unibody.web.shell import Web, ask, el, eur, fill, moment, num, sentence, span, sure, to, told, when

Moved = Callable[[str], Awaitable[None]]
NOTED = "() => emit(document.getElementById('note').value)"


def draw(web: Web, d: dict[str, Any], back: str, moved: Moved) -> None:
    """Everything about one decision; `back` is the list's address, `moved` is called after a click."""
    el("a", "back", "‹ All decisions", href=back, data_key="esc")
    el("p", "muted", f"{d['question'] or d['usecase']}")
    el("h2", "big", sentence(f"{d['action']}: {told(d)[0]}"))
    el("p", "lead", sentence(told(d)[1]))
    if d["evidence_changed"]:
        el(
            "p",
            "look",
            "Evidence changed since this was approved: the newest revision says something else.",
        )
    with el("dl", "facts"):
        if d["label"]:
            _fact("Which", d["label"])
        if d["value"] is not None:
            _fact(
                "Foreseen",
                f"{num(d['value'])} {d['unit']}".strip(),
                f"interval {span(d['low'], d['high'])}"
                if span(d["low"], d["high"])
                else "no interval stated",
            )
        _fact("Worth", eur(d["worth_eur"]), "saved by acting")
        _fact("Sure", sure(d["sure"]), "probability that it is so")
        _fact("State", d["sent"], f"{when(d['state_at'])}, {d['risk'] or 'no'} risk")
    if d["value"] is not None and d["low"] is not None and d["high"] is not None:
        with el("figure", "foreseen"):
            el(
                "figcaption",
                "",
                f"{num(d['value'])} {d['unit']} foreseen, as of {moment(d['decided_at'])}",
            )
            charts.scale(
                d["value"],
                d["low"],
                d["high"],
                label=f"{num(d['value'])} {d['unit']}, interval {span(d['low'], d['high'])}",
            )
            with el("div", "ends"):
                el("span", "", "now" if min(d["low"], d["value"]) >= 0 else num(d["low"]))
                el("span", "", f"{num(max(d['high'], d['value']) * 1.08)} {d['unit']}")
    el("h3", "", "Evidence")
    place = el("div", "multiples")
    ui.timer(0.01, lambda: _evidence(web, place, d), once=True)
    _actions(web, d, moved)
    _history(d)


async def _evidence(web: Web, place: Any, d: dict[str, Any]) -> None:
    if d.get("bundle"):  # its evidence is the case's, with pictures; as text it would list every car
        with place:
            el("p", "", "It belongs to a case, and is approved together with what else cures it.")
            el(
                "a",
                "more",
                "Open the case: cause, cars, pictures, all its decisions",
                href=to("loop", d["bundle"]),
            )
        return
    plots = [e for e in d["evidence"] if isinstance(e, dict) and e.get("machine")][:3]
    if not plots:
        with place:
            el("p", "muted", "This decision names no readings to plot.")
            if d["evidence"]:
                el("pre", "raw", d["evidence"])
        return
    for item in plots:
        signals = tuple(str(s) for s in item.get("signals", []))[:6]
        foreseen = (
            (d["value"], d["low"], d["high"])
            if d["kind"] == "life" and str(item["machine"]) == d["subject"]
            else None
        )

        def draw(found: list[dict[str, Any]], foreseen: Any = foreseen, item: dict[str, Any] = item) -> None:
            for signal in found[:6]:
                charts.series(signal, d["unit"] if foreseen else "", foreseen)
            legend = "Blue: the readings. Grey: the middle of this machine's first 30 % of readings, ± 2 standard deviations."
            el(
                "p",
                "muted legend",
                legend + (" Amber: when its life ends, with the interval." if foreseen else ""),
            )
            el(
                "a",
                "more legend",
                f"All signals of {item['machine']}",
                href=to("data", "machine", name=str(item["machine"])),
            )

        with place:
            part = el("div", "contents")
        await fill(part, ask(web, pages.series, str(item["machine"]), signals, seconds=30.0), draw, "charts")


def _actions(web: Web, d: dict[str, Any], moved: Moved) -> None:
    moves = {
        "proposed": ("approve", "dismiss"),
        "approved": ("revert",),
        "sent": ("revert",),
        "confirmed": ("revert",),
    }.get(d["state"], ())
    if not moves:
        return
    with el("section", "act"):
        el("p", "", _consequence(d))
        with el("div", "buttons") as buttons:
            form = el("div", "confirm")
            form.visible = False
            for move in moves:
                text = {"approve": f"Approve: {d['action']}", "dismiss": "Dismiss…", "revert": "Revert…"}[
                    move
                ]
                button = el(
                    "button",
                    "primary" if move == "approve" else "plain",
                    text,
                    type="button",
                    data_key=move[0],
                )
                button.on("click", lambda _, m=move, f=form: _confirm(web, f, d, m, moved))
        form.move(buttons.parent_slot.parent)


def _confirm(web: Web, form: Any, d: dict[str, Any], move: str, moved: Moved) -> None:
    """Ask once more, with room for a note, where the button was."""
    form.clear()
    form.visible = True

    async def go(event: Any) -> None:
        note = str(event.args or "")[:2000]
        wanting = needs_note(move, note)
        if wanting:
            said.text = wanting[0].upper() + wanting[1:] + "."
            return
        try:
            await run.io_bound(web.reader.backbone.move, d["decision_id"], MOVES[move], web.by, note.strip())
        except UnibodyError as e:
            said.text = f"Not done: {e}."
            return
        web.reader.forget()
        await moved(d["decision_id"])

    with form:
        el("label", "", "Note" if move == "approve" else f"Why do you {move} it?", for_="note")
        el(
            "textarea",
            "",
            id="note",
            rows="2",
            maxlength="2000",
            placeholder="Optional; kept with the decision"
            if move == "approve"
            else "Needed; kept with the decision",
        )
        said = el("p", "look", "")
        with el("div", "buttons"):
            done = {"approve": f"Approve: {d['action']}", "dismiss": "Dismiss", "revert": "Revert"}[move]
            el(
                "button",
                "primary" if move == "approve" else "danger",
                done,
                type="button",
                data_key="ctrl-enter",
            ).on("click", go, js_handler=NOTED)

            def cancel() -> None:
                form.visible = False

            el("button", "plain", "Cancel", type="button", data_key="esc").on("click", cancel)
    ui.run_javascript("document.getElementById('note')?.focus()")


def _history(d: dict[str, Any]) -> None:
    el("h3", "", "History")
    with el("ol", "history"):
        for step in d["history"]:
            with el("li"):
                el("span", "when", moment(step["at"]))
                el(
                    "span",
                    "",
                    f"{step['state']} by {step['by']}"
                    + (f", revision {step['revision']}" if len(d["revisions"]) > 1 else ""),
                )
                if step["note"]:
                    el("span", "note", f"“{step['note']}”")
    with el("p", "muted ids"):
        el("span", "", f"{d['model'] or 'no model'} · revision {d['revision']} · ")
        el("code", "", d["decision_id"], data_copy="", tabindex="0", title="Click to copy")


def _fact(name: str, value: str, about: str = "") -> None:
    with el("div"):
        el("dt", "", name)
        el("dd", "", value)
        if about:
            el("dd", "muted", about)


def _consequence(d: dict[str, Any]) -> str:
    """What a click does, before the click."""
    if d["state"] == "proposed":
        return "On approval: your name and note are recorded; “approved, not sent: no writer configured”. Nothing leaves this machine, and it can be reverted."
    if d["state"] == "approved":
        return "Approved, not sent: no writer configured. Reverting takes the approval back for good; nothing has to be undone elsewhere."
    return "Reverting takes it back for good."
