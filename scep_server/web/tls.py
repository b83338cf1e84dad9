"""The listener's own certificate: TLS 1.2 and up, renewed on disk without a restart.

Windows' SCEP client stops at TLS 1.2, so it stays the floor. A changed pair of files becomes a context of its own,
which new handshakes are switched to. Open connections keep theirs, and a pair that does not fit changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from scep_server.errors import ConfigurationError

log = logging.getLogger(__name__)

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!PSK"
"""For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 suites need no choice."""


class ServerCertificate:
    """A certificate and key pair that listeners use through `context`, and that may change on disk.

    Raises ConfigurationError at construction when the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp = self._read_stamp()
        try:
            self._current = _context(certificate, key)
            self.context = _context(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"server.tls_certificate, server.tls_key: cannot use {certificate} and {key} "
                f"({_reason(error)}); both must be PEM, belong together and be readable"
            ) from None
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """Called in every handshake, with or without a server name."""
        connection.context = self._current

    def reload(self) -> bool:
        """Take the files if they changed; False when there was nothing to take. A bad pair is logged and left alone."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._current = _context(*self._files)
        except (OSError, ssl.SSLError) as error:
            log.warning("TLS files changed but cannot be used (%s); the old certificate stays", _reason(error))
            return False
        log.info("TLS certificate taken from %s", self._files[0])
        return True

    async def watch(self, seconds: float = 5.0) -> None:
        """Reload whenever the files change, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.reload()

    def _read_stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is rewritten or replaced; None while it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    # A key with a passphrase must not stop a server at a prompt nobody sees.
    context.load_cert_chain(certificate, key, password=lambda: b"")
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not readable as PEM"
    return error.strerror or type(error).__name__
