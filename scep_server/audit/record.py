r"""One audit event as one bounded, escaped line of JSON: the same text is chained, stored and logged (N21).

The text is ASCII: CR, LF, ESC, NUL, U+2028 and broken UTF-8 leave as \u escapes, so a line stays a line in every
reader and a text column of PostgreSQL never sees a NUL. "${", which log readers in Java expand, is escaped too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from scep_server.types import Event

LINE_LIMIT: Final = 2048
"""Bytes of one line. Longer events lose the tails of their strings, then their detail, never their kind."""

STRING_LIMITS: Final = (256, 64, 16)
ITEM_LIMIT: Final = 32
DEPTH_LIMIT: Final = 4

_encode = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


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
    head = f'{{"writer":"{writer}","seq":{seq},'
    for limit in STRING_LIMITS:
        text = head + _encode(_fields(event, entry_id, limit))[1:]
        if len(text) <= LINE_LIMIT:
            break
    else:
        text = head + _encode(_fields(event, entry_id, limit, detail=False))[1:]
    # "${" can only stand inside a string; there the escape means the same character.
    text = text.replace("${", "\\u0024{") if "${" in text else text
    return text.replace("\x7f", "\\u007f") if "\x7f" in text else text


def _fields(event: Event, entry_id: int | None, limit: int, *, detail: bool = True) -> dict[str, Any]:
    """The members of one line; empty ones are left out."""
    fields: dict[str, Any] = {"at": event.at.isoformat(), "kind": _cut(event.kind, limit)}
    if event.integration:
        fields["integration"] = _cut(event.integration, limit)
    if event.source:
        fields["source"] = _cut(event.source, limit)
    if entry_id is not None:
        fields["entry"] = entry_id
    if event.security:
        fields["security"] = True
    if event.detail:
        fields["detail"] = _bounded(event.detail, limit, DEPTH_LIMIT) if detail else {"cut": True}
    return fields


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}[+{len(text) - limit}]"


def _bounded(value: object, limit: int, depth: int) -> Any:
    """The value with strings, lists and depth cut to their limits; anything that is not JSON by its text."""
    if isinstance(value, str):
        return _cut(value, limit)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # A serial is below 2^160; a hostile integer of a megabit would take seconds to print.
        return value if value.bit_length() <= 256 else "[integer too long]"
    if isinstance(value, bytes):
        return _cut(value[: limit + 1].hex(), limit)
    if depth == 0:
        return "[too deep]"
    if isinstance(value, Mapping):
        pairs = list(value.items())
        kept = {_cut(str(name), limit): _bounded(item, limit, depth - 1) for name, item in pairs[:ITEM_LIMIT]}
        return kept if len(pairs) <= ITEM_LIMIT else {**kept, "[cut]": len(pairs) - ITEM_LIMIT}
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        kept_items = [_bounded(item, limit, depth - 1) for item in items[:ITEM_LIMIT]]
        return kept_items if len(items) <= ITEM_LIMIT else [*kept_items, f"[+{len(items) - ITEM_LIMIT}]"]
    return _cut(str(value), limit)
