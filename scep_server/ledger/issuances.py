"""Issuances: the two commits of an enrolment and what happens to an entry between them (interfaces.Issuances)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scep_server.errors import Fault, SerialCollision
from scep_server.interfaces import Clock
from scep_server.ledger.database import DatabaseError, Session, Trouble, trouble_of
from scep_server.ledger.jobs import Done
from scep_server.ledger.notices import keep_notices
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import (
    Parameters,
    entry_of,
    inner_tbs,
    micros,
    opened_entry,
    opening_parameters,
    prepared_parameters,
    serial_text,
    signed_entry,
    storable,
    transaction_key,
)
from scep_server.ledger.spending import spend
from scep_server.ledger.writer import Writer
from scep_server.types import Certificate, Entry, EntryState, Event, Intent, Notice, Opening, Prepared

OPENED_LIMIT: Final = 4096
"""Opened entries kept in memory; where more were never signed, they are read again."""


@dataclass(slots=True)
class OpenedEntry:
    """Answer of open() (interfaces.Opened)."""

    intent: Intent | None
    entry: Entry
    existing: bool
    used_up: tuple[bytes, ...] = ()


class IssuancesPart:
    """Issuances on one database."""

    _writer: Writer
    _reader: Reader
    _clock: Clock
    _opened: dict[int, Entry]
    """Entries that this process opened and has not signed yet, so that signing need not read them back."""

    def find(self, integration: str, transaction_id: str) -> Entry | None:
        """Blocking read. The entry that speaks for this transaction, in whatever state, or None."""
        key = {"integration": integration, "transaction_id": transaction_key(transaction_id)}
        row = self._reader.read(lambda session: session.one(session.sql.newest_entry, key))
        return None if row is None else entry_of(row)

    def find_certificate(self, issuer_id: str, serial: int) -> Entry | None:
        """Blocking read. By issuer and serial."""
        key = {"issuer_id": issuer_id, "serial": serial_text(serial)}
        row = self._reader.read(lambda session: session.one(session.sql.entry_by_serial, key))
        return None if row is None else entry_of(row)

    async def open(self, opening: Opening, events: Sequence[Event]) -> OpenedEntry:
        """COMMIT 1 (R74). `existing` is the transaction's live entry, or the one that used the challenge for this very
        request. Refusal(CHALLENGE_SPENT), SerialCollision, LedgerUnavailable.
        """
        parameters = opening_parameters(opening)
        entry, existing, used_up = await self._writer.run(lambda session: _open(session, opening, parameters), events)
        if existing or opening.prepared is None:
            return OpenedEntry(None, entry, existing, used_up)
        if len(self._opened) >= OPENED_LIMIT:
            self._opened.clear()
        self._opened[entry.id] = entry
        return OpenedEntry(_intent(entry.id, opening.prepared), entry, existing=False, used_up=used_up)

    async def follow(self, entry_id: int, opening: Opening, events: Sequence[Event]) -> OpenedEntry:
        """A pending entry goes by the opening's transaction id from now on. That transaction's own live entry, where it
        has one; the entry as it is, where it is no longer pending. LedgerUnavailable.
        """
        parameters = opening_parameters(opening)
        entry = await self._writer.run(lambda session: _follow(session, entry_id, opening, parameters), events)
        return OpenedEntry(None, entry, existing=True)

    async def approve(
        self, entry_id: int, prepared: Prepared, events: Sequence[Event], pickup_until: datetime | None = None
    ) -> Intent | None:
        """COMMIT 1 of a pending entry; None when it is no longer pending. pickup_until, when given, replaces the end of
        the pending window. SerialCollision, LedgerUnavailable.
        """
        parameters = {
            "entry_id": entry_id,
            "new_pickup_until": None if pickup_until is None else micros(pickup_until),
            **prepared_parameters(prepared),
        }

        def work(session: Session) -> Done[bool]:
            try:
                moved = session.change(session.sql.approve, parameters)
            except DatabaseError as error:
                if trouble_of(error) is Trouble.UNIQUE:
                    raise SerialCollision(parameters["serial"]) from error
                raise
            return Done(moved, entry_id, wrote=moved)

        return _intent(entry_id, prepared) if await self._writer.run(work, events) else None

    async def reject(self, entry_id: int, note: str, events: Sequence[Event], notices: Sequence[Notice] = ()) -> bool:
        """Pending -> failed. False when it is no longer pending."""

        def work(session: Session) -> Done[bool]:
            rejected = session.change(session.sql.reject, {"entry_id": entry_id, "note": storable(note)})
            return keep_notices(session, Done(rejected, entry_id, wrote=rejected), notices)

        return await self._writer.run(work, events)

    async def resume(self, entry_id: int) -> Intent | None:
        """The intent of an entry found `intended`; None when it moved on meanwhile."""
        entry = await asyncio.to_thread(self._read, entry_id)
        if entry is None or entry.state is not EntryState.INTENDED:
            return None
        if entry.tbs is None or entry.issuer_id is None or entry.serial is None:
            raise Fault(f"entry {entry_id} is intended but its intent is incomplete")
        return Intent(entry.id, entry.issuer_id, entry.serial, entry.tbs)

    def _read(self, entry_id: int) -> Entry | None:
        row = self._reader.read(lambda session: session.one(session.sql.entry, {"id": entry_id}))
        return None if row is None else entry_of(row)

    async def sign(
        self,
        entry_id: int,
        certificate: Certificate,
        release: bool,
        events: Sequence[Event],
        notices: Sequence[Notice] = (),
    ) -> Entry:
        """COMMIT 2. The certificate must contain the recorded tbs byte for byte (K2), else Fault and nothing is stored.

        When another has signed meanwhile, that entry comes back. An entry revoked while it was being signed keeps the
        certificate and stays revoked: look at the state of what comes back.
        """
        now = self._clock()
        parameters = {
            "entry_id": entry_id,
            "signed_tbs": inner_tbs(certificate.der),
            "certificate": certificate.der,
            "issued_at": micros(now),
            "new_state": "issued" if release else "signed",
        }
        opened = self._opened.pop(entry_id, None)

        def work(session: Session) -> Done[Entry]:
            if opened is not None and session.change(session.sql.sign_intended, parameters):
                done = Done(signed_entry(opened, parameters, now), entry_id)
            else:
                done = _sign(session, entry_id, parameters)
            return keep_notices(session, done, notices)

        return await self._writer.run(work, events)

    async def release(self, entry_id: int, events: Sequence[Event]) -> Entry:
        """Signed -> issued. An entry that is issued or revoked already comes back unchanged."""

        def work(session: Session) -> Done[Entry]:
            row = session.one(session.sql.release, {"entry_id": entry_id})
            if row is not None:
                return Done(entry_of(row), entry_id)
            entry = _entry(session, entry_id)
            if entry.certificate is None:
                raise Fault(f"entry {entry_id} is {entry.state}: there is nothing to release")
            return Done(entry, entry_id, wrote=False)

        return await self._writer.run(work, events)

    async def fail(self, entry_id: int, note: str, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Pending or intended -> failed; anything else stays as it is and nothing is recorded."""
        change = {"entry_id": entry_id, "note": storable(note)}

        def work(session: Session) -> Done[None]:
            done = Done(None, entry_id, wrote=session.change(session.sql.fail, change))
            return keep_notices(session, done, notices)

        await self._writer.run(work, events)

    async def record(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Decisions that change no entry."""
        if events or notices:
            await self._writer.run(lambda session: keep_notices(session, Done(None), notices), events)

    def unfinished(self) -> Sequence[Entry]:
        """Blocking read. Entries intended or signed, and pending ones past their time."""
        now = {"now": micros(self._clock())}
        return [entry_of(row) for row in self._reader.read(lambda session: session.all(session.sql.unfinished, now))]


def _intent(entry_id: int, prepared: Prepared) -> Intent:
    """Only called after the commit of exactly these values."""
    return Intent(entry_id, prepared.issuer_id, prepared.serial, prepared.tbs)


def _open(session: Session, opening: Opening, parameters: Parameters) -> Done[tuple[Entry, bool, tuple[bytes, ...]]]:
    entry_id = session.insert(session.sql.open_entry, parameters)
    if entry_id is None:
        # Either the transaction has an entry already, or the serial is taken.
        found = session.one(session.sql.newest_entry_for_update, parameters)
        if found is not None:
            current = entry_of(found)
            if _stands(current, opening):
                return Done((current, True, ()), current.id, wrote=False)
            session.change(session.sql.retire_entry, {"entry_id": current.id})
            entry_id = session.insert(session.sql.open_entry, parameters)
    if entry_id is None:
        raise SerialCollision(parameters["serial"])
    holder, used_up = spend(session, opening, parameters, entry_id)
    if holder is not None:
        return Done((holder, True, ()), holder.id, wrote=False, undo=True)
    return Done((opened_entry(entry_id, opening, parameters), False, used_up), entry_id)


def _follow(session: Session, entry_id: int, opening: Opening, parameters: Parameters) -> Done[Entry]:
    found = session.one(session.sql.newest_entry_for_update, parameters)
    if found is not None:
        current = entry_of(found)
        if current.id == entry_id or _stands(current, opening):
            return Done(current, current.id, wrote=False)
        session.change(session.sql.retire_entry, {"entry_id": current.id})
    row = session.one(session.sql.move_pending, {**parameters, "entry_id": entry_id})
    if row is None:
        return Done(_entry(session, entry_id), entry_id, wrote=False, undo=True)
    return Done(entry_of(row), entry_id)


def _stands(current: Entry, opening: Opening) -> bool:
    """True when the transaction's newest entry is live and is not the one that the caller judged to be over (R74)."""
    over = current.state is EntryState.FAILED or current.pickup_until <= opening.received_at
    return not over and current.id != opening.replaces


def _sign(session: Session, entry_id: int, parameters: Parameters) -> Done[Entry]:
    row = session.one(session.sql.sign, parameters)
    if row is not None:
        return Done(entry_of(row), entry_id)
    entry = _entry(session, entry_id)
    if entry.tbs != parameters["signed_tbs"]:
        raise Fault(f"entry {entry_id}: the certificate is not the one that was recorded")
    if entry.certificate is None:
        raise Fault(f"entry {entry_id} is {entry.state}: its certificate cannot be stored")
    return Done(entry, entry_id, wrote=False)


def _entry(session: Session, entry_id: int) -> Entry:
    row = session.one(session.sql.entry_for_update, {"id": entry_id})
    if row is None:
        raise LookupError(f"the ledger has no entry {entry_id}")
    return entry_of(row)
