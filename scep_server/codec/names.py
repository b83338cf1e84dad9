"""Names: RFC 5280 Name and GeneralNames, read for policy, compared, and printed as RFC 4514.

Strings keep their ASN.1 type: policy decides which types and characters may enter a certificate. Every string type of
X.520 is read here, because clients send them all (T10); a value of any other type has no text and prints as `#hex`.
"""

from __future__ import annotations

import functools
import ipaddress
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from scep_server.codec import asn1
from scep_server.codec.walk import SEQUENCE, Place, fields, places, shape, whole
from scep_server.errors import Malformed

MAX_RDNS: Final = 50
"""Relative distinguished names in one Name (N9)."""
MAX_PART: Final = 256
"""Characters of one name part (N9); X.520 allows 64 for most of them."""
MAX_GENERAL_NAMES: Final = 100
"""Subject alternative names in one request (N9)."""

EMPTY_NAME: Final = b"\x30\x00"
COMMON_NAME: Final = "2.5.4.3"
UPN: Final = "1.3.6.1.4.1.311.20.2.3"
"""otherName of a Windows user principal name (szOID_NT_PRINCIPAL_NAME)."""

STRING_ENCODINGS: Final = {
    0x0C: "utf-8",  # UTF8String; strict, so overlong forms and surrogates are refused
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String: what every implementation means by it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

# Descriptors registered for LDAP (RFC 4514 section 2.3, RFC 4520); any other type prints as its dotted OID.
_DESCRIPTORS: Final = {
    COMMON_NAME: "CN",
    "2.5.4.4": "sn",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "givenName",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}

_TYPE_AND_VALUE: Final = shape(rb"\x06.")
_COLLECTIONS: Final = (0x30, 0x31)
"""SEQUENCE OF for SET OF is a device's mistake that cannot be misread."""

_MAPPED_TO_NOTHING: Final = frozenset("\u034f\u180b\u180c\u180d\ufffc" + "".join(map(chr, range(0xFE00, 0xFE10))))


class NamePart(NamedTuple):
    """AttributeTypeAndValue (RFC 5280 section 4.1.2.4)."""

    oid: str
    tag: int
    """ASN.1 tag of the value: 0x0C UTF8String, 0x13 PrintableString, ..."""
    text: str | None
    """None when the value is no string; its bytes are in `der`."""
    der: bytes
    """The value's whole TLV."""


@dataclass(frozen=True, slots=True)
class GeneralName:
    """One GeneralName (RFC 5280 section 4.2.1.6)."""

    kind: str
    """One of types.SAN_TYPES: dns, email, uri, ip, upn, dirname, rid, other."""
    value: str
    """For people and for rules; `other` carries the type-id or the tag."""
    der: bytes
    """The whole TLV, as received."""


def string_value(tag: int, content: bytes) -> str:
    """Text of one ASN.1 string. Malformed for other types, and for bytes that the type does not allow."""
    encoding = STRING_ENCODINGS.get(tag)
    if encoding is None:
        raise Malformed(f"tag 0x{tag:02x} is no character string")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Malformed(f"invalid {encoding} in a string of tag 0x{tag:02x}") from error


@functools.lru_cache(maxsize=128)
def rdns(name: bytes) -> tuple[tuple[NamePart, ...], ...]:
    """RDNSequence of a Name's DER: the parts of each relative distinguished name, in order.

    Malformed when it is no Name, has more than MAX_RDNS of them, or a part of more than MAX_PART characters.
    """
    around = whole(name, SEQUENCE, "Name")
    sequence = places(name, around[2], around[3])
    if len(sequence) > MAX_RDNS:
        raise Malformed(f"name of {len(sequence)} RDNs, {MAX_RDNS} are allowed")
    parsed = tuple([_rdn(name, place) for place in sequence])
    if sum(map(len, parsed)) > MAX_RDNS:
        raise Malformed(f"name of more than {MAX_RDNS} parts")
    if not all(parsed):
        raise Malformed("empty RDN in a name")
    return parsed


def parts(name: bytes) -> list[NamePart]:
    """All parts of a Name, flat and in order."""
    return [part for rdn in rdns(name) for part in rdn]


def rfc4514(name: bytes) -> str:
    """The Name as a string, most specific part first (RFC 4514 section 2). Malformed when it is no Name."""
    return ",".join("+".join(map(_print_part, rdn)) for rdn in reversed(rdns(name)))


def same_name(left: bytes, right: bytes) -> bool:
    """Whether two Names (DER) are the same to a reader: RFC 5280 section 7.1, prepared like RFC 4518.

    Case, string types, runs of spaces and characters that are not seen make no difference.
    """
    return left == right or prepared(left) == prepared(right)


@functools.lru_cache(maxsize=256)
def prepared(name: bytes) -> tuple[frozenset[tuple[str, str]], ...]:
    """The form under which same_name compares; hashable, so that many names can be looked up at once."""
    return tuple(
        frozenset((part.oid, part.der.hex() if part.text is None else prepare_text(part.text)) for part in rdn)
        for rdn in rdns(name)
    )


def prepare_text(text: str) -> str:
    """String preparation in the manner of RFC 4518 section 2: map, normalise, fold case, collapse spaces."""
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    seen = "".join(" " if character.isspace() else character for character in text if not _unseen(character))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join(folded.split())


def parse_general_names(der: bytes) -> tuple[GeneralName, ...]:
    """GeneralNames of a subjectAltName. Malformed when it is none, is empty, or has more than MAX_GENERAL_NAMES."""
    names = _sequence_of(der)
    if not 0 < len(names) <= MAX_GENERAL_NAMES:
        raise Malformed(f"{len(names)} subject alternative names, 1 to {MAX_GENERAL_NAMES} are allowed")
    return tuple(map(_general_name, names))


def build_general_names(names: Iterable[GeneralName]) -> bytes:
    """GeneralNames DER of these names, in their order."""
    return asn1.element(0x30, *(name.der for name in names))


def general_name(kind: str, value: str) -> GeneralName:
    """A GeneralName of kind dns, email, uri, ip or upn. ValueError for the other kinds, or for a wrong address."""
    if kind == "ip":
        address = ipaddress.ip_address(value)
        content, tag, value = address.packed, 0x87, str(address)
    elif kind in {"dns", "email", "uri"}:
        content, tag = value.encode("ascii"), {"email": 0x81, "dns": 0x82, "uri": 0x86}[kind]
    elif kind == "upn":
        other = asn1.OtherName(type_id=asn1.OID(UPN), value=asn1.tlv(asn1.element(0x0C, value.encode())))
        return GeneralName(kind, value, b"\xa0" + asn1.encode(other)[1:])
    else:
        raise ValueError(f"no plain text form for {kind}")
    return GeneralName(kind, value, asn1.element(tag, content))


def _sequence_of(der: bytes) -> list[asn1.TLV]:
    if not der.startswith(b"\x30"):
        raise Malformed("a name is a SEQUENCE")
    return asn1.members(asn1.tlv(der))


def _rdn(name: bytes, place: Place) -> tuple[NamePart, ...]:
    if place[0] not in _COLLECTIONS:
        raise Malformed(f"tag {place[0]:#04x} where an RDN was expected")
    return tuple([_part(name, part) for part in places(name, place[2], place[3])])


def _part(name: bytes, place: Place) -> NamePart:
    if place[0] != SEQUENCE:
        raise Malformed("an RDN of something else than types and values")
    oid, value = fields(name, place, _TYPE_AND_VALUE)
    tag, content = value[0], name[value[2] : value[3]]
    text = string_value(tag, content) if tag in STRING_ENCODINGS else None
    if len(content if text is None else text) > MAX_PART:
        raise Malformed(f"name part of more than {MAX_PART} characters")
    return NamePart(_dotted(name[oid[1] : oid[3]]), tag, text, name[value[1] : value[3]])


@functools.lru_cache(maxsize=64)
def _dotted(oid: bytes) -> str:
    """Names have the same few types all the time."""
    return asn1.decode(asn1.OID, oid).dotted_string


def _print_part(part: NamePart) -> str:
    descriptor = _DESCRIPTORS.get(part.oid)
    # RFC 4514 section 2.4: the value of a type printed as a dotted OID is printed as hex.
    value = f"#{part.der.hex()}" if descriptor is None or part.text is None else _escape(part.text)
    return f"{descriptor or part.oid}={value}"


def _escape(text: str) -> str:
    escaped = "".join(map(_escape_character, text))
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return f"\\{escaped}" if escaped.startswith(("#", " ")) else escaped


def _escape_character(character: str) -> str:
    if character in '"+,;<>\\':
        return f"\\{character}"
    # Control and format characters would disturb logs and terminals (N21); RFC 4514 lets any byte be a hex pair.
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return character


def _unseen(character: str) -> bool:
    """Characters that RFC 4518 section 2.2 maps to nothing: controls, formats, joiners and variation selectors."""
    if character.isspace():
        return False
    return unicodedata.category(character) in {"Cc", "Cf"} or character in _MAPPED_TO_NOTHING


def _general_name(name: asn1.TLV) -> GeneralName:
    tag, content, der = name.tag_bytes, bytes(name.data), asn1.der(name)
    match tag[0]:
        case 0x81 | 0x82 | 0x86:
            kind = {0x81: "email", 0x82: "dns", 0x86: "uri"}[tag[0]]
            return GeneralName(kind, string_value(0x16, content), der)
        case 0x87:
            if len(content) not in {4, 16}:
                raise Malformed("iPAddress is neither 4 nor 16 octets")
            return GeneralName("ip", str(ipaddress.ip_address(content)), der)
        case 0x88:
            return GeneralName("rid", asn1.decode(asn1.OID, asn1.element(0x06, content)).dotted_string, der)
        case 0xA4:
            return GeneralName("dirname", rfc4514(content), der)
        case 0xA0:
            other = asn1.decode(asn1.OtherName, asn1.element(0x30, content))
            oid, value = other.type_id.dotted_string, other.value
            if oid == UPN and value.tag_bytes[0] in STRING_ENCODINGS:
                return GeneralName("upn", string_value(value.tag_bytes[0], bytes(value.data)), der)
            return GeneralName("other", oid, der)
        case 0xA3 | 0xA5:
            return GeneralName("other", f"[{tag[0] & 0x1F}]", der)
    raise Malformed(f"tag 0x{tag.hex()} is no GeneralName")
