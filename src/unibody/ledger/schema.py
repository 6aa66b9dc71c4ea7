"""The ledger's tables; a room that needs its own registers them on METADATA, and they are made when a home opens."""

from __future__ import annotations

import sqlalchemy as sa

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
#: One row a decision's revision and recipient, and one more for the counter-message that takes it back.
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(160), nullable=False, unique=True),  # what the receiver knows a repeat by
    sa.Column("decision_id", sa.String(64), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("writer", sa.String(64), nullable=False),
    sa.Column("recipient", sa.String(2000), nullable=False),
    sa.Column("options", sa.Text, nullable=False),  # JSON: transport, names of secrets, never a secret
    sa.Column("takes_back", sa.Integer, index=True),  # the row whose effect this counter-message undoes
    sa.Column("body", sa.Text, nullable=False),  # JSON, made when the decision was sent: a repeat is the same
    sa.Column("counter_body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # begun: counted before the first byte leaves
    sa.Column("queued_at", sa.String(32), nullable=False),
    sa.Column("next_try_at", sa.String(32), nullable=False),
    sa.Column("lease", sa.String(32)),
    sa.Column("lease_until", sa.String(32)),
    sa.Column("settled_at", sa.String(32)),
    sa.Column("error", sa.Text),
    sa.Column("receipt", sa.Text),
    sa.Index("ix_outbox_due", "state", "next_try_at"),
)

#: Tables that the migrations make; all others on METADATA are rooms' own.
MIGRATED = ("transition", "read", "usecase_run", "outbox")
