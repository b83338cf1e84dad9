"""What a device brings: a key, a name, a certificate of its own making, and a PKCS#10 (RFC 2986)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.e2e.der import (
    algorithm,
    attribute,
    bits,
    boolean,
    content_of,
    context,
    elements,
    integer,
    octets,
    oid,
    printable,
    sequence,
    set_of,
    tlv,
    utc_time,
    utf8,
)

HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
RSA_SIGNATURES = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
ECDSA_SIGNATURES = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}
NAME_TYPES = {"CN": "2.5.4.3", "O": "2.5.4.10", "OU": "2.5.4.11", "C": "2.5.4.6", "serialNumber": "2.5.4.5"}
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
SAN = "2.5.29.17"


@functools.lru_cache(maxsize=64)
def rsa_key(number: int = 0, bits_: int = 2048) -> rsa.RSAPrivateKey:
    """The test run's RSA key of this number; made once, because making one is slow."""
    return rsa.generate_private_key(65537, bits_)


@functools.lru_cache(maxsize=16)
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """The test run's P-256 key of this number."""
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: Any) -> bytes:
    public = getattr(key, "public_key", lambda: key)()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(key: Any, data: bytes, digest: str = "sha256") -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(HASHES[digest]))
    return key.sign(data, padding.PKCS1v15(), HASHES[digest])


def signature_algorithm(key: Any, digest: str = "sha256") -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return algorithm(ECDSA_SIGNATURES[digest], b"")
    return algorithm(RSA_SIGNATURES[digest])


def rdn(*pairs: tuple[str, bytes]) -> bytes:
    """One RelativeDistinguishedName of (type, whole value element) pairs."""
    return set_of(*(sequence(oid(NAME_TYPES.get(kind, kind)), value) for kind, value in pairs))


def name(*pairs: tuple[str, str]) -> bytes:
    """A Name of single-valued RDNs; country and serialNumber as PrintableString, the rest as UTF8String."""
    value = {"C": printable, "serialNumber": printable}
    return sequence(*(rdn((kind, value.get(kind, utf8)(text))) for kind, text in pairs))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """One Extension; value is the DER inside extnValue."""
    return sequence(oid(dotted), boolean(True) if critical else b"", octets(value))


def dns_san(*names: str) -> bytes:
    return extension(SAN, sequence(*(tlv(0x82, entry.encode()) for entry in names)))


def extension_request(*extensions: bytes) -> bytes:
    return attribute(EXTENSION_REQUEST, sequence(*extensions))


def certification_request(
    key: Any,
    subject: bytes,
    *,
    challenge: str | bytes | None = None,
    extensions: Sequence[bytes] = (),
    more_attributes: Sequence[bytes] = (),
    public_key: bytes | None = None,
    signer: Any = None,
    digest: str = "sha256",
) -> bytes:
    """A PKCS#10. challenge: text as PrintableString, or a whole element; signer: another key than the one inside."""
    attributes = list(more_attributes)
    if challenge is not None:
        value = printable(challenge) if isinstance(challenge, str) else challenge
        attributes.append(attribute(CHALLENGE_PASSWORD, value))
    if extensions:
        attributes.append(extension_request(*extensions))
    info = sequence(integer(0), subject, public_key or spki(key), context(0, *sorted(attributes)))
    signer = signer or key
    return sequence(info, signature_algorithm(signer, digest), bits(sign(signer, info, digest)))


def certificate(
    key: Any,
    subject: bytes,
    *,
    issuer: bytes | None = None,
    serial: int = 1,
    signer: Any = None,
    digest: str = "sha256",
    days: tuple[int, int] = (-1, 365),
    extensions: Sequence[bytes] = (),
    public_key: bytes | None = None,
) -> bytes:
    """A certificate of the device's own making; self-signed unless issuer and signer say otherwise."""
    signer, now = signer or key, datetime.now(UTC)
    validity = sequence(*(utc_time(now + timedelta(days=day)) for day in days))
    tbs = sequence(
        context(0, integer(2)),
        integer(serial),
        signature_algorithm(signer, digest),
        subject if issuer is None else issuer,
        validity,
        subject,
        public_key or spki(key),
        context(3, sequence(*extensions)) if extensions else b"",
    )
    return sequence(tbs, signature_algorithm(signer, digest), bits(sign(signer, tbs, digest)))


def issuer_and_serial(certificate_der: bytes) -> tuple[bytes, bytes]:
    """Issuer Name and serialNumber elements of a certificate, byte for byte."""
    fields = tbs_fields(certificate_der)
    return fields[3], fields[1]


def subject_of(certificate_der: bytes) -> bytes:
    return tbs_fields(certificate_der)[5]


def tbs_fields(certificate_der: bytes) -> list[bytes]:
    """Elements of a v3 tbsCertificate: version, serial, signature, issuer, validity, subject, key, ..."""
    return elements(content_of(elements(content_of(certificate_der))[0]))


@dataclass(frozen=True)
class Device:
    """One device that wants a certificate."""

    key: Any
    subject: bytes
    certificate: bytes

    @classmethod
    def named(cls, common_name: str, key: Any = None, **options: Any) -> Device:
        """A device of this common name; options go to its self-signed certificate."""
        key = key or rsa_key()
        subject = name(("O", "Example"), ("CN", common_name))
        return cls(key, subject, certificate(key, subject, **options))
