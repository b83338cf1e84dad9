"""CMS SignedData: one signer read and verified, one signer written, and the degenerate form (RFC 5652 section 5)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from scep_server.codec.algorithms import (
    DATA,
    DIGEST_OIDS,
    EC_SIGNATURE_OIDS,
    HASHES,
    RSA_ENCRYPTION,
    SIGNED_DATA,
    digest_named,
    identifier,
    signature_digest,
)
from scep_server.codec.asn1 import NULL, SubjectPublicKeyInfo, decode, element, encode
from scep_server.codec.attributes import MESSAGE_DIGEST, SignedAttributes, signed_attributes
from scep_server.codec.ber import to_der
from scep_server.codec.certificate import find_certificate, is_rsa, read_signer, read_tbs
from scep_server.codec.walk import OCTET_STRING, SEQUENCE, Place, explicit, fields, places, shape, whole
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import Digest, SignerCertificate

MAX_CERTIFICATES: Final = 10
"""In one message (N9)."""

# The constructors themselves: hashlib.new looks its name up again each time.
_DIGESTS: Final = {
    Digest.SHA1: hashlib.sha1,
    Digest.SHA256: hashlib.sha256,
    Digest.SHA384: hashlib.sha384,
    Digest.SHA512: hashlib.sha512,
}


_ID_DATA: Final = encode(DATA)
_ID_SIGNED_DATA: Final = encode(SIGNED_DATA)
_CONTENT_INFO: Final = shape(rb"\x06\xa0")
_SIGNED_DATA: Final = shape(rb"\x02\x31\x30\xa0?\xa1?\x31")
_ENCAPSULATED: Final = shape(rb"\x06\xa0?")
_SIGNER_INFO: Final = shape(rb"\x02[\x30\x80]\x30\xa0\x30\x04\xa1?")
_PKCS1_V15: Final = PKCS1v15()


class SignedData(NamedTuple):
    """RFC 5652 section 5.1; places are of DER data, whose SETs are sorted."""

    data: bytes
    content_type: bytes
    """eContentType, the whole OBJECT IDENTIFIER."""
    content: bytes | None
    """eContent; None where it is absent."""
    certificates: list[bytes]
    crls: list[bytes]
    signer_infos: list[Place]


def read_signed_data(message: bytes) -> SignedData:
    """The SignedData of a message, BER or DER. Raises Malformed and TooLarge."""
    data = to_der(message)
    content_type, content = fields(data, whole(data, SEQUENCE, "ContentInfo"), _CONTENT_INFO)
    if data[content_type[1] : content_type[3]] != _ID_SIGNED_DATA:
        raise Malformed("not a CMS SignedData")
    parts = fields(data, explicit(data, content, SEQUENCE), _SIGNED_DATA)
    inner = fields(data, parts[2], _ENCAPSULATED)
    octets = explicit(data, inner[1], OCTET_STRING) if len(inner) == 2 else None
    bags: dict[int, list[bytes]] = {part[0]: _members(data, part) for part in parts[3:-1]}
    return SignedData(
        data=data,
        content_type=data[inner[0][1] : inner[0][3]],
        content=None if octets is None else data[octets[2] : octets[3]],
        certificates=bags.get(0xA0, []),
        crls=bags.get(0xA1, []),
        signer_infos=places(data, parts[-1][2], parts[-1][3]),
    )


def _members(data: bytes, around: Place) -> list[bytes]:
    return [data[place[1] : place[3]] for place in places(data, around[2], around[3])]


class SignedMessage(NamedTuple):
    """A SignedData with exactly one SignerInfo that has signed attributes. Nothing is verified yet."""

    signed_data: SignedData
    sid: bytes
    """SignerIdentifier, DER."""
    digest_algorithm: bytes
    """AlgorithmIdentifier, DER."""
    attributes: SignedAttributes
    signature_algorithm: bytes
    """AlgorithmIdentifier, DER."""
    signature: bytes

    @property
    def digest(self) -> Digest | None:
        """DigestAlgorithm of the signer; None for one that is not spoken here, MD5 among them. Raises Malformed."""
        return digest_named(self.digest_algorithm)

    @property
    def content(self) -> bytes | None:
        """eContent; None where it is absent."""
        return self.signed_data.content


def read_signed_message(message: bytes) -> SignedMessage:
    """A message with its one signer (R29, R31). Raises Malformed and TooLarge."""
    signed_data = read_signed_data(message)
    infos = signed_data.signer_infos
    if len(infos) != 1:
        raise Malformed(f"{len(infos)} signers where a pkiMessage has one")
    data = signed_data.data
    _, sid, digest, attributes, algorithm, signature = fields(data, infos[0], _SIGNER_INFO)[:6]
    return SignedMessage(
        signed_data=signed_data,
        sid=data[sid[1] : sid[3]],
        digest_algorithm=data[digest[1] : digest[3]],
        attributes=SignedAttributes(data, attributes),
        signature_algorithm=data[algorithm[1] : algorithm[3]],
        signature=data[signature[2] : signature[3]],
    )


def verify(message: SignedMessage, digests: Collection[Digest], known: Iterable[bytes] = ()) -> SignerCertificate:
    """The certificate whose key made the message's signature (RFC 5652 sections 5.4 and 5.6).

    It is found among the message's own certificates and `known` (DER). Its own signature, name, dates and extensions
    are not judged (T7, T8, T9). Raises Refusal: ALGORITHM, KEY or SIGNATURE; and Malformed for a message whose
    structure says nothing certain.
    """
    digest = message.digest
    if digest is None or digest not in digests:
        raise Refusal(Reason.ALGORITHM, f"digest algorithm {message.digest_algorithm[:32].hex()}")
    signer = _signer_certificate(message, known)
    rsa = is_rsa(signer.public_key)
    if signature_digest(message.signature_algorithm, digest, rsa=rsa) is not digest:
        raise Refusal(Reason.SIGNATURE, "digestAlgorithm is not the signature's")

    # R27, R30: what is signed must say that it is data, and which.
    if message.signed_data.content_type != _ID_DATA:
        raise Malformed("eContentType is not id-data")
    if message.attributes.content_type() != _ID_DATA:
        raise Malformed("contentType attribute is not id-data")
    said = message.attributes.octets(MESSAGE_DIGEST)
    if said is None:
        raise Malformed("no messageDigest attribute")
    if not hmac.compare_digest(_DIGESTS[digest](message.content or b"").digest(), said):
        raise Refusal(Reason.SIGNATURE, "messageDigest is of another content")
    _verify_signature(signer, message.signature, message.attributes.signed(), digest)
    return signer


def _signer_certificate(message: SignedMessage, known: Iterable[bytes]) -> SignerCertificate:
    bag = message.signed_data.certificates
    if len(bag) > MAX_CERTIFICATES:
        raise Malformed(f"{len(bag)} certificates in the message")
    return read_signer(*find_certificate((*bag, *known), message.sid))


def _verify_signature(signer: SignerCertificate, signature: bytes, signed: bytes, digest: Digest) -> None:
    key = signer.public_key
    try:
        if is_rsa(key):
            key.verify(signature, signed, _PKCS1_V15, HASHES[digest])
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, signed, ECDSA(HASHES[digest]))
        else:
            raise Refusal(Reason.KEY, "signer key of another kind")
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise Refusal(Reason.SIGNATURE, "signature does not verify") from None


# --- writing ----------------------------------------------------------------------------------------------------------

_VERSION_1: Final = b"\x02\x01\x01"
_EMPTY_SET: Final = b"\x31\x00"
_DIGEST_IDENTIFIERS: Final = {digest: encode(identifier(oid, NULL)) for digest, oid in DIGEST_OIDS.items()}
_RSA_SIGNATURE: Final = encode(identifier(RSA_ENCRYPTION, NULL))
_EC_SIGNATURES: Final = {digest: encode(identifier(oid)) for digest, oid in EC_SIGNATURE_OIDS.items()}


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A message that waits for its signature: sign `to_sign` with `digest`, then give both to `finish`."""

    to_sign: bytes = field(repr=False)
    """DER of the signed attributes as SET OF."""
    digest: Digest
    content: bytes | None = field(repr=False)
    """eContent; None leaves it out."""


