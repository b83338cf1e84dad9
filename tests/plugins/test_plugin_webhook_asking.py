"""Asking a receiver over real HTTPS: what is sent, what decides, and that nothing but an answer ever does (F22)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from challenge_plugins.webhook import PLUGIN, plugin
from scep_server.codec.csr import parse_csr
from scep_server.errors import OutboundFault, PluginFault, Reason, Refusal
from scep_server.types import Attempt, MessageType, NameBinding, Source
from tests.e2e.identities import certification_request, dns_san, ec_key, name
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.webhook_receiver import CUT, PrivateCa, Received, Reply, ScriptedReceiver, saying, sign_answer
from tests.plugins.webhook_schema import SCHEMAS, faults

CHALLENGE = "device-secret 1234"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ScriptedReceiver]:
    running = ScriptedReceiver(PrivateCa(tmp_path)).start()
    yield running
    running.stop()


@pytest.fixture
async def house(make_house: Callable[..., HouseUnderTest], tmp_path: Path, receiver) -> HouseUnderTest:
    return make_house(ca_file=tmp_path / "receiver-ca.pem")


@pytest.fixture
def live(house: HouseUnderTest, receiver: ScriptedReceiver) -> Callable[..., Any]:
    """Makes the live plugin with these settings; `live.secret` was shown once."""

    def make(**options: str) -> Any:
        settings, shown = PLUGIN.create("corp", {"url": receiver.url, **options}, house.keys)
        make.secret = shown.get("signing_secret", "").encode()  # type: ignore[attr-defined]
        return house.load("webhook", settings)

    return make


def attempt(house: HouseUnderTest, challenge: str = CHALLENGE) -> Attempt:
    der = certification_request(ec_key(), name(("CN", "laptop-1")), challenge=challenge, extensions=[dns_san("a.b")])
    source = Source("192.0.2.7", "CloudConfigurationService/1.0")
    return Attempt("corp", "TID-1", MessageType.PKCS_REQ, parse_csr(der), source, house.clock())


def events(house: HouseUnderTest) -> dict[str, int]:
    """What was counted."""
    counts = {event: int(house.counted("webhook", event)) for event in plugin.COUNTERS}
    return {event: count for event, count in counts.items() if count}


# --- what is sent


async def test_the_question(house, receiver, live) -> None:
    judge = live()
    asked = attempt(house)
    await judge.redeem(asked)
    (received,) = receiver.received
    question = received.message
    assert faults(SCHEMAS["Question"], question) == []
    assert received.path == "/hook"
    assert received.headers["content-type"] == "application/json"
    assert (question["integration"], question["transaction_id"], question["message_type"]) == (
        "corp",
        "TID-1",
        "PKCSReq",
    )
    assert question["source"] == {"address": "192.0.2.7", "user_agent": "CloudConfigurationService/1.0"}
    assert question["challenge"] == CHALLENGE
    assert question["csr"]["common_name"] == "laptop-1"
    assert question["id"] == received.id
    assert question["timestamp"] == int(house.clock().timestamp())


async def test_it_is_signed_as_the_document_says(house, receiver, live) -> None:
    judge = live()
    await judge.redeem(attempt(house))
    (received,) = receiver.received
    signature = received.headers["x-scep-server-signature"]
    assert faults(SCHEMAS["SignatureHeader"], signature) == []
    time, value = (part.partition("=")[2] for part in signature.split(","))
    content = f"{time}.{received.id}.".encode() + received.body
    assert value == hmac.new(live.secret, content, hashlib.sha256).hexdigest()
    assert int(time) == received.message["timestamp"]


async def test_during_a_rotation_both_secrets_sign(house, receiver) -> None:
    settings, first = PLUGIN.create("corp", {"url": receiver.url}, house.keys)
    settings, second = PLUGIN.rotate("corp", settings, {}, house.keys)
    await house.load("webhook", settings).redeem(attempt(house))
    (received,) = receiver.received
    time, *values = received.headers["x-scep-server-signature"].split(",")
    content = f"{time[2:]}.{received.id}.".encode() + received.body
    secrets = [one["signing_secret"].encode() for one in (second, first)]
    assert values == [f"v1={hmac.new(secret, content, hashlib.sha256).hexdigest()}" for secret in secrets]


async def test_no_two_questions_have_the_same_id(house, receiver, live) -> None:
    judge = live()
    asked = attempt(house)
    await asyncio.gather(*(judge.redeem(asked) for _ in range(5)))
    assert len({received.id for received in receiver.received}) == 5


@pytest.mark.parametrize(("number", "meet"), [(8, True), (9, False)])
async def test_a_receiver_is_asked_eight_things_at_a_time(house, receiver, live, number, meet) -> None:
    together, met = threading.Barrier(number, timeout=2), []

    def behave(received: Received) -> Reply:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()
            met.append(received.id)
        return saying(received)

    receiver.behave = behave
    judge, asked = live(), attempt(house)
    await asyncio.gather(*(judge.redeem(asked) for _ in range(24)))
    assert bool(met) is meet


async def test_what_is_sent_only_on_demand(house, receiver, live) -> None:
    await live().redeem(attempt(house))
    await live(send_challenge="off", authorization="Bearer abc").redeem(attempt(house))
    usual, asked = receiver.received
    assert "authorization" not in usual.headers
    assert asked.headers["authorization"] == "Bearer abc"
    assert asked.message["challenge"] is None
    assert faults(SCHEMAS["Question"], asked.message) == []
    assert CHALLENGE.encode() in base64.b64decode(usual.message["csr"]["der"])
    assert asked.message["csr"]["der"] is None
    assert CHALLENGE.encode() not in asked.body


async def test_secrets_are_in_no_header_and_no_address(house, receiver, live) -> None:
    judge = live()
    await judge.redeem(attempt(house))
    (received,) = receiver.received
    beside_the_body = received.path + repr(received.headers)
    assert CHALLENGE not in beside_the_body
    assert live.secret not in beside_the_body.encode() + received.body


# --- what decides


async def test_allow(house, receiver, live) -> None:
    receiver.behave = lambda received: saying(received, names={"subject": "CN=laptop-1", "sans": ["dns:a.b"]})
    grant = await live().redeem(attempt(house))
    assert (grant.pending, grant.consumes, grant.reference) == (False, (), receiver.received[0].id)
    assert grant.binding == NameBinding("CN=laptop-1", ("dns:a.b",))
    assert events(house) == {"allowed": 1}


async def test_pending(house, receiver, live) -> None:
    receiver.behave = lambda received: saying(received, "pending")
    assert (await live().redeem(attempt(house))).pending
    assert events(house) == {"pending": 1}


@pytest.mark.parametrize(("wrong_challenge", "reason"), [(False, Reason.DENIED), (True, Reason.CHALLENGE)])
async def test_deny(house, receiver, live, wrong_challenge, reason) -> None:
    said = {"reason": "stolen\r\nlaptop", "wrong_challenge": wrong_challenge}
    receiver.behave = lambda received: saying(received, "deny", **said)
    with pytest.raises(Refusal) as refused:
        await live().redeem(attempt(house))
    assert (refused.value.reason, refused.value.guess) == (reason, wrong_challenge)
    assert refused.value.detail.endswith("stolen??laptop")
    assert "laptop" not in refused.value.reason.text
    assert events(house) == {"denied": 1}


async def test_a_challenge_beyond_all_measure_is_not_passed_on(house, receiver, live) -> None:
    with pytest.raises(Refusal) as refused:
        await live().redeem(attempt(house, "x" * (plugin.MAX_CHALLENGE + 1)))
    assert refused.value.reason is Reason.CHALLENGE
    assert receiver.received == []


# --- what decides nothing


ELSE = {
    "another id": lambda received: Reply(body=b'{"request_id":"x","decision":"allow"}'),
    "an earlier answer": lambda received: Reply(
        body=json.dumps({"request_id": "0" * 36, "decision": "allow"}).encode()
    ),
    "its own question": lambda received: Reply(body=received.body),
    "text": lambda received: Reply(body=saying(received).body, headers={"Content-Type": "text/plain"}),
    "no content type": lambda received: Reply(body=saying(received).body, headers={}),
    "too much": lambda received: saying(received, reason="x" * 70000),
    "a redirect": lambda received: Reply(307, saying(received).body, {"Location": "/other"}),
    **{
        str(status): lambda received, status=status: Reply(status, saying(received).body)
        for status in (201, 400, 401, 403, 404, 409, 429)
    },
}


async def test_an_answer_that_is_none_is_a_fault_and_final(house, receiver, live) -> None:
    judge, asked = live(retries="3"), attempt(house)
    for number, (what, behaviour) in enumerate(ELSE.items(), 1):
        receiver.behave = behaviour
        with pytest.raises(PluginFault) as fault:
            await judge.redeem(asked)
        assert (len(receiver.received), events(house)) == (number, {"faults": number}), what
        assert CHALLENGE not in str(fault.value)


@pytest.mark.parametrize("failing", [[CUT], [Reply(500), CUT, Reply(503)]])
async def test_another_try_where_nobody_decided(house, receiver, live, failing) -> None:
    replies = iter(failing)
    receiver.behave = lambda received: next(replies, None) or saying(received)
    await live(retries=str(len(failing))).redeem(attempt(house))
    assert len({received.id for received in receiver.received}) == len(failing) + 1
    assert events(house) == {"allowed": 1}


@pytest.mark.parametrize("retries", [0, 1])
async def test_no_more_tries_than_set(house, receiver, live, retries) -> None:
    receiver.behave = lambda _: Reply(500)
    with pytest.raises(PluginFault, match="500"):
        await live(retries=str(retries)).redeem(attempt(house))
    assert len(receiver.received) == retries + 1
    assert events(house) == {"faults": 1}


async def test_a_receiver_that_asks_for_time_is_not_asked_again_at_once(house, receiver, live) -> None:
    receiver.behave = lambda _: Reply(503, headers={"Retry-After": "120"})
    with pytest.raises(PluginFault) as fault:
        await live(retries="3").redeem(attempt(house))
    assert fault.value.retry_after == 120
    assert len(receiver.received) == 1


async def test_the_time_is_over_all_tries(house, receiver, live) -> None:
    def first_a_500_after_half_the_time(received: Received) -> Reply:
        if len(receiver.received) > 1:
            return receiver.slow(received)
        receiver.released.wait(1.0)
        return Reply(500)

    receiver.behave = first_a_500_after_half_the_time
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(OutboundFault) as fault:
        await live(timeout_seconds="2", retries="3").redeem(attempt(house))
    assert fault.value.kind == "timeout"
    assert 1.9 < loop.time() - begun < 2.9
    assert len(receiver.received) == 2


async def test_a_receiver_that_is_down_and_comes_back(house, receiver, live) -> None:
    judge = live(retries="0")
    receiver.stop()
    with pytest.raises(OutboundFault) as fault:
        await judge.redeem(attempt(house))
    assert fault.value.kind == "refused"
    receiver.start()
    await judge.redeem(attempt(house))
    assert events(house) == {"allowed": 1, "faults": 1}


async def test_a_receiver_of_an_unknown_ca_never_sees_the_question(make_house, receiver) -> None:
    house = make_house()
    settings, _ = PLUGIN.create("corp", {"url": receiver.url, "retries": "3"}, house.keys)
    with pytest.raises(OutboundFault) as fault:
        await house.load("webhook", settings).redeem(attempt(house))
    assert fault.value.kind == "tls"
    assert receiver.received == []


# --- signed answers


def signing(secret: bytes, body: Callable[[bytes], bytes] = bytes) -> Callable[[Received], Reply]:
    """Signs the right answer and sends what `body` makes of it."""

    def behave(received: Received) -> Reply:
        answer = saying(received).body
        signature = sign_answer([secret], 1, received.id, answer)
        headers = {"Content-Type": "application/json", "X-Scep-Server-Signature": signature}
        return Reply(200, body(answer), headers)

    return behave


@pytest.mark.parametrize("required", ["on", "off"])
async def test_a_rightly_signed_answer_is_taken(house, receiver, live, required) -> None:
    judge = live(require_signed_answer=required)
    receiver.behave = signing(live.secret)
    await judge.redeem(attempt(house))
    assert events(house) == {"allowed": 1}


@pytest.mark.parametrize("required", ["on", "off"])
async def test_a_wrongly_signed_answer_is_a_fault_whether_required_or_not(house, receiver, live, required) -> None:
    judge = live(require_signed_answer=required)
    for behaviour in (signing(b"another secret"), signing(live.secret, lambda body: body + b" ")):
        receiver.behave = behaviour
        with pytest.raises(PluginFault, match="signature"):
            await judge.redeem(attempt(house))
    assert events(house) == {"faults": 2}


async def test_an_unsigned_answer_is_a_fault_where_signed_ones_are_required(house, receiver, live) -> None:
    judge = live(require_signed_answer="on")
    with pytest.raises(PluginFault, match="not signed"):
        await judge.redeem(attempt(house))
    # A question under the right secret, sent back with its own signature, is no answer either.
    receiver.behave = lambda received: Reply(
        body=received.body,
        headers={
            "Content-Type": "application/json",
            "X-Scep-Server-Signature": received.headers["x-scep-server-signature"],
        },
    )
    with pytest.raises(PluginFault, match="signature"):
        await judge.redeem(attempt(house))


async def test_a_request_that_is_given_up_is_not_asked_again(house, receiver, live) -> None:
    receiver.behave = receiver.slow
    asking = asyncio.ensure_future(live().redeem(attempt(house)))
    await asyncio.to_thread(receiver.arrived.acquire)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(receiver.received) == 1
