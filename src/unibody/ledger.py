"""What people and the backbone did: transitions of decisions, reads that the gate let through, runs of use cases.

Content of decisions is in the lake and only ever appended; here is what became of them. SQLite (WAL) by default.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from unibody.errors import RefusedError, SetupError, StoreError

METADATA = sa.MetaData()

TRANSITIONS = sa.Table(
    "transition",
    METADATA,
    sa.Column("decision_id", sa.String(64), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),  # counts up; two people at once: the second is refused
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
READS = sa.Table(
    "read",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("by", sa.String(200), nullable=False),  # use case or person
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("granted", sa.Boolean, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
RUNS = sa.Table(
    "usecase_run",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(200), nullable=False),
    sa.Column("began_at", sa.String(32), nullable=False),
    sa.Column("ended_at", sa.String(32)),
    sa.Column("snapshot", sa.String(200), nullable=False),
    sa.Column("decisions", sa.Integer),
    sa.Column("error", sa.Text),
)

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


class Ledger:
    """The ledger's database."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(url)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _wal)
        with self._store():
            METADATA.create_all(self.engine)

    @contextmanager
    def _store(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:  # of a file that is no database, before SQLAlchemy has a hand in it
            raise StoreError(f"ledger {self.engine.url.render_as_string()}: {e}") from e
        except OperationalError as e:
            raise StoreError(f"ledger {self.engine.url.render_as_string()}: {e.orig}") from e
        except IntegrityError:
            raise
        except SQLAlchemyError as e:
            raise StoreError(f"ledger {self.engine.url.render_as_string()}: {e}") from e

    def states(self, decision_ids: Iterable[str] | None = None) -> dict[str, State]:
        """The state of each decision (or of these), by id."""
        newest = sa.select(TRANSITIONS.c.decision_id, sa.func.max(TRANSITIONS.c.step).label("step"))
        latest = newest.group_by(TRANSITIONS.c.decision_id).subquery()
        wanted = sa.select(TRANSITIONS).join(
            latest,
            (TRANSITIONS.c.decision_id == latest.c.decision_id) & (TRANSITIONS.c.step == latest.c.step),
        )
        with self._store(), self.engine.connect() as con:
            found = {r.decision_id: _state(r) for r in con.execute(wanted)}
        return found if decision_ids is None else {i: found[i] for i in decision_ids if i in found}

    def history(self, decision_id: str) -> list[State]:
        """All that happened to one decision, oldest first."""
        wanted = (
            sa.select(TRANSITIONS)
            .where(TRANSITIONS.c.decision_id == decision_id)
            .order_by(TRANSITIONS.c.step)
        )
        with self._store(), self.engine.connect() as con:
            return [_state(r) for r in con.execute(wanted)]

    def propose(self, revisions: dict[str, int], by: str) -> int:
        """Put new or changed decisions before people; what was approved stays as approved. Returns how many."""
        keys = [c.name for c in TRANSITIONS.columns]
        while True:
            rows = self._proposals(revisions, by)
            try:
                with self._store(), self.engine.begin() as con:
                    if rows:
                        con.execute(sa.insert(TRANSITIONS), [dict(zip(keys, r, strict=True)) for r in rows])
                return len(rows)
            except IntegrityError:
                continue  # another process moved one of them just now: look again

    def _proposals(
        self, revisions: dict[str, int], by: str
    ) -> list[tuple[str, int, int, str, str, str, str]]:
        now, states, rows = _now(), self.states(), []
        for decision_id, revision in revisions.items():
            state = states.get(decision_id)
            if state is None or (state.state == "proposed" and state.revision < revision):
                step = 1 if state is None else state.step + 1
                rows.append((decision_id, step, revision, "proposed", now, by, ""))
        return rows

    def move(self, decision_id: str, state: str, by: str, note: str) -> State:
        """Approve, dismiss, send, confirm or revert a decision.

        Raises SetupError where there is no such decision, RefusedError where its state does not allow it or where
        somebody else was faster.
        """
        found = self.states([decision_id]).get(decision_id)
        if found is None:
            raise SetupError(f"no decision {decision_id!r}; `unibody decisions` lists them")
        if state not in NEXT[found.state]:
            allowed = ", ".join(NEXT[found.state]) or "nothing more"
            raise RefusedError(
                f"decision {decision_id} is {found.state}: it can become {allowed}, not {state}"
            )
        row = (decision_id, found.step + 1, found.revision, state, _now(), by, note)
        keys = [c.name for c in TRANSITIONS.columns]
        try:
            with self._store(), self.engine.begin() as con:
                con.execute(sa.insert(TRANSITIONS).values(dict(zip(keys, row, strict=True))))
        except IntegrityError:
            raise RefusedError(
                f"decision {decision_id}: somebody else moved it just now; look again"
            ) from None
        return State(*row)

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
        with self._store(), self.engine.begin() as con:
            con.execute(sa.insert(READS).values(row))

    def reads(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last reads, newest first."""
        with self._store(), self.engine.connect() as con:
            return [
                dict(r._mapping)
                for r in con.execute(sa.select(READS).order_by(READS.c.id.desc()).limit(limit))
            ]

    def begin_run(self, usecase: str, snapshot: str) -> int:
        """Remember that a use case started on a snapshot of the lake; returns the run's number."""
        with self._store(), self.engine.begin() as con:
            row = {"usecase": usecase, "began_at": _now(), "snapshot": snapshot}
            return int((con.execute(sa.insert(RUNS).values(row)).inserted_primary_key or (0,))[0])

    def end_run(self, run: int, decisions: int | None, error: str | None = None) -> None:
        """Remember how a run ended."""
        with self._store(), self.engine.begin() as con:
            con.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run)
                .values(ended_at=_now(), decisions=decisions, error=error)
            )

    def last_runs(self) -> dict[str, dict[str, Any]]:
        """The last run of each use case."""
        last = sa.select(sa.func.max(RUNS.c.id)).group_by(RUNS.c.usecase)
        with self._store(), self.engine.connect() as con:
            rows = con.execute(sa.select(RUNS).where(RUNS.c.id.in_(last)))
            return {r.usecase: dict(r._mapping) for r in rows}


def _wal(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _state(row: Any) -> State:
    return State(row.decision_id, row.step, row.revision, row.state, row.at, row.by, row.note)
