"""One-time challenges that are open, the outbox of notices, and leases. New tables only."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _challenges()
    op.create_table(
        "notice",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("integration", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("entry_id", sa.BigInteger, sa.ForeignKey("entry.id")),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("transaction_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
    )
    op.create_index("notice_due", "notice", ["due_at", "id"])
    op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )


def _challenges() -> None:
    op.create_table(
        "open_challenge",
        sa.Column("mac", sa.LargeBinary, primary_key=True),
        sa.Column("integration", sa.Text, nullable=False),
        sa.Column("minted_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("binding", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("noted", sa.SmallInteger, nullable=False),
        sa.CheckConstraint("uses BETWEEN 1 AND 65536", name="open_challenge_uses"),
        sqlite_with_rowid=False,
    )
    op.create_index("open_challenge_unspent", "open_challenge", ["integration", "expires_at"])
    op.create_index("open_challenge_expiry", "open_challenge", ["noted", "expires_at"])
    op.create_table(
        "challenge_lookup",
        sa.Column("lookup", sa.LargeBinary, nullable=False),
        sa.Column("minted_at", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, sa.ForeignKey("open_challenge.mac", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("lookup", "minted_at", "mac"),
        sqlite_with_rowid=False,
    )
    op.create_index("challenge_lookup_mac", "challenge_lookup", ["mac"])
