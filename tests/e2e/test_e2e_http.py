"""HTTP as devices and attackers speak it (R6 to R12, T2 to T5, N9, N11, N20, N22)."""

from __future__ import annotations

import base64
import gzip
import urllib.parse
from collections.abc import Callable

import pytest

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.outcomes import SUCCESS, outcome_of
from tests.e2e.server import ScepServer


@pytest.fixture
def body(server: ScepServer) -> bytes:
    return pkcs_req(Device.named("http"), server.ra, server.secret)


# --- GET as it is really sent (T2, T4, T5) ------------------------------------------------------------------------

ESCAPES: dict[str, Callable[[str], str]] = {
    "all": lambda text: urllib.parse.quote(text, safe=""),
    "macos": lambda text: text.replace("=", "%3D"),
    "lower-case": lambda text: text.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    "twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "no-padding": lambda text: urllib.parse.quote(text.rstrip("="), safe=""),
    "lines": lambda text: urllib.parse.quote("\n".join(text[i : i + 64] for i in range(0, len(text), 64)), safe=""),
    "url-alphabet": lambda text: text.translate(str.maketrans("+/", "-_")),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_http_get_message(server: ScepServer, body: bytes, escape: str):
    text = ESCAPES[escape](base64.b64encode(body).decode())
    assert outcome_of(wire.get(server.url, "PKIOperation", text)).short == SUCCESS


@pytest.mark.parametrize("tail", ["/pkiclient.exe", "/cgi-bin/pkiclient.exe", "/"])
def test_http_anything_below_the_integration_reaches_it(server: ScepServer, body: bytes, tail: str):
    url = server.url.rstrip("/") + tail
    assert wire.get(url, "GetCACaps", "default").status == 200
    assert outcome_of(wire.post(url, body)).short == SUCCESS


@pytest.mark.parametrize(
    "content_type", [None, "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"]
)
def test_http_post_of_any_content_type(server: ScepServer, body: bytes, content_type: str | None):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = wire.request("POST", f"{server.url}?operation=PKIOperation", body, headers)
    assert outcome_of(answer).short == SUCCESS


def test_http_post_of_base64(server: ScepServer, body: bytes):
    assert outcome_of(wire.post(server.url, base64.encodebytes(body))).short == SUCCESS


def test_http_post_without_operation(server: ScepServer, body: bytes):
    assert outcome_of(wire.request("POST", server.url, body)).short == SUCCESS


@pytest.mark.parametrize("operation", ["pkioperation", "PKIOPERATION"])
def test_http_operation_in_any_case(server: ScepServer, body: bytes, operation: str):
    assert outcome_of(wire.request("POST", f"{server.url}?operation={operation}", body)).short == SUCCESS


@pytest.mark.parametrize("message", [None, "", "0", "default", "CAIdentifier", "x" * 4096])
@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert", "getcacaps"])
def test_http_operations_without_data_ignore_the_message(server: ScepServer, operation: str, message: str | None):
    answer = wire.get(server.url, operation, message)
    assert answer.status == 200
    assert answer.body == wire.get(server.url, operation).body


# --- as old programs do it (T3) -----------------------------------------------------------------------------------


def test_http_1_0_without_host(server: ScepServer):
    path = urllib.parse.urlsplit(server.url).path
    assert b"SCEPStandard" in wire.raw(server.url, f"GET {path}?operation=GetCACaps HTTP/1.0\r\n\r\n".encode())


def test_http_chunked_post(server: ScepServer, body: bytes):
    path = urllib.parse.urlsplit(server.url).path
    head = (
        f"POST {path}?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 500]), body[i : i + 500]) for i in range(0, len(body), 500))
    received = wire.raw(server.url, head.encode() + b"\r\n" + chunks + b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200")


def test_http_expect_continue(server: ScepServer, body: bytes):
    path = urllib.parse.urlsplit(server.url).path
    head = f"POST {path}?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    with wire.connect(server.url) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "?operation=GetNextCACert", 404),
        ("GET", "?operation=Nonsense", 400),
        ("GET", "", 400),
        ("GET", "?operation=PKIOperation", 400),
        ("GET", "?operation=PKIOperation&message=!!!!", 400),
        ("POST", "?operation=GetCACaps", 400),
        ("PUT", "?operation=PKIOperation", 405),
        ("DELETE", "", 405),
        ("PATCH", "", 405),
    ],
)
def test_http_refused(server: ScepServer, method: str, query: str, status: int):
    answer = wire.request(method, server.url + query, b"x" if method in ("POST", "PUT") else None)
    assert answer.status == status
    if status == 405:
        assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST", "HEAD"}


def test_http_head_is_get_without_a_body(server: ScepServer):
    answer = wire.request("HEAD", f"{server.url}?operation=GetCACaps")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("name", ["nobody", "..%2fdefault", "a%00b", "x" * 4096, "..", "%2e%2e"])
def test_http_unknown_integration(server: ScepServer, name: str):
    base = server.url.rsplit("/", 1)[0]
    answer = wire.get(f"{base}/{name}", "GetCACaps")
    assert answer.status == 404
    assert name.encode() not in answer.body or len(name) < 4


def test_http_body_too_large(server: ScepServer, body: bytes):
    assert wire.post(server.url, body + bytes(64 * 1024)).status == 413


def test_http_announced_body_too_large_is_not_waited_for(server: ScepServer):
    path = urllib.parse.urlsplit(server.url).path
    head = f"POST {path}?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert wire.raw(server.url, head.encode()).startswith(b"HTTP/1.1 413")


def test_http_line_too_long(server: ScepServer):
    assert wire.get(server.url, "PKIOperation", "A" * 17000).status == 414


def test_http_line_of_sixteen_thousand_is_read(server: ScepServer):
    assert wire.get(server.url, "PKIOperation", "A" * 15000).status == 400


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_http_compressed_bodies_are_never_inflated(server: ScepServer, body: bytes, encoding: str):
    headers = {"Content-Type": wire.MESSAGE_TYPE, "Content-Encoding": encoding}
    sent = gzip.compress(body) if encoding == "gzip" else body
    answer = wire.request("POST", f"{server.url}?operation=PKIOperation", sent, headers)
    assert answer.status in (400, 415)


def test_http_compression_bomb(server: ScepServer):
    bomb = gzip.compress(bytes(40_000_000))
    headers = {"Content-Encoding": "gzip"}
    answer = wire.request("POST", f"{server.url}?operation=PKIOperation", bomb[:65000], headers)
    assert answer.status in (400, 415)


SECRET = b"s3cr3t-in-a-header"
ODD = {
    "two-lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length-and-chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded-header": b"X-A: b\r\n folded\r\n\r\n",
    "nul-in-header": b"Authorization: " + SECRET + b"\0\r\n\r\n",
    "bad-header-name": b"Author(ization: " + SECRET + b"\r\n\r\n",
    "negative-length": b"Content-Length: -1\r\n\r\n",
    "bad-chunk": b"Transfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
}


@pytest.mark.parametrize("case", ODD)
def test_http_odd_requests_are_refused_without_an_echo(server: ScepServer, case: str):
    path = urllib.parse.urlsplit(server.url).path.encode()
    received = wire.raw(server.url, b"POST " + path + b"?operation=PKIOperation HTTP/1.1\r\nHost: x\r\n" + ODD[case])
    assert received == b"" or received.split(b" ")[1] in (b"400", b"431", b"501")
    assert SECRET not in received
    assert SECRET.decode() not in server.stderr()
    assert received.count(b"HTTP/1.1") <= 1


def test_http_a_hundred_slow_connections_do_not_stop_others(server: ScepServer, body: bytes):
    path = urllib.parse.urlsplit(server.url).path.encode()
    slow = [wire.connect(server.url) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(b"POST " + path + b"?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Le")
        assert outcome_of(wire.post(server.url, body)).short == SUCCESS
    finally:
        for connection in slow:
            connection.close()
