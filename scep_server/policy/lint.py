"""What a device certificate must look like, checked on the tbsCertificate before it is recorded and signed.

The last look before the CA's word is given: it knows nothing of templates or orders, only RFC 5280 and our profile
(R76 to R78), so that a fault in either shows here. Every finding is a name from the table at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scep_server.codec import asn1
from scep_server.codec.names import EMPTY_NAME, rdns
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.policy.profiles import (
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALT_NAME,
)
from scep_server.types import IssueOrder

SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
CRL_DISTRIBUTION_POINTS: Final = "2.5.29.31"
AUTHORITY_INFO_ACCESS: Final = "1.3.6.1.5.5.7.1.1"
CERTIFICATE_POLICIES: Final = "2.5.29.32"

SIGNATURE_ALGORITHMS: Final = frozenset(
    {f"1.2.840.113549.1.1.{n}" for n in (11, 12, 13)} | {f"1.2.840.10045.4.3.{n}" for n in (2, 3, 4)}
)
"""RSA PKCS#1 v1.5 and ECDSA with SHA-256, SHA-384, SHA-512."""

_KNOWN: Final = frozenset(
    {
        KEY_USAGE,
        EXTENDED_KEY_USAGE,
        BASIC_CONSTRAINTS,
        SUBJECT_ALT_NAME,
        SUBJECT_KEY_IDENTIFIER,
        AUTHORITY_KEY_IDENTIFIER,
        CRL_DISTRIBUTION_POINTS,
        AUTHORITY_INFO_ACCESS,
        CERTIFICATE_POLICIES,
    }
)
# DER has one form for each value, so that the only ones permitted are compared as bytes.
_DIGITAL_SIGNATURE: Final = bytes.fromhex("03020780")
_CLIENT_AUTH: Final = bytes.fromhex("300a06082b06010505070302")
_NO_CA: Final = b"\x30\x00"
_MUST_BE_CRITICAL: Final = frozenset({KEY_USAGE, BASIC_CONSTRAINTS})
_MIN_SERIAL_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class LintIssuer:
    """What the lint compares with: the issuing CA's certificate."""

    subject: bytes
    """Name, DER."""
    key_identifier: bytes
    """Content of its subjectKeyIdentifier."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class _Subject:
    """A tbsCertificate read once for all lints."""

    tbs: asn1.TBSCertificate
    issuer: LintIssuer
    order: IssueOrder
    extensions: tuple[asn1.Extension, ...]
    values: dict[str, bytes]
    critical: frozenset[str]
    subject: bytes
    not_before: datetime
    not_after: datetime


def lint_tbs(tbs: bytes, order: IssueOrder, issuer: LintIssuer) -> None:
    """Refusal with Reason.REJECTED, its detail naming every finding, when this tbsCertificate must not be signed."""
    findings = lints(tbs, order, issuer)
    if findings:
        raise Refusal(Reason.REJECTED, f"lint: {', '.join(findings)}")


def lints(tbs: bytes, order: IssueOrder, issuer: LintIssuer) -> list[str]:
    """Names of the lints that this tbsCertificate (DER) fails, in the order of the table; empty when it is good."""
    try:
        subject = _read(tbs, order, issuer)
    except Malformed:
        return ["unreadable"]
    return [name for name, passes in _LINTS.items() if not _holds(passes, subject)]


def _holds(passes: Callable[[_Subject], bool], subject: _Subject) -> bool:
    try:
        return passes(subject)
    except (Malformed, KeyError):
        return False


def _read(tbs: bytes, order: IssueOrder, issuer: LintIssuer) -> _Subject:
    certificate = asn1.decode(asn1.TBSCertificate, tbs)
    extensions = tuple(asn1.decode(asn1.Extension, element) for element in certificate.extensions or ())
    return _Subject(
        tbs=certificate,
        issuer=issuer,
        order=order,
        extensions=extensions,
        values={extension.extn_id.dotted_string: extension.extn_value for extension in extensions},
        critical=frozenset(extension.extn_id.dotted_string for extension in extensions if extension.critical),
        subject=asn1.der(certificate.subject),
        not_before=asn1.as_datetime(certificate.validity.not_before),
        not_after=asn1.as_datetime(certificate.validity.not_after),
    )


def _as_ordered(subject: _Subject) -> bool:
    order = subject.order
    return (
        subject.subject == order.subject
        and asn1.der(subject.tbs.subject_public_key_info) == order.spki
        and subject.values.get(SUBJECT_ALT_NAME) == order.san
        and subject.not_after <= order.not_after
    )


def _serial(subject: _Subject) -> bool:
    serial = subject.tbs.serial_number
    # A positive INTEGER needs a leading zero bit, so 20 octets hold 159 bits (RFC 5280 section 4.1.2.2).
    return serial > 0 and _MIN_SERIAL_BITS <= serial.bit_length() <= 159


def _time_forms(subject: _Subject) -> bool:
    validity = subject.tbs.validity
    return all(
        time.year >= 2050 if asn1.is_generalized(form) else time.year < 2050
        for form, time in ((validity.not_before, subject.not_before), (validity.not_after, subject.not_after))
    )


def _whole_seconds(subject: _Subject) -> bool:
    return subject.not_before.microsecond == subject.not_after.microsecond == 0


def _inside_issuer(subject: _Subject) -> bool:
    return subject.issuer.not_before <= subject.not_before and subject.not_after <= subject.issuer.not_after


def _signature_algorithm(subject: _Subject) -> bool:
    algorithm = asn1.decode(asn1.AlgorithmIdentifier, subject.tbs.signature)
    return algorithm.algorithm.dotted_string in SIGNATURE_ALGORITHMS


def _subject_name(subject: _Subject) -> bool:
    return subject.subject != subject.issuer.subject and (bool(rdns(subject.subject)) or _has_san(subject))


def _has_san(subject: _Subject) -> bool:
    return SUBJECT_ALT_NAME in subject.values


def _san(subject: _Subject) -> bool:
    value = subject.values.get(SUBJECT_ALT_NAME)
    if value is None:
        return True
    # Its names were judged when it was ordered, and it is the ordered one (`as_ordered`); here: that there are any.
    return len(value) > len(EMPTY_NAME) and (SUBJECT_ALT_NAME in subject.critical) == (subject.subject == EMPTY_NAME)


def _key_identifier(subject: _Subject) -> bool:
    return 0 < len(asn1.decode(bytes, subject.values[SUBJECT_KEY_IDENTIFIER])) <= 64


def _authority_key(subject: _Subject) -> bool:
    wanted = asn1.element(0x30, asn1.element(0x80, subject.issuer.key_identifier))
    return subject.values[AUTHORITY_KEY_IDENTIFIER] == wanted


def _addresses(oid: str) -> Callable[[_Subject], bool]:
    return lambda subject: subject.values[oid].startswith(b"\x30") and b"http" in subject.values[oid]


def _criticality(subject: _Subject) -> bool:
    wanted = _MUST_BE_CRITICAL & subject.values.keys()
    return subject.critical - {SUBJECT_ALT_NAME} == wanted and all(
        extension.critical is not False for extension in subject.extensions
    )


_LINTS: Final[dict[str, Callable[[_Subject], bool]]] = {
    "as_ordered": _as_ordered,
    "version": lambda s: s.tbs.version == 2,
    "serial": _serial,
    "signature_algorithm": _signature_algorithm,
    "issuer": lambda s: asn1.der(s.tbs.issuer) == s.issuer.subject,
    "validity_order": lambda s: s.not_before < s.not_after,
    "validity_inside_issuer": _inside_issuer,
    "time_form": _time_forms,
    "whole_seconds": _whole_seconds,
    "subject": _subject_name,
    "unique_ids": lambda s: s.tbs.issuer_unique_id is None and s.tbs.subject_unique_id is None,
    "duplicate_extension": lambda s: len(s.values) == len(s.extensions),
    "unknown_extension": lambda s: s.values.keys() <= _KNOWN,
    "criticality": _criticality,
    "key_usage": lambda s: s.values[KEY_USAGE] == _DIGITAL_SIGNATURE,
    "extended_key_usage": lambda s: s.values[EXTENDED_KEY_USAGE] == _CLIENT_AUTH,
    "no_ca": lambda s: s.values.get(BASIC_CONSTRAINTS, _NO_CA) == _NO_CA,
    "subject_alt_name": _san,
    "subject_key_identifier": _key_identifier,
    "authority_key_identifier": _authority_key,
    "crl_distribution_points": _addresses(CRL_DISTRIBUTION_POINTS),
    "authority_info_access": _addresses(AUTHORITY_INFO_ACCESS),
}


def lint_names() -> Iterator[str]:
    """Names of all lints, for tests and documentation."""
    yield "unreadable"
    yield from _LINTS
