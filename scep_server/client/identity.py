"""What a client makes for itself: key, PKCS#10 with the challenge inside, and the certificate it signs with.

A client that has no certificate yet signs its request with a self-signed one made from the same key and subject
(RFC 8894 section 2.3). One that renews signs with the certificate it has.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AttributeOID

from scep_server.errors import ConfigurationError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

KEY_TYPES: Final = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
SAN_FORMS: Final = "dns:NAME, email:ADDRESS, uri:URI, ip:ADDRESS, upn:NAME"

_UPN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_CURVES: Final = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate and its key: what a request is signed with, and what its answer is encrypted to."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def generate_key(key_type: str) -> PrivateKey:
    """A fresh key of one of KEY_TYPES. Seconds for rsa4096. Raises ConfigurationError for another type."""
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type]())
    if key_type in KEY_TYPES:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("rsa")))
    raise ConfigurationError(f"key type {key_type!r} is unknown; choose one of {', '.join(KEY_TYPES)}")


def parse_subject(text: str) -> x509.Name:
    """An RFC 4514 string, such as CN=device 1,O=Example. Raises ConfigurationError."""
    try:
        return x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise ConfigurationError(
            f"subject {text!r} is not an RFC 4514 name ({error}); write for example 'CN=device 1,O=Example'"
        ) from None


def parse_san(text: str) -> x509.GeneralName:
    """One TYPE:VALUE of SAN_FORMS. Raises ConfigurationError."""
    kind, _, value = text.partition(":")
    try:
        match kind.lower():
            case "dns" if value:
                return x509.DNSName(value)
            case "email" if value:
                return x509.RFC822Name(value)
            case "uri" if value:
                return x509.UniformResourceIdentifier(value)
            case "ip" if value:
                return x509.IPAddress(ipaddress.ip_address(value))
            case "upn" if 0 < len(encoded := value.encode()) < 128:
                return x509.OtherName(_UPN, bytes((0x0C, len(encoded))) + encoded)
    except ValueError as error:
        raise ConfigurationError(f"alternative name {text!r} is not valid: {error}") from None
    raise ConfigurationError(f"alternative name {text!r} has no known type; write one of {SAN_FORMS}")


def build_csr(
    key: PrivateKey, subject: x509.Name, names: tuple[x509.GeneralName, ...], challenge: str | None
) -> x509.CertificateSigningRequest:
    """The PKCS#10: subject, wanted alternative names, challengePassword (RFC 8894 section 2.3)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256())


def self_signed(key: PrivateKey, subject: x509.Name, now: datetime | None = None) -> Signer:
    """The certificate a first request is signed with: same key and subject, a week long, worth nothing elsewhere."""
    now = now or datetime.now(UTC)
    subject = subject if list(subject) else parse_subject("CN=SCEP client")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_encipherment=isinstance(key, rsa.RSAPrivateKey),
                content_commitment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return Signer(certificate, key)


def transaction_id(key: PrivateKey) -> str:
    """Upper-case hex SHA-256 of the public key: the same for every repeat of a request (RFC 8894 section 3.2.1.1)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return digest.finalize().hex().upper()
