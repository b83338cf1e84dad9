"""Raw TLV: the guard before every parser, and the way from BER to DER (X.690).

Devices send BER: Apple and BouncyCastle indefinite lengths, Go clients constructed strings of definite length, streams
of OpenSSL both. `to_der` rewrites the CMS structure around things and never the things: certificates, CRLs and the
content stay byte for byte, because somebody signed those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from scep_server.codec.asn1 import element
from scep_server.errors import Malformed, TooLarge

MAX_SIZE: Final = 65536
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 2000
"""N9, N10: what a SCEP message is given; a real one has 3 kB, depth 12 and 150 elements."""

_SEQUENCE, _SET = 0x30, 0x31
_BIT_STRING = 0x23
_CONSTRUCTED = 0x20
_STRINGS: Final = frozenset({0x24, 0x2C, 0x32, 0x33, 0x34, 0x35, 0x36, 0x39, 0x3A, 0x3B, 0x3C, 0x3E})
"""Constructed forms of OCTET STRING and the character strings."""
_OCTET_STRINGS: Final = (b"\x04", b"\x24")
_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
_ENVELOPED_DATA: Final = bytes.fromhex("2a864886f70d010703")
_OUTER_TYPE_BEFORE: Final = 32
"""The outer content type, whose length may be written in ten octets, stands before this position."""


def guard(
    data: bytes, *, max_size: int = MAX_SIZE, max_depth: int = MAX_DEPTH, max_elements: int = MAX_ELEMENTS
) -> None:
    """Passes one well-formed BER element with nothing behind it, within the limits (N10).

    Raises TooLarge beyond max_size bytes, Malformed for anything else: every byte is accounted for, nothing is parsed.
    """
    if not _glance(data, max_size, max_depth, max_elements):
        _scan(data, max_size, max_depth, max_elements)


def to_der(data: bytes, *, max_size: int = MAX_SIZE) -> bytes:
    """DER of a CMS message in BER, guarded first; the very same object when it is DER already.

    The members of certificates [0] and crls [1] and the bytes of every OCTET STRING stay as they are. Raises Malformed
    and TooLarge as `guard` does.
    """
    strict, wrapped = _glance(data, max_size, MAX_DEPTH, MAX_ELEMENTS) or _scan(data, max_size, MAX_DEPTH, MAX_ELEMENTS)
    signed = data.find(_SIGNED_DATA, 0, _OUTER_TYPE_BEFORE) >= 0
    # In DER the eContent of a SignedData is the one OCTET STRING in a [0]; another is an implicit string in pieces.
    if strict and wrapped <= signed:
        return data
    enveloped = data.find(_ENVELOPED_DATA, 0, _OUTER_TYPE_BEFORE) >= 0
    shape = _ENVELOPED_INFO if enveloped else _SIGNED_INFO if signed else _ANY
    out, _ = _convert(data, 0, shape)
    return data if out == data else out


_LEAF, _PLAIN, _LOOK, _UNSURE = range(4)


def _treatment(tag: int) -> int:
    """What `_glance` does with an element of this tag: skip it, go in, look closer, or leave it to `_scan`."""
    if not tag or tag & 0x1F == 0x1F:
        return _UNSURE
    if not tag & _CONSTRUCTED:
        return _LEAF
    if tag in {_SET, 0xA0}:
        return _LOOK
    return _PLAIN if tag == _SEQUENCE or tag >= 0x40 else _UNSURE


_TREATMENTS: Final = bytes(map(_treatment, range(256)))


def _glance(  # noqa: C901  one loop without calls, as in `_scan`
    data: bytes, max_size: int, max_depth: int, max_elements: int
) -> tuple[bool, int] | None:
    """What `_scan` says of data that is DER throughout and within the limits; None when it must be asked.

    Most messages are DER, and half the tests of the thorough loop are for BER. Nothing passes here that does not pass
    there: an indefinite, overlong or too great length, or anything else out of the ordinary, is left to it.
    """
    size = end = len(data)
    if size > max_size or not data or not data[0] & _CONSTRUCTED:
        return None
    treatments = _TREATMENTS
    sets: list[tuple[int, int]] = []
    ends = [0] * max_depth  # one deeper is an IndexError
    position = count = wrapped = depth = 0
    try:
        while True:
            while position < end:
                tag, length = data[position], data[position + 1]
                position += 2
                count += 1
                if length >= 0x80:
                    if length == 0x81:
                        length, least = data[position], 0x80
                        position += 1
                    elif length == 0x82:
                        length, least = data[position] << 8 | data[position + 1], 0x100
                        position += 2
                    else:
                        return None
                    if length < least:
                        return None
                treatment = treatments[tag]
                if not treatment:
                    position += length
                    continue
                ends[depth] = end
                depth += 1
                end = position + length
                if treatment != _PLAIN:
                    if treatment == _UNSURE:
                        return None
                    if tag == _SET:
                        if length > 2 and position + 2 + data[position + 1] != end:
                            sets.append((position, end))
                    elif data[position : position + 1] in _OCTET_STRINGS:
                        wrapped += 1
            # Whatever was longer than what it is in, has pushed the position beyond an end by now.
            if position != end:
                return None
            depth -= 1
            end = ends[depth]
            if not depth:
                break
    except IndexError:
        return None
    if position != size or count > max_elements:
        return None
    return all(_is_sorted(data, start, after) for start, after in sets), wrapped


def _scan(  # noqa: C901, PLR0915  one loop without calls: it sees every byte of every message
    data: bytes, max_size: int, max_depth: int, max_elements: int
) -> tuple[bool, int]:
    """Whether every element has DER's form, as far as that shows without types; how many [0] hold an OCTET STRING."""
    size = len(data)
    if size > max_size:
        raise TooLarge(f"{size} bytes, more than {max_size}")
    strict = True
    sets: list[tuple[int, int]] = []
    around: list[tuple[int, bool]] = []
    end, indefinite = size, False
    position = count = wrapped = 0
    try:
        while True:
            if position >= end:
                if indefinite:
                    raise Malformed("an indefinite length never ends")
                if not around:
                    break
                end, indefinite = around.pop()
                continue
            tag, length = data[position], data[position + 1]
            position += 2
            if not tag:
                if not indefinite or length:
                    raise Malformed("end-of-contents out of place")
                if position > end:
                    raise Malformed("end-of-contents cut in two")
                end, indefinite = around.pop()
                continue
            count += 1
            if count > max_elements:
                raise Malformed(f"more than {max_elements} elements")
            if count > 1 and not around:
                raise Malformed("bytes behind the message")
            if tag & 0x1F == 0x1F:
                raise Malformed("a tag number above 30")
            if length == 0x80:
                if not tag & _CONSTRUCTED:
                    raise Malformed("a primitive element of indefinite length")
                strict = False
                around.append((end, indefinite))
                indefinite = True
                if len(around) > max_depth:
                    raise Malformed(f"nested deeper than {max_depth}")
                continue
            if length > 0x80:
                octets = length & 0x7F
                if octets > 8:
                    raise Malformed("a length of more than 8 octets")
                length = int.from_bytes(data[position : position + octets], "big")
                position += octets
                if length < 0x80 or not length >> (8 * octets - 8):
                    strict = False
            after = position + length
            if after > end:
                raise Malformed("an element longer than what it is in")
            if not tag & _CONSTRUCTED:
                position = after
                continue
            around.append((end, indefinite))
            if len(around) > max_depth:
                raise Malformed(f"nested deeper than {max_depth}")
            end, indefinite = after, False
            if tag == _SET:
                # One short member, as in most names, needs no look at its order.
                if length > 2 and position + 2 + data[position + 1] != after:
                    sets.append((position, after))
            elif tag == 0xA0:
                wrapped += data[position : position + 1] in _OCTET_STRINGS
            elif tag < 0x40 and tag != _SEQUENCE:
                strict = False
    except IndexError:
        raise Malformed("cut short") from None
    if not count:
        raise Malformed("empty")
    return strict and all(_is_sorted(data, start, after) for start, after in sets), wrapped


