"""The front door: pkiMessages in, verified requests out; replies out, to be signed (RFC 8894 section 3).

A request passes two doors. `parse_request` believes nothing before the signature, and decides on the message type
before anything is decrypted (N1). The caller unwraps the content key (RaKey.unwrap, or `unwrap_password`), and
`open_request` reads the content, saying one and the same thing whatever is wrong with it (N12).
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature

from scep_server.codec import asn1
from scep_server.codec.algorithms import block_size
from scep_server.codec.attributes import (
    FAIL_INFO,
    FAIL_INFO_TEXT,
    MESSAGE_TYPE,
    PKI_STATUS,
    RECIPIENT_NONCE,
    SENDER_NONCE,
    TRANSACTION_ID,
    SignedAttributes,
)
from scep_server.codec.ber import guard
from scep_server.codec.certificate import is_rsa
from scep_server.codec.cms import SignedMessage, Unsigned, degenerate, finish, read_signed_message, unsigned, verify
from scep_server.codec.csr import parse_csr
from scep_server.codec.envelope import (
    NoRecipient,
    decrypt,
    encrypt,
    key_trans_recipient,
    password_recipient,
    read_envelope,
)
from scep_server.codec.password import Randomness
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import (
    Allowed,
    CertificationRequest,
    Digest,
    Envelope,
    FailInfo,
    IssuerAndSerialNumber,
    MessageType,
    PkiStatus,
    RecipientId,
    ReplyEncryption,
    ReplyTo,
    SealedRequest,
)

MAX_FAIL_INFO_TEXT: Final = 200
"""Characters (R39)."""
NONCE_LENGTH: Final = 16

_REQUEST_TYPES: Final = {str(kind.value): kind for kind in MessageType if kind is not MessageType.CERT_REP}
_QUERIES: Final = frozenset({MessageType.GET_CERT, MessageType.GET_CRL})


def parse_request(data: bytes, allowed: Allowed, recipients: Collection[RecipientId]) -> SealedRequest:
    """A request in DER or BER, its signature verified, its type allowed, its envelope addressed to us.

    recipients: the forms in which our certificate may be named, from `recipient_ids`. Raises Malformed (or TooLarge)
    when no CertRep can be addressed: no CMS, not one signer, no transactionID, no senderNonce. Everything else is a
    Refusal with reply_to: ALGORITHM, KEY, SIGNATURE, then MESSAGE_TYPE, then STRUCTURE or ALGORITHM of the envelope,
    UNREADABLE (or NO_SUCH_CERTIFICATE for queries) when the envelope is for somebody else (R44). A CertPoll is never
    refused for its envelope (R70).
    """
    message = read_signed_message(data)
    reply_to = _reply_to(message, allowed)
    try:
        signer = verify(message, allowed.digests)
        message_type = _message_type(message.attributes, allowed)
        signing_time, unreadable = _signing_time(message.attributes)
        return SealedRequest(
            reply_to=reply_to,
            message_type=message_type,
            signer=signer,
            envelope=_envelope(message.content, message_type, allowed, recipients),
            signing_time=signing_time,
            signing_time_unreadable=unreadable,
        )
    except Refusal as refusal:
        refusal.reply_to = reply_to
        raise
    except Malformed as error:
        raise Refusal(Reason.STRUCTURE, str(error), reply_to=reply_to) from None


def _reply_to(message: SignedMessage, allowed: Allowed) -> ReplyTo:
    transaction_id = message.attributes.text(TRANSACTION_ID)
    sender_nonce = message.attributes.nonce(SENDER_NONCE)
    if transaction_id is None or sender_nonce is None:
        raise Malformed("no transactionID or no senderNonce")
    digest = message.digest
    return ReplyTo(transaction_id, sender_nonce, digest if digest in allowed.digests else Digest.SHA256)


def _message_type(attributes: SignedAttributes, allowed: Allowed) -> MessageType:
    """One of the allow-list, exactly as RFC 8894 section 3.2.1.2 writes it (R37, N1)."""
    text = attributes.text(MESSAGE_TYPE) or ""
    message_type = _REQUEST_TYPES.get(text)
    if message_type is None or message_type not in allowed.message_types:
        raise Refusal(Reason.MESSAGE_TYPE, f"messageType {text!r}")
    return message_type


def _signing_time(attributes: SignedAttributes) -> tuple[datetime | None, bool]:
    """The time, and whether there is one that does not read: most integrations never ask for it (R42)."""
    try:
        return attributes.signing_time(), False
    except Malformed:
        return None, True


def _envelope(
    content: bytes | None, message_type: MessageType, allowed: Allowed, recipients: Collection[RecipientId]
) -> Envelope | None:
    if message_type is MessageType.CERT_POLL:
        # RFC 8894 section 3.3.3: a poll is answered by its transactionID. Its envelope tells the cipher to answer with,
        # where it reads; some clients leave it out or fill it with what nobody can open (R70, T12).
        try:
            return None if content is None else read_envelope(content, recipients, allowed.ciphers)
        except (Malformed, Refusal):
            return None
    if content is None:
        raise Malformed("no pkcsPKIEnvelope")
    try:
        return read_envelope(content, recipients, allowed.ciphers)
    except NoRecipient as error:
        raise _unreadable(message_type, str(error)) from None


def _unreadable(message_type: MessageType, detail: str, reply_to: ReplyTo | None = None) -> Refusal:
    """The one answer to a content that does not open, whatever the reason (N12)."""
    reason = Reason.NO_SUCH_CERTIFICATE if message_type in _QUERIES else Reason.UNREADABLE
    return Refusal(reason, detail, reply_to=reply_to)


def open_request(
    sealed: SealedRequest, content_key: bytes, *, allow_sha1: bool = False
) -> CertificationRequest | IssuerAndSerialNumber:
    """The content of a request: a CSR whose self-signature is verified, or what a GetCert or GetCRL asks for.

    content_key: from RaKey.unwrap or `unwrap_password`, right or random. Every failure is the same Refusal UNREADABLE
    (NO_SUCH_CERTIFICATE for queries), after the same work (N12); but a CSR signed with MD5, or with SHA-1 without
    allow_sha1, is ALGORITHM once that signature verified (R3). A CertPoll is never opened: ValueError.
    """
    if sealed.envelope is None or sealed.message_type is MessageType.CERT_POLL:
        raise ValueError("the content of a CertPoll is never opened")
    content, right = decrypt(sealed.envelope, content_key)
    found: CertificationRequest | IssuerAndSerialNumber | None
    if sealed.message_type in _QUERIES:
        found = _read_query(content)
    else:
        found = _read_csr(content, right, sealed.reply_to, allow_sha1=allow_sha1)
    if found is None or not right:
        raise _unreadable(sealed.message_type, "content does not open", sealed.reply_to)
    return found


def _read_query(content: bytes) -> IssuerAndSerialNumber | None:
    try:
        guard(content)
        value = asn1.decode(asn1.IssuerAndSerialNumber, content)
    except Malformed:
        return None
    return IssuerAndSerialNumber(issuer=asn1.der(value.issuer), serial=value.serial_number)


def _read_csr(content: bytes, right: bool, reply_to: ReplyTo, *, allow_sha1: bool) -> CertificationRequest | None:
    """The CSR; or None after one failed reading and one failed verification, in either order."""
    try:
        guard(content)
        return parse_csr(content, allow_sha1=allow_sha1)
    except Refusal as refusal:
        if right:
            refusal.reply_to = reply_to
            raise
        return None
    except Malformed as error:
        # csr.py chains the library's InvalidSignature: then the verification was done already.
        rest = _NO_CSR if isinstance(error.__cause__, InvalidSignature) else _DUMMY_CSR
    with contextlib.suppress(Malformed):
        guard(rest)
        parse_csr(rest)
    return None


_NO_CSR: Final = bytes(640)
_DUMMY_CSR: Final = base64.b64decode(
    "MIIChzCCAW8CAQAwETEPMA0GA1UEAwwGbm9ib2R5MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA6vzoUo0JLiOkoT39YlEsgJQ4"
    "cWGnPwMp7jD5I0Q192UayopjQc9EkEURpPhidczm94SrsXWB5ULH6pWblo1P7+ceBetQpZHZuOuZpqaxNOoCvaLqa6hwBaLE1a6z8ZxU6yZm"
    "KM3lpTaUAttfLH+hFRfDwbpSpi9Th3QvFQvwT2VNBoaUfcoiPKVqJZ5CPjswoQmxoPHiTqz9zQBdedswm9DlKE4zEcnwdTAmxDanEfUWPFx+"
    "7K1umeAXaDUEVONkMUXTEFOoeRdoRu1qw2qrpLzqqZy3fYdGhmppQena78s2pXXevb3VnBu/4KrwPa5iqFkNFVu27xsZYCQIA5AZCwIDAQAB"
    "oDEwLwYJKoZIhvcNAQkHMSIMIG5vYm9keSdzIGNoYWxsZW5nZSwgbmV2ZXIgdmFsaWQhMA0GCSqGSIb3DQEBCwUAA4IBAQBamWoDlEmnlHev"
    "S36lRBtI78ovshYlCWj43D5aPnvRJk8UB1mze9a1CPFM0VryzqxFY+5F7uXx2YOnc1OiQigaxRdzxWqnEKaLtMUekNaRnpePKStmNyS17VQE"
    "Slh4KonNsUBIdM4cQKULAlyuvhC7P6WtXG5DNgo5lgey1Z170fnMXkX6hiElm74tWgBEPJ+t9FACqHI8InwwFz9rDJ8EdHSVauLbMGkCxzQS"
    "MucBWzYYxfmjo2ZNI04AcXWJn+LNbpsTbqvlekHlBV2BCW7GhTdED9F/1X005YVcIY1aZG3d8x8JW+TYyCfN/0Z5rgdlwfHNlFUm0SBCUTEg"
    "vnzA"
)
"""A request as most devices send it, of nobody; its signature is wrong, as failing costs more than succeeding."""


# --- replies ----------------------------------------------------------------------------------------------------------


def build_success(
    reply_to: ReplyTo,
    certificates: Sequence[bytes],
    encryption: ReplyEncryption,
    *,
    randomness: Randomness = os.urandom,
) -> Unsigned:
    """CertRep SUCCESS with certificates (DER), the issued one first (RFC 8894 section 3.3.2.1, R63, R64)."""
    return _success(reply_to, degenerate(certificates), encryption, randomness)


def build_crl_success(
    reply_to: ReplyTo, crl: bytes, encryption: ReplyEncryption, *, randomness: Randomness = os.urandom
) -> Unsigned:
    """CertRep SUCCESS of a GetCRL: the CRL (DER) and no certificate (R66)."""
    return _success(reply_to, degenerate((), (crl,)), encryption, randomness)


def build_pending(reply_to: ReplyTo, *, randomness: Randomness = os.urandom) -> Unsigned:
    """CertRep PENDING: no envelope, no failInfo (R65)."""
    return _cert_rep(reply_to, PkiStatus.PENDING, None, randomness)


def build_failure(
    reply_to: ReplyTo, fail_info: FailInfo, text: str = "", *, randomness: Randomness = os.urandom
) -> Unsigned:
    """CertRep FAILURE: failInfo, failInfoText when text is not empty, no envelope (R65, R39)."""
    attributes = [FAIL_INFO(b"%d" % fail_info)]
    if text:
        attributes.append(FAIL_INFO_TEXT(text[:MAX_FAIL_INFO_TEXT].encode()))
    return _cert_rep(reply_to, PkiStatus.FAILURE, None, randomness, attributes)


def finish_reply(reply: Unsigned, ra_certificate: bytes, signature: bytes) -> bytes:
    """The CertRep in DER. ra_certificate (DER) signed reply.to_sign with reply.digest; it alone is sent along (R35)."""
    return finish(reply, ra_certificate, signature)


def _success(reply_to: ReplyTo, content: bytes, encryption: ReplyEncryption, randomness: Randomness) -> Unsigned:
    """Encrypted only for the signer of the request (R64), or under the challenge where its key cannot decrypt."""
    cipher, signer = encryption.cipher, encryption.signer
    content_key = randomness(cipher.key_length)
    if encryption.password is not None:
        recipient = password_recipient(content_key, encryption.password, cipher, randomness)
    elif is_rsa(signer.public_key):
        recipient = key_trans_recipient(
            content_key, signer.public_key, signer.issuer, signer.serial, encryption.transport
        )
    else:
        raise ValueError("a signer whose key cannot decrypt needs a password")
    envelope = encrypt(content, cipher, content_key, recipient, randomness(block_size(cipher)))
    return _cert_rep(reply_to, PkiStatus.SUCCESS, envelope, randomness)


_CERT_REP: Final = MESSAGE_TYPE(b"%d" % MessageType.CERT_REP)
_STATUS: Final = {status: PKI_STATUS(status.value.encode()) for status in PkiStatus}


def _cert_rep(
    reply_to: ReplyTo,
    status: PkiStatus,
    envelope: bytes | None,
    randomness: Randomness,
    attributes: Sequence[bytes] = (),
) -> Unsigned:
    return unsigned(
        envelope,
        reply_to.digest,
        (
            _CERT_REP,
            _STATUS[status],
            TRANSACTION_ID(reply_to.transaction_id.encode()),
            RECIPIENT_NONCE(reply_to.sender_nonce),
            SENDER_NONCE(randomness(NONCE_LENGTH)),
            *attributes,
        ),
    )
