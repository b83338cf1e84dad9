"""What a request's headers show: a Basic login (RFC 7617), a Bearer token (RFC 6750), or a header of one's own."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Final

from challenge_plugins.dynamic.credentials import Presented, Way

MAX_CHARACTERS: Final = 1024
"""Of a header that is looked at; ours need a tenth."""
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z]+) +(?P<rest>[A-Za-z0-9._~+/-]+=*)")


def presented(
    headers: Mapping[str, str], ways: Collection[Way], header_names: Collection[str] = ()
) -> Presented | None:
    """The credential a request shows in one of these ways. None for nothing, another scheme, or what is garbled.

    headers: names in lower case. header_names: those that Way.HEADER goes by, in any case.
    """
    if Way.HEADER in ways:
        for name in header_names:
            value = headers.get(name.lower(), "")
            if 0 < len(value) <= MAX_CHARACTERS:
                return Presented(Way.HEADER, name, value)
    authorization = headers.get("authorization", "")
    if len(authorization) > MAX_CHARACTERS:
        return None
    found = _SCHEME.fullmatch(authorization)
    if found is None:
        return None
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme == "basic" and Way.BASIC in ways:
        return _login(rest)
    if scheme == "bearer" and Way.BEARER in ways:
        return Presented(Way.BEARER, "", rest)
    return None


def _login(encoded: str) -> Presented | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    return Presented(Way.BASIC, name, password) if colon else None
