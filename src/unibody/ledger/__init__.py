"""What people and the backbone did: transitions of decisions, messages that went out, reads, runs of use cases.

Content of decisions is in the lake and only ever appended; here is what became of them. SQLite (WAL) by default,
PostgreSQL by URL. A decision and its messages move in one transaction (docs/decisions/0005-outbox.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from unibody.errors import RefusedError, SetupError
from unibody.ledger import outbox as box
from unibody.ledger.outbox import LEASE_SECONDS, Claimed, Message, key_of
from unibody.ledger.schema import METADATA, OUTBOX, READS, RUNS, TRANSITIONS
from unibody.ledger.store import Store

__all__ = [
    "METADATA", "NEXT", "OUTBOX", "READS", "RUNS", "TRANSITIONS", "Claimed", "Ledger", "Message", "State", "key_of",
]  # fmt: skip

#: From each state, what may come next. "evidence changed" is shown beside an approved decision, not a state.
NEXT: dict[str, tuple[str, ...]] = {
    "": ("proposed",),
    "proposed": ("proposed", "approved", "dismissed"),
    "approved": ("sent", "reverted"),
    "dismissed": ("proposed",),
    "sent": ("confirmed", "reverted"),
    "confirmed": ("reverted",),
    "reverted": (),
}
#: Ids asked for in one statement.
IDS = 500


@dataclass(frozen=True)
class State:
    """Where a decision stands."""

    decision_id: str
    step: int
    revision: int
    state: str
    at: str
    by: str
    note: str


class Ledger(Store):
    """The ledger's database."""

    # ---- decisions

    def states(self, decision_ids: Iterable[str] | None = None) -> dict[str, State]:
        """The state of each decision (or of these), by id."""
        with self.read() as con:
            return _states(con, decision_ids)

    def in_state(self, state: str) -> dict[str, State]:
        """The decisions that stand in this state now, by id."""
        with self.read() as con:
            rows = con.execute(_newest().where(TRANSITIONS.c.state == state).order_by(TRANSITIONS.c.at))
            return {r.decision_id: _state(r) for r in rows}

    def history(self, decision_id: str) -> list[State]:
        """All that happened to one decision, oldest first."""
        wanted = (
            sa.select(TRANSITIONS)
            .where(TRANSITIONS.c.decision_id == decision_id)
            .order_by(TRANSITIONS.c.step)
        )
        with self.read() as con:
            return [_state(r) for r in con.execute(wanted)]

    def propose(self, revisions: dict[str, int], by: str) -> int:
        """Put new or changed decisions before people; what was approved stays as approved. Returns how many."""
        while True:
            now = _now()
            try:
                with self.write() as con:
                    states, rows = _states(con, revisions), []
                    for decision_id, revision in revisions.items():
                        found = states.get(decision_id)
                        if found is None or (found.state == "proposed" and found.revision < revision):
                            step = 1 if found is None else found.step + 1
                            rows.append(State(decision_id, step, revision, "proposed", now, by, ""))
                    _insert(con, rows)
                return len(rows)
            except IntegrityError:
                continue  # another process moved one of them just now: look again

    def move(self, decision_id: str, state: str, by: str, note: str) -> State:
        """Approve, dismiss, send, confirm or revert a decision; a revert also queues what takes it back.

        Raises SetupError where there is no such decision, RefusedError where its state does not allow it or where
        somebody else was faster.
        """
        return self.move_all([decision_id], state, by, note)[0]

    def move_all(self, decision_ids: Sequence[str], state: str, by: str, note: str) -> list[State]:
        """Move decisions that belong together: all of them, or none where one cannot (errors as of `move`)."""
        now = datetime.now(UTC)
        try:
            with self.write() as con:
                states, moved = _states(con, decision_ids), []
                for decision_id in dict.fromkeys(decision_ids):
                    found = states.get(decision_id)
                    if found is None:
                        raise SetupError(f"no decision {decision_id!r}; `unibody decisions` lists them")
                    moved.append(_moved(found, state, by, note, now))
                _insert(con, moved)
                if state == "reverted":
                    for each in moved:
                        box.take_back(con, each.decision_id, now)
        except IntegrityError:
            raise RefusedError(
                f"decision {', '.join(decision_ids[:5])}: somebody else moved it just now; look again"
            ) from None
        return moved

    # ---- messages

    def send(self, approved: State, messages: Sequence[Message], by: str) -> bool:
        """Approved -> sent, and its messages into the outbox, in one transaction.

        False, and nothing done, where somebody moved the decision since `approved` was read.
        """
        now = datetime.now(UTC)
        try:
            with self.write() as con:
                if _states(con, [approved.decision_id]).get(approved.decision_id) != approved:
                    return False
                note = f"to {', '.join(m.writer for m in messages)}"
                _insert(con, [_moved(approved, "sent", by, note, now)])
                box.put(con, approved.decision_id, approved.revision, messages, now)
        except IntegrityError:
            return False
        return True

    def claim(self, lease_seconds: float = LEASE_SECONDS, now: datetime | None = None) -> Claimed | None:
        """The next message that is due, for this caller alone until its lease ends; None where nothing is due."""
        with self.write() as con:
            return box.claim(con, now or datetime.now(UTC), lease_seconds)

    def delivered(
        self, message: int, decision_id: str, confirmed: bool, receipt: Any, now: datetime | None = None
    ) -> bool:
        """Keep a receipt; when every recipient has confirmed, so is the decision. False where it was kept before."""
        at = now or datetime.now(UTC)
        while True:
            try:
                with self.write() as con:
                    box.lock(con, decision_id)
                    kept = box.succeeded(con, message, confirmed, receipt, at)
                    found = _states(con, [decision_id]).get(decision_id)
                    if (
                        found
                        and found.state == "sent"
                        and box.all_confirmed(con, decision_id, found.revision)
                    ):
                        _insert(con, [_moved(found, "confirmed", "act", "every recipient confirmed", at)])
                return kept
            except IntegrityError:
                continue  # somebody moved the decision just now: look again

    def failed(
        self,
        claimed: Claimed,
        error: str,
        final: bool = False,
        after_seconds: float = 0.0,
        now: datetime | None = None,
    ) -> str:
        """Keep why a delivery failed; returns "waiting" (tried again later) or "dead"."""
        with self.write() as con:
            return box.failed(con, claimed, error, final, after_seconds, now or datetime.now(UTC))

    def outbox(
        self, state: str | None = None, decision_id: str | None = None, limit: int = 500
    ) -> list[dict[str, Any]]:
        """Messages with state, attempts, last error and receipt, newest first."""
        with self.read() as con:
            return box.listed(con, state, decision_id, limit)

    def outbox_counts(self) -> dict[str, int]:
        """How many messages are in each state."""
        counted = sa.select(OUTBOX.c.state, sa.func.count()).group_by(OUTBOX.c.state)
        with self.read() as con:
            return {state: int(n) for state, n in con.execute(counted)}

    def retry(self, message: int, to: str | None = None) -> None:
        """Bring a dead message back, due at once, with the same key; `to` where its address was wrong.

        Raises SetupError where there is none, RefusedError where it is not dead or its decision was taken back.
        """
        with self.write() as con:
            row = con.execute(sa.select(OUTBOX).where(OUTBOX.c.id == message).with_for_update()).first()
            if row is None:
                raise SetupError(f"no message {message} in the outbox; `unibody outbox` lists them")
            if row.state != "dead":
                raise RefusedError(f"message {message} is {row.state}: only a dead one is tried again")
            found = _states(con, [row.decision_id]).get(row.decision_id)
            if row.takes_back is None and found is not None and found.state == "reverted":
                raise RefusedError(f"message {message}: its decision {row.decision_id} was reverted")
            con.execute(
                sa.update(OUTBOX)
                .where(OUTBOX.c.id == message)
                # an attempt that was begun stays counted: a revert must know that somebody may have been told
                .values(state="waiting", attempts=min(row.attempts, 1), next_try_at=_now(), settled_at=None, recipient=to or row.recipient)
            )  # fmt: skip

    def confirm(self, message: int, by: str, note: str) -> None:
        """Somebody says that the recipient has taken it: a mail was answered, a dropped file was read in.

        Raises SetupError where there is none, RefusedError where it was not sent.
        """
        with self.read() as con:
            row = con.execute(sa.select(OUTBOX).where(OUTBOX.c.id == message)).first()
        if row is None:
            raise SetupError(f"no message {message} in the outbox; `unibody outbox` lists them")
        if row.state != "sent":
            raise RefusedError(f"message {message} is {row.state}: only a sent one can be confirmed")
        kept = json.loads(row.receipt) if row.receipt else None
        self.delivered(message, row.decision_id, True, {"sent": kept, "confirmed_by": by, "note": note})

    # ---- reads and runs

    def log_read(self, by: str, purpose: str, table: str, granted: bool, why: str) -> None:
        """Remember that a table was asked for, and the answer."""
        row = {
            "at": _now(),
            "by": by,
            "purpose": purpose,
            "table_name": table,
            "granted": granted,
            "why": why,
        }
        with self.write() as con:
            con.execute(sa.insert(READS).values(row))

    def reads(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last reads, newest first."""
        with self.read() as con:
            return [
                dict(r._mapping)
                for r in con.execute(sa.select(READS).order_by(READS.c.id.desc()).limit(limit))
            ]

    def begin_run(self, usecase: str, snapshot: str) -> int:
        """Remember that a use case started on a snapshot of the lake; returns the run's number."""
        with self.write() as con:
            row = {"usecase": usecase, "began_at": _now(), "snapshot": snapshot}
            return int((con.execute(sa.insert(RUNS).values(row)).inserted_primary_key or (0,))[0])

    def end_run(self, run: int, decisions: int | None, error: str | None = None) -> None:
        """Remember how a run ended."""
        with self.write() as con:
            con.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run)
                .values(ended_at=_now(), decisions=decisions, error=error)
            )

    def last_runs(self) -> dict[str, dict[str, Any]]:
        """The last run of each use case."""
        last = sa.select(sa.func.max(RUNS.c.id)).group_by(RUNS.c.usecase)
        with self.read() as con:
            rows = con.execute(sa.select(RUNS).where(RUNS.c.id.in_(last)))
            return {r.usecase: dict(r._mapping) for r in rows}


