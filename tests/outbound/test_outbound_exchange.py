"""Requests and answers over real connections: what is sent, what comes back, what is given up."""

from __future__ import annotations

import asyncio
import gzip
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scep_server.config import OutboundSettings
from scep_server.errors import OutboundFault
from scep_server.outbound import HttpsClient

SECRET = "the-secret"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def serve(running: Any, authority: Any) -> Callable[..., Any]:
    """A TLS service by its reply, and a client that trusts it."""

    async def start(
        reply: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", **options: Any
    ) -> tuple[Any, Any]:
        return await running.service(authority.server(), reply, **options), running.client(ca_file=authority.file)

    return start


async def fault_of(client: Any, url: str, **options: Any) -> OutboundFault:
    """The fault of a request full of secrets, none of which it tells."""
    with pytest.raises(OutboundFault) as caught:
        await client.request(
            "POST", f"{url}?sig={SECRET}", headers=HEADERS, body=SECRET.encode(), **{"timeout": 5, **options}
        )
    assert SECRET not in str(caught.value) + repr(caught.value)
    return caught.value


# --- what is sent


async def test_a_request_arrives_as_it_was_asked_for(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    await client.request(
        "PUT",
        service.url(path="/a%2Fb/c?x=%20y&z='1'"),
        headers={"X-One": "1", "content-type": "text/x"},
        body=b"\x00\xff",
    )
    asked = service.asked[0]
    assert asked.line == "PUT /a%2Fb/c?x=%20y&z='1' HTTP/1.1"
    assert (asked.headers["x-one"], asked.headers["content-type"], asked.body) == ("1", "text/x", b"\x00\xff")
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["user-agent"] == "scep-server"


async def test_a_post_without_a_body_has_its_length(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    await client.request("POST", service.url())
    assert (service.asked[0].headers["content-length"], service.asked[0].body) == ("0", b"")
    assert "content-type" not in service.asked[0].headers


async def test_framing_is_not_a_plugins(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    await client.request(
        "GET", service.url(), headers={"Accept-Encoding": "gzip", "Host": "other", "Transfer-Encoding": "chunked"}
    )
    asked = service.asked[0]
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["host"] == f"localhost:{service.port}"
    assert "transfer-encoding" not in asked.headers


async def test_a_header_cannot_end_its_line(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    with pytest.raises(OutboundFault) as caught:
        await client.request("GET", service.url(), headers={"X-Note": f"{SECRET}\r\nX-Other: 1"})
    assert caught.value.kind == "other"
    assert SECRET not in str(caught.value)
    assert service.asked == []


async def test_neither_cookies_nor_netrc_are_sent(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    service, client = await serve(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")
    for _ in range(2):
        await client.request("GET", service.url())
    assert all("cookie" not in asked.headers and "authorization" not in asked.headers for asked in service.asked)
    assert len(service.asked) == 2


# --- what comes back


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 401, 404, 429, 500, 503])
async def test_any_status_is_an_answer_and_no_redirect_is_followed(serve: Callable[..., Any], status: int) -> None:
    service, client = await serve(
        f"HTTP/1.1 {status} X\r\nLocation: https://localhost:1/elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
    )
    answer = await client.request("GET", service.url())
    assert (answer.status, answer.headers["location"]) == (status, "https://localhost:1/elsewhere")
    assert len(service.asked) == 1


async def test_headers_are_in_lower_case_and_joined(serve: Callable[..., Any]) -> None:
    service, client = await serve(
        b"HTTP/1.1 429 Later\r\nRetry-After: 7\r\nX-A: 1\r\nx-a: 2\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\n!"
    )
    answer = await client.request("GET", service.url())
    assert answer.headers["x-a"] == "1, 2"
    assert answer.headers["retry-after"] == "7"
    assert (answer.content_type, answer.body) == ("a/b", b"!")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_chunked_answers_are_put_together(serve: Callable[..., Any]) -> None:
    service, client = await serve(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await client.request("GET", service.url(), max_bytes=5)).body == b"abcde"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n",
        CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
        CHUNKED + b"ffffff\r\n" + b"x" * 200_000,
    ],
)
async def test_more_than_was_asked_for_is_given_up(serve: Callable[..., Any], reply: bytes) -> None:
    service, client = await serve(reply)
    fault = await fault_of(client, service.url(), max_bytes=100)
    assert (fault.kind, str(fault)) == ("too_large", "localhost answered with more than 100 bytes")


async def test_as_much_as_was_asked_for_is_taken(serve: Callable[..., Any]) -> None:
    service, client = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert len((await client.request("GET", service.url(), max_bytes=100)).body) == 100


async def test_a_head_answer_has_the_length_of_what_it_left_out(serve: Callable[..., Any]) -> None:
    service, client = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert (await client.request("HEAD", service.url(), max_bytes=100)).body == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP"])
async def test_nothing_is_inflated(serve: Callable[..., Any], coding: str) -> None:
    bomb = gzip.compress(b"\0" * (50 << 20))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
    service, client = await serve(head.encode() + bomb)
    fault = await fault_of(client, service.url())
    assert (fault.kind, "content coding" in str(fault)) == ("other", True)


# --- what goes wrong


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!",
        CHUNKED + b"a\r\nten bytes!\r\n",
    ],
)
async def test_an_answer_that_is_cut_is_none(serve: Callable[..., Any], reply: bytes) -> None:
    service, client = await serve(reply, ends=True)
    fault = await fault_of(client, service.url())
    assert fault.kind == "cut"
    assert str(fault).startswith("localhost ended the connection")


