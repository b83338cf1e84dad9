"""Reads the fields of a certificate as they are encoded, so that names are compared and repeated byte for byte."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

from scep_server.ca import der
from scep_server.codec import walk
from scep_server.errors import Malformed
from scep_server.types import Certificate

_TBS_CERTIFICATE = walk.shape(rb"\xa0\x02\x30{5}\x81?\x82?\xa3?")
_VALIDITY = walk.shape(rb"[\x17\x18]{2}")


class TbsFields(NamedTuple):
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
    try:
        return _read(tbs)
    except Malformed as error:
        raise ValueError(f"no tbsCertificate of version 3: {error}") from None


def _read(tbs: bytes) -> TbsFields:
    found = walk.fields(tbs, walk.whole(tbs, walk.SEQUENCE, "TBSCertificate"), _TBS_CERTIFICATE)
    _, serial, signature, issuer, validity, subject, spki = found[:7]
    not_before, not_after = walk.fields(tbs, validity, _VALIDITY)
    return TbsFields(
        serial=walk.integer(tbs, serial),
        signature=tbs[signature[1] : signature[3]],
        issuer=tbs[issuer[1] : issuer[3]],
        not_before=walk.time(tbs, not_before),
        not_after=walk.time(tbs, not_after),
        subject=tbs[subject[1] : subject[3]],
        spki=tbs[spki[1] : spki[3]],
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
