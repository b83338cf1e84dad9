"""The road with a plugin that must confirm, that binds names, and that is told afterwards what became of its yes."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags

from scep_server import plugins
from scep_server.assembly.plugin_jobs import Work, by_hand
from scep_server.assembly.site import Loaded, utc_now
from scep_server.enrollment.reconcile import reconcile
from scep_server.enrollment.registry import activate
from scep_server.errors import ConfigurationError, Fault, LedgerUnavailable, PluginFault, Reason, Refusal
from scep_server.status import Outbox, Pulling
from scep_server.types import (
    Attempt,
    Certificate,
    EntryState,
    Event,
    Grant,
    MessageType,
    NameBinding,
    Notice,
    NoticeKind,
    RevocationOutcome,
    RevocationRequest,
    RevocationResult,
)
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device, certification_request, rsa_key
from tests.enrollment.conftest import CHALLENGE, Walk


@dataclasses.dataclass
class Judge:
    """Somebody's plugin; the test says what each verb does, and reads what it was told."""

    confirm_blocks_release: bool = True
    pull_seconds: float = 60.0
    grant: Grant = dataclasses.field(default_factory=Grant)
    at_confirm: Exception | None = None
    at_notice: Exception | None = None
    confirmed: list[int] = dataclasses.field(default_factory=list)
    failures: list[Reason] = dataclasses.field(default_factory=list)
    told: list[Notice] = dataclasses.field(default_factory=list)
    waiting: list[RevocationRequest] = dataclasses.field(default_factory=list)
    answered: list[RevocationResult] = dataclasses.field(default_factory=list)
    seen: list[bytes] = dataclasses.field(default_factory=list)
    judges_renewals: bool = False
    no_to_renewals: bool = False

    async def redeem(self, attempt: Attempt) -> Grant:
        self.seen.append(attempt.request.der)
        if self.no_to_renewals and attempt.message_type is MessageType.RENEWAL_REQ:
            raise Refusal(Reason.DENIED, "device is retired")
        return self.grant

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        self.seen.append(attempt.request.der)
        if self.at_confirm is not None:
            raise self.at_confirm
        self.confirmed.append(certificate.serial)

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        self.failures.append(refusal.reason)

    async def notified(self, notice: Notice) -> None:
        if self.at_notice is not None:
            raise self.at_notice
        self.told.append(notice)

    async def revocation_requests(self) -> Sequence[RevocationRequest]:
        return [one for one in self.waiting if one.context not in {done.request.context for done in self.answered}]

    async def revocations_done(self, results: Sequence[RevocationResult]) -> None:
        self.answered += results


@pytest.fixture
def device() -> Device:
    return Device.named(f"device-{uuid.uuid4()}", rsa_key(1))


def judged(walk: Walk, judge: Judge) -> plugins.GuardedPlugin:
    """From now on the integration `default` is this plugin's."""
    integration = walk.site.integrations.show("default")
    guarded = plugins.GuardedPlugin("judge", judge)
    walk.site.registry.replace({"default": activate(integration, guarded)})
    return guarded


def entry_of(walk: Walk):
    (entry,) = walk.site.ledger.entries()
    return entry


async def reconciled(walk: Walk, after: timedelta = timedelta()):
    site = walk.site

    def later() -> datetime:
        return utc_now() + after

    return await reconcile(site.ledger, site.registry, site.issuing, site.stored, later)


async def test_nothing_leaves_before_the_plugin_confirmed(walk: Walk, device: Device) -> None:
    judge = Judge(at_confirm=PluginFault("not reached"))
    judged(walk, judge)
    body = walk.request(device, "t-1")
    with pytest.raises(Fault):
        await walk.send(body)
    assert entry_of(walk).state is EntryState.SIGNED
    judge.at_confirm = None
    certificate = (await walk.send(body)).certificate(device)
    assert judge.confirmed == [certificate.serial_number] == [entry_of(walk).serial]
    # All questions were about the very bytes that came out of the envelope.
    assert len(set(judge.seen)) == 1
    assert len(judge.seen) == 3
    assert judge.failures == []


async def test_a_repeat_that_is_signed_anew_is_confirmed_as_it_was_judged(walk: Walk, device: Device) -> None:
    judge = Judge(at_confirm=PluginFault("not reached"))
    judged(walk, judge)

    def signed(digest: str) -> bytes:
        csr = certification_request(device.key, device.subject, challenge=CHALLENGE, digest=digest)
        return pkcs_req(device, walk.ra, None, csr=csr, transaction_id="t-1")

    with pytest.raises(Fault):
        await walk.send(signed("sha256"))
    judge.at_confirm = None
    certificate = (await walk.send(signed("sha512"))).certificate(device)
    assert judge.confirmed == [certificate.serial_number]
    assert (len(set(judge.seen)), len(judge.seen)) == (1, 3)


