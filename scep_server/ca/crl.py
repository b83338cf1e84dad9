"""The bytes of a CRL (RFC 5280 section 5, R79, R80), assembled in one pass so that 100,000 entries take a moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.x509 import ReasonFlags

from scep_server.ca import der
from scep_server.types import RevokedCertificate

_VERSION_2 = bytes.fromhex("020101")
_EXTENSIONS = 0xA0
_CRL_NUMBER = bytes.fromhex("0603551d14")
_CRL_REASON = bytes.fromhex("0603551d15")
_ISSUING_DISTRIBUTION_POINT = bytes.fromhex("0603551d1c")

_CODES = {
    ReasonFlags.key_compromise: 1,
    ReasonFlags.ca_compromise: 2,
    ReasonFlags.affiliation_changed: 3,
    ReasonFlags.superseded: 4,
    ReasonFlags.cessation_of_operation: 5,
    ReasonFlags.certificate_hold: 6,
    ReasonFlags.privilege_withdrawn: 9,
    ReasonFlags.aa_compromise: 10,
}
"""CRLReason (RFC 5280 section 5.3.1). unspecified is told by absence; removeFromCRL belongs to delta CRLs only."""

_REASON_EXTENSIONS = {
    reason: der.tlv(der.SEQUENCE, der.extension(_CRL_REASON, der.tlv(der.ENUMERATED, bytes((code,)))))
    for reason, code in _CODES.items()
}


def issuing_distribution_point(url: str) -> bytes:
    """Critical IssuingDistributionPoint extension: this CRL covers the certificates whose CDP is url (R80)."""
    value = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    ).public_bytes()
    return der.extension(_ISSUING_DISTRIBUTION_POINT, value, critical=True)


def tbs_cert_list(
    *,
    algorithm: bytes,
    issuer: bytes,
    number: int,
    this_update: datetime,
    next_update: datetime,
    entries: Iterable[RevokedCertificate],
    authority_key_identifier: bytes,
    distribution_point: bytes = b"",
) -> bytes:
    """The tbsCertList, DER, entries by serial. algorithm, issuer and the last two are whole DER elements."""
    revoked = b"".join([_entry(entry) for entry in sorted(entries, key=_serial)])
    extensions = authority_key_identifier + der.extension(_CRL_NUMBER, der.integer(number)) + distribution_point
    return der.tlv(
        der.SEQUENCE,
        _VERSION_2,
        algorithm,
        issuer,
        der.time(this_update),
        der.time(next_update),
        # An empty list is not a list of nothing: revokedCertificates MUST be absent (RFC 5280 section 5.1.2.6).
        der.tlv(der.SEQUENCE, revoked) if revoked else b"",
        der.tlv(_EXTENSIONS, der.tlv(der.SEQUENCE, extensions)),
    )


def _serial(entry: RevokedCertificate) -> int:
    return entry.serial


def _entry(entry: RevokedCertificate) -> bytes:
    return der.tlv(
        der.SEQUENCE,
        der.integer(entry.serial),
        der.time(entry.revoked_at),
        _REASON_EXTENSIONS.get(entry.reason, b""),
    )
