"""The values that travel between the rooms of scep-server.

Frozen dataclasses and enumerations only: no I/O, no clock, and nothing of this project is imported here. Field
names are the words of RFC 8894, RFC 5652 and RFC 5280. All datetimes are timezone-aware UTC, all DER is bytes.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import types as key_types
from cryptography.x509 import ReasonFlags

PublicKey = key_types.CertificatePublicKeyTypes


class MessageType(enum.IntEnum):
    """messageType (RFC 8894 section 3.2.1.2). Every other value is refused (section 3.2.1.2, MUST)."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22


class PkiStatus(enum.Enum):
    """pkiStatus (RFC 8894 section 3.2.1.3)."""

    __hash__ = object.__hash__  # members are unique; Enum's own hashes the name, in Python, at every look into a table

    SUCCESS = "0"
    FAILURE = "2"
    PENDING = "3"


class FailInfo(enum.IntEnum):
    """failInfo (RFC 8894 section 3.2.1.4)."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4


class Digest(enum.Enum):
    """Message digests a pkiMessage may use. SHA-1 only where the integration allows it; MD5 is not representable."""

    __hash__ = object.__hash__

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Cipher(enum.Enum):
    """Content encryption a pkcsPKIEnvelope may use. 3DES only where the integration allows it; DES never."""

    __hash__ = object.__hash__

    AES128_CBC = "aes128-cbc"
    AES192_CBC = "aes192-cbc"
    AES256_CBC = "aes256-cbc"
    DES3_CBC = "des-ede3-cbc"

    @property
    def key_length(self) -> int:
        """Length of the content-encryption key in bytes."""
        return {"aes128-cbc": 16, "aes192-cbc": 24, "aes256-cbc": 32, "des-ede3-cbc": 24}[self.value]


class KeyTransport(enum.Enum):
    """How a KeyTransRecipientInfo carries the content-encryption key (RFC 5652 section 6.2.1, RFC 8017)."""

    __hash__ = object.__hash__

    PKCS1_V15 = "rsaEncryption"
    OAEP_SHA1 = "rsaes-oaep-sha1"
    OAEP_SHA256 = "rsaes-oaep-sha256"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one integration accepts in a request; everything not listed is refused before anything is decrypted."""

    message_types: frozenset[MessageType]
    digests: frozenset[Digest]
    ciphers: frozenset[Cipher]


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """What a CertRep must repeat or mirror of the request it answers (RFC 8894 section 3.2.1)."""

    transaction_id: str
    sender_nonce: bytes
    digest: Digest
    """Digest of the request if it is permitted, else SHA-256."""


@dataclass(frozen=True, slots=True)
class SignerCertificate:
    """The certificate that signed a pkiMessage, read with our own structures (no parser that refuses odd devices)."""

    der: bytes
    subject: bytes
    issuer: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    spki: bytes
    public_key: PublicKey
    self_issued: bool
    """Subject and issuer names are the same bytes. Says nothing about trust (RFC 8894 section 2.4)."""
    can_encrypt: bool = False
    """True for RSA; an EC signer is answered with a PasswordRecipientInfo (RFC 8894 section 3.1)."""

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo: the signer key's identity in the ledger."""
        return hashlib.sha256(self.spki).digest()


@dataclass(frozen=True, slots=True)
class RecipientId:
    """RecipientIdentifier of a KeyTransRecipientInfo: issuer and serial, or a SubjectKeyIdentifier."""

    issuer: bytes = b""
    serial: int = 0
    ski: bytes = b""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A content-encryption key under the SCEP recipient's RSA key. What RaKey.unwrap is given."""

    recipient: RecipientId
    transport: KeyTransport
    encrypted_key: bytes
    key_length: int
    """Bytes that the content cipher wants; unwrap answers with exactly this many, whatever happens (N12)."""


@dataclass(frozen=True, slots=True)
class PasswordWrappedKey:
    """A content-encryption key under a password: PasswordRecipientInfo (RFC 5652 section 6.2.4, RFC 3211)."""

    salt: bytes
    iterations: int
    prf: Digest
    kek_cipher: Cipher
    iv: bytes
    encrypted_key: bytes
    key_length: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """A pkcsPKIEnvelope (RFC 8894 section 3.2.2) with the one recipient that is ours."""

    recipient: WrappedKey | PasswordWrappedKey
    cipher: Cipher
    iv: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request whose signature is verified and whose type is allowed; its content is still encrypted."""

    reply_to: ReplyTo
    message_type: MessageType
    signer: SignerCertificate
    envelope: Envelope | None
    """None only for a CertPoll, whose content is never needed (RFC 8894 section 3.3.3)."""
    signing_time: datetime | None
    """None when there is none, or none that reads."""
    signing_time_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Extension:
    """One requested X.509 extension; value is the content of extnValue."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A PKCS#10 whose self-signature is verified (proof of possession, R56)."""

    der: bytes = field(repr=False)
    info: bytes = field(repr=False)
    """CertificationRequestInfo, DER as received."""
    subject: bytes
    spki: bytes
    public_key: PublicKey
    challenge: str | None = field(repr=False)
    """challengePassword; None when absent. Never logged."""
    extensions: tuple[Extension, ...]
    signature_algorithm: str
    """Dotted OID."""

    @property
    def info_hash(self) -> bytes:
        """SHA-256 of the CertificationRequestInfo: what makes a retransmission the same request (R74)."""
        return hashlib.sha256(self.info).digest()

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo."""
        return hashlib.sha256(self.spki).digest()


@dataclass(frozen=True, slots=True)
class IssuerAndSerialNumber:
    """messageData of GetCert and GetCRL (RFC 8894 section 3.3.4). The serial may be any INTEGER (R67)."""

    issuer: bytes
    serial: int


@dataclass(frozen=True, slots=True)
class ReplyEncryption:
    """How a SUCCESS reply is encrypted: to the signer's RSA key, or under the challenge if it cannot decrypt."""

    cipher: Cipher
    transport: KeyTransport
    signer: SignerCertificate
    password: bytes | None = field(default=None, repr=False)
    """challengePassword for a PasswordRecipientInfo reply; None encrypts to the signer's RSA key."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate this CA made or uses."""

    der: bytes
    issuer_id: str
    serial: int
    subject: bytes
    not_before: datetime
    not_after: datetime


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
class Source:
    """Where a request came from."""

    address: str
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One enrolment as a challenge plugin sees it."""

    integration: str
    transaction_id: str
    message_type: MessageType
    request: CertificationRequest
    source: Source
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """A plugin's yes. It spends nothing itself: the ledger consumes what it names, in the intent's commit."""

    consumes: tuple[bytes, ...] = ()
    """MACs of one-time challenges; each becomes a unique ledger row."""
    reference: str = ""
    """Opaque to everyone but the plugin; stored with the entry (which static secret was used, for PWRI replies)."""
    pending: bool = False
    """The plugin wants an operator's approval first."""


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