async def test_a_no_at_the_confirmation_revokes(walk: Walk, device: Device) -> None:
    judge = Judge(at_confirm=Refusal(Reason.DENIED, "ScepProfileNoLongerTargetedToTheClient"))
    judged(walk, judge)
    body = walk.request(device, "t-1")
    assert (await walk.send(body)).status == "FAILURE"
    entry = entry_of(walk)
    assert (entry.state, entry.revocation_reason) == (EntryState.REVOKED, ReasonFlags.cessation_of_operation)
    assert judge.failures == [Reason.DENIED]
    judge.at_confirm = None
    assert (await walk.send(body)).status == "FAILURE"
    issuer = walk.site.ca.authority.issuer_id
    assert [one.serial for one in walk.site.ledger.revoked(issuer, 0, utc_now())] == [entry.serial]


async def test_a_confirmation_that_never_comes_revokes_after_the_window(walk: Walk, device: Device) -> None:
    judge = Judge(at_confirm=PluginFault("not reached"))
    judged(walk, judge)
    with pytest.raises(Fault):
        await walk.send(walk.request(device, "t-1"))
    early = await reconciled(walk)
    assert (early.left, early.withdrawn) == (1, 0)
    assert entry_of(walk).state is EntryState.SIGNED
    late = await reconciled(walk, timedelta(hours=2))
    assert (late.left, late.withdrawn) == (0, 1)
    assert entry_of(walk).state is EntryState.REVOKED
    assert judge.failures == [Reason.UNCONFIRMED]


async def test_a_confirmation_that_comes_late_releases(walk: Walk, device: Device) -> None:
    judge = Judge(at_confirm=PluginFault("not reached"))
    judged(walk, judge)
    body = walk.request(device, "t-1")
    with pytest.raises(Fault):
        await walk.send(body)
    judge.at_confirm = None
    assert (await reconciled(walk)).released == 1
    assert (await walk.send(body)).certificate(device).serial_number == entry_of(walk).serial


async def test_a_deleted_integration_leaves_no_certificate_standing(walk: Walk, device: Device) -> None:
    judged(walk, Judge(at_confirm=PluginFault("not reached")))
    with pytest.raises(Fault):
        await walk.send(walk.request(device, "t-1"))
    walk.site.registry.replace({})
    assert (await reconciled(walk, timedelta(hours=2))).withdrawn == 1
    assert entry_of(walk).state is EntryState.REVOKED


@pytest.mark.parametrize(
    ("judge", "status", "asked"),
    [
        (Judge(False), "SUCCESS", 0),
        (Judge(False, judges_renewals=True), "SUCCESS", 1),
        (Judge(False, judges_renewals=True, no_to_renewals=True), "FAILURE", 1),
        (Judge(True, no_to_renewals=True), "FAILURE", 1),
    ],
    ids=["the old certificate is enough", "asked, yes", "asked, no", "whoever confirms is asked"],
)
async def test_a_renewal_is_judged_where_the_plugin_judges_renewals(
    walk: Walk, device: Device, judge: Judge, status: str, asked: int
) -> None:
    await walk.site.integrations.set("default", {"renewal": "on"})
    judged(walk, judge)
    certificate = (await walk.send(walk.request(device, "t-1"))).certificate(device)
    judge.seen.clear()
    renewing = dataclasses.replace(device, certificate=certificate.public_bytes(Encoding.DER))
    renewal = pkcs_req(renewing, walk.ra, None, message_type="17", transaction_id="t-2")
    reply = await walk.send(renewal)
    assert (reply.status, len(judge.seen)) == (status, asked)


async def test_an_integration_of_the_same_name_confirms_nothing_for_the_one_before(walk: Walk, device: Device) -> None:
    judged(walk, Judge(at_confirm=PluginFault("not reached")))
    body = walk.request(device, "t-1")
    with pytest.raises(Fault):
        await walk.send(body)
    anew = dataclasses.replace(walk.site.integrations.show("default"), created_at=utc_now())
    walk.site.registry.replace({"default": activate(anew, plugins.GuardedPlugin("judge", Judge()))})
    assert (await walk.send(body)).status == "FAILURE"
    assert entry_of(walk).state is EntryState.REVOKED


@pytest.mark.parametrize(
    "second_answer", [PluginFault("not reached"), Refusal(Reason.DENIED, "no longer targeted")], ids=["none", "no"]
)
async def test_what_was_released_meanwhile_is_not_withdrawn(
    walk: Walk, device: Device, second_answer: Exception
) -> None:
    asked, answers = asyncio.Semaphore(0), asyncio.Event()

    class Slow(Judge):
        """Agrees to the device's request, but takes its time."""

        async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
            asked.release()
            await answers.wait()

    class Late(Judge):
        """Gives a pass at the end of the window another answer, once the first one has led to a release."""

        async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
            answers.set()
            await enrolling
            raise second_answer

    judged(walk, Slow())
    body = walk.request(device, "t-1")
    enrolling = asyncio.ensure_future(walk.send(body))
    await asked.acquire()
    judged(walk, Late())
    assert (await reconciled(walk, timedelta(hours=2))).withdrawn == 0
    assert (await enrolling).certificate(device).serial_number == entry_of(walk).serial
    assert entry_of(walk).state is EntryState.ISSUED
    assert (await walk.send(body)).status == "SUCCESS"


