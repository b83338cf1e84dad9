"""What plugins serve: which path reaches which route, what a route is told, and what its answer becomes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scep_server.errors import Fault, Malformed, PluginFault, TooManyAttempts
from scep_server.types import HttpAnswer, HttpRequest
from scep_server.web import ServerCertificate
from tests.web.test_web_tls import write_pair

Serve = Callable[..., Awaitable[Any]]
PAGE = "/scep/{integration}/mscep_admin"
HOOK = "/webhooks/jamf/{integration}"
CAPS = "operation=GetCACaps"


@pytest.fixture
async def site(serve: Serve) -> Any:
    """A listener whose default integration's plugin serves a page and a webhook."""
    public = await serve(default="jamf")
    public.routes.serve(PAGE, HOOK)
    return public


# --- which path


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/scep/jamf/mscep_admin", ""),
        ("/scep/jamf/mscep_admin/", "/"),
        ("/scep/jamf/MSCEP_Admin/a/b%2Fc", "/a/b%2Fc"),
        ("/scep/j%61mf/mscep%5Fadmin", ""),
        ("/scep//mscep_admin", ""),
        ("/certsrv/mscep_admin", ""),
        ("/certsrv/mscep_admin/", "/"),
        ("/CertSrv/Mscep_Admin/x", "/x"),
        ("/webhooks/jamf/jamf", ""),
        ("/webhooks/JAMF/j%61mf/x/", "/x/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_a_route_is_reached_by_any_method(site: Any, path: str, below: str, method: str) -> None:
    reply = await site.get(path, method=method)
    assert (reply.status, reply.body) == (200, b"hello")
    assert [(one.method, one.below) for one in site.routes.requests] == [(method, below)]


@pytest.mark.parametrize(
    "path", ["/scep/jamf", "/scep/jamf/", "/scep/jamf/mscep_admins", "/scep/jamf/x/mscep_admin",
             "/scep/jamf/pkiclient.exe", "/scep/pkiclient.exe",
             "/certsrv/mscep/mscep.dll", "/CERTSRV/mscep/mscep.dll/pkiclient.exe",
             "/cgi-bin/pkiclient.exe"]
)  # fmt: skip
async def test_whatever_is_no_route_is_scep(site: Any, path: str) -> None:
    assert (await site.get(f"{path}?{CAPS}")).body == b"AES\nPOSTPKIOperation\n"
    assert site.routes.requests == []


async def test_the_name_of_another_plugins_route_is_scep(public: Any) -> None:
    assert (await public.get(f"/scep/jamf/mscep_admin?{CAPS}")).body == b"AES\nPOSTPKIOperation\n"


@pytest.mark.parametrize(
    "path", ["/webhooks", "/webhooks/", "/webhooks/jamf", "/webhooks/other/jamf", "/webhooks/jamf/other",
             "/Webhooks/jamf/jamf", "/scep/other/mscep_admin", "/scep/{integration}/mscep_admin",
             "/certsrv/mscep_admins", "/certsrv/x/mscep_admin"]
)  # fmt: skip
async def test_no_route_and_no_integration_is_not_found(site: Any, path: str) -> None:
    assert (await site.get(path)).status == 404
    assert site.routes.requests == []


async def test_the_page_of_ndes_wants_a_default_integration_that_serves_it(serve: Serve, public: Any) -> None:
    public.routes.serve(PAGE)
    assert (await public.get("/certsrv/mscep_admin")).status == 404
    assert (await public.get("/scep//mscep_admin")).status == 404
    without = await serve(default="jamf")
    assert (await without.get("/certsrv/mscep_admin")).status == 404


# --- what a route is told


async def test_a_route_is_told_the_whole_request(site: Any) -> None:
    await site.post(
        b"\x00body", "X-One: a", "x-one: b", "User-Agent: " + "u" * 300, "X-Raw: caf\xe9",
        target="/webhooks/jamf/jamf/x?a=%20b&c",
    )  # fmt: skip
    request = site.routes.requests[0]
    assert (request.method, request.below, request.query, request.body) == ("POST", "/x", "a=%20b&c", b"\x00body")
    assert request.headers["x-one"] == "a, b"
    assert request.headers["x-raw"] == "café"
    assert all(name == name.lower() for name in request.headers)
    assert (request.source.address, request.source.user_agent) == ("127.0.0.1", "u" * 200)


async def test_header_bytes_that_are_no_utf8_can_still_be_encoded(site: Any) -> None:
    await site.send(b"GET /webhooks/jamf/jamf HTTP/1.1\r\nHost: ca\r\nX-Raw: a\xff\r\nConnection: close\r\n\r\n")
    assert site.routes.requests[0].headers["x-raw"] == "a\N{REPLACEMENT CHARACTER}"


async def test_a_body_beyond_the_limit_reaches_no_route(serve: Serve) -> None:
    public = await serve(body=10)
    public.routes.serve(HOOK)
    assert (await public.post(b"x" * 11, target="/webhooks/jamf/jamf")).status == 413
    assert public.routes.requests == []
    assert (await public.post(b"x" * 10, target="/webhooks/jamf/jamf")).status == 200


async def test_neither_repr_nor_log_shows_headers_or_body(site: Any, logged: Callable[[], str]) -> None:
    await site.post(b"password", "Authorization: Basic c2VjcmV0", target="/webhooks/jamf/jamf")
    shown = repr(site.routes.requests[0])
    assert "c2VjcmV0" not in shown + logged()
    assert "password" not in shown + logged()


CONFIDENTIAL = [
    # trusted proxies, headers, confidential
    ((), [], True),
    ((), ["X-Forwarded-For: 192.0.2.1"], False),
    ((), ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"], False),
    ((), ["X-Forwarded-Proto: https"], False),
    ((), ["Via: 1.1 front"], False),
    ((), ["Forwarded: for=192.0.2.1;proto=https"], False),
    ((), ["X-Real-IP: 192.0.2.1"], False),
    (("127.0.0.1",), [], True),
    (("127.0.0.1",), ["X-Forwarded-For: 192.0.2.1"], True),
    (("127.0.0.1",), ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"], True),
    (("127.0.0.1",), ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: HTTPS , https"], True),
    (("127.0.0.1",), ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"], False),
    (("127.0.0.1",), ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], False),
    (("127.0.0.1",), ["X-Forwarded-Proto: https, http"], False),
    (("127.0.0.1",), ["X-Forwarded-Proto: wss"], False),
    (("10.0.0.0/8",), ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"], False),
]


@pytest.mark.parametrize(("trusted", "headers", "confidential"), CONFIDENTIAL)
async def test_what_is_confidential_without_tls(
    serve: Serve, trusted: tuple[str, ...], headers: list[str], confidential: bool
) -> None:
    public = await serve(trusted=trusted)
    public.routes.serve(HOOK)
    await public.get("/webhooks/jamf/jamf", *headers)
    assert [one.confidential for one in public.routes.requests] == [confidential]


@pytest.mark.parametrize(
    ("headers", "confidential"),
    [
        ([], True),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"], True),
    ],
)
async def test_tls_of_our_own_is_confidential_whatever_a_stranger_says(
    serve: Serve, tmp_path: Path, headers: list[str], confidential: bool
) -> None:
    write_pair(tmp_path, "ca")
    public = await serve(tls=ServerCertificate(tmp_path / "tls.pem", tmp_path / "tls.key"))
    public.routes.serve(HOOK)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port, ssl=context)
    head = ["GET /webhooks/jamf/jamf HTTP/1.1", "Host: ca", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(head).encode())
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    assert [one.confidential for one in public.routes.requests] == [confidential]


# --- what its answer becomes


async def test_an_answer_keeps_its_type_and_is_never_stored(site: Any) -> None:
    site.routes.answer = HttpAnswer(
        401, b"who?", "text/html; charset=utf-16",
        {"WWW-Authenticate": 'Basic realm="x"', "cache-control": "public", "Content-Length": "1", "server": "mine"},
    )  # fmt: skip
    reply = await site.get("/certsrv/mscep_admin")
    assert (reply.status, reply.body) == (401, b"who?")
    assert reply.headers["content-type"] == "text/html; charset=utf-16"
    assert reply.headers["www-authenticate"] == 'Basic realm="x"'
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert reply.headers["server"] == "scep-server"
    assert reply.raw.lower().count(b"cache-control") == 1


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\nb", "a\0b"])
async def test_an_answer_cannot_write_headers_of_its_own(site: Any, value: str) -> None:
    site.routes.answer = HttpAnswer(200, b"x", headers={"X-Note": value})
    reply = await site.get("/webhooks/jamf/jamf")
    assert reply.status == 503
    assert "set-cookie" not in reply.headers


async def test_an_answer_without_a_body_has_no_type(site: Any) -> None:
    site.routes.answer = HttpAnswer(204)
    reader, writer = await site.connect()
    writer.write(b"POST /webhooks/jamf/jamf HTTP/1.1\r\nHost: ca\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        raw = await reader.read()
    writer.close()
    assert raw.startswith(b"HTTP/1.1 204")
    assert raw.endswith(b"\r\n\r\n")
    assert b"content-type:" not in raw.lower()


SECRET = "the-challenge-itself"


@pytest.mark.parametrize(
    ("error", "status", "retry_after", "part"),
    [
        (Malformed(SECRET), 400, None, None),
        (TooManyAttempts(42), 429, "42", None),
        (PluginFault("slow", retry_after=7), 503, "7", "plugin"),
        (Fault("something"), 503, "30", "other"),
        (RuntimeError(SECRET), 503, "30", None),
    ],
)
async def test_a_routes_errors_are_in_the_table(
    site: Any, error: Exception, status: int, retry_after: str | None, part: str | None
) -> None:
    async def fail(request: HttpRequest) -> HttpAnswer:
        raise error

    site.routes.served[PAGE] = fail
    reply = await site.get("/scep/jamf/mscep_admin")
    assert (reply.status, reply.headers.get("retry-after")) == (status, retry_after)
    assert SECRET.encode() not in reply.raw
    assert b"SCEP" not in reply.raw
    assert {name: site.metrics.faults.total(name) for name in ("plugin", "other")} == {
        name: float(name == part) for name in ("plugin", "other")
    }


async def test_routes_and_scep_share_their_places(serve: Serve) -> None:
    public = await serve(in_flight=1)
    entered, release = asyncio.Event(), asyncio.Event()

    async def wait(request: HttpRequest) -> HttpAnswer:
        entered.set()
        await release.wait()
        return HttpAnswer(200)

    public.routes.served[HOOK] = wait
    public.routes.serve(PAGE)
    first = asyncio.create_task(public.post(b"", target="/webhooks/jamf/jamf"))
    await entered.wait()
    assert public.metrics.in_flight.value() == 1
    assert (await public.post(b"\x30\x03\x02\x01\x2a")).status == 503
    assert (await public.get("/scep/jamf/mscep_admin")).status == 503
    release.set()
    assert (await first).status == 200
    assert (await public.get("/scep/jamf/mscep_admin")).status == 200
    assert public.metrics.in_flight.value() == 0


async def test_routes_are_counted_as_such(site: Any) -> None:
    await site.get("/scep/jamf/mscep_admin")
    site.routes.answer = HttpAnswer(401)
    await site.post(b"", target="/webhooks/jamf/jamf")
    assert site.metrics.requests.total("plugin", 200) == site.metrics.requests.total("plugin", 401) == 1
