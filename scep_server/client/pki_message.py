"""pkiMessages from the client's side: the codec makes and reads them, the client's keys sign and open them.

A request goes to the server's RSA key. The answer comes to the signer's RSA key; a signer with an EC key, which cannot
decrypt, is answered under the challenge (RFC 8894 section 3.1).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.client.authority import Authority, NotVerified
from scep_server.client.identity import PrivateKey, Signer
from scep_server.codec.algorithms import HASHES, TRANSPORT_PADDINGS
from scep_server.codec.certificate import recipient_ids
from scep_server.codec.password import unwrap_password
from scep_server.codec.replies import Reply, open_reply, parse_reply
from scep_server.codec.requests import build_request, finish_request, issuer_and_subject
from scep_server.errors import ConfigurationError, Malformed, Refusal
from scep_server.types import Cipher, Digest, KeyTransport, MessageType, PasswordWrappedKey, PkiStatus, WrappedKey

NONCE_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What a request is made with."""

    digest: Digest = Digest.SHA256
    cipher: Cipher = Cipher.AES128_CBC
    transport: KeyTransport = KeyTransport.PKCS1_V15


@dataclass(frozen=True, slots=True)
class Request:
    """A PKCSReq, RenewalReq or CertPoll."""

    message_type: MessageType
    transaction_id: str
    signer: Signer
    csr: x509.CertificateSigningRequest
    """For a CertPoll the CSR of the request that waits: the certificate must fit it."""
    challenge: str | None = field(default=None, repr=False)
    """Opens the answer where the signer's key cannot decrypt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A CertRep that is the server's, and the answer to our request."""

    reply: Reply
    certificates: tuple[x509.Certificate, ...]
    """Decrypted; empty unless the status is SUCCESS."""


def seal(request: Request, algorithms: Algorithms, authority: Authority) -> tuple[bytes, bytes]:
    """The pkiMessage in DER and its senderNonce. ConfigurationError for an EC signer without a challenge."""
    if not isinstance(request.signer.key, rsa.RSAPrivateKey) and not request.challenge:
        raise ConfigurationError(
            "an EC key cannot decrypt the answer, which then comes encrypted under the challenge; give the challenge"
        )
    nonce = os.urandom(NONCE_LENGTH)
    unsigned = build_request(
        request.message_type,
        request.transaction_id,
        nonce,
        _content(request, authority),
        authority.recipient.public_bytes(Encoding.DER),
        digest=algorithms.digest,
        cipher=algorithms.cipher,
        transport=algorithms.transport,
    )
    signature = _sign(request.signer.key, unsigned.to_sign, unsigned.digest)
    return finish_request(unsigned, request.signer.der, signature), nonce


def unseal(data: bytes, nonce: bytes, request: Request, authority: Authority) -> Answer:
    """The answer, verified and decrypted.

    NotVerified when it is not signed by the server's key or answers another request; Malformed when it is no CertRep
    or does not open.
    """
    recipient = authority.recipient.public_bytes(Encoding.DER)
    try:
        reply = parse_reply(data, recipient_ids(request.signer.der), (recipient,))
    except Refusal as refusal:
        raise NotVerified(f"the reply's signature is not good: {refusal.detail}") from None
    if reply.signer.der != recipient:
        raise NotVerified("the reply is signed by another certificate than the server's RA or CA certificate")
    if not reply.answers(request.transaction_id, nonce):
        raise NotVerified("the reply repeats another transaction or nonce than ours: it answers another request")
    if reply.status is not PkiStatus.SUCCESS:
        return Answer(reply, ())
    certificates, _ = open_reply(reply, _content_key(reply, request))
    try:
        return Answer(reply, tuple(x509.load_der_x509_certificate(one) for one in certificates))
    except ValueError as error:
        raise Malformed(f"a certificate of the reply cannot be read: {error}") from None


def _content(request: Request, authority: Authority) -> bytes:
    if request.message_type is MessageType.CERT_POLL:
        return issuer_and_subject(authority.issuer.subject.public_bytes(), request.csr.subject.public_bytes())
    return request.csr.public_bytes(Encoding.DER)


def _sign(key: PrivateKey, data: bytes, digest: Digest) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), HASHES[digest])
    return key.sign(data, ec.ECDSA(HASHES[digest]))


def _content_key(reply: Reply, request: Request) -> bytes:
    wrapped = None if reply.envelope is None else reply.envelope.recipient
    key = request.signer.key
    match wrapped:
        case WrappedKey() if isinstance(key, rsa.RSAPrivateKey):
            try:
                return key.decrypt(wrapped.encrypted_key, TRANSPORT_PADDINGS[wrapped.transport])
            except ValueError:
                raise Malformed("the reply is not encrypted to our key") from None
        case PasswordWrappedKey() if request.challenge:
            return unwrap_password(wrapped, (request.challenge.encode(),))
    raise Malformed("the reply is encrypted in a way that we cannot open")
