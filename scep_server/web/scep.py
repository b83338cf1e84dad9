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
from scep_server.web.errors import HEADERS, HttpRefusal
from scep_server.web.in_flight import InFlight
from scep_server.web.limits import Limits
from scep_server.web.listen import OPERATION
from scep_server.web.sender import source_of

METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_SERVED: Final = frozenset({"GetCACaps", "GetCACert", "PKIOperation"})


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
        self.limits = limits
        self.metrics = metrics
        self.addresses = addresses or ClientAddress()
        self.in_flight = InFlight(limits, metrics)
        self._default = default_integration

    async def __call__(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request below /scep."""
        return await self._answer(request, self.integration(below))

    async def conventional(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """Answer one request at /cgi-bin/pkiclient.exe or below /certsrv/mscep/mscep.dll."""
        path = tuple(segment.lower() for segment in below)
        if path[:1] != ("pkiclient.exe",) and path[:2] != ("mscep", "mscep.dll"):
            raise LookupError("no conventional SCEP path")
        return await self._answer(request, self.default_integration())

    def integration(self, below: Sequence[str]) -> str:
        """Which integration a path below /scep is for. LookupError when it names none and there is no default."""
        name = below[0] if below else ""
        if not name or (name == "pkiclient.exe" and self._default is not None):
            return self.default_integration()
        return unquote(name) if "%" in name else name

    def default_integration(self) -> str:
        """The integration of the bare conventional paths. LookupError without one."""
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
            message = body_to_der(await read_body(request, self.limits))
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
        with self.in_flight:
            began = time.perf_counter()
            try:
                return await self._enrollment.pki_operation(integration, message, source_of(request, self.addresses))
            finally:
                self.metrics.pki_operation_seconds.observe(time.perf_counter() - began)


def _response(body: bytes, content_type: str) -> web.Response:
    """Exact content types: Apple compares the whole header, so a charset would be one server it refuses."""
    return web.Response(body=body, headers={**HEADERS, "Content-Type": content_type})
