"""The first stretch of the road, on a pool thread: bytes to a request that is verified, opened and judged by policy.

Everything here happens before the challenge is asked, so that a bad request burns nothing, and everything between
unwrapping and a well-formed CSR has one answer (N12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from scep_server.codec import open_request, parse_request, unwrap_password
from scep_server.enrollment.authorization import renewed_entry
from scep_server.enrollment.registry import ActiveIntegration
from scep_server.enrollment.retransmission import is_live, resumes
from scep_server.errors import Fault, Malformed, Reason, Refusal
from scep_server.interfaces import CertificateAuthority, Issuances, RaKey
from scep_server.policy.bindings import canonical_name
from scep_server.policy.orders import make_order
from scep_server.types import (
    CertificationRequest,
    Cipher,
    Entry,
    IssueOrder,
    IssuerAndSerialNumber,
    KeyTransport,
    MessageType,
    PasswordHint,
    PasswordWrappedKey,
    Prepared,
    RecipientId,
    ReplyEncryption,
    SealedRequest,
    WrappedKey,
)

UNOPENED = frozenset({Reason.UNREADABLE, Reason.NO_SUCH_CERTIFICATE})
"""What open_request says when the content key is wrong, or might be."""
QUERIES = frozenset({MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL})


@dataclass(frozen=True, slots=True)
class Application:
    """A PKCSReq or RenewalReq that may go on: to the entry it repeats, or to the challenge with a prepared tbs."""

    sealed: SealedRequest
    request: CertificationRequest
    encryption: ReplyEncryption
    resumed: Entry | None
    renewed: Entry | None
    order: IssueOrder | None
    prepared: Prepared | None
    replaces: int | None = None
    """Id of the transaction's newest entry, judged to be over."""


@dataclass(frozen=True, slots=True)
class Query:
    """A CertPoll, GetCert or GetCRL."""

    sealed: SealedRequest
    content: IssuerAndSerialNumber | None
    password: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Locked:
    """A request encrypted under a challenge: its plugin is asked for candidates, then it is unlocked."""

    sealed: SealedRequest
    hint: PasswordHint


class Reader:
    """Holds what reading needs besides the bytes: the recipient's key, the ledger's reads, the CA's facts."""

    def __init__(
        self,
        *,
        ra: RaKey,
        recipients: tuple[RecipientId, ...],
        authority: CertificateAuthority,
        ledger: Issuances,
        clock: Callable[[], datetime],
        forbidden_keys: frozenset[bytes],
        forbidden_subjects: frozenset[bytes],
    ) -> None:
        self._ra = ra
        self._recipients = recipients
        self._authority = authority
        self._issuer_subject = authority.chain()[0].subject
        self._ledger = ledger
        self._clock = clock
        self._forbidden_keys = forbidden_keys
        self._forbidden_subjects = forbidden_subjects

    def read(self, active: ActiveIntegration, message: bytes) -> Application | Query | Locked:
        """Blocking. Malformed when no CertRep can be addressed, otherwise Refusal with reply_to, or Fault."""
        sealed = parse_request(message, active.allowed, self._recipients)
        with _addressed(sealed):
            self._check_time(active, sealed)
            if sealed.message_type is MessageType.CERT_POLL:
                return Query(sealed, None, None)
            envelope = sealed.envelope
            if envelope is None:
                raise Refusal(Reason.STRUCTURE, "message has no envelope")
            if isinstance(envelope.recipient, PasswordWrappedKey):
                return Locked(sealed, password_hint(sealed, self._reference(active, sealed)))
            key = self._ra.unwrap(envelope.recipient)
            content = open_request(sealed, key, allow_sha1=active.options.allow_sha1)
            return self._understood(active, sealed, content, None)

    def _reference(self, active: ActiveIntegration, sealed: SealedRequest) -> str:
        """Blocking read. What the plugin recalls the challenge by that this key used under this transaction id: whoever
        asks again for a lost reply encrypts under it, and once it is spent nothing else finds it.
        """
        entry = self._ledger.find(active.name, sealed.reply_to.transaction_id)
        if entry is None or entry.signer_key != sealed.signer.key_hash or not is_live(entry, self._clock()):
            return ""
        return reference_of(active, entry)

    def unlock(self, active: ActiveIntegration, locked: Locked, passwords: Sequence[bytes]) -> Application | Query:
        """Blocking. The same for a locked request, by the first two of these passwords (R50)."""
        sealed = locked.sealed
        with _addressed(sealed):
            if sealed.envelope is None or not isinstance(sealed.envelope.recipient, PasswordWrappedKey):
                raise Fault("a request without a password recipient was to be unlocked")
            content, password = self._open_with_password(active, sealed, sealed.envelope.recipient, passwords)
            return self._understood(active, sealed, content, password)

    def _understood(
        self,
        active: ActiveIntegration,
        sealed: SealedRequest,
        content: CertificationRequest | IssuerAndSerialNumber,
        password: bytes | None,
    ) -> Application | Query:
        if isinstance(content, IssuerAndSerialNumber):
            return Query(sealed, content, password)
        return self._apply(active, sealed, content)

    def _check_time(self, active: ActiveIntegration, sealed: SealedRequest) -> None:
        window = active.options.signing_time_window
        if window is None:
            return
        if sealed.signing_time_unreadable:
            raise Refusal(Reason.TIME, "signingTime cannot be read")
        if sealed.signing_time is None:
            return
        if abs((sealed.signing_time - self._clock()).total_seconds()) > window:
            raise Refusal(Reason.TIME, f"signingTime {sealed.signing_time.isoformat()} is more than {window} s off")

    def _open_with_password(
        self,
        active: ActiveIntegration,
        sealed: SealedRequest,
        recipient: PasswordWrappedKey,
        passwords: Sequence[bytes],
    ) -> tuple[CertificationRequest | IssuerAndSerialNumber, bytes | None]:
        """Tries at most two candidates (R50); the one that opens is the one the client knows."""
        refused: Refusal | None = None
        for password in (*passwords[:2], None)[:2]:
            key = unwrap_password(recipient, () if password is None else (password,))
            try:
                return open_request(sealed, key, allow_sha1=active.options.allow_sha1), password
            except Refusal as refusal:
                refused = refusal
                if refusal.reason not in UNOPENED:
                    raise
        if refused is None:
            raise Refusal(Reason.UNREADABLE, "no password to open the request with")
        # A password recipient that does not open is a guess at the secret, whatever the message asks for (N18).
        refused.guess = True
        raise refused

    def _apply(self, active: ActiveIntegration, sealed: SealedRequest, request: CertificationRequest) -> Application:
        now = self._clock()
        encryption = application_encryption(sealed, request)
        entry = self._ledger.find(active.name, sealed.reply_to.transaction_id)
        if entry is not None and resumes(entry, sealed, request, now):
            return Application(sealed, request, encryption, entry, None, None, None)
        renewed = renewed_entry(
            active, sealed, request, self._ledger, self._authority.issuer_id, self._issuer_subject, now
        )
        order = make_order(
            request,
            active.options,
            now,
            forbidden_keys=self._forbidden_keys,
            forbidden_subjects=self._forbidden_subjects,
        )
        prepared = self._authority.prepare(order)
        replaces = None if entry is None else entry.id
        return Application(sealed, request, encryption, None, renewed, order, prepared, replaces)


