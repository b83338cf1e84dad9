"""Telling a receiver what became of its yes: the same id until it says 2xx, and never again after a 410 (F22)."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import hmac
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from challenge_plugins.webhook import PLUGIN
from scep_server.errors import OutboundFault, PluginFault, Refusal
from scep_server.interfaces import TakesNotices
from scep_server.types import Certificate, Notice, NoticeKind
from tests.e2e.identities import certificate, ec_key, name
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.webhook_receiver import PrivateCa, Received, Reply, ScriptedReceiver
from tests.plugins.webhook_schema import SCHEMAS, faults


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ScriptedReceiver]:
    running = ScriptedReceiver(PrivateCa(tmp_path)).start()
    running.behave = lambda _: Reply(204)
    yield running
    running.stop()


@pytest.fixture
async def house(make_house: Callable[..., HouseUnderTest], tmp_path: Path, receiver) -> HouseUnderTest:
    return make_house(ca_file=tmp_path / "receiver-ca.pem")


@pytest.fixture
def made(house: HouseUnderTest, receiver: ScriptedReceiver) -> tuple[Any, bytes]:
    """The live plugin and its signing secret."""
    settings, shown = PLUGIN.create("corp", {"url": receiver.url}, house.keys)
    return house.load("webhook", settings), shown["signing_secret"].encode()


def replied(reply: Reply, _: Received) -> Reply:
    return reply


@pytest.fixture
def issued(house: HouseUnderTest) -> Notice:
    der = certificate(ec_key(), name(("CN", "laptop-1")), serial=0xABCDEF)
    read = x509.load_der_x509_certificate(der)
    ours = Certificate(
        der, "issuer", 0xABCDEF, read.subject.public_bytes(), read.not_valid_before_utc, read.not_valid_after_utc
    )
    at = house.clock() - timedelta(seconds=7)
    return Notice("n-1", NoticeKind.ISSUED, "corp", at, "TID-1", "CN=laptop-1", 12, certificate=ours, tries=2)


@pytest.fixture
def failed(house: HouseUnderTest) -> Notice:
    return Notice("n-2", NoticeKind.FAILED, "corp", house.clock(), "TID-2", "CN=laptop-2", reason="key_refused")


async def test_what_was_issued(house, receiver, made, issued) -> None:
    judge, secret = made
    await judge.notified(issued)
    (received,) = receiver.received
    told = received.message
    assert faults(SCHEMAS["Issued"], told) == []
    assert (told["type"], told["id"], received.id) == ("scep.issued", "n-1", "n-1")
    assert (told["integration"], told["transaction_id"], told["entry_id"]) == ("corp", "TID-1", 12)
    assert (told["timestamp"], told["happened_at"]) == (int(house.clock().timestamp()), int(issued.at.timestamp()))
    assert told["earlier_tries"] == 2
    certificate = x509.load_der_x509_certificate(base64.b64decode(told["certificate"]["der"]))
    assert told["certificate"]["serial"] == "abcdef" == f"{certificate.serial_number:x}"
    assert told["certificate"]["not_after"] == int(certificate.not_valid_after_utc.timestamp())
    content = f"{told['timestamp']}.n-1.".encode() + received.body
    assert received.headers["x-scep-server-signature"].endswith(hmac.new(secret, content, hashlib.sha256).hexdigest())
    assert house.counted("webhook", "told") == 1


async def test_what_failed(house, receiver, made, failed) -> None:
    judge, _ = made
    await judge.notified(failed)
    told = receiver.received[0].message
    assert faults(SCHEMAS["Failed"], told) == []
    assert (told["type"], told["reason"], told["certificate"]) == ("scep.failed", "key_refused", None)


async def test_a_repeat_has_the_same_id_and_the_time_of_its_sending(house, receiver, made, issued) -> None:
    """So a receiver's window of five minutes does not refuse what is told for days."""
    judge, _ = made
    await judge.notified(issued)
    house.clock.forward(hours=30)
    await judge.notified(dataclasses.replace(issued, tries=3))
    first, second = (received.message for received in receiver.received)
    assert first["id"] == second["id"]
    assert second["timestamp"] - first["timestamp"] == 30 * 3600
    assert second["happened_at"] == first["happened_at"]


async def test_any_2xx_takes_it_whatever_its_body(house, receiver, made, issued) -> None:
    judge, _ = made
    for status in (200, 201, 202, 204):
        body = b"" if status == 204 else b"thank you"
        receiver.behave = functools.partial(replied, Reply(status, body, {"Content-Type": "text/plain"}))
        await judge.notified(issued)
    assert (house.counted("webhook", "told"), house.counted("webhook", "not_told")) == (4, 0)


async def test_where_answers_must_be_signed_a_2xx_takes_a_notice_all_the_same(house, receiver, issued) -> None:
    """It decides nothing, so there is nothing to protect; an unsigned 200 would else be told again for three days."""
    settings, _ = PLUGIN.create("corp", {"url": receiver.url, "require_signed_answer": "on"}, house.keys)
    judge = house.load("webhook", settings)
    for status in (200, 204):
        receiver.behave = functools.partial(replied, Reply(status))
        await judge.notified(issued)
    assert house.counted("webhook", "told") == 2


async def test_everything_else_is_told_again_later(house, receiver, made, issued) -> None:
    judge, _ = made
    statuses = (302, 400, 401, 403, 404, 409, 429, 500, 503)
    for status in statuses:
        receiver.behave = functools.partial(replied, Reply(status))
        with pytest.raises(PluginFault, match=str(status)):
            await judge.notified(issued)
    assert len(receiver.received) == len(statuses)
    assert (house.counted("webhook", "told"), house.counted("webhook", "not_told")) == (0, len(statuses))


async def test_410_ends_it(house, receiver, made, issued) -> None:
    receiver.behave = lambda _: Reply(410)
    judge, _ = made
    with pytest.raises(Refusal, match="410"):
        await judge.notified(issued)
    assert house.counted("webhook", "not_told") == 1


async def test_a_receiver_that_is_down_is_told_later(house, receiver, made, issued) -> None:
    judge, _ = made
    receiver.stop()
    with pytest.raises(OutboundFault):
        await judge.notified(issued)
    receiver.start()
    await judge.notified(issued)
    assert [received.id for received in receiver.received] == ["n-1"]


async def test_a_wrongly_signed_acknowledgement_takes_nothing(house, receiver, made, issued) -> None:
    receiver.behave = lambda _: Reply(204, headers={"X-Scep-Server-Signature": f"t=1,v1={'0' * 64}"})
    judge, _ = made
    with pytest.raises(PluginFault, match="signature"):
        await judge.notified(issued)


async def test_where_notices_go(house, receiver, issued) -> None:
    apart = receiver.url.replace("/hook", "/notices")
    settings, _ = PLUGIN.create("corp", {"url": receiver.url, "notify_url": apart}, house.keys)
    await house.load("webhook", settings).notified(issued)
    assert [received.path for received in receiver.received] == ["/notices"]


async def test_switched_off_nobody_is_told(house, receiver, issued) -> None:
    host = house.host("webhook")
    settings, _ = PLUGIN.create("corp", {"url": receiver.url}, house.keys)
    assert isinstance(PLUGIN.load("corp", settings, host), TakesNotices)
    settings, _ = PLUGIN.rotate("corp", settings, {"notify": "off", "keep_secret": "yes"}, house.keys)
    assert not isinstance(PLUGIN.load("corp", settings, host), TakesNotices)
