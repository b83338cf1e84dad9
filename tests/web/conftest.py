"""A public listener on loopback around an enrolment that lives in memory, and raw sockets to try it with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scep_server.config import Address
from scep_server.metrics import Metrics
from scep_server.types import HttpAnswer, HttpRequest, Route, Source
from scep_server.web import (
    AuthorityEndpoint,
    ClientAddress,
    Limits,
    Listener,
    PluginRoutes,
    PublicSite,
    ScepEndpoint,
    ServerCertificate,
    bind,
)

MESSAGE = b"\x30\x03\x02\x01\x2a"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class MemoryEnrollment:
    """Answers what it is told to, over the protocol the endpoint declares; records what reached it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, Source]] = []
        self.error: Exception | None = None
        self.release: asyncio.Event | None = None
        self.entered = asyncio.Event()

    def _known(self, integration: str) -> None:
        if integration != "jamf":
            raise LookupError(integration)

    async def pki_operation(self, integration: str, message: bytes, source: Source) -> bytes:
        self._known(integration)
        self.messages.append((integration, message, source))
        self.entered.set()
        if self.release is not None:
            await self.release.wait()
        if self.error is not None:
            raise self.error
        return b"\x30reply to " + message

    def ca_caps(self, integration: str) -> bytes:
        self._known(integration)
        return b"AES\nPOSTPKIOperation\n"

    def ca_certs(self, integration: str) -> tuple[bytes, str]:
        self._known(integration)
        return b"\x30chain", "application/x-x509-ca-ra-cert"


class MemoryRoutes:
    """Routes of a plugin of the integration `jamf`, by template; without any it is a plugin that serves nothing."""

    def __init__(self) -> None:
        self.served: dict[str, Route] = {}
        self.requests: list[HttpRequest] = []
        self.answer = HttpAnswer(200, b"hello", "text/html; charset=utf-8")

    def route(self, template: str, integration: str) -> Route | None:
        if integration != "jamf":
            raise LookupError(integration)
        return self.served.get(template)

    def serve(self, *templates: str) -> None:
        """Answer at these with `answer`."""
        self.served.update(dict.fromkeys(templates, self._record))

    async def _record(self, request: HttpRequest) -> HttpAnswer:
        self.requests.append(request)
        return self.answer


@dataclass
class MemoryCrls:
    """CRLs by issuer and shard."""

    documents: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def current(self, issuer_id: str, shard: int) -> bytes | None:
        return self.documents.get((issuer_id, shard))


@dataclass
class Reply:
    """One HTTP response, parsed without any leniency."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


async def read_reply(reader: asyncio.StreamReader, *, head: bool = False) -> Reply:
    """The next response on a connection; interim ones are left to the caller."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("ascii").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    status = int(first.split(" ")[1])
    length = 0 if head or status in {304, 100} else int(headers["content-length"])
    body = await reader.readexactly(length)
    return Reply(status, headers, body, raw + body)


class Public:
    """The running listener and what is behind it."""

    def __init__(self, enrollment: MemoryEnrollment, crls: MemoryCrls, certificate: bytes) -> None:
        self.enrollment = enrollment
        self.routes = MemoryRoutes()
        self.crls = crls
        self.certificate = certificate
        self.metrics = Metrics()
        self.listener: Listener
        self.port = 0

    async def start(
        self, limits: Limits, trusted: tuple[str, ...], default: str | None, tls: ServerCertificate | None
    ) -> None:
        scep = ScepEndpoint(
            self.enrollment,
            limits=limits,
            metrics=self.metrics,
            addresses=ClientAddress(trusted),
            default_integration=default,
        )
        authority = AuthorityEndpoint({"abcd": self.certificate}, self.crls, lambda: NOON)
        routes = PluginRoutes(scep, self.routes)
        site = PublicSite(
            {
                "scep": routes,
                "cgi-bin": scep.conventional,
                "certsrv": routes.conventional,
                "webhooks": routes.webhook,
                "ca": authority.certificate,
                "crl": authority.crl,
            }
        )
        sockets = bind(Address("127.0.0.1", 0))
        self.port = sockets[0].getsockname()[1]
        self.listener = Listener(site, sockets, limits, metrics=self.metrics, tls=tls.context if tls else None)
        await self.listener.start()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes, *, head: bool = False) -> Reply:
        """One exchange on a connection of its own."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                return await read_reply(reader, head=head)
        finally:
            writer.close()

    async def get(self, target: str, *headers: str, method: str = "GET") -> Reply:
        lines = [f"{method} {target} HTTP/1.1", "Host: ca", "Connection: close", *headers, "", ""]
        return await self.send("\r\n".join(lines).encode(), head=method == "HEAD")

    async def post(self, body: bytes, *headers: str, target: str = "/scep/jamf?operation=PKIOperation") -> Reply:
        lines = [f"POST {target} HTTP/1.1", "Host: ca", f"Content-Length: {len(body)}", *headers, "", ""]
        return await self.send("\r\n".join(lines).encode() + body)


Serve = Callable[..., Awaitable[Public]]


def _authority() -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Issuing")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON - timedelta(days=1))
        .not_valid_after(NOON + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER), key


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that workers run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """A CA certificate and its key."""
    return _authority()


@pytest.fixture
async def serve(authority: tuple[bytes, ec.EllipticCurvePrivateKey]) -> AsyncIterator[Serve]:
    """Start a public listener; keyword arguments are fields of Limits, `trusted`, `default` and `tls`."""
    running: list[Public] = []

    async def start(
        *,
        trusted: tuple[str, ...] = (),
        default: str | None = None,
        tls: ServerCertificate | None = None,
        **limits: float,
    ) -> Public:
        public = Public(MemoryEnrollment(), MemoryCrls(), authority[0])
        await public.start(replace(Limits(), **limits), trusted, default, tls)
        running.append(public)
        return public

    yield start
    for public in running:
        await public.listener.stop(0)


@pytest.fixture
async def public(serve: Serve) -> Public:
    """One with default limits."""
    return await serve()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything logged so far, at any level, tracebacks included."""
    caplog.set_level(logging.DEBUG)
    return lambda: caplog.text
