"""Tables of the search index: derived from what is remembered, and always rebuildable from it.

Only `retrieval` reads or writes them. The engine's own structures (FTS5's) belong to its adapter
and know a document by its number, `search_documents.id`.
"""

from __future__ import annotations

import sqlalchemy as sa

from claude_mem.domains.sql import EpochMs, id_type, metadata

search_documents = sa.Table(
    "search_documents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("enterprise_id", id_type(), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("entity_id", id_type(), nullable=False),
    sa.Column("project_id", id_type()),
    sa.Column("session_id", id_type()),
    sa.Column("role", sa.Text),
    sa.Column("type", sa.Text),
    sa.Column("tool", sa.Text),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("length_title", sa.Integer, nullable=False),
    sa.Column("length_body", sa.Integer, nullable=False),
    sa.Column("tokens_title", sa.Text, nullable=False),
    sa.Column("tokens_body", sa.Text, nullable=False),
    sa.UniqueConstraint("enterprise_id", "kind", "entity_id"),
)

# One row an enterprise: what BM25 needs to know of the whole. Kept in the same transactions.
search_statistics = sa.Table(
    "search_statistics",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("documents", sa.Integer, nullable=False),
    sa.Column("title_tokens", sa.BigInteger, nullable=False),
    sa.Column("body_tokens", sa.BigInteger, nullable=False),
    sa.Column("analysis_version", sa.Integer, nullable=False),
)
