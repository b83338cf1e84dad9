"""The SCEP query string and body as devices really send them (T2, T4, T5).

Everything works on the RAW query: a framework that decodes it first has already turned `+` into a space, which is the
least of what happens to base64 on its way. Accepted: unescaped `+` and `/`, `+` arriving as a space, line breaks,
missing padding, base64url, escapes of either case, escapes of escapes; parameters in any order, with others between.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from scep_server.errors import Malformed, TooLarge

MAX_QUERY: Final = 64 * 1024
"""Octets of a raw query; the request line is held shorter by the web room (N9)."""
MAX_ESCAPES: Final = 3
"""How often a message may be escaped: devices do it twice (T2)."""

OPERATIONS: Final = ("PKIOperation", "GetCACert", "GetCACaps", "GetNextCACert")
_BY_LOWER_CASE: Final = {operation.lower(): operation for operation in OPERATIONS}

# base64url to base64, a space back to the `+` it was; line breaks fall out.
_ALPHABET: Final = bytes.maketrans(b"-_ ", b"+/+")
_BREAKS: Final = b"\r\n\t"


def operation_from_query(raw_query: str | bytes) -> str:
    """The operation as RFC 8894 spells it, whatever the case it came in (R11); empty when there is none (R7).

    Malformed for an unknown one, and for two different ones.
    """
    found = {unquote_to_bytes(value).lower() for value in _values(raw_query, b"operation")}
    if not found - {b""}:
        return ""
    if len(found) > 1:
        raise Malformed("several operations in one query")
    operation = _BY_LOWER_CASE.get(found.pop().decode("ascii", "replace"))
    if operation is None:
        raise Malformed("unknown operation")
    return operation


def message_from_query(raw_query: str | bytes) -> bytes:
    """The pkiMessage of `message=` (RFC 8894 section 4.1), BER or DER. Malformed, TooLarge."""
    values = list(_values(raw_query, b"message"))
    if len(values) != 1:
        raise Malformed(f"{len(values)} message parameters in the query")
    text = values[0]
    for _ in range(MAX_ESCAPES):
        if b"%" not in text:
            break
        text = unquote_to_bytes(text)
    return _decode(text)


def body_to_der(body: bytes) -> bytes:
    """The pkiMessage of a POST body: as it is, or base64-decoded when it does not begin like a SEQUENCE (T5).

    Malformed when it is neither.
    """
    if body[:1] == b"\x30":
        return body
    return _decode(body.strip())


def _values(raw_query: str | bytes, name: bytes) -> Iterator[bytes]:
    """Raw values of a parameter; its name in any case."""
    if len(raw_query) > MAX_QUERY:
        raise TooLarge(f"query of more than {MAX_QUERY} octets")
    try:
        query = raw_query.encode("ascii") if isinstance(raw_query, str) else raw_query
    except UnicodeEncodeError as error:
        raise Malformed("query is not ASCII") from error
    for parameter in query.split(b"&"):
        key, _, value = parameter.partition(b"=")
        if unquote_to_bytes(key).lower() == name:
            yield value


def _decode(text: bytes) -> bytes:
    digits = text.translate(_ALPHABET, _BREAKS).rstrip(b"=")
    try:
        message = binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
    except binascii.Error as error:
        raise Malformed(f"message is not base64: {error}") from error
    if message[:1] != b"\x30":
        raise Malformed("message is no ASN.1 SEQUENCE")
    return message
