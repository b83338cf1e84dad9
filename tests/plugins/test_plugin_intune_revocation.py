"""Revocations from Intune: which requests are ours, how serials are read, what is answered, and again after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge_plugins.intune.revocation import serial_number
from scep_server import errors
from scep_server.plugins import GuardedPlugin
from scep_server.types import RevocationOutcome, RevocationResult
from tests.plugins.intune_connection import Connection, connection, leaf
from tests.simulators.intune import Fault

SERIAL = 0x0A1B2C3D4E5F
ISSUER = "CN=Corp CA"


@pytest.fixture
async def corp(make_house, tmp_path: Path) -> AsyncIterator[Connection]:
    async with connection(make_house, tmp_path) as made:
        made.options["issuer_name"] = ISSUER
        yield made
        assert made.intune.violations == []


async def answer(plugin: GuardedPlugin, outcome: RevocationOutcome) -> None:
    requests = await plugin.revocation_requests()
    await plugin.revocations_done([RevocationResult(request, outcome) for request in requests])


async def test_what_was_told_at_issue_comes_back_and_is_done_once(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    assert plugin.pull_seconds == 300
    assert await plugin.revocation_requests() == []
    await plugin.redeem(attempt)
    await plugin.confirm(attempt, leaf(SERIAL)[0])
    asked = corp.intune.revoke_notified(corp.tenant)
    (request,) = await plugin.revocation_requests()
    assert (request.serial, request.context) == (SERIAL, asked.context)
    await plugin.revocations_done([RevocationResult(request, RevocationOutcome.REVOKED)])
    assert await plugin.revocation_requests() == []
    download = corp.intune.calls("downloadRevocationRequests")[1]
    assert download.json == {"downloadParameters": {"maxRequests": 100, "issuerName": ISSUER}}
    assert download.headers["api-version"] == "5019-05-05"
    (upload,) = corp.intune.calls("uploadRevocationResults")
    told = {"requestContext": asked.context, "succeeded": True, "errorCode": "None", "errorMessage": None}
    assert upload.json == {"results": [told]}


OUTCOMES = {
    RevocationOutcome.REVOKED: (True, "None", False),
    RevocationOutcome.ALREADY_REVOKED: (True, "None", False),
    RevocationOutcome.NOT_FOUND: (False, "CertificateNotFoundError", False),
    RevocationOutcome.UNREADABLE: (False, "ParameterDataInvalidError", False),
    RevocationOutcome.RETRY: (False, "RetryableServiceException", True),
}


async def test_each_outcome_has_its_answer(corp: Connection) -> None:
    assert set(OUTCOMES) == set(RevocationOutcome)
    plugin = corp.load()
    for outcome, (succeeded, code, comes_again) in OUTCOMES.items():
        asked = corp.intune.request_revocation(corp.tenant, "0A", ISSUER, "corp")
        await answer(plugin, outcome)
        (result,) = asked.results
        assert (result["succeeded"], result["errorCode"]) == (succeeded, code)
        assert (result["errorMessage"] is None) == succeeded
        assert bool(await plugin.revocation_requests()) == comes_again


async def test_a_crash_between_revoking_and_telling_ends_in_success(corp: Connection) -> None:
    asked = corp.intune.request_revocation(corp.tenant, f"{SERIAL:X}", ISSUER, "corp")
    (before,) = await corp.load().revocation_requests()
    # Revoked here; the process ends before it could tell. The next one is asked the same.
    restarted = corp.load()
    (after,) = await restarted.revocation_requests()
    assert after == before
    await restarted.revocations_done([RevocationResult(after, RevocationOutcome.ALREADY_REVOKED)])
    assert not asked.pending
    assert asked.results[0]["succeeded"] is True


@pytest.mark.parametrize("value", [False, None, "false", 1, "True"])
async def test_results_that_were_not_recorded_are_told_again(corp: Connection, value: Any) -> None:
    plugin = corp.load()
    asked = corp.intune.request_revocation(corp.tenant, "0A", ISSUER, "corp")
    (request,) = await plugin.revocation_requests()
    corp.tenant.upload_value = value
    corp.intune.fail("uploadRevocationResults", Fault.answering(200, {"value": value}))
    with pytest.raises(errors.Fault, match="did not record"):
        await plugin.revocations_done([RevocationResult(request, RevocationOutcome.REVOKED)])
    corp.tenant.upload_value = "true"  # as text: recorded all the same
    await answer(plugin, RevocationOutcome.ALREADY_REVOKED)
    assert not asked.pending


async def test_faults_of_both_calls_are_faults_and_lose_nothing(corp: Connection) -> None:
    plugin = corp.load()
    asked = corp.intune.request_revocation(corp.tenant, "0A", ISSUER, "corp")
    for fault in (Fault.with_status(500), Fault.cut(), Fault.garbage(), Fault.answering(200, {"value": "none"})):
        for operation in ("downloadRevocationRequests", "uploadRevocationResults"):
            corp.intune.fail(operation, fault)
            with pytest.raises(errors.Fault):
                await answer(plugin, RevocationOutcome.REVOKED)
    assert asked.results == []
    await answer(plugin, RevocationOutcome.REVOKED)
    assert len(asked.results) == 1


async def test_results_that_arrived_although_the_answer_was_lost_may_be_told_again(corp: Connection) -> None:
    plugin = corp.load()
    corp.intune.request_revocation(corp.tenant, "0A", ISSUER, "corp")
    (request,) = await plugin.revocation_requests()
    result = RevocationResult(request, RevocationOutcome.REVOKED)
    corp.intune.fail("uploadRevocationResults", Fault.cut(effect=True))
    with pytest.raises(errors.Fault):
        await plugin.revocations_done([result])
    await plugin.revocations_done([result, result])


async def test_requests_of_other_issuers_and_connections_are_left_to_them(corp: Connection) -> None:
    plugin = corp.load()
    other_issuer = corp.intune.request_revocation(corp.tenant, "0A", "CN=Other CA", "corp")
    other_connection = corp.intune.request_revocation(corp.tenant, "0B", ISSUER, "warehouse")
    nameless = corp.intune.request_revocation(corp.tenant, "0C", ISSUER)
    assert [request.serial for request in await plugin.revocation_requests()] == [0x0C]
    await answer(plugin, RevocationOutcome.REVOKED)
    assert (other_issuer.pending, other_connection.pending, nameless.pending) == (True, True, False)


async def test_requests_that_nobody_answers_do_not_stand_before_ours(corp: Connection) -> None:
    plugin = corp.load()
    for number in range(100):
        corp.intune.request_revocation(corp.tenant, f"{number:X}", ISSUER, "deleted last year")
    ours = corp.intune.request_revocation(corp.tenant, "AA", ISSUER, "corp")
    assert [request.serial for request in await plugin.revocation_requests()] == [0xAA]
    await answer(plugin, RevocationOutcome.REVOKED)
    assert not ours.pending
    assert await plugin.revocation_requests() == []
    asked = [call.json["downloadParameters"]["maxRequests"] for call in corp.intune.calls("downloadRevocationRequests")]
    assert asked == [100, 500] * 3


async def test_more_of_them_than_intune_gives_at_once_are_a_fault_that_names_them(corp: Connection) -> None:
    for number in range(500):
        corp.intune.request_revocation(corp.tenant, f"{number:X}", ISSUER, "deleted last year")
    corp.intune.request_revocation(corp.tenant, "AA", ISSUER, "corp")
    with pytest.raises(errors.Fault, match=r"500 .*'deleted last year'"):
        await corp.load().revocation_requests()
    assert corp.counted("faults") == 1


async def test_what_cannot_be_answered_or_read_stops_nothing(corp: Connection) -> None:
    item = {"requestContext": "c", "serialNumber": "0A", "issuerName": ISSUER, "caConfiguration": "corp"}
    odd = ["text", None, {}, {**item, "requestContext": ""}, {**item, "requestContext": 5}]
    odd.append({**item, "issuerName": "CN=Other CA"})  # that the service filters is no reason to trust it to
    unreadable = [{**item, "requestContext": "d", "serialNumber": text} for text in ("", None, 10, "0xZZ")]
    corp.intune.fail("downloadRevocationRequests", Fault.answering(200, {"value": [*odd, *unreadable, item]}))
    found = await corp.load().revocation_requests()
    assert [request.serial for request in found] == [None, None, None, None, 0x0A]


async def test_answers_in_other_case_are_read(corp: Connection) -> None:
    corp.tenant.key_case = "pascal"
    asked = corp.intune.request_revocation(corp.tenant, "00:0a", ISSUER, "corp")
    await answer(corp.load(), RevocationOutcome.REVOKED)
    assert not asked.pending


async def test_nothing_done_is_nothing_told(corp: Connection) -> None:
    await corp.load().revocations_done([])
    assert corp.operations() == []


async def test_switched_off_the_house_is_not_to_pull(corp: Connection) -> None:
    assert corp.load(revocation="off").pull_seconds is None
    assert corp.load(revocation_poll_seconds="60").pull_seconds == 60


@given(
    number=st.integers(min_value=1, max_value=2**159),
    zeros=st.integers(min_value=0, max_value=8),
    prefix=st.sampled_from(["", "0x", "0X"]),
    separator=st.sampled_from(["", ":", "-", " ", "."]),
    upper=st.booleans(),
)
def test_every_spelling_of_a_serial_is_the_same_number(
    number: int, zeros: int, prefix: str, separator: str, upper: bool
) -> None:
    digits = "0" * zeros + f"{number:x}"
    digits = digits.upper() if upper else digits
    spelled = separator.join(digits[at : at + 2] for at in range(0, len(digits), 2))
    assert serial_number(f" {prefix}{spelled}\n") == number


@pytest.mark.parametrize("text", ["", " ", "0x", "-", "12G4", "1" * 129, "0x0x1", "\uff11", None, 12, b"12", ["12"]])
def test_what_is_no_serial_is_none(text: Any) -> None:
    assert serial_number(text) is None
