"""Tables of the organisation and of who may do what. Only `access` reads or writes them."""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.sql import EpochMs, id_type, json_type, metadata, text_type

enterprises = sa.Table(
    "enterprises",
    metadata,
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("name", text_type(), nullable=False),
    sa.Column("settings_json", json_type(), nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("timezone", text_type()),  # an IANA name; none: the deployment's
)

solutions = sa.Table(
    "solutions",
    metadata,
    sa.Column("enterprise_id", id_type(), sa.ForeignKey("enterprises.id"), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("name", text_type(), nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.UniqueConstraint("enterprise_id", "name"),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("solution_id", id_type(), nullable=False),
    sa.Column(
        "key", text_type(), nullable=False
    ),  # git root (common dir or remote) or a stable name
    sa.Column("name", text_type(), nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.UniqueConstraint("enterprise_id", "key"),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "solution_id"], ["solutions.enterprise_id", "solutions.id"]
    ),
)

roles = sa.Table(
    "roles",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("project_id", id_type(), nullable=False),
    sa.Column("name", text_type(), nullable=False),
    sa.Column("is_supervisor", sa.Boolean, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.UniqueConstraint("enterprise_id", "project_id", "name"),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "project_id"], ["projects.enterprise_id", "projects.id"]
    ),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("enterprise_id", id_type(), sa.ForeignKey("enterprises.id"), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("username", text_type(), nullable=False),
    sa.Column("email", text_type()),
    sa.Column("password_hash", text_type()),
    sa.Column(
        "role",
        text_type(),
        sa.CheckConstraint("role IN ('admin', 'user', 'viewer')", name="ck_users_role"),
        nullable=False,
    ),
    sa.Column("preferences_json", json_type(), nullable=False),
    sa.Column("quota_daily", sa.Integer, nullable=False),
    sa.Column("quota_used_today", sa.Integer, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("last_login_at", EpochMs),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    sa.UniqueConstraint("enterprise_id", "username"),
    sa.UniqueConstraint("enterprise_id", "email"),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("user_id", id_type(), primary_key=True),
    sa.Column("project_id", id_type(), primary_key=True),
    sa.Column("role_id", id_type()),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "user_id"], ["users.enterprise_id", "users.id"], ondelete="CASCADE"
    ),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "project_id"],
        ["projects.enterprise_id", "projects.id"],
        ondelete="CASCADE",
    ),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("user_id", id_type(), nullable=False),
    sa.Column("key_prefix", text_type(), nullable=False),
    sa.Column("key_hash", text_type(), nullable=False),
    sa.Column("name", text_type(), nullable=False),
    sa.Column("permissions_json", json_type(), nullable=False),
    sa.Column("rate_limit_rpm", sa.Integer, nullable=False),
    sa.Column("expires_at", EpochMs),
    sa.Column("last_used_at", EpochMs),
    sa.Column("is_revoked", sa.Boolean, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.UniqueConstraint("enterprise_id", "key_hash"),
    sa.ForeignKeyConstraint(
        ["enterprise_id", "user_id"], ["users.enterprise_id", "users.id"], ondelete="CASCADE"
    ),
)

audit_logs = sa.Table(
    "audit_logs",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("user_id", id_type(), nullable=False),
    sa.Column("action_type", text_type(), nullable=False),
    sa.Column("resource_type", text_type(), nullable=False),
    sa.Column("resource_id", text_type()),
    sa.Column("action_details", json_type(), nullable=False),
    sa.Column("ip_address", text_type()),
    sa.Column("user_agent", text_type()),
    sa.Column(
        "result_status",
        text_type(),
        sa.CheckConstraint(
            "result_status IN ('success', 'failure', 'error')", name="ck_audit_result"
        ),
        nullable=False,
    ),
    sa.Column("error_message", text_type()),
    sa.Column("execution_time_ms", sa.Integer, nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Index("ix_audit_when", "enterprise_id", "created_at"),
    sa.Index("ix_audit_user", "enterprise_id", "user_id", "action_type", "created_at"),
)
