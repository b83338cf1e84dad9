"""A small honest SCEP server for the client's tests, made of the codec; each test may make it lie in one way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from scep_server.codec import messages
from scep_server.codec.algorithms import TRANSPORT_PADDINGS
from scep_server.codec.capabilities import ca_certs
from scep_server.codec.certificate import recipient_ids
from scep_server.codec.http_get import message_from_query
from scep_server.types import (
    Allowed,
    CertificationRequest,
    Cipher,
    Digest,
    FailInfo,
    KeyTransport,
    MessageType,
    ReplyEncryption,
    SealedRequest,
    WrappedKey,
)

ALL = Allowed(frozenset(MessageType), frozenset(Digest), frozenset(Cipher))
CHALLENGE = "Correct Horse 42"


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    encipher: bool = False,
    days: int = 30,
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=not ca,
        key_encipherment=encipher,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@dataclass
class Hierarchy:
    """Root and RA."""

    root_key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    ra_key: rsa.RSAPrivateKey
    ra: x509.Certificate

    @classmethod
    def make(cls, ra_key: rsa.RSAPrivateKey, root_name: str = "Root", ra_days: int = 30) -> Hierarchy:
        root_key = ec.generate_private_key(ec.SECP256R1())
        top = name(root_name)
        root = certificate(top, root_key.public_key(), top, root_key, ca=True)
        ra = certificate(name("RA"), ra_key.public_key(), top, root_key, encipher=True, days=ra_days)
        return cls(root_key, root, ra_key, ra)


@dataclass
class Peer:
    """The server; fields change what it does."""

    hierarchy: Hierarchy
    caps: str = "AES\nPOSTPKIOperation\nSCEPStandard\nSHA-256\nSHA-512\nRenewal\n"
    pending: int = 0
    """How many requests are answered PENDING first."""
    statuses: list[int] = field(default_factory=list)
    """HTTP statuses to answer PKIOperations with before anything else."""
    signs_with: Hierarchy | None = None
    issues_from: Hierarchy | None = None
    reply_to: Callable[[messages.ReplyTo], messages.ReplyTo] = lambda reply_to: reply_to
    public_key: rsa.RSAPublicKey | None = None
    """Certify this key instead of the one asked for."""
    subject: x509.Name | None = None
    seen: list[tuple[str, MessageType, str]] = field(default_factory=list)
    """(HTTP method, messageType, transactionID) of every request."""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/scep", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        match request.query.get("operation"):
            case "GetCACaps":
                return web.Response(text=self.caps)
            case "GetCACert":
                ders = [one.public_bytes(Encoding.DER) for one in (self.hierarchy.ra, self.hierarchy.root)]
                body, content_type = ca_certs(ders)
                return web.Response(body=body, content_type=content_type)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Retry-After": "7"})
        message = (
            await request.read() if request.method == "POST" else message_from_query(request.rel_url.raw_query_string)
        )
        reply = self.cert_rep(request.method, message)
        return web.Response(body=reply, content_type="application/x-pki-message")

    def cert_rep(self, method: str, message: bytes) -> bytes:
        ra = self.hierarchy.ra.public_bytes(Encoding.DER)
        sealed = messages.parse_request(message, ALL, recipient_ids(ra))
        self.seen.append((method, sealed.message_type, sealed.reply_to.transaction_id))
        reply_to = self.reply_to(sealed.reply_to)
        unsigned = self.decided(sealed, reply_to)
        signer = self.signs_with or self.hierarchy
        signature = signer.ra_key.sign(unsigned.to_sign, padding.PKCS1v15(), getattr(hashes, unsigned.digest.name)())
        return messages.finish_reply(unsigned, signer.ra.public_bytes(Encoding.DER), signature)

    def decided(self, sealed: SealedRequest, reply_to: messages.ReplyTo) -> messages.Unsigned:
        if sealed.message_type is not MessageType.CERT_POLL:
            self.request = self.opened(sealed)
            if sealed.message_type is MessageType.PKCS_REQ and self.request.challenge != CHALLENGE:
                return messages.build_failure(reply_to, FailInfo.BAD_REQUEST, "Challenge was not accepted")
        if self.pending:
            self.pending -= 1
            return messages.build_pending(reply_to)
        ca = self.issues_from or self.hierarchy
        csr = x509.load_der_x509_csr(self.request.der)
        made = certificate(
            self.subject or csr.subject, self.public_key or csr.public_key(), ca.root.subject, ca.root_key
        )
        password = None if sealed.signer.can_encrypt else CHALLENGE.encode()
        encryption = ReplyEncryption(Cipher.AES256_CBC, KeyTransport.OAEP_SHA256, sealed.signer, password)
        return messages.build_success(reply_to, [made.public_bytes(Encoding.DER)], encryption)

    def opened(self, sealed: SealedRequest) -> CertificationRequest:
        assert sealed.envelope is not None
        wrapped = sealed.envelope.recipient
        assert isinstance(wrapped, WrappedKey)
        content_key = self.hierarchy.ra_key.decrypt(wrapped.encrypted_key, TRANSPORT_PADDINGS[wrapped.transport])
        opened = messages.open_request(sealed, content_key)
        assert isinstance(opened, CertificationRequest)
        return opened


def other_transaction(reply_to: messages.ReplyTo) -> messages.ReplyTo:
    return dataclasses.replace(reply_to, transaction_id="ANOTHER")


def other_nonce(reply_to: messages.ReplyTo) -> messages.ReplyTo:
    return dataclasses.replace(reply_to, sender_nonce=bytes(16))


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
