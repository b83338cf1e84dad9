"""The sockets: what one room asks of another, one small protocol a caller.

Methods marked *blocking* do CPU work or a short read; enrollment/offload.py says on which thread. The rest are
coroutines. Absence is None, a decided no is a Refusal, "cannot tell now" is a Fault.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from cryptography.x509 import ReasonFlags

from scep_server.errors import Refusal
from scep_server.types import (
    Attempt,
    Certificate,
    Crl,
    Digest,
    Entry,
    EntryState,
    Event,
    Grant,
    Integration,
    Intent,
    IssueOrder,
    Opening,
    Prepared,
    RevokedCertificate,
    WrappedKey,
)

# --- challenge plugins ------------------------------------------------------------------------------------------------


class ChallengePlugin(Protocol):
    """Judges whether a request may have a certificate. One instance serves one integration."""

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant: yes. Refusal: no. Fault: cannot tell (503). Judges only; the ledger spends what the Grant names."""
        ...

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Called after the certificate is on record and before it is released; must be repeatable. Default: nothing."""
        ...

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Told of a later failure, best effort; never changes the answer."""
        ...


@runtime_checkable
class ConfirmsRelease(Protocol):
    """A plugin whose confirm() must succeed before a certificate leaves (Intune)."""

    confirm_blocks_release: bool


@runtime_checkable
class RevealsSecret(Protocol):
    """A plugin that can recover its secret, as password recipients need it (RFC 8894 section 7.3, R49, R50)."""

    def reveal(self, hint: str) -> Sequence[bytes]:
        """At most two candidate passwords; hint is a Grant.reference of before, or empty."""
        ...


class KeyFile(Protocol):
    """Encrypts plugin secrets at rest, under a key file of its own."""

    def encrypt(self, plaintext: bytes, context: str) -> str:
        """Printable token; context (integration and purpose) is authenticated."""
        ...

    def decrypt(self, token: str, context: str) -> bytes:
        """Raises ConfigurationError when the token is not of this key file or context."""
        ...


class ChallengePluginFactory(Protocol):
    """What an entry point of group `scep_server.challenge_plugins` names: a module-level object or class."""

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Settings to store for a new integration, and what to show the operator once ({"challenge": ...})."""
        ...

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The same for rotate-secret: new settings and what to show once."""
        ...

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """What `--reveal` shows; empty when nothing is recoverable."""
        ...

    def load(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> ChallengePlugin:
        """The live plugin. ConfigurationError when the settings cannot authorise anybody safely (N3)."""
        ...


# --- keys and certificate authority -----------------------------------------------------------------------------------


class RaKey(Protocol):
    """The only holder of the SCEP recipient's private key. Both methods block for one RSA operation."""

    certificate: Certificate

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Blocking. Always key_length bytes: a random key when anything fails (N12, RFC 3218). Never raises for input.
        Fault when the key itself is out of reach.
        """
        ...

    def sign(self, data: bytes, digest: Digest) -> bytes:
        """Blocking. RSA PKCS#1 v1.5 signature over data."""
        ...


class CertificateAuthority(Protocol):
    """One issuing CA."""

    issuer_id: str

    def chain(self) -> Sequence[Certificate]:
        """Issuing CA first, root last."""
        ...

    def prepare(self, order: IssueOrder) -> Prepared:
        """Blocking. The tbsCertificate to be recorded; fresh random serial. Refusal when the lint finds a fault."""
        ...

    def issue(self, intent: Intent) -> Certificate:
        """Blocking. Signs the recorded tbs, byte for byte, verifies the signature. Fault when the signer fails."""
        ...

    def sign_crl(
        self,
        shard: int,
        number: int,
        this_update: datetime,
        next_update: datetime,
        entries: Iterable[RevokedCertificate],
    ) -> Crl:
        """Blocking. A CRL v2 with AKI and CRLNumber; IDP when the issuer has more than one shard (R79, R80)."""
        ...


# --- ledger: four small parts -----------------------------------------------------------------------------------------


class Opened(Protocol):
    """Answer of Issuances.open: exactly one of the two is set."""

    intent: Intent | None
    """The row is committed and may be signed; None when a PENDING entry was opened or `existing` is set."""
    entry: Entry
    existing: bool
    """True: the transaction has a live entry that the opening does not replace; entry is that one, nothing written."""


class Issuances(Protocol):
    """What enrolment asks of the ledger."""

    def find(self, integration: str, transaction_id: str) -> Entry | None:
        """Blocking read. The newest entry of this transaction that is not FAILED-and-forgotten, or None."""
        ...

    def find_certificate(self, issuer_id: str, serial: int) -> Entry | None:
        """Blocking read. By issuer and serial."""
        ...

    async def open(self, opening: Opening, events: Sequence[Event]) -> Opened:
        """COMMIT 1. Refusal(CHALLENGE_SPENT) when a consumed MAC is taken by another entry, SerialCollision,
        LedgerUnavailable.
        """
        ...

    async def approve(
        self, entry_id: int, prepared: Prepared, events: Sequence[Event], pickup_until: datetime | None = None
    ) -> Intent | None:
        """COMMIT 1 of a pending entry: pending -> intended. None when it is no longer pending (somebody was faster).
        pickup_until, when given, replaces the entry's: until then the device's poll gets the certificate.
        """
        ...

    async def reject(self, entry_id: int, note: str, events: Sequence[Event]) -> bool:
        """Pending -> failed. False when it is no longer pending."""
        ...

    async def resume(self, entry_id: int) -> Intent | None:
        """The intent of an entry found `intended`; None when it moved on meanwhile."""
        ...

    async def sign(self, entry_id: int, certificate: Certificate, release: bool, events: Sequence[Event]) -> Entry:
        """COMMIT 2. intended -> signed, or -> issued when release. When another has signed it meanwhile (same tbs),
        that entry comes back and nothing is written.
        """
        ...

    async def release(self, entry_id: int, events: Sequence[Event]) -> Entry:
        """Signed -> issued, after the plugin confirmed."""
        ...

    async def fail(self, entry_id: int, note: str, events: Sequence[Event]) -> None:
        """Pending or intended -> failed: nothing will ever be signed under this serial."""
        ...

    async def record(self, events: Sequence[Event]) -> None:
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


Clock = Callable[[], datetime]
"""Aware UTC now; injected everywhere so that tests own time."""

Job = Callable[[], Awaitable[None]]
"""A background job that assembly runs on a schedule; it logs and goes on after its own faults."""
