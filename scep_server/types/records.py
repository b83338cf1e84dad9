"""What the ledger keeps: integrations, entries, events, CRLs."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography.x509 import ReasonFlags

from scep_server.types.scep import MessageType

DEFAULT_SAN_TYPES: Final = frozenset({"dns", "email", "uri"})
SAN_TYPES: Final = frozenset({"dns", "email", "uri", "ip", "upn", "dirname", "rid", "other"})


@dataclass(frozen=True, slots=True)
class IntegrationOptions:
    """The switches of one integration; each has the safe value as its default."""

    renewal: bool = False
    approval: str = "auto"
    """`auto`, or `manual`: every request is PENDING until an operator approves it."""
    allow_sha1: bool = False
    allow_des3: bool = False
    lifetime_days: int = 365
    san_types: frozenset[str] = DEFAULT_SAN_TYPES
    allow_sid_uri: bool = False
    reply_chain: bool = False
    """False: the reply carries the leaf only (Apple takes the first); True: leaf, issuing CA, root."""
    signing_time_window: int | None = None
    """Seconds a signingTime may differ from our clock; None: not checked (R42)."""
    pickup_window: int = 3600
    """Seconds during which a repeated request gets the stored answer (R74)."""
    pending_window: int = 7 * 86400
    """Seconds a pending request waits for its approval before it expires."""
    ca_certs: str = "chain"
    """GetCACert body: `chain` (RA, intermediate, root) or `single` (R22)."""
    renewal_window_days: int | None = None
    """A renewal is accepted during this many days before the old certificate ends; None: at any time (R57)."""
    renewal_grace_days: int = 0
    """... and this many days after (R57)."""
    renewal_via_pkcsreq: bool = False
    """Treat a PKCSReq signed by a certificate of ours as a renewal (R61)."""


@dataclass(frozen=True, slots=True)
class Integration:
    """One configured MDM connection, as the ledger keeps it."""

    name: str
    challenge: str
    """Entry point name of its challenge plugin: `static`, ..."""
    options: IntegrationOptions
    settings: Mapping[str, Any] = field(repr=False)
    """The plugin's own settings; secrets inside are encrypted under the key file by the plugin."""
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime


class EntryState(enum.StrEnum):
    """Where one certificate's life stands in the ledger."""

    PENDING = "pending"
    INTENDED = "intended"
    SIGNED = "signed"
    ISSUED = "issued"
    REVOKED = "revoked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class IssueOrder:
    """What policy decided a certificate shall say. The CA adds serial, issuer, AKI, CDP and AIA."""

    subject: bytes
    """Name, DER of the CSR after validation; may be the empty Name when san is not None."""
    spki: bytes
    san: bytes | None
    """GeneralNames DER (extnValue content), or None."""
    not_before: datetime
    not_after: datetime
    """Wanted end; the CA cuts it at its own."""
    dropped: tuple[str, ...] = ()
    """CSR wishes that were not granted, one short note each, for the audit."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A tbsCertificate ready to be recorded; nothing is signed yet."""

    tbs: bytes
    issuer_id: str
    serial: int
    crl_shard: int
    subject: bytes
    not_before: datetime
    not_after: datetime


class Intent:
    """The right to sign one recorded tbsCertificate, once. Only a committed ledger row makes one (N1, K2)."""

    __slots__ = ("_taken", "_tbs", "entry_id", "issuer_id", "serial")

    def __init__(self, entry_id: int, issuer_id: str, serial: int, tbs: bytes) -> None:
        self.entry_id = entry_id
        self.issuer_id = issuer_id
        self.serial = serial
        self._tbs = tbs
        self._taken = False

    def take(self) -> bytes:
        """The tbsCertificate DER. Raises RuntimeError the second time: an intent signs once."""
        if self._taken:
            raise RuntimeError(f"intent of entry {self.entry_id} was already used")
        self._taken = True
        return self._tbs


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger."""

    id: int
    state: EntryState
    integration: str
    transaction_id: str
    message_type: MessageType
    signer_key: bytes
    request_key: bytes
    """SHA-256 of the CSR's SubjectPublicKeyInfo."""
    request_hash: bytes
    """SHA-256 of the CertificationRequestInfo."""
    subject: str
    """RFC 4514."""
    requested_at: datetime
    pickup_until: datetime
    source: str
    reference: str = ""
    issuer_id: str | None = None
    serial: int | None = None
    crl_shard: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    tbs: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    request: bytes | None = field(default=None, repr=False)
    """The sealed CSR, kept where a decision or a confirmation is outstanding."""
    issued_at: datetime | None = None
    renews: int | None = None
    """Entry id of the certificate this one renews."""
    revoked_at: datetime | None = None
    revocation_reason: ReasonFlags | None = None
    note: str = ""
    """Why it failed or was rejected."""


@dataclass(frozen=True, slots=True)
class Opening:
    """COMMIT 1: everything that is recorded before a signature, or before a PENDING answer."""

    integration: str
    transaction_id: str
    message_type: MessageType
    signer_key: bytes
    request_key: bytes
    request_hash: bytes
    request: bytes | None = field(repr=False)
    """The CSR, sealed (it carries the challenge), where a later step needs it; None otherwise."""
    subject: str
    source: str
    received_at: datetime
    pickup_until: datetime
    consumes: tuple[bytes, ...]
    reference: str
    renews: int | None
    prepared: Prepared | None
    """None opens a PENDING entry."""
    replaces: int | None = None
    """The transaction's newest entry as the caller judged it: it may end. Any other live entry stands (R74)."""
    uses: int = 1
    """How many entries may consume each MAC (Grant.uses)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event: a decision, told in the same commit as what it decided."""

    kind: str
    """Dotted, past tense: `request.refused`, `certificate.intended`, `certificate.issued`, `integration.added`, ..."""
    at: datetime
    integration: str = ""
    entry_id: int | None = None
    source: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values only; never a secret. Strings are bounded and escaped when written (N21)."""
    security: bool = False
    """True for events a person should look at: replays, spent challenges, forged renewals."""


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """One line of a CRL."""

    serial: int
    revoked_at: datetime
    reason: ReasonFlags


@dataclass(frozen=True, slots=True)
class Crl:
    """A signed CRL of one issuer and shard."""

    issuer_id: str
    shard: int
    number: int
    this_update: datetime
    next_update: datetime
    der: bytes = field(repr=False)
