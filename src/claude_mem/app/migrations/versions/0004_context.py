"""Context: which memories each of an agent's sessions was given, so that none is given twice."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
MOMENT = sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Make the tables and columns."""
    op.create_table(
        "injections",
        sa.Column("enterprise_id", ID, primary_key=True),
        sa.Column("agent_session", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("entity_id", ID, primary_key=True),
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_injections_entity", "injections", ["enterprise_id", "entity_id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("injections")
