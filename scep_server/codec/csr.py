"""PKCS#10 certification requests (RFC 2986), read as devices send them.

Our own reader, because `cryptography` refuses attributes that are out of DER order and cannot check a SHA-1 signature
(T10). What is tolerated: attributes in any order, empty or missing; challengePassword in any string type; requested
extensions under the PKCS #9 or the Microsoft identifier. What could be read in two ways is refused: the same
attribute or extension twice, or both forms of the extension request.

The self-signature is the proof of possession (RFC 8894 section 7.6, R56) and is verified here, always.
"""

from __future__ import annotations

import functools
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from scep_server.codec import asn1, names
from scep_server.codec.certificate import is_rsa
from scep_server.codec.walk import SEQUENCE, Place, fields, places, shape, single, whole
from scep_server.errors import Malformed, Reason, Refusal, TooLarge
from scep_server.types import CertificationRequest, Extension

MAX_CSR: Final = 16 * 1024
"""Octets (N9)."""
MAX_RSA_BITS: Final = 4096
MAX_RSA_EXPONENT_BITS: Final = 33
"""Larger keys or exponents would make one verification expensive; policy is stricter still (N9, N23)."""
MAX_EXTENSIONS: Final = 50

CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - the attribute's identifier
EXTENSION_REQUEST: Final = frozenset({"1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"})
"""PKCS #9 extensionRequest, and Microsoft's szOID_CERT_EXTENSIONS of the same form."""
SUBJECT_ALT_NAME: Final = "2.5.29.17"

# The weak hashes are listed because R3 wants badAlg for a request that verified under them.
_RSA_HASHES: Final[dict[str, HashAlgorithm]] = {
    "1.2.840.113549.1.1.4": MD5(),  # noqa: S303
    "1.2.840.113549.1.1.5": SHA1(),  # noqa: S303
    "1.2.840.113549.1.1.11": SHA256(),
    "1.2.840.113549.1.1.12": SHA384(),
    "1.2.840.113549.1.1.13": SHA512(),
}
_ECDSA_HASHES: Final[dict[str, HashAlgorithm]] = {
    "1.2.840.10045.4.1": SHA1(),  # noqa: S303
    "1.2.840.10045.4.3.2": SHA256(),
    "1.2.840.10045.4.3.3": SHA384(),
    "1.2.840.10045.4.3.4": SHA512(),
}
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PKCS1_V15: Final = padding.PKCS1v15()

_CHALLENGE_PASSWORD: Final = asn1.encode(asn1.OID(CHALLENGE_PASSWORD))
_EXTENSION_REQUEST: Final = frozenset(asn1.encode(asn1.OID(oid)) for oid in EXTENSION_REQUEST)
_REQUEST: Final = shape(rb"\x30\x30\x03")
_REQUEST_INFO: Final = shape(rb"\x02\x30\x30\xa0?")
_COLLECTIONS: Final = (0x30, 0x31)
_ATTRIBUTE: Final = shape(rb"\x06[\x30\x31]")
"""SEQUENCE OF for SET OF is a device's mistake that cannot be misread."""


def parse_csr(der: bytes, *, allow_sha1: bool = False) -> CertificationRequest:
    """The request, its self-signature verified.

    Malformed: not a PKCS#10 in DER, ambiguous, beyond a limit of N9, or its signature does not verify. Refusal with
    Reason.ALGORITHM: the signature verified, but under MD5, or under SHA-1 without allow_sha1 (R3).
    """
    if len(der) > MAX_CSR:
        raise TooLarge(f"CSR of {len(der)} octets, {MAX_CSR} are allowed")
    info, identifier, signature = fields(der, whole(der, SEQUENCE, "CertificationRequest"), _REQUEST)
    version, name, key, *attributes = fields(der, info, _REQUEST_INFO)
    if der[version[2] : version[3]] != b"\0":
        raise Malformed("not a CSR of version 1")
    subject = der[name[1] : name[3]]
    names.rdns(subject)
    challenge, extensions = _read_attributes(der, attributes[0]) if attributes else (None, ())

    spki = der[key[1] : key[3]]
    public_key = _load_key(spki)
    algorithm = _signature_algorithm(der[identifier[1] : identifier[3]])
    bits = der[signature[2] : signature[3]]
    if not bits.startswith(b"\0"):
        raise Malformed("a signature that does not end with an octet in a CSR")
    info_der = der[info[1] : info[3]]
    digest = _verify(public_key, algorithm, bits[1:], info_der)
    if digest.name == "md5" or (digest.name == "sha1" and not allow_sha1):
        raise Refusal(Reason.ALGORITHM, f"CSR signed with {digest.name}")
    return CertificationRequest(
        der=der,
        info=info_der,
        subject=subject,
        spki=spki,
        public_key=public_key,
        challenge=challenge,
        extensions=extensions,
        signature_algorithm=algorithm,
    )


