"""A receiver that does what a test tells it: real HTTPS on loopback, under a private CA, in a thread of its own."""

from __future__ import annotations

import hmac
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Received:
    """One POST, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["x-scep-server-id"]


@dataclass(frozen=True)
class Reply:
    """What to send back. Status 0 closes the connection instead."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


CUT = Reply(0)


def saying(received: Received, decision: str = "allow", **more: Any) -> Reply:
    """A well-formed answer."""
    return Reply(body=json.dumps({"request_id": received.id, "decision": decision, **more}).encode())


def sign_answer(secrets: Sequence[bytes], timestamp: int, message_id: str, body: bytes) -> str:
    """Header value of a receiver that signs, written from docs/webhook.md."""
    signed = f"{timestamp}.{message_id}.answer.".encode() + body
    return ",".join([f"t={timestamp}", *(f"v1={hmac.digest(one, signed, 'sha256').hex()}" for one in secrets)])


class PrivateCa:
    """A CA that no system trusts, and a certificate of it for loopback."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private CA of the receiver")])
        root = self._certificate(name, name, key, key, ca=True)
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
        leaf = self._certificate(leaf_name, name, leaf_key, key, ca=False)
        self.ca_file = folder / "receiver-ca.pem"
        self.ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        self.certificate = folder / "receiver.pem"
        self.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        self.key = folder / "receiver.key"
        plain = serialization.NoEncryption()
        self.key.write_bytes(
            leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )

    @staticmethod
    def _certificate(
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if not ca:
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())


class ScriptedReceiver:
    """Remembers what came and answers as `behave` says; by default it allows everything and takes every notice."""

    def __init__(self, ca: PrivateCa) -> None:
        self._ca = ca
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.received: list[Received] = []
        self.behave: Callable[[Received], Reply] = saying
        self.arrived = threading.Semaphore(0)
        """Released once for each message that came."""
        self.released = threading.Event()
        """What a slow behaviour waits for; set when the receiver stops."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}/hook"

    def start(self) -> ScriptedReceiver:
        """Serve; after a stop at the same address."""
        self.released.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), partial(_Handler, self))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._ca.certificate, self._ca.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.released.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = None

    def slow(self, received: Received) -> Reply:
        """Answers when the test is over."""
        self.released.wait(30)
        return saying(received)


class _Handler(BaseHTTPRequestHandler):
    timeout = 10

    def __init__(self, receiver: ScriptedReceiver, *arguments: Any) -> None:
        self._receiver = receiver
        super().__init__(*arguments)

    def handle(self) -> None:
        """A client that does not trust us, or that goes away, is none of our troubles."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self._receiver.received.append(received)
        self._receiver.arrived.release()
        reply = self._receiver.behave(received)
        if reply.status == 0:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
