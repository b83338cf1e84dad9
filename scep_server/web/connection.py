"""One connection: aiohttp's HTTP/1.1 protocol with its errors made silent and its heads made small.

aiohttp's own answers quote the bytes they could not read, to the client and to the log, and a body whose framing
breaks would be waited for until the timeout. Both are mended here; everything else stays aiohttp's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from scep_server.web.errors import HttpRefusal, plain_response, protocol_status_of
from scep_server.web.limits import Limits

if TYPE_CHECKING:
    from scep_server.web.listen import HttpServer

log = logging.getLogger(__name__)

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """See the module. One instance a connection, as asyncio protocols are."""

    __slots__ = ("_body", "_head_bytes", "_limits", "_server")

    def __init__(self, server: HttpServer, limits: Limits, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._limits = limits
        self._body: StreamReader | None = None
        self._head_bytes = 0

    @property
    def waits_for_head(self) -> bool:
        """No request, or only part of a head, has arrived."""
        return self._waiter is not None and not self._messages

    @property
    def waits_for_body(self) -> bool:
        """A request is being read."""
        return self._body is not None and not self._body.is_eof()

    @property
    def idle(self) -> bool:
        """Nothing of a request has arrived."""
        return self.waits_for_head and self._head_bytes == 0

    @property
    def closing(self) -> bool:
        """Ended by us already; it is only not forgotten yet."""
        return self._force_close

    def data_received(self, data: bytes) -> None:
        """Feed the parser; keep count of a head's size, and tell a body when its framing broke."""
        seen = self._request_count
        in_body = self._body is not None and not self._body.is_eof()
        super().data_received(data)
        if self._request_count != seen and self._messages:
            self._head_bytes = 0
            message, payload = self._messages[-1]
            if isinstance(message, RawRequestMessage):
                self._body = payload
            elif in_body and self._body is not None and not self._body.is_eof():
                self._body.set_exception(HttpRefusal(400, "the body's transfer coding is broken"))
        elif not in_body:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head:
                self._refuse_head()

    def _refuse_head(self) -> None:
        self._server.note_protocol_error(431, self.client, "the request head is too large")
        if self.transport is not None and not self._request_in_progress and not self._messages:
            self.transport.write(_TOO_LONG)
            # Closing over unread bytes would reset the connection, and the answer would be lost with it.
            self.close()
            self._loop.call_later(self._limits.linger, self.force_close)
        else:
            self.force_close()

    @property
    def client(self) -> str:
        """Address of the peer, for the log."""
        peer = self.peername
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What could not be read as HTTP, from the table."""
        status = protocol_status_of(exc, self.max_line_size)
        self._server.note_protocol_error(status, self.client, f"not readable as HTTP ({type(exc).__name__})")
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun")
        response = plain_response(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Called for errors outside a handler; says which, never with its text."""
        error = kw.get("exc_info")
        log.error("connection from %s ended by %s", self.client or "unknown", type(error).__name__)

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Nothing: aiohttp's debug lines quote requests."""
