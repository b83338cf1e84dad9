"""A TCP tap between a client and the server: what did that program really send?"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
import urllib.parse
from typing import Any, Self

from asn1crypto import cms

from tests.e2e import crafted


class Tap:
    """Forwards every connection and keeps what the client sent. Use as a context manager."""

    def __init__(self, url: str) -> None:
        self._parts = urllib.parse.urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sent: list[bytearray] = []

    @property
    def url(self) -> str:
        """The tapped URL."""
        return self._parts._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}").geturl()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection((self._parts.hostname or "", self._parts.port or 80))
                record = bytearray()
                self.sent.append(record)
                threading.Thread(target=pump, args=(client, upstream, record), daemon=True).start()
                threading.Thread(target=pump, args=(upstream, client, None), daemon=True).start()

    def operations(self) -> list[str]:
        """`METHOD operation` of every request, in order."""
        found = []
        for record in self.sent:
            for match in re.finditer(rb"(GET|POST) \S*?operation=(\w+)", bytes(record)):
                found.append(f"{match[1].decode()} {match[2].decode()}")
        return found

    def messages(self) -> list[Any]:
        """The SignedData of every PKIOperation, in order, by POST or GET."""
        return [cms.ContentInfo.load(body)["content"] for record in self.sent for body in bodies(bytes(record))]


def pump(source: socket.socket, sink: socket.socket, record: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            if record is not None:
                record += chunk
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


def bodies(record: bytes) -> list[bytes]:
    """pkiMessages in one recorded connection."""
    found = []
    for match in re.finditer(rb"operation=PKIOperation&message=(\S+)", record):
        text = urllib.parse.unquote(match[1].decode())
        found.append(base64.b64decode(re.sub(r"\s", "", text)))
    for match in re.finditer(
        rb"POST \S+operation=PKIOperation[^\0]*?[Cc]ontent-[Ll]ength: (\d+)[^\0]*?\r\n\r\n", record
    ):
        found.append(record[match.end() : match.end() + int(match[1])])
    return found


def message_type(signed: Any) -> str:
    """messageType of a SignedData."""
    attributes = signed["signer_infos"][0]["signed_attrs"]
    return str(next(a["values"][0].native for a in attributes if a["type"].dotted == crafted.MESSAGE_TYPE))


def algorithms(signed: Any) -> tuple[str, str]:
    """(digest, content encryption) of a SignedData around an EnvelopedData."""
    digest = signed["signer_infos"][0]["digest_algorithm"]["algorithm"].native
    envelope = cms.ContentInfo.load(signed["encap_content_info"]["content"].native)["content"]
    return digest, envelope["encrypted_content_info"]["content_encryption_algorithm"]["algorithm"].native
