"""Tables of capture: how far each transcript of the agent was read."""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.sql import EpochMs, id_type, json_type, metadata, text_type

transcript_positions = sa.Table(
    "transcript_positions",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("path", text_type(), primary_key=True),
    sa.Column("position", json_type(), nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    sqlite_with_rowid=False,
)
