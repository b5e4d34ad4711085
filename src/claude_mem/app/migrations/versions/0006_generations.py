"""What a copy of something derived can be held against: numbers that rise with every change of what it was made from.

Columns are added with defaults; a program from before leaves them as they are, and keeps no copies.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = (("search_statistics", "generation"), ("sessions", "changes"))


def upgrade() -> None:
    """Make the columns."""
    for table, name in _COLUMNS:
        op.add_column(
            table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        )


def downgrade() -> None:
    """Remove them."""
    for table, name in reversed(_COLUMNS):
        op.drop_column(table, name)
