"""The three calls about one request, over HTTPS against the simulator: each byte of them, each answer to them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from challenge_plugins.intune.failure_codes import HRESULTS
from scep_server import errors
from scep_server.errors import OutboundFault, Reason, Refusal
from tests.plugins.intune_connection import Connection, connection, leaf
from tests.simulators.intune import VALIDATION_CODES, Fault, mismatches

REQUEST_IDS = "client-request-id"


@pytest.fixture
async def corp(make_house, tmp_path: Path) -> AsyncIterator[Connection]:
    async with connection(make_house, tmp_path) as made:
        yield made
        # Whatever a test did: no request that left us had another shape than the documented one.
        assert made.intune.violations == []


async def test_an_enrolment_asks_in_the_documented_order_and_no_more_than_needed(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    assert plugin.confirm_blocks_release
    grant = await plugin.redeem(attempt)
    assert grant.reference == "TID-1"
    assert grant.consumes == ()
    await plugin.confirm(attempt, leaf()[0])
    # msal asks for the configuration once; then a token for Graph, the endpoints, and a token for Intune.
    first = ["openid-configuration", "token", "endpoints", "token"]
    assert corp.operations() == [*first, "validateRequest", "successNotification"]
    await plugin.redeem(corp.attempt())
    assert corp.operations()[6:] == ["validateRequest"]
    events = {name: corp.counted(name) for name in ("validated", "confirmed", "tokens", "discoveries", "faults")}
    assert events == {"validated": 2, "confirmed": 1, "tokens": 2, "discoveries": 1, "faults": 0}


async def test_validate_request_sends_the_exact_bytes_and_headers(corp: Connection) -> None:
    plugin, attempt = corp.load(caller_info="corp-scep/7"), corp.attempt()
    await plugin.redeem(attempt)
    (call,) = corp.intune.calls("validateRequest")
    assert call.method == "POST"
    assert call.path.endswith("/StatelessScepRequestValidationService/ScepActions/validateRequest")
    assert call.query == ""
    assert call.headers["api-version"] == "2018-02-20"
    assert call.headers["content-type"] == "application/json"
    request = call.json["request"]
    assert base64.b64decode(request.pop("certificateRequest"), validate=True) == attempt.request.der
    assert request == {"transactionId": "TID-1", "callerInfo": "corp-scep/7"}


async def test_every_call_has_a_request_id_of_its_own(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    for _ in range(3):
        await plugin.redeem(attempt)
    sent = [
        call.headers[REQUEST_IDS] for call in corp.intune.calls() if call.operation in {"endpoints", "validateRequest"}
    ]
    assert len(sent) == len(set(sent)) == 4


async def test_success_notification_tells_the_certificate(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    certificate, parsed = leaf(0x0ABCDEF0)
    await plugin.redeem(attempt)
    await plugin.confirm(attempt, certificate)
    (call,) = corp.intune.calls("successNotification")
    assert mismatches(call.json, parsed) == []
    told = call.json["notification"]
    assert told["certificateThumbprint"] == told["certificateThumbprint"].upper()
    assert told["certificateSerialNumber"] == "ABCDEF0"
    assert told["certificateExpirationDateUtc"] == "2026-04-02T03:04:05.000Z"
    subject = corp.house.host("intune").issuer()[0]
    assert told["issuingCertificateAuthority"] == told["certificateAuthority"] == _rfc4514(subject.der)
    assert told["caConfiguration"] == "corp"
    assert base64.b64decode(told["certificateRequest"]) == attempt.request.der


async def test_issuer_and_configuration_are_told_as_the_operator_spells_them(corp: Connection) -> None:
    plugin, attempt = corp.load(issuer_name="Corp CA", ca_configuration="profile-7"), corp.attempt()
    await plugin.redeem(attempt)
    await plugin.confirm(attempt, leaf()[0])
    told = corp.intune.calls("successNotification")[0].json["notification"]
    names = ("issuingCertificateAuthority", "certificateAuthority", "caConfiguration")
    assert [told[name] for name in names] == ["Corp CA", "Corp CA", "profile-7"]


async def test_a_confirmation_may_be_repeated(corp: Connection) -> None:
    plugin, attempt, certificate = corp.load(), corp.attempt(), leaf()[0]
    await plugin.redeem(attempt)
    for fault in (Fault.with_status(503), Fault.cut(effect=True)):
        corp.intune.fail("successNotification", fault)
        with pytest.raises(errors.Fault):
            await plugin.confirm(attempt, certificate)
    await plugin.confirm(attempt, certificate)
    bodies = [call.json for call in corp.intune.calls("successNotification")]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]


async def test_every_code_but_success_refuses(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    codes = [*VALIDATION_CODES[1:], "SomethingNew", "success", "SUCCESS", ""]
    assert len(codes) == 24 + 4
    for code in codes:
        corp.intune.fail("validateRequest", Fault.with_code(code, "as the test says"))
        with pytest.raises(Refusal) as refused:
            await plugin.redeem(attempt)
        assert refused.value.reason is Reason.DENIED
        assert not refused.value.guess
        assert f"answered {code or 'no code'}" in refused.value.detail
        await plugin.report_failure(attempt, refused.value)
    assert corp.counted("denied") == len(codes)
    assert "failureNotification" not in corp.operations()


async def test_an_answer_without_a_code_refuses(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    for body in ({}, {"code": None}, {"code": 1}, {"code": ["Success"]}, {"errorDescription": "Success"}):
        corp.intune.fail("validateRequest", Fault.answering(200, body))
        with pytest.raises(Refusal):
            await plugin.redeem(attempt)


async def test_a_challenge_nobody_gave_out_is_refused_by_intune(corp: Connection) -> None:
    plugin = corp.load()
    for challenge in ("guessed", base64.b64encode(b"guessed").decode()):
        with pytest.raises(Refusal, match="Challenge"):
            await plugin.redeem(corp.attempt(challenge))


async def test_long_remote_texts_are_cut_and_put_on_one_line(corp: Connection) -> None:
    corp.intune.fail("validateRequest", Fault.with_code("X" * 500, "line\r\nline\x1b[31m" + "y" * 5000))
    with pytest.raises(Refusal) as refused:
        await corp.load().redeem(corp.attempt())
    assert len(refused.value.detail) < 400
    assert refused.value.detail.isprintable()


async def test_answers_are_read_whatever_the_case_of_their_keys(corp: Connection) -> None:
    plugin = corp.load()
    for key_case in ("camel", "pascal"):
        corp.tenant.key_case = key_case  # type: ignore[assignment]
        await plugin.redeem(corp.attempt())
        with pytest.raises(Refusal, match="ChallengeDecodingError"):
            await plugin.redeem(corp.attempt("guessed"))


FAULTS = {
    "429": Fault.throttled("7"),
    "500": Fault.with_status(500),
    "503": Fault.with_status(503),
    "400": Fault.with_status(400),
    "403": Fault.with_status(403),
    "201": Fault.answering(201, {"code": "Success", "errorDescription": ""}),
    "garbage": Fault.garbage(),
    "not an object": Fault.answering(200, ["Success"]),
    "a key twice": Fault.answering(200, '{"code": "ChallengeExpired", "Code": "Success"}'),
    "deep": Fault.answering(200, "[" * 200_000),
    "oversized": Fault.oversized(3 << 20),
    "cut": Fault.cut(),
    "cut after the work": Fault.cut(effect=True),
    "cut mid body": Fault.cut_mid_body(),
    "redirect": Fault.redirect(),
}


async def test_everything_else_is_a_fault_and_no_post_is_repeated(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    for name, fault in FAULTS.items():
        corp.intune.recorder.forget()
        corp.intune.fail("validateRequest", fault)
        with pytest.raises(errors.Fault) as failed:
            await plugin.redeem(attempt)
        assert failed.value.part == "plugin", name
        assert failed.value.retry_after == (7 if name == "429" else None), name
        # What may have had an effect is the device's to repeat; and no token follows a redirect.
        assert corp.operations().count("validateRequest") == 1, name
        assert "elsewhere" not in corp.operations(), name
        assert (await plugin.redeem(attempt)).reference == "TID-1", name
        assert corp.intune.violations == []
    assert corp.counted("faults") == len(FAULTS)


async def test_retry_after_as_a_date_is_honoured_and_bounded(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    later = corp.house.clock().strftime("%a, %d %b ") + "2099 00:00:00 GMT"
    for text, seconds in ((later, 3600), ("999999", 3600), ("0", 1), ("soon", None), ("-5", None)):
        corp.intune.fail("validateRequest", Fault.throttled(text))
        with pytest.raises(errors.Fault) as failed:
            await plugin.redeem(attempt)
        assert failed.value.retry_after == seconds, text


@pytest.mark.parametrize("operation", ["token", "validateRequest"])
async def test_one_limit_of_time_is_over_everything(corp: Connection, operation: str) -> None:
    plugin, attempt = corp.load(timeout_seconds="2"), corp.attempt()
    held = corp.intune.fail(operation, Fault.held(), times=None)
    begun = time.monotonic()
    with pytest.raises(errors.Fault, match="2 s"):
        await plugin.redeem(attempt)
    assert time.monotonic() - begun < 10
    corp.intune.faults.lift(held.number)
    await plugin.check()  # whoever comes while that acquisition ends shares its end
    await plugin.redeem(attempt)


async def test_the_limit_is_over_all_steps_together(corp: Connection) -> None:
    plugin, attempt = corp.load(timeout_seconds="2"), corp.attempt()
    for operation in ("token", "endpoints", "validateRequest"):
        corp.intune.fail(operation, Fault.delayed(1.8))
    begun = time.monotonic()
    with pytest.raises(errors.Fault, match="within 2 s"):
        await plugin.redeem(attempt)
    assert time.monotonic() - begun < 5
    await plugin.redeem(attempt)


async def test_an_unreachable_cloud_is_a_fault(corp: Connection, unused_tcp_port: int) -> None:
    plugin = corp.load(authority=f"https://127.0.0.1:{unused_tcp_port}/")
    with pytest.raises(OutboundFault) as failed:
        await plugin.redeem(corp.attempt())
    assert failed.value.kind == "refused"


async def test_failures_after_a_yes_are_told_with_a_code_of_ours(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    for reason in (Reason.KEY, Reason.UNCONFIRMED, Reason.STRUCTURE):
        await plugin.report_failure(attempt, Refusal(reason, "the detail, with hunter2 in it"))
    calls = corp.intune.calls("failureNotification")
    told = [call.json["notification"] for call in calls]
    assert [each["hResult"] for each in told] == [0x80094811, 0x800705B4, 0x8000FFFF]
    assert told[0]["errorDescription"] == "key_refused: Public key is not acceptable"
    assert "hunter2" not in json.dumps(told)
    assert all(base64.b64decode(each["certificateRequest"]) == attempt.request.der for each in told)
    assert corp.counted("failures_reported") == 3


async def test_intunes_own_no_is_not_told_back_to_it(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    corp.intune.fail("successNotification", Fault.with_code("Unknown"))
    with pytest.raises(Refusal) as refused:
        await plugin.confirm(attempt, leaf()[0])
    assert refused.value.reason is Reason.DENIED
    await plugin.report_failure(attempt, refused.value)
    assert "failureNotification" not in corp.operations()


async def test_a_failure_that_cannot_be_told_changes_nothing(corp: Connection) -> None:
    plugin, attempt = corp.load(), corp.attempt()
    await plugin.redeem(attempt)
    corp.intune.fail("failureNotification", Fault.with_status(500))
    await plugin.report_failure(attempt, Refusal(Reason.KEY))
    assert corp.operations().count("failureNotification") == 1


def test_the_codes_of_ours_are_failures_of_reasons_that_exist() -> None:
    assert set(HRESULTS) <= {reason.code for reason in Reason}
    assert all(0x80000000 <= code <= 0x8FFFFFFF for code in HRESULTS.values())


def _rfc4514(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()
