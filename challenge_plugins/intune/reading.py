"""Reads what Microsoft's services answer: JSON objects, whatever the case of their keys, and Retry-After."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from scep_server.types import HttpAnswer

MAX_WAIT: Final = 3600
"""Longest Retry-After we pass on, in seconds."""


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """The object with all its keys in lower case, since the services are not of one mind about case. None for
    anything else; also where a key comes twice, for then nobody can say which one was meant.
    """
    try:
        read = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_lower)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def text_of(value: Any, limit: int) -> str:
    """Remote text for people, on one line and bounded; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:limit])


def retry_after(answer: HttpAnswer, clock: Callable[[], datetime]) -> int | None:
    """Seconds that Retry-After asks for, as a number or as a date (RFC 9110 section 10.2.3), from 1 to MAX_WAIT."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        seconds = int(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        seconds = int((when - clock()).total_seconds())
    return max(1, min(MAX_WAIT, seconds))


def _lower(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = {name.lower(): value for name, value in pairs}
    if len(read) != len(pairs):
        raise ValueError("a key twice")
    return read
