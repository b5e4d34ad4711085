"""The time zone of an enterprise, in which "yesterday" is meant; and the one its index was made in (none: UTC)."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = ("enterprises", "search_statistics")


def upgrade() -> None:
    """Add the columns; an earlier program leaves them empty, and says nothing of them."""
    for table in _TABLES:
        op.add_column(table, sa.Column("timezone", sa.Text()))


def downgrade() -> None:
    """Take them away."""
    for table in _TABLES:
        op.drop_column(table, "timezone")
