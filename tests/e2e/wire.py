"""HTTP as plain as devices speak it: one request, one connection, every header visible."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import urllib.parse
from dataclasses import dataclass, field

MESSAGE_TYPE = "application/x-pki-message"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


def request(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """One exchange; header names come back in lower case."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def get(url: str, operation: str, message: str | None = None) -> Answer:
    """A SCEP GET; message goes out as it is."""
    tail = "" if message is None else f"&message={message}"
    return request("GET", f"{url}?operation={operation}{tail}")


def post(url: str, body: bytes, content_type: str = MESSAGE_TYPE) -> Answer:
    """PKIOperation by POST."""
    return request("POST", f"{url}?operation=PKIOperation", body, {"Content-Type": content_type})


def get_message(url: str, body: bytes) -> Answer:
    """PKIOperation by GET, escaped as RFC 8894 section 4.1 says."""
    return get(url, "PKIOperation", urllib.parse.quote(base64.b64encode(body).decode(), safe=""))


def connect(url: str) -> socket.socket:
    """A bare connection to the server."""
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5)


def raw(url: str, sent: bytes, *, limit: int = 1 << 20) -> bytes:
    """Send bytes as they are; everything the server says until it closes, or until it has been silent for 5 s."""
    received = b""
    with connect(url) as connection:
        try:
            connection.sendall(sent)
            while len(received) < limit and (chunk := connection.recv(65536)):
                received += chunk
        except (TimeoutError, ConnectionError):
            pass
    return received


def sha256_hex(data: bytes) -> str:
    """A fingerprint as command lines want it."""
    return hashlib.sha256(data).hexdigest()
