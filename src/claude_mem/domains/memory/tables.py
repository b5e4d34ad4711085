"""Tables of what is remembered. Only `memory` reads or writes them.

Every key leads with `enterprise_id`, so that the tables distribute by tenant. `content_hash` finds repeats and is never
unique; what makes a row unique is its natural key (`natural_keys`).
"""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.memory.model import AGENT
from claude_mem.domains.sql import EpochMs, id_type, json_type, metadata, text_type, wide_type


def _session_fk() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["enterprise_id", "session_id"],
        ["sessions.enterprise_id", "sessions.id"],
        ondelete="CASCADE",
    )


sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("project_id", id_type(), nullable=False),
    sa.Column("user_id", id_type(), nullable=False),
    sa.Column("role", text_type()),
    sa.Column("agent", text_type(), nullable=False),
    sa.Column("agent_session", text_type(), nullable=False),
    sa.Column("title", text_type(), nullable=False),
    sa.Column("summary", text_type()),
    sa.Column(
        "status",
        text_type(),
        sa.CheckConstraint("status IN ('active', 'archived', 'deleted')", name="ck_session_status"),
        nullable=False,
    ),
    sa.Column("metadata_json", json_type(), nullable=False),
    sa.Column("model_used", text_type()),
    sa.Column("token_count", wide_type(), nullable=False),
    sa.Column("prompt_count", sa.Integer, nullable=False),
    sa.Column("observation_count", sa.Integer, nullable=False),
    sa.Column("last_sequence", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("started_at", EpochMs, nullable=False),
    sa.Column("last_activity_at", EpochMs, nullable=False),
    sa.Column("ended_at", EpochMs),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    # How often anything of the session was written or taken out.
    sa.Column("changes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.UniqueConstraint("enterprise_id", "agent", "agent_session"),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "project_id"], ["projects.enterprise_id", "projects.id"]
    ),
    sa.Index("ix_sessions_project", "enterprise_id", "project_id", "last_activity_at"),
    sa.Index("ix_sessions_recent", "enterprise_id", "last_activity_at"),
)

prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column("event_id", id_type(), nullable=False),
    sa.Column("sequence_num", sa.Integer, nullable=False),
    sa.Column(
        "prompt_type",
        text_type(),
        sa.CheckConstraint(
            "prompt_type IN ('user', 'system', 'assistant', 'tool')", name="ck_prompt_type"
        ),
        nullable=False,
    ),
    sa.Column("content", text_type(), nullable=False),
    sa.Column("content_hash", text_type(), nullable=False),
    sa.Column("token_count", wide_type(), nullable=False),
    sa.Column("agent_prompt_id", text_type()),
    sa.Column("subagent_id", text_type()),
    sa.Column("metadata_json", json_type(), nullable=False),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    _session_fk(),
    sa.Index("ix_prompts_session", "enterprise_id", "session_id", "occurred_at", "id"),
    sa.Index("ix_prompts_hash", "enterprise_id", "content_hash"),
    postgresql_partition_by="RANGE (id)",
)

observations = sa.Table(
    "observations",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column("prompt_id", id_type()),
    sa.Column("event_id", id_type(), nullable=False),
    sa.Column(
        "observation_type",
        text_type(),
        sa.CheckConstraint(
            "observation_type IN ('tool_result', 'error', 'warning', 'info')",
            name="ck_observation_type",
        ),
        nullable=False,
    ),
    sa.Column("source_tool", text_type(), nullable=False),
    sa.Column("title", text_type(), nullable=False),
    sa.Column("content", text_type(), nullable=False),
    sa.Column("content_preview", text_type(), nullable=False),
    sa.Column("content_hash", text_type(), nullable=False),
    sa.Column("command", text_type()),
    sa.Column("exit_status", sa.Integer),
    sa.Column("importance_score", sa.Float, nullable=False),
    sa.Column("is_flagged", sa.Boolean, nullable=False),
    sa.Column("tags_json", json_type(), nullable=False),
    sa.Column("metadata_json", json_type(), nullable=False),
    sa.Column("subagent_id", text_type()),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.CheckConstraint(
        "importance_score >= 0 AND importance_score <= 1", name="ck_observation_importance"
    ),
    _session_fk(),
    sa.Index("ix_observations_session", "enterprise_id", "session_id", "occurred_at", "id"),
    postgresql_partition_by="RANGE (id)",
)

code_changes = sa.Table(
    "code_changes",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column("project_id", id_type(), nullable=False),
    sa.Column("observation_id", id_type(), nullable=False),
    sa.Column("event_id", id_type(), nullable=False),
    sa.Column("file_path", text_type(), nullable=False),
    sa.Column(
        "operation",
        text_type(),
        sa.CheckConstraint(
            "operation IN ('create', 'edit', 'delete', 'rename')", name="ck_change_operation"
        ),
        nullable=False,
    ),
    sa.Column("lines_added", sa.Integer, nullable=False),
    sa.Column("lines_removed", sa.Integer, nullable=False),
    sa.Column("diff", text_type(), nullable=False),
    sa.Column("reason_prompt_id", id_type()),
    sa.Column("reason_text", text_type()),
    sa.Column("tool_use_id", text_type()),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    _session_fk(),
    sa.Index("ix_changes_file", "enterprise_id", "project_id", "file_path", "occurred_at"),
    sa.Index("ix_changes_session", "enterprise_id", "session_id", "occurred_at"),
    postgresql_partition_by="RANGE (id)",
)

