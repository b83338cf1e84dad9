"""HTTP itself: limits, framing, time-outs, and errors that repeat nothing (N9, N11, N21, N22, T3, T11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from scep_server.config import ServerSettings
from scep_server.web import Limits

MESSAGE = b"\x30\x03\x02\x01\x2a"
POST = b"POST /scep/jamf?operation=PKIOperation HTTP/1.1\r\nHost: ca\r\n"
MARK = "jndi-MARK"
Serve = Callable[..., Awaitable[Any]]


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server ends the connection, however it does."""
    read = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                read += chunk
    return read


async def exchange(public: Any, data: bytes) -> bytes:
    reader, writer = await public.connect()
    writer.write(data)
    try:
        return await rest(reader)
    finally:
        writer.close()


UNREADABLE = {
    "request line": f"{MARK}\r\n\r\n",
    "method": f"{MARK} /{MARK} HTTP/1.1\r\nHost: a\r\n\r\n",
    "version": f"GET /{MARK} HTTP/7.9\r\nHost: a\r\n\r\n",
    "space in target": f"GET /a {MARK} HTTP/1.1\r\nHost: a\r\n\r\n",
    "target not ascii": f"GET /é{MARK} HTTP/1.1\r\nHost: a\r\n\r\n",
    "authorization": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {MARK}\x01\r\n\r\n",
    "authorization folded": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic\r\n {MARK}\r\n\r\n",
    "authorization nul": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {MARK}\x00\r\n\r\n",
    "header name": f"GET / HTTP/1.1\r\nHost: a\r\n{MARK} : x\r\n\r\n",
    "header without colon": f"GET / HTTP/1.1\r\nHost: a\r\n{MARK}\r\n\r\n",
    "content-length sign": f"POST /{MARK} HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n{MARK}",
    "content-length list": f"POST /{MARK} HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n{MARK}",
    "content-length text": f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MARK}\r\n\r\n",
    "content-length twice": f"POST /{MARK} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{MARK}",
    "content-length huge": f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {'9' * 40}\r\n\r\n{MARK}",
    "length and chunked": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    f"0\r\n\r\nGET /{MARK} HTTP/1.1\r\n\r\n",
    "chunked and length": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    f"0\r\n\r\nGET /{MARK} HTTP/1.1\r\n\r\n",
    "bare lf": f"GET /{MARK} HTTP/1.1\nHost: a\n\n",
    "bare lf after a header": f"GET / HTTP/1.1\r\nHost: a\nX: {MARK}\r\n\r\n",
    "bare cr": f"GET / HTTP/1.1\r\nHost: a\r\nX: {MARK}\rX\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\nHost: a\r\nHost: {MARK}\r\n\r\n",
    "old websocket": f"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key1: {MARK}\r\n\r\n",
    "many headers": "GET / HTTP/1.1\r\nHost: a\r\n" + f"X: {MARK}\r\n" * 100 + "\r\n",
    "http/2": f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{MARK}",
    "tls": "\x16\x03\x01\x02\x00\x01" + MARK,
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_not_readable_is_refused_without_an_echo(
    public: Any, logged: Callable[[], str], name: str
) -> None:
    raw = await exchange(public, UNREADABLE[name].encode("latin-1"))
    assert raw.startswith(b"HTTP/1.0 400 ")
    assert raw.count(b"HTTP/1.") == 1  # nothing smuggled behind it was answered
    assert MARK.encode() not in raw
    assert b"aiohttp" not in raw
    assert MARK not in logged()
    assert "HTTP 400 to 127.0.0.1" in logged()
    assert public.metrics.protocol_errors.total() == 1


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", 501),
        ("Transfer-Encoding: identity", b"", 400),
        ("Content-Encoding: gzip\r\nContent-Length: 2", b"\x1f\x8b", 415),
        ("Content-Encoding: deflate\r\nContent-Length: 2", b"\x78\x9c", 415),
        ("Content-Encoding: br\r\nTransfer-Encoding: chunked", b"1\r\nx\r\n0\r\n\r\n", 415),
        ("Content-Encoding: jndi-MARK\r\nContent-Length: 1", b"0", 415),
        ("Expect: jndi-MARK\r\nContent-Length: 5", b"", 417),
        ("Content-Encoding: identity\r\nContent-Length: 5", MESSAGE, 200),
    ],
)
async def test_codings_and_expectations(
    public: Any, logged: Callable[[], str], head: str, body: bytes, status: int
) -> None:
    reply = await public.send(POST + head.encode() + b"\r\n\r\n" + body)
    assert reply.status == status
    assert MARK.encode() not in reply.raw
    assert MARK not in logged()


async def test_transfer_coding_in_http_1_0_is_refused(public: Any) -> None:
    reply = await public.send(
        b"POST /scep/jamf HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + MESSAGE + b"\r\n0\r\n\r\n"
    )
    assert reply.status == 400


