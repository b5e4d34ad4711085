"""What ranking wants to know of a document: who spoke, where in its session it stands, its traits and importance."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAMES = ("speaker", "place", "traits", "importance")


def upgrade() -> None:
    """Add the columns; the index is made anew, for the version of the analysis rose too."""
    op.add_column("search_documents", sa.Column("speaker", sa.Text()))
    op.add_column("search_documents", sa.Column("place", sa.Integer()))
    traits = sa.Column("traits", sa.Integer(), nullable=False, server_default="0")
    op.add_column("search_documents", traits)
    importance = sa.Column("importance", sa.Float(), nullable=False, server_default="0.5")
    op.add_column("search_documents", importance)


def downgrade() -> None:
    """Take them away."""
    for name in _NAMES:
        op.drop_column("search_documents", name)
