"""Summaries and learnings: what the program derives from what it remembers.

Columns are added with defaults, so that what was recorded before keeps its meaning: its summaries came from an agent.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
EMPTY, NONE = sa.text("'{}'"), sa.text("'[]'")

_SUMMARY_COLUMNS = ("source", "details_json", "covers_json")
_LEARNING_COLUMNS = ("fingerprint", "session_id", "occurred_at", "importance_score", "refs_json")


def upgrade() -> None:
    """Make the tables and columns."""
    _add(
        "summaries",
        sa.Column("source", sa.Text(), nullable=False, server_default="agent"),
        sa.Column("details_json", JSON, nullable=False, server_default=EMPTY),
        sa.Column("covers_json", JSON, nullable=False, server_default=EMPTY),
    )
    op.create_index("ix_summaries_recent", "summaries", ["enterprise_id", "source", "occurred_at"])
    _add(
        "learnings",
        # Rows without one (nobody made any so far) stay apart from each other: null equals nothing.
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=True),
        sa.Column("importance_score", sa.Float(), nullable=False, server_default=sa.text("0.5")),
        sa.Column("refs_json", JSON, nullable=False, server_default=NONE),
    )
    op.create_index(
        "ux_learnings_fingerprint",
        "learnings",
        ["enterprise_id", "project_id", "fingerprint"],
        unique=True,
    )
    op.create_index(
        "ix_learnings_project", "learnings", ["enterprise_id", "project_id", "occurred_at"]
    )
    _sources()
    op.create_table(
        "entity_use",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", ID, nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "kind", "entity_id"),
        sqlite_with_rowid=False,
    )


def _sources() -> None:
    op.create_table(
        "learning_sources",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("learning_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("context_json", JSON, nullable=False),
        sa.Column("examples_json", JSON, nullable=False),
        sa.Column("tags_json", JSON, nullable=False),
        sa.Column("refs_json", JSON, nullable=False),
        sa.Column("confidence_score", sa.Float(), nullable=False),
        sa.Column("importance_score", sa.Float(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "learning_id", "session_id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "learning_id"],
            ["learnings.enterprise_id", "learnings.id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_learning_sources_session", "learning_sources", ["enterprise_id", "session_id"]
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("entity_use")
    op.drop_table("learning_sources")
    op.drop_index("ix_learnings_project", "learnings")
    op.drop_index("ux_learnings_fingerprint", "learnings")
    op.drop_index("ix_summaries_recent", "summaries")
    # A summary of ours means nothing to a program that does not know them.
    op.execute("DELETE FROM summaries WHERE source <> 'agent'")
    for name in reversed(_LEARNING_COLUMNS):
        op.drop_column("learnings", name)
    for name in reversed(_SUMMARY_COLUMNS):
        op.drop_column("summaries", name)


def _add(table: str, *columns: sa.Column[Any]) -> None:
    for column in columns:
        op.add_column(table, column)