@pytest.mark.parametrize(("size", "status"), [(65536, 200), (65537, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_body_limit_to_the_byte(public: Any, size: int, status: int, chunked: bool) -> None:
    body = MESSAGE + bytes(size - len(MESSAGE))
    if chunked:
        reply = await public.send(
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + f"{size:x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        )
    else:
        reply = await public.post(body)
    assert reply.status == status
    assert len(public.enrollment.messages) == (status == 200)


async def test_an_announced_large_body_is_refused_before_it_is_sent(public: Any) -> None:
    raw = await exchange(public, POST + b"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in raw
    assert b"Connection: close" in raw


async def test_a_body_is_refused_as_soon_as_it_is_too_large(public: Any) -> None:
    reader, writer = await public.connect()
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n10001\r\n")
    await writer.drain()
    writer.write(bytes(0x10001))
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_without_end_is_cut_off_soon(serve: Serve) -> None:
    public = await serve(linger=0.05)
    reader, writer = await public.connect()
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")

    async def pour() -> None:
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"2000\r\n" + bytes(0x2000) + b"\r\n")
                await writer.drain()

    pouring = asyncio.create_task(pour())
    raw = await rest(reader)
    pouring.cancel()
    assert raw.startswith(b"HTTP/1.1 413 ")
    writer.close()


LINE = b"GET /scep/jamf?operation=GetCACaps&message= HTTP/1.1"


@pytest.mark.parametrize(("size", "status"), [(16 * 1024, 200), (16 * 1024 + 1, 414), (60_000, 414)])
async def test_the_request_line_limit(public: Any, logged: Callable[[], str], size: int, status: int) -> None:
    line = LINE.replace(b"message=", b"message=" + b"M" * (size - len(LINE)))
    reply = await public.send(line + b"\r\nHost: a\r\n\r\n")
    assert reply.status == status
    assert b"MMMM" not in reply.raw
    assert "MMMM" not in logged()


async def test_large_headers_are_refused_one_by_one_and_together(public: Any) -> None:
    reply = await public.send(b"GET /scep/jamf?operation=GetCACaps HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000)
    assert reply.status == 431
    heads = b"".join(b"X%d: " % n + b"a" * 8000 + b"\r\n" for n in range(7))
    raw = await exchange(public, b"GET / HTTP/1.1\r\nHost: a\r\n" + heads)
    assert raw.startswith(b"HTTP/1.1 431 ")


async def test_expect_100_continue_is_answered_before_the_body(public: Any) -> None:
    reader, writer = await public.connect()
    writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(MESSAGE)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_an_error_after_100_continue_still_gets_its_answer(public: Any) -> None:
    reader, writer = await public.connect()
    writer.write(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"zz\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_chunked_post_in_pieces(public: Any) -> None:
    reader, writer = await public.connect()
    pieces = (
        b"Transfer-Encoding: chu",
        b"nked\r\n\r\n2\r\n\x30",
        b"\x03\r\n3;ext=1\r\n\x02\x01",
        b"\x2a\r\n0",
        b"\r\n\r\n",
    )
    writer.write(POST)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    assert public.enrollment.messages[0][1] == MESSAGE
    writer.close()


@pytest.mark.parametrize("broken", [b"zz\r\n", b"1\nx\n0\n\n", b"3\r\nabcdef\r\n", b"ffffffffffffffffff\r\n"])
async def test_broken_chunks_are_refused_at_once(public: Any, broken: bytes) -> None:
    reader, writer = await public.connect()
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n\x30\x03\r\n")
    await writer.drain()
    writer.write(broken)
    async with asyncio.timeout(5):
        assert b" 400 " in await reader.readuntil(b"\r\n")
    assert public.enrollment.messages == []
    writer.close()


async def test_a_slow_upload_ends_with_408(serve: Serve) -> None:
    public = await serve(read_timeout=0.1, linger=0.05)
    raw = await exchange(public, POST + b"Content-Length: 5\r\n\r\n\x30")
    assert raw.startswith(b"HTTP/1.1 408 ")
    assert public.enrollment.messages == []


@pytest.mark.parametrize("start", [b"", b"GET /scep/jamf", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_idle_connections_and_dripped_heads_are_ended(serve: Serve, start: bytes) -> None:
    public = await serve(idle_timeout=0.3)
    reader, writer = await public.connect()
    ended = asyncio.create_task(rest(reader))
    writer.write(start)
    while start and not ended.done():
        with suppress(ConnectionError):
            writer.write(b"a")
            await writer.drain()
        await asyncio.wait([ended], timeout=0.05)
    assert await ended == b""
    writer.close()


async def test_keep_alive_and_pipelining_answer_in_order(public: Any) -> None:
    reader, writer = await public.connect()
    caps = b"GET /scep/jamf?operation=GetCACaps HTTP/1.1\r\nHost: a\r\n\r\n"
    post = POST + b"Content-Length: 5\r\n\r\n" + MESSAGE
    close = caps.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    writer.write(caps + post + caps + post * 40 + close)
    raw = await rest(reader)
    kinds = [line for line in raw.split(b"\r\n") if line.startswith(b"Content-Type")]
    assert kinds == [b"Content-Type: text/plain", b"Content-Type: application/x-pki-message"] + [
        b"Content-Type: text/plain"
    ] + [b"Content-Type: application/x-pki-message"] * 40 + [b"Content-Type: text/plain"]
    writer.close()


async def test_a_client_that_leaves_after_sending_does_not_stop_its_request(public: Any) -> None:
    public.enrollment.release = asyncio.Event()
    _, writer = await public.connect()
    writer.write(POST + b"Content-Length: 5\r\n\r\n" + MESSAGE)
    await public.enrollment.entered.wait()
    writer.close()
    await writer.wait_closed()
    public.enrollment.release.set()
    assert (await public.post(MESSAGE)).status == 200
    assert len(public.enrollment.messages) == 2


async def test_a_client_that_leaves_in_its_body_leaves_no_trace(public: Any, logged: Callable[[], str]) -> None:
    _, writer = await public.connect()
    writer.write(POST + b"Content-Length: 50\r\n\r\n" + MESSAGE)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await public.post(MESSAGE)).status == 200
    assert len(public.enrollment.messages) == 1
    assert "ERROR" not in logged()


@pytest.mark.parametrize(
    "held",
    [b"", b"GET /scep/jamf HTTP/1.1\r\nX: ", POST + b"Content-Length: 60000\r\n\r\n0"],
    ids=["idle", "head", "body"],
)
async def test_a_full_house_ends_the_connection_that_lets_us_wait(serve: Serve, held: bytes) -> None:
    public = await serve(connections=3)
    waiting = [await public.connect() for _ in range(3)]
    for _, writer in waiting:
        writer.write(held)
        await writer.drain()
    for _ in range(2):
        assert (await public.get("/scep/jamf?operation=GetCACaps")).status == 200
    assert await rest(waiting[0][0]) == b""
    for _, writer in waiting:
        writer.close()


async def test_slow_bodies_go_after_idle_connections(serve: Serve) -> None:
    public = await serve(connections=2)
    reader, writer = await public.connect()
    writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    idle_reader, idle_writer = await public.connect()
    assert (await public.get("/scep/jamf?operation=GetCACaps")).status == 200
    assert await rest(idle_reader) == b""
    writer.write(MESSAGE)
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    for each in (writer, idle_writer):
        each.close()


async def test_a_house_full_of_work_refuses_a_new_connection(serve: Serve) -> None:
    public = await serve(connections=1)
    public.enrollment.release = asyncio.Event()
    working = asyncio.create_task(public.post(MESSAGE))
    await public.enrollment.entered.wait()
    assert await exchange(public, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    public.enrollment.release.set()
    assert (await working).status == 200


async def test_good_clients_are_served_while_many_drip(public: Any) -> None:
    drips = [await public.connect() for _ in range(300)]
    for _, writer in drips:
        writer.write(b"POST /scep/jamf HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n0")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(20):
        assert (await public.post(MESSAGE)).status == 200
    assert loop.time() - began < 2
    for _, writer in drips:
        writer.close()


async def test_refusals_do_not_fill_the_log(public: Any, logged: Callable[[], str]) -> None:
    for _ in range(200):
        assert (await public.get("/scep/jamf?operation=None")).status == 400
    assert logged().count("HTTP 400") < 150


async def test_stopping_finishes_what_is_in_flight_and_accepts_no_more(public: Any) -> None:
    public.enrollment.release = asyncio.Event()
    working = asyncio.create_task(public.post(MESSAGE))
    idle_reader, idle_writer = await public.connect()
    half_reader, half_writer = await public.connect()
    half_writer.write(POST + b"Content-Length: 5\r\n\r\n\x30")
    head_reader, head_writer = await public.connect()
    head_writer.write(b"GET /scep/jamf?operation=GetCACaps HTTP/1.1\r\nHost")
    await public.enrollment.entered.wait()
    stopping = asyncio.create_task(public.listener.stop(10))
    assert await rest(idle_reader) == b""
    with pytest.raises(ConnectionError):
        await public.connect()
    half_writer.write(MESSAGE[1:])
    head_writer.write(b": a\r\n\r\n")
    public.enrollment.release.set()
    reply = await working
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert (await rest(half_reader)).endswith(b"\x30reply to " + MESSAGE)
    assert (await rest(head_reader)).startswith(b"HTTP/1.1 200 ")
    await asyncio.wait_for(stopping, 5)
    for writer in (idle_writer, half_writer, head_writer):
        writer.close()


async def test_stopping_does_not_wait_beyond_its_grace(public: Any) -> None:
    public.enrollment.release = asyncio.Event()
    working = asyncio.create_task(public.post(MESSAGE))
    await public.enrollment.entered.wait()
    await asyncio.wait_for(public.listener.stop(0.1), 5)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(working, 5)


def test_limits_follow_the_configuration() -> None:
    limits = Limits.of(ServerSettings(max_body_bytes=5000, read_timeout_seconds=7, keepalive_seconds=0))
    assert (limits.body, limits.read_timeout, limits.idle_timeout) == (5000, 7, 1)
