"""Tables of the search index: derived from what is remembered, and always rebuildable from it.

Only `retrieval` reads or writes them. The engine's own structures (FTS5's) belong to its adapter
and know a document by its number, `search_documents.id`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from claude_mem.domains.sql import EpochMs, id_type, metadata, text_type


class PackedTerms(sa.LargeBinary):
    """Bytes as the driver takes and gives them: a call a value saved on the hot path."""

    def bind_processor(self, dialect: Dialect) -> None:
        """None is needed."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """None is needed."""


search_documents = sa.Table(
    "search_documents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("enterprise_id", id_type(), nullable=False),
    sa.Column("kind", text_type(), nullable=False),
    sa.Column("entity_id", id_type(), nullable=False),
    sa.Column("project_id", id_type()),
    sa.Column("session_id", id_type()),
    sa.Column("role", text_type()),
    sa.Column("type", text_type()),
    sa.Column("tool", text_type()),
    sa.Column("occurred_at", EpochMs, nullable=False),
    sa.Column("length_title", sa.Integer, nullable=False),
    sa.Column("length_body", sa.Integer, nullable=False),
    sa.Column("terms_title", PackedTerms, nullable=False),
    sa.Column("terms_body", PackedTerms, nullable=False),
    sa.UniqueConstraint("enterprise_id", "kind", "entity_id"),
)

# One row an enterprise: what BM25 needs to know of the whole, kept in the same transactions. While the
# index is being made anew, `stale_through` is the last document number of the old one.
search_statistics = sa.Table(
    "search_statistics",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("documents", sa.Integer, nullable=False),
    sa.Column("title_tokens", sa.BigInteger, nullable=False),
    sa.Column("body_tokens", sa.BigInteger, nullable=False),
    sa.Column("analysis_version", sa.Integer, nullable=False),
    sa.Column("stale_through", sa.BigInteger),
)
