r"""One audit event as one bounded, escaped line of JSON: the same text is chained, stored and logged (N21).

The text is ASCII: CR, LF, ESC, NUL, U+2028 and broken UTF-8 leave as \u escapes, so a line stays a line in every
reader and a text column of PostgreSQL never sees a NUL. "${", which log readers in Java expand, is escaped too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from json.encoder import encode_basestring_ascii as _quote
from typing import Final, NamedTuple

from scep_server.types import Event

LINE_LIMIT: Final = 2048
"""Bytes of one line. Longer events lose the tails of their strings, then their detail, never their kind."""

STRING_LIMITS: Final = (256, 64, 16)
ITEM_LIMIT: Final = 32
DEPTH_LIMIT: Final = 4


class AuditRow(NamedTuple):
    """One row of the event table."""

    writer: str
    seq: int
    body: str
    mac: bytes


def body_of(event: Event, writer: str, seq: int, entry_id: int | None) -> str:
    """The event's JSON line without its line end; at most LINE_LIMIT bytes.

    writer and seq stand inside, so that a row moved to another place contradicts itself.
    """
    head = f'{{"writer":"{writer}","seq":{seq},"at":"{event.at.isoformat()}",'
    for limit in STRING_LIMITS:
        text = head + _members(event, entry_id, limit) + "}"
        if len(text) <= LINE_LIMIT:
            break
    else:
        text = head + _members(event, entry_id, limit, detail=False) + "}"
    # "${" can only stand inside a string; there the escape means the same character.
    text = text.replace("${", "\\u0024{") if "${" in text else text
    return text.replace("\x7f", "\\u007f") if "\x7f" in text else text


def _members(event: Event, entry_id: int | None, limit: int, *, detail: bool = True) -> str:
    """The other members in a fixed order; empty ones are left out."""
    text = f'"kind":{_string(event.kind, limit)}'
    if event.integration:
        text += f',"integration":{_string(event.integration, limit)}'
    if event.source:
        text += f',"source":{_string(event.source, limit)}'
    if entry_id is not None:
        text += f',"entry":{entry_id}'
    if event.security:
        text += ',"security":true'
    if event.detail:
        text += ',"detail":' + (_mapping(event.detail, limit, DEPTH_LIMIT) if detail else '{"cut":true}')
    return text


def _string(text: str, limit: int) -> str:
    return _quote(text if len(text) <= limit else f"{text[:limit]}[+{len(text) - limit}]")


def _mapping(value: Mapping[str, object], limit: int, depth: int) -> str:
    members = []
    for name, item in islice(value.items(), ITEM_LIMIT):
        # Nearly every item is a short string, which needs no look at the other kinds.
        text = _quote(item) if isinstance(item, str) and len(item) <= limit else _bounded(item, limit, depth - 1)
        members.append(f"{_string(str(name), limit)}:{text}")
    if len(value) > ITEM_LIMIT:
        members.append(f'"[cut]":{len(value) - ITEM_LIMIT}')
    return "{" + ",".join(members) + "}"


def _bounded(value: object, limit: int, depth: int) -> str:
    """The value as JSON, strings, collections and depth cut to their limits; what is not JSON goes by its text.

    Written out here because cutting and encoding in one pass costs a third of doing it one after the other.
    """
    if isinstance(value, str):
        return _string(value, limit)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        # A serial is below 2^160; a hostile integer of a megabit would take seconds to print.
        return str(value) if value.bit_length() <= 256 else '"[integer too long]"'
    if isinstance(value, bytes):
        return _string(value[: limit + 1].hex(), limit)
    if depth == 0:
        return '"[too deep]"'
    if isinstance(value, Mapping):
        return _mapping(value, limit, depth)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_bounded(item, limit, depth - 1) for item in islice(value, ITEM_LIMIT)]
        if len(value) > ITEM_LIMIT:
            items.append(f'"[+{len(value) - ITEM_LIMIT}]"')
        return "[" + ",".join(items) + "]"
    return _string(str(value), limit)
