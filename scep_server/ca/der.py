"""The little DER that certificates and CRLs are assembled from.

Signing happens once a request and once a revocation, so the parts that change are concatenated here instead of being
built as objects; everything constant is encoded beforehand by the cryptography package.
"""

from __future__ import annotations

from datetime import UTC, datetime

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30

TRUE = b"\x01\x01\xff"
_LAST_UTC_YEAR = 2049


def tlv(tag: int, *contents: bytes) -> bytes:
    """One DER element; contents are concatenated."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    if 0x100 <= size < 0x10000:
        return bytes((tag, 0x82, size >> 8, size & 0xFF)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    """INTEGER of a non-negative value, in the fewest octets."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def time(value: datetime) -> bytes:
    """Time (RFC 5280 section 4.1.2.5): UTCTime through 2049, GeneralizedTime after; fractions of a second are cut."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    if utc.year <= _LAST_UTC_YEAR:
        return tlv(UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").encode())


def extension(oid: bytes, value: bytes, *, critical: bool = False) -> bytes:
    """Extension; oid is the whole OBJECT IDENTIFIER element, value the content of extnValue."""
    return tlv(SEQUENCE, oid, TRUE if critical else b"", tlv(OCTET_STRING, value))


def element(data: bytes, offset: int) -> tuple[int, int, int]:
    """Tag, start of content and end of the element at offset. ValueError when data ends before it or length is odd."""
    try:
        tag, first = data[offset], data[offset + 1]
    except IndexError:
        raise ValueError("the DER ends inside an element") from None
    start, size = offset + 2, first
    if first >= 0x80:
        octets = first & 0x7F
        if not 1 <= octets <= 4:
            raise ValueError("the DER has an element of unsupported length")
        size = int.from_bytes(data[start : start + octets], "big")
        start += octets
    if start + size > len(data):
        raise ValueError("the DER ends inside an element")
    return tag, start, start + size