def _newest(ids: Sequence[str] | None = None) -> sa.Select[Any]:
    newest = sa.select(TRANSITIONS.c.decision_id, sa.func.max(TRANSITIONS.c.step).label("step"))
    if ids is not None:
        newest = newest.where(TRANSITIONS.c.decision_id.in_(ids))
    latest = newest.group_by(TRANSITIONS.c.decision_id).subquery()
    same = (TRANSITIONS.c.decision_id == latest.c.decision_id) & (TRANSITIONS.c.step == latest.c.step)
    return sa.select(TRANSITIONS).join(latest, same)


def _states(con: sa.Connection, decision_ids: Iterable[str] | None = None) -> dict[str, State]:
    if decision_ids is None:
        return {r.decision_id: _state(r) for r in con.execute(_newest())}
    ids = list(dict.fromkeys(decision_ids))
    found = {
        r.decision_id: _state(r)
        for i in range(0, len(ids), IDS)
        for r in con.execute(_newest(ids[i : i + IDS]))
    }
    return {i: found[i] for i in ids if i in found}


def _moved(found: State, state: str, by: str, note: str, now: datetime) -> State:
    if state not in NEXT[found.state]:
        allowed = ", ".join(NEXT[found.state]) or "nothing more"
        raise RefusedError(
            f"decision {found.decision_id} is {found.state}: it can become {allowed}, not {state}"
        )
    # PostgreSQL keeps no NUL in a text
    return State(
        found.decision_id, found.step + 1, found.revision, state, box.text(now), by, note.replace("\0", "")
    )


def _insert(con: sa.Connection, rows: Sequence[State]) -> None:
    if rows:
        con.execute(sa.insert(TRANSITIONS), [vars(r) for r in rows])


def _now() -> str:
    return box.text(datetime.now(UTC))


def _state(row: Any) -> State:
    return State(row.decision_id, row.step, row.revision, row.state, row.at, row.by, row.note)
