"""The first schema. Written by hand and never changed: later steps stand in files of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UNFINISHED = "state IN ('pending', 'intended', 'signed')"


def upgrade() -> None:
    """Make every table."""
    op.create_table("meta", sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))
    _entry()
    op.create_table(
        "spent_challenge",
        sa.Column("mac", sa.LargeBinary, primary_key=True),
        sa.Column("entry_id", sa.BigInteger, sa.ForeignKey("entry.id"), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("writer", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "integration",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("challenge", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("enabled", sa.SmallInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "mark", sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.BigInteger, nullable=False)
    )
    op.create_table(
        "crl",
        sa.Column("issuer_id", sa.Text, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "shard", "number"),
    )


def _entry() -> None:
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("newest", sa.SmallInteger, nullable=False),
        sa.Column("integration", sa.Text, nullable=False),
        sa.Column("transaction_id", sa.Text, nullable=False),
        sa.Column("message_type", sa.SmallInteger, nullable=False),
        sa.Column("signer_key", sa.LargeBinary, nullable=False),
        sa.Column("request_key", sa.LargeBinary, nullable=False),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("pickup_until", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("issuer_id", sa.Text),
        sa.Column("serial", sa.Text),
        sa.Column("crl_shard", sa.Integer),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("not_after", sa.BigInteger),
        sa.Column("tbs", sa.LargeBinary),
        sa.Column("certificate", sa.LargeBinary),
        sa.Column("request", sa.LargeBinary),
        sa.Column("issued_at", sa.BigInteger),
        sa.Column("renews", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revocation_reason", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'intended', 'signed', 'issued', 'revoked', 'failed')", name="entry_state_known"
        ),
        sa.CheckConstraint(
            "state NOT IN ('signed', 'issued') OR certificate IS NOT NULL", name="entry_signed_has_certificate"
        ),
        sa.CheckConstraint(
            "state <> 'intended' OR (tbs IS NOT NULL AND serial IS NOT NULL)", name="entry_intended_has_tbs"
        ),
    )
    op.create_index("entry_serial", "entry", ["serial", "issuer_id"], unique=True)
    _partial("entry_transaction", ["integration", "transaction_id"], "newest = 1", unique=True)
    _partial("entry_unfinished", ["id", "state"], UNFINISHED)
    _partial("entry_revoked", ["issuer_id", "crl_shard", "not_after"], "revoked_at IS NOT NULL")


def _partial(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, "entry", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
