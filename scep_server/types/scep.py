"""What SCEP messages and certificates say: the words of RFC 8894, RFC 5652 and RFC 5280."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import types as key_types

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
