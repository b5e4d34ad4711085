"""Search: documents keep packed terms instead of their tokens as text, and the index is renewed in steps.

What is there already gets empty terms: it is found as before, below what is scored, until the job
`index.rebuild` (queued at start, because the analysis has a new version) has come by. A program from
before would not know the new columns, hence the new reader version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FIELDS = ("title", "body")


def upgrade() -> None:
    """Make the columns."""
    is_sqlite = op.get_context().dialect.name == "sqlite"
    # An empty field: nothing but the end of the (missing) header.
    empty = sa.text("x'0A'" if is_sqlite else "'\\x0A'")
    for field in _FIELDS:
        op.add_column(
            "search_documents",
            sa.Column(f"terms_{field}", sa.LargeBinary(), nullable=False, server_default=empty),
        )
    for field in _FIELDS:
        op.drop_column("search_documents", f"tokens_{field}")
    op.add_column("search_statistics", sa.Column("stale_through", sa.BigInteger(), nullable=True))
    _ask_for_reader("2")


def downgrade() -> None:
    """Remove them; the older program makes its index anew, because the analysis differs."""
    op.drop_column("search_statistics", "stale_through")
    for field in _FIELDS:
        op.add_column(
            "search_documents",
            sa.Column(f"tokens_{field}", sa.Text(), nullable=False, server_default=""),
        )
    for field in _FIELDS:
        op.drop_column("search_documents", f"terms_{field}")
    _ask_for_reader("1")


def _ask_for_reader(version: str) -> None:
    op.execute(
        sa.text(
            "UPDATE schema_info SET value = :version WHERE key = 'min_reader_version'"
        ).bindparams(version=version)
    )
