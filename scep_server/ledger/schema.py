"""The tables, once, for SQLite and PostgreSQL. Migrations make them; tests hold the two together.

Times are microseconds since 1970 UTC, serials lower-case hex, digests raw bytes, JSON is text: nothing here needs a
type decorator, so rows travel as the driver gives them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

SCHEMA_VERSION: Final = "0002"
"""Newest migration; a database that says anything unknown is newer than this program."""

APPLICATION: Final = "scep-server"
APPLICATION_ID: Final = 0x53434550
"""SQLite's PRAGMA application_id: `SCEP`."""

UNFINISHED: Final = "state IN ('pending', 'intended', 'signed')"
"""Predicate of the partial index; queries repeat it word for word, as SQLite wants it."""

metadata = MetaData()

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
"""`application`, `ledger_id`, `created_at`."""

entry = Table(
    "entry",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("state", Text, nullable=False),
    # 1: this entry speaks for its transaction; 0: a later one took its place (R74).
    Column("newest", SmallInteger, nullable=False),
    Column("integration", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("message_type", SmallInteger, nullable=False),
    Column("signer_key", LargeBinary, nullable=False),
    Column("request_key", LargeBinary, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("subject", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("pickup_until", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("issuer_id", Text),
    Column("serial", Text),
    Column("crl_shard", Integer),
    Column("not_before", BigInteger),
    Column("not_after", BigInteger),
    # The recorded intent; moves into `certificate`, which contains it byte for byte, when that is stored.
    Column("tbs", LargeBinary),
    Column("certificate", LargeBinary),
    # The CSR while a decision is pending.
    Column("request", LargeBinary),
    Column("issued_at", BigInteger),
    Column("renews", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revocation_reason", Text),
    Column("note", Text, nullable=False),
    CheckConstraint(
        "state IN ('pending', 'intended', 'signed', 'issued', 'revoked', 'failed')", name="entry_state_known"
    ),
    CheckConstraint(
        "state NOT IN ('signed', 'issued') OR certificate IS NOT NULL", name="entry_signed_has_certificate"
    ),
    CheckConstraint("state <> 'intended' OR (tbs IS NOT NULL AND serial IS NOT NULL)", name="entry_intended_has_tbs"),
    Index("entry_serial", "serial", "issuer_id", unique=True),
    Index(
        "entry_transaction",
        "integration",
        "transaction_id",
        unique=True,
        sqlite_where=text("newest = 1"),
        postgresql_where=text("newest = 1"),
    ),
    Index("entry_unfinished", "id", "state", sqlite_where=text(UNFINISHED), postgresql_where=text(UNFINISHED)),
    Index(
        "entry_revoked",
        "issuer_id",
        "crl_shard",
        "not_after",
        sqlite_where=text("revoked_at IS NOT NULL"),
        postgresql_where=text("revoked_at IS NOT NULL"),
    ),
)

ENTRY_COLUMNS = tuple(column for column in entry.c if column.name not in {"newest", "request"})
"""What every read of an entry selects; the CSR, which holds a challenge, is read by one statement only."""

spent_challenge = Table(
    "spent_challenge",
    metadata,
    Column("mac", LargeBinary, primary_key=True),
    Column("entry_id", BigInteger, ForeignKey("entry.id"), nullable=False),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    Column("writer", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    PrimaryKeyConstraint("writer", "seq"),
    sqlite_with_rowid=False,
)

integration = Table(
    "integration",
    metadata,
    Column("name", Text, primary_key=True),
    Column("challenge", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("enabled", SmallInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

mark = Table("mark", metadata, Column("name", Text, primary_key=True), Column("value", BigInteger, nullable=False))
"""Numbers that rise with every change of what they are named after; pollers compare them."""

crl = Table(
    "crl",
    metadata,
    Column("issuer_id", Text, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("mark", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
    PrimaryKeyConstraint("issuer_id", "shard", "number"),
)

open_challenge = Table(
    "open_challenge",
    metadata,
    Column("mac", LargeBinary, primary_key=True),
    Column("integration", Text, nullable=False),
    Column("minted_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    # JSON of a NameBinding; empty when it binds nothing.
    Column("binding", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    # 1: counted as expired.
    Column("noted", SmallInteger, nullable=False),
    CheckConstraint("uses BETWEEN 1 AND 65536", name="open_challenge_uses"),
    Index("open_challenge_unspent", "integration", "expires_at"),
    Index("open_challenge_expiry", "noted", "expires_at"),
    sqlite_with_rowid=False,
)
"""One-time challenges that can still be used; the last use takes the row away."""

challenge_lookup = Table(
    "challenge_lookup",
    metadata,
    Column("lookup", LargeBinary, nullable=False),
    # The challenge's own, so that the newest of a lookup are found without sorting.
    Column("minted_at", BigInteger, nullable=False),
    Column("mac", LargeBinary, ForeignKey("open_challenge.mac", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("lookup", "minted_at", "mac"),
    Index("challenge_lookup_mac", "mac"),
    sqlite_with_rowid=False,
)

notice = Table(
    "notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("integration", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("entry_id", BigInteger, ForeignKey("entry.id")),
    Column("at", BigInteger, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Index("notice_due", "due_at", "id"),
)
"""What plugins have yet to be told."""

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