async def test_what_is_no_http_is_no_answer(serve: Callable[..., Any]) -> None:
    service, client = await serve(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ends=True)
    fault = await fault_of(client, service.url())
    assert (fault.kind, str(fault)) == ("other", "localhost answered with what is no HTTP")


async def test_endless_headers_are_no_answer(serve: Callable[..., Any]) -> None:
    service, client = await serve(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000)
    assert (await fault_of(client, service.url())).kind == "other"


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234", CHUNKED + b"3\r\nabc\r\n"]
)
async def test_one_time_limit_is_over_head_and_body(serve: Callable[..., Any], reply: bytes) -> None:
    service, client = await serve(reply)
    began = time.monotonic()
    fault = await fault_of(client, service.url(), timeout=0.3)
    assert (fault.kind, str(fault)) == ("timeout", "localhost did not answer within 0.3 s")
    assert time.monotonic() - began < 3


async def test_the_time_limit_is_over_the_handshake(running: Any) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    port = await running.listen(say_nothing, None)
    assert (await fault_of(running.client(), f"https://localhost:{port}/", timeout=0.3)).kind == "timeout"


def test_the_time_limit_is_over_the_name_and_looking_it_up_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: release.wait(20) and [])

    async def ask() -> OutboundFault:
        client = HttpsClient(OutboundSettings())
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(turn())
        fault = await fault_of(client, "https://slow.example/", timeout=0.3)
        beside.cancel()
        release.set()
        await client.close()
        assert turns > 100
        return fault

    assert asyncio.run(ask()).kind == "timeout"


async def test_a_name_that_does_not_resolve(running: Any) -> None:
    fault = await fault_of(running.client(), "https://no-such-host.invalid/")
    assert (fault.kind, str(fault)) == ("name", "the name no-such-host.invalid does not resolve")


async def test_a_connection_refused(running: Any) -> None:
    fault = await fault_of(running.client(), "https://127.0.0.1:1/")
    assert (fault.kind, str(fault)) == ("refused", "cannot connect to 127.0.0.1:1: Connection refused")
    assert "[::1]:1: " in str(await fault_of(running.client(), "https://[::1]:1/"))


# --- connections


async def test_a_connection_is_used_again(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    for _ in range(5):
        await client.request("POST", service.url(), body=b"x")
    assert (service.connections, len(service.asked)) == (1, 5)


async def test_a_connection_with_an_answer_given_up_is_not_used_again(serve: Callable[..., Any]) -> None:
    service, client = await serve(CHUNKED + b"ff\r\n" + b"x" * 200)
    await fault_of(client, service.url(), max_bytes=100)
    service.reply = b"HTTP/1.1 204 None\r\n\r\n"
    assert (await client.request("GET", service.url())).status == 204
    assert service.connections == 2


async def test_connections_to_a_host_are_bounded_and_the_rest_wait_their_turn(serve: Callable[..., Any]) -> None:
    release = asyncio.Event()
    service, client = await serve(waits=release)
    asking = [asyncio.create_task(client.request("GET", service.url())) for _ in range(30)]
    await service.has_been_asked(8)
    release.set()
    assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
    assert service.most_open == 8


async def test_waiting_for_a_connection_counts_as_waiting(serve: Callable[..., Any]) -> None:
    release = asyncio.Event()
    service, client = await serve(waits=release)
    asking = [asyncio.create_task(client.request("GET", service.url())) for _ in range(8)]
    await service.has_been_asked(8)
    assert (await fault_of(client, service.url(), timeout=0.3)).kind == "timeout"
    release.set()
    await asyncio.gather(*asking)


async def test_a_cancelled_request_leaves_no_connection(serve: Callable[..., Any]) -> None:
    service, client = await serve(waits=asyncio.Event())
    asking = asyncio.create_task(client.request("GET", service.url()))
    await service.has_been_asked(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    service.waits = None
    assert (await client.request("GET", service.url())).status == 200
    assert service.connections == 2


def test_each_event_loop_has_its_connections() -> None:
    client = HttpsClient(OutboundSettings())

    async def ask() -> str:
        fault = await fault_of(client, "https://127.0.0.1:1/")
        await client.close()
        return fault.kind

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["refused", "refused"]


async def test_it_can_be_closed_without_use_and_used_after(serve: Callable[..., Any]) -> None:
    service, client = await serve()
    await client.close()
    assert (await client.request("GET", service.url())).status == 200
    await client.close()
    assert (await client.request("GET", service.url())).status == 200
    assert re.fullmatch(r"GET /api HTTP/1\.1", service.asked[1].line)
