"""What a device certificate must look like, checked on the tbsCertificate before it is recorded and signed.

The last look before the CA's word is given: it knows nothing of templates or orders, only RFC 5280 and our profile
(R76 to R78), so that a fault in either shows here. Every finding is a name from the table at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from scep_server.codec import asn1, walk
from scep_server.codec.names import EMPTY_NAME, rdns
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.policy import profiles
from scep_server.types import IssueOrder

# DER has one form for each value, so whatever is permitted in one form only is compared as bytes and never decoded.


def _oid(dotted: str) -> bytes:
    return asn1.encode(asn1.OID(dotted))


SUBJECT_ALT_NAME: Final = _oid(profiles.SUBJECT_ALT_NAME)
BASIC_CONSTRAINTS: Final = _oid(profiles.BASIC_CONSTRAINTS)
KEY_USAGE: Final = _oid(profiles.KEY_USAGE)
EXTENDED_KEY_USAGE: Final = _oid(profiles.EXTENDED_KEY_USAGE)
SUBJECT_KEY_IDENTIFIER: Final = _oid("2.5.29.14")
AUTHORITY_KEY_IDENTIFIER: Final = _oid("2.5.29.35")
CRL_DISTRIBUTION_POINTS: Final = _oid("2.5.29.31")
AUTHORITY_INFO_ACCESS: Final = _oid("1.3.6.1.5.5.7.1.1")
CERTIFICATE_POLICIES: Final = _oid("2.5.29.32")

SIGNATURE_ALGORITHMS: Final = frozenset(
    {asn1.element(0x30, _oid(f"1.2.840.113549.1.1.{n}"), b"\x05\x00") for n in (11, 12, 13)}
    | {asn1.element(0x30, _oid(f"1.2.840.10045.4.3.{n}")) for n in (2, 3, 4)}
)
"""AlgorithmIdentifiers of RSA PKCS#1 v1.5 (RFC 4055 section 5) and ECDSA (RFC 5758 section 3.2) with SHA-256 to 512."""

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
_VERSION_3: Final = bytes.fromhex("a003020102")
_DIGITAL_SIGNATURE: Final = bytes.fromhex("03020780")
_CLIENT_AUTH: Final = bytes.fromhex("300a06082b06010505070302")
_NO_CA: Final = b"\x30\x00"
_TRUE: Final = b"\x01\x01\xff"
_MUST_BE_CRITICAL: Final = frozenset({KEY_USAGE, BASIC_CONSTRAINTS})
_MIN_SERIAL_BITS: Final = 64

_TBS_CERTIFICATE: Final = walk.shape(rb"\xa0?\x02\x30{5}\x81?\x82?\xa3?")
_VALIDITY: Final = walk.shape(rb"[\x17\x18]{2}")
_EXTENSION: Final = walk.shape(rb"\x06\x01?\x04")
_UTC_TIME: Final = 0x17


@dataclass(frozen=True, slots=True)
class LintIssuer:
    """What the lint compares with: the issuing CA's certificate."""

    subject: bytes
    """Name, DER."""
    key_identifier: bytes
    """Content of its subjectKeyIdentifier."""
    not_before: datetime
    not_after: datetime


class _Subject(NamedTuple):
    """A tbsCertificate read once for all lints; bytes are whole elements."""

    issuer: LintIssuer
    order: IssueOrder
    version: bytes
    serial: int
    signature: bytes
    issuer_name: bytes
    not_before: datetime
    not_after: datetime
    time_tags: tuple[int, int]
    subject: bytes
    spki: bytes
    unique_ids: bool
    extensions: int
    """How many there are."""
    values: dict[bytes, bytes]
    """Content of extnValue, by the extnID."""
    critical: set[bytes]
    """extnIDs whose `critical` is TRUE."""
    said_false: bool
    """Some `critical` is an encoded FALSE, which DER leaves out."""


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
    findings: list[str] = []
    for name, passes in _LINTS.items():
        try:
            holds = passes(subject)
        except (Malformed, KeyError):
            holds = False
        if not holds:
            findings.append(name)
    return findings