summaries = sa.Table(
    "summaries",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column("event_id", id_type()),
    sa.Column(
        "summary_type",
        text_type(),
        sa.CheckConstraint(
            "summary_type IN ('session', 'topic', 'action', 'item')", name="ck_summary_type"
        ),
        nullable=False,
    ),
    sa.Column("title", text_type(), nullable=False),
    sa.Column("content", text_type(), nullable=False),
    sa.Column("key_points_json", json_type(), nullable=False),
    sa.Column("action_items_json", json_type(), nullable=False),
    sa.Column("model_used", text_type(), nullable=False),
    sa.Column("generation_cost", sa.Float, nullable=False),
    sa.Column("quality_score", sa.Float, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("is_published", sa.Boolean, nullable=False),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    sa.Column("source", text_type(), nullable=False, server_default=AGENT),
    sa.Column("details_json", json_type(), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("covers_json", json_type(), nullable=False, server_default=sa.text("'{}'")),
    _session_fk(),
    sa.Index("ix_summaries_session", "enterprise_id", "session_id", "summary_type", "occurred_at"),
    sa.Index("ix_summaries_recent", "enterprise_id", "source", "occurred_at"),
)

learnings = sa.Table(
    "learnings",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("project_id", id_type()),
    sa.Column(
        "category",
        text_type(),
        sa.CheckConstraint(
            "category IN ('pattern', 'solution', 'error', 'config', 'best_practice', 'general')",
            name="ck_learning_category",
        ),
        nullable=False,
    ),
    sa.Column("title", text_type(), nullable=False),
    sa.Column("description", text_type(), nullable=False),
    sa.Column("context_json", json_type(), nullable=False),
    sa.Column("examples_json", json_type(), nullable=False),
    sa.Column("tags_json", json_type(), nullable=False),
    sa.Column("confidence_score", sa.Float, nullable=False),
    sa.Column("usage_count", sa.Integer, nullable=False),
    sa.Column("last_used_at", EpochMs),
    sa.Column("source_session_ids", json_type(), nullable=False),
    sa.Column("is_verified", sa.Boolean, nullable=False),
    sa.Column("verification_notes", text_type()),
    sa.Column("is_deleted", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    sa.Column("fingerprint", text_type()),
    sa.Column("session_id", id_type()),
    sa.Column("occurred_at", EpochMs),
    sa.Column("importance_score", sa.Float, nullable=False, server_default=sa.text("0.5")),
    sa.Column("refs_json", json_type(), nullable=False, server_default=sa.text("'[]'")),
    sa.Index("ix_learnings_recent", "enterprise_id", "updated_at"),
    sa.Index("ix_learnings_project", "enterprise_id", "project_id", "occurred_at"),
    sa.Index("ux_learnings_fingerprint", "enterprise_id", "project_id", "fingerprint", unique=True),
)

# What each session says of a learning: when one session is forgotten, the learning is what the others still say.
learning_sources = sa.Table(
    "learning_sources",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("learning_id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), primary_key=True),
    sa.Column("title", text_type(), nullable=False),
    sa.Column("description", text_type(), nullable=False),
    sa.Column("context_json", json_type(), nullable=False),
    sa.Column("examples_json", json_type(), nullable=False),
    sa.Column("tags_json", json_type(), nullable=False),
    sa.Column("refs_json", json_type(), nullable=False),
    sa.Column("confidence_score", sa.Float, nullable=False),
    sa.Column("importance_score", sa.Float, nullable=False),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "learning_id"],
        ["learnings.enterprise_id", "learnings.id"],
        ondelete="CASCADE",
    ),
    sa.Index("ix_learning_sources_session", "enterprise_id", "session_id"),
)

# How often a thing was shown to a model or opened by a person.
entity_use = sa.Table(
    "entity_use",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("kind", text_type(), primary_key=True),
    sa.Column("entity_id", id_type(), primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("last_used_at", EpochMs, nullable=False),
    sqlite_with_rowid=False,
)

natural_keys = sa.Table(
    "natural_keys",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), primary_key=True),
    sa.Column("key", text_type(), primary_key=True),
    sa.Column("entity_kind", text_type(), nullable=False),
    sa.Column("entity_id", id_type(), nullable=False),
    _session_fk(),
    sqlite_with_rowid=False,
)

# What must not come back: a turn by the agent's own prompt id (from `since` on), or a span of a session (no prompt id,
# `since` to `until`, both included). Ids and moments only, no word of what was said.
forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column("agent_prompt_id", text_type()),
    sa.Column("since", EpochMs, nullable=False),
    sa.Column("until", EpochMs),
    _session_fk(),
    sa.Index("ix_forgotten_session", "enterprise_id", "session_id"),
)

change_journal = sa.Table(
    "change_journal",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("kind", text_type(), nullable=False),
    sa.Column("entity_id", id_type(), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("at", EpochMs, nullable=False),
    sa.Column("actor", id_type(), nullable=False),
    sa.Column("state", json_type()),
    sa.UniqueConstraint("enterprise_id", "entity_id", "kind", "version"),
    sqlite_with_rowid=False,
)

ingested_events = sa.Table(
    "ingested_events",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("event_id", id_type(), primary_key=True),
    sa.Column("type", text_type(), nullable=False),
    sa.Column("session_id", id_type(), nullable=False),
    sa.Column(
        "made", text_type()
    ),  # kind of the row it made; null when it repeated one, or made none
    sa.Column("occurred_at", EpochMs, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (event_id)",
)
