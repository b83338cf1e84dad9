"""HTTPS to other services, for challenge plugins: verified, bounded in time and size, never redirected."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

from scep_server.config import OutboundSettings
from scep_server.errors import OutboundFault
from scep_server.outbound.faults import fault_of
from scep_server.outbound.proxy import Proxy, ProxyChoice
from scep_server.outbound.trust import check_ca_file, tls_context
from scep_server.types import HttpAnswer

_CONNECTIONS: Final = 32
_CONNECTIONS_PER_HOST: Final = 8
_KEEP: Final = 10.0
"""Seconds a connection waits for its next request. Below what servers allow, so that they do not end it under one."""
_HEADER_FIELD: Final = 16384
_OURS: Final = frozenset({"accept-encoding", "connection", "content-length", "host", "te", "transfer-encoding"})
"""Headers of a request that plugins do not decide."""


class HttpsClient:
    """interfaces.Outbound over pooled connections, of which each event loop has its own.

    http:// is served for this machine only (a simulator, a sidecar). Raises ConfigurationError when the settings name
    files or a proxy that cannot be used.
    """

    def __init__(self, settings: OutboundSettings) -> None:
        if settings.ca_file is not None:
            check_ca_file(settings.ca_file)
        self._ca_file = settings.ca_file
        self._proxies = ProxyChoice(settings)
        self._tls: ssl.SSLContext | None = None
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 15.0,  # noqa: ASYNC109 - one limit over name look-up, connection and answer
        max_bytes: int = 1 << 20,
    ) -> HttpAnswer:
        """Any answer, whatever its status, redirects too. OutboundFault for everything else (interfaces.Outbound)."""
        host, port, encrypted = _target(url)
        proxy = self._proxies.of(host, port) if encrypted else None
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, url, host, headers or {}, body, proxy, max_bytes)
        except OutboundFault:
            raise
        except TimeoutError:
            raise OutboundFault("timeout", f"{host} did not answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise fault_of(error, host, proxy) from None

    async def close(self) -> None:
        """End the connections of this event loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def _exchange(
        self,
        method: str,
        url: str,
        host: str,
        headers: Mapping[str, str],
        body: bytes | None,
        proxy: Proxy | None,
        max_bytes: int,
    ) -> HttpAnswer:
        session = await self._session()
        async with session.request(
            method,
            url,
            headers={name: value for name, value in headers.items() if name.lower() not in _OURS},
            data=body,
            allow_redirects=False,
            proxy=proxy.url if proxy else None,
            proxy_headers={"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else None,
        ) as response:
            coding = response.headers.get("Content-Encoding", "identity").strip().lower()
            if coding not in {"identity", ""}:
                raise OutboundFault("other", f"{host} answered with a content coding that was not asked for")
            return HttpAnswer(
                response.status,
                await _read(response, host, max_bytes),
                response.headers.get("Content-Type", ""),
                _joined(response),
            )

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, self._ca_file)
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = _new_session(self._tls)
        return session


def _new_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=tls,
        limit=_CONNECTIONS,
        limit_per_host=_CONNECTIONS_PER_HOST,
        keepalive_timeout=_KEEP,
        resolver=aiohttp.ThreadedResolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "scep-server", "Accept-Encoding": "identity"},
        skip_auto_headers=["Content-Type"],
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        trust_env=False,
        max_field_size=_HEADER_FIELD,
        max_line_size=_HEADER_FIELD,
    )


def _target(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether TLS is spoken. OutboundFault when it is no URL that may be asked, never quoting it."""
    nothing = OutboundFault("other", "a plugin asked for what is no https:// URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise nothing from None
    # Characters that two readers of URLs may take for different things.
    if not host or parts.scheme not in {"https", "http"} or not url.isprintable() or " " in url or "\\" in url:
        raise nothing
    if "@" in parts.netloc:
        raise OutboundFault("other", f"the URL at {host} holds credentials, which belong into a header")
    if parts.scheme == "http" and not _is_loopback(host):
        raise OutboundFault("other", f"{host} is not this machine, so it is asked by https:// only")
    return host, port or (443 if parts.scheme == "https" else 80), parts.scheme == "https"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _read(response: aiohttp.ClientResponse, host: str, max_bytes: int) -> bytes:
    """The whole body, given up as soon as it is known to be more than max_bytes."""
    too_large = OutboundFault("too_large", f"{host} answered with more than {max_bytes} bytes")
    if (response.content_length or 0) > max_bytes and response.method != "HEAD":
        raise too_large
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > max_bytes:
            raise too_large
    return bytes(received)


def _joined(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Headers by their names in lower case, repeated ones joined by a comma."""
    joined: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined
