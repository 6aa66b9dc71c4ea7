"""The outbox: messages of approved decisions, delivered at least once, each with a key by which a repeat is known.

    waiting ──> sent ──> confirmed      sent: handed over; confirmed: the receiver says it has taken it
       └──────> dead                    refused, or tried too often; `unibody outbox retry ID` brings it back

Every function takes the connection of a transaction, so that a message and the transition it belongs to stand or fall
together. A message is claimed with a lease before the first byte leaves; a process that is killed leaves its lease to
run out, and another delivers again with the same key. A counter-message waits until what it takes back is settled.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import random
from typing import Any

import sqlalchemy as sa

from unibody.ledger.schema import OUTBOX

ATTEMPTS_MAX = 12
RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX, ASKED_SECONDS_MAX = 5.0, 3600.0, 86_400.0
#: Longer than any delivery may take (writers end themselves well before), so two never hold one message.
LEASE_SECONDS = 90.0
ERROR_CHARACTERS_MAX = 2000
COUNTER = "_revert"


@dataclass(frozen=True)
class Message:
    """What one recipient is told of a decision, and what takes it back."""

    key: str
    writer: str
    recipient: str
    options: Mapping[str, Any]  # transport and names of secrets
    body: Any  # JSON
    counter_body: Any


@dataclass(frozen=True)
class Claimed:
    """A message that this process alone may deliver until its lease ends."""

    id: int
    lease: str
    key: str
    decision_id: str
    writer: str
    recipient: str
    options: Mapping[str, Any]
    body: Any
    attempts: int


def key_of(decision_id: str, revision: int, writer: str, recipient: str) -> str:
    """What a receiver knows a repeat by: decision, revision and, hashed, who is told how.

    >>> key_of("ab12", 1, "mail", "anna@example.com")
    'ab12_1_d2b77456'
    """
    return f"{decision_id}_{revision}_{sha256(f'{writer} {recipient}'.encode()).hexdigest()[:8]}"


def put(
    con: sa.Connection, decision_id: str, revision: int, messages: Sequence[Message], now: datetime
) -> None:
    """Put a decision's messages in."""
    rows = [
        _row(decision_id, revision, m.key, m.writer, m.recipient, json.dumps(dict(m.options)), now)
        | {"body": json.dumps(m.body), "counter_body": json.dumps(m.counter_body)}
        for m in messages
    ]
    con.execute(sa.insert(OUTBOX), rows)


def _row(
    decision_id: str, revision: int, key: str, writer: str, recipient: str, options: str, now: datetime
) -> dict[str, Any]:
    at = text(now)
    return {
        "key": key, "decision_id": decision_id, "revision": revision, "writer": writer, "recipient": recipient, "options": options,
        "takes_back": None, "state": "waiting", "attempts": 0, "queued_at": at, "next_try_at": at,
    }  # fmt: skip


def take_back(con: sa.Connection, decision_id: str, now: datetime) -> int:
    """Queue a counter-message to everyone who may have been told; who was not told yet never will be."""
    mine = (OUTBOX.c.decision_id == decision_id) & OUTBOX.c.takes_back.is_(None)
    told = con.execute(sa.select(OUTBOX).where(mine).order_by(OUTBOX.c.id).with_for_update()).all()
    unsent = [r.id for r in told if r.attempts == 0 and r.state in ("waiting", "dead")]
    con.execute(
        sa.update(OUTBOX)
        .where(OUTBOX.c.id.in_(unsent))
        .values(state="dead", error="taken back before it was sent", settled_at=text(now))
    )
    rows = [
        _row(decision_id, r.revision, r.key + COUNTER, r.writer, r.recipient, r.options, now)
        | {"takes_back": r.id, "body": r.counter_body, "counter_body": "null"}
        for r in told
        if r.id not in unsent
    ]
    if rows:
        con.execute(sa.insert(OUTBOX), rows)
    return len(rows)


def claim(con: sa.Connection, now: datetime, lease_seconds: float = LEASE_SECONDS) -> Claimed | None:
    """Take the next message that is due, or None; nobody else gets it until the lease ends."""
    at = text(now)
    free = (OUTBOX.c.state == "waiting") & (OUTBOX.c.lease_until.is_(None) | (OUTBOX.c.lease_until <= at))
    counters = sa.alias(OUTBOX)
    taken_back = sa.exists().where(counters.c.takes_back == OUTBOX.c.id)
    # tried, not settled, and taken back since: nobody goes on trying; its counter-message may go
    con.execute(
        sa.update(OUTBOX)
        .where(free & taken_back)
        .values(state="dead", error="taken back; whether it had arrived is not known", settled_at=at, lease=None, lease_until=None)
    )  # fmt: skip
    first = sa.alias(OUTBOX)
    unsettled = sa.exists().where((first.c.id == OUTBOX.c.takes_back) & (first.c.state == "waiting"))
    due = (
        sa.select(OUTBOX)
        .where(free & (OUTBOX.c.next_try_at <= at) & ~unsettled)
        .order_by(OUTBOX.c.next_try_at, OUTBOX.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=OUTBOX)
    )
    row = con.execute(due).first()
    if row is None:
        return None
    lease = secrets.token_hex(8)
    con.execute(
        sa.update(OUTBOX)
        .where(OUTBOX.c.id == row.id)
        .values(lease=lease, lease_until=text(now + timedelta(seconds=lease_seconds)), attempts=row.attempts + 1)
    )  # fmt: skip
    return Claimed(
        row.id, lease, row.key, row.decision_id, row.writer, row.recipient, json.loads(row.options), json.loads(row.body), row.attempts + 1,
    )  # fmt: skip


