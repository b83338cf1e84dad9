"""What a device gets that asks again with the one-time challenge it spent itself (RFC 8894 section 5.2)."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

import pytest

from scep_server.assembly.site import utc_now
from scep_server.codec.envelope import password_recipient
from scep_server.types import Cipher, EntryState, MintOrder
from tests.e2e.crafted import attributes_of, envelope, message
from tests.e2e.identities import Device, certification_request, ec_key, rsa_key
from tests.e2e.replies import Reply
from tests.enrollment.conftest import HERE, Walk


@pytest.fixture
def device() -> Device:
    return Device.named(f"device-{uuid.uuid4()}", rsa_key(1))


async def serve(walk: Walk, **options: str) -> None:
    """Serve `once`, which keeps what it mints for clients whose key cannot decrypt."""
    await walk.site.integrations.add("once", "dynamic", options, {"kept_for_ec": "on", "lifetime_minutes": "600"})
    walk.site.activate()


async def mint(walk: Walk, transaction_id: str | None = None) -> str:
    (minted,) = await walk.site.mint("once", [MintOrder(transaction_id=transaction_id)])
    return minted.challenge


async def send(walk: Walk, body: bytes) -> Reply:
    return await walk.send(body, HERE, "once")


def poll(device: Device, transaction_id: str) -> bytes:
    return message(device, None, attributes_of("20", transaction_id))


async def test_a_pending_request_is_polled_for_under_its_new_transaction_id(walk: Walk, device: Device) -> None:
    """Figure 10: after an outage the client begins anew, which it SHOULD, and polls by the id that it now has."""
    await serve(walk, approval="manual")
    challenge = await mint(walk)
    for transaction_id in ("t-1", "t-2"):
        assert (await send(walk, walk.request(device, transaction_id, challenge))).status == "PENDING"
    assert (await send(walk, poll(device, "t-2"))).status == "PENDING"
    (pending,) = walk.site.ledger.entries()
    issued = await walk.site.approve(pending.id)
    assert (await send(walk, poll(device, "t-2"))).certificate(device).serial_number == issued.serial
    assert (await send(walk, poll(device, "t-1"))).fail_info == 4
    told = [row.body for row in walk.site.ledger.events() if '"request.pending"' in row.body]
    assert ["t-1" in body for body in told] == [True, False]
    assert ["t-2" in body for body in told] == [False, True]


async def test_a_pending_request_does_not_take_the_transaction_of_another(walk: Walk, device: Device) -> None:
    await serve(walk, approval="manual")
    other = Device.named("other", rsa_key(2))
    challenge = await mint(walk)
    assert (await send(walk, walk.request(device, "t-1", challenge))).status == "PENDING"
    assert (await send(walk, walk.request(other, "t-2", await mint(walk)))).status == "PENDING"
    assert (await send(walk, walk.request(device, "t-2", challenge))).fail_info == 2
    assert (await send(walk, poll(device, "t-1"))).status == "PENDING"
    assert (await send(walk, poll(other, "t-2"))).status == "PENDING"


async def test_a_device_that_is_no_longer_pending_gets_its_certificate_at_once(walk: Walk, device: Device) -> None:
    await serve(walk, approval="manual")
    challenge = await mint(walk)
    assert (await send(walk, walk.request(device, "t-1", challenge))).status == "PENDING"
    (pending,) = walk.site.ledger.entries()
    issued = await walk.site.approve(pending.id)
    again = await send(walk, walk.request(device, "t-2", challenge))
    assert again.certificate(device).serial_number == issued.serial


def under_challenge(device: Device, transaction_id: str, challenge: str) -> bytes:
    """A PKCSReq that only those can read who know its challenge (RFC 8894 section 3.1)."""
    content_key = os.urandom(16)
    recipient = password_recipient(content_key, challenge.encode(), Cipher.AES128_CBC, os.urandom)
    csr = certification_request(device.key, device.subject, challenge=challenge)
    return message(device, envelope(csr, [recipient], content_key, version=3), attributes_of("19", transaction_id))


@pytest.mark.parametrize(("approval", "status"), [("auto", "SUCCESS"), ("manual", "PENDING")])
async def test_an_ec_device_is_answered_again_after_its_challenge_was_spent(
    walk: Walk, approval: str, status: str
) -> None:
    await serve(walk, approval=approval)
    device, challenge = Device.named("ec", ec_key(1)), await mint(walk, "t-1")
    for _ in range(3):
        assert (await send(walk, under_challenge(device, "t-1", challenge))).status == status
    assert len(list(walk.site.ledger.entries())) == 1


async def test_an_ec_device_may_use_a_new_challenge_under_the_same_transaction_id(walk: Walk) -> None:
    await serve(walk)
    device = Device.named("ec", ec_key(1))
    for _ in range(2):
        challenge = await mint(walk, "t-1")
        assert (await send(walk, under_challenge(device, "t-1", challenge))).status == "SUCCESS"
    assert [entry.state for entry in walk.site.ledger.entries()] == [EntryState.ISSUED] * 2


async def test_a_spent_challenge_is_recalled_for_the_key_that_spent_it_only(walk: Walk) -> None:
    await serve(walk)
    challenge = await mint(walk, "t-1")
    assert (await send(walk, under_challenge(Device.named("ec", ec_key(1)), "t-1", challenge))).status == "SUCCESS"
    assert (await send(walk, under_challenge(Device.named("ec", ec_key(2)), "t-1", challenge))).fail_info == 2
    (refused,) = [row.body for row in walk.site.ledger.events() if '"request.refused"' in row.body]
    assert '"reason":"unreadable"' in refused
    assert len(list(walk.site.ledger.entries())) == 1


async def test_a_spent_challenge_makes_way_for_new_ones_when_its_window_ends(walk: Walk) -> None:
    """Two are tried on a message, and two were minted since."""
    await serve(walk)
    device = Device.named("ec", ec_key(1))
    assert (await send(walk, under_challenge(device, "t-1", await mint(walk, "t-1")))).status == "SUCCESS"
    walk.road._clock = walk.road._reader._clock = lambda: utc_now() + timedelta(hours=2)
    new = [await mint(walk, "t-1") for _ in range(2)]
    assert (await send(walk, under_challenge(device, "t-1", new[0]))).status == "SUCCESS"
