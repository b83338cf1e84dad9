"""The ledger's revocation part in memory, keeping every promise of interfaces.Revocations; for tests only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography.x509 import ReasonFlags

from scep_server.errors import LedgerUnavailable
from scep_server.types import Crl, Entry, EntryState, Event, MessageType, RevokedCertificate

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Published:
    """One CRL on record and the mark it covers."""

    crl: Crl
    mark: int


class MemoryRevocations:
    """down: as while the database is away, every call raises LedgerUnavailable. reads: newest_crl calls, counted."""

    def __init__(self) -> None:
        self.down = False
        self.reads = 0
        self.events: list[Event] = []
        self.published: dict[tuple[str, int], list[Published]] = {}
        self._entries: dict[tuple[str, int], Entry] = {}
        self._marks: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def add(self, issuer_id: str, serial: int, *, shard: int = 0, not_after: datetime = EPOCH + timedelta(365)) -> None:
        """Put an issued certificate on record."""
        self._entries[issuer_id, serial] = Entry(
            id=len(self._entries) + 1,
            state=EntryState.ISSUED,
            integration="test",
            transaction_id=f"{serial:x}",
            message_type=MessageType.PKCS_REQ,
            signer_key=b"",
            request_key=b"",
            request_hash=b"",
            subject="CN=device",
            requested_at=EPOCH,
            pickup_until=EPOCH,
            source="192.0.2.1",
            issuer_id=issuer_id,
            serial=serial,
            crl_shard=shard,
            not_after=not_after,
        )

    async def revoke(
        self, issuer_id: str, serial: int, reason: ReasonFlags, at: datetime, events: Sequence[Event]
    ) -> Entry:
        with self._lock:
            self._reach()
            entry = self._entries.get((issuer_id, serial))
            if entry is None:
                raise LookupError(f"no certificate {serial:x} of issuer {issuer_id}")
            if entry.state is EntryState.REVOKED:
                return entry
            entry = replace(entry, state=EntryState.REVOKED, revoked_at=at, revocation_reason=reason)
            self._entries[issuer_id, serial] = entry
            key = (issuer_id, entry.crl_shard or 0)
            self._marks[key] = self._marks.get(key, 0) + 1
            self.events += events
            return entry

    def revoked(self, issuer_id: str, shard: int, at: datetime) -> Iterable[RevokedCertificate]:
        with self._lock:
            self._reach()
            earlier = [one.crl.this_update for one in self._of(issuer_id, shard) if one.crl.this_update < at]
            last = max(earlier, default=EPOCH)
            return [
                RevokedCertificate(entry.serial, entry.revoked_at, entry.revocation_reason)
                for entry in self._entries.values()
                if (entry.issuer_id, entry.crl_shard, entry.state) == (issuer_id, shard, EntryState.REVOKED)
                and entry.revoked_at <= at
                and entry.not_after >= last
            ]

    def revocation_mark(self, issuer_id: str, shard: int) -> int:
        with self._lock:
            self._reach()
            return self._marks.get((issuer_id, shard), 0)

    def newest_crl(self, issuer_id: str, shard: int) -> tuple[Crl, int] | None:
        with self._lock:
            self._reach()
            self.reads += 1
            published = self._of(issuer_id, shard)
            return (published[-1].crl, published[-1].mark) if published else None

    async def publish_crl(self, crl: Crl, mark: int, events: Sequence[Event]) -> bool:
        with self._lock:
            self._reach()
            published = self.published.setdefault((crl.issuer_id, crl.shard), [])
            if published and (published[-1].crl.number >= crl.number or published[-1].mark > mark):
                return False
            published.append(Published(crl, mark))
            self.events += events
            return True

    def _of(self, issuer_id: str, shard: int) -> list[Published]:
        return self.published.get((issuer_id, shard), [])

    def _reach(self) -> None:
        if self.down:
            raise LedgerUnavailable("the database is away")
