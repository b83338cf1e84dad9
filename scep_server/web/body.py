"""The body of a request, whole and within its limits, or not at all (N9, N11, T11)."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from scep_server.errors import TooLarge
from scep_server.web.errors import HttpRefusal
from scep_server.web.limits import Limits


async def read_body(request: web.BaseRequest, limits: Limits) -> bytes:
    """The body as sent; never cut, never inflated.

    TooLarge as soon as the length is known to pass the limit. HttpRefusal: coded, late, broken or expecting too much.
    """
    _check_codings(request)
    content = request.content
    if (request.content_length or 0) > limits.body:
        raise TooLarge(f"the body is announced with {request.content_length} bytes")
    if content.is_eof():
        body = content.read_nowait()
        if len(body) > limits.body:
            raise TooLarge(f"the body has {len(body)} bytes")
        return body
    await _answer_expectation(request)
    received = bytearray()
    try:
        async with asyncio.timeout(limits.read_timeout):
            while chunk := await content.readany():
                received += chunk
                if len(received) > limits.body:
                    raise TooLarge(f"the body has more than {limits.body} bytes")
    except TimeoutError:
        raise HttpRefusal(408, f"the body was not complete after {limits.read_timeout:g} s") from None
    except RequestPayloadError:
        raise HttpRefusal(400, "the body's transfer coding is broken") from None
    return bytes(received)


def _check_codings(request: web.BaseRequest) -> None:
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", ""}:
        raise HttpRefusal(415, "the body has a content encoding", {"Accept-Encoding": "identity"})
    transfer = request.headers.get("Transfer-Encoding")
    if transfer is None:
        return
    if request.version < HttpVersion11:
        # RFC 9112 section 6.1: framing is faulty, whoever stood in between may have read it otherwise.
        raise HttpRefusal(400, "transfer coding in an HTTP/1.0 request")
    if transfer.strip().lower() != "chunked":
        raise HttpRefusal(501, "a transfer coding other than chunked")


async def _answer_expectation(request: web.BaseRequest) -> None:
    """RFC 9110 section 10.1.1: said only now, so that a body too large is never asked for."""
    expected = request.headers.get("Expect")
    if expected is None or request.version < HttpVersion11:
        return
    if expected.strip().lower() != "100-continue":
        raise HttpRefusal(417, "an expectation other than 100-continue")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # The response proper has not begun: aiohttp takes written bytes for a response that an error must not follow.
    request.writer.output_size = 0
