"""Names a challenge was minted for, held against the names a certificate would say (N16, VU#971035).

A shared URL and an unbound challenge let whoever holds the challenge choose a name. A bound one admits only what it
was minted for; the comparison is that of RFC 5280 section 7.1 with strings prepared as in RFC 4518.
"""

from __future__ import annotations

import json
import re
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from scep_server.codec.names import (
    EMPTY_NAME,
    GeneralName,
    general_name,
    parse_general_names,
    parts,
    prepare_text,
    prepared,
    same_name,
)
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import IssueOrder, NameBinding

_DESCRIPTORS: Final = {
    "EMAIL": NameOID.EMAIL_ADDRESS,
    "E": NameOID.EMAIL_ADDRESS,
    "EMAILADDRESS": NameOID.EMAIL_ADDRESS,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "GIVENNAME": NameOID.GIVEN_NAME,
    "GN": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
    "SURNAME": NameOID.SURNAME,
    "T": NameOID.TITLE,
    "TITLE": NameOID.TITLE,
    "STREET": NameOID.STREET_ADDRESS,
}
"""What MDM forms write beside the descriptors that RFC 4514 lists."""
_SEPARATOR: Final = re.compile(r"(?<!\\)([,+])(?=\s*[A-Za-z0-9.]+\s*=)")
"""A comma or plus before a type; any other one in a value has to be escaped."""
_WORD_BREAK: Final = re.compile(r"[^0-9a-z._@-]+")
SHORTEST_DEVICE_ID: Final = 4
"""A shorter identifier would be found by chance."""

Folded = tuple[frozenset[tuple[str, str]], ...]


def name_der(text: str) -> bytes:
    """DER of an RFC 4514 name, as people write it: any case of descriptors, spaces around separators. ValueError when
    it is none, or none that a request could have.
    """
    if not text.strip():
        return EMPTY_NAME
    pieces = _SEPARATOR.split(text.strip())
    written = "".join(piece if piece in {",", "+"} else _tightened(piece) for piece in pieces)
    try:
        der = x509.Name.from_rfc4514_string(written, _DESCRIPTORS).public_bytes()
    except (ValueError, KeyError):
        raise ValueError("no name in the form of RFC 4514, such as CN=device-1,O=Example") from None
    try:
        prepared(der)
    except Malformed as error:
        raise ValueError(str(error)) from None
    return der


def canonical_subject(text: str) -> str:
    """The one text for all spellings of a name that a binding takes for equal. ValueError when it is none."""
    return _canonical(prepared(name_der(text)))


def canonical_name(name: bytes) -> str:
    """The same for a Name in DER. Malformed when it is none."""
    return _canonical(prepared(name))


def bound_san(text: str) -> GeneralName:
    """`TYPE:VALUE` as in NameBinding.sans. ValueError when it is none."""
    kind, separator, value = text.partition(":")
    if not separator or not value:
        raise ValueError(f"{kind!r} has no value; write TYPE:VALUE, such as dns:host.example")
    return general_name(kind.strip().lower(), value.strip())


def check_binding(order: IssueOrder, binding: NameBinding) -> None:
    """Refusal(CHALLENGE_NAMES, security) when the certificate would say a name the challenge was not minted for."""
    if not binding:
        return
    san = parse_general_names(order.san) if order.san is not None else ()
    if binding.subject is not None or binding.sans is not None:
        try:
            allowed = {_compared(bound_san(one)) for one in binding.sans or ()}
            wanted = None if binding.subject is None else name_der(binding.subject)
        except ValueError as error:
            raise _other_names(f"the challenge's own names cannot be read: {error}") from None
        _check_subject(order.subject, wanted, allowed)
        for one in san:
            if _compared(one) not in allowed:
                raise _other_names(f"the challenge was not minted for {one.kind}:{one.value}")
    if binding.device_ids and not _names_device(order.subject, san, binding.device_ids):
        raise _other_names("neither subject nor alternative names contain the device the challenge was minted for")


def _check_subject(subject: bytes, wanted: bytes | None, allowed: set[tuple[str, str]]) -> None:
    if wanted is not None:
        if not (same_name(subject, wanted) or prepared(subject) == tuple(reversed(prepared(wanted)))):
            raise _other_names("the challenge was minted for another subject")
    elif subject != EMPTY_NAME:
        named = parts(subject)
        repeated = {value for _, value in allowed}
        if len(named) != 1 or named[0].oid != NameOID.COMMON_NAME.dotted_string:
            raise _other_names("the challenge was minted for alternative names only")
        if named[0].text is None or prepare_text(named[0].text) not in repeated:
            raise _other_names("the common name is none of the names the challenge was minted for")


def _names_device(subject: bytes, san: tuple[GeneralName, ...], device_ids: tuple[str, ...]) -> bool:
    texts = [part.text for part in parts(subject) if part.text is not None] + [one.value for one in san]
    words = {word for text in texts for word in _WORD_BREAK.split(prepare_text(text)) if word}
    wanted = {prepare_text(one) for one in device_ids if len(one) >= SHORTEST_DEVICE_ID}
    return bool(words & wanted)


def _compared(name: GeneralName) -> tuple[str, str]:
    return name.kind, prepare_text(name.value)


def _canonical(folded: Folded) -> str:
    texts = [[f"{oid}={value}" for oid, value in sorted(rdn)] for rdn in folded]
    return min(json.dumps(texts), json.dumps(texts[::-1]))


def _tightened(piece: str) -> str:
    """Without the spaces around type and value; a last one that is escaped is part of the value."""
    descriptor, _, value = piece.partition("=")
    tight = value.strip()
    slashes = len(tight) - len(tight.rstrip("\\"))
    return f"{descriptor.strip().upper()}={tight}" + " " * (slashes % 2)


def _other_names(detail: str) -> Refusal:
    return Refusal(Reason.CHALLENGE_NAMES, detail, security=True)
