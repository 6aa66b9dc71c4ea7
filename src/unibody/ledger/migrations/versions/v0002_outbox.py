"""The outbox: what was approved, on its way to who acts on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the outbox."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(160), nullable=False, unique=True),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("writer", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(2000), nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("takes_back", sa.Integer),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("counter_body", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.String(32), nullable=False),
        sa.Column("next_try_at", sa.String(32), nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("lease_until", sa.String(32)),
        sa.Column("settled_at", sa.String(32)),
        sa.Column("error", sa.Text),
        sa.Column("receipt", sa.Text),
    )
    op.create_index("ix_outbox_decision_id", "outbox", ["decision_id"])
    op.create_index("ix_outbox_takes_back", "outbox", ["takes_back"])
    op.create_index("ix_outbox_due", "outbox", ["state", "next_try_at"])


def downgrade() -> None:
    """Drop it, with what was not delivered yet."""
    op.drop_table("outbox")
