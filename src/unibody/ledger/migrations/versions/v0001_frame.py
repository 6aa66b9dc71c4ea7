"""Transitions, reads, runs: what the frame began with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the three tables, but for a home of before there were migrations: it has them."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if "transition" not in there:
        op.create_table(
            "transition",
            sa.Column("decision_id", sa.String(64), primary_key=True),
            sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("revision", sa.Integer, nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("at", sa.String(32), nullable=False),
            sa.Column("by", sa.String(200), nullable=False),
            sa.Column("note", sa.Text, nullable=False),
        )
    if "read" not in there:
        op.create_table(
            "read",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("at", sa.String(32), nullable=False),
            sa.Column("by", sa.String(200), nullable=False),
            sa.Column("purpose", sa.String(32), nullable=False),
            sa.Column("table_name", sa.String(64), nullable=False),
            sa.Column("granted", sa.Boolean, nullable=False),
            sa.Column("why", sa.Text, nullable=False),
        )
    if "usecase_run" not in there:
        op.create_table(
            "usecase_run",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("usecase", sa.String(200), nullable=False),
            sa.Column("began_at", sa.String(32), nullable=False),
            sa.Column("ended_at", sa.String(32)),
            sa.Column("snapshot", sa.String(200), nullable=False),
            sa.Column("decisions", sa.Integer),
            sa.Column("error", sa.Text),
        )


def downgrade() -> None:
    """There is nothing before it."""
