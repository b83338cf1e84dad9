"""SCEP over HTTP: paths, methods, operations, content types, the ways devices bend them (R6-R12, T3-T5)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from scep_server.errors import Fault, LedgerUnavailable, Malformed, TooLarge, TooManyAttempts

MESSAGE = b"\x30\x03\x02\x01\x2a"
GET_MESSAGE = "/scep/jamf?operation=PKIOperation&message=" + quote(base64.b64encode(MESSAGE).decode(), safe="")
Serve = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("suffix", ["", "/", "/pkiclient.exe", "/cgi-bin/pkiclient.exe", "/a/b//c"])
async def test_anything_below_an_integration_reaches_it(public: Any, suffix: str) -> None:
    reply = await public.get(f"/scep/jamf{suffix}?operation=GetCACaps&message=default")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
    assert reply.body == b"AES\nPOSTPKIOperation\n"


@pytest.mark.parametrize("path", ["/scep/other", "/scep/jam", "/scep/jamf2/x", "/", "/nothing", "/SCEP/jamf"])
async def test_unknown_integrations_and_paths_are_not_found(public: Any, path: str) -> None:
    assert (await public.get(f"{path}?operation=GetCACaps")).status == 404


CONVENTIONAL = ["/scep", "/scep/", "/scep/pkiclient.exe", "/cgi-bin/pkiclient.exe", "/certsrv/mscep/mscep.dll",
                "/certsrv/mscep/mscep.dll/pkiclient.exe", "/certsrv/MSCEP/mscep.dll"]  # fmt: skip


@pytest.mark.parametrize("path", CONVENTIONAL)
async def test_conventional_paths_reach_the_default_integration_only_where_one_is_configured(
    serve: Serve, path: str
) -> None:
    configured, bare = await serve(default="jamf"), await serve()
    assert (await configured.get(f"{path}?operation=GetCACaps")).status == 200
    assert (await bare.get(f"{path}?operation=GetCACaps")).status == 404
    assert (await configured.get("/cgi-bin/other?operation=GetCACaps")).status == 404


async def test_get_ca_cert_has_its_exact_content_type(public: Any) -> None:
    reply = await public.get("/scep/jamf?operation=GetCACert")
    assert (reply.status, reply.headers["content-type"], reply.body) == (
        200, "application/x-x509-ca-ra-cert", b"\x30chain",
    )  # fmt: skip


@pytest.mark.parametrize("message", ["", "&message", "&message=", "&message=0", "&message=default",
                                     "&message=CAIdentifier", "&message=" + "x" * 4000])  # fmt: skip
@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert"])
async def test_the_message_of_an_operation_without_one_changes_nothing(
    public: Any, operation: str, message: str
) -> None:
    plain = await public.get(f"/scep/jamf?operation={operation}")
    reply = await public.get(f"/scep/jamf?operation={operation}{message}&extra=1")
    assert (reply.status, reply.body) == (200, plain.body)
    assert b"CAIdentifier" not in reply.raw
    assert b"xxxx" not in reply.raw


@pytest.mark.parametrize("name", ["GetCACaps", "getcacaps", "GETCACAPS"])
async def test_operations_in_any_letter_case(public: Any, name: str) -> None:
    assert (await public.get(f"/scep/jamf?operation={name}")).status == 200


@pytest.mark.parametrize("query", ["", "?operation=", "?operation=GetCACapsX", "?message=x",
                                   "?operation=GetCACaps&operation=PKIOperation"])  # fmt: skip
async def test_unknown_missing_and_contradicting_operations_are_malformed(public: Any, query: str) -> None:
    assert (await public.get(f"/scep/jamf{query}")).status == 400


async def test_no_rollover_is_not_found_rather_than_malformed(public: Any) -> None:
    assert (await public.get("/scep/jamf?operation=GetNextCACert")).status == 404


async def test_head_is_get_without_its_body(public: Any) -> None:
    got = await public.get("/scep/jamf?operation=GetCACaps")
    reply = await public.get("/scep/jamf?operation=GetCACaps", method="HEAD")
    assert reply.status == 200
    assert (reply.headers["content-type"], reply.headers["content-length"]) == ("text/plain", str(len(got.body)))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_told_which_are_allowed(public: Any, method: str) -> None:
    reply = await public.get("/scep/jamf?operation=GetCACaps", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("target", ["/scep/jamf?operation=PKIOperation", "/scep/jamf", "/scep/jamf?message=x"])
@pytest.mark.parametrize(
    "content_type",
    ["Content-Type: application/x-pki-message", "Content-Type: application/octet-stream",
     "Content-Type: application/x-www-form-urlencoded", "X-No-Type: 1",
     "Content-Type: multipart/form-data; boundary=x"],
)  # fmt: skip
async def test_post_with_any_type_and_without_operation_is_pki_operation(
    public: Any, target: str, content_type: str
) -> None:
    reply = await public.post(MESSAGE, content_type, target=target)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-pki-message")
    assert reply.body == b"\x30reply to " + MESSAGE
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert", "GetNextCACert", "Other"])
async def test_post_of_another_operation_is_malformed(public: Any, operation: str) -> None:
    assert (await public.post(MESSAGE, target=f"/scep/jamf?operation={operation}")).status == 400
    assert public.enrollment.messages == []


async def test_pki_operation_by_get_and_head_is_one_message(public: Any) -> None:
    reply = await public.get(GET_MESSAGE)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-pki-message")
    assert reply.body == b"\x30reply to " + MESSAGE
    assert (await public.get(GET_MESSAGE, method="HEAD")).status == 200
    assert [message for _, message, _ in public.enrollment.messages] == [MESSAGE, MESSAGE]


async def test_a_raw_plus_in_the_query_survives(public: Any) -> None:
    message = b"\x30\x04\x02\xfb\xef\xbe"
    text = base64.b64encode(message).decode()
    assert "+" in text
    assert (await public.get(f"/scep/jamf?operation=PKIOperation&message={text}")).status == 200
    assert public.enrollment.messages[0][1] == message


async def test_base64_body_is_understood_and_other_text_is_not(public: Any) -> None:
    assert (await public.post(base64.b64encode(MESSAGE))).status == 200
    assert (await public.post(b"hello, world")).status == 400
    assert (await public.post(b"")).status == 400
    assert [message for _, message, _ in public.enrollment.messages] == [MESSAGE]


async def test_absolute_form_and_escaped_names(public: Any) -> None:
    assert (await public.get("http://elsewhere/scep/jamf?operation=GetCACaps")).status == 200
    assert (await public.get("/scep/j%61mf?operation=GetCACaps")).status == 200
    assert (await public.get("/scep%2Fjamf?operation=GetCACaps")).status == 404
    assert (await public.get("/scep/jamf%2F..?operation=GetCACaps")).status == 404


async def test_http_1_0_without_host(public: Any) -> None:
    reply = await public.send(b"GET /scep/jamf?operation=GetCACaps HTTP/1.0\r\n\r\n")
    assert reply.status == 200
    assert reply.raw.startswith(b"HTTP/1.0 200")
    assert (await public.send(b"GET /scep/jamf?operation=GetCACaps HTTP/1.1\r\n\r\n")).status == 400


async def test_source_carries_peer_and_bounded_user_agent(public: Any) -> None:
    await public.post(MESSAGE, "User-Agent: " + "a" * 5000, "X-Forwarded-For: 203.0.113.9")
    source = public.enrollment.messages[0][2]
    assert source.address == "127.0.0.1"
    assert source.user_agent == "a" * 200


async def test_a_trusted_proxy_tells_the_client_address(serve: Serve) -> None:
    public = await serve(trusted=("127.0.0.0/8",))
    await public.post(MESSAGE, "X-Forwarded-For: 198.51.100.7, 203.0.113.9", "X-Forwarded-For: 127.0.0.2")
    assert public.enrollment.messages[0][2].address == "203.0.113.9"


SECRET = "the-challenge-itself"


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Malformed("no transactionID"), 400, None),
        (TooLarge("CSR"), 413, None),
        (TooManyAttempts(42), 429, "42"),
        (Fault("plugin is slow", retry_after=7), 503, "7"),
        (LedgerUnavailable("disk full"), 503, "30"),
        (RuntimeError(SECRET), 503, "30"),
        (KeyError(SECRET), 503, "30"),
        (TimeoutError(SECRET), 503, "30"),
        (LookupError("gone meanwhile"), 404, None),
    ],
)
async def test_the_table(
    public: Any, logged: Callable[[], str], error: Exception, status: int, retry_after: str | None
) -> None:
    public.enrollment.error = error
    reply = await public.post(MESSAGE)
    assert (reply.status, reply.headers.get("retry-after")) == (status, retry_after)
    assert SECRET.encode() not in reply.raw
    assert SECRET not in logged()
    if status == 503:
        assert (type(error).__name__ in logged()) or (str(error) in logged())


async def test_an_error_that_names_no_time_leaves_it_to_the_operator(serve: Serve) -> None:
    public = await serve(retry_after=120)
    public.enrollment.error = LedgerUnavailable("disk full")
    assert (await public.post(MESSAGE)).headers["retry-after"] == "120"
    public.enrollment.error = Fault("busy with this one", retry_after=1)
    assert (await public.post(MESSAGE)).headers["retry-after"] == "1"


async def test_beyond_the_bound_the_answer_is_busy_and_at_once(serve: Serve) -> None:
    public = await serve(in_flight=1, retry_after=9)
    public.enrollment.release = asyncio.Event()
    first = asyncio.create_task(public.post(MESSAGE))
    await public.enrollment.entered.wait()
    refused = await public.post(MESSAGE)
    assert (refused.status, refused.headers["retry-after"]) == (503, "9")
    assert (await public.get("/scep/jamf?operation=GetCACaps")).status == 200
    public.enrollment.release.set()
    assert (await first).status == 200
    assert (await public.post(MESSAGE)).status == 200


async def test_requests_are_counted_by_operation_and_status(public: Any) -> None:
    await public.post(MESSAGE)
    await public.get("/scep/jamf?operation=GetCACaps")
    await public.get("/scep/none?operation=GetCACaps")
    await public.get("/elsewhere")
    total = public.metrics.requests.total
    assert total("PKIOperation", 200) == total("GetCACaps", 200) == total("GetCACaps", 404) == total("other", 404) == 1
