"""Whose a vector is, beside it in SQLite's index: a search is spared to look it up.

Rows from before have none, and are looked up as they were, until the vectors are put in anew (`db rebuild`).
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; an earlier program leaves it empty."""
    if op.get_context().dialect.name == "sqlite":
        op.add_column("vector_rows", sa.Column("owner", sa.Text()))


def downgrade() -> None:
    """Take it away."""
    if op.get_context().dialect.name == "sqlite":
        op.drop_column("vector_rows", "owner")
