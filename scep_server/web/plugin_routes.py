"""What challenge plugins serve over HTTP: pages below an integration's SCEP path, webhooks, and the path of NDES."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import web

from scep_server.errors import Fault, PluginFault
from scep_server.types import HttpAnswer, HttpRequest, Route
from scep_server.web.body import read_body
from scep_server.web.errors import HEADERS
from scep_server.web.listen import OPERATION
from scep_server.web.scep import ScepEndpoint
from scep_server.web.sender import is_confidential, source_of

_CHALLENGE_PAGE: Final = "mscep_admin"
"""Where NDES shows challenges; what MDMs ask for below /certsrv when they think that this is one."""
_OURS: Final = frozenset({"content-length", "content-type", "transfer-encoding", "connection", "date"}) | {
    name.lower() for name in HEADERS
}
"""Headers that a plugin does not decide, or decides elsewhere."""


class RouteFinder(Protocol):
    """What the endpoint asks of whoever knows the plugins."""

    def route(self, template: str, integration: str) -> Route | None:
        """The handler of `/scep/{integration}/NAME` or `/webhooks/NAME/{integration}`, NAME in lower case; None when
        the integration's plugin does not serve it. LookupError itself (no subclass): unknown integration.
        """
        ...


class PluginRoutes:
    """`/scep/{integration}/NAME` where a plugin serves NAME; whatever else is below /scep is scep's (R9).

    Register `webhook` for the first segment `webhooks` and `conventional` for `certsrv`. Limits, places and trusted
    proxies are those of the SCEP endpoint.
    """

    def __init__(self, scep: ScepEndpoint, routes: RouteFinder) -> None:
        self._scep = scep
        self._routes = routes

    async def __call__(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request below /scep."""
        if len(below) > 1:
            integration = self._scep.integration(below)
            route = self._routes.route(f"/scep/{{integration}}/{_name(below[1])}", integration)
            if route is not None:
                return await self._answer(request, integration, route, below[2:])
        return await self._scep(request, below)

    async def webhook(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request at or below /webhooks/NAME/{integration}."""
        if len(below) < 2:
            raise LookupError("no webhook at this path")
        integration = unquote(below[1])
        route = self._routes.route(f"/webhooks/{_name(below[0])}/{{integration}}", integration)
        if route is None:
            raise LookupError("no webhook at this path")
        return await self._answer(request, integration, route, below[2:])

    async def conventional(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request below /certsrv: the default integration's challenge page, or SCEP."""
        if below and _name(below[0]) == _CHALLENGE_PAGE:
            integration = self._scep.default_integration()
            route = self._routes.route(f"/scep/{{integration}}/{_CHALLENGE_PAGE}", integration)
            if route is not None:
                return await self._answer(request, integration, route, below[1:])
        return await self._scep.conventional(request, below)

    async def _answer(
        self, request: web.BaseRequest, integration: str, route: Route, rest: Sequence[str]
    ) -> web.Response:
        request[OPERATION] = "plugin"
        scep = self._scep
        asked = HttpRequest(
            method=request.method,
            below="".join(f"/{segment}" for segment in rest),
            query=request.rel_url.raw_query_string,
            headers=_headers(request),
            body=await read_body(request, scep.limits),
            source=source_of(request, scep.addresses),
            confidential=is_confidential(request, scep.addresses),
        )
        with scep.in_flight:
            try:
                return _response(await route(asked))
            except Fault as fault:
                scep.metrics.faults.inc(fault.part)
                fault.integration = integration
                raise


def _name(segment: str) -> str:
    return unquote(segment).lower()


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """Names in lower case, repeated ones joined. What is no UTF-8 is replaced, so that every value can be encoded."""
    joined: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _response(answer: HttpAnswer) -> web.Response:
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OURS} | HEADERS
    if answer.body:
        headers["Content-Type"] = answer.content_type
    if not all(value.isprintable() for value in headers.values()):
        raise PluginFault("a plugin's answer has a header that cannot be sent")
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)
