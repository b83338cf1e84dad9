"""Signed attributes of SCEP messages, and their values (RFC 8894 section 3.2.1, RFC 5652 section 11).

One table says how each is written; what is read is wider, as devices are: any of the usual string types.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from scep_server.codec.asn1 import OID, element, encode
from scep_server.codec.walk import OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, Place, places, single, time
from scep_server.errors import Malformed

MAX_TEXT: Final = 256
"""Characters of a transactionID; real ones have 20 to 64."""
MAX_NONCE: Final = 64

_PRINTABLE, _UTF8, _OCTETS = 0x13, 0x0C, 0x04
_TEXTS: Final = (0x13, 0x0C, 0x16)
"""Tags of PrintableString, UTF8String and IA5String."""


class _Kind:
    """One row of the table: the identifier, and the tag we write (R33, R34)."""

    __slots__ = ("der", "oid", "tag")

    def __init__(self, oid: str, tag: int) -> None:
        self.oid = oid
        self.tag = tag
        self.der = encode(OID(oid))

    def __call__(self, value: bytes) -> bytes:
        """DER of the Attribute with this one value."""
        length = len(value)
        if length < 0x60:
            # The usual case at once: with lengths of one octet each, they are known from inside to outside.
            identifier = self.der
            return b"".join(
                (
                    bytes((0x30, length + 4 + len(identifier))),
                    identifier,
                    bytes((0x31, length + 2, self.tag, length)),
                    value,
                )
            )
        return element(0x30, self.der, element(0x31, element(self.tag, value)))


CONTENT_TYPE: Final = _Kind("1.2.840.113549.1.9.3", 0x06)
MESSAGE_DIGEST: Final = _Kind("1.2.840.113549.1.9.4", _OCTETS)
SIGNING_TIME: Final = _Kind("1.2.840.113549.1.9.5", 0x17)
MESSAGE_TYPE: Final = _Kind("2.16.840.1.113733.1.9.2", _PRINTABLE)
PKI_STATUS: Final = _Kind("2.16.840.1.113733.1.9.3", _PRINTABLE)
FAIL_INFO: Final = _Kind("2.16.840.1.113733.1.9.4", _PRINTABLE)
SENDER_NONCE: Final = _Kind("2.16.840.1.113733.1.9.5", _OCTETS)
RECIPIENT_NONCE: Final = _Kind("2.16.840.1.113733.1.9.6", _OCTETS)
TRANSACTION_ID: Final = _Kind("2.16.840.1.113733.1.9.7", _PRINTABLE)
FAIL_INFO_TEXT: Final = _Kind("1.3.6.1.5.5.7.24.1", _UTF8)

_DATA_CONTENT_TYPE: Final = CONTENT_TYPE(bytes.fromhex("2a864886f70d010701"))


def signed_attributes(attributes: Iterable[bytes], message_digest: bytes) -> bytes:
    """SET OF Attribute in DER, contentType id-data and messageDigest added: what is signed (RFC 5652 section 5.4)."""
    return element(0x31, *sorted((*attributes, _DATA_CONTENT_TYPE, MESSAGE_DIGEST(message_digest))))


class SignedAttributes:
    """The signed attributes of one SignerInfo, as received. Every reader gives None for an attribute that is absent.

    Readers raise Malformed for an attribute that is there twice, has not exactly one value, or one of another type:
    what could be read in two ways is not read (N6).
    """

    __slots__ = ("_data", "_members", "_sets", "_twice")

    def __init__(self, data: bytes, around: Place) -> None:
        """data: the message. around: the place of signedAttrs in it. Unknown attributes stay unread (T6)."""
        self._data = data
        self._members = places(data, around[2], around[3])
        self._sets: dict[bytes, Place] = {}
        self._twice: set[bytes] = set()
        for member in self._members:
            parts = places(data, member[2], member[3])
            if member[0] != SEQUENCE or len(parts) != 2 or parts[0][0] != OBJECT_IDENTIFIER or parts[1][0] != SET:
                raise Malformed("a signed attribute that is none")
            oid, values = parts
            identifier = data[oid[1] : oid[3]]
            if identifier in self._sets:
                self._twice.add(identifier)
            self._sets[identifier] = values

    def signed(self) -> bytes:
        """What the signature covers: the DER SET OF, whatever order and tag they came in (RFC 5652 section 5.4)."""
        data = self._data
        return element(0x31, *sorted([data[member[1] : member[3]] for member in self._members]))

    def _value(self, kind: _Kind) -> Place | None:
        """The one value."""
        around = self._sets.get(kind.der)
        if around is None:
            return None
        if kind.der in self._twice:
            raise Malformed(f"attribute {kind.oid} is there twice")
        return single(self._data, around)

    def text(self, kind: _Kind) -> str | None:
        """A string of 1 to MAX_TEXT characters without NUL, in any type that devices use for it (T6)."""
        value = self._value(kind)
        if value is None:
            return None
        if value[0] not in _TEXTS:
            raise Malformed(f"attribute {kind.oid} is no string")
        try:
            text = self._data[value[2] : value[3]].decode()
        except UnicodeDecodeError:
            raise Malformed(f"attribute {kind.oid} is not UTF-8") from None
        if not 1 <= len(text) <= MAX_TEXT or "\0" in text:
            raise Malformed(f"attribute {kind.oid} is empty, too long or has a NUL")
        return text

    def octets(self, kind: _Kind) -> bytes | None:
        """The content of an OCTET STRING."""
        value = self._value(kind)
        if value is None:
            return None
        if value[0] != OCTET_STRING:
            raise Malformed(f"attribute {kind.oid} is no OCTET STRING")
        return self._data[value[2] : value[3]]

    def nonce(self, kind: _Kind) -> bytes | None:
        """A nonce of 1 to MAX_NONCE bytes (R40)."""
        nonce = self.octets(kind)
        if nonce is not None and not 1 <= len(nonce) <= MAX_NONCE:
            raise Malformed(f"nonce of {len(nonce)} bytes")
        return nonce

    def content_type(self) -> bytes | None:
        """ContentType (RFC 5652 section 11.1): the whole OBJECT IDENTIFIER."""
        value = self._value(CONTENT_TYPE)
        return None if value is None else self._data[value[1] : value[3]]

    def signing_time(self) -> datetime | None:
        """SigningTime (RFC 5652 section 11.3), aware UTC."""
        value = self._value(SIGNING_TIME)
        return None if value is None else time(self._data, value)
