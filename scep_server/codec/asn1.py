"""The ASN.1 structures of SCEP, and the only use of `cryptography.hazmat.asn1` (its API is marked unstable).

Names are the RFCs' words. Here are values; the structures around them are read by `walk`, where they lie. What must
survive byte for byte is a TLV: `der(tlv)` gives its bytes back, `tlv(der)` makes one, `members` opens a collection.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from scep_server.errors import Malformed

T = TypeVar("T")

OID = ObjectIdentifier
TLV = asn1.TLV
Null = asn1.Null
BitString = asn1.BitString
GeneralizedTime = asn1.GeneralizedTime
NULL = Null()


def decode(structure: type[T], data: bytes | TLV) -> T:
    """One DER value with nothing behind it. Raises Malformed."""
    try:
        return data.parse(structure) if isinstance(data, TLV) else asn1.decode_der(structure, data)
    except (ValueError, TypeError, OverflowError) as error:
        raise Malformed(f"not a {structure.__name__}: {error}") from None


def encode(value: object) -> bytes:
    """DER of a structure declared here; a programming error is a ValueError or TypeError."""
    return asn1.encode_der(value)


def tlv(data: bytes) -> TLV:
    """One DER element, unread. Raises Malformed."""
    return decode(TLV, data)


def der(element: TLV) -> bytes:
    """All bytes of an element, as received."""
    return asn1.encode_der(element)


def element(tag: int, *parts: bytes) -> bytes:
    """DER of one element from its one-byte tag and the parts of its content."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    if 0x100 <= length < 0x10000:
        return bytes((tag, 0x82, length >> 8, length & 0xFF)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def integer(value: int) -> bytes:
    """DER of an INTEGER."""
    # For a negative one, -128 included, the fewest octets are those of its complement.
    bits = value.bit_length() if value >= 0 else (~value).bit_length()
    return element(0x02, value.to_bytes(bits // 8 + 1, "big", signed=True))


def members(collection: TLV) -> list[TLV]:
    """Elements of a SET OF or SEQUENCE OF, in the order received. Raises Malformed for any other tag."""
    raw = der(collection)
    if raw[0] not in (0x30, 0x31):
        raise Malformed(f"tag {raw[0]:#04x} where a SET OF was expected")
    return decode(_Members, element(0x30, b"\xa0", raw[1:])).items


@asn1.sequence
class _Members:
    """Lets `members` read any collection: the library decodes no bare list."""

    items: Annotated[list[TLV], asn1.Implicit(0)]


# --- X.509 and PKCS#10 ------------------------------------------------------------------------------------------------


@asn1.sequence
class AlgorithmIdentifier:
    """RFC 5280 section 4.1.1.2. Parameters: NULL, OCTET STRING (an IV), anything else unread, or absent."""

    algorithm: OID
    parameters: Null | bytes | TLV | None


@asn1.sequence
class SubjectPublicKeyInfo:
    """RFC 5280 section 4.1."""

    algorithm: AlgorithmIdentifier
    subject_public_key: BitString


@asn1.sequence
class Extension:
    """RFC 5280 section 4.1. `critical` tolerates an encoded DEFAULT FALSE."""

    extn_id: OID
    critical: bool | None
    extn_value: bytes


@asn1.sequence
class OtherName:
    """RFC 5280 section 4.2.1.6, under its own tag in a GeneralName."""

    type_id: OID
    value: Annotated[TLV, asn1.Explicit(0)]


@asn1.sequence
class BasicConstraints:
    """RFC 5280 section 4.2.1.9. `ca` tolerates an encoded DEFAULT FALSE."""

    ca: bool | None
    path_len_constraint: int | None


# --- CMS --------------------------------------------------------------------------------------------------------------


@asn1.sequence
class IssuerAndSerialNumber:
    """RFC 5652 section 10.2.4."""

    issuer: TLV
    serial_number: int


@asn1.sequence
class KeyTransRecipientInfo:
    """RFC 5652 section 6.2.1."""

    version: int
    rid: IssuerAndSerialNumber | Annotated[bytes, asn1.Implicit(0)]
    key_encryption_algorithm: AlgorithmIdentifier
    encrypted_key: bytes


@asn1.sequence
class PasswordRecipientInfo:
    """RFC 5652 section 6.2.4."""

    version: int
    key_derivation_algorithm: Annotated[AlgorithmIdentifier | None, asn1.Implicit(0)]
    key_encryption_algorithm: AlgorithmIdentifier
    encrypted_key: bytes


@asn1.sequence
class RecipientInfo:
    """Carries one RecipientInfo CHOICE (RFC 5652 section 6.2); kinds we do not speak stay unread."""

    choice: KeyTransRecipientInfo | Annotated[PasswordRecipientInfo, asn1.Implicit(3)] | TLV


# --- algorithm parameters ---------------------------------------------------------------------------------------------


@asn1.sequence
class RsaesOaepParams:
    """RFC 8017 appendix A.2.1; absent fields mean SHA-1, MGF1 with SHA-1, and the empty label."""

    hash_algorithm: Annotated[AlgorithmIdentifier | None, asn1.Explicit(0)]
    mask_gen_algorithm: Annotated[AlgorithmIdentifier | None, asn1.Explicit(1)]
    p_source_algorithm: Annotated[AlgorithmIdentifier | None, asn1.Explicit(2)]


@asn1.sequence
class Pbkdf2Params:
    """RFC 8018 appendix A.2; an absent prf means HMAC with SHA-1. A salt by AlgorithmIdentifier was never defined."""

    salt: bytes
    iteration_count: int
    key_length: int | None
    prf: AlgorithmIdentifier | None
