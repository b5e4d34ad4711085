"""SQLite's vector index: a row a vector, of 16 bits a number; graphs over many of them lie in files.

The tables from before are derived, and no program has filled them yet.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.drop_table("vector_blocks")
    op.drop_table("vector_fresh")
    op.execute(
        "CREATE TABLE vector_spaces ("
        "enterprise_id TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL, "
        "space INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (enterprise_id, model, dimension))"
    )
    op.execute(
        "CREATE TABLE vector_rows ("
        "number INTEGER PRIMARY KEY, enterprise_id TEXT NOT NULL, space INTEGER NOT NULL, "
        "project_id TEXT NOT NULL, id BLOB NOT NULL, vector BLOB NOT NULL, UNIQUE (enterprise_id, id))"
    )
    op.create_index("ix_vector_rows_project", "vector_rows", ["space", "project_id"])


def downgrade() -> None:
    """As they were."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.drop_table("vector_rows")
    op.drop_table("vector_spaces")
    for table, columns in (
        ("vector_fresh", "id BLOB NOT NULL, vector BLOB NOT NULL"),
        ("vector_blocks", "id BLOB NOT NULL, ids BLOB NOT NULL, vectors BLOB NOT NULL"),
    ):
        op.execute(
            f"CREATE TABLE {table} (enterprise_id TEXT NOT NULL, model TEXT NOT NULL, "
            f"dimension INTEGER NOT NULL, project_id TEXT NOT NULL, {columns}, PRIMARY KEY (enterprise_id, id))"
        )
        op.create_index(f"ix_{table}", table, ["enterprise_id", "model", "dimension", "project_id"])
