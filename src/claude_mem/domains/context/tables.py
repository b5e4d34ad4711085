"""Tables of context: what each of an agent's sessions was given."""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.sql import EpochMs, id_type, metadata

# `unit` is a digest of the shown text: one entity can give several. No word of what was shown is kept.
injections = sa.Table(
    "injections",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("agent_session", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("entity_id", id_type(), primary_key=True),
    sa.Column("unit", sa.Text, primary_key=True),
    sa.Column("at", EpochMs, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Index("ix_injections_entity", "enterprise_id", "entity_id"),
    sqlite_with_rowid=False,
)
