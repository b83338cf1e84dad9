"""A ledger opened to be read only: no writer, no audit slot. For listings, and for verifying a broken audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scep_server.ledger.database import Database
from scep_server.ledger.listings import ListingsPart
from scep_server.ledger.opening import open_database
from scep_server.ledger.reader import Reader


class ReadingLedger(ListingsPart):
    """Listings and events of one database."""

    def __init__(self, database: Database, ledger_id: str) -> None:
        self.id = ledger_id
        self._reader = Reader(database)

    def close(self) -> None:
        """Close every connection."""
        self._reader.close()


@contextmanager
def reading(url: str) -> Iterator[ReadingLedger]:
    """The ledger of a url, for reading. Raises as open_ledger does, but for the audit, which is not looked at."""
    database, ledger_id = open_database(url, initialise=False, check_pages=False)
    ledger = ReadingLedger(database, ledger_id)
    try:
        yield ledger
    finally:
        ledger.close()
