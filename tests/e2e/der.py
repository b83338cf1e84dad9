"""DER by hand: every byte of a crafted message is ours to get wrong.

The project's codec is not used here on purpose. A test that builds its messages with the code under test shares that
code's mistakes; this builder knows nothing but tags and lengths.
"""

from __future__ import annotations

from datetime import UTC, datetime

NULL = b"\x05\x00"


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element with a minimal length."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    """SET OF in DER order."""
    return tlv(0x31, *sorted(parts))


def context(number: int, *parts: bytes) -> bytes:
    """Constructed, context-specific."""
    return tlv(0xA0 | number, *parts)


def implicit(number: int, content: bytes) -> bytes:
    """Primitive, context-specific."""
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    length = max(1, (value + (value < 0)).bit_length() // 8 + 1)
    return tlv(0x02, value.to_bytes(length, "big", signed=True))


def boolean(value: bool) -> bytes:
    return tlv(0x01, b"\xff" if value else b"\x00")


def octets(value: bytes) -> bytes:
    return tlv(0x04, value)


def bits(value: bytes) -> bytes:
    return tlv(0x03, b"\x00", value)


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        chunk = bytes((arc & 0x7F,))
        while arc := arc >> 7:
            chunk = bytes((0x80 | arc & 0x7F,)) + chunk
        content += chunk
    return tlv(0x06, content)


def printable(text: str) -> bytes:
    return tlv(0x13, text.encode("latin-1"))


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode())


def ia5(text: str) -> bytes:
    return tlv(0x16, text.encode("latin-1"))


def utc_time(moment: datetime) -> bytes:
    return tlv(0x17, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())


def algorithm(dotted: str, parameters: bytes = NULL) -> bytes:
    """AlgorithmIdentifier; pass b"" for absent parameters."""
    return sequence(oid(dotted), parameters)


def attribute(dotted: str, *values: bytes) -> bytes:
    return sequence(oid(dotted), set_of(*values))


def indefinite(element: bytes) -> bytes:
    """The same constructed element in BER indefinite length."""
    return element[:1] + b"\x80" + content_of(element) + b"\x00\x00"


def content_of(element: bytes) -> bytes:
    """Content octets of one definite-length element."""
    first = element[1]
    return element[2:] if first < 0x80 else element[2 + (first & 0x7F) :]


def elements(data: bytes) -> list[bytes]:
    """The elements that follow each other in data, each with its header."""
    found, at = [], 0
    while at < len(data):
        first = data[at + 1]
        if first < 0x80:
            header, length = 2, first
        else:
            header = 2 + (first & 0x7F)
            length = int.from_bytes(data[at + 2 : at + header], "big")
        found.append(data[at : at + header + length])
        at += header + length
    return found
