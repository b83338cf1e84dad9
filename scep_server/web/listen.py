"""A listener: sockets, connections within their limits, one handler, and an end that loses no answer (F23).

Both listeners of a server are made of this; only their handlers differ.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from scep_server.config import Address
from scep_server.errors import ConfigurationError
from scep_server.metrics import Metrics
from scep_server.web.accept import Acceptor, Handshakes
from scep_server.web.connection import Connection
from scep_server.web.errors import RefusalLog, error_response, plain_response
from scep_server.web.limits import HANDSHAKES_AT_LEAST, Limits

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
OPERATION: Final = web.RequestKey("operation", str)
"""One of metrics.OPERATIONS, noted on the request by whoever handles it."""

_LAST_REQUESTS: Final = 0.2
"""Seconds that idle connections stay open at the end, so that a request already under way is still answered."""


def bind(address: Address, key: str = "listen", *, backlog: int = 1024) -> list[socket.socket]:
    """Listening sockets for an address, made before workers are forked so that all of them accept from the same queue.

    A name gives one socket for each of its addresses; port 0 lets the first choose for all.
    Raises ConfigurationError naming `key` when the address cannot be had.
    """
    sockets: list[socket.socket] = []
    port = address.port
    try:
        found = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, where in dict.fromkeys((family, str(sockaddr[0])) for family, *_, sockaddr in found):
            opened = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((where, port))
            port = opened.getsockname()[1]
            opened.listen(backlog)
            opened.setblocking(False)
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise ConfigurationError(
            f"server.{key}: cannot listen on {address} ({error.strerror or error}); "
            "choose an address of this machine and a free port"
        ) from None
    return sockets


class HttpServer(web.Server):
    """aiohttp's low-level server with our connections, our limits and the error table around the handler."""

    def __init__(self, handler: Handler, limits: Limits, metrics: Metrics | None) -> None:
        super().__init__(self._answer)
        self._handler = handler
        self._limits = limits
        self._metrics = metrics
        self._refusals = RefusalLog()
        self.draining = False

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        limits = self._limits
        return Connection(
            self,
            limits,
            loop=self._loop,
            keepalive_timeout=limits.idle_timeout,
            access_log=None,
            max_line_size=limits.request_line - len("GET  HTTP/1.1"),
            max_field_size=limits.header_field,
            max_headers=limits.headers,
            lingering_time=limits.linger,
            auto_decompress=False,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._handler(request)
        except ConnectionError:
            response = plain_response(400)  # nobody is left to read it
        except Exception as error:  # noqa: BLE001 - the table is the one place that meets them all
            response = error_response(error, request, self._refusals, self._limits.retry_after)
        if self.draining or not request.content.is_eof():
            response.force_close()
        if self._metrics is not None:
            self._metrics.requests.inc(request.get(OPERATION, "other"), response.status)
        return response

    def note_protocol_error(self, status: int, address: str, text: str) -> None:
        """Called by connections for what never became a request."""
        self._refusals.note(logging.INFO, status, address, text)
        if self._metrics is not None:
            self._metrics.protocol_errors.inc()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Where the house is full, the connection that has made us wait for longest goes; answers are never cut off."""
        if len(self._connections) >= self._limits.connections and len(self._staying()) >= self._limits.connections:
            waited_for = self._oldest_waited_for()
            if waited_for is None:
                transport.abort()
            else:
                waited_for.force_close()
        super().connection_made(handler, transport)
        if self._metrics is not None:
            self._metrics.connections.add(1)

    def room_for_handshakes(self) -> int:
        """What connections leave of their number; some at any time, as a ready one may take a waiting one's place."""
        return max(HANDSHAKES_AT_LEAST, self._limits.connections - len(self._connections))

    def _staying(self) -> list[Connection]:
        """Without those that we ended: their sockets are gone, and they are forgotten once their handlers are done."""
        return [one for one in self._connections if isinstance(one, Connection) and not one.closing]

    def _oldest_waited_for(self) -> Connection | None:
        """By preference one without a request, then one whose body is still on its way."""
        in_body = None
        for connection in self._staying():
            if connection.waits_for_head:
                return connection
            if in_body is None and connection.waits_for_body:
                in_body = connection
        return in_body

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """The handler goes on without its client: what was asked for is finished and kept for the retry (T11)."""
        super().connection_lost(handler, exc)
        if self._metrics is not None:
            self._metrics.connections.add(-1)

    async def drain(self, grace: float) -> None:
        """Answer what has begun, for at most grace seconds, then end every connection."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        self.draining = True
        await asyncio.sleep(min(_LAST_REQUESTS, grace))
        while self._connections and loop.time() < end:
            for connection in self.connections:
                if isinstance(connection, Connection) and connection.idle:
                    connection.force_close()
            await asyncio.sleep(0.02)
        if self._connections:
            log.warning("%d connections were ended before they were answered", len(self._connections))
        await self.shutdown(0.1)


class Listener:
    """One running listener of this process."""

    def __init__(
        self,
        handler: Handler,
        sockets: Sequence[socket.socket],
        limits: Limits,
        *,
        metrics: Metrics | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._sockets = sockets
        self._limits = limits
        self._metrics = metrics
        self._tls = tls
        self._acceptors: list[Acceptor] = []
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = HttpServer(self._handler, self._limits, self._metrics)
        handshakes = Handshakes(self._server.room_for_handshakes)
        self._acceptors = [Acceptor(listening, self._server, self._tls, handshakes) for listening in self._sockets]

    async def stop(self, grace: float = 30.0) -> None:
        """Accept no more, finish what is in flight within grace seconds, close."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors.clear()
        if self._server is not None:
            await self._server.drain(grace)
