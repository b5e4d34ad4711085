"""Tables of search: the text index, derived from what is remembered, and the embeddings.

Only `retrieval` reads or writes them. The engine's own structures (FTS5's) belong to its adapter
and know a document by its number, `search_documents.id`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from claude_mem.domains.sql import EpochMs, id_type, json_type, metadata, text_type


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
    sa.Column("speaker", text_type()),
    sa.Column("place", sa.Integer),  # in its session: 1, 2, 3 in order
    sa.Column("traits", sa.Integer, nullable=False),
    sa.Column("importance", sa.Float, nullable=False),
    sa.UniqueConstraint("enterprise_id", "kind", "entity_id"),
)

# One row an enterprise: what BM25 needs to know of the whole, kept in the same transactions. While the
# index is being made anew, `stale_through` is the last document number of the old one. `generation` rises with every
# change of the index. `timezone` is the zone in which its documents' days are counted, or, while the index is made
# anew, will be; none is UTC.
search_statistics = sa.Table(
    "search_statistics",
    metadata,
    sa.Column("enterprise_id", id_type(), primary_key=True),
    sa.Column("documents", sa.Integer, nullable=False),
    sa.Column("title_tokens", sa.BigInteger, nullable=False),
    sa.Column("body_tokens", sa.BigInteger, nullable=False),
    sa.Column("analysis_version", sa.Integer, nullable=False),
    sa.Column("stale_through", sa.BigInteger),
    sa.Column("generation", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("timezone", text_type()),
)

# What a model made of a text, whole or in chunks: little-endian 32-bit floats, length 1. The truth of the vector index,
# which an engine keeps in structures of its own. `content_hash` is of the chunk's text, by which an equal one is found
# that was embedded already; `document_hash` of everything the chunks were made of. The vector comes last: what is asked
# of a row mostly lies before it.
vector_embeddings = sa.Table(
    "vector_embeddings",
    metadata,
    sa.Column("enterprise_id", id_type(), nullable=False),
    sa.Column("id", id_type(), nullable=False),
    sa.Column("resource_type", text_type(), nullable=False),
    sa.Column("resource_id", id_type(), nullable=False),
    sa.Column("model_name", text_type(), nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("chunk_index", sa.Integer, nullable=False),
    sa.Column("total_chunks", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, nullable=False),
    sa.Column("document_hash", sa.LargeBinary, nullable=False),
    sa.Column("metadata_json", json_type(), nullable=False),
    sa.Column("created_at", EpochMs, nullable=False),
    sa.Column("vector_data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("enterprise_id", "id"),
    sa.UniqueConstraint(
        "enterprise_id", "resource_type", "resource_id", "model_name", "dimension", "chunk_index"
    ),
    sa.Index("ix_vector_content", "enterprise_id", "content_hash"),
)

# How far each model has come in an enterprise. Documents up to number `head` have vectors, but for those in `gaps`:
# pairs (above, through), the oldest first, worked off from the newest end. `documents` counts those with vectors.
vector_models = sa.Table(
    "vector_models",
    metadata,
    sa.Column("enterprise_id", id_type(), nullable=False),
    sa.Column("model_name", text_type(), nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("chunking", sa.Integer, nullable=False),
    sa.Column("head", sa.BigInteger, nullable=False),
    sa.Column("gaps", json_type(), nullable=False),
    sa.Column("documents", sa.BigInteger, nullable=False),
    sa.Column("updated_at", EpochMs, nullable=False),
    sa.PrimaryKeyConstraint("enterprise_id", "model_name", "dimension"),
)
