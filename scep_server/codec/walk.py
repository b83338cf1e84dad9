"""DER read where it lies: the places of elements, for all that is compared or kept as bytes.

A message, a certificate and a CSR are mostly carried on as they came, and slicing them costs a tenth of decoding them
into objects and encoding those again. `asn1` decodes the rest. What is read here has passed `ber.guard`; bounds and
the shortest form of lengths and numbers are checked again all the same. Everything raises Malformed and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from scep_server.codec.asn1 import GeneralizedTime, decode
from scep_server.errors import Malformed

Place = tuple[int, int, int, int]
"""Tag, begin of the element, begin of its content, end of both. A plain tuple, because a message has a hundred."""

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_DIGITS: Final = {_UTC_TIME: 12, _GENERALIZED_TIME: 14}


Shape = Callable[[bytes], object]
"""Whether the tags of some fields are those of a structure."""


def shape(tags: bytes) -> Shape:
    """A structure as a regular expression over its fields' tags: an OPTIONAL one has a question mark."""
    return re.compile(tags, re.DOTALL).fullmatch


def places(data: bytes, position: int, end: int) -> list[Place]:
    """Where the elements are that fill data from position to end."""
    found: list[Place] = []
    try:
        while position < end:
            tag, length = data[position], data[position + 1]
            content = position + 2
            if length == 0x82:
                content += 2
                length = data[position + 2] << 8 | data[position + 3]
                if length < 0x100:
                    raise Malformed("a length that is not DER's")
            elif length >= 0x80:
                octets = length & 0x7F
                content += octets
                length = int.from_bytes(data[position + 2 : content], "big")
                if length < 0x80 or not length >> (8 * octets - 8):
                    raise Malformed("a length that is not DER's")
            after = content + length
            if after > end:
                raise Malformed("an element longer than what it is in")
            found.append((tag, position, content, after))
            position = after
    except IndexError:
        raise Malformed("cut short") from None
    return found


def fields(data: bytes, around: Place, structure: Shape) -> list[Place]:
    """Where the fields of a structure are, which are those of its `shape`."""
    found = places(data, around[2], around[3])
    if not structure(bytes([place[0] for place in found])):
        raise Malformed("other fields than the structure has")
    return found


def whole(data: bytes, tag: int, what: str) -> Place:
    """Where the one element of this tag is that data consists of."""
    size = len(data)
    if size >= 0x104 and data[0] == tag and data[1] == 0x82 and data[2] << 8 | data[3] == size - 4:
        return tag, 0, 4, size  # what most of them are, told at a glance
    found = places(data, 0, size)
    if len(found) != 1 or found[0][0] != tag:
        raise Malformed(f"not a {what}")
    return found[0]


def single(data: bytes, around: Place) -> Place:
    """Where the one element is that another consists of."""
    _, _, content, end = around
    if content + 2 <= end and data[content + 1] < 0x80 and content + 2 + data[content + 1] == end:
        return data[content], content, content + 2, end  # most of them are short
    found = places(data, content, end)
    if len(found) != 1:
        raise Malformed(f"{len(found)} elements instead of one")
    return found[0]


def explicit(data: bytes, around: Place, tag: int) -> Place:
    """Where the one element of this tag is that stands in an explicit tag."""
    found = single(data, around)
    if found[0] != tag:
        raise Malformed(f"not one element of tag {tag:#04x}")
    return found


def integer(data: bytes, place: Place) -> int:
    """Value of an INTEGER; the tag was judged."""
    content = data[place[2] : place[3]]
    # X.690 section 8.3.2: the first nine bits are neither all zero nor all one.
    if not content or (len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80):
        raise Malformed("an INTEGER that is not DER's")
    return int.from_bytes(content, "big", signed=True)


def time(data: bytes, place: Place) -> datetime:
    """Aware UTC time of a UTCTime or GeneralizedTime."""
    digits = data[place[2] : place[3] - 1]
    if len(digits) == _DIGITS.get(place[0]) and digits.isdigit() and data[place[3] - 1] == 0x5A:  # Z
        if place[0] == _UTC_TIME:
            # RFC 5280 section 4.1.2.5.1: two digits are of the years 1950 to 2049.
            digits = (b"19" if digits >= b"5" else b"20") + digits
        try:
            return datetime.fromisoformat(f"{digits[:8].decode()}T{digits[8:].decode()}Z")
        except ValueError:
            raise Malformed("no day of a calendar") from None
    if place[0] == _GENERALIZED_TIME:
        return decode(GeneralizedTime, data[place[1] : place[3]]).as_datetime()  # fractions of a second
    raise Malformed("no UTCTime or GeneralizedTime")
