"""Signed attributes of SCEP messages, and their values (RFC 8894 section 3.2.1, RFC 5652 section 11).

One table says how each is written; what is read is wider, as devices are: any of the usual string types.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from scep_server.codec.asn1 import (
    OID,
    TLV,
    GeneralizedTime,
    SignedAttribute,
    UTCTime,
    decode,
    element,
    encode,
)
from scep_server.errors import Malformed

MAX_TEXT: Final = 256
"""Characters of a transactionID; real ones have 20 to 64."""
MAX_NONCE: Final = 64

_PRINTABLE, _UTF8, _OCTETS = 0x13, 0x0C, 0x04
_TEXTS: Final = (b"\x13", b"\x0c", b"\x16")
"""Tags of PrintableString, UTF8String and IA5String."""
_OCTET_STRING, _UTC_TIME = b"\x04", b"\x17"


class _Kind:
    """One row of the table: the identifier, and the tag we write (R33, R34)."""

    __slots__ = ("_prefix", "oid", "tag")

    def __init__(self, oid: str, tag: int) -> None:
        self.oid = OID(oid)
        self.tag = tag
        self._prefix = encode(self.oid)

    def __call__(self, value: bytes) -> bytes:
        """DER of the Attribute with this one value."""
        return element(0x30, self._prefix, element(0x31, element(self.tag, value)))


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

    __slots__ = ("_values",)

    def __init__(self, attributes: Iterable[SignedAttribute]) -> None:
        """Unknown attributes stay unread (T6)."""
        self._values: dict[OID, list[TLV]] = {}
        for attribute in attributes:
            # Twice the same attribute shows as an attribute with two values.
            self._values.setdefault(attribute.type, []).extend(attribute.values.as_list())

    def _value(self, kind: _Kind) -> TLV | None:
        """The one value."""
        values = self._values.get(kind.oid)
        if values is None:
            return None
        if len(values) != 1:
            raise Malformed(f"attribute {kind.oid.dotted_string} has not one value")
        return values[0]

    def text(self, kind: _Kind) -> str | None:
        """A string of 1 to MAX_TEXT characters without NUL, in any type that devices use for it (T6)."""
        value = self._value(kind)
        if value is None:
            return None
        if value.tag_bytes not in _TEXTS:
            raise Malformed(f"attribute {kind.oid.dotted_string} is no string")
        try:
            text = bytes(value.data).decode()
        except UnicodeDecodeError:
            raise Malformed(f"attribute {kind.oid.dotted_string} is not UTF-8") from None
        if not 1 <= len(text) <= MAX_TEXT or "\0" in text:
            raise Malformed(f"attribute {kind.oid.dotted_string} is empty, too long or has a NUL")
        return text

    def octets(self, kind: _Kind) -> bytes | None:
        """The content of an OCTET STRING."""
        value = self._value(kind)
        if value is not None and value.tag_bytes != _OCTET_STRING:
            raise Malformed(f"attribute {kind.oid.dotted_string} is no OCTET STRING")
        return None if value is None else bytes(value.data)

    def nonce(self, kind: _Kind) -> bytes | None:
        """A nonce of 1 to MAX_NONCE bytes (R40)."""
        nonce = self.octets(kind)
        if nonce is not None and not 1 <= len(nonce) <= MAX_NONCE:
            raise Malformed(f"nonce of {len(nonce)} bytes")
        return nonce

    def content_type(self) -> OID | None:
        """ContentType (RFC 5652 section 11.1)."""
        value = self._value(CONTENT_TYPE)
        return None if value is None else decode(OID, value)

    def signing_time(self) -> datetime | None:
        """SigningTime (RFC 5652 section 11.3), aware UTC."""
        value = self._value(SIGNING_TIME)
        if value is None:
            return None
        if value.tag_bytes == _UTC_TIME:
            return decode(UTCTime, value).as_datetime()
        return decode(GeneralizedTime, value).as_datetime()
