"""The first schema: organisation, memory, capture, search, jobs; the tables later work fills are here and empty.

Every key of a tenant's table leads with `enterprise_id`. Times are milliseconds on SQLite, `timestamptz` on PostgreSQL.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# SQLite makes a column the row id only when its type is spelled INTEGER.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Sums of tokens can be beyond 32 bits; SQLite's integers hold 64 anyway.
WIDE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
MOMENT = sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

MIN_READER_VERSION = "1"


def upgrade() -> None:
    """Make everything."""
    _schema_info()
    _tables()
    _task_queue()
    _configurations()
    _stats_snapshots()
    if op.get_context().dialect.name == "sqlite":
        _sqlite_search()
    _views()


def downgrade() -> None:
    """Remove everything."""
    op.execute("DROP VIEW v_learning_popularity")
    op.execute("DROP VIEW v_session_details")
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE search_fts")
    for table in reversed(_ALL):
        op.drop_table(table)


def _schema_info() -> None:
    op.create_table(
        "schema_info",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.execute(
        sa.text(
            "INSERT INTO schema_info (key, value) VALUES ('min_reader_version', :value)"
        ).bindparams(value=MIN_READER_VERSION)
    )


def _tables() -> None:
    _audit_logs()
    _change_journal()
    _enterprises()
    _ingested_events()
    _learnings()
    _search_documents()
    _search_statistics()
    _transcript_positions()
    _solutions()
    _users()
    _api_keys()
    _projects()
    _members()
    _roles()
    _sessions()
    _code_changes()
    _forgotten()
    _natural_keys()
    _observations()
    _prompts()
    _summaries()
    _vector_embeddings()


def _audit_logs() -> None:
    op.create_table(
        "audit_logs",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("action_details", JSON, nullable=False),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("result_status", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("execution_time_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "result_status IN ('success', 'failure', 'error')", name="ck_audit_result"
        ),
    )
    op.create_index(
        "ix_audit_user", "audit_logs", ["enterprise_id", "user_id", "action_type", "created_at"]
    )
    op.create_index("ix_audit_when", "audit_logs", ["enterprise_id", "created_at"])


def _change_journal() -> None:
    op.create_table(
        "change_journal",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", ID, nullable=False),
        sa.Column("state", JSON, nullable=True),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.UniqueConstraint("enterprise_id", "entity_id", "kind", "version"),
        sqlite_with_rowid=False,
    )


def _enterprises() -> None:
    op.create_table(
        "enterprises",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings_json", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _ingested_events() -> None:
    op.create_table(
        "ingested_events",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("made", sa.Text(), nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "event_id"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (event_id)",
    )


def _learnings() -> None:
    op.create_table(
        "learnings",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("context_json", JSON, nullable=False),
        sa.Column("examples_json", JSON, nullable=False),
        sa.Column("tags_json", JSON, nullable=False),
        sa.Column("confidence_score", sa.Float(), nullable=False),
        sa.Column("usage_count", sa.Integer(), nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.Column("source_session_ids", JSON, nullable=False),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("verification_notes", sa.Text(), nullable=True),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "category IN ('pattern', 'solution', 'error', 'config', 'best_practice', 'general')",
            name="ck_learning_category",
        ),
    )
    op.create_index("ix_learnings_recent", "learnings", ["enterprise_id", "updated_at"])


def _search_documents() -> None:
    # On SQLite the number is the row id that FTS5 knows it by; elsewhere each tenant counts for itself.
    key = ("id",) if op.get_context().dialect.name == "sqlite" else ("enterprise_id", "id")
    op.create_table(
        "search_documents",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("length_title", sa.Integer(), nullable=False),
        sa.Column("length_body", sa.Integer(), nullable=False),
        sa.Column("tokens_title", sa.Text(), nullable=False),
        sa.Column("tokens_body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*key),
        sa.UniqueConstraint("enterprise_id", "kind", "entity_id"),
    )


def _search_statistics() -> None:
    op.create_table(
        "search_statistics",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("title_tokens", sa.BigInteger(), nullable=False),
        sa.Column("body_tokens", sa.BigInteger(), nullable=False),
        sa.Column("analysis_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id"),
    )


def _transcript_positions() -> None:
    op.create_table(
        "transcript_positions",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("position", JSON, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "path"),
        sqlite_with_rowid=False,
    )


def _solutions() -> None:
    op.create_table(
        "solutions",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.ForeignKeyConstraint(["enterprise_id"], ["enterprises.id"]),
        sa.UniqueConstraint("enterprise_id", "name"),
    )


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("preferences_json", JSON, nullable=False),
        sa.Column("quota_daily", sa.Integer(), nullable=False),
        sa.Column("quota_used_today", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("last_login_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint("role IN ('admin', 'user', 'viewer')", name="ck_users_role"),
        sa.ForeignKeyConstraint(["enterprise_id"], ["enterprises.id"]),
        sa.UniqueConstraint("enterprise_id", "email"),
        sa.UniqueConstraint("enterprise_id", "username"),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("key_prefix", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("permissions_json", JSON, nullable=False),
        sa.Column("rate_limit_rpm", sa.Integer(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.Column("is_revoked", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "user_id"], ["users.enterprise_id", "users.id"], ondelete="CASCADE"
        ),
        sa.UniqueConstraint("enterprise_id", "key_hash"),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("solution_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "solution_id"], ["solutions.enterprise_id", "solutions.id"]
        ),
        sa.UniqueConstraint("enterprise_id", "key"),
    )


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("role_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "user_id", "project_id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "project_id"],
            ["projects.enterprise_id", "projects.id"],
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "user_id"], ["users.enterprise_id", "users.id"], ondelete="CASCADE"
        ),
    )


def _roles() -> None:
    op.create_table(
        "roles",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_supervisor", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "project_id"], ["projects.enterprise_id", "projects.id"]
        ),
        sa.UniqueConstraint("enterprise_id", "project_id", "name"),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("agent_session", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("metadata_json", JSON, nullable=False),
        sa.Column("model_used", sa.Text(), nullable=True),
        sa.Column("token_count", WIDE, nullable=False),
        sa.Column("prompt_count", sa.Integer(), nullable=False),
        sa.Column("observation_count", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("last_activity_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint("status IN ('active', 'archived', 'deleted')", name="ck_session_status"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "project_id"], ["projects.enterprise_id", "projects.id"]
        ),
        sa.UniqueConstraint("enterprise_id", "agent", "agent_session"),
    )
    op.create_index(
        "ix_sessions_project", "sessions", ["enterprise_id", "project_id", "last_activity_at"]
    )
    op.create_index("ix_sessions_recent", "sessions", ["enterprise_id", "last_activity_at"])


def _code_changes() -> None:
    op.create_table(
        "code_changes",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("observation_id", ID, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("lines_added", sa.Integer(), nullable=False),
        sa.Column("lines_removed", sa.Integer(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.Column("reason_prompt_id", ID, nullable=True),
        sa.Column("reason_text", sa.Text(), nullable=True),
        sa.Column("tool_use_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "operation IN ('create', 'edit', 'delete', 'rename')", name="ck_change_operation"
        ),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(
        "ix_changes_file",
        "code_changes",
        ["enterprise_id", "project_id", "file_path", "occurred_at"],
    )
    op.create_index(
        "ix_changes_session", "code_changes", ["enterprise_id", "session_id", "occurred_at"]
    )


def _forgotten() -> None:
    op.create_table(
        "forgotten",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("agent_prompt_id", sa.Text(), nullable=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_forgotten_session", "forgotten", ["enterprise_id", "session_id"])


def _natural_keys() -> None:
    op.create_table(
        "natural_keys",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("entity_kind", sa.Text(), nullable=False),
        sa.Column("entity_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "session_id", "key"),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )


def _observations() -> None:
    op.create_table(
        "observations",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("prompt_id", ID, nullable=True),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("observation_type", sa.Text(), nullable=False),
        sa.Column("source_tool", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_preview", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("importance_score", sa.Float(), nullable=False),
        sa.Column("is_flagged", sa.Boolean(), nullable=False),
        sa.Column("tags_json", JSON, nullable=False),
        sa.Column("metadata_json", JSON, nullable=False),
        sa.Column("subagent_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "observation_type IN ('tool_result', 'error', 'warning', 'info')",
            name="ck_observation_type",
        ),
        sa.CheckConstraint(
            "importance_score >= 0 AND importance_score <= 1", name="ck_observation_importance"
        ),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(
        "ix_observations_session",
        "observations",
        ["enterprise_id", "session_id", "occurred_at", "id"],
    )


def _prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("sequence_num", sa.Integer(), nullable=False),
        sa.Column("prompt_type", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("token_count", WIDE, nullable=False),
        sa.Column("agent_prompt_id", sa.Text(), nullable=True),
        sa.Column("subagent_id", sa.Text(), nullable=True),
        sa.Column("metadata_json", JSON, nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "prompt_type IN ('user', 'system', 'assistant', 'tool')", name="ck_prompt_type"
        ),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_prompts_hash", "prompts", ["enterprise_id", "content_hash"])
    op.create_index(
        "ix_prompts_session", "prompts", ["enterprise_id", "session_id", "occurred_at", "id"]
    )


def _summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("event_id", ID, nullable=True),
        sa.Column("summary_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("key_points_json", JSON, nullable=False),
        sa.Column("action_items_json", JSON, nullable=False),
        sa.Column("model_used", sa.Text(), nullable=False),
        sa.Column("generation_cost", sa.Float(), nullable=False),
        sa.Column("quality_score", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_published", sa.Boolean(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.CheckConstraint(
            "summary_type IN ('session', 'topic', 'action', 'item')", name="ck_summary_type"
        ),
        sa.ForeignKeyConstraint(
            ["enterprise_id", "session_id"],
            ["sessions.enterprise_id", "sessions.id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_summaries_session",
        "summaries",
        ["enterprise_id", "session_id", "summary_type", "occurred_at"],
    )


def _vector_embeddings() -> None:
    op.create_table(
        "vector_embeddings",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector_data", sa.LargeBinary(), nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("total_chunks", sa.Integer(), nullable=False),
        sa.Column("metadata_json", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.UniqueConstraint(
            "enterprise_id", "resource_type", "resource_id", "model_name", "chunk_index"
        ),
    )


def _sqlite_search() -> None:
    # Contentless: the tables are the truth, the index holds tokens only.
    op.execute(
        "CREATE VIRTUAL TABLE search_fts USING fts5("
        "title, body, labels, content='', contentless_delete=1, prefix='3', "
        "tokenize=\"ascii tokenchars '_./-'\")"
    )


def _task_queue() -> None:
    op.create_table(
        "task_queue",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("task_key", sa.Text(), nullable=False),
        sa.Column("payload_json", JSON, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run_at", MOMENT, nullable=False),
        sa.Column("lease_until", MOMENT),
        sa.Column("worker_id", sa.Text()),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("started_at", MOMENT),
        sa.Column("completed_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.UniqueConstraint("enterprise_id", "task_type", "task_key"),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'dead')", name="ck_task_status"
        ),
    )
    op.create_index("ix_task_due", "task_queue", ["status", "run_at"])


def _configurations() -> None:
    op.create_table(
        "configurations",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("value_type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("is_sensitive", sa.Boolean(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "environment", "key"),
        sa.CheckConstraint(
            "value_type IN ('string', 'int', 'float', 'bool', 'json')", name="ck_config_type"
        ),
        sa.CheckConstraint(
            "environment IN ('all', 'dev', 'test', 'prod')", name="ck_config_environment"
        ),
    )


def _stats_snapshots() -> None:
    op.create_table(
        "stats_snapshots",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("snapshot_date", sa.Text(), nullable=False),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("metric_value", sa.Float(), nullable=False),
        sa.Column("dimensions", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
        sa.UniqueConstraint("enterprise_id", "snapshot_date", "metric_name", "dimensions"),
    )


def _views() -> None:
    # Sums are taken before joining: prompts x observations would multiply them.
    op.execute(
        """
        CREATE VIEW v_session_details AS
        SELECT s.*,
               (SELECT m.title FROM summaries m
                 WHERE m.enterprise_id = s.enterprise_id AND m.session_id = s.id AND m.summary_type = 'session'
                 ORDER BY m.version DESC, m.occurred_at DESC, m.id DESC LIMIT 1) AS latest_summary_title,
               (SELECT m.content FROM summaries m
                 WHERE m.enterprise_id = s.enterprise_id AND m.session_id = s.id AND m.summary_type = 'session'
                 ORDER BY m.version DESC, m.occurred_at DESC, m.id DESC LIMIT 1) AS latest_summary_content,
               (SELECT COUNT(*) FROM prompts p
                 WHERE p.enterprise_id = s.enterprise_id AND p.session_id = s.id) AS prompts_total,
               (SELECT COUNT(*) FROM observations o
                 WHERE o.enterprise_id = s.enterprise_id AND o.session_id = s.id) AS observations_total,
               (SELECT COALESCE(SUM(p.token_count), 0) FROM prompts p
                 WHERE p.enterprise_id = s.enterprise_id AND p.session_id = s.id) AS prompt_tokens
        FROM sessions s WHERE s.status <> 'deleted'
        """
    )
    op.execute(
        """
        CREATE VIEW v_learning_popularity AS
        SELECT l.*, l.usage_count * l.confidence_score AS popularity_score
        FROM learnings l WHERE NOT l.is_deleted
        """
    )


_ALL = (
    "schema_info",
    "audit_logs",
    "change_journal",
    "enterprises",
    "ingested_events",
    "learnings",
    "search_documents",
    "search_statistics",
    "transcript_positions",
    "solutions",
    "users",
    "api_keys",
    "projects",
    "members",
    "roles",
    "sessions",
    "code_changes",
    "forgotten",
    "natural_keys",
    "observations",
    "prompts",
    "summaries",
    "vector_embeddings",
    "task_queue",
    "configurations",
    "stats_snapshots",
)
