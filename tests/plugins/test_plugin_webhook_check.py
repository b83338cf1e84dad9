"""`integration test`: each fault of a receiver is one finding that failed, and says what mends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from challenge_plugins.webhook import PLUGIN
from challenge_plugins.webhook.self_check import ACCEPT, REACH, REJECT, TELL
from challenge_plugins.webhook.signature import sign
from scep_server.interfaces import ChecksItself
from scep_server.types import Finding
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.webhook_receiver import CUT, PrivateCa, Received, Reply, ScriptedReceiver, saying, sign_answer
from tests.plugins.webhook_schema import SCHEMAS, faults

SECRET = "shared-secret-0123456789-abcd"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ScriptedReceiver]:
    running = ScriptedReceiver(PrivateCa(tmp_path)).start()
    running.behave = verifying
    yield running
    running.stop()


@pytest.fixture
def check(make_house: Callable[..., HouseUnderTest], receiver: ScriptedReceiver, tmp_path: Path) -> Callable[..., Any]:
    """Runs the check with these settings."""

    async def run(*, trusted: bool = True, **options: str) -> list[Finding]:
        house = make_house(ca_file=tmp_path / "receiver-ca.pem" if trusted else None)
        options = {"url": receiver.url, "signing_secret": SECRET, **options}
        settings, _ = PLUGIN.create("corp", options, house.keys)
        judge = PLUGIN.load("corp", settings, house.host("webhook"))
        assert isinstance(judge, ChecksItself)
        return list(await judge.check())

    return run


def verifying(received: Received, secret: str = SECRET) -> Reply:
    """Pong for what is signed, 401 for what is not."""
    timestamp = received.message["timestamp"]
    right = sign([secret.encode()], timestamp, received.id, received.body)
    return saying(received, "pong") if received.headers["x-scep-server-signature"] == right else Reply(401)


def signing(received: Received, secret: str) -> Reply:
    """The same, signed under this secret."""
    reply = verifying(received)
    header = sign_answer([secret.encode()], 1, received.id, reply.body)
    return Reply(reply.status, reply.body, reply.headers | {"X-Scep-Server-Signature": header})


def outline(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.step, finding.passed) for finding in findings]


async def test_all_is_well(receiver, check) -> None:
    findings = await check()
    assert outline(findings) == [(REACH, True), (ACCEPT, True), (REJECT, True)]
    assert [faults(SCHEMAS["Ping"], received.message) for received in receiver.received] == [[], []]
    assert len({received.id for received in receiver.received}) == 2
    assert SECRET not in repr(findings)


async def test_another_address_for_notices_is_pinged_too(receiver, check) -> None:
    receiver.behave = lambda received: Reply(204) if received.path == "/notices" else verifying(received)
    apart = receiver.url.replace("/hook", "/notices")
    assert outline(await check(notify_url=apart))[-1] == (TELL, True)
    assert outline(await check(notify_url=apart, notify="off"))[-1] == (REJECT, True)


@pytest.mark.parametrize(
    ("behaviour", "remedy"),
    [
        (lambda received: verifying(received, "another secret"), "signing_secret"),
        (lambda _: Reply(403), "signing_secret"),
        (lambda _: Reply(404), "path in `url`"),
        (lambda _: Reply(405), "POST"),
        (lambda _: Reply(409), "replay"),
        (lambda _: Reply(302), "pings"),
        (lambda received: saying(received, "allow"), "pings"),
        (lambda received: Reply(200, b"ok", {"Content-Type": "text/plain"}), "pings"),
    ],
)
async def test_a_receiver_that_does_not_answer_pong(receiver, check, behaviour, remedy) -> None:
    receiver.behave = behaviour
    findings = await check()
    assert outline(findings) == [(REACH, True), (ACCEPT, False)]
    assert remedy in findings[-1].remedy


async def test_a_receiver_that_answers_strangers(receiver, check) -> None:
    receiver.behave = lambda received: saying(received, "pong")
    findings = await check()
    assert outline(findings) == [(REACH, True), (ACCEPT, True), (REJECT, False)]
    assert "verify signatures" in findings[-1].remedy


async def test_a_receiver_that_breaks_off_on_strangers(receiver, check) -> None:
    receiver.behave = lambda received: reply if (reply := verifying(received)).status == 200 else CUT
    assert outline(await check())[-1] == (REJECT, False)


async def test_a_receiver_that_signs_under_another_secret(receiver, check) -> None:
    receiver.behave = lambda received: signing(received, "another secret")
    findings = await check()
    assert outline(findings) == [(REACH, True), (ACCEPT, False)]
    assert "signing_secret" in findings[-1].remedy


async def test_a_receiver_that_does_not_sign_where_it_must(receiver, check) -> None:
    """It has the secret: to be given it again would not help."""
    findings = await check(require_signed_answer="on")
    assert outline(findings) == [(REACH, True), (ACCEPT, False)]
    assert "not signed" in findings[-1].text
    assert findings[-1].remedy == "sign answers as docs/webhook.md says, or set `require_signed_answer` to off"


async def test_an_address_for_notices_never_has_to_sign(receiver, check) -> None:
    receiver.behave = lambda received: Reply(200) if received.path == "/notices" else signing(received, SECRET)
    apart = receiver.url.replace("/hook", "/notices")
    findings = await check(require_signed_answer="on", notify_url=apart)
    assert outline(findings) == [(REACH, True), (ACCEPT, True), (REJECT, True), (TELL, True)]


async def test_a_receiver_that_is_not_trusted(receiver, check) -> None:
    (finding,) = await check(trusted=False)
    assert (finding.step, finding.passed) == (REACH, False)
    assert "ca_file" in finding.remedy
    assert receiver.received == []


async def test_a_port_that_speaks_no_tls(receiver, check) -> None:
    plain = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    serving = threading.Thread(target=plain.serve_forever, args=(0.02,))
    serving.start()
    try:
        (finding,) = await check(url=f"https://127.0.0.1:{plain.server_port}/hook")
    finally:
        plain.shutdown()
        serving.join()
        plain.server_close()
    assert (finding.step, finding.passed) == (REACH, False)
    assert finding.remedy.startswith("speak TLS at the port in `url`")


async def test_a_host_that_cannot_be_reached_has_no_log_to_look_into(check) -> None:
    """The broadcast address: no machine has a way to it for TCP."""
    (finding,) = await check(url="https://255.255.255.255/hook")
    assert "unreachable" in finding.text
    assert finding.remedy.startswith("correct host and port in `url`")


async def test_a_receiver_that_is_down(receiver, check) -> None:
    receiver.stop()
    (finding,) = await check()
    assert (finding.step, finding.passed) == (REACH, False)
    assert "start the receiver" in finding.remedy


async def test_a_receiver_that_takes_too_long(receiver, check) -> None:
    receiver.behave = receiver.slow
    (finding,) = await check(timeout_seconds="1")
    assert (finding.step, finding.passed) == (REACH, False)
    assert "timeout_seconds" in finding.remedy


@pytest.mark.parametrize(("status", "remedy"), [(401, "signing_secret"), (404, "notify_url")])
async def test_an_address_for_notices_that_is_wrong(receiver, check, status, remedy) -> None:
    receiver.behave = lambda received: Reply(status) if received.path == "/notices" else verifying(received)
    findings = await check(notify_url=receiver.url.replace("/hook", "/notices"))
    assert outline(findings)[-1] == (TELL, False)
    assert remedy in findings[-1].remedy


async def test_an_address_for_notices_where_nobody_is(receiver, check) -> None:
    findings = await check(notify_url="https://127.0.0.1:9/notices")
    assert outline(findings)[-1] == (TELL, False)
    assert "`notify_url`" in findings[-1].remedy
