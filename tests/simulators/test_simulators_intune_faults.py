"""Scripted faults: each kind does what it says, to whom it says, as often as it says, and no more."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.simulators.documented import SECRET, DocumentedClient, download, failure, result, success, validation
from tests.simulators.intune import OPERATIONS, VALIDATION_CODES, Fault, IntuneSimulator

GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)


@pytest.mark.parametrize("code", [*VALIDATION_CODES, "SomethingNew"])
async def test_every_code_can_be_answered(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, code: str
) -> None:
    intune.fail("validateRequest", Fault.with_code(code, "as scripted"))
    scripted = await client.call("validateRequest", validation(csr))
    assert scripted.status == 200
    assert scripted.json == {"code": code, "errorDescription": "as scripted"}
    assert intune.calls("validateRequest")[0].fault == "code"
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"


def test_there_are_25_codes() -> None:
    assert len(set(VALIDATION_CODES)) == 25


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503])
async def test_an_http_error_has_the_services_shape(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, status: int
) -> None:
    intune.fail("validateRequest", Fault.with_status(status))
    reply = await client.call("validateRequest", validation(csr))
    assert reply.status == status
    assert reply.json["error"]["code"] == "InternalError"
    assert json.loads(reply.json["error"]["message"])["_version"] == 3
    assert intune.violations == []


async def test_throttling_says_when_to_come_back(intune: IntuneSimulator, client: DocumentedClient) -> None:
    intune.fail("token", Fault.throttled("11"), times=2)
    replies = [await client.send(client.token_request()) for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert replies[0].headers["Retry-After"] == "11"


async def test_a_lasting_fault_ends_when_it_is_lifted(intune: IntuneSimulator, client: DocumentedClient) -> None:
    planned = intune.fail("endpoints", Fault.with_status(503), times=None)
    assert [(await client.discover()).status for _ in range(3)] == [503, 503, 503]
    intune.faults.lift(planned.number)
    assert (await client.discover()).status == 200


async def test_a_fault_is_one_tenants(intune: IntuneSimulator, client: DocumentedClient) -> None:
    other = intune.add_tenant("fabrikam.onmicrosoft.com")
    stranger = DocumentedClient(intune, client.session, other, intune.add_app(other, secret=SECRET))
    for operation in ("token", "endpoints"):
        intune.fail(operation, Fault.with_status(500), tenant=other)
    assert (await client.discover()).status == 200
    assert (await stranger.send(stranger.token_request())).status == 500
    await stranger.sign_in()
    assert (await stranger.discover()).status == 500


def test_a_fault_needs_an_operation(intune: IntuneSimulator) -> None:
    with pytest.raises(ValueError, match="validateRequest"):
        intune.fail("validate", Fault.cut())


async def test_a_held_answer_comes_when_released(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    planned = intune.fail("validateRequest", Fault.held())
    waiting = asyncio.create_task(client.call("validateRequest", validation(csr)))
    await planned.arrived.wait()
    assert intune.calls("validateRequest")[0].status is None
    assert not waiting.done()
    planned.release()
    assert (await waiting).json["code"] == "Success"


async def test_a_delayed_answer_comes(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    intune.fail("validateRequest", Fault.delayed(30.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.call("validateRequest", validation(csr)), 0.2)
    intune.fail("validateRequest", Fault.delayed(0.01))
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_connection_can_be_cut_before_the_answer(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, operation: str
) -> None:
    requests = {
        "openid-configuration": client.token_request(),
        "token": client.token_request(),
        "endpoints": client.discovery_request(),
        "validateRequest": client.service_request("validateRequest", validation(csr)),
        "successNotification": client.service_request("successNotification", success(csr)),
        "failureNotification": client.service_request("failureNotification", failure(csr)),
        "downloadRevocationRequests": client.service_request("downloadRevocationRequests", download()),
        "uploadRevocationResults": client.service_request("uploadRevocationResults", {"results": [result("x")]}),
    }
    request = requests[operation]
    if operation == "openid-configuration":
        request.method, request.body = "GET", None
        request.url = request.url.replace("/oauth2/v2.0/token", "/v2.0/.well-known/openid-configuration")
    intune.fail(operation, Fault.cut(), times=None)  # aiohttp repeats a GET by itself on a connection it kept
    with pytest.raises(GONE):
        await client.send(request)
    (call,) = intune.calls(operation)[-1:]
    assert (call.fault, call.status) == ("cut", None)


@pytest.mark.parametrize("fault", [Fault.cut(effect=True), Fault.cut_mid_body(), Fault.with_status(500, effect=True)])
async def test_a_notice_can_be_recorded_though_its_answer_is_lost(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, fault: Fault
) -> None:
    await client.call("validateRequest", validation(csr))
    intune.fail("successNotification", fault)
    try:
        assert (await client.call("successNotification", success(csr))).status == 500
    except GONE:
        assert fault.kind != "status"
    assert len(intune.validation.notified) == 1
    intune.fail("successNotification", Fault.cut())
    with pytest.raises(GONE):
        await client.call("successNotification", success(csr))
    assert len(intune.validation.notified) == 1


async def test_nobody_may_act_on_an_answer_that_was_lost(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    intune.fail("validateRequest", Fault.cut(effect=True))
    with pytest.raises(GONE):
        await client.call("validateRequest", validation(csr))
    assert (await client.call("successNotification", success(csr))).status == 400
    assert intune.violations[0].startswith("call 5: 1.4-fail-closed: validateRequest answered None")
    await client.call("validateRequest", validation(csr))
    assert (await client.call("successNotification", success(csr))).status == 200


async def test_bodies_that_are_not_what_they_should_be(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    intune.fail("validateRequest", Fault.garbage())
    garbage = await client.call("validateRequest", validation(csr))
    assert garbage.status == 200
    with pytest.raises(ValueError):
        json.loads(garbage.content)
    intune.fail("validateRequest", Fault.as_content_type())
    html = await client.call("validateRequest", validation(csr))
    assert html.headers["Content-Type"].startswith("text/html")
    assert html.json["code"] == "Success"
    intune.fail("validateRequest", Fault.answering(200, {"code": None}))
    assert (await client.call("validateRequest", validation(csr))).json == {"code": None}


async def test_an_oversized_body_is_no_longer_than_the_reader_reads(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    intune.fail("validateRequest", Fault.oversized(200_000))
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"
    intune.fail("validateRequest", Fault.oversized())
    request = client.service_request("validateRequest", validation(csr))
    async with client.session.post(
        request.url, data=request.content(), headers=request.headers, ssl=intune.client_context()
    ) as response:
        await response.content.readexactly(100_000)
        assert "Content-Length" not in response.headers
        response.close()
    await client.discover()
    assert intune.calls("validateRequest")[1].sent < 32 << 20


async def test_a_redirect_leads_where_it_is_seen(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    intune.fail("validateRequest", Fault.redirect())
    reply = await client.call("validateRequest", validation(csr))
    assert reply.status == 307
    assert intune.calls("elsewhere") == []
    async with client.session.post(reply.headers["Location"], ssl=intune.client_context()) as response:
        assert response.status == 200
    assert len(intune.calls("elsewhere")) == 1


async def test_a_token_can_lack_a_role_the_application_has(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    intune.fail("token", Fault.omitting("scep_challenge_provider"), times=2)
    await client.sign_in()
    assert (await client.discover()).status == 200
    denied = await client.call("validateRequest", validation(csr))
    assert denied.status == 403
    await client.sign_in()
    assert (await client.call("validateRequest", validation(csr))).status == 200
    assert intune.violations == []


async def test_discovery_can_lack_a_service(intune: IntuneSimulator, client: DocumentedClient) -> None:
    intune.fail("endpoints", Fault.omitting("PkiConnectorFEService"))
    await client.discover()
    assert set(client.uris) == {"someotherfeservice", "sceprequestvalidationfeservice"}
    await client.discover()
    assert "pkiconnectorfeservice" in client.uris


@pytest.mark.parametrize("old", [404, 410])
async def test_a_moved_service_answers_at_its_new_place(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, old: int
) -> None:
    await intune.move(client.tenant, old=old)
    assert (await client.call("validateRequest", validation(csr))).status == old
    await client.discover()
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"
    assert intune.violations == []


async def test_a_moved_service_refuses_at_its_old_place(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    await client.call("validateRequest", validation(csr))
    await intune.move(client.tenant, old="refused")
    with pytest.raises(GONE):  # on the connection kept alive
        await client.call("validateRequest", validation(csr))
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.call("validateRequest", validation(csr))
    await client.discover()
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"


async def test_waiting_for_calls(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    waiting = asyncio.create_task(intune.wait_for("validateRequest", 2))
    first: Any = await client.call("validateRequest", validation(csr))
    assert not waiting.done()
    await client.call("validateRequest", validation(csr))
    assert [call.answer for call in await waiting] == [first.json, first.json]
    with pytest.raises(TimeoutError):
        await intune.wait_for("successNotification", 1, 0.01)