def unsigned(content: bytes | None, digest: Digest, attributes: Iterable[bytes]) -> Unsigned:
    """A message with these signed attributes (DER, one Attribute each); CMS's own two are added."""
    message_digest = _DIGESTS[digest](content or b"").digest()
    return Unsigned(signed_attributes(attributes, message_digest), digest, content)


def finish(message: Unsigned, certificate: bytes, signature: bytes) -> bytes:
    """The signed message in DER; certificate (DER) is the signer's and the only one sent along (R35).

    signature: RSA PKCS#1 v1.5, named `rsaEncryption` as old clients know it, or ECDSA in DER; over message.to_sign.
    """
    sid, rsa = _signer_identity(certificate)
    digest_identifier = _DIGEST_IDENTIFIERS[message.digest]
    signer_info = element(
        0x30,
        _VERSION_1,
        sid,
        digest_identifier,
        b"\xa0",
        message.to_sign[1:],
        _RSA_SIGNATURE if rsa else _EC_SIGNATURES[message.digest],
        element(0x04, signature),
    )
    content = b"" if message.content is None else element(0xA0, element(0x04, message.content))
    return _content_info(
        element(0x31, digest_identifier),
        element(0x30, _ID_DATA, content),
        element(0xA0, certificate),
        element(0x31, signer_info),
    )


@lru_cache(maxsize=64)
def _signer_identity(certificate: bytes) -> tuple[bytes, bool]:
    """IssuerAndSerialNumber in DER, and whether the key is RSA; a server asks for one certificate all its life."""
    tbs = read_tbs(certificate)
    key = decode(SubjectPublicKeyInfo, tbs.spki)
    return element(0x30, tbs.issuer, tbs.serial), key.algorithm.algorithm == RSA_ENCRYPTION


def _content_info(*fields: bytes) -> bytes:
    return element(0x30, _ID_SIGNED_DATA, element(0xA0, element(0x30, _VERSION_1, *fields)))


# --- the degenerate form ----------------------------------------------------------------------------------------------


def degenerate(certificates: Sequence[bytes], crls: Sequence[bytes] = ()) -> bytes:
    """Certificates-only SignedData in the order given, or CRLs; eContent absent (RFC 8894 section 3.4, R21)."""
    return _content_info(
        _EMPTY_SET,
        element(0x30, _ID_DATA),
        element(0xA0, *certificates) if certificates else b"",
        element(0xA1, *crls) if crls else b"",
        _EMPTY_SET,
    )


def read_degenerate(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Certificates and CRLs of a SignedData, in the order and bytes received. Raises Malformed and TooLarge."""
    signed_data = read_signed_data(data)
    return signed_data.certificates, signed_data.crls
