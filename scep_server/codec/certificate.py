"""Client certificates as SCEP needs them: who signed, and with which key.

Read with our own structures, because a parser made for the web refuses what devices put around their keys (T7, T8).
Nothing here says that a certificate is trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from scep_server.codec.algorithms import EC_PUBLIC_KEY, RSA_ENCRYPTION
from scep_server.codec.asn1 import (
    OID,
    TLV,
    Certificate,
    Extension,
    IssuerAndSerialNumber,
    RsaPublicKey,
    SubjectPublicKeyInfo,
    TBSCertificate,
    decode,
    der,
)
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import RecipientId, SignerCertificate

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
RSA_EXPONENT: Final = 65537
"""N9: checked before any maths, so that nobody buys CPU with a large key."""

_CURVES: Final = frozenset(
    bytes.fromhex(oid)
    for oid in (
        "06082a8648ce3d030107",  # P-256
        "06052b81040022",  # P-384
        "06052b81040023",  # P-521
    )
)
_SUBJECT_KEY_IDENTIFIER: Final = OID("2.5.29.14")


def read_tbs(certificate: bytes) -> TBSCertificate:
    """The tbsCertificate of a certificate in DER. Raises Malformed."""
    return decode(Certificate, certificate).tbs_certificate


def read_signer(certificate: bytes, tbs: TBSCertificate) -> SignerCertificate:
    """The signer's certificate and its key.

    Raises Refusal(KEY) for a key outside the limits: RSA 2048 to 4096 bits with e = 65537, or a named curve P-256,
    P-384 or P-521 (N9, N23); Malformed for a SubjectPublicKeyInfo that is none.
    """
    subject, issuer = der(tbs.subject), der(tbs.issuer)
    spki = der(tbs.subject_public_key_info)
    return SignerCertificate(
        der=certificate,
        subject=subject,
        issuer=issuer,
        serial=tbs.serial_number,
        not_before=tbs.validity.not_before.as_datetime(),
        not_after=tbs.validity.not_after.as_datetime(),
        spki=spki,
        public_key=load_public_key(spki),
        self_issued=subject == issuer,
    )


def load_public_key(spki: bytes) -> RSAPublicKey | EllipticCurvePublicKey:
    """The key of a SubjectPublicKeyInfo, its size judged before it is loaded. Raises Refusal(KEY) and Malformed."""
    info = decode(SubjectPublicKeyInfo, spki)
    algorithm = info.algorithm
    if algorithm.algorithm == RSA_ENCRYPTION:
        numbers = decode(RsaPublicKey, info.subject_public_key.as_bytes())
        bits = numbers.modulus.bit_length()
        if numbers.modulus < 0 or not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
            raise Refusal(Reason.KEY, f"signer key RSA of {bits} bits")
        if numbers.public_exponent != RSA_EXPONENT:
            raise Refusal(Reason.KEY, "signer key RSA with an exponent other than 65537")
    elif algorithm.algorithm == EC_PUBLIC_KEY:
        if not isinstance(algorithm.parameters, TLV) or der(algorithm.parameters) not in _CURVES:
            raise Refusal(Reason.KEY, "signer key EC without a named curve of P-256, P-384, P-521")
    else:
        raise Refusal(Reason.KEY, f"signer key {algorithm.algorithm.dotted_string}")
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise Refusal(Reason.KEY, "signer key cannot be loaded") from None
    if not isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)):
        raise Refusal(Reason.KEY, "signer key of another type than it says")
    return key


def key_identifiers(tbs: TBSCertificate) -> tuple[bytes, ...]:
    """The SubjectKeyIdentifier of the extension, or where it is absent the usual hash (RFC 5280 section 4.2.1.2)."""
    for element in tbs.extensions or ():
        extension = decode(Extension, element)
        if extension.extn_id == _SUBJECT_KEY_IDENTIFIER:
            return (decode(bytes, extension.extn_value),)
    info = decode(SubjectPublicKeyInfo, tbs.subject_public_key_info)
    return (hashlib.sha1(info.subject_public_key.as_bytes(), usedforsecurity=False).digest(),)


@lru_cache(maxsize=64)
def recipient_ids(certificate: bytes) -> tuple[RecipientId, ...]:
    """The forms in which a message may name this certificate: issuer and serial, SubjectKeyIdentifier. Malformed."""
    tbs = read_tbs(certificate)
    by_serial = RecipientId(issuer=der(tbs.issuer), serial=tbs.serial_number)
    return (by_serial, *(RecipientId(ski=identifier) for identifier in key_identifiers(tbs)))


def named(identifier: IssuerAndSerialNumber | bytes) -> RecipientId:
    """A SignerIdentifier or RecipientIdentifier as a value: issuer and serial, or SubjectKeyIdentifier."""
    if isinstance(identifier, bytes):
        return RecipientId(ski=identifier)
    return RecipientId(issuer=der(identifier.issuer), serial=identifier.serial_number)


def find_certificate(bag: Iterable[bytes], wanted: RecipientId) -> tuple[bytes, TBSCertificate]:
    """The one certificate of a bag that a SignerIdentifier names; order and unreadable others do not matter (T8).

    Raises Malformed when there is none, or two different ones (N7).
    """
    found: dict[bytes, TBSCertificate] = {}
    for certificate in bag:
        try:
            tbs = read_tbs(certificate)
            if _is(tbs, wanted):
                found[certificate] = tbs
        except Malformed:
            continue
    if len(found) != 1:
        raise Malformed(f"{len(found)} certificates of the signer in the message")
    return found.popitem()


def _is(tbs: TBSCertificate, wanted: RecipientId) -> bool:
    if wanted.ski:
        return wanted.ski in key_identifiers(tbs)
    return tbs.serial_number == wanted.serial and der(tbs.issuer) == wanted.issuer
