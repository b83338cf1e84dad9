"""TLS servers on loopback under an authority of our own, and a small proxy before them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scep_server.config import OutboundSettings
from scep_server.outbound import HttpsClient

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY",
                   "no_proxy")  # fmt: skip


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Workers run on the one, commands on the other."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Authority:
    """A certification authority that writes what TLS servers need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {folder.name}")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """A server's context for these DNS names, or for loopback; ended already where days is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names] or loopback), True)
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{certificate.serial_number}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """What stands for the operating system's authorities: reading the real ones takes a while."""
    return Authority(tmp_path_factory.mktemp("system"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, system: Authority) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(system.file))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("strange"))


@dataclass
class Asked:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """Raises IncompleteReadError when the client has gone."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:])}
    return Asked(head[0], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@dataclass
class Service:
    """A server that answers every request with the same bytes."""

    reply: bytes
    scheme: str = "https"
    port: int = 0
    ends: bool = False
    """End the connection after a reply, complete or not."""
    waits: asyncio.Event | None = None
    """Wait for this before replying."""
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    connections: int = 0
    open: int = 0
    most_open: int = 0

    def url(self, host: str = "localhost", path: str = "/api") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def has_been_asked(self, times: int) -> None:
        """Returns when so many requests have arrived."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.asked) >= times)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.asked.append(await read_request(reader))
                async with self.arrived:
                    self.arrived.notify_all()
                if self.waits is not None:
                    await self.waits.wait()
                writer.write(self.reply)
                await writer.drain()
                if self.ends:
                    break
        self.open -= 1
        writer.close()


@dataclass
class ConnectProxy:
    """An HTTP proxy that connects every name to one port of loopback."""

    target: int
    status: str = "200 Connection established"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await read_request(reader))
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Running:
    """Servers of one test."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._clients: list[HttpsClient] = []

    async def service(self, tls: ssl.SSLContext | None, reply: bytes = OK, **options: object) -> Service:
        """A Service; without tls it speaks plain HTTP."""
        made = Service(reply, "https" if tls else "http", **options)  # type: ignore[arg-type]
        made.port = await self.listen(made.serve, tls)
        return made

    async def proxy(self, target: Service, **options: str) -> ConnectProxy:
        made = ConnectProxy(target.port, **options)  # type: ignore[arg-type]
        made.port = await self.listen(made.serve, None)
        return made

    def client(self, **settings: object) -> HttpsClient:
        """Made by [outbound] settings."""
        made = HttpsClient(OutboundSettings(**settings))  # type: ignore[arg-type]
        self._clients.append(made)
        return made

    async def listen(
        self,
        handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        tls: ssl.SSLContext | None,
    ) -> int:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def end(self) -> None:
        for client in self._clients:
            await client.close()
        for server in self._servers:
            server.close()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    yield made
    await made.end()
