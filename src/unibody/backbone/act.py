"""Act: what was approved goes out, by the writers that the settings name, at least once, with a key; receipts are kept.

Two steps, each safe to kill anywhere: an approved decision and its messages enter the outbox in one transaction; then
what waits is delivered, message by message, each claimed with a lease. docs/decisions/0005-outbox.md says why so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from unibody import engine
from unibody.dialects import writers
from unibody.dialects.writers import Outcome, Parcel, shape
from unibody.dialects.writers.shape import Shape
from unibody.errors import SetupError, nearest
from unibody.lake import Lake
from unibody.ledger import Ledger, Message, State, key_of
from unibody.ledger.outbox import COUNTER, LEASE_SECONDS
from unibody.settings import Route, Settings
from unibody.solution import UseCase
from unibody.tables import Decision

IDS = 500  # decisions read from the lake at once
MAIL_SETTINGS = ("smtp", "smtp_user", "mail_from")


@dataclass(frozen=True)
class Acted:
    """What one `act` did."""

    queued: int = 0  # decisions that went from approved to sent
    not_sent: int = 0  # approved, and no writer is configured for them
    confirmed: int = 0  # messages that the recipient confirmed
    sent: int = 0  # messages handed over
    again: int = 0  # messages that failed and are tried again later
    dead: int = 0  # messages given up now
    refused: Mapping[str, str] | None = None  # decision -> why no message could be made of it; stays approved

    def plain(self) -> dict[str, Any]:
        """As `act --json` shows it."""
        return asdict(self) | {"refused": dict(self.refused or {})}


def routes(settings: Settings, case: UseCase | None, usecase: str, action: str) -> list[Route]:
    """Where an approved decision goes: the settings' `[[act]]` that fit, then the use case's own `notify`.

    `notify` holds "WRITER:TO", e.g. "mail:hall7@example.com". Raises SetupError where one is written otherwise.
    """
    found = [r for r in settings.act if fnmatchcase(usecase, r.usecase) and fnmatchcase(action, r.action)]
    for text in case.notify if case else ():
        writer, colon, to = text.partition(":")
        if not (writer and colon and to):
            raise SetupError(f"use case {usecase}: notify = {text!r} should be like mail:anna@example.com")
        found.append(Route.model_validate({"writer": writer, "to": to}))
    return list({(r.writer, r.to): r for r in reversed(found)}.values())[::-1]


def act(
    lake: Lake,
    ledger: Ledger,
    settings: Settings,
    usecases: Callable[[], Mapping[str, UseCase]],
    seconds_max: float = 30.0,
    lease_seconds: float = LEASE_SECONDS,
) -> Acted:
    """Queue what was approved, then deliver what waits until nothing is due or the time is over.

    Raises StoreError where lake or ledger cannot be used, SetupError where a use case or writer cannot be read (what
    is on its way was delivered all the same); what recipients do is counted, never raised.
    """
    began = time.monotonic()
    queued, not_sent, refused, fault = 0, 0, dict[str, str](), None
    try:
        queued, not_sent, refused = queue(lake, ledger, settings, usecases)
    except SetupError as e:
        fault = e
    counts = {"confirmed": 0, "sent": 0, "again": 0, "dead": 0}
    while time.monotonic() - began < seconds_max:
        state = deliver_one(ledger, settings, lease_seconds)
        if state is None:
            break
        counts[state] += 1
    if fault is not None:
        raise fault
    return Acted(queued=queued, not_sent=not_sent, refused=refused, **counts)


def queue(
    lake: Lake, ledger: Ledger, settings: Settings, usecases: Callable[[], Mapping[str, UseCase]]
) -> tuple[int, int, dict[str, str]]:
    """Approved -> sent with its messages in the outbox: how many, how many have no writer, which refused and why."""
    approved = ledger.in_state("approved")
    if not approved:
        return 0, 0, {}
    cases = usecases()
    if not (settings.act or any(c.notify for c in cases.values())):
        return 0, len(approved), {}
    shapes = shape.find([Path(writers.__file__).parent, settings.writers])
    queued, not_sent, refused = 0, 0, {}
    for state, row in contents(lake, approved.values()):
        try:
            if row is None:
                raise SetupError("its content is not in the lake")
            to = routes(settings, cases.get(row["usecase"]), row["usecase"], row["action"])
            messages = [message(shapes, r, row, settings) for r in to]
        except SetupError as e:
            refused[state.decision_id] = str(e)
            continue
        if not messages:
            not_sent += 1
        else:
            queued += ledger.send(state, messages, by="act")
    return queued, not_sent, refused


def contents(lake: Lake, states: Iterable[State]) -> Iterable[tuple[State, dict[str, Any] | None]]:
    """Each decision with its content as of the revision that was approved, whatever was said since."""
    wanted = list(states)
    for i in range(0, len(wanted), IDS):
        some = {s.decision_id: s for s in wanted[i : i + IDS]}
        rows = lake.rows(Decision)
        rows = rows.filter(rows["decision_id"].isin(list(some))).select(*Decision.columns)
        found = {(r["decision_id"], r["revision"]): r for r in engine.frame(rows).to_dicts()}
        for state in some.values():
            row = found.get((state.decision_id, state.revision))
            yield state, None if row is None else row | {"evidence": _evidence(row["evidence"])}


def _evidence(text: str) -> Any:
    """The evidence parsed; nothing where it is no JSON (its words are then empty, and who needs one refuses)."""
    try:
        return json.loads(text, parse_constant=lambda _: None)  # JSON proper has no NaN
    except (ValueError, RecursionError):
        return []


def message(shapes: Mapping[str, Shape], route: Route, row: Mapping[str, Any], settings: Settings) -> Message:
    """What one recipient is told of one decision, and what would take it back, both made now.

    Raises SetupError where the writer is unknown, lacks a word, or could never deliver there.
    """
    if route.writer not in shapes:
        raise SetupError(f"no writer {route.writer!r}; {nearest(route.writer, shapes)}")
    found = shapes[route.writer]
    options = {**found.options, "transport": found.transport, "secret": route.secret, "bearer": route.bearer}
    writers.transport(found.transport).check(route.to, options | _mail(settings))
    key, now = key_of(row["decision_id"], row["revision"], route.writer, route.to), datetime.now(UTC)
    body = shape.filled(found, shape.words(row, key, "", route.stated, now))
    counter = shape.filled(found, shape.words(row, key + COUNTER, key, route.stated, now), counter=True)
    for made in (body, counter):
        size = len(json.dumps(made))
        if size > shape.BODY_BYTES_MAX:
            raise SetupError(
                f"writer {found.name}: the message is {size:,} bytes, more than {shape.BODY_BYTES_MAX:,}"
            )
    return Message(key, found.name, route.to, options, body, counter)


def deliver_one(ledger: Ledger, settings: Settings, lease_seconds: float = LEASE_SECONDS) -> str | None:
    """Deliver the next message that is due: "confirmed", "sent", "again" or "dead"; None where nothing is due."""
    claimed = ledger.claim(lease_seconds)
    if claimed is None:
        return None
    by = writers.transport(str(claimed.options["transport"]))
    parcel = Parcel(claimed.key, claimed.recipient, claimed.body, {**claimed.options, **_mail(settings)})
    try:
        outcome = by.send(parcel)
    except Exception as e:  # one message that breaks a writer must not hold up all others
        outcome = Outcome("again", error=f"{claimed.options['transport']} broke: {type(e).__name__}: {e}")
    if outcome.state in ("confirmed", "sent"):
        ledger.delivered(claimed.id, claimed.decision_id, outcome.state == "confirmed", outcome.receipt)
        return outcome.state
    state = ledger.failed(claimed, outcome.error, outcome.state == "refused", outcome.after_seconds)
    return "dead" if state == "dead" else "again"


def _mail(settings: Settings) -> dict[str, str]:
    return {n: str(getattr(settings, n)) for n in MAIL_SETTINGS}