def succeeded(con: sa.Connection, message: int, confirmed: bool, receipt: Any, now: datetime) -> bool:
    """Keep a receipt; False where the message was settled before. It counts even from a lease that ran out."""
    before = ("waiting", "sent") if confirmed else ("waiting",)
    done = con.execute(
        sa.update(OUTBOX)
        .where((OUTBOX.c.id == message) & OUTBOX.c.state.in_(before))
        .values(
            state="confirmed" if confirmed else "sent", receipt=json.dumps(receipt), error=None, settled_at=text(now),
            lease=None, lease_until=None,
        )
    )  # fmt: skip
    return bool(done.rowcount)


def failed(
    con: sa.Connection, claimed: Claimed, error: str, final: bool, after_seconds: float, now: datetime
) -> str:
    """Keep why it failed; tried again later, or dead where `final` or tried too often. Returns the state."""
    dead = final or claimed.attempts >= ATTEMPTS_MAX
    wait = max(backoff_seconds(claimed.attempts, random()), min(after_seconds, ASKED_SECONDS_MAX))  # noqa: S311 (spreads load, guards nothing)
    con.execute(
        sa.update(OUTBOX)
        .where((OUTBOX.c.id == claimed.id) & (OUTBOX.c.state == "waiting") & (OUTBOX.c.lease == claimed.lease))
        .values(
            state="dead" if dead else "waiting", error=error.replace("\0", "")[:ERROR_CHARACTERS_MAX], lease=None, lease_until=None,
            next_try_at=text(now + timedelta(seconds=wait)), settled_at=text(now) if dead else None,
        )
    )  # fmt: skip
    return "dead" if dead else "waiting"


def backoff_seconds(attempts: int, chance: float) -> float:
    """How long to wait after so many attempts; `chance` (0 to 1) spreads what failed together.

    >>> [backoff_seconds(n, 0.5) for n in (1, 2, 3, 12)]
    [5.0, 10.0, 20.0, 3600.0]
    """
    return min(RETRY_SECONDS_FIRST * 2.0 ** (attempts - 1), RETRY_SECONDS_MAX) * (0.5 + chance)


def all_confirmed(con: sa.Connection, decision_id: str, revision: int) -> bool:
    """Has every recipient of this revision confirmed?"""
    mine = (OUTBOX.c.decision_id == decision_id) & (OUTBOX.c.revision == revision)
    states = (
        con.execute(sa.select(OUTBOX.c.state).where(mine & OUTBOX.c.takes_back.is_(None))).scalars().all()
    )
    return bool(states) and set(states) == {"confirmed"}


def lock(con: sa.Connection, decision_id: str) -> None:
    """Nobody else settles or takes back this decision's messages until the transaction ends."""
    mine = sa.select(OUTBOX.c.id).where(OUTBOX.c.decision_id == decision_id).order_by(OUTBOX.c.id)
    con.execute(mine.with_for_update()).all()


def listed(
    con: sa.Connection, state: str | None, decision_id: str | None, limit: int
) -> list[dict[str, Any]]:
    """Messages, newest first, as people and programs see them."""
    wanted = sa.select(OUTBOX).order_by(OUTBOX.c.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(OUTBOX.c.state == state)
    if decision_id is not None:
        wanted = wanted.where(OUTBOX.c.decision_id == decision_id)
    return [
        {
            "id": r.id, "key": r.key, "decision_id": r.decision_id, "revision": r.revision, "writer": r.writer, "to": r.recipient,
            "counter": r.takes_back is not None, "state": r.state, "attempts": r.attempts, "queued_at": r.queued_at,
            "next_try_at": r.next_try_at if r.state == "waiting" else None, "settled_at": r.settled_at, "error": r.error,
            "receipt": json.loads(r.receipt) if r.receipt else None, "body": json.loads(r.body),
        }
        for r in con.execute(wanted)
    ]  # fmt: skip


def text(at: datetime) -> str:
    """An instant as the ledger keeps it: UTC, sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
