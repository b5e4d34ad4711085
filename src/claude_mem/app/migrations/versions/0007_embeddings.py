"""Embeddings as they are kept: what each was made of, and how far each model has come.

`vector_embeddings` is made anew, with the dimension in its key and what tells equal texts: no program has written a row
of it yet.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.drop_table("vector_embeddings")
    op.create_table(
        "vector_embeddings",
        *_columns(
            sa.Column("content_hash", sa.LargeBinary(), nullable=False),
            sa.Column("document_hash", sa.LargeBinary(), nullable=False),
        ),
        sa.UniqueConstraint(
            "enterprise_id",
            "resource_type",
            "resource_id",
            "model_name",
            "dimension",
            "chunk_index",
        ),
    )
    op.create_index("ix_vector_content", "vector_embeddings", ["enterprise_id", "content_hash"])
    op.create_table(
        "vector_models",
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("chunking", sa.Integer(), nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("gaps", JSON, nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "model_name", "dimension"),
    )


def downgrade() -> None:
    """As they were."""
    op.drop_table("vector_models")
    op.drop_table("vector_embeddings")
    op.create_table(
        "vector_embeddings",
        *_columns(),
        sa.UniqueConstraint(
            "enterprise_id", "resource_type", "resource_id", "model_name", "chunk_index"
        ),
    )


def _columns(*more: sa.Column[bytes]) -> list[Any]:
    return [
        sa.Column("enterprise_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("total_chunks", sa.Integer(), nullable=False),
        *more,
        sa.Column("metadata_json", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("vector_data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("enterprise_id", "id"),
    ]
