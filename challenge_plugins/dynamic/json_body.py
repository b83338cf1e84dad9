"""A JSON object from a stranger: bounded, no name twice, no number that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

MAX_BYTES: Final = 65536


def read_object(body: bytes) -> dict[str, Any]:
    """The object in a body. ValueError that says what is wrong and repeats nothing of it."""
    if len(body) > MAX_BYTES:
        raise ValueError(f"the body has more than {MAX_BYTES} bytes")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        return _object(value)
    except _Twice:
        raise ValueError("the body names a member twice") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except ValueError:
        raise ValueError("the body is not JSON in UTF-8") from None
    except TypeError:
        raise ValueError("the body is no JSON object") from None


class _Twice(ValueError):
    pass


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(type(value).__name__)
    return value


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _Twice
        members[name] = value
    return members


def _no_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
