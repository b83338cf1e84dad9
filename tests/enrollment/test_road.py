"""The road walked in one process: what a crash, a race, a fault or a guess leaves behind."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import uuid
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags

from scep_server.assembly.site import opened, utc_now
from scep_server.codec.envelope import password_recipient
from scep_server.config import Settings
from scep_server.enrollment.approval import NotPendingError
from scep_server.enrollment.reconcile import reconcile
from scep_server.errors import Fault, LedgerUnavailable, Reason, Refusal, SerialCollision, TooManyAttempts
from scep_server.types import Cipher, EntryState, Source
from tests.e2e.crafted import attributes_of, envelope, message, pkcs_req, seal
from tests.e2e.der import sequence
from tests.e2e.identities import Device, certification_request, ec_key, issuer_and_serial, rsa_key
from tests.enrollment.conftest import CHALLENGE, HERE, Walk, road_of


@pytest.fixture
def device() -> Device:
    return Device.named(f"device-{uuid.uuid4()}", rsa_key(1))


def states(walk: Walk) -> list[EntryState]:
    return [entry.state for entry in walk.site.ledger.entries()]


class Crash(Exception):
    """Stands for kill -9 at a step: nothing after it happens."""


class Until:
    """The ledger up to a step; what comes after never happens, as in a process that died."""

    def __init__(self, ledger, step: str) -> None:
        self._ledger = ledger
        self._step = step

    def __getattr__(self, name: str):
        if name != self._step:
            return getattr(self._ledger, name)

        async def dies(*_args, **_kwargs):
            raise Crash(name)

        return dies


async def interrupted(walk: Walk, body: bytes, step: str) -> None:
    whole = walk.site.issuing._ledger
    walk.site.issuing._ledger = Until(whole, step)
    try:
        with pytest.raises(Crash):
            await walk.send(body)
    finally:
        walk.site.issuing._ledger = whole


async def test_an_interrupted_enrolment_is_finished_by_its_repeat(settings: Settings, device: Device) -> None:
    async with opened(settings) as site:
        walk = road_of(site)
        body = walk.request(device, "t-1")
        await interrupted(walk, body, "sign")
        assert states(walk) == [EntryState.INTENDED]
        promised = next(iter(site.ledger.entries())).serial
    async with opened(settings) as site:
        walk = road_of(site)
        reply = await walk.send(body)
        assert reply.certificate(device).serial_number == promised
        assert states(walk) == [EntryState.ISSUED]


async def test_a_repeat_with_another_challenge_cannot_take_over(walk: Walk, device: Device) -> None:
    await interrupted(walk, walk.request(device, "t-1"), "sign")
    stranger = Device.named("stranger", rsa_key(2))
    assert (await walk.send(walk.request(stranger, "t-1"))).status == "FAILURE"
    assert states(walk) == [EntryState.INTENDED]


async def test_reconcile_abandons_what_nobody_came_back_for(walk: Walk, device: Device) -> None:
    await interrupted(walk, walk.request(device, "t-1"), "sign")
    site = walk.site
    early = await reconcile(site.ledger, site.registry, site.issuing, site.stored, utc_now)
    assert (early.left, early.abandoned) == (1, 0)
    late = await reconcile(
        site.ledger, site.registry, site.issuing, site.stored, lambda: utc_now() + timedelta(hours=2)
    )
    assert late.abandoned == 1
    assert states(walk) == [EntryState.FAILED]
    abandoned = next(iter(site.ledger.entries())).serial
    reply = await walk.send(walk.request(device, "t-1"))
    assert reply.certificate(device).serial_number != abandoned


async def test_fifty_approvals_give_one_certificate(walk: Walk, device: Device) -> None:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    assert (await walk.send(walk.request(device, "t-1"))).status == "PENDING"
    (pending,) = walk.site.ledger.entries()
    outcomes = await asyncio.gather(*(walk.site.approve(pending.id) for _ in range(50)), return_exceptions=True)
    issued = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(issued) == 1
    assert all(isinstance(outcome, NotPendingError) for outcome in outcomes if outcome is not issued[0])
    assert states(walk) == [EntryState.ISSUED]
    poll = message(device, None, attributes_of("20", "t-1"))
    certificates = {(await walk.send(poll)).certificate(device).serial_number for _ in range(3)}
    assert certificates == {issued[0].serial}


async def test_a_pending_request_survives_a_restart_and_keeps_its_challenge_to_itself(
    settings: Settings, device: Device
) -> None:
    async with opened(settings) as site:
        walk = road_of(site)
        await site.integrations.set("default", {"approval": "manual"})
        site.activate()
        await walk.send(walk.request(device, "t-1"))
        (pending,) = site.ledger.entries()
        stored = site.ledger.entry(pending.id)
        assert stored is not None
        assert CHALLENGE.encode() not in (stored.request or b"")
    async with opened(settings) as site:
        entry = await site.approve(pending.id)
        assert entry.state is EntryState.ISSUED


async def test_a_rejected_request_stays_rejected(walk: Walk, device: Device) -> None:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    body = walk.request(device, "t-1")
    await walk.send(body)
    (pending,) = walk.site.ledger.entries()
    await walk.site.reject(pending.id, "not ours")
    assert (await walk.send(body)).status == "FAILURE"
    with pytest.raises(NotPendingError):
        await walk.site.approve(pending.id)


async def test_a_pending_request_expires(walk: Walk, device: Device) -> None:
    await walk.site.integrations.set("default", {"approval": "manual", "pending_window": "60"})
    walk.site.activate()
    await walk.send(walk.request(device, "t-1"))
    site = walk.site

    def later() -> datetime:
        return utc_now() + timedelta(minutes=2)

    site.ledger._clock = later
    done = await reconcile(site.ledger, site.registry, site.issuing, site.stored, later)
    assert done.expired == 1
    (entry,) = site.ledger.entries()
    with pytest.raises(NotPendingError):
        await site.approve(entry.id)


async def test_a_late_approval_leaves_the_device_time_to_poll(walk: Walk, device: Device) -> None:
    await walk.site.integrations.set("default", {"approval": "manual", "pending_window": "60"})
    walk.site.activate()
    await walk.send(walk.request(device, "t-1"))
    (pending,) = walk.site.ledger.entries()
    approval = walk.site._approval
    approval._clock = lambda: pending.pickup_until - timedelta(seconds=1)
    await approval.approve(pending.id, "operator")
    poll = message(device, None, attributes_of("20", "t-1"))
    walk.road._clock = lambda: pending.pickup_until + timedelta(seconds=30)
    assert (await walk.send(poll)).status == "SUCCESS"
    walk.road._clock = lambda: pending.pickup_until + timedelta(seconds=60)
    assert (await walk.send(poll)).status == "FAILURE"


async def test_guessing_is_limited_and_the_right_challenge_is_still_heard(walk: Walk, device: Device) -> None:
    for number in range(5):
        wrong = walk.request(device, f"w-{number}", challenge=f"wrong-guess-{number:04d}")
        assert (await walk.send(wrong)).fail_info == 2
    with pytest.raises(TooManyAttempts) as limited:
        await walk.send(walk.request(device, "w-6", challenge="wrong-guess-0006"))
    assert 1 <= limited.value.retry_after <= 60
    assert (await walk.send(walk.request(device, "right"))).status == "SUCCESS"
    elsewhere = await walk.send(walk.request(device, "w-7", challenge="wrong-guess-0007"), Source("198.51.100.9"))
    assert elsewhere.status == "FAILURE"


async def test_a_refusal_that_cannot_be_recorded_is_a_fault_not_a_failure(walk: Walk, device: Device) -> None:
    class Unwritable:
        async def record(self, events):
            raise LedgerUnavailable("disk full")

    walk.road._refusals._ledger = Unwritable()
    with pytest.raises(LedgerUnavailable):
        await walk.send(walk.request(device, "t-1", challenge="a-wrong-challenge"))


async def test_a_serial_that_is_taken_is_drawn_again(walk: Walk, device: Device) -> None:
    await walk.send(walk.request(device, "t-0"))
    (first,) = walk.site.ledger.entries()
    draws = []

    class Unlucky:
        """The authority with a random source that repeats a serial twice."""

        def __init__(self, authority) -> None:
            self._authority = authority

        def __getattr__(self, name: str):
            return getattr(self._authority, name)

        def prepare(self, order):
            prepared = self._authority.prepare(order)
            draws.append(prepared.serial)
            if len(draws) <= 2:
                return dataclasses.replace(prepared, serial=first.serial)
            return prepared

    unlucky = Unlucky(walk.site.ca.authority)
    walk.road._reader._authority = walk.site.issuing._authority = unlucky
    other = Device.named("other", rsa_key(2))
    reply = await walk.send(walk.request(other, "t-1"))
    assert reply.certificate(other).serial_number == draws[-1]
    assert len(draws) == 3


async def test_a_random_source_that_only_repeats_is_a_fault(walk: Walk, device: Device) -> None:
    class Exhausted:
        def __init__(self, ledger) -> None:
            self._ledger = ledger

        def __getattr__(self, name: str):
            return getattr(self._ledger, name)

        async def open(self, opening, events):
            raise SerialCollision("taken")

    walk.site.issuing._ledger = Exhausted(walk.site.ledger)
    with pytest.raises(Fault, match="random"):
        await walk.send(walk.request(device, "t-1"))
    assert states(walk) == []


async def test_a_disabled_integration_enrols_nobody_but_repeats_its_answers(walk: Walk, device: Device) -> None:
    body = walk.request(device, "t-1")
    first = await walk.send(body)
    await walk.site.integrations.set("default", {}, enabled=False)
    walk.site.activate()
    assert (await walk.send(body)).certificate(device) == first.certificate(device)
    assert (await walk.send(walk.request(device, "t-2"))).status == "FAILURE"


async def test_an_integration_whose_secret_does_not_open_answers_with_faults(walk: Walk, device: Device) -> None:
    default = walk.site.integrations.show("default")
    broken = dataclasses.replace(default, settings={"secrets": []}, version=default.version + 1)
    await walk.site.ledger.put_integration(broken, default.version, ())
    complaints = walk.site.reactivate()
    assert any("rotate-secret" in complaint for complaint in complaints)
    with pytest.raises(Fault):
        await walk.send(walk.request(device, "t-1"))
    assert states(walk) == []


async def test_an_ec_device_polls_under_the_secret_it_used(walk: Walk) -> None:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    device = Device.named("ec", ec_key(1))
    assert (await walk.send(walk.request(device, "t-1"))).status == "PENDING"
    await walk.site.integrations.rotate("default", {})
    (pending,) = walk.site.ledger.entries()
    await walk.site.approve(pending.id)
    reply = await walk.send(message(device, None, attributes_of("20", "t-1")))
    assert reply.status == "SUCCESS"


async def test_a_renewal_with_the_same_csr_gets_a_new_certificate(walk: Walk, device: Device) -> None:
    await walk.site.integrations.set("default", {"renewal": "on"})
    walk.site.activate()
    csr = certification_request(device.key, device.subject, challenge=CHALLENGE)
    first = await walk.send(pkcs_req(device, walk.ra, CHALLENGE, csr=csr, transaction_id="t-1"))
    old = first.certificate(device)
    owner = dataclasses.replace(device, certificate=old.public_bytes(Encoding.DER))
    renewal = pkcs_req(owner, walk.ra, CHALLENGE, csr=csr, transaction_id="t-1", message_type="17")
    new = (await walk.send(renewal)).certificate(owner)
    assert new.serial_number != old.serial_number
    assert (await walk.send(renewal)).certificate(owner) == new


async def test_a_pending_renewal_is_not_approved_once_the_old_certificate_is_revoked(
    walk: Walk, device: Device
) -> None:
    old = (await walk.send(walk.request(device, "t-1"))).certificate(device)
    await walk.site.integrations.set("default", {"renewal": "on", "approval": "manual"})
    walk.site.activate()
    owner = dataclasses.replace(device, certificate=old.public_bytes(Encoding.DER))
    pending = await walk.send(pkcs_req(owner, walk.ra, None, transaction_id="t-2", message_type="17"))
    assert pending.status == "PENDING"
    first, second = walk.site.ledger.entries()
    assert first.issuer_id is not None
    await walk.site.revoke(old.serial_number, ReasonFlags.key_compromise, issuer_id=first.issuer_id)
    with pytest.raises(Refusal) as refused:
        await walk.site.approve(second.id)
    assert refused.value.reason is Reason.RENEWAL


async def test_an_abandoned_transaction_is_free_when_its_window_ends(walk: Walk, device: Device) -> None:
    body = walk.request(device, "t-1")
    await interrupted(walk, body, "sign")
    walk.road._clock = walk.road._reader._clock = lambda: utc_now() + timedelta(hours=2)
    reply = await walk.send(body)
    first, second = walk.site.ledger.entries()
    assert reply.certificate(device).serial_number == second.serial != first.serial


def under_password(device: Device, transaction_id: str, password: str) -> bytes:
    """A PKCSReq with the right challenge inside, in an envelope for this password."""
    content_key = os.urandom(16)
    recipient = password_recipient(content_key, password.encode(), Cipher.AES128_CBC, os.urandom)
    csr = certification_request(device.key, device.subject, challenge=CHALLENGE)
    return message(device, envelope(csr, [recipient], content_key, version=3), attributes_of("19", transaction_id))


async def test_passwords_tried_on_an_envelope_are_guesses(walk: Walk) -> None:
    device = Device.named("ec", ec_key(1))
    for number in range(5):
        assert (await walk.send(under_password(device, f"p-{number}", f"wrong-guess-{number}"))).status == "FAILURE"
    with pytest.raises(TooManyAttempts):
        await walk.send(under_password(device, "p-6", "wrong-guess-6"))
    assert (await walk.send(under_password(device, "p-7", CHALLENGE))).status == "SUCCESS"


async def test_the_older_of_two_secrets_opens_an_envelope_too(walk: Walk) -> None:
    await walk.site.integrations.rotate("default", {})
    walk.site.activate()
    assert (await walk.send(under_password(Device.named("ec", ec_key(1)), "p-1", CHALLENGE))).status == "SUCCESS"


async def test_strangers_queries_are_limited_and_polls_are_not(walk: Walk, device: Device) -> None:
    asked = issuer_and_serial(walk.site.ca.certificates.issuing)
    query = seal(sequence(*asked), walk.ra)

    async def ask() -> str:
        return (await walk.send(message(device, query, attributes_of("21", None)))).status

    assert {await ask() for _ in range(60)} == {"FAILURE"}
    with pytest.raises(TooManyAttempts):
        await ask()
    assert (await walk.send(message(device, None, attributes_of("20", "nothing")))).status == "FAILURE"


class Confirming:
    """A challenge plugin like Intune's: no release before its yes, and it needs the request to ask for it."""

    confirm_blocks_release = True

    def __init__(self, judge) -> None:
        self._judge = judge
        self.reachable = False
        self.told: list[bytes] = []

    def __getattr__(self, name: str):
        return getattr(self._judge, name)

    async def confirm(self, attempt, certificate) -> None:
        if not self.reachable:
            raise Fault("not reachable")
        self.told.append(attempt.request.der)


