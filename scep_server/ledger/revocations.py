"""Revocations and the CRLs that tell them (interfaces.Revocations, and Issuances.withdraw, which is one)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cryptography.x509 import ReasonFlags

from scep_server.ledger.compiling import Statement
from scep_server.ledger.database import Session
from scep_server.ledger.jobs import Done
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import crl_of, crl_parameters, entry_of, micros, revoked_of, serial_text
from scep_server.ledger.writer import Writer
from scep_server.types import Crl, Entry, Event, RevokedCertificate


class RevocationsPart:
    """Revocations on one database."""

    _writer: Writer
    _reader: Reader

    async def revoke(
        self, issuer_id: str, serial: int, reason: ReasonFlags, at: datetime, events: Sequence[Event]
    ) -> Entry:
        """-> revoked, whatever the state: a serial is revocable though its certificate was never stored (K4).

        The first revocation stands; a later one gets the entry back and nothing is recorded. LookupError when the
        ledger does not know the serial.
        """
        key = {"of_issuer": issuer_id, "of_serial": serial_text(serial)}
        change = {**key, "revoked_at": micros(at), "revocation_reason": reason.value}

        def work(session: Session) -> Done[Entry]:
            entry = _revoked(session, session.sql.revoke, change)
            if entry is not None:
                return Done(entry, entry.id)
            row = session.one(session.sql.entry_by_serial, {"issuer_id": issuer_id, "serial": serial_text(serial)})
            if row is None:
                raise LookupError(f"the ledger has no certificate with serial {serial_text(serial)} of {issuer_id}")
            entry = entry_of(row)
            return Done(entry, entry.id, wrote=False)

        return await self._writer.run(work, events)

    async def withdraw(self, entry_id: int, at: datetime, events: Sequence[Event]) -> Entry:
        """Signed -> revoked, as nobody has the certificate. Anything else comes back unchanged and nothing is recorded:
        whoever released or revoked it in the meantime was first. LookupError for an unknown entry.
        """
        reason = ReasonFlags.cessation_of_operation.value
        change = {"entry_id": entry_id, "revoked_at": micros(at), "revocation_reason": reason}

        def work(session: Session) -> Done[Entry]:
            entry = _revoked(session, session.sql.withdraw, change)
            if entry is not None:
                return Done(entry, entry_id)
            row = session.one(session.sql.entry_for_update, {"id": entry_id})
            if row is None:
                raise LookupError(f"the ledger has no entry {entry_id}")
            return Done(entry_of(row), entry_id, wrote=False)

        return await self._writer.run(work, events)

    def revoked(self, issuer_id: str, shard: int, at: datetime) -> Iterable[RevokedCertificate]:
        """Blocking read. What the CRL of `at` lists: every revocation on record, whatever its time (hosts' clocks
        differ), until it stood on a CRL made after its certificate ended (RFC 5280 section 3.3, R79).
        """
        key = {"issuer_id": issuer_id, "shard": shard, "at": micros(at)}
        rows = self._reader.read(lambda session: session.all(session.sql.revoked, key))
        return [revoked_of(row) for row in rows]

    def revocation_mark(self, issuer_id: str, shard: int) -> int:
        """Blocking read. Rises with every revocation of this shard; 0 before the first."""
        key = {"name": _mark_name(issuer_id, shard)}
        row = self._reader.read(lambda session: session.one(session.sql.mark, key))
        return 0 if row is None else int(row[0])

    def newest_crl(self, issuer_id: str, shard: int) -> tuple[Crl, int] | None:
        """Blocking read. The newest CRL and the mark it covers."""
        key = {"issuer_id": issuer_id, "shard": shard}
        row = self._reader.read(lambda session: session.one(session.sql.newest_crl, key))
        return None if row is None else crl_of(row)

    async def publish_crl(self, crl: Crl, mark: int, events: Sequence[Event]) -> bool:
        """False when this or a higher number is there already, or one that covers more revocations (K11): a publisher
        that was slow to sign must not put an older list over a newer one.
        """
        parameters = crl_parameters(crl, mark)
        shard = {"issuer_id": crl.issuer_id, "shard": crl.shard}

        def work(session: Session) -> Done[bool]:
            # The CRL's own mark row is the lock that keeps two publishers of one shard apart on PostgreSQL.
            session.change(session.sql.raise_mark, {"name": f"crl:{crl.issuer_id}:{crl.shard}"})
            row = session.one(session.sql.newest_crl, shard)
            before = crl.number
            if row is not None:
                newest, covered = crl_of(row)
                if newest.number >= crl.number or covered > mark:
                    return Done(value=False, wrote=False)
                before = newest.number
            session.change(session.sql.add_crl, parameters)
            # The one before stays, for whoever compares; older ones have told all they had to tell.
            session.change(session.sql.prune_crls, {**shard, "number": before})
            return Done(value=True)

        return await self._writer.run(work, events)


def _revoked(session: Session, statement: Statement, change: Mapping[str, object]) -> Entry | None:
    """The entry that a statement revoked; its shard's CRL is out of date from this commit on."""
    row = session.one(statement, change)
    if row is None:
        return None
    entry = entry_of(row)
    session.change(session.sql.raise_mark, {"name": _mark_name(str(entry.issuer_id), entry.crl_shard or 0)})
    return entry


def _mark_name(issuer_id: str, shard: int) -> str:
    return f"revocations:{issuer_id}:{shard}"
