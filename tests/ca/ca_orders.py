"""What the CA's tests ask for: device keys, orders, and the way from an order to a certificate without a ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from scep_server.ca import SoftwareAuthority
from scep_server.types import Certificate, Intent, IssueOrder, Prepared

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PASSPHRASE = b"correct horse battery"
PUBLIC_URL = "http://ca.example:8080"

RSA_DEVICE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_DEVICE = ec.generate_private_key(ec.SECP256R1())
EMPTY_NAME = b"\x30\x00"


def clock() -> datetime:
    return NOW


def spki_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def name(common_name: str) -> bytes:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]).public_bytes()


def san(*names: x509.GeneralName) -> bytes:
    return x509.SubjectAlternativeName(names).public_bytes()


def device_order(
    *,
    subject: bytes = name("device-1"),
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = RSA_DEVICE,
    names: bytes | None = None,
    not_before: datetime = NOW - timedelta(minutes=10),
    not_after: datetime = NOW + timedelta(days=365),
) -> IssueOrder:
    return IssueOrder(subject, spki_of(key), names, not_before, not_after)


def recorded(prepared: Prepared, entry_id: int = 1) -> Intent:
    """The intent that a ledger makes of a prepared certificate once it is committed."""
    return Intent(entry_id, prepared.issuer_id, prepared.serial, prepared.tbs)


def issue(authority: SoftwareAuthority, order: IssueOrder) -> Certificate:
    return authority.issue(recorded(authority.prepare(order)))
