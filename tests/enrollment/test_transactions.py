"""Whose transaction it is, walked on the whole road: other devices' renewals, and transaction ids of every form."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.enrollment.registry import activate
from scep_server.types import EntryState
from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.der import utf8
from tests.e2e.identities import Device, certification_request, rsa_key
from tests.enrollment.conftest import CHALLENGE, Walk


@pytest.fixture
def device() -> Device:
    return Device.named(f"device-{uuid.uuid4()}", rsa_key(1))


def switch(walk: Walk, **options: str) -> None:
    """Serve `default` under other options from now on."""
    active = walk.site.registry.get("default")
    changed: dict[str, object] = {key: {"on": True}.get(value, value) for key, value in options.items()}
    after = dataclasses.replace(active.integration, options=dataclasses.replace(active.options, **changed))  # type: ignore[arg-type]
    walk.site.registry.replace({"default": activate(after, active.plugin)})


def certified(device: Device, certificate: x509.Certificate) -> Device:
    """The device as it signs with the certificate it got."""
    return dataclasses.replace(device, certificate=certificate.public_bytes(Encoding.DER))


def poll(device: Device, transaction_id: str) -> bytes:
    return message(device, None, attributes_of("20", transaction_id))


async def test_a_renewal_leaves_the_pending_request_of_another_device_alone(walk: Walk, device: Device) -> None:
    insider = Device.named("insider", rsa_key(2))
    insider = certified(insider, (await walk.send(walk.request(insider, "own"))).certificate(insider))
    switch(walk, renewal="on", approval="manual")
    assert (await walk.send(walk.request(device, "victim"))).status == "PENDING"
    renewal = seal(certification_request(rsa_key(2), insider.subject), walk.ra)
    assert (await walk.send(message(insider, renewal, attributes_of("17", "victim")))).fail_info == 2
    assert (await walk.send(poll(device, "victim"))).status == "PENDING"


@pytest.mark.parametrize(
    "transaction_id", [b"\x13\x82\x01\x00" + b"x" * 256, utf8("line\nline")], ids=["long", "break"]
)
async def test_a_pending_request_can_be_approved_whatever_its_transaction_id(
    walk: Walk, device: Device, transaction_id: bytes
) -> None:
    switch(walk, approval="manual")
    request = pkcs_req(device, walk.ra, CHALLENGE, transaction_id=transaction_id)
    assert (await walk.send(request)).status == "PENDING"
    (pending,) = walk.site.ledger.entries()
    assert (await walk.site.approve(pending.id)).state is EntryState.ISSUED


async def test_a_pkcsreq_renews_with_the_old_key_where_that_is_allowed(walk: Walk, device: Device) -> None:
    """R58 and R61: the key may be kept, and the certificate stands for the challenge only where the switch is on."""
    old = certified(device, (await walk.send(walk.request(device, "first"))).certificate(device))
    renewal = seal(certification_request(device.key, device.subject), walk.ra)
    assert (await walk.send(message(old, renewal, attributes_of("19", "off")))).fail_info == 2
    switch(walk, renewal_via_pkcsreq="on")
    assert (await walk.send(message(device, renewal, attributes_of("19", "self-signed")))).fail_info == 2
    assert (await walk.send(message(old, renewal, attributes_of("19", "on")))).status == "SUCCESS"
    assert [entry.renews for entry in walk.site.ledger.entries()] == [None, 1]
