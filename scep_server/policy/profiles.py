"""The one certificate profile, and what becomes of a request's wishes for extensions (N15, R78).

A certificate says: keyUsage digitalSignature (critical), extKeyUsage clientAuth, no CA, the granted alternative names,
and what the CA adds (key identifiers, CRL and issuer addresses). Nothing else of a request is ever copied:

| wish                                                   | answer                                               |
| ------------------------------------------------------ | ---------------------------------------------------- |
| subjectAltName                                         | judged name by name (policy/names.py)                |
| basicConstraints CA:TRUE, or unreadable                | refused: wants a CA                                  |
| basicConstraints CA:FALSE                              | dropped, is so anyway                                |
| keyUsage keyCertSign or cRLSign, or unreadable         | refused: wants a CA                                  |
| keyUsage, other bits                                   | dropped; noted unless it is digitalSignature only    |
| extKeyUsage OCSPSigning, or unreadable                 | refused: would answer for the CA                     |
| extKeyUsage codeSigning, any, others                   | dropped; noted unless it is clientAuth only          |
| nameConstraints, policyConstraints, policyMappings,    | refused: only CAs have them                          |
| inhibitAnyPolicy, precertificate poison                |                                                      |
| Microsoft SID (1.3.6.1.4.1.311.25.2)                   | dropped, noted: names an account nobody vouched for  |
| key identifiers, CRL and issuer addresses, policies,   | dropped, noted: the CA's to say                      |
| SCTs, templates, Netscape types, issuerAltName, ...    |                                                      |
| anything else, critical                                | refused: the device wants a promise we do not know   |
| anything else, not critical                            | dropped, noted                                       |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from scep_server.codec import asn1
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import Extension, IntegrationOptions

BACKDATE: Final = timedelta(minutes=10)
"""For devices whose clock is behind (T14)."""

SUBJECT_ALT_NAME: Final = "2.5.29.17"
BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"
MICROSOFT_SID: Final = "1.3.6.1.4.1.311.25.2"

_DIGITAL_SIGNATURE: Final = 0
_CA_BITS: Final = frozenset({5, 6})
"""Key usage bits keyCertSign and cRLSign (RFC 5280 section 4.2.1.3)."""

_REFUSED: Final = {
    "2.5.29.30": "nameConstraints",
    "2.5.29.33": "policyMappings",
    "2.5.29.36": "policyConstraints",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.4.1.11129.2.4.3": "precertificate poison",
}
_DROPPED: Final = {
    "2.5.29.9": "subjectDirectoryAttributes",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.16": "privateKeyUsagePeriod",
    "2.5.29.18": "issuerAltName",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.46": "freshestCRL",
    "1.2.840.113549.1.9.15": "smimeCapabilities",
    "1.3.6.1.4.1.311.20.2": "certificate template name",
    "1.3.6.1.4.1.311.21.7": "certificate template",
    "1.3.6.1.4.1.311.21.10": "application policies",
    MICROSOFT_SID: "Microsoft SID",
    "1.3.6.1.4.1.11129.2.4.2": "SCT list",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
    "1.3.6.1.5.5.7.1.24": "TLS feature",
    "2.16.840.1.113730.1.1": "Netscape certificate type",
    "2.16.840.1.113730.1.13": "Netscape comment",
}


def validity(options: IntegrationOptions, now: datetime) -> tuple[datetime, datetime]:
    """The notBefore and the wanted notAfter, in whole seconds. The CA cuts both at its own certificate's."""
    moment = now.replace(microsecond=0)
    return moment - BACKDATE, moment + timedelta(days=options.lifetime_days)


def judge_extensions(wishes: Sequence[Extension]) -> tuple[bytes | None, tuple[str, ...]]:
    """Requested subjectAltName (GeneralNames DER) if any, and a note for each wish dropped.

    Refusal with Reason.EXTENSION as the table above says.
    """
    san: bytes | None = None
    notes: list[str] = []
    for wish in wishes:
        if wish.oid == SUBJECT_ALT_NAME:
            san = wish.value
        elif note := _judge(wish):
            notes.append(note)
    return san, tuple(notes)


def _judge(wish: Extension) -> str:
    """A note for the audit, empty when nothing was asked for that a certificate does not say anyway."""
    if wish.oid in _REFUSED:
        raise Refusal(Reason.EXTENSION, _REFUSED[wish.oid], security=True)
    if wish.oid in _DROPPED:
        return _DROPPED[wish.oid]
    try:
        match wish.oid:
            case "2.5.29.19":
                return _judge_basic_constraints(wish.value)
            case "2.5.29.15":
                return _judge_key_usage(wish.value)
            case "2.5.29.37":
                return _judge_extended_key_usage(wish.value)
    except Malformed as error:
        raise Refusal(Reason.EXTENSION, f"{wish.oid} cannot be read: {error}") from None
    if wish.critical:
        raise Refusal(Reason.EXTENSION, f"unknown critical extension {wish.oid}")
    return wish.oid


def _judge_basic_constraints(value: bytes) -> str:
    if asn1.decode(asn1.BasicConstraints, value).ca:
        raise Refusal(Reason.EXTENSION, "basicConstraints CA:TRUE", security=True)
    return ""


def _judge_key_usage(value: bytes) -> str:
    bits = key_usage_bits(value)
    if bits & _CA_BITS:
        raise Refusal(Reason.EXTENSION, "keyUsage of a CA", security=True)
    return "" if bits <= {_DIGITAL_SIGNATURE} else "keyUsage"


def _judge_extended_key_usage(value: bytes) -> str:
    purposes = key_purposes(value)
    if OCSP_SIGNING in purposes:
        raise Refusal(Reason.EXTENSION, "extKeyUsage OCSPSigning", security=True)
    unwanted = [purpose for purpose in purposes if purpose != CLIENT_AUTH]
    return f"extKeyUsage {' '.join(unwanted)}" if unwanted else ""


def key_usage_bits(value: bytes) -> frozenset[int]:
    """Bit numbers set in a KeyUsage (RFC 5280 section 4.2.1.3). Malformed when it is none."""
    octets = asn1.decode(asn1.BitString, value).as_bytes()
    return frozenset(bit for bit in range(8 * len(octets)) if octets[bit // 8] & (0x80 >> bit % 8))


def key_purposes(value: bytes) -> tuple[str, ...]:
    """KeyPurposeIds of an extKeyUsage (RFC 5280 section 4.2.1.12), dotted. Malformed when it is none."""
    return tuple(asn1.decode(asn1.OID, element).dotted_string for element in asn1.members(asn1.tlv(value)))
