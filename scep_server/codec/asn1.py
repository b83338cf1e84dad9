"""The ASN.1 structures of SCEP, and the only use of `cryptography.hazmat.asn1` (its API is marked unstable).

Names are the RFCs' words. What must survive byte for byte (names, keys, certificates, CRLs) is a TLV: `der(tlv)`
gives its bytes back, `tlv(der)` makes one. The library's SetOf refuses any order but DER's: CMS is sorted before it
comes here, but a CSR is signed and must not be touched, so its SETs are TLVs, read with `members`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from scep_server.errors import Malformed

T = TypeVar("T")

OID = ObjectIdentifier
TLV = asn1.TLV
Null = asn1.Null
BitString = asn1.BitString
UTCTime = asn1.UTCTime
GeneralizedTime = asn1.GeneralizedTime
SetOf = asn1.SetOf
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
class AttributeTypeAndValue:
    """RFC 5280 section 4.1.2.4; the value is any string type, and sometimes none."""

    type: OID
    value: TLV


@asn1.sequence
class OtherName:
    """RFC 5280 section 4.2.1.6, under its own tag in a GeneralName."""

    type_id: OID
    value: Annotated[TLV, asn1.Explicit(0)]


@asn1.sequence
class Validity:
    """RFC 5280 section 4.1.2.5."""

    not_before: UTCTime | GeneralizedTime
    not_after: UTCTime | GeneralizedTime


def as_datetime(time: UTCTime | GeneralizedTime) -> datetime:
    """Aware UTC time of either form."""
    return time.as_datetime().replace(tzinfo=UTC)


def is_generalized(time: UTCTime | GeneralizedTime) -> bool:
    """True for GeneralizedTime, which RFC 5280 section 4.1.2.5 wants from 2050 on and only then."""
    return isinstance(time, asn1.GeneralizedTime)


@asn1.sequence
class BasicConstraints:
    """RFC 5280 section 4.2.1.9. `ca` tolerates an encoded DEFAULT FALSE."""

    ca: bool | None
    path_len_constraint: int | None


@asn1.sequence
class TBSCertificate:
    """RFC 5280 section 4.1, with everything unread that a SCEP server has no reason to judge in a client's."""

    version: Annotated[int | None, asn1.Explicit(0)]
    serial_number: int
    signature: TLV
    issuer: TLV
    validity: Validity
    subject: TLV
    subject_public_key_info: TLV
    issuer_unique_id: Annotated[BitString | None, asn1.Implicit(1)]
    subject_unique_id: Annotated[BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[TLV] | None, asn1.Explicit(3)]


@asn1.sequence
class Certificate:
    """RFC 5280 section 4.1."""

    tbs_certificate: TBSCertificate
    signature_algorithm: TLV
    signature_value: BitString


@asn1.sequence
class Attribute:
    """RFC 2986 section 4.1, of a CSR; values is a SET OF, read with `members`."""

    type: OID
    values: TLV


@asn1.sequence
class CertificationRequestInfo:
    """RFC 2986 section 4.1; attributes in any order, each an Attribute, absent in some clients."""

    version: int
    subject: TLV
    subject_public_key_info: TLV
    attributes: Annotated[list[TLV] | None, asn1.Implicit(0)]


@asn1.sequence
class CertificationRequest:
    """RFC 2986 section 4.2; the info stays unread because its bytes are what is signed."""

    certification_request_info: TLV
    signature_algorithm: AlgorithmIdentifier
    signature: BitString


# --- CMS: every SET was sorted by `ber.to_der` ------------------------------------------------------------------------


@asn1.sequence
class IssuerAndSerialNumber:
    """RFC 5652 section 10.2.4."""

    issuer: TLV
    serial_number: int


@asn1.sequence
class IssuerAndSubject:
    """RFC 8894 section 3.3.3."""

    issuer: TLV
    subject: TLV


@asn1.sequence
class ContentInfo:
    """RFC 5652 section 3."""

    content_type: OID
    content: Annotated[TLV, asn1.Explicit(0)]


@asn1.sequence
class EncapsulatedContentInfo:
    """RFC 5652 section 5.2; eContent is absent in degenerate messages and in FAILURE and PENDING replies."""

    content_type: OID
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class SignedAttribute:
    """RFC 5652 section 5.3."""

    type: OID
    values: SetOf[TLV]


@asn1.sequence
class SignerInfo:
    """RFC 5652 section 5.3. The signed attributes in the order received, which need not be DER's."""

    version: int
    sid: IssuerAndSerialNumber | Annotated[bytes, asn1.Implicit(0)]
    digest_algorithm: AlgorithmIdentifier
    signed_attrs: Annotated[list[SignedAttribute] | None, asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attrs: Annotated[list[TLV] | None, asn1.Implicit(1)]


def attribute_set(attributes: list[SignedAttribute]) -> bytes:
    """DER of the SET OF, sorted: what a SignerInfo's signature covers (RFC 5652 section 5.4)."""
    return encode(SetOf(attributes))


@asn1.sequence
class SignedData:
    """RFC 5652 section 5.1."""

    version: int
    digest_algorithms: TLV
    encap_content_info: EncapsulatedContentInfo
    certificates: Annotated[list[TLV] | None, asn1.Implicit(0)]
    crls: Annotated[list[TLV] | None, asn1.Implicit(1)]
    signer_infos: SetOf[TLV]


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


@asn1.sequence
class EncryptedContentInfo:
    """RFC 5652 section 6.1."""

    content_type: OID
    content_encryption_algorithm: AlgorithmIdentifier
    encrypted_content: Annotated[bytes | None, asn1.Implicit(0)]


@asn1.sequence
class EnvelopedData:
    """RFC 5652 section 6.1."""

    version: int
    originator_info: Annotated[list[TLV] | None, asn1.Implicit(0)]
    recipient_infos: SetOf[TLV]
    encrypted_content_info: EncryptedContentInfo
    unprotected_attrs: Annotated[list[TLV] | None, asn1.Implicit(1)]


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


@asn1.sequence
class RsaPublicKey:
    """RFC 8017 appendix A.1.1."""

    modulus: int
    public_exponent: int
