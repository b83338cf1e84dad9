"""SCEP over HTTP from the client's side (RFC 8894 section 4): one GET or POST an operation, answers bounded in size.

Redirects are not followed: the challenge is encrypted to one server's certificate, and the next hop is not that one.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from scep_server.errors import ConfigurationError, Fault, Malformed, TooLarge

MAX_ANSWER: Final = 1 << 20
"""Bytes. A chain or a CertRep is a few kilobytes; a CRL in one may be larger."""

TIMEOUT: Final = 60
"""Seconds for one exchange."""


class Unavailable(Fault):
    """No answer, or 429/502/503/504: the same request may be sent again after retry_after seconds."""


class Unexpected(Malformed):
    """An HTTP answer that is no SCEP answer. The text quotes status and content type, not the body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and content type of a 200."""

    body: bytes
    content_type: str


class Transport:
    """One SCEP URL. Use as an asynchronous context manager."""

    def __init__(self, url: str, *, tls_ca: Path | None = None, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"--url {url!r} is not an HTTP address; write http(s)://HOST[:PORT]/scep/NAME")
        self.url = url.split("?", 1)[0]
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        try:
            self._tls = ssl.create_default_context(cafile=tls_ca) if tls_ca else ssl.create_default_context()
        except OSError as error:
            raise ConfigurationError(f"--tls-ca {tls_ca}: {error.strerror or error}; name a PEM file") from None

    @property
    def encrypted(self) -> bool:
        """True for HTTPS; its certificate was then verified, or nothing was sent."""
        return self.url.startswith("https:")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, headers={"User-Agent": "scep-server-client"}, auto_decompress=False
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, operation: str, message: str = "") -> Answer:
        """GetCACaps and GetCACert. Raises Unavailable, Unexpected, TooLarge."""
        query = f"operation={operation}&message={quote(message, safe='')}" if message else f"operation={operation}"
        return await self._exchange("GET", query, None)

    async def pki_operation(self, message: bytes, *, post: bool) -> bytes:
        """PKIOperation by POST (section 4.3) or, base64 in the query, by GET (section 4.1). Raises as get does."""
        if post:
            answer = await self._exchange("POST", "operation=PKIOperation", message)
        else:
            encoded = quote(base64.b64encode(message).decode(), safe="")
            answer = await self._exchange("GET", f"operation=PKIOperation&message={encoded}", None)
        if answer.content_type.split(";")[0].strip().lower() != "application/x-pki-message":
            raise Unexpected(f"PKIOperation was answered with content type {answer.content_type!r}")
        return answer.body

    async def _exchange(self, method: str, query: str, body: bytes | None) -> Answer:
        if self._session is None:
            raise RuntimeError("a Transport is used inside `async with`")
        headers = {"Content-Type": "application/x-pki-message"} if body is not None else {}
        try:
            async with self._session.request(
                method,
                URL(f"{self.url}?{query}", encoded=True),
                data=body,
                headers=headers,
                ssl=self._tls,
                allow_redirects=False,
            ) as response:
                content = await _bounded(response)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise Unexpected(
                f"TLS with {self.url} failed: {_tls_cause(error)}; give its CA with --tls-ca if it is yours"
            ) from None
        except TimeoutError:
            raise Unavailable(f"{self.url} did not answer in {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{self.url} cannot be reached: {_cause(error)}") from None
        if response.status in {429, 502, 503, 504}:
            raise Unavailable(f"{self.url} answered {response.status}", retry_after=_retry_after(response))
        if response.status == 404:
            raise Unexpected(f"{self.url} answered with HTTP 404: no integration of this name at that address")
        if response.status != 200:
            raise Unexpected(f"{self.url} answered {method} {query.partition('&')[0]} with HTTP {response.status}")
        return Answer(content, response.headers.get("Content-Type", ""))


def _cause(error: aiohttp.ClientError | OSError) -> str:
    """In our own words: the library's hold what it was called with."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} does not resolve"
        case aiohttp.ClientConnectorError():
            return f"{_system(error.os_error)} ({error.host} port {error.port})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "it ended the connection before its answer was complete"
        case aiohttp.ClientResponseError():
            return "it answered with what is no HTTP"
        case OSError():
            return _system(error)
    return type(error).__name__


def _tls_cause(error: aiohttp.ClientError) -> str:
    """OpenSSL's own words: expired, unknown issuer, another name."""
    below = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    return getattr(below, "verify_message", "") or getattr(below, "reason", "") or type(error).__name__


def _system(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER:
            raise TooLarge(f"the answer is longer than {MAX_ANSWER} bytes")
    return bytes(content)


def _retry_after(response: aiohttp.ClientResponse) -> int:
    value = response.headers.get("Retry-After", "")
    return min(int(value), 3600) if value.isascii() and value.isdigit() and len(value) < 10 else 30
