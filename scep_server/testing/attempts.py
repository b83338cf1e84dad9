"""Attempts as a plugin is given them, from real certification requests, and certificates as the CA would issue them."""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, NameOID

from scep_server.ca.tbs import issuer_id
from scep_server.codec.csr import parse_csr
from scep_server.types import Attempt, Certificate, MessageType, Source

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LONGEST_IN_A_CSR: Final = 12_000
"""Characters; a request of more than 16 KiB is not read."""
DEVICE: Final = Source("192.0.2.7", "device")

_SAN_TYPES: Final[Mapping[str, Callable[[str], x509.GeneralName]]] = {
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
    "ip": lambda text: x509.IPAddress(ip_address(text)),
}


@functools.cache
def a_key() -> ec.EllipticCurvePrivateKey:
    """The device key of everybody who brings none: P-256, one a process."""
    return ec.generate_private_key(ec.SECP256R1())


def make_attempt(
    challenge: str | None = None,
    subject: str = "CN=device-1",
    sans: Sequence[str] = (),
    *,
    key: Key | None = None,
    integration: str = "corp",
    transaction_id: str = "",
    message_type: MessageType = MessageType.PKCS_REQ,
    source: Source = DEVICE,
    received_at: datetime | None = None,
) -> Attempt:
    """An attempt with a request that was made, signed, and read as the server reads it.

    subject: RFC 4514 text. sans: as types.NameBinding writes them (`dns:`, `email:`, `uri:`, `ip:`). transaction_id: a
    new one when empty. received_at: now. A challenge that no request can carry (NUL, longer than LONGEST_IN_A_CSR) is
    put in afterwards: a plugin must survive that too. ValueError for names that cannot be.
    """
    carried = challenge is not None and "\0" not in challenge and len(challenge) <= LONGEST_IN_A_CSR
    request = parse_csr(_request(challenge if carried else None, subject, sans, key or a_key()))
    if not carried:
        request = dataclasses.replace(request, challenge=challenge)
    return Attempt(
        integration=integration,
        transaction_id=transaction_id or secrets.token_hex(16).upper(),
        message_type=message_type,
        request=request,
        source=source,
        received_at=received_at or datetime.now(UTC),
    )


def make_certificate(attempt: Attempt, *, days: int = 365) -> Certificate:
    """A certificate for an attempt's names and key, of an issuer that nobody trusts. Its SANs are left out."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Issuing CA of the tests")])
    now = datetime.now(UTC).replace(microsecond=0)
    request = x509.load_der_x509_csr(attempt.request.der)
    made = (
        x509.CertificateBuilder(issuer, request.subject, request.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(_issuer_key(), hashes.SHA256())
    )
    spki = _issuer_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Certificate(
        der=made.public_bytes(Encoding.DER),
        issuer_id=issuer_id(spki),
        serial=made.serial_number,
        subject=attempt.request.subject,
        not_before=made.not_valid_before_utc,
        not_after=made.not_valid_after_utc,
    )


@functools.cache
def _issuer_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _request(challenge: str | None, subject: str, sans: Sequence[str], key: Key) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string(subject))
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    if sans:
        names = x509.SubjectAlternativeName([_general_name(san) for san in sans])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _general_name(san: str) -> x509.GeneralName:
    kind, _, text = san.partition(":")
    if kind not in _SAN_TYPES:
        raise ValueError(f"{san!r} does not begin with one of {', '.join(_SAN_TYPES)} and a colon")
    return _SAN_TYPES[kind](text)
