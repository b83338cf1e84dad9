"""Takes: a database url, the audit trail, values of types.py to record.
Gives: open_ledger() and its Ledger: every ledger part of interfaces, Challenges as its attribute, on either database.
May touch: the database, and the audit heads through the trail.
"""

from __future__ import annotations

from datetime import UTC, datetime

from scep_server.audit import AuditTrail
from scep_server.interfaces import Clock
from scep_server.ledger.challenges import LedgerChallenges
from scep_server.ledger.database import Database
from scep_server.ledger.integrations import IntegrationsPart
from scep_server.ledger.issuances import IssuancesPart, OpenedEntry
from scep_server.ledger.leases import LeasesPart
from scep_server.ledger.listings import ListingsPart
from scep_server.ledger.notices import NoticesPart
from scep_server.ledger.opening import open_database
from scep_server.ledger.reader import Reader
from scep_server.ledger.revocations import RevocationsPart
from scep_server.ledger.writer import Writer

__all__ = ["Ledger", "LedgerChallenges", "OpenedEntry", "open_ledger"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger(IssuancesPart, ListingsPart, RevocationsPart, IntegrationsPart, NoticesPart, LeasesPart):
    """The database of record of one process. Several processes may share a database.

    challenges: the one-time challenges kept in it (interfaces.Challenges).
    """

    def __init__(self, database: Database, ledger_id: str, audit: AuditTrail, clock: Clock) -> None:
        self.id = ledger_id
        self._clock = clock
        self._opened = {}
        self._audit = audit
        self._reader = Reader(database)
        self._writer = Writer(database, audit)
        self.challenges = LedgerChallenges(self._writer, self._reader, clock)
        try:
            audit.attach(ledger_id, self._event_mac)
            self._writer.start()
        except BaseException:
            self.close()
            raise

    def _event_mac(self, writer: str, seq: int) -> bytes | None:
        key = {"writer": writer, "seq": seq}
        row = self._reader.read(lambda session: session.one(session.sql.event_mac, key))
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        """Blocking. Commit what waits, close every connection, give the audit slot back."""
        self._writer.close()
        self._reader.close()
        self._audit.close()


def open_ledger(
    url: str,
    *,
    initialise: bool = False,
    audit: AuditTrail,
    clock: Clock = _utc_now,
    check_pages: bool = True,
) -> Ledger:
    """Open the ledger, upgrading an older schema under a lock.

    url: `sqlite:////absolute/path` or `postgresql+psycopg://user@host/name`.
    initialise: make the ledger when it is missing (SQLite) or empty (PostgreSQL); one that is there is just opened.
    audit: a trail that is not attached yet; it belongs to the ledger from here on.
    check_pages: False skips SQLite's page check (up to two seconds on a large file); for short-lived commands.

    LedgerUnusable with cause and remedy (F5); LedgerUnavailable when the database cannot be reached now.
    ConfigurationError for a url that is not understood.
    """
    database, ledger_id = open_database(url, initialise=initialise, check_pages=check_pages)
    return Ledger(database, ledger_id, audit, clock)
