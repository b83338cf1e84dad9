"""Tokens and discovery: shared, kept, dropped and asked for anew, and through the house's own HTTPS client only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scep_server import errors
from scep_server.errors import OutboundFault, Refusal
from tests.plugins.intune_connection import SECRET, Connection, app_pem, connection, leaf
from tests.simulators.intune import Fault


@pytest.fixture
async def corp(make_house, tmp_path: Path) -> AsyncIterator[Connection]:
    async with connection(make_house, tmp_path) as made:
        yield made
        assert made.intune.violations == []


async def test_both_scopes_are_asked_for_with_the_documented_double_slash(corp: Connection) -> None:
    await corp.load().redeem(corp.attempt())
    graph, intune = (call.body.decode() for call in corp.intune.calls("token"))
    assert "graph%2F.default" in graph
    assert "scope=https%3A%2F%2Fapi.manage.microsoft.com%2F%2F.default" in intune


async def test_a_single_slash_is_the_operators_choice(corp: Connection) -> None:
    single = {"intune_scope_base": "https://api.manage.microsoft.com"}
    with pytest.raises(errors.Fault, match="AADSTS500011"):
        await corp.load(**single).redeem(corp.attempt())
    corp.tenant.accepts_single_slash = True
    await corp.load(**single).redeem(corp.attempt())


async def test_a_crowd_shares_one_token_and_one_discovery(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await asyncio.gather(*(plugin.redeem(attempt) for _ in range(30)))
    assert corp.operations().count("token") == 2
    assert corp.operations().count("openid-configuration") == 1
    assert corp.operations().count("endpoints") == 1
    assert corp.counted("tokens") == 2


async def test_a_crowd_shares_one_refusal_too(corp: Connection) -> None:
    corp.app.secret = "another"
    plugin, attempt = corp.load(), corp.attempt()
    ended = await asyncio.gather(*(plugin.redeem(attempt) for _ in range(30)), return_exceptions=True)
    assert all(isinstance(end, errors.Fault) and "AADSTS7000215" in str(end) for end in ended)
    assert corp.operations().count("token") == 1


async def test_what_msal_remembers_of_a_refusal_is_told_like_the_refusal(corp: Connection) -> None:
    corp.app.consented = False
    plugin, attempt = corp.load(), corp.attempt()
    for _ in range(2):
        with pytest.raises(errors.Fault, match="AADSTS65001"):
            await plugin.redeem(attempt)
    assert corp.operations().count("token") == 1


async def test_one_who_gives_up_leaves_the_token_to_the_others(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    held = corp.intune.fail("token", Fault.held())
    impatient = asyncio.ensure_future(plugin.redeem(attempt))
    await corp.intune.wait_for("token")
    patient = asyncio.ensure_future(plugin.redeem(attempt))
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    held.release()
    await patient
    assert corp.operations().count("token") == 2


async def test_a_token_near_its_end_is_not_used_again(corp: Connection) -> None:
    corp.app.token_seconds = 299
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    await plugin.redeem(attempt)
    assert [name for name in corp.operations() if name != "endpoints"].count("token") == 3


async def test_a_refused_token_is_replaced_once_within_the_call(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    corp.intune.revoke_tokens()
    await plugin.redeem(attempt)
    assert corp.operations()[-3:] == ["validateRequest", "token", "validateRequest"]
    corp.intune.fail("validateRequest", Fault.with_status(401), times=None)
    before = len(corp.operations())
    with pytest.raises(errors.Fault, match="401"):
        await plugin.redeem(attempt)
    assert corp.operations()[before:] == ["validateRequest", "token", "validateRequest"]


async def test_a_crowd_with_a_refused_token_replaces_it_once(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    corp.intune.revoke_tokens()
    await asyncio.gather(*(plugin.redeem(attempt) for _ in range(30)))
    assert corp.operations().count("token") == 3


async def test_a_role_granted_later_counts_from_the_next_request_on(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    corp.intune.fail("token", Fault.omitting("scep_challenge_provider"), times=2)
    with pytest.raises(errors.Fault):
        await plugin.redeem(attempt)
    await plugin.redeem(attempt)


async def test_a_certificate_instead_of_a_secret(corp: Connection) -> None:
    pem, certificate = app_pem()
    plugin = corp.load(client_secret="", client_certificate=pem)
    with pytest.raises(errors.Fault, match="AADSTS700027"):
        await plugin.redeem(corp.attempt())
    corp.app.certificates.append(certificate)
    await plugin.check()  # forgets what msal remembers of the refusal
    await plugin.redeem(corp.attempt())
    assert b"client_assertion" in corp.intune.calls("token")[0].body


async def test_certifi_proxies_and_regions_of_the_environment_are_not_msals_to_find(
    corp: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "none.pem"
    empty.touch()
    for name, value in {"REQUESTS_CA_BUNDLE": str(empty), "MSAL_FORCE_REGION": "westus"}.items():
        monkeypatch.setenv(name, value)
    await corp.load().redeem(corp.attempt())
    assert "unknown" not in corp.operations()


async def test_all_of_it_goes_through_the_operators_proxy(corp: Connection, make_house, tmp_path: Path) -> None:
    asked: list[str] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split("\r\n")[0])
        host, port = head.split()[1].split(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer), return_exceptions=True)

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    corp.house = make_house(ca_file=tmp_path / "simulator-ca.pem", proxy=address)
    plugin = corp.load()
    await plugin.redeem(corp.attempt())
    answered = corp.operations()
    assert asked
    assert all(line.startswith("CONNECT 127.0.0.1:") for line in asked)
    proxy.close()
    await corp.house.house.outbound.close()
    with pytest.raises(OutboundFault) as failed:
        await corp.load().redeem(corp.attempt())
    assert failed.value.kind == "proxy"
    assert corp.operations() == answered  # nothing found a way around it


async def test_an_authority_that_is_not_trusted_is_not_asked(corp: Connection, make_house) -> None:
    corp.house = make_house()
    with pytest.raises(OutboundFault) as failed:
        await corp.load().redeem(corp.attempt())
    assert failed.value.kind == "tls"
    assert corp.operations() == []


ENTRA_FAULTS = {
    "429": Fault.throttled("9"),
    "500": Fault.with_status(500),
    "403": Fault.with_status(403),
    "cut": Fault.cut(),
    "garbage": Fault.garbage(),
    "a portal": Fault.answering(200, "<html>words of a portal", "text/html"),
    "no token": Fault.answering(200, {"token_type": "Bearer"}),
    "odd token": Fault.answering(200, {"token_type": "Bearer", "expires_in": "long", "access_token": ["x"]}),
    "oversized": Fault.oversized(3 << 20),
    "redirect": Fault.redirect(),
}


@pytest.mark.parametrize("operation", ["openid-configuration", "token", "endpoints"])
async def test_whatever_the_way_there_answers_is_a_fault(
    corp: Connection, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "msal"):
        caplog.set_level(logging.DEBUG, logger=name)
    attempt = corp.attempt()
    for name, fault in ENTRA_FAULTS.items():
        plugin = corp.load()
        if name == "cut" and operation == "endpoints":
            continue  # the house's client sends a GET again whose connection was cut, under the same request id
        planned = corp.intune.fail(operation, fault, times=None)
        with pytest.raises(errors.Fault) as failed:
            await plugin.redeem(attempt)
        assert failed.value.part == "plugin", name
        assert failed.value.retry_after == (9 if name == "429" else None), name
        assert SECRET not in caplog.text + str(failed.value), name
        assert "portal" not in caplog.text + str(failed.value), name
        corp.intune.faults.lift(planned.number)
        await plugin.check()  # msal honours a Retry-After of its own; a test of the connection does not wait for it
        await plugin.redeem(attempt)


async def test_msal_itself_logs_nothing(corp: Connection, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await corp.load().redeem(corp.attempt())
    corp.app.secret = "another"
    with pytest.raises(errors.Fault):
        await corp.load().redeem(corp.attempt())
    assert [record.name for record in caplog.records if record.name.partition(".")[0] == "msal"] == []


async def test_entras_words_are_told_by_their_code_only(corp: Connection) -> None:
    said = {"error": "invalid_client", "error_description": f"AADSTS7000215: wrong secret {SECRET} provided"}
    corp.intune.fail("token", Fault.answering(401, said))
    with pytest.raises(errors.Fault, match="AADSTS7000215") as failed:
        await corp.load().redeem(corp.attempt())
    assert SECRET not in str(failed.value)


async def test_a_tenant_that_moved_is_found_within_the_call(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    for asked, old in enumerate((404, 410, "refused"), 2):
        await corp.intune.move(corp.tenant, old=old)  # type: ignore[arg-type]
        await plugin.confirm(attempt, leaf()[0])
        assert corp.operations().count("endpoints") == asked
        assert corp.counted("discoveries") == asked


async def test_where_the_list_still_says_the_same_nothing_is_tried_twice(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    corp.intune.fail("validateRequest", Fault.with_status(404), times=None)
    with pytest.raises(errors.Fault, match="404"):
        await plugin.redeem(attempt)
    assert corp.operations().count("validateRequest") == 1


async def test_any_failure_of_a_call_forgets_where_the_services_are(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    for asked, fault in enumerate((Fault.with_status(500), Fault.with_status(403), Fault.cut(), Fault.garbage()), 2):
        corp.intune.fail("validateRequest", fault)
        with pytest.raises(errors.Fault):
            await plugin.redeem(attempt)
        await plugin.redeem(attempt)
        assert corp.operations().count("endpoints") == asked


async def test_a_refusal_is_no_failure_of_a_call(corp: Connection) -> None:
    plugin = corp.load()
    for _ in range(2):
        with pytest.raises(Refusal):
            await plugin.redeem(corp.attempt("guessed"))
    assert corp.operations().count("endpoints") == 1


async def test_services_are_found_by_either_name_in_any_case(corp: Connection) -> None:
    for name_key in ("providerName", "serviceName"):
        for name_case in ("documented", "lower", "upper"):
            corp.tenant.name_key, corp.tenant.name_case = name_key, name_case  # type: ignore[assignment]
            await corp.load().redeem(corp.attempt())


SERVICE = "ScepRequestValidationFEService"
LISTS = {
    "no list": {"value": None},
    "nothing": {"value": []},
    "strangers": {"value": ["text", {"providerName": 1, "uri": "x"}, {"providerName": "Other", "uri": "http://x"}]},
    "no address": {"value": [{"providerName": SERVICE, "uri": None}]},
    "plain http": {"value": [{"providerName": SERVICE, "uri": "http://127.0.0.1/a"}]},
    "with a user": {"value": [{"providerName": SERVICE, "uri": "https://a@127.0.0.1/a"}]},
    "endless": {"value": [{"providerName": f"S{number}", "uri": "https://a"} for number in range(1001)]},
}


async def test_a_list_without_a_usable_address_is_a_fault(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    for name, answer in LISTS.items():
        planned = corp.intune.fail("endpoints", Fault.answering(200, answer))
        with pytest.raises(errors.Fault):
            await plugin.redeem(attempt)
        assert "validateRequest" not in corp.operations(), name
        assert planned.times == 0
    await plugin.redeem(attempt)
