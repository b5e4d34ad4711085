"""Vectors: SQLite's own tables of the vector index; PostgreSQL's are made by its scripts, where pgvector is there."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.execute(
        "CREATE TABLE vector_fresh ("
        "enterprise_id TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL, "
        "project_id TEXT NOT NULL, id BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (enterprise_id, id))"
    )
    op.execute(
        "CREATE TABLE vector_blocks ("
        "enterprise_id TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL, "
        "project_id TEXT NOT NULL, id BLOB NOT NULL, ids BLOB NOT NULL, vectors BLOB NOT NULL, "
        "PRIMARY KEY (enterprise_id, id))"
    )
    for table in ("vector_fresh", "vector_blocks"):
        op.create_index(f"ix_{table}", table, ["enterprise_id", "model", "dimension", "project_id"])


def downgrade() -> None:
    """Remove them."""
    if op.get_context().dialect.name == "sqlite":
        op.drop_table("vector_blocks")
        op.drop_table("vector_fresh")
