"""Listings: what operators and the audit read, page by page (interfaces.Listings)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scep_server.audit import AuditRow
from scep_server.ledger.compiling import Statement
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import entry_of, serial_text
from scep_server.types import Entry, EntryState

UNFINISHED_STATES = frozenset({EntryState.PENDING, EntryState.INTENDED, EntryState.SIGNED})


class ListingsPart:
    """Listings on one database."""

    _reader: Reader

    def entries(self, states: frozenset[EntryState] | None = None, integration: str | None = None) -> Iterable[Entry]:
        """Blocking read. Entries in id order, without their requests; None means every state."""
        sql = self._reader.read(lambda session: session.sql)
        unfinished = states is not None and states <= UNFINISHED_STATES
        for entry in self._pages(sql.unfinished_page if unfinished else sql.entries_page):
            if (states is None or entry.state in states) and (integration is None or entry.integration == integration):
                yield entry

    def _pages(self, statement: Statement) -> Iterator[Entry]:
        after = 0
        while rows := self._page(statement, after):
            yield from map(entry_of, rows)
            after = rows[-1][0]

    def _page(self, statement: Statement, after: int) -> Sequence[Sequence[Any]]:
        return self._reader.read(lambda session: session.all(statement, {"after": after}))

    def entry(self, entry_id: int) -> Entry | None:
        """Blocking read. One entry, with its request while a decision is pending."""
        key = {"id": entry_id}
        row = self._reader.read(lambda session: session.one(session.sql.entry, key))
        if row is None:
            return None
        request = self._reader.read(lambda session: session.one(session.sql.request, key))
        return dataclasses.replace(entry_of(row), request=request[0] if request else None)

    def find_serial(self, serial: int) -> Sequence[Entry]:
        """Blocking read. Entries with this serial, of any issuer."""
        key = {"serial": serial_text(serial)}
        rows = self._reader.read(lambda session: session.all(session.sql.entries_by_serial, key))
        return [entry_of(row) for row in rows]

    def events(self) -> Iterator[AuditRow]:
        """Blocking read. All audit events by writer and seq, for audit.verify."""
        place: tuple[str, int] = ("", 0)
        while rows := self._events_page(place):
            yield from rows
            place = (rows[-1].writer, rows[-1].seq)

    def _events_page(self, place: tuple[str, int]) -> list[AuditRow]:
        after = {"writer": place[0], "seq": place[1]}
        return [
            AuditRow(*row) for row in self._reader.read(lambda session: session.all(session.sql.events_page, after))
        ]