async def test_a_bound_grant_admits_its_names_only(walk: Walk, device: Device) -> None:
    judge = Judge(False, grant=Grant(consumes=(b"m" * 32,), binding=NameBinding(subject="O=Example,CN=other")))
    judged(walk, judge)
    assert (await walk.send(walk.request(device, "t-1"))).status == "FAILURE"
    assert list(walk.site.ledger.entries()) == []
    assert judge.failures == [Reason.CHALLENGE_NAMES]
    other = Device.named("other", rsa_key(2))
    assert (await walk.send(walk.request(other, "t-2"))).certificate(other)


async def test_a_plugin_is_told_of_what_became_of_its_yes(walk: Walk, device: Device) -> None:
    judge = Judge(False, at_notice=PluginFault("down"), grant=Grant(consumes=(b"m" * 32,)))
    plugin = judged(walk, judge)
    assert (await walk.send(walk.request(device, "t-1"))).status == "SUCCESS"
    thief = Device.named("thief", rsa_key(2))
    assert (await walk.send(walk.request(thief, "t-2"))).status == "FAILURE"
    now = utc_now()
    outbox = Outbox(walk.site.ledger, lambda notice: plugin, walk.site.metrics, lambda: now)
    assert await outbox.run() == 0
    judge.at_notice = None
    assert await outbox.run() == 0, "not before its time"
    now += timedelta(minutes=1)
    assert await outbox.run() == 2
    failed, issued = sorted(judge.told, key=lambda notice: notice.kind)
    assert (issued.kind, issued.tries, issued.transaction_id) == ("issued", 1, "t-1")
    assert issued.certificate is not None
    assert issued.certificate.serial == entry_of(walk).serial
    assert (failed.kind, failed.reason, failed.certificate) == ("failed", "challenge_spent", None)
    now += timedelta(days=1)
    assert await outbox.run() == 0, "told once, when it was taken"


async def test_who_takes_no_notices_holds_up_nobody_else(walk: Walk) -> None:
    down, up = Judge(False, at_notice=PluginFault("down", retry_after=120)), Judge(False)
    made = {"down": plugins.GuardedPlugin("judge", down), "up": plugins.GuardedPlugin("judge", up)}
    now = utc_now()
    notices = [
        Notice(f"{name}-{number}", NoticeKind.FAILED, name, now, "t", "CN=x") for number in range(60) for name in made
    ]
    await walk.site.ledger.record((), notices)
    outbox = Outbox(walk.site.ledger, lambda notice: made[notice.integration], walk.site.metrics, lambda: now)
    assert await outbox.run() + await outbox.run() == 60
    assert len(up.told) == 60
    now += timedelta(seconds=119)
    down.at_notice = None
    assert await outbox.run() == 0, "not before the time that it asked for"
    now += timedelta(seconds=2)
    assert await outbox.run() == 60
    assert {notice.tries for notice in down.told} == {1}


@pytest.mark.parametrize(
    ("at_notice", "after"),
    [(Refusal(Reason.DENIED, "gone"), timedelta()), (PluginFault("down"), timedelta(days=4))],
    ids=["refused", "never taken"],
)
async def test_a_notice_that_nobody_takes_is_given_up(
    walk: Walk, device: Device, at_notice: Exception, after: timedelta
) -> None:
    judge = Judge(False, at_notice=at_notice)
    plugin = judged(walk, judge)
    await walk.send(walk.request(device, "t-1"))
    now = utc_now() + after
    outbox = Outbox(walk.site.ledger, lambda notice: plugin, walk.site.metrics, lambda: now)
    assert await outbox.run() == 0
    now += timedelta(days=1)
    judge.at_notice = None
    assert await outbox.run() == 0
    assert judge.told == []
    assert walk.site.metrics.notices.total("dropped") == 1


