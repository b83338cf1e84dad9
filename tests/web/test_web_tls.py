"""TLS with our own certificate: 1.2 and up, renewed on disk under open connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from scep_server.config import Address
from scep_server.errors import ConfigurationError
from scep_server.web import Limits, Listener, ServerCertificate, bind
from scep_server.web.limits import HANDSHAKES_AT_LEAST


def write_pair(folder: Path, name: str, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    """A self-signed certificate and its key, or one that does not fit."""
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(own, SHA256())
    )
    (folder / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        (key or own).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(body=b"hello")


@asynccontextmanager
async def listening(certificate: ServerCertificate) -> AsyncIterator[int]:
    sockets = bind(Address("127.0.0.1", 0))
    port: int = sockets[0].getsockname()[1]
    listener = Listener(hello, sockets, Limits(), tls=certificate.context)
    await listener.start()
    yield port
    await listener.stop(0)


async def connect(
    port: int, *, name: str | None = None, maximum: ssl.TLSVersion | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A connection, and the common name of the certificate it was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if maximum is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
    return reader, writer, str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return head[:15] + await reader.readexactly(5)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_changed_pair_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scenario() -> None:
        write_pair(tmp_path, "before")
        certificate = ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")
        async with listening(certificate) as port:
            old_reader, old_writer, shown = await connect(port)
            assert shown == "before"
            assert certificate.reload() is False

            write_pair(tmp_path, "after")
            assert certificate.reload() is True
            for name in (None, "ca.example"):
                _, writer, shown = await connect(port, name=name or "")
                assert shown == "after"
                writer.close()
            assert await say_hello(old_reader, old_writer) == b"HTTP/1.1 200 OKhello"
            old_writer.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


async def test_a_pair_that_does_not_fit_is_logged_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(tmp_path, "before")
    certificate = ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")
    async with listening(certificate) as port:
        for spoil in (
            lambda: write_pair(tmp_path, "other", ec.generate_private_key(ec.SECP256R1())),
            lambda: (tmp_path / "tls.pem").write_text("nonsense"),
            (tmp_path / "tls.key").unlink,
        ):
            spoil()
            assert certificate.reload() is False
            _, writer, shown = await connect(port)
            assert shown == "before"
            writer.close()
    assert caplog.text.count("the old certificate stays") == 3


async def test_watching_takes_a_change(tmp_path: Path) -> None:
    write_pair(tmp_path, "before")
    certificate = ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")
    watching = asyncio.create_task(certificate.watch(0.01))
    async with listening(certificate) as port, asyncio.timeout(5):
        write_pair(tmp_path, "after")
        shown = ""
        while shown != "after":
            _, writer, shown = await connect(port)
            writer.close()
    watching.cancel()


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_versions(tmp_path: Path, version: ssl.TLSVersion, accepted: bool) -> None:
    write_pair(tmp_path, "any")
    async with listening(ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")) as port:
        if accepted:
            reader, writer, _ = await connect(port, maximum=version)
            assert await say_hello(reader, writer) == b"HTTP/1.1 200 OKhello"
            writer.close()
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect(port, maximum=version)


def test_unusable_files_are_named_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.tls_certificate.*tls\.pem"):
        ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")
    write_pair(tmp_path, "any", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ConfigurationError, match="belong together"):
        ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("ready", [0, 40])
def test_handshakes_that_are_left_alone_keep_nobody_out(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop], ready: int
) -> None:
    """Two sockets, one budget of 40; what was begun first goes first."""
    write_pair(tmp_path, "any")
    certificate = ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key")

    async def scenario() -> None:
        sockets = bind(Address("127.0.0.1", 0)) + bind(Address("127.0.0.1", 0))
        listener = Listener(hello, sockets, Limits(connections=40), tls=certificate.context)
        await listener.start()
        ports = [one.getsockname()[1] for one in sockets]
        room = max(HANDSHAKES_AT_LEAST, 40 - ready)
        before = [await connect(ports[0]) for _ in range(ready)]
        left_alone = [await asyncio.open_connection("127.0.0.1", port) for port in ports for _ in range(60)]
        async with asyncio.timeout(10):
            for port in ports:
                reader, writer, _ = await connect(port)
                assert await say_hello(reader, writer) == b"HTTP/1.1 200 OKhello"
                before.append((reader, writer, ""))
            for reader, _ in left_alone[:-room]:
                assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in left_alone[2 - room :])
        await listener.stop(0)
        for _, writer, *_ in (*before, *left_alone):
            writer.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