@pytest.mark.parametrize("approval", ["auto", "manual"])
async def test_a_certificate_waits_for_its_plugins_yes(walk: Walk, device: Device, approval: str) -> None:
    await walk.site.integrations.set("default", {"approval": approval})
    walk.site.activate()
    active = walk.site.registry.get("default")
    plugin = Confirming(active.plugin)
    walk.site.registry.replace({"default": dataclasses.replace(active, plugin=plugin)})
    csr = certification_request(device.key, device.subject, challenge=CHALLENGE)
    body = pkcs_req(device, walk.ra, CHALLENGE, csr=csr, transaction_id="t-1")
    if approval == "manual":
        assert (await walk.send(body)).status == "PENDING"
        (pending,) = walk.site.ledger.entries()
        with pytest.raises(Fault):
            await walk.site._approval.approve(pending.id, "test")
    else:
        with pytest.raises(Fault):
            await walk.send(body)
    assert states(walk) == [EntryState.SIGNED]
    poll = message(device, None, attributes_of("20", "t-1"))
    with pytest.raises(Fault):
        await walk.send(poll)
    plugin.reachable = True
    assert (await walk.send(poll)).certificate(device).serial_number == next(iter(walk.site.ledger.entries())).serial
    assert plugin.told == [csr]
    assert states(walk) == [EntryState.ISSUED]


async def test_unknown_integrations_are_told_apart_from_nothing(walk: Walk) -> None:
    with pytest.raises(LookupError):
        await walk.send(b"", HERE, "nobody")
