"""Where a request came from, and whether it could be read on the way."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from scep_server.types import Source
from scep_server.web.client_address import ClientAddress

_USER_AGENT: Final = 200
"""Characters of a User-Agent that are kept."""
_PASSED_ON: Final = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")
"""Each is a sign that the peer is a front end and not the client itself."""


def source_of(request: web.BaseRequest, addresses: ClientAddress) -> Source:
    """The client behind the proxies that addresses trusts, and what it calls itself."""
    headers = request.headers
    return Source(
        addresses.resolve(request.remote or "", headers.getall("X-Forwarded-For", ())),
        headers.get("User-Agent", "")[:_USER_AGENT],
    )


def is_confidential(request: web.BaseRequest, addresses: ClientAddress) -> bool:
    """True when nobody on the way could read the request (ClientAddress.is_confidential)."""
    transport = request.transport
    headers = request.headers
    return addresses.is_confidential(
        request.remote or "",
        encrypted=transport is not None and transport.get_extra_info("ssl_object") is not None,
        forwarded=any(name in headers for name in _PASSED_ON),
        protocols=headers.getall("X-Forwarded-Proto", ()),
    )
