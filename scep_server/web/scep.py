"""SCEP over HTTP (RFC 8894 section 4): which operation, which message, which integration, which content type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import web

from scep_server.codec.http_get import body_to_der, message_from_query, operation_from_query
from scep_server.errors import Malformed
from scep_server.metrics import Metrics
from scep_server.types import Source
from scep_server.web.body import read_body
from scep_server.web.client_address import ClientAddress
from scep_server.web.errors import HEADERS, Busy, HttpRefusal
from scep_server.web.limits import Limits
from scep_server.web.listen import OPERATION

METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_SERVED: Final = frozenset({"GetCACaps", "GetCACert", "PKIOperation"})
_USER_AGENT: Final = 200
"""Characters of a User-Agent that are kept."""


class Enrollment(Protocol):
    """What the endpoint asks of the road behind it."""

    async def pki_operation(self, integration: str, message: bytes, source: Source) -> bytes:
        """A pkiMessage to its CertRep, DER. LookupError itself (no subclass): unknown integration. Malformed: no
        CertRep can be addressed. TooManyAttempts, Fault: as their names say.
        """
        ...

    def ca_caps(self, integration: str) -> bytes:
        """GetCACaps body, from memory. LookupError: unknown integration."""
        ...

    def ca_certs(self, integration: str) -> tuple[bytes, str]:
        """GetCACert body and content type, from memory. LookupError: unknown integration."""
        ...


class ScepEndpoint:
    """`/scep/{integration}` and anything below it (R9).

    default_integration: also answer the bare conventional paths (`/scep`, `/cgi-bin/pkiclient.exe`,
    `/certsrv/mscep/mscep.dll`) for this one; register `conventional` for their first segments.
    """

    def __init__(
        self,
        enrollment: Enrollment,
        *,
        limits: Limits,
        metrics: Metrics,
        addresses: ClientAddress | None = None,
        default_integration: str | None = None,
    ) -> None:
        self._enrollment = enrollment
        self._limits = limits
        self._metrics = metrics
        self._addresses = addresses or ClientAddress()
        self._default = default_integration
        self._in_flight = 0

    async def __call__(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request below /scep."""
        name = below[0] if below else ""
        if not name or (name == "pkiclient.exe" and self._default is not None):
            return await self._answer(request, self._default_or_refuse())
        return await self._answer(request, unquote(name) if "%" in name else name)

    async def conventional(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request at /cgi-bin/pkiclient.exe or below /certsrv/mscep/mscep.dll."""
        path = tuple(segment.lower() for segment in below)
        if path[:1] != ("pkiclient.exe",) and path[:2] != ("mscep", "mscep.dll"):
            raise LookupError("no conventional SCEP path")
        return await self._answer(request, self._default_or_refuse())

    def _default_or_refuse(self) -> str:
        if self._default is None:
            raise LookupError("no default integration is configured")
        return self._default

    async def _answer(self, request: web.BaseRequest, integration: str) -> web.Response:
        if request.method not in METHODS:
            raise HttpRefusal(405, "method not served", {"Allow": "GET, HEAD, POST"})
        operation = self._operation(request)
        request[OPERATION] = operation
        if operation == "GetCACaps":
            return _response(self._enrollment.ca_caps(integration), "text/plain")
        if operation == "GetCACert":
            return _response(*self._enrollment.ca_certs(integration))
        if request.method == "POST":
            message = body_to_der(await read_body(request, self._limits))
        else:
            message = message_from_query(request.rel_url.raw_query_string)
        return _response(await self._pki_operation(request, integration, message), "application/x-pki-message")

    def _operation(self, request: web.BaseRequest) -> str:
        """Which operation is asked for (R7, R11). Malformed when we serve none of that name by this method,
        LookupError for a rollover that is not under way (R26).
        """
        query = request.rel_url.raw_query_string
        operation = operation_from_query(query) if query else ""
        if request.method == "POST":
            if operation in {"", "PKIOperation"}:
                return "PKIOperation"
            raise Malformed("an operation that POST does not carry")
        if operation == "GetNextCACert":
            raise LookupError("no next CA certificate is configured")
        if operation not in _SERVED:
            raise Malformed("no operation that is served here")
        return operation

    async def _pki_operation(self, request: web.BaseRequest, integration: str, message: bytes) -> bytes:
        if self._in_flight >= self._limits.in_flight:
            self._metrics.faults.inc("busy")
            raise Busy(f"{self._in_flight} requests are in flight", retry_after=self._limits.retry_after)
        headers = request.headers
        source = Source(
            self._addresses.resolve(request.remote or "", headers.getall("X-Forwarded-For", ())),
            headers.get("User-Agent", "")[:_USER_AGENT],
        )
        self._in_flight += 1
        self._metrics.in_flight.add(1)
        began = time.perf_counter()
        try:
            return await self._enrollment.pki_operation(integration, message, source)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.add(-1)
            self._metrics.pki_operation_seconds.observe(time.perf_counter() - began)


def _response(body: bytes, content_type: str) -> web.Response:
    """Exact content types: Apple compares the whole header, so a charset would be one server it refuses."""
    return web.Response(body=body, headers={**HEADERS, "Content-Type": content_type})
