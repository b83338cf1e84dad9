"""Fills an SQLite ledger with issued entries, to measure against a big ledger: populate.py PATH COUNT.

Entries look like real ones to every index and page: random serials, transaction ids and hashes, certificates of a usual
size. They have no audit events: the trail of a populated ledger holds only what happens afterwards. Not for production.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

BATCH = 20_000
COLUMNS = (
    "state, newest, integration, transaction_id, message_type, signer_key, request_key, request_hash, subject, "
    "requested_at, pickup_until, source, reference, issuer_id, serial, crl_shard, not_before, not_after, certificate, "
    "issued_at, note"
)
YEAR = 365 * 86_400_000_000


def populate(path: Path, count: int, *, integration: str = "default", issuer_id: str = "populated0000000") -> None:
    """Add `count` issued entries to an initialised ledger that no server has open."""
    connection = sqlite3.connect(path, isolation_level=None)
    # Speed instead of durability: a populated ledger that was interrupted is thrown away.
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-400000", "wal_autocheckpoint=100000"):
        connection.execute(f"PRAGMA {pragma}")
    sql = f"INSERT INTO entry ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))})"
    # Random keys go into the unique indexes in order of the key, page after page, when these are built at the end.
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    for start in range(0, count, BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(sql, _entries(start, min(BATCH, count - start), integration, issuer_id))
        connection.execute("COMMIT")
    for _, statement in indexes:
        connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _entries(start: int, count: int, integration: str, issuer_id: str) -> Iterator[tuple[object, ...]]:
    now = int(datetime.now(UTC).timestamp()) * 1_000_000
    for number in range(start, start + count):
        issued = now - YEAR // 2 + number
        tbs = b"\x30\x82\x02\xbc" + os.urandom(700)
        certificate = b"\x30\x82\x03\xd8" + tbs + os.urandom(280)
        yield (
            "issued", 1, integration, secrets.token_hex(16), 19, os.urandom(32), os.urandom(32), os.urandom(32),
            f"CN=device-{number},O=Example", issued, issued + 3_600_000_000, "192.0.2.1", "current", issuer_id,
            secrets.token_hex(16), 0, issued, issued + YEAR, certificate, issued, "",
        )  # fmt: skip


if __name__ == "__main__":
    began = time.monotonic()
    populate(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{int(sys.argv[2]):,} entries in {time.monotonic() - began:.1f} s")
