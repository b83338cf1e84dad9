"""Reads the fields of a certificate as they are encoded, so that names are compared and repeated byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from scep_server.ca import der
from scep_server.types import Certificate

_VERSION = 0xA0


@dataclass(frozen=True, slots=True)
class TbsFields:
    """What stands before the extensions of a tbsCertificate (RFC 5280 section 4.1.2); bytes are whole elements."""

    serial: int
    signature: bytes
    """AlgorithmIdentifier."""
    issuer: bytes
    not_before: datetime
    not_after: datetime
    subject: bytes
    spki: bytes


def read_tbs(tbs: bytes) -> TbsFields:
    """Fields of a DER tbsCertificate, version 3. ValueError when it is none."""
    tag, offset, end = der.element(tbs, 0)
    if tag != der.SEQUENCE or end != len(tbs):
        raise ValueError("no tbsCertificate")
    tag, _, offset = der.element(tbs, offset)
    if tag != _VERSION:
        raise ValueError("no version 3 certificate")
    parts = []
    for expected in (der.INTEGER, *(der.SEQUENCE,) * 5):
        tag, start, end = der.element(tbs, offset)
        if tag != expected:
            raise ValueError("no tbsCertificate")
        parts.append((offset, start, end))
        offset = end
    serial, signature, issuer, validity, subject, spki = parts
    first = der.element(tbs, validity[1])
    second = der.element(tbs, first[2])
    return TbsFields(
        serial=int.from_bytes(tbs[serial[1] : serial[2]], "big", signed=True),
        signature=tbs[signature[0] : signature[2]],
        issuer=tbs[issuer[0] : issuer[2]],
        not_before=_read_time(first[0], tbs[first[1] : first[2]]),
        not_after=_read_time(second[0], tbs[second[1] : second[2]]),
        subject=tbs[subject[0] : subject[2]],
        spki=tbs[spki[0] : spki[2]],
    )


def tbs_of(certificate_der: bytes) -> bytes:
    """The tbsCertificate element of a DER certificate. ValueError when there is none."""
    start = der.element(certificate_der, 0)[1]
    return certificate_der[start : der.element(certificate_der, start)[2]]


def issuer_id(spki: bytes) -> str:
    """Our name for an issuer: the first 16 hex digits of SHA-256 over its SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).hexdigest()[:16]


def key_identifier(spki: bytes) -> bytes:
    """SubjectKeyIdentifier by method 1 of RFC 5280 section 4.2.1.2: SHA-1 of the key bits, a name and no security."""
    start = der.element(spki, 0)[1]
    _, bits, end = der.element(spki, der.element(spki, start)[2])
    return hashlib.sha1(spki[bits + 1 : end], usedforsecurity=False).digest()


def certificate_value(certificate_der: bytes, issuer: str) -> Certificate:
    """The value that travels; issuer is the issuer_id of the CA that signed it."""
    fields = read_tbs(tbs_of(certificate_der))
    return Certificate(
        der=certificate_der,
        issuer_id=issuer,
        serial=fields.serial,
        subject=fields.subject,
        not_before=fields.not_before,
        not_after=fields.not_after,
    )


def _read_time(tag: int, content: bytes) -> datetime:
    """UTCTime or GeneralizedTime in the only forms RFC 5280 allows. ValueError otherwise."""
    digits = content[:-1]
    if (
        content[-1:] != b"Z"
        or not digits.isdigit()
        or len(digits) != {der.UTC_TIME: 12, der.GENERALIZED_TIME: 14}.get(tag)
    ):
        raise ValueError("no Time of RFC 5280")
    if tag == der.UTC_TIME:
        digits = (b"19" if digits[:2] >= b"50" else b"20") + digits
    year, rest = int(digits[:4]), digits[4:]
    month, day, hour, minute, second = (int(rest[place : place + 2]) for place in range(0, 10, 2))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