@contextmanager
def _addressed(sealed: SealedRequest) -> Iterator[None]:
    """Every refusal from here on can be answered with a CertRep."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reply_to is None:
            refusal.reply_to = sealed.reply_to
        raise


def reference_of(active: ActiveIntegration, entry: Entry) -> str:
    """What the plugin noted about its grant; empty for another's note, which it could not read."""
    return entry.reference if active.let_in(entry) else ""


def password_hint(sealed: SealedRequest, reference: str = "") -> PasswordHint:
    """What is known about a client before its request is opened; a subject that is no name tells nothing."""
    try:
        subject = canonical_name(sealed.signer.subject)
    except Malformed:
        subject = ""
    return PasswordHint(sealed.reply_to.transaction_id, subject, reference)


def application_encryption(sealed: SealedRequest, request: CertificationRequest) -> ReplyEncryption:
    """How the reply to an enrolment is encrypted: to the signer's key, or under the challenge (RFC 8894 3.1, R47).

    Refusal when the key cannot decrypt and the request brings no challenge: nobody could read the certificate.
    """
    if sealed.signer.can_encrypt:
        return _encryption(sealed, None)
    if not request.challenge:
        renewal = sealed.message_type is MessageType.RENEWAL_REQ
        detail = "a key that cannot decrypt needs a challenge to receive its reply"
        raise Refusal(Reason.RENEWAL if renewal else Reason.CHALLENGE, detail)
    return _encryption(sealed, request.challenge.encode())


def query_encryption(sealed: SealedRequest, password: bytes | None) -> ReplyEncryption:
    """The same for a query; password is a secret of the integration, for keys that cannot decrypt."""
    if sealed.signer.can_encrypt:
        return _encryption(sealed, None)
    if not password:
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "the signer's key cannot decrypt and no password is known")
    return _encryption(sealed, password)


def _encryption(sealed: SealedRequest, password: bytes | None) -> ReplyEncryption:
    """Cipher and key transport of the request, mirrored; what every client knows where there is none to mirror (R4)."""
    envelope = sealed.envelope
    if envelope is None:
        return ReplyEncryption(Cipher.AES128_CBC, KeyTransport.PKCS1_V15, sealed.signer, password)
    recipient = envelope.recipient
    transport = recipient.transport if isinstance(recipient, WrappedKey) else KeyTransport.PKCS1_V15
    return ReplyEncryption(envelope.cipher, transport, sealed.signer, password)