async def test_a_pass_that_the_ledger_ends_leaves_nobody_telling(walk: Walk) -> None:
    """Its turn is given back when it ends, and another process may begin."""
    asked, answers = asyncio.Event(), asyncio.Event()

    class Slow(Judge):
        async def notified(self, notice: Notice) -> None:
            asked.set()
            await answers.wait()
            self.told.append(notice)

    class Quick(Judge):
        async def notified(self, notice: Notice) -> None:
            await asked.wait()

    class Unwritable:
        """The ledger, in which what one of them was told cannot be noted."""

        due_notices = walk.site.ledger.due_notices

        async def notice_told(self, notice_id: str, events: Sequence[Event]) -> None:
            if notice_id == "quick":
                answers.set()
                raise LedgerUnavailable("disk full")
            await walk.site.ledger.notice_told(notice_id, events)

    slow = Slow(False)
    made = {"slow": plugins.GuardedPlugin("judge", slow), "quick": plugins.GuardedPlugin("judge", Quick(False))}
    notices = [Notice(name, NoticeKind.FAILED, name, utc_now(), "t", "CN=x") for name in made]
    await walk.site.ledger.record((), notices)
    outbox = Outbox(Unwritable(), lambda notice: made[notice.integration], walk.site.metrics, utc_now)
    with pytest.raises(LedgerUnavailable):
        await outbox.run()
    assert [notice.id for notice in slow.told] == ["slow"]
    assert [notice.id for notice in walk.site.ledger.due_notices(utc_now(), 10)] == ["quick"]


async def test_a_notice_of_a_deleted_integration_is_given_up(walk: Walk, device: Device) -> None:
    judged(walk, Judge(False))
    await walk.send(walk.request(device, "t-1"))

    def gone(notice: Notice) -> None:
        raise LookupError(notice.integration)

    assert await Outbox(walk.site.ledger, gone, walk.site.metrics, utc_now).run() == 0
    assert walk.site.ledger.due_notices(utc_now() + timedelta(days=9), 10) == []


async def test_pulled_revocations_are_this_integrations_only(walk: Walk, device: Device) -> None:
    judge = Judge(False)
    plugin = judged(walk, judge)
    serial = (await walk.send(walk.request(device, "t-1"))).certificate(device).serial_number
    judge.waiting = [
        RevocationRequest("a", serial),
        RevocationRequest("b", serial + 1),
        RevocationRequest("c", None),
        RevocationRequest("d", serial),
    ]
    issuer = walk.site.ca.authority.issuer_id
    other = Pulling("another", issuer, plugin, walk.site.ledger, walk.site.metrics, utc_now)
    assert {one.outcome for one in await other.run()} == {RevocationOutcome.NOT_FOUND, RevocationOutcome.UNREADABLE}
    assert entry_of(walk).state is EntryState.ISSUED
    judge.answered.clear()
    results = await Pulling("default", issuer, plugin, walk.site.ledger, walk.site.metrics, utc_now).run()
    assert {one.request.context: one.outcome for one in results} == {
        "a": RevocationOutcome.REVOKED,
        "b": RevocationOutcome.NOT_FOUND,
        "c": RevocationOutcome.UNREADABLE,
        "d": RevocationOutcome.ALREADY_REVOKED,
    }
    assert entry_of(walk).state is EntryState.REVOKED


async def test_a_service_that_repeats_itself_does_not_keep_us(walk: Walk) -> None:
    judge = Judge(False, waiting=[RevocationRequest("same", None)])

    async def forgets(results: Sequence[RevocationResult]) -> None:
        """Takes the results and asks again."""

    judge.revocations_done = forgets  # type: ignore[method-assign]
    plugin = judged(walk, judge)
    issuer = walk.site.ca.authority.issuer_id
    assert len(await Pulling("default", issuer, plugin, walk.site.ledger, walk.site.metrics, utc_now).run()) == 1


@pytest.mark.parametrize("enabled", [True, False])
async def test_revocations_are_pulled_at_their_pace_while_the_integration_is_on(walk: Walk, *, enabled: bool) -> None:
    judge = Judge(False, waiting=[RevocationRequest("a", None)])
    plugin = plugins.GuardedPlugin("judge", judge)
    integration = dataclasses.replace(walk.site.integrations.show("default"), enabled=enabled)
    walk.site._swap([Loaded(integration, plugin, activate(integration, plugin))])
    work = {one.name: one for one in walk.site.work()}
    assert set(work) == {"outbox", "default/revocations"} if enabled else {"outbox"}
    if enabled:
        assert work["default/revocations"].seconds == judge.pull_seconds
        await work["default/revocations"].run()
        assert [result.request.context for result in judge.answered] == ["a"]


async def test_the_same_work_is_done_by_one_at_a_time(walk: Walk) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        entered.set()
        await leave.wait()

    async def short() -> str:
        return "done"

    ledger = walk.site.ledger
    first = asyncio.create_task(by_hand(ledger, Work("default/revocations", 60.0, long), utc_now))
    await entered.wait()
    with pytest.raises(ConfigurationError, match="another process"):
        await by_hand(ledger, Work("default/revocations", 60.0, short), utc_now)
    leave.set()
    await first
    assert await by_hand(ledger, Work("default/revocations", 60.0, short), utc_now) == "done"