def _is_sorted(data: bytes, position: int, end: int) -> bool:
    """True when the members between two positions, all of definite length, stand in DER's order."""
    before = b""
    while position < end:
        after = _skip(data, position)
        member = data[position:after]
        if member < before:
            return False
        before, position = member, after
    return True


# --- the transcoder; everything below works on data that `_scan` has passed -------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the transcoder must know of a structure: where implicit strings are, and what it may not touch."""

    raw: bool = False
    """Copy as received."""
    string: bool = False
    """A context tag here is an implicit string: join its chunks."""
    by_tag: Mapping[int, _Shape] = field(default_factory=dict)
    by_place: Mapping[int, _Shape] = field(default_factory=dict)
    members: _Shape | None = None

    def child(self, place: int, tag: int) -> _Shape:
        return self.by_tag.get(tag) or self.by_place.get(place) or self.members or _ANY


_ANY: Final = _Shape()
_RAW: Final = _Shape(raw=True)
_STRING: Final = _Shape(string=True)
_BAG: Final = _Shape(members=_RAW)
_WITH_ID_SECOND: Final = _Shape(by_place={1: _STRING})
"""SignerInfo and KeyTransRecipientInfo: second is a name and serial, or [0] SubjectKeyIdentifier."""
_SIGNED_INFO: Final = _Shape(
    by_tag={
        0xA0: _Shape(
            by_tag={0x30: _Shape(by_tag={0xA0: _BAG, 0xA1: _BAG, 0x31: _Shape(by_tag={0x30: _WITH_ID_SECOND})})}
        )
    }
)
_ENVELOPED_INFO: Final = _Shape(
    by_tag={
        0xA0: _Shape(
            by_tag={
                0x30: _Shape(
                    by_tag={
                        0xA0: _RAW,
                        0xA1: _RAW,
                        0x30: _Shape(by_place={2: _STRING}),
                        0x31: _Shape(by_tag={0x30: _WITH_ID_SECOND}),
                    }
                )
            }
        )
    }
)


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, position of the content, its length (-1: indefinite)."""
    tag, length = data[position], data[position + 1]
    position += 2
    if length < 0x80:
        return tag, position, length
    if length == 0x80:
        return tag, position, -1
    content = position + (length & 0x7F)
    return tag, content, int.from_bytes(data[position:content], "big")


def _skip(data: bytes, position: int) -> int:
    """The position behind an element, its end-of-contents included."""
    depth = 0
    while True:
        if depth and not data[position]:
            depth -= 1
            position += 2
        else:
            _, position, length = _header(data, position)
            if length < 0:
                depth += 1
            else:
                position += length
        if not depth:
            return position


def _convert(data: bytes, position: int, shape: _Shape) -> tuple[bytes, int]:
    """DER of the element at position, and the position behind it. Depth is bounded by the guard."""
    tag, content, length = _header(data, position)
    if shape.raw:
        after = _skip(data, position)
        return data[position:after], after
    if not tag & _CONSTRUCTED:
        return element(tag, data[content : content + length]), content + length
    if tag in _STRINGS or (shape.string and tag & 0xC0):
        chunks, after = _chunks(data, content, length)
        return element(tag & ~_CONSTRUCTED, *chunks), after
    if tag == _BIT_STRING:
        raise Malformed("a BIT STRING in pieces")
    parts: list[bytes] = []
    end = content + length
    position = content
    while (position < end) if length >= 0 else data[position]:
        part, position = _convert(data, position, shape.child(len(parts), data[position]))
        parts.append(part)
    if tag == _SET:
        parts.sort()
    return element(tag, *parts), position if length >= 0 else position + 2


def _chunks(data: bytes, content: int, length: int) -> tuple[list[bytes], int]:
    """The pieces of a constructed string, however nested, and the position behind it."""
    chunks: list[bytes] = []
    position, end = content, content + length
    while (position < end) if length >= 0 else data[position]:
        tag, inner, size = _header(data, position)
        if tag | _CONSTRUCTED not in _STRINGS:
            raise Malformed("a string with something else inside")
        if tag & _CONSTRUCTED:
            pieces, position = _chunks(data, inner, size)
            chunks.extend(pieces)
        else:
            chunks.append(data[inner : inner + size])
            position = inner + size
    return chunks, position if length >= 0 else position + 2