def _read(tbs: bytes, order: IssueOrder, issuer: LintIssuer) -> _Subject:
    found = walk.fields(tbs, walk.whole(tbs, walk.SEQUENCE, "TBSCertificate"), _TBS_CERTIFICATE)
    version = found.pop(0) if found[0][0] == 0xA0 else None
    serial, signature, name, validity, subject, key, *rest = found
    not_before, not_after = walk.fields(tbs, validity, _VALIDITY)
    values: dict[bytes, bytes] = {}
    critical: set[bytes] = set()
    said_false = False
    extensions = _extensions(tbs, rest.pop()) if rest and rest[-1][0] == 0xA3 else []
    for extension in extensions:
        if extension[0] != walk.SEQUENCE:
            raise Malformed("an extension that is none")
        parts = walk.fields(tbs, extension, _EXTENSION)
        oid, value = parts[0], parts[-1]
        identifier = tbs[oid[1] : oid[3]]
        values[identifier] = tbs[value[2] : value[3]]
        if len(parts) == 3:
            if tbs[parts[1][1] : parts[1][3]] == _TRUE:
                critical.add(identifier)
            else:
                said_false = True
    return _Subject(
        issuer=issuer,
        order=order,
        version=b"" if version is None else tbs[version[1] : version[3]],
        serial=walk.integer(tbs, serial),
        signature=tbs[signature[1] : signature[3]],
        issuer_name=tbs[name[1] : name[3]],
        not_before=walk.time(tbs, not_before),
        not_after=walk.time(tbs, not_after),
        time_tags=(not_before[0], not_after[0]),
        subject=tbs[subject[1] : subject[3]],
        spki=tbs[key[1] : key[3]],
        unique_ids=bool(rest),
        extensions=len(extensions),
        values=values,
        critical=critical,
        said_false=said_false,
    )


def _extensions(tbs: bytes, around: walk.Place) -> list[walk.Place]:
    listed = walk.explicit(tbs, around, walk.SEQUENCE)
    return walk.places(tbs, listed[2], listed[3])


def _as_ordered(subject: _Subject) -> bool:
    order = subject.order
    return (
        subject.subject == order.subject
        and subject.spki == order.spki
        and subject.values.get(SUBJECT_ALT_NAME) == order.san
        and subject.not_after <= order.not_after
    )


def _serial(subject: _Subject) -> bool:
    # A positive INTEGER needs a leading zero bit, so 20 octets hold 159 bits (RFC 5280 section 4.1.2.2).
    return subject.serial > 0 and _MIN_SERIAL_BITS <= subject.serial.bit_length() <= 159


def _time_forms(subject: _Subject) -> bool:
    first, last = subject.time_tags
    return (first == _UTC_TIME) == (subject.not_before.year < 2050) and (last == _UTC_TIME) == (
        subject.not_after.year < 2050
    )


def _whole_seconds(subject: _Subject) -> bool:
    return subject.not_before.microsecond == subject.not_after.microsecond == 0


def _inside_issuer(subject: _Subject) -> bool:
    return subject.issuer.not_before <= subject.not_before and subject.not_after <= subject.issuer.not_after


def _subject_name(subject: _Subject) -> bool:
    return subject.subject != subject.issuer.subject and (
        bool(rdns(subject.subject)) or SUBJECT_ALT_NAME in subject.values
    )


def _san(subject: _Subject) -> bool:
    value = subject.values.get(SUBJECT_ALT_NAME)
    if value is None:
        return True
    # Its names were judged when it was ordered, and it is the ordered one (`as_ordered`); here: that there are any.
    return len(value) > len(EMPTY_NAME) and (SUBJECT_ALT_NAME in subject.critical) == (subject.subject == EMPTY_NAME)


def _key_identifier(subject: _Subject) -> bool:
    value = subject.values[SUBJECT_KEY_IDENTIFIER]
    place = walk.whole(value, walk.OCTET_STRING, "KeyIdentifier")
    return 0 < place[3] - place[2] <= 64


def _authority_key(subject: _Subject) -> bool:
    return subject.values[AUTHORITY_KEY_IDENTIFIER] == _authority_key_identifier(subject.issuer.key_identifier)


@lru_cache(maxsize=16)
def _authority_key_identifier(key_identifier: bytes) -> bytes:
    """AuthorityKeyIdentifier (RFC 5280 section 4.2.1.1) with nothing else in it; one for each issuer."""
    return asn1.element(0x30, asn1.element(0x80, key_identifier))


def _addresses(oid: bytes) -> Callable[[_Subject], bool]:
    return lambda subject: subject.values[oid].startswith(b"\x30") and b"http" in subject.values[oid]


def _criticality(subject: _Subject) -> bool:
    wanted = _MUST_BE_CRITICAL & subject.values.keys()
    return not subject.said_false and subject.critical - {SUBJECT_ALT_NAME} == wanted


_LINTS: Final[dict[str, Callable[[_Subject], bool]]] = {
    "as_ordered": _as_ordered,
    "version": lambda s: s.version == _VERSION_3,
    "serial": _serial,
    "signature_algorithm": lambda s: s.signature in SIGNATURE_ALGORITHMS,
    "issuer": lambda s: s.issuer_name == s.issuer.subject,
    "validity_order": lambda s: s.not_before < s.not_after,
    "validity_inside_issuer": _inside_issuer,
    "time_form": _time_forms,
    "whole_seconds": _whole_seconds,
    "subject": _subject_name,
    "unique_ids": lambda s: not s.unique_ids,
    "duplicate_extension": lambda s: len(s.values) == s.extensions,
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
