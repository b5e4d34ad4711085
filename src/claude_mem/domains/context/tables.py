"""Tables of context: what each of an agent's sessions was given."""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.sql import EpochMs, id_type, metadata, text_type

# `unit` is a digest of the shown text: one entity can give several. No word of what was shown is kept.
injections = sa.Table(
    "injections",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("agent_session", text_type(), primary_key=True),
    sa.Column("kind", text_type(), primary_key=True),
    sa.Column("entity_id", id_type(), primary_key=True),
    sa.Column("unit", text_type(), primary_key=True),
    sa.Column("at", EpochMs, nullable=False),
    sa.Column("event", text_type(), nullable=False),
    sa.Index("ix_injections_entity", "enterprise_id", "entity_id"),
    sqlite_with_rowid=False,
)
