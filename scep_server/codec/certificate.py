"""Client certificates as SCEP needs them: who signed, and with which key.

Read with our own structures, because a parser made for the web refuses what devices put around their keys (T7, T8).
Nothing here says that a certificate is trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from scep_server.codec.algorithms import EC_PUBLIC_KEY, RSA_ENCRYPTION
from scep_server.codec.asn1 import OID, Extension, decode, encode
from scep_server.codec.walk import SEQUENCE, Place, explicit, fields, integer, places, shape, time, whole
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
_RSA_OID: Final = encode(RSA_ENCRYPTION)
_EC_OID: Final = encode(EC_PUBLIC_KEY)
# Most devices have an RSA key of 2048 bits and the usual exponent, which shows without any reading.
_BEFORE_RSA_2048: Final = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_EXPONENT_65537: Final = bytes.fromhex("0203010001")
_RSA_2048_LENGTH: Final = len(_BEFORE_RSA_2048) + MIN_RSA_BITS // 8 + len(_EXPONENT_65537)
_SUBJECT_KEY_IDENTIFIER: Final = OID("2.5.29.14")

_CERTIFICATE: Final = shape(rb"\x30\x30\x03")
_TBS_CERTIFICATE: Final = shape(rb"\xa0?\x02\x30{5}\x81?\x82?\xa3?")
_VALIDITY: Final = shape(rb"[\x17\x18]{2}")
_PUBLIC_KEY_INFO: Final = shape(rb"\x30\x03")
_RSA_PUBLIC_KEY: Final = shape(rb"\x02\x02")


class TbsCertificate(NamedTuple):
    """Fields of a tbsCertificate (RFC 5280 section 4.1), as received and unread: whole elements."""

    serial: bytes
    issuer: bytes
    validity: bytes
    subject: bytes
    spki: bytes
    extensions: bytes
    """The [3], empty when absent."""

    @property
    def serial_number(self) -> int:
        """Raises Malformed."""
        return integer(self.serial, whole(self.serial, 0x02, "serialNumber"))


def read_tbs(certificate: bytes) -> TbsCertificate:
    """The tbsCertificate of a certificate in DER. Raises Malformed."""
    outer = fields(certificate, whole(certificate, SEQUENCE, "Certificate"), _CERTIFICATE)
    found = fields(certificate, outer[0], _TBS_CERTIFICATE)
    first = found[0][0] == 0xA0
    last = found[-1]
    serial, _, issuer, validity, subject, spki = (certificate[p[1] : p[3]] for p in found[first : first + 6])
    extensions = certificate[last[1] : last[3]] if last[0] == 0xA3 else b""
    return TbsCertificate(serial, issuer, validity, subject, spki, extensions)


def read_signer(certificate: bytes, tbs: TbsCertificate) -> SignerCertificate:
    """The signer's certificate and its key.

    Raises Refusal(KEY) for a key outside the limits: RSA 2048 to 4096 bits with e = 65537, or a named curve P-256,
    P-384 or P-521 (N9, N23); Malformed for a SubjectPublicKeyInfo that is none.
    """
    validity = tbs.validity
    not_before, not_after = fields(validity, whole(validity, SEQUENCE, "Validity"), _VALIDITY)
    public_key = load_public_key(tbs.spki)
    return SignerCertificate(
        der=certificate,
        subject=tbs.subject,
        issuer=tbs.issuer,
        serial=tbs.serial_number,
        not_before=time(validity, not_before),
        not_after=time(validity, not_after),
        spki=tbs.spki,
        public_key=public_key,
        self_issued=tbs.subject == tbs.issuer,
        can_encrypt=is_rsa(public_key),
    )


def load_public_key(spki: bytes) -> RSAPublicKey | EllipticCurvePublicKey:
    """The key of a SubjectPublicKeyInfo, its size judged before it is loaded. Raises Refusal(KEY) and Malformed."""
    _judge_public_key(spki)
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise Refusal(Reason.KEY, "signer key cannot be loaded") from None
    if is_rsa(key) or isinstance(key, EllipticCurvePublicKey):
        return key
    raise Refusal(Reason.KEY, "signer key of another type than it says")


def _judge_public_key(spki: bytes) -> None:
    if (
        len(spki) == _RSA_2048_LENGTH
        and spki.startswith(_BEFORE_RSA_2048)
        and spki[len(_BEFORE_RSA_2048)] >= 0x80
        and spki.endswith(_EXPONENT_65537)
    ):
        return
    algorithm, bits = fields(spki, whole(spki, SEQUENCE, "SubjectPublicKeyInfo"), _PUBLIC_KEY_INFO)
    identifier = spki[algorithm[2] : algorithm[3]]
    if identifier.startswith(_RSA_OID):
        modulus, exponent = _rsa_numbers(_bits(spki, bits))
        if modulus < 0 or not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
            raise Refusal(Reason.KEY, f"signer key RSA of {modulus.bit_length()} bits")
        if exponent != RSA_EXPONENT:
            raise Refusal(Reason.KEY, "signer key RSA with an exponent other than 65537")
    elif not identifier.startswith(_EC_OID):
        raise Refusal(Reason.KEY, f"signer key of algorithm {identifier[:16].hex()}")
    elif identifier[len(_EC_OID) :] not in _CURVES:
        raise Refusal(Reason.KEY, "signer key EC without a named curve of P-256, P-384, P-521")


def _rsa_numbers(key: bytes) -> tuple[int, int]:
    """Modulus and exponent of an RSAPublicKey (RFC 8017 appendix A.1.1). Raises Malformed."""
    modulus, exponent = fields(key, whole(key, SEQUENCE, "RSAPublicKey"), _RSA_PUBLIC_KEY)
    return integer(key, modulus), integer(key, exponent)


def _bits(data: bytes, place: Place) -> bytes:
    """Octets of a BIT STRING whose last one is full, as those of keys are. Raises Malformed."""
    if data[place[2] : place[2] + 1] != b"\0" or place[2] == place[3]:
        raise Malformed("a key that does not end with an octet")
    return data[place[2] + 1 : place[3]]


_RSA_CLASSES: Final[dict[type, bool]] = {}


def is_rsa(key: object) -> TypeGuard[RSAPublicKey]:
    """isinstance, remembered: RSAPublicKey is an abstract class, and those take their time at each question."""
    kind = type(key)
    known = _RSA_CLASSES.get(kind)
    if known is None:
        known = _RSA_CLASSES[kind] = issubclass(kind, RSAPublicKey)
    return known


def extension_value(tbs: TbsCertificate, extension_id: OID) -> bytes | None:
    """Content of extnValue of the first such extension; None when there is none. Raises Malformed."""
    data = tbs.extensions
    if data:
        listed = explicit(data, whole(data, 0xA3, "Extensions"), SEQUENCE)
        for place in places(data, listed[2], listed[3]):
            extension = decode(Extension, data[place[1] : place[3]])
            if extension.extn_id == extension_id:
                return extension.extn_value
    return None


def key_identifiers(tbs: TbsCertificate) -> tuple[bytes, ...]:
    """The SubjectKeyIdentifier of the extension, or where it is absent the usual hash (RFC 5280 section 4.2.1.2)."""
    said = extension_value(tbs, _SUBJECT_KEY_IDENTIFIER)
    if said is not None:
        return (decode(bytes, said),)
    key = fields(tbs.spki, whole(tbs.spki, SEQUENCE, "SubjectPublicKeyInfo"), _PUBLIC_KEY_INFO)[1]
    return (hashlib.sha1(_bits(tbs.spki, key), usedforsecurity=False).digest(),)


@lru_cache(maxsize=64)
def recipient_ids(certificate: bytes) -> tuple[RecipientId, ...]:
    """The forms in which a message may name this certificate: issuer and serial, SubjectKeyIdentifier. Malformed."""
    tbs = read_tbs(certificate)
    by_serial = RecipientId(issuer=tbs.issuer, serial=tbs.serial_number)
    return (by_serial, *(RecipientId(ski=identifier) for identifier in key_identifiers(tbs)))


def find_certificate(bag: Iterable[bytes], wanted: bytes) -> tuple[bytes, TbsCertificate]:
    """The one certificate of a bag that a SignerIdentifier (DER) names; order and unreadable others do not matter (T8).

    Raises Malformed when there is none, or two different ones (N7).
    """
    found: dict[bytes, TbsCertificate] = {}
    name = whole(wanted, wanted[0], "SignerIdentifier")
    content = wanted[name[2] :]
    for certificate in bag:
        try:
            tbs = read_tbs(certificate)
            # [0] SubjectKeyIdentifier, or a SEQUENCE of issuer and serial: compared as they are encoded.
            if content in key_identifiers(tbs) if name[0] == 0x80 else content == tbs.issuer + tbs.serial:
                found[certificate] = tbs
        except Malformed:
            continue
    if len(found) != 1:
        raise Malformed(f"{len(found)} certificates of the signer in the message")
    return found.popitem()