def _load_key(spki: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """The request's key, if a verification with it is bounded work. Explicit EC parameters do not load."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("public key of the CSR cannot be read") from error
    if is_rsa(key):
        if key.key_size > MAX_RSA_BITS or key.public_numbers().e.bit_length() > MAX_RSA_EXPONENT_BITS:
            raise Malformed("RSA key of the CSR is too large")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise Malformed("key type of the CSR is not supported")


def _verify(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, algorithm: str, signature: bytes, data: bytes
) -> HashAlgorithm:
    """The hash under which the signature verified; Malformed when it did not."""
    digest = (_RSA_HASHES if is_rsa(key) else _ECDSA_HASHES).get(algorithm)
    if digest is None:
        raise Malformed(f"CSR signature algorithm {algorithm}")
    try:
        if is_rsa(key):
            key.verify(signature, data, _PKCS1_V15, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(digest))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("self-signature of the CSR does not verify") from error
    return digest


@functools.lru_cache(maxsize=32)
def _signature_algorithm(identifier: bytes) -> str:
    """Dotted identifier of an AlgorithmIdentifier (DER) without parameters, or with the NULL that belongs to RSA and
    that some devices write for ECDSA too. All messages have the same few.
    """
    algorithm = asn1.decode(asn1.AlgorithmIdentifier, identifier)
    if algorithm.parameters is not None and not isinstance(algorithm.parameters, asn1.Null):
        raise Malformed("unexpected signature parameters in a CSR")
    return algorithm.algorithm.dotted_string


def _read_attributes(der: bytes, around: Place) -> tuple[str | None, tuple[Extension, ...]]:
    challenge: str | None = None
    extensions: tuple[Extension, ...] | None = None
    # Both attributes that we read are SINGLE VALUE (RFC 2985 section 5.4).
    for attribute in places(der, around[2], around[3]):
        if attribute[0] != SEQUENCE:
            raise Malformed("an attribute of a CSR that is none")
        oid, values = fields(der, attribute, _ATTRIBUTE)
        identifier = der[oid[1] : oid[3]]
        if identifier == _CHALLENGE_PASSWORD:
            if challenge is not None:
                raise Malformed("two challengePassword attributes in a CSR")
            challenge = _read_challenge(der, single(der, values))
        elif identifier in _EXTENSION_REQUEST:
            if extensions is not None:
                raise Malformed("two extension requests in a CSR")
            extensions = _read_extensions(der, single(der, values))
    return challenge, extensions or ()


def _read_challenge(der: bytes, value: Place) -> str:
    text = names.string_value(value[0], der[value[2] : value[3]])
    if "\0" in text:
        raise Malformed("NUL in a challengePassword")
    return text


def _read_extensions(der: bytes, value: Place) -> tuple[Extension, ...]:
    if value[0] not in _COLLECTIONS:
        raise Malformed("requested extensions that are no list")
    requested = places(der, value[2], value[3])
    if len(requested) > MAX_EXTENSIONS:
        raise Malformed(f"{len(requested)} extensions in a CSR, {MAX_EXTENSIONS} are allowed")
    extensions = tuple(_read_extension(der[place[1] : place[3]]) for place in requested)
    if len({extension.oid for extension in extensions}) != len(extensions):
        raise Malformed("the same extension twice in a CSR")
    for extension in extensions:
        if extension.oid == SUBJECT_ALT_NAME:
            names.parse_general_names(extension.value)
    return extensions


def _read_extension(der: bytes) -> Extension:
    extension = asn1.decode(asn1.Extension, der)
    return Extension(extension.extn_id.dotted_string, bool(extension.critical), extension.extn_value)
