"""The public site: the first segment of a path chooses the endpoint. No router, so that nothing is decoded twice."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

from aiohttp import web

_ANY_CASE: Final = frozenset({"certsrv"})
"""First segments that the servers they are known from find in any letter case (IIS)."""


class Endpoint(Protocol):
    """Serves every path below one first segment."""

    def __call__(self, request: web.BaseRequest, below: Sequence[str]) -> Awaitable[web.StreamResponse]:
        """Answer; below is the path after the first segment, split at slashes, still escaped. LookupError: 404."""
        ...


class PublicSite:
    """Dispatch by first segment: PublicSite({"scep": ..., "ca": ..., "crl": ...}) is a handler for a Listener."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        segments = request.rel_url.raw_path.split("/")
        first = segments[1] if len(segments) > 1 else ""
        endpoint = self._endpoints.get(first.lower() if first.lower() in _ANY_CASE else first)
        if endpoint is None:
            raise LookupError("no endpoint at this path")
        return await endpoint(request, segments[2:])
