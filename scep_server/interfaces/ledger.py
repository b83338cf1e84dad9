"""The ledger, one small protocol a caller. Reads block; writes are coroutines that return after their commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from cryptography.x509 import ReasonFlags

from scep_server.types import (
    Certificate,
    Crl,
    Entry,
    EntryState,
    Event,
    Integration,
    Intent,
    Notice,
    OpenChallenge,
    Opening,
    Prepared,
    RevokedCertificate,
    SpentChallenge,
)


class Opened(Protocol):
    """Answer of Issuances.open: exactly one of the two is set."""

    intent: Intent | None
    """The row is committed and may be signed; None when a PENDING entry was opened or `existing` is set."""
    entry: Entry
    existing: bool
    """True: the transaction has a live entry that the opening does not replace; entry is that one, nothing written."""
    used_up: tuple[bytes, ...]
    """Of the MACs it consumed, those that nobody can use any more."""


class Issuances(Protocol):
    """What enrolment asks of the ledger."""

    def find(self, integration: str, transaction_id: str) -> Entry | None:
        """Blocking read. The newest entry of this transaction that is not FAILED-and-forgotten, or None."""
        ...

    def find_certificate(self, issuer_id: str, serial: int) -> Entry | None:
        """Blocking read. By issuer and serial."""
        ...

    async def open(self, opening: Opening, events: Sequence[Event]) -> Opened:
        """COMMIT 1. Each consumed MAC takes the first of its `uses` that is free; an open challenge used up is
        forgotten in the same commit. An entry that took one for this very request (integration, signer key, CSR) and is
        still live comes back as `existing`, so that a lost reply can be asked for again. Otherwise, when all are taken:
        Refusal(CHALLENGE_SPENT, security=True). SerialCollision, LedgerUnavailable.
        """
        ...

    async def follow(self, entry_id: int, opening: Opening, events: Sequence[Event]) -> Opened:
        """A pending entry that open() gave back for the same request under another transaction id goes by that id from
        now on, since polls will name it (RFC 8894 section 5.2, figure 10). `existing` is that entry; the transaction's
        own, where it has a live one; the entry as it is, where it is no longer pending.
        """
        ...

    async def approve(
        self, entry_id: int, prepared: Prepared, events: Sequence[Event], pickup_until: datetime | None = None
    ) -> Intent | None:
        """COMMIT 1 of a pending entry: pending -> intended. None when it is no longer pending (somebody was faster).
        pickup_until, when given, replaces the entry's: until then the device's poll gets the certificate.
        """
        ...

    async def reject(self, entry_id: int, note: str, events: Sequence[Event], notices: Sequence[Notice] = ()) -> bool:
        """Pending -> failed. False when it is no longer pending. Notices are stored in the same commit."""
        ...

    async def resume(self, entry_id: int) -> Intent | None:
        """The intent of an entry found `intended`; None when it moved on meanwhile."""
        ...

    async def sign(
        self,
        entry_id: int,
        certificate: Certificate,
        release: bool,
        events: Sequence[Event],
        notices: Sequence[Notice] = (),
    ) -> Entry:
        """COMMIT 2. intended -> signed, or -> issued when release. When another has signed it meanwhile (same tbs),
        that entry comes back and nothing is written, no notice either.
        """
        ...

    async def release(self, entry_id: int, events: Sequence[Event]) -> Entry:
        """Signed -> issued, after the plugin confirmed."""
        ...

    async def withdraw(self, entry_id: int, at: datetime, events: Sequence[Event]) -> Entry:
        """Signed -> revoked: nobody has the certificate, and nobody will. An entry that was released or revoked
        meanwhile comes back unchanged, and nothing is recorded. LookupError for an unknown entry.
        """
        ...

    async def fail(self, entry_id: int, note: str, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Pending or intended -> failed: nothing will ever be signed under this serial."""
        ...

    async def record(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Decisions that change no entry (refusals)."""
        ...

    def unfinished(self) -> Sequence[Entry]:
        """Blocking read. Entries intended or signed, and pending ones past their time; for reconcile."""
        ...


class Listings(Protocol):
    """What operators list. Blocking reads, streamed."""

    def entries(self, states: frozenset[EntryState] | None = None, integration: str | None = None) -> Iterable[Entry]:
        """Entries in id order; None means every state."""
        ...

    def entry(self, entry_id: int) -> Entry | None:
        """One entry, with its request."""
        ...

    def find_serial(self, serial: int) -> Sequence[Entry]:
        """Entries with this serial, of any issuer."""
        ...


class Revocations(Protocol):
    """What revocation and CRL publishing ask of the ledger."""

    async def revoke(
        self, issuer_id: str, serial: int, reason: ReasonFlags, at: datetime, events: Sequence[Event]
    ) -> Entry:
        """-> revoked. A revoked certificate stays as it was first revoked (the entry comes back unchanged).
        LookupError when the ledger does not know the serial.
        """
        ...

    def revoked(self, issuer_id: str, shard: int, at: datetime) -> Iterable[RevokedCertificate]:
        """Blocking read. What the CRL of `at` must list (R79: an entry stays until one CRL after its expiry)."""
        ...

    def revocation_mark(self, issuer_id: str, shard: int) -> int:
        """Blocking read. A number that rises with every revocation of this shard."""
        ...

    def newest_crl(self, issuer_id: str, shard: int) -> tuple[Crl, int] | None:
        """Blocking read. The newest CRL and the revocation_mark it covers."""
        ...

    async def publish_crl(self, crl: Crl, mark: int, events: Sequence[Event]) -> bool:
        """False when a CRL with this or a higher number, or one that covers more revocations (a higher mark), is there
        already: another process was faster (K11), and an older list must not follow a newer one.
        """
        ...


class Integrations(Protocol):
    """Configured integrations."""

    def integrations(self) -> Sequence[Integration]:
        """Blocking read. All, by name."""
        ...

    def integrations_mark(self) -> int:
        """Blocking read. Rises with every change; running servers poll it."""
        ...

    async def put_integration(
        self, integration: Integration, expected_version: int | None, events: Sequence[Event]
    ) -> None:
        """Insert (expected_version None) or replace. Conflict raises ConfigurationError with what to do."""
        ...

    async def delete_integration(self, name: str, events: Sequence[Event]) -> bool:
        """False when there is none of this name."""
        ...


class Challenges(Protocol):
    """Unspent one-time challenges: in the ledger, or in Redis. Whether one is spent only the ledger says (F17)."""

    async def put(self, challenges: Sequence[OpenChallenge], ceiling: int | None, events: Sequence[Event]) -> None:
        """Keep all or none. ChallengesFull when the integration would then have more than ceiling unspent ones.
        Fault when they cannot be kept. To a plugin also ConfigurationError: bound to names that it does not certify.
        """
        ...

    async def find(self, integration: str, mac: bytes) -> OpenChallenge | SpentChallenge | None:
        """By MAC; expired ones too, for a day. None: never minted here, or lost. Fault when it cannot be told."""
        ...

    async def sealed(self, integration: str, lookup: bytes) -> Sequence[OpenChallenge]:
        """The newest two unexpired ones that keep their challenge and are found by this lookup (R50)."""
        ...

    async def unspent(self, integration: str) -> int:
        """How many are open and not expired."""
        ...

    async def forget(self, integration: str, macs: Sequence[bytes]) -> None:
        """Best effort, after the commit that spent them: whatever goes wrong here, the ledger has decided."""
        ...

    async def expire(self, now: datetime) -> int:
        """Count those that expired since the last call, each once; forget those that did a day ago."""
        ...


class Notices(Protocol):
    """The outbox of what plugins are told afterwards (Issuances stores notices in the commit of what they tell)."""

    def due_notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        """Blocking read. The oldest due ones; a notice about an entry with a certificate brings it along."""
        ...

    async def notice_told(self, notice_id: str, events: Sequence[Event]) -> None:
        """Taken, or given up: remove it."""
        ...

    async def notice_later(self, notice_id: str, due_at: datetime) -> None:
        """Not taken: once more at due_at; its tries rise by one."""
        ...


class Leases(Protocol):
    """Work that one process does at a time, whatever number of them share the ledger."""

    async def lease(self, name: str, holder: str, now: datetime, until: datetime) -> bool:
        """True: holder has it until then. A lease of one's own is prolonged; another's stands until it ends."""
        ...

    async def end_lease(self, name: str, holder: str) -> None:
        """Give it back; nothing happens when it is not holder's."""
        ...
